"""The next step's batches, prepared while this one is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

__all__ = ["Ahead", "Batch"]

Batch = Mapping[str, Any]


class Ahead:
    """Prepares the next step's batches in a thread while an accelerator computes this one.

    Not on a CPU: there the thread would take a core from the step, whose other threads would wait for it.
    """

    def __init__(self, prepare: Callable[[int], list[Batch]], *, ahead: bool) -> None:
        self._prepare = prepare
        self._ahead = ahead
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._next: Future[list[Batch]] | None = None

    def take(self, step: int, *, last: bool) -> list[Batch]:
        """The batches of `step`, which follows the one taken before; what failed in preparing them is raised here."""
        ready = self._next.result() if self._next is not None else self._prepare(step)
        self._next = self._pool.submit(self._prepare, step + 1) if self._ahead and not last else None
        return ready

    def wait(self) -> None:
        """Returns when nothing is being prepared."""
        if self._next is not None:
            wait([self._next])
