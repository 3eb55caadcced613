"""Is it the number of labels? The gap to CLIP with 2, 5, 20, 100 and all labels to choose from.

Source: "Why are Visually-Grounded Language Models Bad at Image Classification?", section 3.1, figures 2 and 4, table 7.

What differs from the paper:
1. The candidates of a picture come from its own random stream, are the same for every model and after a resume, and
   the smaller sets lie inside the larger ones, so that a step of the curve is a paired difference.
2. CLIP chooses among the same candidates of the same pictures; gaps and error ratios have intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from keepsight.diagnose.asking import (
    DECIDING,
    Paired,
    ask,
    ask_clip,
    pair,
    right_share,
    settings_of,
    shown,
)
from keepsight.diagnose.effects import figure, guilty, percent, points
from keepsight.diagnose.study import Study
from keepsight.models.clip import ZeroShotClip
from keepsight.scoring.findings import Finding, Line, Plot
from keepsight.scoring.statistics import bootstrap_ratio, paired_difference
from keepsight.tasks.classification import closed_world
from keepsight.types import KeepsightError, MetricValue, Run

__all__ = ["SIZES", "label_sets"]

TITLE = "Is it the number of labels?"
SIZES = (2, 5, 20, 100)  # section 3.1; all labels come last


@dataclass(frozen=True)
class _Size:
    """The answers with so many labels to choose from."""

    labels: int
    name: str
    model: Run
    clip: Run | None

    @property
    def paired(self) -> Paired | None:
        """(CLIP, model) per picture."""
        return None if self.clip is None else pair([self.clip, self.model])


def label_sets(study: Study, *, sizes: Sequence[int] = SIZES, max_new_tokens: int | None = None) -> Finding:
    """Is it the number of labels?

    Accuracy, gap to CLIP and error ratio by the number of labels; how much the gap narrows decides.

    Args:
        study: with a `clip`; without one there is no gap and no verdict.
        sizes: numbers of candidates; those that the set has not labels enough for are left out, all labels are added.
        max_new_tokens: where an answer is cut (default: the published 64).

    Raises:
        KeepsightError: a size below 2.
    """
    if min(sizes, default=2) < 2:
        raise KeepsightError(
            f"label_sets: {min(sizes)} is no number of labels to choose from; give 2 or more"
        )
    asked = _ask(study, sizes, max_new_tokens)
    narrows = _narrows(asked)
    shares = [
        share
        for size in asked
        for share in (
            _share("model", size, size.model),
            *([_share("CLIP", size, size.clip)] if size.clip else []),
        )
    ]
    gaps, ratios = [_gap(size) for size in asked if size.clip], [_ratio(size) for size in asked if size.clip]
    return Finding(
        question="label_sets",
        title=TITLE,
        verdict=guilty(narrows.low, narrows.high) if narrows else "no_evidence",
        answer=_answer(asked, narrows),
        figures=(*([narrows] if narrows else []), *gaps, *ratios, *shares),
        plots=_plots(asked, gaps, ratios),
        notes=_notes(asked, ratios, sizes),
        settings=settings_of(study, sizes=[size.labels for size in asked], max_new_tokens=max_new_tokens),
    )


def _ask(study: Study, sizes: Sequence[int], max_new_tokens: int | None) -> list[_Size]:
    pictures, count = shown(study), len(dict.fromkeys(study.labels))
    clip = ZeroShotClip(study.clip) if study.clip else None
    asked = []
    for size in [*sorted({size for size in sizes if size < count}), count]:
        task = closed_world(
            pictures,
            candidates=size if size < count else None,
            max_new_tokens=max_new_tokens,
            seed=study.seed,
        )
        name = f"{size} labels" if size < count else f"all {count} labels"
        asked.append(_Size(size, name, ask(study, task), ask_clip(study, clip, task) if clip else None))
    return asked


def _share(who: str, size: _Size, run: Run) -> MetricValue:
    return right_share(f"{who}, {size.name}", run, DECIDING)


def _gap(size: _Size) -> MetricValue:
    paired = size.paired
    assert paired is not None
    return figure(f"below CLIP, {size.name} ({DECIDING})", paired.compare(0, 1), paired.total)


def _ratio(size: _Size) -> MetricValue:
    """Errors of the model for one error of CLIP (figure 4); nan where CLIP makes none.

    An upper end that nothing bounds is nan, too: infinity is no JSON number.
    """
    paired = size.paired
    assert paired is not None
    errors = [[1 - value for value in values] for values in reversed(paired.values)]
    ratio, low, high = bootstrap_ratio(errors[0], errors[1], paired.clusters)
    low, high = (end if math.isfinite(end) else math.nan for end in (low, high))
    return MetricValue(f"error ratio, {size.name}", ratio, low, high, paired.n, paired.total)


def _narrows(asked: Sequence[_Size]) -> MetricValue | None:
    """The gap with all labels minus the gap with the fewest, on the same pictures."""
    few, many = asked[0], asked[-1]
    if few is many or few.clip is None or many.clip is None:
        return None
    paired = pair([many.clip, many.model, few.clip, few.model])
    with_many = [a - b for a, b in zip(paired.values[0], paired.values[1])]
    with_few = [a - b for a, b in zip(paired.values[2], paired.values[3])]
    result = paired_difference(with_many, with_few, paired.clusters)
    return figure(f"gap with {many.name} above gap with {few.name} ({DECIDING})", result, paired.total)


def _answer(asked: Sequence[_Size], narrows: MetricValue | None) -> str:
    few, many = asked[0], asked[-1]
    if narrows is None:
        own = _share("model", many, many.model)
        return f"With {many.name} it is right on {percent(own.value)} of {own.n} pictures; there is no curve to compare."
    first, last = _gap(few), _gap(many)
    told = (
        f"The gap to CLIP is {points(last)} with {many.name} and {points(first)} with {few.name}: so many "
        f"labels add {points(narrows)}."
    )
    hopeless = not any(_share("model", size, size.model).value for size in asked)
    return f"{told} The model is right on no picture, however few the labels." if hopeless else told


def _notes(asked: Sequence[_Size], ratios: Sequence[MetricValue], sizes: Sequence[int]) -> tuple[str, ...]:
    notes = ["Answers are judged against all labels at every size: the same text gets the same score."]
    left_out = sorted(size for size in set(sizes) if size > asked[-1].labels)
    if left_out:
        notes.append(f"The set has {asked[-1].labels} labels; not asked: {', '.join(map(str, left_out))}.")
    if asked[-1].clip is None:
        notes.append("No CLIP was given, so that there is no gap and no verdict.")
    for size, ratio in zip(asked, ratios):
        if math.isnan(ratio.value):
            notes.append(f"CLIP makes no error with {size.name}: there is no error ratio.")
        elif math.isnan(ratio.high):
            notes.append(f"CLIP makes too few errors with {size.name} to bound the error ratio from above.")
    below = [size.name for size in asked if _share("", size, size.model).high < 1 / size.labels]
    if below:
        notes.append(
            f"With {', '.join(below)} the model is below chance: it says other things than the labels it is offered, "
            "so that these accuracies say little about what it can tell apart."
        )
    return tuple(notes)


def _plots(
    asked: Sequence[_Size], gaps: Sequence[MetricValue], ratios: Sequence[MetricValue]
) -> tuple[Plot, ...]:
    ticks = tuple(size.name.removesuffix(" labels") for size in asked)
    lines = [_line("model", [_share("", size, size.model) for size in asked])]
    if asked[-1].clip:
        lines.append(_line("CLIP", [_share("", size, size.clip) for size in asked if size.clip]))
    lines.append(Line("chance", tuple(1 / size.labels for size in asked)))
    plots = [Plot("Accuracy by labels offered", tuple(lines), ticks, "labels offered", "accuracy")]
    if gaps:
        plots += [
            Plot("Gap to CLIP", (_line("CLIP minus model", gaps),), ticks, "labels offered", "points"),
            Plot(
                "Errors for one error of CLIP",
                (_line("error ratio", ratios),),
                ticks,
                "labels offered",
                "ratio",
                share=False,
            ),
        ]
    return tuple(plots)


def _line(name: str, figures: Sequence[MetricValue]) -> Line:
    y, low, high = zip(*((each.value, each.low, each.high) for each in figures))
    return Line(name, y, low, high)
