"""What a classification set is, whoever made it: pictures with one label each, in a training and a test split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from keepsight.errors import UsageError
from keepsight.types import KeepsightError, Media

__all__ = [
    "LabelledImage",
    "LabelledPicture",
    "LabelledSet",
    "PictureSet",
    "Rows",
    "choose",
    "label_text",
    "smallest",
]


class LabelledPicture(Protocol):
    """One picture and its class."""

    @property
    def id(self) -> str: ...

    @property
    def label(self) -> str: ...

    @property
    def media(self) -> Media: ...


class PictureSet(Protocol):
    """A set to classify: `LabelledSet` and the drawn sets alike. `noun` fills "What is the ... in the image?"."""

    @property
    def name(self) -> str: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def noun(self) -> str: ...

    def train(self, n: int | None = None, seed: int = 0) -> Sequence[LabelledPicture]: ...

    def test(self, n: int | None = None, seed: int = 0) -> Sequence[LabelledPicture]: ...


@dataclass(frozen=True)
class LabelledImage:
    """A picture read from a data set. The id is its path in the folder, or its row in the table."""

    id: str
    media: Media
    label: str


@dataclass(frozen=True)
class Rows:
    """One split: ids and labels are known at once, picture bytes are fetched for the rows asked for only."""

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    fetch: Callable[[Sequence[int]], list[Media]]

    def pick(self, n: int | None, seed: int) -> list[LabelledImage]:
        """`n` random rows in row order: those whose digest of seed and id is smallest, so that `n` + 1 rows hold
        the `n` rows and a new picture changes nothing about the others."""
        chosen = range(len(self.ids)) if n is None else sorted(smallest(self.ids, n, seed))
        media = self.fetch(chosen)
        return [LabelledImage(self.ids[i], m, self.labels[i]) for i, m in zip(chosen, media)]

    def part(self, chosen: Sequence[int]) -> Rows:
        """The rows at these places, still unread."""
        return Rows(
            tuple(self.ids[i] for i in chosen),
            tuple(self.labels[i] for i in chosen),
            lambda places: self.fetch([chosen[i] for i in places]),
        )


@dataclass(frozen=True)
class LabelledSet:
    """A classification set read from disk or a hub.

    `labels` are in text form ("African hunting dog") and in data-set order. `notes` say what a user should know of
    how the set was read: which split rule was used, which files were passed over.
    """

    name: str
    labels: tuple[str, ...]
    splits: Mapping[str, Rows]  # "train", "test"
    noun: str = "object"
    notes: tuple[str, ...] = field(default=())

    def train(self, n: int | None = None, seed: int = 0) -> list[LabelledImage]:
        """`n` random training pictures (default all)."""
        return self._pick("train", n, seed)

    def test(self, n: int | None = None, seed: int = 0) -> list[LabelledImage]:
        """`n` random test pictures (default all)."""
        return self._pick("test", n, seed)

    def count(self, split: str) -> int:
        """How many pictures a split holds."""
        return len(self.splits[split].ids) if split in self.splits else 0

    def _pick(self, split: str, n: int | None, seed: int) -> list[LabelledImage]:
        if not self.count(split):
            there = ", ".join(name for name in self.splits if self.count(name)) or "none"
            raise KeepsightError(
                f"set {self.name}: it has no {split} pictures; ask for another split ({there})"
            )
        if n is not None and n > self.count(split):
            raise KeepsightError(
                f"set {self.name}: {n} {split} pictures asked, there are {self.count(split)}; ask for fewer"
            )
        return self.splits[split].pick(n, seed)


def label_text(name: str) -> str:
    """A label as it stands in a prompt: underscores become blanks (EMT, appendix C.1: `African hunting dog`)."""
    return " ".join(name.replace("_", " ").split())


def choose(
    pictures: PictureSet,
    split: str = "test",
    *,
    n: int | None = None,
    share: float | None = None,
    seed: int = 0,
) -> list[LabelledPicture]:
    """The pictures of a split ("train", "test" or "all"), or `n` of them, or a random `share`, in data-set order.

    A share is unstratified, as in EMT (appendix D.1: a random 20 % of the training data).

    Raises:
        UsageError: an unknown split, `n` below 1, a share outside (0, 1], or both `n` and `share`.
        KeepsightError: too few pictures.
    """
    _check_choice(pictures.name, split, n, share)
    if split != "all" and share is None:
        return list(_read(pictures, split, n, seed))
    if split != "all" and isinstance(
        pictures, LabelledSet
    ):  # counts without reading pictures it will not need
        return list(_read(pictures, split, _part(share, pictures.count(split)), seed))
    everything = [p for part in _parts(pictures, split) for p in _read(pictures, part, None, 0)]
    wanted = n if n is not None else _part(share, len(everything))
    return [everything[i] for i in sorted(smallest([p.id for p in everything], wanted, seed))]


def _check_choice(name: str, split: str, n: int | None, share: float | None) -> None:
    if split not in ("train", "test", "all"):
        raise UsageError(f"set {name}: there is no split {split!r}; ask for train, test or all")
    if share is not None and n is not None:
        raise UsageError(f"set {name}: both n={n} and share={share} are given; give one")
    if n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 1):
        raise UsageError(f"set {name}: n={n} is not a number of pictures; ask for 1 or more")
    if share is not None and (not isinstance(share, (int, float)) or not 0 < share <= 1):
        raise UsageError(f"set {name}: share {share} is not in (0, 1]; 0.2 means 20 %")


def _parts(pictures: PictureSet, split: str) -> list[str]:
    if split != "all":
        return [split]
    if isinstance(pictures, LabelledSet):
        return [name for name in ("train", "test") if pictures.count(name)]
    return ["train", "test"]


def _part(share: float | None, count: int) -> int:
    return count if share is None else max(1, round(share * count))


def _read(pictures: PictureSet, split: str, n: int | None, seed: int) -> Sequence[LabelledPicture]:
    return pictures.train(n, seed) if split == "train" else pictures.test(n, seed)


def smallest(ids: Sequence[str], n: int, seed: int) -> list[int]:
    """The places of the `n` ids whose digest with the seed is smallest: those of a smaller `n` are among them."""
    ranks = {i: hashlib.sha256(f"{seed}/{name}".encode()).digest() for i, name in enumerate(ids)}
    return sorted(ranks, key=lambda i: (ranks[i], i))[:n]
