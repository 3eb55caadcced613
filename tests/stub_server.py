"""A server of the chat protocol on this machine that answers as it is told, with every fault a real one has.

    with StubServer(lambda request: chat("a cat")) as server:
        model = load(f"api:stub@{server.base_url}")

Standard library only, one event loop in a thread; connections are kept alive, and what is written goes out at once.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event, Thread
from types import TracebackType
from typing import Any

__all__ = ["Reply", "Request", "StubServer", "chat", "failed", "text_of"]


@dataclass(frozen=True)
class Request:
    """What came in. `number` counts the chat requests from 1."""

    number: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    at: float  # time.monotonic()


@dataclass(frozen=True)
class Reply:
    """What goes out, and how it goes wrong."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0  # before the first byte
    sent: int | None = None  # bytes of the body that are sent before the connection is cut
    dropped: bool = False  # the connection is closed without a word
    drip: float = 0.0  # seconds between single bytes
    when: Callable[[], bool] = lambda: True  # it is held until this is so


def chat(text: str | None, *, seconds: float = 0.0, usage: Any = (12, 3), **message: Any) -> Reply:
    """A good answer. `usage` is (prompt, completion) tokens; `message` may set finish_reason, refusal, logprobs."""
    choice = {
        "index": 0,
        "finish_reason": message.pop("finish_reason", "stop"),
        "logprobs": message.pop("logprobs", None),
        "message": {"role": "assistant", "content": text, **message},
    }
    body: dict[str, Any] = {"object": "chat.completion", "model": "stub", "choices": [choice]}
    if usage:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return Reply(body=json.dumps(body).encode(), seconds=seconds)


def failed(status: int, message: str = "no", *, code: str | None = None, **headers: str) -> Reply:
    """An error as the protocol words it; `retry_after="2"` is a header."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps({"error": {"message": message, "code": code}}).encode(), named)


def text_of(request: Request) -> str:
    """The text of the user's turn."""
    content = request.body["messages"][0]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


MODELS = {
    "object": "list",
    "data": [{"id": "stub", "root": "weights/stub", "owned_by": "tests", "created": 1}],
}


class StubServer:
    """Runs while its context is entered.

    Attributes:
        requests: the chat requests, in the order they came.
        open: the number of chat requests without an answer.
        most_at_once: the largest number of chat requests that were open together.
        models: what `GET /models` gives: an object, a Reply, or a function of the request.
    """

    def __init__(self, answer: Callable[[Request], Reply] = lambda request: chat("a cat")) -> None:
        self.answer = answer
        self.models: Any = MODELS
        self.requests: list[Request] = []
        self.model_requests: list[Request] = []
        self.most_at_once = 0
        self.open = 0
        self._ready = Event()

    def __enter__(self) -> StubServer:
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        self._ready.set()
        await self._ended.wait()
        server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await self._received(reader)) is not None:
                if not await self._answered(request, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _received(self, reader: asyncio.StreamReader) -> Request | None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])
        }
        data = await reader.readexactly(int(headers.get("content-length", 0)))
        kept = self.requests if path.endswith("/chat/completions") else self.model_requests
        body = json.loads(data) if data else {}
        kept.append(Request(len(kept) + 1, method, path, headers, body, time.monotonic()))
        return kept[-1]

    async def _answered(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Sends the reply; False if the connection ends with it."""
        self.open += request.method == "POST"
        self.most_at_once = max(self.most_at_once, self.open)
        try:
            reply = self._reply(request)
            await asyncio.sleep(reply.seconds)
            while not reply.when():
                await asyncio.sleep(0.002)
            return await self._sent(reply, writer)
        finally:
            self.open -= request.method == "POST"

    def _reply(self, request: Request) -> Reply:
        if request.method == "POST":
            return self.answer(request)
        given = self.models(request) if callable(self.models) else self.models
        return given if isinstance(given, Reply) else Reply(body=json.dumps(given).encode())

    async def _sent(self, reply: Reply, writer: asyncio.StreamWriter) -> bool:
        if reply.dropped:
            return False
        headers = {
            "content-type": "application/json",
            "content-length": str(len(reply.body)),
            **reply.headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {reply.status} X\r\n{head}\r\n".encode("latin-1"))
        if reply.drip:
            for byte in reply.body:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(reply.drip)
        else:
            writer.write(reply.body[: reply.sent])
            await writer.drain()
        return reply.sent is None
