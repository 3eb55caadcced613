"""How many requests may be under way, learnt from how the server takes them.

Grows by one with every answer until the first sign of trouble (so it doubles while all are answered), then by one per
round; halves when the server says it is busy, fails, or falls silent. Requests that were under way together count as
one sign, or one hiccup would bring the number down to one.
"""

from __future__ import annotations

import time
from random import Random

__all__ = ["Pace"]

_START = 8
_LONGEST_PAUSE = (
    30.0  # seconds between two tries of a server that answers nothing, unless it names a longer one
)


class Pace:
    """One server's pace; it outlives a single call, so that what was learnt is kept.

    Attributes:
        resume_at: moment (`time.monotonic()`) before which nothing may be sent.
    """

    def __init__(self, backoff: float) -> None:
        self._backoff = backoff
        self._size = float(_START)
        self._careful = False
        self._shrunk_at = -1.0
        self._troubles = 0  # signs since the last answer
        self._random = Random()  # spreads waits; no answer depends on it
        self.resume_at = 0.0

    def size(self, most: int) -> int:
        """How many requests may be under way now."""
        return max(1, min(int(self._size), most))

    def went_well(self, most: int) -> None:
        """An answer came."""
        self._troubles = 0
        self._size = min(self._size + (1 / self._size if self._careful else 1), max(most, 1))

    def went_badly(self, sent_at: float, retry_after: float | None = None) -> None:
        """A request that was sent at `sent_at` came back with a sign of trouble."""
        now = time.monotonic()
        if sent_at > self._shrunk_at:
            self._troubles += 1
            alone = self._size < 2
            self._size, self._careful, self._shrunk_at = max(self._size / 2, 1.0), True, now
            if alone:  # going slower is not enough: leave it in peace
                self.resume_at = max(self.resume_at, now + self.delay(self._troubles))
        if retry_after is not None:
            self.resume_at = max(self.resume_at, now + retry_after)

    def delay(self, tries: int) -> float:
        """Seconds to wait after so many failed tries: doubled with each, at random between half and all of it."""
        longest = min(self._backoff * 2 ** min(tries - 1, 10), max(_LONGEST_PAUSE, self._backoff))
        return longest * (0.5 + self._random.random() / 2)
