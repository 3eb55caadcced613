"""Why a model is bad at a picture set: one file per question, each a function `Study -> Finding`.

A question is one file in this folder and one line in `QUESTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable

from keepsight.diagnose.objective import objective
from keepsight.diagnose.probe import probe
from keepsight.diagnose.study import Study
from keepsight.scoring.findings import Finding

__all__ = ["QUESTIONS", "Finding", "Study"]

QUESTIONS: dict[str, Callable[..., Finding]] = {
    "probe": probe,
    "objective": objective,
}
