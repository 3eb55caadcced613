"""Many questions to one server: as many under way as it takes well, and a new one as soon as one ends.

An event loop in a thread of its own does the asking, so that `ask` is an ordinary generator, in a script as in a
notebook whose own loop is running. A failed request gives its place up while it waits to be sent again.

Nothing runs ahead of the reader: while as many replies lie unread as may be under way, nothing new is sent. A reader
that stops (an error, an interrupt) stops the asking.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from keepsight.models.api.budget import Budget, Prices, Usage
from keepsight.models.api.chat import Unusable, usage_of
from keepsight.models.api.pace import Pace
from keepsight.models.api.wire import Server, Trouble
from keepsight.types import KeepsightError

if TYPE_CHECKING:
    import httpx

__all__ = ["Failure", "Line", "Question", "ask", "describe"]

_PATH = "chat/completions"
_GIVEN_UP_IN_A_ROW = 20  # questions that failed with no answer between: the fault is not theirs
_NOTHING = Usage(0, 0)

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Question(Generic[Answer]):
    """What to send, what it may take, and how its reply is read."""

    body: Callable[[], dict[str, Any]]  # made when it is sent; KeepsightError if it cannot be
    read: Callable[[dict[str, Any]], Answer]  # raises Unusable for a reply that is no answer
    expected: Usage
    slow: bool = False  # making the body takes time (pictures), so others must not wait for it
    # What a trouble means to whoever made the body; `body` makes another one when it says `otherwise`.
    reconsidered: Callable[[Mapping[str, Any], Trouble], Trouble] = lambda body, trouble: trouble


@dataclass(frozen=True)
class Failure:
    """Why a question has no answer."""

    reason: str


@dataclass(frozen=True)
class Line:
    """The line to one server: how it is asked, and what that may cost."""

    server: Server
    pace: Pace
    budget: Budget
    prices: Prices | None
    retries: int
    max_wait: float

    def cost(self, usage: Usage) -> float:
        """Money; 0 where no prices were given."""
        return 0.0 if self.prices is None else self.prices.cost(usage)


def ask(
    line: Line, questions: Sequence[Question[Answer]], most: int
) -> Iterator[tuple[int, Answer | Failure]]:
    """Yields `(place, answer or why there is none)` as they come, each place once.

    Args:
        most: requests under way at any time, at most.
    """
    if not questions:
        return
    desk = _Desk(line, questions, most)
    thread = Thread(target=desk.work, name="keepsight-api", daemon=True)
    thread.start()
    try:
        while (given := desk.given.get()) is not None:
            if isinstance(given, BaseException):
                raise given
            desk.wake()
            yield given
    finally:
        desk.stop()
        thread.join()


def describe(line: Line) -> dict[str, Any] | Trouble:
    """What the server says of its models (`GET /models`), asked as often as a question would be."""
    found: list[dict[str, Any] | Trouble] = []
    thread = Thread(
        target=lambda: found.append(asyncio.run(_described(line))), name="keepsight-api", daemon=True
    )
    thread.start()
    thread.join()
    return found[0]


async def _described(line: Line) -> dict[str, Any] | Trouble:
    async with line.server.client(1) as client:
        for tries in range(1, line.retries + 2):
            found = await line.server.send(client, "GET", "models")
            wait = (found.wait or 0.0) if isinstance(found, Trouble) else 0.0
            if (
                not isinstance(found, Trouble)
                or not found.again
                or wait > line.max_wait
                or tries > line.retries
            ):
                return found
            await asyncio.sleep(wait + line.pace.delay(tries))
    raise AssertionError("the last try returns")


class _Desk(Generic[Answer]):
    """The asking side. Everything but `given`, `wake` and `stop` belongs to the loop's thread."""

    def __init__(self, line: Line, questions: Sequence[Question[Answer]], most: int) -> None:
        self.given: SimpleQueue[tuple[int, Answer | Failure] | BaseException | None] = SimpleQueue()
        self._line = line
        self._questions = questions
        self._most = most
        self._fresh = deque(range(len(questions)))
        self._again: list[
            tuple[float, int, int, str]
        ] = []  # heap of (when, place, tries so far, last trouble)
        self._running: set[asyncio.Task[None]] = set()
        self._stopped: str | None = None  # why nothing more is asked
        self._given_up = 0  # in a row
        self._silent_since: float | None = None
        self._largest_prompt = 0  # tokens
        self._loop = asyncio.new_event_loop()
        self._event = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._broken: BaseException | None = None

    def work(self) -> None:
        """The thread: asks until all is said, then gives None, or the exception that ended it."""
        last: BaseException | None = None
        try:
            self._work = self._loop.create_task(self._ask_all())
            self._loop.run_until_complete(self._work)
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # a fault of ours must reach the reader
            last = error
        finally:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()
            self.given.put(last)

    def wake(self) -> None:
        """Called by the reader: there is room for another answer."""
        with suppress(RuntimeError):  # the loop has just closed: nothing is left to be woken
            self._loop.call_soon_threadsafe(self._event.set)

    def stop(self) -> None:
        """Called by the reader: nothing more is wanted."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(lambda: self._work and self._work.cancel())

    async def _ask_all(self) -> None:
        async with self._line.server.client(self._most) as client:
            try:
                while self._fresh or self._again or self._running:
                    self._event.clear()
                    wait = self._send_what_may_be_sent(client)
                    if self._stopped is not None:
                        self._give_up_the_rest(self._stopped)
                    if self._running or self._fresh or self._again:
                        with suppress(asyncio.TimeoutError):
                            await asyncio.wait_for(self._event.wait(), wait)
                    if self._broken is not None:
                        raise self._broken
            finally:
                for task in self._running:
                    task.cancel()
                await asyncio.gather(*self._running, return_exceptions=True)

    def _send_what_may_be_sent(self, client: httpx.AsyncClient) -> float | None:
        """Returns the seconds until more may be sent; None where something has to happen first."""
        while self._stopped is None and self._has_room() and (self._fresh or self._again):
            now = time.monotonic()
            wait = max(self._line.pace.resume_at, now if self._fresh else self._again[0][0]) - now
            if wait > 0:
                return wait
            retry = bool(self._again) and self._again[0][0] <= now
            place = self._again[0][1] if retry else self._fresh[0]
            expected = self._expected(place)
            exceeded = self._line.budget.reserve(expected.total, self._line.cost(expected))
            if exceeded is not None:
                if not self._running:  # nothing under way will give a part of its reservation back
                    self._stopped = f"the budget is used up ({exceeded}); raise it and run again"
                return None
            tries = heapq.heappop(self._again)[2] if retry else 0
            if not retry:
                self._fresh.popleft()
            task = self._loop.create_task(self._send(client, place, tries + 1, expected))
            self._running.add(task)
            task.add_done_callback(self._ended)
        return None

    def _has_room(self) -> bool:
        return len(self._running) < self._line.pace.size(self._most) and self.given.qsize() < self._most

    def _expected(self, place: int) -> Usage:
        expected = self._questions[place].expected
        return Usage(max(expected.prompt_tokens, self._largest_prompt), expected.completion_tokens)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._broken = task.exception()
        self._event.set()

    async def _send(self, client: httpx.AsyncClient, place: int, tries: int, expected: Usage) -> None:
        """One request, from question to what is done about its reply."""
        question, line = self._questions[place], self._line
        held = expected.total, line.cost(expected)
        try:
            body = await asyncio.to_thread(question.body) if question.slow else question.body()
        except KeepsightError as error:
            line.budget.give_back(*held)
            self.given.put((place, Failure(str(error))))
            return
        sent_at = time.monotonic()
        reply = await line.server.send(client, "POST", _PATH, body)
        reply = question.reconsidered(body, reply) if isinstance(reply, Trouble) else reply
        answer = self._read(question, reply)
        used = self._used(reply, answer, expected)
        line.budget.settle(*held, used.total, line.cost(used))
        if isinstance(answer, Trouble):
            self._failed(place, tries, answer, sent_at)
        else:
            line.pace.went_well(self._most)
            self._given_up, self._silent_since = 0, None
            self.given.put((place, answer))

    def _read(self, question: Question[Answer], reply: dict[str, Any] | Trouble) -> Answer | Trouble:
        if isinstance(reply, Trouble):
            return reply
        try:
            return question.read(reply)
        except Unusable as error:
            return Trouble(str(error), again=True, maybe_paid=True)

    def _used(self, reply: dict[str, Any] | Trouble, answer: Answer | Trouble, expected: Usage) -> Usage:
        """What a request took: as reported; where nothing is, as expected, unless it was surely not charged."""
        reported = None if isinstance(reply, Trouble) else usage_of(reply)
        if reported is not None:
            self._largest_prompt = max(self._largest_prompt, reported.prompt_tokens)
            return reported
        return _NOTHING if isinstance(answer, Trouble) and not answer.maybe_paid else expected

    def _failed(self, place: int, tries: int, trouble: Trouble, sent_at: float) -> None:
        line, now = self._line, time.monotonic()
        if trouble.otherwise:  # no try of what is asked now
            heapq.heappush(self._again, (now, place, tries - 1, trouble.reason))
            return
        if trouble.busy:
            line.pace.went_badly(sent_at, trouble.wait)
            self._silent_since = sent_at if self._silent_since is None else self._silent_since
        reason = f"{line.server.address.name}: {trouble.reason}"
        if trouble.hopeless:
            self._stopped = reason
        elif trouble.wait is not None and trouble.wait > line.max_wait:
            self._stopped = f"{reason}; the server asks to wait {trouble.wait:.0f} s: run again then"
        elif self._silent_since is not None and now - self._silent_since > line.max_wait:
            self._stopped = f"{reason}; no answer for {line.max_wait:g} s: run again when the server is well"
        if self._stopped is None and trouble.again and tries <= line.retries:
            when = now + (trouble.wait or 0.0) + line.pace.delay(tries)
            heapq.heappush(self._again, (when, place, tries, reason))
            return
        given_up = f"{self._stopped or reason} ({tries} tries)" if tries > 1 else self._stopped or reason
        self.given.put((place, Failure(given_up)))
        self._given_up += trouble.again  # a question that is refused is no sign of a server that fails
        if self._given_up >= _GIVEN_UP_IN_A_ROW and self._stopped is None:
            self._stopped = f"{_GIVEN_UP_IN_A_ROW} samples in a row failed, the last: {given_up}"

    def _give_up_the_rest(self, reason: str) -> None:
        """What was tried keeps its own trouble beside the reason why it is not tried again."""
        for _, place, tries, trouble in self._again:
            told = trouble if trouble in reason else f"{trouble} ({tries} tries); not asked again: {reason}"
            self.given.put((place, Failure(told)))
        for place in self._fresh:
            self.given.put((place, Failure(f"not asked: {reason}")))
        self._again.clear()
        self._fresh.clear()
