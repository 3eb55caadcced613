"""What questions of a diagnosis do alike: ask a task about the study's pictures, pair the answers, word a share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from keepsight.data.labelled import LabelledPicture, PictureSet
from keepsight.diagnose.effects import figure
from keepsight.diagnose.study import Study
from keepsight.evaluate import evaluate
from keepsight.models.clip import ZeroShotClip
from keepsight.scoring.forgetting import NotComparable
from keepsight.scoring.metrics import accuracy
from keepsight.scoring.statistics import PairedDifference, paired_difference
from keepsight.types import MetricValue, Record, Run, Task

__all__ = [
    "DECIDING",
    "Paired",
    "Shown",
    "ask",
    "ask_clip",
    "difference",
    "metric_of",
    "pair",
    "right_share",
    "settings_of",
    "shown",
]

DECIDING = "one_label"  # the rule behind verdicts: an echo of the label list must not pass for an answer


@dataclass(frozen=True)
class Shown:
    """Pictures already chosen, as the test split of their set."""

    name: str
    labels: tuple[str, ...]
    noun: str
    pictures: tuple[LabelledPicture, ...]

    def train(self, n: int | None = None, seed: int = 0) -> Sequence[LabelledPicture]:
        """None: these are for asking."""
        return ()

    def test(self, n: int | None = None, seed: int = 0) -> Sequence[LabelledPicture]:
        """The chosen pictures."""
        return self.pictures[:n]


def shown(study: Study, part: Literal["test", "validation"] = "test") -> PictureSet:
    """The study's test or validation pictures, as a set that tasks can ask about."""
    pictures = study.test() if part == "test" else study.validation()
    name = study.pictures.name
    return Shown(name, tuple(study.pictures.labels), study.pictures.noun, tuple(pictures))


def ask(study: Study, task: Task) -> Run:
    """The study's model on `task`; what was answered before is not asked again."""
    return evaluate(study.model, task, study.store, batch_size=study.batch_size, progress=study.progress)


def ask_clip(study: Study, clip: ZeroShotClip, task: Task) -> Run:
    """The baseline on the same samples."""
    return evaluate(clip, task, study.store, progress=study.progress)


@dataclass(frozen=True)
class Paired:
    """Values [runs][samples] of several runs on the samples that all of them scored, in the first run's order."""

    values: tuple[tuple[float, ...], ...]
    clusters: tuple[str, ...]
    total: int

    @cached_property
    def n(self) -> int:
        return len(self.clusters)

    def compare(self, reference: int, current: int) -> PairedDifference:
        """One run minus another."""
        return paired_difference(self.values[reference], self.values[current], self.clusters)


def pair(runs: Sequence[Run], scorer: str = DECIDING) -> Paired:
    """Joins runs on the same pictures, whatever prompts asked about them.

    Raises:
        NotComparable: one id stands for two pictures or targets.
    """
    others = [{record.sample.id: record for record in run.records} for run in runs[1:]]
    kept: list[tuple[float, ...]] = []
    clusters: list[str] = []
    for record in runs[0].records:
        same = [record, *(found[record.sample.id] for found in others if record.sample.id in found)]
        if len(same) < len(runs):
            continue
        values = tuple(other.scores[scorer].value for other in same)
        if any(map(math.isnan, values)):
            continue
        _require_same_picture(same)
        kept.append(values)
        clusters.append(record.sample.cluster)
    columns = tuple(zip(*kept)) if kept else ((),) * len(runs)
    return Paired(columns, tuple(clusters), len(runs[0].records))


def _require_same_picture(records: Sequence[Record]) -> None:
    first, *others = (record.sample for record in records)
    for other in others:
        if (other.target, other.media) != (first.target, first.media):
            raise NotComparable(f"sample {first.id} has another picture or target in one of the runs")


def difference(name: str, reference: Run, current: Run, scorer: str = DECIDING) -> MetricValue:
    """`reference` minus `current` as a figure, paired by picture. Positive: `current` is worse."""
    paired = pair([reference, current], scorer)
    return figure(name, paired.compare(0, 1), paired.total)


def right_share(name: str, run: Run, scorer: str) -> MetricValue:
    """The share of right answers by one scorer's rule, under the name of what was asked."""
    samples = [record.sample for record in run.records]
    return replace(accuracy(samples, run.scores(scorer)), name=f"{name} ({scorer})")


def metric_of(run: Run, name: str) -> MetricValue:
    """One of the run's own figures."""
    return next(metric for metric in run.metrics if metric.name == name)


def settings_of(study: Study, **more: Any) -> dict[str, Any]:
    """What a finding must keep to be found again."""
    return {
        "model": study.model.name,
        "clip": study.clip.name if study.clip else None,
        "pictures": study.pictures.name,
        "n": study.n,
        "seed": study.seed,
        "rule": DECIDING,
        **more,
    }
