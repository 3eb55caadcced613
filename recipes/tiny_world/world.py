"""What the embedded model learns from: pictures, the concepts true and false of each, and instruction turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keepsight.data.drawn import SETS, Picture
from keepsight.data.drawn.cards import RANKS
from keepsight.data.drawn.outlines import KINDS
from keepsight.data.drawn.palette import COLOURS
from keepsight.data.drawn.picture import pick
from keepsight.data.drawn.scenes import PLACES

__all__ = ["SHARES", "SLOTS", "Answers", "Concept", "World", "concepts", "set_of"]

SHARES = {
    "scenes": 0.34,
    "letters": 0.18,
    "shapes": 0.11,
    "digits": 0.12,
    "cards": 0.13,
    "textures": 0.08,
    "colours": 0.04,
}
Object = Mapping[str, Any]
Concept = tuple[tuple[str, ...], bool]  # words that together name something, and whether the picture shows it


@dataclass
class World:
    """All training pictures of all sets: `pixels` [n, 48, 48, 3] and, per set, the rows that belong to it."""

    pictures: list[Picture]
    pixels: NDArray[np.uint8]
    rows: dict[str, range]
    answers: Answers

    @classmethod
    def draw(cls, per_set: int, seed: int = 0) -> World:
        """`per_set` pictures of each drawn set (three times as many scenes); the digits are all there are."""
        pictures: list[Picture] = []
        rows = {}
        for name, drawn in SETS.items():
            count = None if drawn.size else per_set * (3 if name == "scenes" else 1)
            fresh = drawn.train(count, seed)
            rows[name] = range(len(pictures), len(pictures) + len(fresh))
            pictures += fresh
        return cls(pictures, np.stack([p.pixels for p in pictures]), rows, Answers.of(pictures))

    def batches(self, size: int, seed: int) -> Iterator[list[int]]:
        """Endless batches of rows, each with every set in its share."""
        rng = Random(seed)
        names = [name for name, share in SHARES.items() for _ in range(max(1, round(share * size)))]
        while True:
            yield [pick(rng, self.rows[name]) for name in names]


def set_of(picture: Picture) -> str:
    return picture.id.partition("/")[0]


def concepts(picture: Picture, rng: Random) -> list[Concept]:
    """Word bags, about as many true as false."""
    name = set_of(picture)
    if name == "scenes":
        return _scene_concepts(picture.facts["objects"], rng)
    if name == "cards":
        return _card_concepts(picture, rng)
    wrong = _other(rng, SETS[name].labels, picture.label)
    found: list[Concept] = [((picture.label,), True), ((wrong,), False)]
    colour = picture.facts.get("colour")
    if colour and name != "colours":
        found += [
            ((colour, picture.label), True),
            ((_other(rng, tuple(COLOURS), colour), picture.label), False),
        ]
    return found


def _other(rng: Random, options: Sequence[str], but: str) -> str:
    word: str = pick(rng, [x for x in options if x != but])
    return word


def _card_concepts(picture: Picture, rng: Random) -> list[Concept]:
    suit, rank = picture.facts["suit"], picture.facts["rank"]
    wrong_suit, wrong_rank = _other(rng, SETS["cards"].labels, suit), _other(rng, tuple(RANKS), rank)
    return [((suit,), True), ((wrong_suit,), False), ((rank, suit), True), ((wrong_rank, suit), False)]


def _scene_concepts(objects: Sequence[Object], rng: Random) -> list[Concept]:
    """Kinds, and colours with kinds, there and not there; the false pairs are mostly near misses."""
    kinds, pairs = {o["kind"] for o in objects}, {(o["colour"], o["kind"]) for o in objects}
    found: list[Concept] = []
    for thing in objects:
        kind, colour = thing["kind"], thing["colour"]
        found += [((kind,), True), ((colour, kind), True)]
        near = (
            (_other(rng, tuple(COLOURS), colour), kind),
            (pick(rng, objects)["colour"], kind),
            (colour, _other(rng, KINDS, kind)),
        )
        found += [(words, False) for words in near[:2] if words not in pairs] or [(near[2], near[2] in pairs)]
    absent = [kind for kind in KINDS if kind not in kinds]
    return found + [((pick(rng, absent),), False) for _ in objects]


@dataclass
class Answers:
    """What the reading heads must say, as class numbers; -100 where a picture has no such thing.

    label [n] (numbered within the set), colour [n], rank [n], and for scenes, by place: kind, colour, size, facing [n, 4].
    """

    label: NDArray[np.int64]
    colour: NDArray[np.int64]
    rank: NDArray[np.int64]
    places: NDArray[np.int64]

    @classmethod
    def of(cls, pictures: Sequence[Picture]) -> Answers:
        label = np.array([SETS[set_of(p)].labels.index(p.label) for p in pictures])
        colour = np.array(
            [list(COLOURS).index(p.facts["colour"]) if "colour" in p.facts else -100 for p in pictures]
        )
        rank = np.array([list(RANKS).index(p.facts["rank"]) if "rank" in p.facts else -100 for p in pictures])
        return cls(label, colour, rank, np.array([_places(p) for p in pictures]))


SLOTS = {
    "kind": (*KINDS, "nothing"),
    "colour": tuple(COLOURS),
    "size": ("small", "large"),
    "facing": ("left", "right"),
}


def _places(picture: Picture) -> list[list[int]]:
    """[4 places, 4 slots]"""
    if set_of(picture) != "scenes":
        return [[-100] * 4] * 4
    by_cell = {(o["row"], o["col"]): o for o in picture.facts["objects"]}
    return [_slots(by_cell.get(cell)) for cell in PLACES]


def _slots(thing: Object | None) -> list[int]:
    if thing is None:
        return [SLOTS["kind"].index("nothing"), -100, -100, -100]
    return [options.index(thing[slot]) if thing[slot] else -100 for slot, options in SLOTS.items()]
