"""CoIN on what ships: eight tasks of its kinds over the drawn world, so that a whole study runs on the embedded model.

Source: Chen et al., "CoIN" (arXiv:2403.08350), Table 1 and sections 4.1 and 5.1. Kinds, order, instructions (`type1`, `type2`)
and volumes are the paper's; pictures and questions are drawn (`data.drawn.coin`), so every answer is known exactly.

*Instruction following* is the headline score: the letter, a box whose IoU is above a half, else the answer and nothing but
the answer (`scoring.same_text`). *General knowledge* stands beside it: the judge `semantic`, which ignores form.

What differs from the paper's tasks:
1. No answer is ambiguous, so one answer is known and no vote is needed.
2. Choices have a picture always. Relations of two objects (GQA) and yes/no questions on covers (OCR-VQA) are not asked, and
   a box is asked of one large object: the embedded model does not learn these in a minute.
3. What cannot be answered asks for what the picture has none of; VizWiz's pictures are often bad instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from keepsight.data.coin import INSTRUCTIONS, Item, asked
from keepsight.data.drawn.coin import DRAWN_TASKS, drawn_items
from keepsight.errors import UsageError
from keepsight.inference import Generate
from keepsight.scoring.boxes import BoxAccuracy
from keepsight.scoring.choice_letter import LetterOnly
from keepsight.scoring.metrics import accuracy, unparsed_share
from keepsight.scoring.same_text import SameText
from keepsight.scoring.semantic import Semantic
from keepsight.tasks.coin import volume_of
from keepsight.types import KeepsightError, MetricValue, Sample, Score, Scorer, Task

__all__ = ["DRAWN_NAMES", "coin_drawn", "instruction_following"]

VERSION = "1"
ROWS = 1200  # learnt, if all of a task's volume is
ASKED = 200
DRAWN_NAMES = tuple(f"coin_drawn:{name}" for name in DRAWN_TASKS)  # in CoIN's order
_LONGEST = {"boxes": 28}  # tokens of the embedded model; a box has 22
_SCORERS: dict[str, Callable[[], Scorer]] = {"choices": LetterOnly, "boxes": BoxAccuracy}


def coin_drawn(
    name: str,
    *,
    instruction: Literal["type1", "type2"] = "type1",
    n: int | None = None,
    volume: float = 1.0,
    rows: int = ROWS,
    split: Literal["test", "train"] = "test",
    seed: int = 0,
) -> Task:
    """One of the eight.

    Args:
        name: choices, reading, classes, attributes, unanswerable, boxes, counts or covers.
        instruction: the words that say how to answer, Table 1's Type1 or Type2. Questions and pictures are the same.
        n: rows asked (default 200).
        volume: share of the training rows that are learnt, above 0 and at most 1; a smaller share is part of a larger one.
        rows: training rows that there are.
        split: which rows are asked.
        seed: of rows and pictures.

    Raises:
        UsageError: a setting with a value that there is none of.
        KeepsightError: an unknown name.
    """
    _check(name, instruction, n, volume, rows, split)
    score = _SCORERS.get(name, SameText)()

    def samples(part: Literal["test", "train"], count: int) -> list[Sample]:
        return [_sample(name, instruction, item) for item in drawn_items(name, part, count, seed)]

    marks = [*[split] * (split != "test"), *[instruction] * (instruction != "type1")]
    return Task(
        name="-".join([f"coin_drawn:{name}", *marks]),
        version=VERSION,
        test=lambda: samples(split, n or (ASKED if split == "test" else rows)),
        infer=Generate(max_new_tokens=_LONGEST.get(name, 12)),
        score=score,
        metrics=(instruction_following, unparsed_share),
        train=lambda: volume_of(samples("train", rows), volume, seed),
        judges=(Semantic(),),
        description=f"As {DRAWN_TASKS[name].of} in CoIN: {DRAWN_TASKS[name].title}",
    )


def instruction_following(samples: Sequence[Sample], scores: Sequence[Score]) -> MetricValue:
    """Share of answers that are right and in the form asked for."""
    return replace(accuracy(samples, scores), name="instruction_following")


def _sample(name: str, instruction: str, item: Item) -> Sample:
    known = DRAWN_TASKS[name]
    prompt = asked(known.of, item, instruction)
    assert item.media is not None
    meta = {"set": f"coin_drawn:{name}", "question": item.question if item.box is None else prompt}
    return Sample(
        id=f"{name}/{item.id}",
        prompt=prompt,
        media=(item.media,),
        target=(item.answer,),
        choices=item.choices,
        meta=meta | ({} if item.box is None else {"box": list(item.box), "size": list(item.size or ())}),
    )


def _check(name: str, instruction: str, n: int | None, volume: float, rows: int, split: str) -> None:
    task = f"coin_drawn:{name}"
    if name not in DRAWN_TASKS:
        raise KeepsightError(f"no task {task}; there are {', '.join(DRAWN_TASKS)}")
    for what, value, known in (
        ("instruction", instruction, tuple(INSTRUCTIONS)),
        ("split", split, ("test", "train")),
    ):
        if value not in known:
            raise UsageError(f"{task}: {what} is {value!r}; give {' or '.join(known)}")
    for what, count in (("n", n), ("rows", rows)):
        if count is not None and (type(count) is not int or count < 1):
            raise UsageError(f"{task}: {what}={count} is no number of rows; give 1 or more")
    if type(volume) not in (int, float) or not 0 < volume <= 1:
        raise UsageError(f"{task}: volume {volume} is not in (0, 1]; 0.2 means 20 %")
