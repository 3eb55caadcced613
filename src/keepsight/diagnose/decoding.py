"""Is it the decoding? The labels ranked by their probability instead of an answer generated, without and with guidance.

Source: "Why are Visually-Grounded Language Models Bad at Image Classification?", section 3.1 and table 2 (bottom).

What differs from the paper:
1. Reduction, context and strength of guidance are chosen on validation pictures. The paper's code tries strengths on the
   pictures that the figure rests on.
2. The prompt is the one that the direct answer got (`world`), with the model's own chat template; the published code lets
   the answer begin with "The photo features a".
3. Guidance adds logarithms, as the published code does; the formula in the paper adds probabilities.
4. The code's context is the mean over all test pictures; here it is the mean over the validation pictures, beside the
   prompt without a picture (the paper's formula) and with a grey one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from keepsight.diagnose.asking import (
    DECIDING,
    ask,
    right_share,
    settings_of,
    shown,
)
from keepsight.diagnose.effects import figure, guilty, percent, points
from keepsight.diagnose.study import Study
from keepsight.inference import Guidance, RankChoices
from keepsight.scoring.findings import Finding, Line, Plot
from keepsight.scoring.metrics import accuracy
from keepsight.scoring.statistics import paired_difference
from keepsight.tasks.classification import closed_world, open_world
from keepsight.types import KeepsightError, MetricValue, RanksChoices, Record, Run, Sample, Score, Task

__all__ = ["CONTEXTS", "REDUCTIONS", "STRENGTHS", "decoding"]

TITLE = "Is it the decoding?"
REDUCTIONS = ("sum", "mean")
CONTEXTS = ("no_image", "blank_image", "mean")
STRENGTHS = tuple(at / 4 for at in range(33))  # t, 0 to 8 as in the published code; 1 is no guidance
TOP = 5

Array = np.ndarray[Any, np.dtype[Any]]
World = Literal["closed", "open"]


@dataclass(frozen=True)
class _Ranked:
    """One part's pictures under one reduction: a value per picture and label [n, l], and which label is the true one [n]."""

    records: tuple[Record, ...]

    @cached_property
    def values(self) -> Array:
        return np.array([record.output.choice_logprobs for record in self.records], dtype=np.float64)

    @cached_property
    def truth(self) -> Array:
        return np.array([record.sample.choices.index(record.sample.target[0]) for record in self.records])

    @property
    def samples(self) -> list[Sample]:
        return [record.sample for record in self.records]

    def right(self, context: Array, t: float, top: int = 1) -> Array:
        """Whether the true label is among the `top` best guided ones [n]; of equal values the first label wins."""
        guided = t * self.values + (1 - t) * context  # [n, l]
        best = np.argsort(-guided, axis=1, kind="stable")[:, :top]
        return (best == self.truth[:, None]).any(axis=1)


@dataclass(frozen=True)
class _Way:
    """One way to decode: a reduction and a context with its strength."""

    reduction: str
    context: str = ""
    t: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.reduction}, guided by {self.context}, t {self.t:g}" if self.context else self.reduction


def decoding(study: Study, *, world: World = "closed") -> Finding:
    """Is it the decoding?

    Whether ranking the labels does better than generating an answer to the same prompt.

    Args:
        study: with validation pictures; its model must rank choices.
        world: whether the prompt gives the labels ("closed") or not ("open", as in the paper's table 2).

    Raises:
        KeepsightError: the model cannot rank choices, no validation pictures, or every ranking failed.
    """
    _require(study, world)
    task = {part: _task(study, part, world) for part in ("validation", "test")}
    direct = ask(study, task["test"])
    ranked = {
        (part, reduction): _ranked(ask(study, _ranking(task[part], reduction)))
        for part in task
        for reduction in REDUCTIONS
    }
    contexts = {
        (reduction, context): values
        for reduction in REDUCTIONS
        for context in CONTEXTS
        if (values := _context(study, task["test"], ranked["validation", reduction], reduction, context))
        is not None
    }
    chosen = _chosen(ranked, contexts)
    best = max(chosen, key=lambda way: _share(ranked, contexts, way, "validation"))
    effect = _effect(direct, ranked, contexts, best)
    return Finding(
        question="decoding",
        title=TITLE,
        verdict=guilty(effect.low, effect.high),
        answer=_answer(direct, ranked, contexts, best, effect),
        figures=(effect, right_share("generated", direct, DECIDING), *_figures(ranked, contexts, chosen)),
        plots=(_bars(direct, ranked, contexts, chosen), *_curves(ranked, contexts)),
        notes=_notes(study, contexts, best, ranked),
        settings=settings_of(study, n_validation=study.n_validation, world=world, chosen=best.name),
    )


def _require(study: Study, world: str) -> None:
    if world not in ("closed", "open"):
        raise KeepsightError(f"world is {world!r}; give closed or open")
    if study.n_validation < 1:
        raise KeepsightError("decoding needs validation pictures to choose by; give n_validation, e.g. 100")
    if not isinstance(study.model, RanksChoices):
        raise KeepsightError(
            f"model {study.model.name} cannot rank choices, so its decoding cannot be questioned"
        )


def _task(study: Study, part: Literal["validation", "test"], world: str) -> Task:
    pictures = shown(study, part)
    asked = closed_world if world == "closed" else open_world
    task = asked(pictures, seed=study.seed)
    return replace(task, name=f"{task.name}-validation") if part == "validation" else task


def _ranking(task: Task, reduction: str) -> Task:
    """The same question, its labels ranked."""
    return replace(task, name=f"rank-{reduction}:{task.name.partition(':')[2]}", infer=RankChoices(reduction))


def _ranked(run: Run) -> _Ranked:
    """The records that were ranked. A picture that cannot be read is in the direct run's counts."""
    kept = [record for record in run.records if record.output.choice_logprobs and record.sample.target]
    if not kept:
        reason = next((record.output.error for record in run.records if record.output.error), "nothing asked")
        raise KeepsightError(f"{run.manifest['task']}: no picture could be ranked ({reason})")
    return _Ranked(tuple(kept))


def _context(study: Study, task: Task, validation: _Ranked, reduction: str, context: str) -> Array | None:
    """log p of every label without the picture [l], or None for a model that must see one."""
    if context == "mean":
        return np.asarray(validation.values.mean(axis=0))
    first = validation.records[0].sample
    unasked = replace(
        Guidance(1.0, "blank_image" if context == "blank_image" else "no_image").unasked(first), id=context
    )
    name = f"{context}-{reduction}:{task.name.partition(':')[2]}"
    run = ask(study, replace(task, name=name, infer=RankChoices(reduction), test=lambda: [unasked]))
    values = run.records[0].output.choice_logprobs
    return None if values is None else np.array(values)


Rankings = Mapping[tuple[str, str], _Ranked]
Contexts = Mapping[tuple[str, str], Array]


def _chosen(ranked: Rankings, contexts: Contexts) -> list[_Way]:
    """Without guidance, and with the strength that is best on validation pictures; of equals the one nearest to 1."""
    found = [_Way(reduction) for reduction in REDUCTIONS]
    for reduction, context in contexts:
        ways = [_Way(reduction, context, t) for t in sorted(STRENGTHS, key=lambda t: abs(t - 1))]
        found.append(max(ways, key=lambda way: _share(ranked, contexts, way, "validation")))
    return found


def _right(ranked: Rankings, contexts: Contexts, way: _Way, part: str, top: int = 1) -> Array:
    rows = ranked[part, way.reduction]
    context = contexts[way.reduction, way.context] if way.context else np.zeros(rows.values.shape[1])
    return rows.right(context, way.t, top)


def _share(ranked: Rankings, contexts: Contexts, way: _Way, part: str) -> float:
    return float(_right(ranked, contexts, way, part).mean())


def _metric(ranked: Rankings, contexts: Contexts, way: _Way, part: str = "test", top: int = 1) -> MetricValue:
    right = _right(ranked, contexts, way, part, top)
    scores = [Score(float(value)) for value in right]
    return replace(accuracy(ranked[part, way.reduction].samples, scores), name=f"{way.name} (top-{top})")


def _figures(ranked: Rankings, contexts: Contexts, chosen: Sequence[_Way]) -> list[MetricValue]:
    tops = [1, TOP] if ranked["test", "sum"].values.shape[1] > TOP else [1]
    return [_metric(ranked, contexts, way, top=top) for top in tops for way in chosen]


def _effect(direct: Run, ranked: Rankings, contexts: Contexts, way: _Way) -> MetricValue:
    """Ranked minus generated, paired by picture."""
    rows = ranked["test", way.reduction]
    right = dict(zip((sample.id for sample in rows.samples), _right(ranked, contexts, way, "test")))
    pairs = [
        (float(right[record.sample.id]), record.scores[DECIDING].value, record.sample.cluster)
        for record in direct.records
        if record.sample.id in right and not math.isnan(record.scores[DECIDING].value)
    ]
    one, other, clusters = zip(*pairs) if pairs else ((), (), ())
    return figure(
        f"{way.name} above generated ({DECIDING})",
        paired_difference(one, other, clusters),
        len(direct.records),
    )


def _answer(direct: Run, ranked: Rankings, contexts: Contexts, best: _Way, effect: MetricValue) -> str:
    return (
        f"Ranking the labels ({best.name}, chosen on validation pictures) is right on "
        f"{percent(_share(ranked, contexts, best, 'test'))} of the test pictures, a generated answer on "
        f"{percent(right_share('', direct, DECIDING).value)}: a difference of {points(effect)}."
    )


def _notes(study: Study, contexts: Contexts, best: _Way, ranked: Rankings) -> tuple[str, ...]:
    notes = [
        f"{len(REDUCTIONS)} reductions and {len(STRENGTHS)} strengths for each context were tried on "
        f"{len(ranked['validation', 'sum'].records)} validation pictures; {best.name} was best there "
        f"({percent(_share(ranked, contexts, best, 'validation'))})."
    ]
    missing = sorted(set(CONTEXTS) - {context for _, context in contexts})
    if missing:
        notes.append(f"{study.model.name} cannot be asked with {', '.join(missing)} as context.")
    return tuple(notes)


def _bars(direct: Run, ranked: Rankings, contexts: Contexts, chosen: Sequence[_Way]) -> Plot:
    shares = [right_share("generated", direct, DECIDING), *(_metric(ranked, contexts, way) for way in chosen)]
    value, low, high = zip(*((share.value, share.low, share.high) for share in shares))
    return Plot(
        title="Accuracy by way of decoding",
        lines=(Line("test pictures", value, low, high),),
        ticks=("generated", *(way.name for way in chosen)),
        y_label="right",
        kind="bars",
    )


def _curves(ranked: Rankings, contexts: Contexts) -> list[Plot]:
    """Accuracy over the strength of guidance, one plot per reduction."""
    plots = []
    for reduction in REDUCTIONS:
        lines = [
            Line(
                f"{context}, {part}",
                tuple(_share(ranked, contexts, _Way(reduction, context, t), part) for t in STRENGTHS),
                x=STRENGTHS,
            )
            for of, context in contexts
            if of == reduction
            for part in ("validation", "test")
        ]
        plots.append(
            Plot(
                f"Guidance of the {reduction} of log-probabilities",
                tuple(lines),
                x_label="strength t",
                y_label="right",
            )
        )
    return plots
