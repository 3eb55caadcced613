"""Why a model is bad at a picture set: one file per question, each a function `Study -> Finding`.

A question is one file in this folder and one line in `QUESTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable

from keepsight.diagnose.classify import gap
from keepsight.diagnose.decoding import decoding
from keepsight.diagnose.frequency import frequency
from keepsight.diagnose.label_sets import label_sets
from keepsight.diagnose.mixing import mixing
from keepsight.diagnose.objective import objective
from keepsight.diagnose.probe import probe
from keepsight.diagnose.prompts import prompts
from keepsight.diagnose.study import Study
from keepsight.diagnose.too_little import too_little
from keepsight.scoring.findings import Finding

__all__ = ["QUESTIONS", "Finding", "Study"]

# In the order in which a page shows them: from what costs nothing to change to what must be trained.
QUESTIONS: dict[str, Callable[..., Finding]] = {
    "gap": gap,
    "prompts": prompts,
    "label_sets": label_sets,
    "decoding": decoding,
    "probe": probe,
    "frequency": frequency,
    "too_little": too_little,
    "objective": objective,
    "mixing": mixing,
}
