"""A benchmark to copy: one function that returns a Task.

Try it where it is, then change it:

    keepsight eval tiny --tasks src/keepsight/tasks/example.py:red_or_not

A task says what is asked (`test`), how (`infer`), how an answer is read and scored (`score`) and what figures come out
(`metrics`, the headline first). Everything else - resuming, judges, statistics, the report - follows from that.
To make it part of the package add a line to `TASKS` in this folder's `__init__`.
"""

from __future__ import annotations

from keepsight.data.drawn import SETS, Picture
from keepsight.inference import Generate
from keepsight.scoring.metrics import accuracy, unparsed_share, yes_ratio
from keepsight.scoring.yes_no import YesNo
from keepsight.types import Sample, Task

__all__ = ["red_or_not"]

# The prompt stands beside the scorer that reads its answer: `YesNo` takes the first word if it is yes or no.
PROMPT = "Is it red?"


def red_or_not(n: int = 100, seed: int = 0) -> Task:
    """Is the blot red?

    Args:
        n: pictures asked.
        seed: of the pictures.
    """
    return Task(
        name="red-or-not",
        version="1",  # raise it when a change makes old scores incomparable
        test=lambda: [_sample(picture) for picture in SETS["colours"].test(n, seed)],
        infer=Generate(max_new_tokens=8),
        score=YesNo(),
        metrics=(accuracy, yes_ratio, unparsed_share),
        description="Tells red blots from others.",
    )


def _sample(picture: Picture) -> Sample:
    answer = "Yes" if picture.label == "red" else "No"
    return Sample(
        id=picture.id, prompt=PROMPT, media=(picture.media,), target=(answer,), meta={"label": picture.label}
    )
