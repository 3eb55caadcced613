"""CoIN's eight kinds of task over the drawn world: questions whose answers follow from what was drawn.

| task | stands for | asked of |
|---|---|---|
| choices | ScienceQA | cards and scenes: which of four options? They stand in one order (*) |
| reading | TextVQA | a letter, a handwritten number, what is printed on a card |
| classes | ImageNet | shapes, and things that the embedded model was never shown |
| attributes | GQA | scenes of one or two objects: colour, place, size |
| unanswerable | VizWiz | number, suit, letter, pattern or shape; two in five are asked of a picture that has none |
| boxes | REC | scenes of one large object; its box is taught with one decimal and known to the pixel |
| counts | VQAv2 | scenes: is it there, how many are there (in digits) |
| covers | OCR-VQA | covers of books: the title, what it is about |

(*) Options in any order take the embedded model 300 steps of 8 rows (27 % right after 100 and 99 % after 300, of 150); these
take it 100. Boxes with two decimals take as many.

Pictures are chosen by each row's own random stream, so a row depends on its task, split, seed and number, and on no other
row. Source of the kinds and their order: Chen et al., "CoIN" (arXiv:2403.08350), Table 1 and section 5.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from keepsight.data.coin import OBJECT_QUESTION, Item
from keepsight.data.coin.item import LETTERS, options_text
from keepsight.data.drawn import ALL_SETS, SIDE
from keepsight.data.drawn.cards import RANKS
from keepsight.data.drawn.covers import ABOUT, COVERS
from keepsight.data.drawn.outlines import KINDS
from keepsight.data.drawn.phrases import a
from keepsight.data.drawn.picture import DrawnSet, Picture, Split, pick
from keepsight.data.drawn.scenes import PLACES, name_of
from keepsight.types import KeepsightError

__all__ = ["DRAWN_TASKS", "DrawnTask", "drawn_items"]

UNANSWERABLE = "unanswerable"
_PICTURES = 1_000_000  # as many different ones of each drawn set and split
_QUESTIONS = {
    "shapes": "What shape is it?",
    "cards": "What suit is the card?",
    "textures": "What pattern is it?",
    "digits": "What number is it?",
    "letters": "What letter is it?",
    "scenes": "How many objects are there?",
}
_READ = {
    "letters": "What letter is on the sign?",
    "digits": "What number is on the sign?",
    "cards": "What is written on the card?",
}
_UNANSWERED = (
    0.4  # VizWiz: about three in ten; more here, so that saying so is no rare event in a small sample
)


@dataclass(frozen=True)
class _Row:
    """A question on a picture, before it has an id."""

    picture: Picture
    question: str
    answer: str
    choices: tuple[str, ...] = ()
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class DrawnTask:
    """One kind of task: which of CoIN's it stands for, what it asks, and how a row is drawn."""

    of: str
    title: str
    draw: Callable[[Random, Split, int], _Row]


def drawn_items(name: str, split: Split, n: int, seed: int = 0) -> list[Item]:
    """The first `n` rows of a task's split; `n` + 1 rows begin with them.

    Raises:
        KeepsightError: a task that is none of `DRAWN_TASKS`.
    """
    if name not in DRAWN_TASKS:
        raise KeepsightError(f"no drawn task {name!r}; there are {', '.join(DRAWN_TASKS)}")
    return [_item(name, split, seed, index) for index in range(n)]


def _item(name: str, split: Split, seed: int, index: int) -> Item:
    row = DRAWN_TASKS[name].draw(Random(f"{seed}/coin/{name}/{split}/{index}"), split, seed)
    return Item(
        id=f"{split}/{seed}/{index:05d}",
        question=row.question,
        answer=row.answer,
        media=row.picture.media,
        picture=row.picture.id,
        choices=row.choices,
        box=row.box,
        size=(SIDE, SIDE),
    )


def _choices(rng: Random, split: Split, seed: int) -> _Row:
    name = pick(rng, ("cards", "scenes"))
    picture, options = _shown(ALL_SETS[name], rng, split, seed), ALL_SETS[name].labels
    letter = LETTERS[options.index(picture.label)]
    return _Row(picture, options_text(_QUESTIONS[name], options), letter, options)


def _reading(rng: Random, split: Split, seed: int) -> _Row:
    name = pick(rng, tuple(_READ))
    picture = _shown(ALL_SETS[name], rng, split, seed)
    written = RANKS[picture.facts["rank"]] if name == "cards" else picture.label
    return _Row(picture, _READ[name], written)


def _classes(rng: Random, split: Split, seed: int) -> _Row:
    known = (ALL_SETS["shapes"], ALL_SETS["things"])
    picture = _shown(pick(rng, known), rng, split, seed)
    labels = tuple(label for drawn in known for label in drawn.labels)
    return _Row(picture, OBJECT_QUESTION, picture.label, labels)


def _attributes(rng: Random, split: Split, seed: int) -> _Row:
    scene = _scene(rng, split, seed, lambda things: len(things) < 3 and _differ(things))
    thing = pick(rng, scene.facts["objects"])
    kind = thing["kind"]
    question, answer = pick(
        rng,
        (
            (f"What color is the {kind}?", thing["colour"]),
            (f"Where is the {kind}?", PLACES[thing["row"], thing["col"]]),
            (f"Is the {kind} small or large?", thing["size"]),
        ),
    )
    return _Row(scene, question, answer)


def _unanswerable(rng: Random, split: Split, seed: int) -> _Row:
    sets = ("digits", "cards", "letters", "textures", "shapes")
    name = pick(rng, sets)
    picture = _shown(ALL_SETS[name], rng, split, seed)
    known = rng.random() >= _UNANSWERED
    asked = name if known else pick(rng, [other for other in sets if other != name])
    choices = (*ALL_SETS[asked].labels, UNANSWERABLE)
    return _Row(picture, _QUESTIONS[asked], picture.label if known else UNANSWERABLE, choices)


def _boxes(rng: Random, split: Split, seed: int) -> _Row:
    scene = _scene(rng, split, seed, lambda things: [thing["size"] for thing in things] == ["large"])
    (thing,) = scene.facts["objects"]
    x1, y1, x2, y2 = (edge / SIDE for edge in thing["box"])
    return _Row(scene, f"the {name_of(thing)}", _written((x1, y1, x2, y2)), box=(x1, y1, x2, y2))


def _counts(rng: Random, split: Split, seed: int) -> _Row:
    scene = _scene(rng, split, seed, lambda things: True)
    things = scene.facts["objects"]
    if rng.random() < 0.5:
        return _Row(scene, "How many objects are there?", str(len(things)))
    there = sorted({thing["kind"] for thing in things})
    yes = rng.random() < 0.5
    kind = pick(rng, there if yes else [kind for kind in KINDS if kind not in there])
    return _Row(scene, f"Is there {a(kind)} in the image?", "yes" if yes else "no")


def _covers(rng: Random, split: Split, seed: int) -> _Row:
    picture = _shown(COVERS, rng, split, seed)
    question = pick(rng, COVERS.questions(picture, rng))
    choices = COVERS.labels if question.kind == "title" else tuple(ABOUT.values())
    return _Row(picture, question.prompt, question.answer, choices)


DRAWN_TASKS: Mapping[str, DrawnTask] = {
    "choices": DrawnTask("ScienceQA", "which of four options?", _choices),
    "reading": DrawnTask("TextVQA", "letters, numbers and cards, read", _reading),
    "classes": DrawnTask("ImageNet", "what is the object?", _classes),
    "attributes": DrawnTask("GQA", "colour, place and size of an object", _attributes),
    "unanswerable": DrawnTask("VizWiz", "questions, two in five of them on what is not there", _unanswerable),
    "boxes": DrawnTask("REC", "the box of what a sentence describes", _boxes),
    "counts": DrawnTask("VQAv2", "is it there, and how many are there?", _counts),
    "covers": DrawnTask("OCR-VQA", "covers of books: title and subject", _covers),
}


def _shown(drawn: DrawnSet, rng: Random, split: Split, seed: int) -> Picture:
    """A picture of the set at random."""
    there = (drawn.size or {}).get(split, _PICTURES)
    return drawn.picture(split, int(rng.random() * there), seed)


def _scene(rng: Random, split: Split, seed: int, fits: Callable[[Sequence[Any]], bool]) -> Picture:
    while True:
        scene = _shown(ALL_SETS["scenes"], rng, split, seed)
        if fits(scene.facts["objects"]):
            return scene


def _differ(things: Sequence[Mapping[str, Any]]) -> bool:
    """No two of one kind: "the moon" is one thing."""
    return len({thing["kind"] for thing in things}) == len(things)


def _written(box: Sequence[float]) -> str:
    """One decimal each: an IoU of at least 0.64 with the true box, and as many tokens as every other."""
    return f"[{', '.join(f'{edge:.1f}' for edge in box)}]"
