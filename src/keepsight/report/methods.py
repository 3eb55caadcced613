"""Several ways to tune on one sequence side by side: their figures, paired differences, forgetting at one new-task score.

Computed once for the page, the terminal and JSON. The base stands among them as a method that learns nothing. All figures of
two methods that are compared come from the same drawn samples, so that "A beats B" has an interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from keepsight.report.continual import INSTRUCTION, KNOWLEDGE, NAMES, figure_cell
from keepsight.scoring.continual import ContinualMetrics, continual_difference, continual_metrics
from keepsight.scoring.matched import MatchedForgetting, matched_forgetting
from keepsight.scoring.sequences import is_joint
from keepsight.store.matrix import plain
from keepsight.types import KeepsightError, MetricValue, ResultMatrix

__all__ = ["ZERO_SHOT", "Entry", "Methods", "Study", "read_methods", "verdict_of"]

Settings = Mapping[str, ResultMatrix]
Methods = Mapping[str, ResultMatrix | Settings]

ZERO_SHOT = "zero-shot"


@dataclass(frozen=True)
class Entry:
    """One method under one setting."""

    method: str
    setting: str
    matrix: ResultMatrix

    @property
    def title(self) -> str:
        return f"{self.method}, {self.setting}" if self.setting else self.method

    @property
    def note(self) -> str:
        """What it is, where it is no training in sequence."""
        if self.method == ZERO_SHOT:
            return "the base"
        return "all tasks at once" if is_joint(self.matrix) else ""


@dataclass(frozen=True)
class Study:
    """The entries read by one scorer, the base first. Where figures cannot be had, why."""

    title: str
    scorer: str | None  # None: the headline's
    level: float
    entries: tuple[Entry, ...]
    reference: Entry
    figures: Mapping[str, ContinualMetrics | str]  # by the entry's title
    differences: Mapping[str, ContinualMetrics | str]  # minus the reference; of all others
    matched: Mapping[str, MatchedForgetting | str]  # by method; empty where none has several settings

    @property
    def share(self) -> bool:
        """Whether scores are shares of 1."""
        means = self.sequences[0][1].means
        return all(0 <= value <= 1 for row in means for value in row if not math.isnan(value))

    @property
    def sequences(self) -> list[tuple[Entry, ContinualMetrics]]:
        """The entries that learnt one task after the other, and have figures."""
        found = [(entry, self.figures[entry.title]) for entry in self.entries if not entry.note]
        return [(entry, each) for entry, each in found if isinstance(each, ContinualMetrics)]

    def learnt(self, method: str) -> list[float]:
        """The new-task scores of a method's settings."""
        return [each["learning_accuracy"].value for entry, each in self.sequences if entry.method == method]

    def as_dict(self) -> dict[str, Any]:
        """Plain data: every figure of every run, of every difference, and at matched scores."""
        told = {
            "scorer": self.scorer,
            "level": self.level,
            "reference": self.reference.title,
            "runs": [
                {
                    "name": entry.title,
                    "method": entry.method,
                    "run": entry.setting,
                    **_plain_metrics(self.figures[entry.title]),
                }
                for entry in self.entries
            ],
            "differences": [
                {"name": title, **_plain_metrics(found, self.share)}
                for title, found in self.differences.items()
            ],
            "matched": [
                {"method": method, **_plain_matched(found)} for method, found in self.matched.items()
            ],
        }
        return dict(plain(told))


def read_methods(
    matrices: Methods,
    *,
    reference: str | None = None,
    scorer: str | None = None,
    level: float = 0.95,
    n_resamples: int = 10_000,
) -> list[Study]:
    """One study by the headline scorer, and one by every judge of general knowledge that has read all answers.

    Args:
        matrices: method -> its matrix (base and a row per stage), or setting -> matrix: epochs, rates, seeds of one method. A
            matrix of the base and one row that no `meta["tuned_on"]` knows is multi-task training.
        reference: the method that the others are compared with (default: the first that is a sequence).
        scorer: only by this one.

    Raises:
        KeepsightError: no matrix is a sequence, or the reference is none.
    """
    entries = [
        Entry(method, setting, matrix)
        for method, given in matrices.items()
        for setting, matrix in ({"": given} if isinstance(given, ResultMatrix) else given).items()
    ]
    base = _reference(entries, reference)
    judges = [name for name in KNOWLEDGE if _all_have(entries, name)] if scorer is None else []
    several = len(judges) > 1
    titles: dict[str | None, str] = {
        scorer: scorer or INSTRUCTION,
        **{name: f"General knowledge ({name})" if several else "General knowledge" for name in judges},
    }
    return [
        _study(title, entries, base, {"scorer": name, "level": level, "n_resamples": n_resamples})
        for name, title in titles.items()
    ]


def verdict_of(name: str, difference: MetricValue, share: bool) -> str:
    """Of one method minus another: better, worse or no evidence."""
    found = figure_cell(name, difference, share=share, change=True).verdict
    return {"forgotten": "worse", "improved": "better"}.get(found, found)


def _reference(entries: Sequence[Entry], name: str | None) -> Entry:
    found = next(
        (each for each in entries if not is_joint(each.matrix) and name in (None, each.method)), None
    )
    if found is None:
        what = f"{name!r} is none of the sequences" if name else "no method learnt its tasks in sequence"
        raise KeepsightError(f"{what}; give one with a checkpoint per stage, too")
    return found


def _all_have(entries: Sequence[Entry], scorer: str) -> bool:
    records = [record for entry in entries for run in entry.matrix.runs.values() for record in run.records]
    return bool(records) and all(scorer in record.scores for record in records)


def _study(title: str, given: Sequence[Entry], reference: Entry, how: Mapping[str, Any]) -> Study:
    base = continual_metrics(reference.matrix, **how)  # raises: without it there is nothing to compare with
    figures: dict[str, ContinualMetrics | str] = {
        entry.title: base if entry is reference else _or_why(continual_metrics, entry.matrix, **how)
        for entry in given
    }
    differences = {
        entry.title: _or_why(continual_difference, entry.matrix, reference.matrix, **how)
        for entry in given
        if entry is not reference
    }
    comparable = [each for each in given if not isinstance(differences.get(each.title), str)]
    bases = _bases(comparable, reference, base)
    for entry in bases:
        figures[entry.title] = _average_alone(_or_why(continual_metrics, entry.matrix, **how))
        differences[entry.title] = _average_alone(
            _or_why(continual_difference, entry.matrix, reference.matrix, **how)
        )
    sequences = [entry for entry in given if not is_joint(entry.matrix)]
    sequences = [entry for entry in sequences if isinstance(figures[entry.title], ContinualMetrics)]
    matched = _matched(sequences, reference, how)
    entries = (*bases, *given)
    return Study(title, how["scorer"], how["level"], entries, reference, figures, differences, matched)


def _or_why(
    compute: Callable[..., ContinualMetrics], *matrices: ResultMatrix, **how: Any
) -> ContinualMetrics | str:
    try:
        return compute(*matrices, **how)
    except KeepsightError as error:
        return str(error)


def _bases(given: Sequence[Entry], reference: Entry, metrics: ContinualMetrics) -> list[Entry]:
    """The reference's base as a method that learns nothing; the others' where they began elsewhere."""
    found: dict[frozenset[str], Entry] = {}
    for entry in (reference, *given):
        digest = frozenset(
            str(run.manifest.get("checkpoint_digest"))
            for (row, _), run in entry.matrix.runs.items()
            if row == entry.matrix.rows[0]
        )
        if digest and digest not in found:
            name = f"base of {entry.title}" if found else ""
            found[digest] = Entry(ZERO_SHOT, name, _untuned(entry.matrix, metrics))
    return list(found.values())


def _untuned(matrix: ResultMatrix, metrics: ContinualMetrics) -> ResultMatrix:
    """The base as if it had learnt all tasks at once, and nothing had come of it."""
    base, cols = matrix.rows[0], (*metrics.tasks, *metrics.unseen)
    runs = {
        (row, col): matrix.runs[base, col]
        for row in (base, ZERO_SHOT)
        for col in cols
        if (base, col) in matrix.runs
    }
    return ResultMatrix((base, ZERO_SHOT), cols, runs, {"sequence": {"stages": metrics.tasks}})


def _average_alone(metrics: ContinualMetrics | str) -> ContinualMetrics | str:
    """Nothing else can be said of a model that learnt nothing."""
    if isinstance(metrics, str):
        return metrics
    kept = {"average_accuracy": metrics["average_accuracy"]}
    why_not = {name: "nothing was learnt" for name in NAMES if name not in kept}
    return replace(metrics, figures=kept, why_not=why_not)


def _matched(
    sequences: Sequence[Entry], reference: Entry, how: Mapping[str, Any]
) -> dict[str, MatchedForgetting | str]:
    """Every other method against the reference's, where any has several settings."""
    methods: dict[str, list[ResultMatrix]] = {}
    for entry in sequences:
        methods.setdefault(entry.method, []).append(entry.matrix)
    if all(len(settings) == 1 for settings in methods.values()):
        return {}
    own = methods.pop(reference.method)
    found: dict[str, MatchedForgetting | str] = {}
    for method, settings in methods.items():
        try:
            found[method] = matched_forgetting(settings, own, **how)
        except KeepsightError as error:
            found[method] = str(error)
    return found


# ---- plain data ---------------------------------------------------------------------------------------------------


def _plain_metrics(found: ContinualMetrics | str, share: bool | None = None) -> dict[str, Any]:
    """`share` is given of a difference, which has a verdict."""
    if isinstance(found, str):
        return {"figures": {}, "why_not": found}
    figures = {name: asdict(value) for name, value in found.figures.items()}
    if share is not None:
        for name, value in found.figures.items():
            figures[name]["verdict"] = verdict_of(name, value, share)
    return {"tasks": found.tasks, "unseen": found.unseen, "figures": figures, "why_not": dict(found.why_not)}


def _plain_matched(found: MatchedForgetting | str) -> dict[str, Any]:
    if isinstance(found, str):
        return {"why_not": found}
    values = {"first": found.first, "second": found.second, "difference": found.difference}
    told = {name: value and asdict(value) for name, value in values.items()}
    return {"at": found.at, **told, "why_not": found.why_not}
