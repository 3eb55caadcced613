"""A judge behind a server with 50 to 150 ms latency: refilled places against one by one, and against windows.

The baselines send the same requests with the same HTTP client, one after the other or in windows that wait for their
slowest. All three are timed from the first question: what finding the pace costs is included. The server is a process
of its own, because it would otherwise take the client's time.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from random import Random

from benchmarks.record import Record
from keepsight import models
from keepsight.types import Sample
from tests.stub_server import Reply, Request, StubServer, chat, text_of

__all__ = ["measure"]

QUESTIONS = 512
AT_ONCE = 16
SECONDS = (0.05, 0.15)
GOAL = 0.9 * AT_ONCE
OVER_WINDOWS = 1.3


def measure(ref: str = "tiny") -> Record:
    """Wall-clock time of the three ways over the same questions; the same answers are asserted."""
    questions = [Sample(f"q{i}", f"Is the answer {i} right? yes or no") for i in range(QUESTIONS)]
    with _server() as base_url:
        serial, one_by_one = _timed(base_url, questions, 1)
        windows, windowed = _timed(base_url, questions, AT_ONCE)
        before = time.perf_counter()
        model = models.load(f"api:stub@{base_url}", batch_size=AT_ONCE)
        said = dict(model.generate(questions, max_new_tokens=4))
        refilled = time.perf_counter() - before
    assert one_by_one == windowed == [said[at].text for at in range(QUESTIONS)]
    ratio, over_windows = serial / refilled, windows / refilled
    detail = (
        f"{refilled:.2f} s for {QUESTIONS} questions {AT_ONCE} at once, {serial:.1f} s one by one, {windows:.2f} s in "
        f"windows: {over_windows:.2f} times faster than windows (must be {OVER_WINDOWS:g}), all answers the same"
    )
    ok = ratio >= GOAL and over_windows >= OVER_WINDOWS
    return Record("judge_refill", ratio, GOAL, ok, QUESTIONS, detail)


def _timed(base_url: str, questions: Sequence[Sample], window: int) -> tuple[float, list[str]]:
    before = time.perf_counter()
    texts = asyncio.run(_in_windows(base_url, questions, window))
    return time.perf_counter() - before, texts


async def _in_windows(base_url: str, questions: Sequence[Sample], window: int) -> list[str]:
    """The loop one would write first: so many at once, then the next so many."""
    import httpx

    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:

        async def answer(question: Sample) -> str:
            messages = [{"role": "user", "content": question.prompt}]
            reply = await client.post(
                f"{base_url}/chat/completions", json={"model": "stub", "messages": messages}
            )
            return str(reply.json()["choices"][0]["message"]["content"])

        texts: list[str] = []
        for start in range(0, len(questions), window):
            texts += await asyncio.gather(*map(answer, questions[start : start + window]))
        return texts


@contextmanager
def _server() -> Iterator[str]:
    """The base URL of a server in another process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield str(ours.recv())
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Connection) -> None:
    with StubServer(_judge) as server:
        pipe.send(server.base_url)
        pipe.poll(None)


def _judge(request: Request) -> Reply:
    """Verdict and latency depend on the question alone, so that all ways meet the same ones."""
    random = Random(text_of(request))
    return chat(random.choice(["yes", "no"]), seconds=random.uniform(*SECONDS))
