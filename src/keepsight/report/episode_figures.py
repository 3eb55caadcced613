"""The figures of an environment: how often a checkpoint solves it, beside an expert and a player who guesses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from keepsight.report.wording import MISSING, count, figure, interval, printable
from keepsight.scoring.metrics import mean_score
from keepsight.types import MetricValue, Run

__all__ = [
    "EpisodeFigure",
    "episode_figures",
    "figure_name",
    "in_per_cent",
    "told_figures",
]

_EXPERT, _RANDOM = "expert", "random"  # scorers of what others make of the same episodes
_NAMES = {
    _EXPERT: "best play",
    _RANDOM: "random play",
    "return": "mean return",
    "steps": "mean steps",
    "unparsed_share": "all unreadable",
}
_COUNTED = {"return", "reward", "steps"}  # means that are no shares, even where they lie between 0 and 1


@dataclass(frozen=True)
class EpisodeFigure:
    """One figure of one run as text: its name in words, "12.0 %", its interval's ends, n."""

    name: str
    value: str
    ends: str
    n: str

    @property
    def told(self) -> str:
        """The figure in a sentence."""
        ends = "" if self.ends == MISSING else f" [{self.ends}]"
        return f"{self.name} {self.value}{ends}"


def in_per_cent(name: str, *values: float) -> bool:
    """Whether a figure is a share of 1: by its name, and by its values."""
    known = [value for value in values if not math.isnan(value)]
    return name.removeprefix("mean_") not in _COUNTED and all(0 <= value <= 1 for value in known)


def figure_name(name: str) -> str:
    """A scorer's or metric's name in words."""
    return printable(_NAMES.get(name, name.replace("_", " ")))


def episode_figures(run: Run) -> list[EpisodeFigure]:
    """The run's metrics, then the mean of every other scorer, expert and random player last."""
    found = [(_headline_name(run, place), metric) for place, metric in enumerate(run.metrics)]
    samples = [record.sample for record in run.records]
    told = {name for name, _ in found}
    others = [name for name in _scorers(run) if name != run.scorer and name not in told]
    for name in sorted(
        others, key=lambda name: (_EXPERT, _RANDOM).index(name) if name in (_EXPERT, _RANDOM) else -1
    ):
        found.append((name, mean_score(samples, run.scores(name))))
    return [_figure(name, metric) for name, metric in found]


def told_figures(run: Run) -> str:
    """The headline with n and interval, and what others make of the same episodes, in a sentence without its end."""
    if not run.metrics:
        return "no figure"
    head, *rest = episode_figures(run)
    unscored = "" if run.metrics[0].n == run.metrics[0].total else f" ({count(run.metrics[0].total)} asked)"
    names = {_NAMES[_EXPERT], _NAMES[_RANDOM]}
    others = ", ".join(f"{each.name} {each.value}" for each in rest if each.name in names)
    n = count(run.metrics[0].n)
    return f"{head.told} of {n} episodes{unscored}" + (f"; {others}" if others else "")


def _headline_name(run: Run, place: int) -> str:
    """The scorer's name where the metric's only says how its values are put together."""
    name = run.metrics[place].name
    return run.scorer if not place and name in ("accuracy", "mean_value") else name


def _scorers(run: Run) -> Sequence[str]:
    named = run.manifest.get("scorers") or {}
    return [name for name in named if all(name in record.scores for record in run.records)]


def _figure(name: str, metric: MetricValue) -> EpisodeFigure:
    share = in_per_cent(name, metric.value, metric.low, metric.high)
    value = figure(metric.value, share=share)
    ends = interval(metric.low, metric.high, share=share)
    if not share and ends != MISSING:
        ends = f"{figure(metric.low, share=False)} to {figure(metric.high, share=False)}"
    n = count(metric.n) if metric.n == metric.total else f"{count(metric.n)}/{count(metric.total)}"
    return EpisodeFigure(figure_name(name), f"{value} %" if share and value != MISSING else value, ends, n)
