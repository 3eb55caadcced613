"""A store in memory, bounded in bytes."""

from __future__ import annotations

from random import Random
from threading import Lock
from typing import Generic, Protocol, TypeVar

__all__ = ["Memory", "Sized"]


class Sized(Protocol):
    """Something that knows how many bytes it takes."""

    @property
    def nbytes(self) -> int: ...


Value = TypeVar("Value", bound=Sized)


class Memory(Generic[Value]):
    """Values by key, for any number of threads. When it is full a *random* value goes.

    An audit shows the same pictures again and again in the same order: the least recently used value is exactly the
    one needed next, and dropping it would leave no hit at all.
    """

    def __init__(self, limit: int) -> None:
        self.used = 0  # bytes
        self._limit = limit
        self._values: dict[str, Value] = {}
        self._order: list[str] = []
        self._random = Random(0)
        self._keeping = Lock()

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: str) -> Value | None:
        """The value, or None if it is not or no longer here."""
        return self._values.get(key)

    def keep(self, key: str, value: Value) -> None:
        """Keeps a new value, dropping others to make room; one larger than the whole limit is not kept."""
        if value.nbytes > self._limit:
            return
        with self._keeping:
            if key in self._values:
                return
            while self.used + value.nbytes > self._limit:
                self._drop()
            self._values[key] = value
            self._order.append(key)
            self.used += value.nbytes

    def _drop(self) -> None:
        at = self._random.randrange(len(self._order))
        self._order[at], self._order[-1] = self._order[-1], self._order[at]
        self.used -= self._values.pop(self._order.pop()).nbytes
