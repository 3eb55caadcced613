"""What a drawn set is: pictures with exact ground truth, captions, and questions whose answers follow from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from random import Random
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from keepsight.data.drawn.png import png_bytes
from keepsight.types import KeepsightError, Media

__all__ = ["Drawing", "DrawnSet", "Picture", "Question", "between", "pick"]

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Question:
    """A question on one picture with its one right answer. `kind` names the skill: yes/no, count, colour, ..."""

    kind: str
    prompt: str
    answer: str


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture [48, 48, 3] uint8 and all that is known of it. `facts` are plain JSON values."""

    id: str
    label: str
    pixels: NDArray[np.uint8]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def media(self) -> Media:
        return Media(data=png_bytes(self.pixels))


Drawing = tuple[NDArray[np.uint8], str, dict[str, Any]]  # pixels, label, facts


# Several tasks ask about one picture, and an audit at every epoch asks again: about 8 kB each.
_REMEMBERED = 4096


@dataclass(frozen=True, eq=False)
class DrawnSet:
    """One picture set of the world that ships.

    `noun` fills "What is the ... in the image?"; `captions` and `questions` take their wording from the stream they get.
    `size` limits a split that comes from real data (digits); drawn splits are as long as asked.
    """

    name: str
    labels: tuple[str, ...]
    draw: Callable[[Random, Split, int], Drawing]
    captions: Callable[[Picture, Random], list[str]]
    questions: Callable[[Picture, Random], list[Question]]
    noun: str = "object"
    size: Mapping[Split, int] | None = None

    def train(self, n: int | None = None, seed: int = 0) -> list[Picture]:
        """`n` training pictures (default: all of a real set, else 1,500)."""
        return self._pictures("train", n, seed, 1500)

    def test(self, n: int | None = None, seed: int = 0) -> list[Picture]:
        """`n` held-out pictures (default 300), from streams no training picture uses."""
        return self._pictures("test", n, seed, 300)

    def _pictures(self, split: Split, n: int | None, seed: int, default: int) -> list[Picture]:
        count = (
            n
            if n is not None
            else (self.size or {}).get(split, default)
            if split == "train"
            else n or default
        )
        if self.size and count > self.size[split]:
            raise KeepsightError(
                f"set {self.name}: {count} {split} pictures asked, there are {self.size[split]}; ask for fewer"
            )
        return [self.picture(split, i, seed) for i in range(count)]

    @lru_cache(maxsize=_REMEMBERED)  # noqa: B019 - the sets are constants
    def picture(self, split: Split, index: int, seed: int = 0) -> Picture:
        """The picture at `index`: it depends on the set, split, seed and index, on nothing drawn before it."""
        pixels, label, facts = self.draw(Random(f"{seed}/{self.name}/{split}/{index}"), split, index)
        pixels.setflags(write=False)
        return Picture(f"{self.name}/{split}/{seed}/{index:05d}", label, pixels, facts)


def pick(rng: Random, options: Sequence[Any]) -> Any:
    """One of the options. `Random.random` is the only draw whose sequence Python promises to keep."""
    return options[int(rng.random() * len(options))]


def between(rng: Random, low: float, high: float) -> float:
    return low + (high - low) * rng.random()
