"""Which classes will this corpus teach too little? Asked of a corpus before anything is trained on it.

A class is taught too little when fewer sentences name it than a model needs. How many that is, is either given (default: 10; the
seed's models answer classes below that 3.0 % right, arXiv:2405.18415, section 3.3) or read off models of the same kind: the
count from which on the rising fit of accuracy over counts is good enough.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from keepsight.diagnose.frequency import count_corpora
from keepsight.diagnose.study import Study
from keepsight.scoring.correlation import threshold_of
from keepsight.scoring.findings import Finding, Line, Plot
from keepsight.scoring.mentions import MentionCounts, Overlap, together
from keepsight.scoring.statistics import wilson
from keepsight.types import KeepsightError, MetricValue

__all__ = ["FEWEST_MENTIONS", "mentions_needed", "taught_too_little", "too_little"]

FEWEST_MENTIONS = 10  # the seed's lowest bin
_NAMED = 20


def too_little(
    study: Study,
    *,
    threshold: float = FEWEST_MENTIONS,
    overlap: Overlap = "longest",
    column: str | None = None,
    answers_only: bool = False,
) -> Finding:
    """Which classes will this corpus teach too little?

    Reads `study.corpora` alone: the model is asked nothing.

    Args:
        threshold: sentences that must name a class.
        overlap, column, answers_only: see `frequency.count_mentions`.

    Raises:
        KeepsightError: no corpus, or one without a row that can be read.
    """
    if not threshold > 0:
        raise KeepsightError(f"threshold is {threshold}; give the number of sentences a class needs, e.g. 10")
    stages = count_corpora(study, overlap=overlap, column=column, answers_only=answers_only)
    found = taught_too_little(stages, study.labels, threshold=threshold)
    how = {"corpora": list(study.corpora), "overlap": overlap, "answers_only": answers_only}
    return replace(found, settings={**found.settings, **how})


def taught_too_little(
    counts: MentionCounts | Sequence[MentionCounts],
    labels: Sequence[str] | None = None,
    *,
    threshold: float = FEWEST_MENTIONS,
    accuracies: Mapping[str, float] | None = None,
    learnt_from: MentionCounts | None = None,
    enough: float = 0.5,
) -> Finding:
    """The classes that fewer sentences name than `threshold`, the rarest first; `settings["classes"]` holds all of them.

    Args:
        counts: of the corpus, or of all of its stages.
        labels: the classes that matter (default: all that were counted).
        threshold: used where no relation is given, or none reaches `enough`.
        accuracies: {label: accuracy} of a model (`diagnose.frequency.per_class_accuracy`): the threshold is then read off.
        learnt_from: the counts that this model learnt from, if they are other ones than `counts`.
        enough: the accuracy that a class should reach.

    Raises:
        KeepsightError: a label that was not counted.
    """
    total = counts if isinstance(counts, MentionCounts) else together(counts)
    chosen = list(dict.fromkeys(labels)) if labels is not None else list(total.sentences)
    if not chosen:
        raise KeepsightError("no label is given; name the classes that matter")
    if unknown := [label for label in chosen if label not in total.sentences]:
        raise KeepsightError(f"label {unknown[0]!r} was not counted; count the corpus for it first")
    needed = mentions_needed(learnt_from or total, accuracies, enough) if accuracies else None
    fitted = needed is not None and not math.isnan(needed.value)
    least = needed.value if needed is not None and fitted else threshold
    rare = sorted(
        (label for label in chosen if total.sentences[label] < least), key=lambda x: (total.sentences[x], x)
    )
    share = MetricValue(
        "share taught too little",
        len(rare) / len(chosen),
        *wilson(len(rare), len(chosen)),
        len(chosen),
        len(chosen),
    )
    return Finding(
        "too_little",
        "Which classes will this corpus teach too little?",
        "yes" if rare else "no",
        _answer(rare, total, len(chosen), least),
        (share, *([needed] if needed is not None else [])),
        (_plot(chosen, total, least),),
        _notes(needed, fitted, least, total),
        {"threshold": least, "fitted": fitted, "classes": {label: total.sentences[label] for label in rare}},
    )


def mentions_needed(
    counts: MentionCounts,
    accuracies: Mapping[str, float],
    enough: float = 0.5,
    *,
    n_resamples: int = 500,
    seed: int = 0,
) -> MetricValue:
    """The count from which on the rising fit of accuracy over counts is at least `enough`; nan if it never is.

    The interval draws classes with replacement; its upper end is nan where too many draws never reach `enough`.
    """
    labels = [label for label in counts.sentences if label in accuracies]
    if not labels:
        raise KeepsightError("no counted label has an accuracy; give accuracies of the counted labels")
    x = [float(counts.sentences[label]) for label in labels]
    y = [accuracies[label] for label in labels]
    rng = np.random.default_rng(seed)
    drawn = []
    for at in rng.integers(0, len(labels), size=(n_resamples, len(labels))):
        needed = threshold_of([x[i] for i in at], [y[i] for i in at], enough)
        drawn.append(math.inf if math.isnan(needed) else needed)
    low, high = np.quantile(drawn, [0.025, 0.975], method="nearest")
    value = threshold_of(x, y, enough)
    low, high = (float(end) if math.isfinite(end + value) else math.nan for end in (low, high))
    return MetricValue("mentions needed", value, low, high, len(labels), len(labels))


def _answer(rare: Sequence[str], total: MentionCounts, classes: int, least: float) -> str:
    if not rare:
        return f"None: at least {least:g} sentences name each of the {classes} classes."
    named = ", ".join(f"{label} ({total.sentences[label]})" for label in rare[:_NAMED])
    more = f" and {len(rare) - _NAMED} more" if len(rare) > _NAMED else ""
    return f"{len(rare)} of {classes} classes are named in fewer than {least:g} sentences: {named}{more}."


def _notes(needed: MetricValue | None, fitted: bool, least: float, total: MentionCounts) -> tuple[str, ...]:
    notes = [
        f"{total.name}: {total.n_documents:,} rows, {total.n_sentences:,} sentences, {total.n_bad:,} unread."
    ]
    if fitted and least <= min(total.sentences.values()):
        notes.append("Already the rarest class is answered well enough, so what is needed may be less.")
    if needed is not None and not fitted:
        notes.append(
            f"The fitted accuracy is nowhere good enough, so {least:g} is the threshold that was given."
        )
    elif needed is None:
        notes.append(f"{least:g} is the threshold that was given; accuracies of a model would tell its own.")
    return (*notes, "The list is of these classes; the interval is for others drawn like them.")


def _plot(labels: Sequence[str], total: MentionCounts, least: float) -> Plot:
    """Share of the classes that are named less often than x."""
    counts = sorted(total.sentences[label] for label in labels)
    steps = sorted({*counts, math.ceil(least)})
    below = tuple(sum(count < step for count in counts) / len(counts) for step in steps)
    return Plot(
        "Classes named in fewer sentences than this",
        (Line("classes", below, x=tuple(map(float, steps))),),
        x_label="sentences that name the class",
        y_label="share of classes",
        log_x=True,
    )
