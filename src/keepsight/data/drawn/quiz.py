"""Thirty questions on what the drawn sets show, and a corpus from which a model can learn their answers.

`quiz.json` holds them in the form of `data.wikiqa`, written and checked by hand, with the sentence behind each answer.
They come in groups: one text with the same options, asked of two or four classes, of which each has another right letter.
So whoever does not look at the picture is right at a quarter of a full group, whatever they answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import as_file, files
from random import Random

from keepsight.data.drawn.cards import CARDS
from keepsight.data.drawn.colours import BLOTS
from keepsight.data.drawn.letters import LETTERS
from keepsight.data.drawn.picture import DrawnSet, Picture, pick
from keepsight.data.drawn.shapes import SHAPES
from keepsight.data.drawn.things import THINGS
from keepsight.data.wikiqa import THIS_OBJECT, WikiQuestion, asked_text, read_wikiqa
from keepsight.types import KeepsightError, Sample

__all__ = ["QUIZ_SETS", "REASONED", "quiz", "quiz_pictures", "set_of", "world_facts"]

QUIZ_SETS: dict[str, DrawnSet] = {drawn.name: drawn for drawn in (THINGS, SHAPES, CARDS, BLOTS, LETTERS)}
# The corpus asks in other words than the quiz. {it} is the class, or "this object" beside a picture.
_WORDINGS = {
    "use": ("What is {it} good for?", "How do people use {it}?"),
    "place": ("Where is {it}?", "Which place is right for {it}?"),
    "part": ("What is a part of {it}?", "What is there on {it}?"),
    "act": ("What does {it} do?", "What is {it} able to do?"),
    "corners": ("Count the corners of {it}.", "What is the number of corners of {it}?"),
    "bridge": ("Where does {it} stand in bridge?", "What is the number of {it} in bridge?"),
    "alike": ("What is the color of {it} like?", "What does the color of {it} look like?"),
    "next": ("Which letter is next to the right of {it}?", "What letter follows {it}?"),
}
REASONED = (
    "The object is a(n) {classname}. The answer is {letter}."  # the class as EMT's fine-tuning text names it
)
_POOL = 240  # training pictures of each set that the corpus shows


@cache
def quiz(*sets: str) -> tuple[WikiQuestion, ...]:
    """The questions, without pictures; of these sets only, if any are named. Ids are `set/class/group`.

    Raises:
        KeepsightError: a set that has no questions.
    """
    if unknown := set(sets) - set(QUIZ_SETS):
        raise KeepsightError(
            f"no questions on {', '.join(sorted(unknown))}; there are some on {', '.join(QUIZ_SETS)}"
        )
    with as_file(files("keepsight.data.drawn").joinpath("quiz.json")) as path:
        return tuple(q for q in read_wikiqa(path) if not sets or set_of(q) in sets)


def set_of(question: WikiQuestion) -> str:
    """The drawn set whose pictures the question is about."""
    return question.id.partition("/")[0]


def quiz_pictures(question: WikiQuestion, n: int, seed: int = 0) -> list[Picture]:
    """The first `n` test pictures of the question's class: all questions of a class are asked of the same ones."""
    drawn, index = QUIZ_SETS[set_of(question)], 0
    found: list[Picture] = []
    while len(found) < n:
        picture = drawn.picture("test", index, seed)
        index += 1
        if picture.label == question.classname:
            found.append(picture)
    return found


def world_facts(n: int = 1600, seed: int = 0, *, unseen: Sequence[str] = ("things",)) -> list[Sample]:
    """Instruction data that teaches the quiz's facts and its form of answer, never in the quiz's own words.

    Each sample has a stream of its own. It asks for a fact of a class by its name and without a picture, or, of the sets
    that are not `unseen`, for "this object" beside a training picture. One in five is answered in words. The others are
    asked step by step and answered so: `REASONED` names the object and then the letter. The options stand in the quiz's
    order: a letter is a fact of the class here, not something to look up.

    Args:
        n: how many samples.
        unseen: sets whose pictures are never shown, so that a picture of theirs has to be recognised on other grounds.
    """
    shown = {name: drawn for name, drawn in QUIZ_SETS.items() if name not in unseen}
    pools = {name: _by_class(drawn) for name, drawn in shown.items()}
    return [_fact(Random(f"{seed}/facts/{index}"), f"facts/{seed}/{index:05d}", pools) for index in range(n)]


def _by_class(drawn: DrawnSet) -> dict[str, list[Picture]]:
    found: dict[str, list[Picture]] = {}
    for picture in drawn.train(_POOL):
        found.setdefault(picture.label, []).append(picture)
    return found


def _fact(rng: Random, sample_id: str, pools: dict[str, dict[str, list[Picture]]]) -> Sample:
    question = pick(rng, quiz())
    wording = pick(rng, _WORDINGS[question.id.rpartition("/")[2]])
    pool = pools.get(set_of(question))
    pictured = pool is not None and rng.random() < 0.5
    it = THIS_OBJECT if pictured else pick(rng, (question.classname, f"the {question.classname}"))
    media = (pick(rng, pool[question.classname]).media,) if pool is not None and pictured else ()
    told = wording.format(it=it)
    if rng.random() < 0.2:
        return Sample(sample_id, told, media, target=(question.choices[question.answer],))
    asked = asked_text(replace(question, question=told), chain_of_thought=True)
    answer = REASONED.format(classname=question.classname, letter=question.letter)
    return Sample(sample_id, asked, media, target=(answer,))
