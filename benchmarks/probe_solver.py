"""Training a linear probe, against the recipe of the published code (Adam, 500 epochs).

Both get the same features, choose by the same validation pictures (a penalty here, an epoch there) and are asked the same
test pictures. Reading the features is neither side's work and not timed. CPU time is: other work on the machine does not count.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.record import Record
from keepsight import models
from keepsight.data.drawn import SETS, UNTAUGHT
from keepsight.diagnose.seen import question
from keepsight.diagnose.solvers import LinearHead, fit_adam, fit_lbfgs
from keepsight.models.features import HasStates, Place
from keepsight.scoring.statistics import wilson

__all__ = ["measure"]

DRAWN = {"things": UNTAUGHT["things"], "letters": SETS["letters"]}
TRAIN, VALIDATION, TEST = 1000, 100, 300  # pictures of each set
REPEATS = 5  # of the fast side; the median counts
EPOCHS = 500
GOAL = 50


def measure(ref: str = "tiny") -> Record:
    """Time of both on the last layer's last and mean token of two sets; what is fast must be as good (within its interval)."""
    model = models.load(ref)
    assert isinstance(model, HasStates)
    ours = theirs = 0.0
    told, as_good = [], True
    for name, drawn in DRAWN.items():
        pictures = [*drawn.train(TRAIN + VALIDATION), *drawn.test(TEST)]
        places: list[Place] = [(-1, "last"), (-1, "mean")]
        states = dict(model.states([question(picture) for picture in pictures], places))
        features = np.stack([states[at] for at in range(len(pictures))])  # [n, 2, d]
        for at, (_, position) in enumerate(places):
            parts = _parts(np.ascontiguousarray(features[:, at]), [picture.label for picture in pictures])
            runs = [_timed(fit_lbfgs, *parts[:4]) for _ in range(REPEATS)]
            adam, seconds = _timed(fit_adam, *parts[:4], epochs=EPOCHS)
            ours += statistics.median(taken for _, taken in runs)
            theirs += seconds
            first, second = (head.accuracy(*parts[4:]) for head in (runs[0][0], adam))
            as_good &= second <= wilson(first * TEST, TEST)[1]
            told.append(f"{name}, {position}: {100 * first:.1f} % against {100 * second:.1f} %")
    fits = len(told)
    detail = (
        f"{1000 * ours / fits:.1f} ms of CPU a probe against {1000 * theirs / fits:.0f} ms for {TRAIN} pictures; accuracy "
        f"on {TEST} test pictures ({'; '.join(told)}) {'is as good' if as_good else 'is WORSE'}"
    )
    return Record("probe_solver", theirs / ours, GOAL, as_good and theirs / ours >= GOAL, fits, detail)


def _parts(features: Any, labels: list[str]) -> tuple[Any, ...]:
    """Training, validation and test features, each with its labels."""
    ends = (0, TRAIN, TRAIN + VALIDATION, TRAIN + VALIDATION + TEST)
    return tuple(part for start, end in pairwise(ends) for part in (features[start:end], labels[start:end]))


def _timed(fit: Callable[..., LinearHead], *arguments: Any, **settings: Any) -> tuple[LinearHead, float]:
    before = time.process_time()
    return fit(*arguments, **settings), time.process_time() - before
