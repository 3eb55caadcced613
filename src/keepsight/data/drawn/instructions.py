"""Instruction data over the drawn sets: one question of many kinds per picture, with its right answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from keepsight.data.drawn import SETS
from keepsight.data.drawn.picture import DrawnSet, Picture, pick
from keepsight.types import Sample

__all__ = ["drawn_instructions"]


def drawn_instructions(
    n_per_set: int,
    *,
    sets: Mapping[str, DrawnSet] = SETS,
    label_prompt: Callable[[DrawnSet], str] | None = None,
    seed: int = 0,
) -> list[Sample]:
    """`n_per_set` training pictures of each set, each with one question: half of them yes or no, as far as a set has such.

    Args:
        label_prompt: the question for the label; every other picture then asks it, as the embedded model was taught.
        seed: of pictures and questions; every picture's question has a stream of its own.
    """
    return [
        _asked(drawn, picture, label_prompt, seed, i)
        for drawn in sets.values()
        for i, picture in enumerate(drawn.train(n_per_set, seed))
    ]


def _asked(
    drawn: DrawnSet, picture: Picture, label_prompt: Callable[[DrawnSet], str] | None, seed: int, index: int
) -> Sample:
    if label_prompt is not None and index % 2:
        return _sample(picture, "label", label_prompt(drawn), picture.label)
    rng = Random(f"{seed}/instruction/{picture.id}")
    questions = drawn.questions(picture, rng)
    polls = [question for question in questions if question.answer in ("Yes", "No")]
    others = [question for question in questions if question.answer not in ("Yes", "No")]
    chosen = pick(rng, (polls if rng.random() < 0.5 else others) or polls or others)
    return _sample(picture, chosen.kind, chosen.prompt, chosen.answer)


def _sample(picture: Picture, kind: str, prompt: str, answer: str) -> Sample:
    set_name = picture.id.partition("/")[0]
    return Sample(
        id=f"{picture.id}/{kind}",
        prompt=prompt,
        media=(picture.media,),
        target=(answer,),
        meta={"set": set_name, "label": picture.label, "kind": kind},
    )
