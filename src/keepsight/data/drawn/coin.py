"""Eight kinds of question over the world that ships, one for each task of CoIN, in its order.

Source of the kinds: Chen et al. (arXiv:2403.08350), Table 1. Each question follows from the facts of its picture; which
picture and which question is decided by a stream of the row's own.

| kind | as in CoIN | pictures | answer |
|---|---|---|---|
| choices | ScienceQA | cards, scenes | the letter of one of four options, which stand in one order (*) |
| reading | TextVQA | letters, digits, cards | what is written |
| classes | ImageNet | shapes, things | the object |
| attributes | GQA | scenes | colour, place or size of one object |
| unanswerable | VizWiz | digits, cards, letters, textures, shapes | the class, or "unanswerable" where something else is asked for |
| boxes | REC | one large object | its box, shares of the picture; one decimal is taught, its place to the pixel is known |
| counts | VQAv2 | scenes | yes, no, or how many objects there are |
| covers | OCR-VQA | book covers | the letter on it, its subject (which the colour tells), yes or no |

(*) To read options in any order takes the embedded model three times the rows that it needs for the others together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from keepsight.data.coin.item import DESCRIBE, INSTRUCTIONS, LETTERS, OBJECT_QUESTION, options_text
from keepsight.data.drawn.cards import CARDS, RANKS
from keepsight.data.drawn.digits import DIGITS
from keepsight.data.drawn.letters import LETTERS as LETTER_SET
from keepsight.data.drawn.outlines import FONTS, KINDS, glyph, transform
from keepsight.data.drawn.palette import any_colour, background, shade
from keepsight.data.drawn.phrases import a
from keepsight.data.drawn.picture import DrawnSet, Picture, Split, between, pick
from keepsight.data.drawn.raster import SIDE, blank, coverage, noise, paint
from keepsight.data.drawn.scenes import PLACES, SCENES, place
from keepsight.data.drawn.shapes import SHAPES
from keepsight.data.drawn.textures import TEXTURES
from keepsight.data.drawn.things import THINGS
from keepsight.types import Media, Sample

__all__ = ["LIKE", "SUBJECTS", "UNANSWERABLE", "drawn_rows"]

UNANSWERABLE = "unanswerable"
# Kind of question -> the task of CoIN that it stands for.
LIKE: Mapping[str, str] = {
    "choices": "ScienceQA", "reading": "TextVQA", "classes": "ImageNet", "attributes": "GQA", "unanswerable": "VizWiz",
    "boxes": "REC", "counts": "VQAv2", "covers": "OCR-VQA",
}  # fmt: skip
# What a cover's colour says of its book.
SUBJECTS: Mapping[str, str] = {
    "red": "heart", "orange": "house", "yellow": "star", "green": "tree", "blue": "fish", "purple": "moon", "pink": "cup", "white": "flag",
}  # fmt: skip
_UNANSWERABLE_SHARE = 0.3
_DRAWN = 1_000_000  # a drawn split has no end
_WHAT: Mapping[str, str] = {
    "digits": "What number is it?", "cards": "What suit is the card?", "letters": "What letter is it?", "textures": "What pattern is it?",
    "shapes": "What shape is it?", "scenes": "How many objects are there?",
}  # fmt: skip
_WRITTEN: Mapping[str, str] = {
    "letters": "What letter is on the sign?", "digits": "What number is written here?", "cards": "What is written on the card?",
}  # fmt: skip


@dataclass(frozen=True)
class _Asked:
    """One question on one picture, without its instruction."""

    media: Media
    question: str
    answer: str
    choices: tuple[str, ...] = ()
    box: tuple[float, ...] = ()


def drawn_rows(
    kind: str, split: Split, count: int, *, instruction: str = "type1", seed: int = 0
) -> list[Sample]:
    """The first `count` rows of a split: a longer one begins with the same rows.

    Args:
        kind: a key of `LIKE`.
        instruction: "type1" or "type2", a wording of CoIN's Table 1.
        seed: of pictures and questions.
    """
    return [_row(kind, split, i, instruction, seed) for i in range(count)]


def _row(kind: str, split: Split, index: int, instruction: str, seed: int) -> Sample:
    asked = _KINDS[kind](Random(f"{seed}/coin/{kind}/{split}/{index}"), split)
    boxed = LIKE[kind] == "REC"
    prompt = (
        f"{DESCRIBE}{asked.question}"
        if boxed
        else f"{asked.question}\n{INSTRUCTIONS[instruction][LIKE[kind]]}."
    )
    return Sample(
        id=f"{kind}/{split}/{seed}/{index:05d}",
        prompt=prompt,
        media=(asked.media,),
        target=(asked.answer,),
        choices=asked.choices,
        meta={
            "set": f"coin_drawn:{kind}",
            "question": prompt if boxed else asked.question,
            **({"box": list(asked.box)} if boxed else {}),
        },
    )


def _choices(rng: Random, split: Split) -> _Asked:
    drawn = pick(rng, (CARDS, SCENES))
    picture = _picture(drawn, rng, split)
    question = options_text(_WHAT[drawn.name], drawn.labels)
    return _Asked(picture.media, question, LETTERS[drawn.labels.index(picture.label)], drawn.labels)


def _reading(rng: Random, split: Split) -> _Asked:
    drawn = pick(rng, (LETTER_SET, DIGITS, CARDS))
    picture = _picture(drawn, rng, split)
    written = RANKS[picture.facts["rank"]] if drawn is CARDS else picture.label
    return _Asked(picture.media, _WRITTEN[drawn.name], written)


def _classes(rng: Random, split: Split) -> _Asked:
    picture = _picture(pick(rng, (SHAPES, THINGS)), rng, split)
    return _Asked(picture.media, OBJECT_QUESTION, picture.label)


def _attributes(rng: Random, split: Split) -> _Asked:
    while not (alone := _alone(picture := _picture(SCENES, rng, split))):
        pass  # two of one kind: no question says which
    thing = pick(rng, alone)
    kind = thing["kind"]
    question, answer = pick(
        rng,
        (
            (f"What color is the {kind}?", thing["colour"]),
            (f"Where is the {kind}?", PLACES[thing["row"], thing["col"]]),
            (f"Is the {kind} small or large?", thing["size"]),
        ),
    )
    return _Asked(picture.media, question, answer)


def _unanswerable(rng: Random, split: Split) -> _Asked:
    sets = (DIGITS, CARDS, LETTER_SET, TEXTURES, SHAPES)
    drawn = pick(rng, sets)
    picture = _picture(drawn, rng, split)
    if rng.random() < _UNANSWERABLE_SHARE:
        other = pick(rng, [each for each in sets if each is not drawn])
        return _Asked(picture.media, _WHAT[other.name], UNANSWERABLE)
    return _Asked(picture.media, _WHAT[drawn.name], picture.label)


def _boxes(rng: Random, split: Split) -> _Asked:
    canvas = blank(background(rng))
    thing = place(canvas, rng, pick(rng, tuple(PLACES)), pick(rng, KINDS), any_colour(rng), "large")
    media = Picture("", thing["kind"], noise(canvas, rng, 6)).media
    box = tuple(edge / SIDE for edge in thing["box"])
    return _Asked(media, f"the {thing['kind']}", f"[{', '.join(f'{edge:.1f}' for edge in box)}]", box=box)


def _counts(rng: Random, split: Split) -> _Asked:
    picture = _picture(SCENES, rng, split)
    if rng.random() < 0.5:
        return _Asked(picture.media, "How many objects are there?", picture.label)
    there = sorted({thing["kind"] for thing in picture.facts["objects"]})
    return _Asked(picture.media, *_polled(rng, "Is there {} in the image?", there, KINDS, a))


def _covers(rng: Random, split: Split) -> _Asked:
    colour, letter = pick(rng, tuple(SUBJECTS)), pick(rng, LETTER_SET.labels)
    media, subject = _cover(rng, letter, colour), SUBJECTS[colour]
    polled = _polled(rng, "Is this a book about the {}?", [subject], tuple(SUBJECTS.values()), str)
    title = ("What is the title of this book?", letter)
    return _Asked(media, *pick(rng, (title, ("What is this book about?", subject), polled)))


def _cover(rng: Random, letter: str, colour: str) -> Media:
    """A book with a spine of its colour and one letter for a title."""
    canvas = blank(background(rng))
    left, top = round(between(rng, 2, 8)), round(between(rng, 1, 3))
    canvas[top : top + 44, left : left + 38] = background(rng)
    ink = shade(rng, colour)
    canvas[top : top + 44, left : left + 3] = ink
    x, y = left + 20 + between(rng, -2, 2), top + 22 + between(rng, -5, 5)
    paint(canvas, coverage(transform(glyph(pick(rng, FONTS), letter), x, y, between(rng, 12, 15))), ink)
    return Picture("", letter, noise(canvas, rng, 6)).media


_KINDS: Mapping[str, Callable[[Random, Split], _Asked]] = {
    "choices": _choices,
    "reading": _reading,
    "classes": _classes,
    "attributes": _attributes,
    "unanswerable": _unanswerable,
    "boxes": _boxes,
    "counts": _counts,
    "covers": _covers,
}


def _polled(
    rng: Random, question: str, there: list[str], known: tuple[str, ...], form: Callable[[str], str]
) -> tuple[str, str]:
    """A question whose answer is yes as often as no."""
    if rng.random() < 0.5:
        return question.format(form(pick(rng, there))), "yes"
    return question.format(form(pick(rng, [thing for thing in known if thing not in there]))), "no"


def _picture(drawn: DrawnSet, rng: Random, split: Split) -> Picture:
    """Any picture of the split."""
    return drawn.picture(split, int(rng.random() * (drawn.size or {}).get(split, _DRAWN)))


def _alone(scene: Picture) -> list[Mapping[str, Any]]:
    """Objects that their kind names."""
    kinds = [thing["kind"] for thing in scene.facts["objects"]]
    return [thing for thing in scene.facts["objects"] if kinds.count(thing["kind"]) == 1]
