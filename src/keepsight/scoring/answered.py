"""What every scorer does alike: an output that was never generated is no answer, right or wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from keepsight.types import KeepsightError, Output, Sample, Score, digest_of

__all__ = ["SHARE", "failed", "score_answered", "score_each", "version_of"]

SHARE = (0.0, 1.0)
"""Bounds of scores that are no mere 0 or 1: where all are alike, an interval of their mean rests on them."""


def score_answered(
    samples: Sequence[Sample],
    outputs: Sequence[Output],
    score: Callable[[Sequence[Sample], Sequence[Output]], Sequence[Score]],
    bounds: tuple[float, float] | None = None,
) -> list[Score]:
    """Scores the outputs that exist with `score`, in one batch; the others get status "error" and no value.

    Args:
        bounds: between which every value must lie; the scores carry them (0/1 scores need none).
    """
    if len(samples) != len(outputs):
        raise KeepsightError(
            f"{len(samples)} samples but {len(outputs)} outputs; every sample needs its output"
        )
    kept = [index for index, output in enumerate(outputs) if output.error is None]
    scored = score([samples[index] for index in kept], [outputs[index] for index in kept])
    if bounds is not None:
        scored = [replace(each, bounds=bounds) for each in scored]
    by_index = dict(zip(kept, scored, strict=True))
    return [
        by_index[index] if index in by_index else failed(output.error or "")
        for index, output in enumerate(outputs)
    ]


def score_each(
    samples: Sequence[Sample],
    outputs: Sequence[Output],
    score: Callable[[Sample, str], Score],
    bounds: tuple[float, float] | None = None,
) -> list[Score]:
    """`score_answered` for a scorer that reads one answer at a time."""
    return score_answered(
        samples,
        outputs,
        lambda some, answers: [score(s, o.text) for s, o in zip(some, answers, strict=True)],
        bounds,
    )


def failed(error: str) -> Score:
    """The score of an output that was never generated."""
    return Score(math.nan, status="error", explanation=error)


def version_of(code: str, *settings: Any) -> str:
    """A scorer's version: that of its rules, and a digest of the settings its scores depend on."""
    return f"{code}-{digest_of(list(settings))[:8]}"
