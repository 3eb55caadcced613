"""How good is a judge? Its verdicts beside a person's on a labelled sample, and what that makes of its accuracy figures.

A judge that calls some right answers incorrect and some wrong ones correct reports

    p = sensitivity * a + (1 - specificity) * (1 - a)

instead of the accuracy a. Solved for a this is Rogan and Gladen's estimate (1978, *American Journal of Epidemiology*
107:71-76). It holds where the judge errs as often as on the labelled sample, and only if the judge is better than
chance: sensitivity + specificity > 1.

Intervals of shares are Wilson's. Those of kappa, of the corrected accuracy and of sensitivity + specificity are
percentiles of draws from Jeffreys' posteriors (Dirichlet or beta with 1/2 added to every count): they cover about as
often as they say, and do not shrink to a point when judge and person never differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keepsight.scoring.metrics import effective_size, not_ok_counts
from keepsight.scoring.statistics import wilson
from keepsight.scoring.tables import cohen_kappa
from keepsight.types import KeepsightError, MetricValue, Sample, Score

__all__ = ["Calibration", "Estimate", "calibrate", "corrected_accuracy"]

_DRAWS = 20_000

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Estimate:
    """A figure, its 95 % interval, and the number of answers behind it; nan when there are none."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Calibration:
    """A judge beside a person. The first word is the judge's, the second the person's.

    Equal (question, answer, targets) are judged once; if the sample holds some several times, intervals are wider by
    the design effect of those clusters on the agreement.
    """

    correct_correct: int
    correct_incorrect: int
    incorrect_correct: int
    incorrect_incorrect: int
    not_ok: dict[str, int]  # labelled answers by status of the judge's score, other than "ok"
    agreement: Estimate
    precision: Estimate  # of what the judge calls correct, the share that is
    recall: Estimate  # of what is correct, the share that the judge calls so (sensitivity)
    specificity: Estimate  # of what is incorrect, the share that the judge calls so
    kappa: Estimate
    shrink: float  # independent answers per answer, 1 if nothing is clustered

    @property
    def n(self) -> int:
        """Labelled answers with a verdict."""
        return (
            self.correct_correct + self.correct_incorrect + self.incorrect_correct + self.incorrect_incorrect
        )


def calibrate(samples: Sequence[Sample], scores: Sequence[Score], labels: Sequence[bool]) -> Calibration:
    """Compares a judge's scores with a person's labels (true: the answer is correct), answer by answer.

    An answer without a verdict is left out and counted.

    Raises KeepsightError when no labelled answer has a verdict.
    """
    kept = [
        (score.value == 1, label, (sample.prompt, sample.target, score.answer))
        for sample, score, label in zip(samples, scores, labels, strict=True)
        if score.scored
    ]
    if not kept:
        raise KeepsightError(f"the judge gave no verdict on any of {len(scores)} labelled answers")
    counts = {
        (says, is_so): sum((a, b) == (says, is_so) for a, b, _ in kept)
        for says in (True, False)
        for is_so in (True, False)
    }
    tp, fp, fn, tn = (counts[pair] for pair in ((True, True), (True, False), (False, True), (False, False)))
    shrink = effective_size([float(a == b) for a, b, _ in kept], [pair for *_, pair in kept]) / len(kept)
    low, high = _percentiles(_kappas(shrink * np.array([tp, fp, fn, tn])))
    kappa = cohen_kappa(tp, fp, fn, tn)
    return Calibration(
        tp,
        fp,
        fn,
        tn,
        not_ok_counts(scores),
        agreement=_share(tp + tn, len(kept), shrink),
        precision=_share(tp, tp + fp, shrink),
        recall=_share(tp, tp + fn, shrink),
        specificity=_share(tn, tn + fp, shrink),
        kappa=Estimate(kappa, low, high, len(kept))
        if math.isnan(kappa)
        else Estimate(kappa, min(low, kappa), max(high, kappa), len(kept)),
        shrink=shrink,
    )


def corrected_accuracy(judged: MetricValue, calibration: Calibration, n_effective: float) -> Estimate | None:
    """The accuracy that the judge's own figure points to, given how it errs; None where nothing can be said.

    None when the labelled sample does not show the judge to be better than chance: its figure then says nothing about
    the accuracy. Estimates beyond 0 or 1, which sampling error produces, are drawn back to them.

    Args:
        judged: the accuracy by this judge; answers without a verdict are not part of it, nor of the correction.
        calibration: of the same version of the judge, on answers that it errs on as often.
        n_effective: independent answers behind `judged`.
    """
    if not calibration.recall.n or not calibration.specificity.n or not judged.n:
        return None
    rng = np.random.default_rng(0)
    c, shrink = calibration, calibration.shrink
    sensitivity = _beta(rng, c.correct_correct * shrink, c.incorrect_correct * shrink)
    specificity = _beta(rng, c.incorrect_incorrect * shrink, c.correct_incorrect * shrink)
    if _percentiles(sensitivity + specificity - 1)[0] <= 0:
        return None
    share = _beta(rng, judged.value * n_effective, (1 - judged.value) * n_effective)
    low, high = _percentiles(_rogan_gladen(share, sensitivity, specificity))
    value = float(
        _rogan_gladen(np.array(judged.value), np.array(c.recall.value), np.array(c.specificity.value))
    )
    return Estimate(value, min(low, value), max(high, value), judged.n)


def _rogan_gladen(share: Array, sensitivity: Array, specificity: Array) -> Array:
    return np.asarray(np.clip((share + specificity - 1) / (sensitivity + specificity - 1), 0, 1))


def _share(k: int, n: int, shrink: float) -> Estimate:
    return Estimate(k / n if n else math.nan, *wilson(k * shrink, n * shrink), n)


def _kappas(counts: Array) -> Array:
    cells = np.random.default_rng(0).dirichlet(counts + 0.5, size=_DRAWS)  # [draws, 4]
    observed = cells[:, 0] + cells[:, 3]
    judge, person = cells[:, 0] + cells[:, 1], cells[:, 0] + cells[:, 2]
    chance = judge * person + (1 - judge) * (1 - person)
    return np.asarray((observed - chance) / (1 - chance))


def _beta(rng: np.random.Generator, successes: float, failures: float) -> Array:
    return rng.beta(successes + 0.5, failures + 0.5, size=_DRAWS)


def _percentiles(draws: Array) -> tuple[float, float]:
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(low), float(high)
