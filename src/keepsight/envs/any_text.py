"""Any text as a space of Gymnasium's, whose own Text knows texts of one alphabet and of a greatest length.

Flat, such a text is its code points, and behind them `PADDING`.
"""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import numpy as np
from gymnasium import spaces
from gymnasium.spaces.utils import flatten, flatten_space, unflatten
from gymnasium.vector.utils import create_shared_memory
from numpy.typing import NDArray

from keepsight.errors import UsageError

__all__ = ["MOST_CHARACTERS", "AnyText"]

MOST_CHARACTERS = 100_000  # of an answer that are read, and of a text that is made flat
PADDING = sys.maxunicode + 1

Codes = NDArray[np.int32]  # [MOST_CHARACTERS]


class AnyText(spaces.Text):
    """Any text: a dialogue has no alphabet and no longest form."""

    def __init__(self) -> None:
        super().__init__(MOST_CHARACTERS, min_length=0)

    def contains(self, x: Any) -> bool:
        """Whether `x` is a text."""
        return isinstance(x, str)

    def sample(self, *args: Any, **kwargs: Any) -> str:
        """A short text of letters and digits."""
        return "".join(self.np_random.choice(list(self.characters), size=int(self.np_random.integers(32))))


@flatten_space.register(AnyText)
def _flatten_space(space: AnyText) -> spaces.Box:
    return spaces.Box(0, PADDING, (MOST_CHARACTERS,), np.int32)


@flatten.register(AnyText)
def _flatten(space: AnyText, x: str) -> Codes:  # type: ignore[misc]
    if len(x) > MOST_CHARACTERS:
        raise UsageError(
            f"a text of {len(x):,} characters has no flat form; give at most {MOST_CHARACTERS:,}"
        )
    codes = np.full(MOST_CHARACTERS, PADDING, np.int32)
    codes[: len(x)] = np.frombuffer(x.encode("utf-32-le", "surrogatepass"), np.int32)
    return codes


@unflatten.register(AnyText)
def _unflatten(space: AnyText, x: Codes) -> str:  # type: ignore[misc]
    return x[x != PADDING].astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


@create_shared_memory.register(AnyText)
def _create_shared_memory(space: AnyText, n: int = 1, ctx: Any = None) -> NoReturn:
    # AsyncVectorEnv reads shared memory once, as views of arrays: a text would stay what it was at first.
    raise UsageError("texts cannot go through shared memory; give vector_kwargs={'shared_memory': False}")
