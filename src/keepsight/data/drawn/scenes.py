"""One to four objects on a two by two grid, with everything known of each: the ground for polling, captions and relations.

`facts["objects"]` lists, in reading order, `{kind, colour, size, facing, row, col, box}`; `box` is x0, y0, x1, y1 in
pixels, `facing` is left, right or None. The class of a scene is how many objects it shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keepsight.data.drawn.outlines import FACING_KINDS, KINDS, kind_outline, transform
from keepsight.data.drawn.palette import COLOURS, any_colour, background, shade
from keepsight.data.drawn.phrases import a, listing, presence
from keepsight.data.drawn.picture import Drawing, DrawnSet, Picture, Question, Split, between, pick
from keepsight.data.drawn.raster import SIDE, blank, coverage, noise, paint

__all__ = ["PLACES", "SCENES", "name_of", "relation"]

LABELS = ("one", "two", "three", "four")
PLACES = {(0, 0): "upper left", (0, 1): "upper right", (1, 0): "lower left", (1, 1): "lower right"}
CELL = SIDE // 2
SCALES = {"small": 6.5, "large": 10.5}
TWIN_SHARE = 0.25  # scenes in which one kind appears twice, in two colours

Object = Mapping[str, Any]


@cache
def _stencil(kind: str, size: str, facing: str | None) -> tuple[NDArray[np.int32], tuple[int, int, int, int]]:
    """Coverage [24, 24] of one object and its box inside the cell."""
    middle = CELL / 2
    mask = coverage(
        transform(kind_outline(kind), middle, middle, SCALES[size], mirror=facing == "left"), CELL
    )
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return mask, (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def _draw(rng: Random, split: Split, index: int) -> Drawing:
    count = 1 + int(rng.random() * 4)
    cells = sorted(_sample(rng, tuple(PLACES), count))
    looks = _looks(rng, count)
    canvas = blank(background(rng))
    objects = [_place(canvas, rng, cell, *look) for cell, look in zip(cells, looks)]
    return noise(canvas, rng, 6), LABELS[count - 1], {"objects": objects}


def _sample(rng: Random, options: Sequence[Any], count: int) -> list[Any]:
    left = list(options)
    return [left.pop(int(rng.random() * len(left))) for _ in range(count)]


def _looks(rng: Random, count: int) -> list[tuple[str, str]]:
    """(kind, colour) of each object: kinds differ, but for a twin in another colour now and then."""
    kinds = _sample(rng, KINDS, count)
    if count > 1 and rng.random() < TWIN_SHARE:
        kinds[-1] = kinds[0]
    colours = [any_colour(rng) for _ in kinds]
    if count > 1 and kinds[-1] == kinds[0] and colours[-1] == colours[0]:
        colours[-1] = pick(rng, [c for c in COLOURS if c != colours[0]])
    looks = list(zip(kinds, colours))
    return _sample(rng, looks, len(looks))


def _place(
    canvas: NDArray[np.int32], rng: Random, cell: tuple[int, int], kind: str, colour: str
) -> dict[str, Any]:
    size = pick(rng, tuple(SCALES))
    facing = pick(rng, ("left", "right")) if kind in FACING_KINDS else None
    mask, box = _stencil(kind, size, facing)
    room = 3 if size == "small" else 1
    x, y = (CELL * k + round(between(rng, -room, room)) for k in (cell[1], cell[0]))
    paint(canvas, mask, shade(rng, colour), x, y)
    return {
        "kind": kind, "colour": colour, "size": size, "facing": facing, "row": cell[0], "col": cell[1],
        "box": [max(box[0] + x, 0), max(box[1] + y, 0), min(box[2] + x, SIDE), min(box[3] + y, SIDE)],
    }  # fmt: skip


def name_of(thing: Object) -> str:
    """Colour and kind: `red moon`."""
    return f"{thing['colour']} {thing['kind']}"


def relation(first: Object, second: Object) -> tuple[str, ...]:
    """All that holds of first towards second: left of, right of, above, below."""
    words = []
    if first["col"] != second["col"]:
        words.append("left of" if first["col"] < second["col"] else "right of")
    if first["row"] != second["row"]:
        words.append("above" if first["row"] < second["row"] else "below")
    return tuple(words)


def _captions(picture: Picture, rng: Random) -> list[str]:
    objects = picture.facts["objects"]
    return [
        listing([a(thing["kind"]) for thing in objects]),
        listing([a(name_of(thing)) for thing in objects]),
    ]


def _unique(objects: Sequence[Object]) -> list[Object]:
    kinds = [thing["kind"] for thing in objects]
    return [thing for thing in objects if kinds.count(thing["kind"]) == 1]


def _questions(picture: Picture, rng: Random) -> list[Question]:
    objects = picture.facts["objects"]
    return [
        *_presence_questions(objects, rng),
        *_attribute_questions(objects, rng),
        *_relation_questions(objects, rng),
        *_count_questions(objects, picture.label, rng),
        Question("caption", "Describe the image.", listing([a(name_of(thing)) for thing in objects])),
        Question(
            "names", "Which objects are in the image?", listing([a(thing["kind"]) for thing in objects])
        ),
    ]


def _presence_questions(objects: Sequence[Object], rng: Random) -> list[Question]:
    """Kind alone and colour with kind. Half of the false pairs mix a colour and a kind that are both there."""
    kinds, pairs = {o["kind"] for o in objects}, {(o["colour"], o["kind"]) for o in objects}
    there = pick(rng, objects)
    absent = pick(rng, [kind for kind in KINDS if kind not in kinds])
    return [
        presence(a(there["kind"]), True),
        presence(a(absent), False),
        presence(a(name_of(there)), True),
        presence(a(" ".join(_false_pair(objects, pairs, rng))), False),
    ]


def _false_pair(objects: Sequence[Object], pairs: set[tuple[str, str]], rng: Random) -> tuple[str, str]:
    while True:
        thing = pick(rng, objects)
        way = rng.random()
        colour = (
            pick(rng, objects)["colour"] if way < 0.4 else any_colour(rng) if way < 0.7 else thing["colour"]
        )
        kind = thing["kind"] if way < 0.7 else pick(rng, KINDS)
        if (colour, kind) not in pairs:
            return colour, kind


def _attribute_questions(objects: Sequence[Object], rng: Random) -> list[Question]:
    questions = []
    row, col = pick(rng, tuple(PLACES))
    at = [o for o in objects if (o["row"], o["col"]) == (row, col)]
    questions.append(
        Question("place", f"What is in the {PLACES[row, col]}?", a(name_of(at[0])) if at else "nothing")
    )
    for thing in _unique(objects)[:2]:
        kind = thing["kind"]
        questions.append(Question("colour", f"What color is the {kind}?", thing["colour"]))
        questions.append(Question("where", f"Where is the {kind}?", PLACES[thing["row"], thing["col"]]))
        questions.append(Question("size", f"Is the {kind} small or large?", thing["size"]))
        if thing["facing"]:
            questions.append(Question("facing", f"Which way does the {kind} face?", thing["facing"]))
    return questions


def _relation_questions(objects: Sequence[Object], rng: Random) -> list[Question]:
    unique = _unique(objects)
    if len(unique) < 2:
        return []
    first, second = _sample(rng, unique, 2)
    word = pick(rng, ("left of", "right of", "above", "below"))
    answer = "Yes" if word in relation(first, second) else "No"
    true_word = pick(rng, relation(first, second))
    return [
        Question("relation", f"Is the {first['kind']} {word} the {second['kind']}?", answer),
        Question("relation", f"Is the {first['kind']} {true_word} the {second['kind']}?", "Yes"),
    ]


def _count_questions(objects: Sequence[Object], label: str, rng: Random) -> list[Question]:
    kind = pick(rng, objects)["kind"]
    count = sum(o["kind"] == kind for o in objects)
    return [
        Question("count", "How many objects are there?", label),
        Question("count", f"How many {kind} objects are there?", LABELS[count - 1]),
    ]


SCENES = DrawnSet("scenes", LABELS, _draw, _captions, _questions, noun="number of objects")
