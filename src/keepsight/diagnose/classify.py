"""Is it bad at all? The model in the open and the closed world beside a zero-shot CLIP on the same pictures.

Source: "Why are Visually-Grounded Language Models Bad at Image Classification?", section 2 and table 1.

What differs from the paper:
1. The gap is paired: both answer the same pictures, and it has an interval.
2. It is read by a rule that an echo of the label list does not satisfy; the paper's inclusion stands beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from keepsight.diagnose.asking import (
    DECIDING,
    ask,
    ask_clip,
    difference,
    metric_of,
    right_share,
    settings_of,
    shown,
)
from keepsight.diagnose.effects import guilty, percent, points
from keepsight.diagnose.study import Study
from keepsight.models.clip import ZeroShotClip
from keepsight.scoring.findings import Finding, Line, Plot
from keepsight.tasks.classification import closed_world, open_world
from keepsight.types import MetricValue, Output, Run, Task

__all__ = ["RULES", "echo_shares", "gap"]

RULES = ("inclusion", "whole_word", "one_label", "strict")
TITLE = "Is it bad at all?"
OPEN, CLOSED, CLIP = "open world", "closed world", "CLIP"


def gap(study: Study, *, max_new_tokens: int | None = None) -> Finding:
    """Is it bad at all?

    Open world, closed world and CLIP on the same pictures; the gap between CLIP and the closed world decides.

    Args:
        study: with a `clip`, or there is nothing to compare with and no verdict.
        max_new_tokens: where an answer is cut (default: the published 64).
    """
    pictures = shown(study)
    worlds = {
        OPEN: open_world(pictures, max_new_tokens=max_new_tokens, seed=study.seed),
        CLOSED: closed_world(pictures, max_new_tokens=max_new_tokens, seed=study.seed),
    }
    runs = {name: ask(study, task) for name, task in worlds.items()}
    gaps = _gaps(study, worlds, runs) if study.clip else []
    figures = [*gaps, *_shares(runs)]
    decides = next((each for each in gaps if each.name == f"{CLOSED} below CLIP ({DECIDING})"), None)
    deciding = [decides] if decides else [right_share(CLOSED, runs[CLOSED], DECIDING)]
    return Finding(
        question="gap",
        title=TITLE,
        verdict=guilty(decides.low, decides.high) if decides else "no_evidence",
        answer=_answer(runs, decides),
        figures=(*deciding, *(each for each in figures if each not in deciding)),
        plots=(_plot(runs),),
        notes=(*_notes(worlds[CLOSED], runs), *_no_clip(study)),
        settings=settings_of(study, max_new_tokens=max_new_tokens),
    )


def echo_shares(task: Task) -> dict[str, float]:
    """What a model would score that only repeats the label list: rule -> share of "right" answers."""
    samples = list(task.test())
    echo = [Output(", ".join(task.labels))] * len(samples)
    shares = {}
    for scorer in (task.score, *task.judges):
        scores = scorer(samples, echo)
        shares[scorer.name] = sum(score.value for score in scores) / len(scores)
    return shares


def _gaps(study: Study, worlds: Mapping[str, Task], runs: dict[str, Run]) -> list[MetricValue]:
    """CLIP minus the model in each world by each rule; adds CLIP's run to `runs`."""
    assert study.clip is not None
    clip = ZeroShotClip(study.clip)
    baselines = {name: ask_clip(study, clip, task) for name, task in worlds.items()}
    found = [
        difference(f"{name} below CLIP ({rule})", baselines[name], runs[name], rule)
        for name in worlds
        for rule in RULES
    ]
    runs[CLIP] = baselines[CLOSED]
    return found


def _shares(runs: Mapping[str, Run]) -> list[MetricValue]:
    right = [right_share(name, run, rule) for name, run in runs.items() for rule in RULES]
    return [*right, *(_renamed(name, each) for name in (OPEN, CLOSED) for each in runs[name].metrics[1:])]


def _renamed(name: str, metric: MetricValue) -> MetricValue:
    return replace(metric, name=f"{name} {metric.name}")


def _answer(runs: Mapping[str, Run], decides: MetricValue | None) -> str:
    own = right_share(CLOSED, runs[CLOSED], DECIDING)
    right = percent(own.value) if own.value else "none"
    said = f"Given the labels it is right on {right} of {own.n} pictures"
    if decides is None:
        return f"{said}."
    other = right_share(CLIP, runs[CLIP], DECIDING)
    more = "a gap of" if decides.value > 0 else "no gap:"
    return f"{said}, CLIP on {percent(other.value)}: {more} {points(decides)}."


def _notes(task: Task, runs: Mapping[str, Run]) -> list[str]:
    echo, run = echo_shares(task), runs[CLOSED]
    told = ", ".join(f"{percent(echo[rule])} under {rule}" for rule in RULES)
    notes = [
        f"A model that only repeats the label list would score {told}. Here "
        f"{percent(metric_of(run, 'multiple_labels_share').value)} of the closed-world answers name several labels; "
        f"{DECIDING} decides."
    ]
    rules = {rule: right_share(CLOSED, run, rule).value for rule in RULES}
    if rules["inclusion"] - rules[DECIDING] > 0.05:
        notes.append(
            f"The published rule, inclusion, counts {percent(rules['inclusion'])} of the closed-world answers as right, "
            f"{DECIDING} {percent(rules[DECIDING])}: read the answers before quoting the former."
        )
    return [*notes, *(note for name in (OPEN, CLOSED) for note in _unread(name, runs[name]))]


def _unread(name: str, run: Run) -> list[str]:
    """What stands in the place of labels, where many answers name none."""
    notes = []
    unparsed, refused = (metric_of(run, f"{what}_share") for what in ("unparsed", "refused"))
    if unparsed.value > 0.05:
        said = Counter(" ".join(record.output.text.split())[:40] for record in run.records)
        common = ", ".join(f'"{text}" ({count})' for text, count in said.most_common(3))
        notes.append(
            f"{percent(unparsed.value)} of the {name} answers name no label; the commonest: {common}."
        )
    if refused.value > 0:
        notes.append(
            f"{percent(refused.value)} of the {name} answers decline; they are neither right nor wrong."
        )
    return notes


def _no_clip(study: Study) -> list[str]:
    return [] if study.clip else ["No CLIP was given, so that there is nothing to compare with: no verdict."]


def _plot(runs: Mapping[str, Run]) -> Plot:
    lines = []
    for rule in RULES:
        shares = [right_share(name, run, rule) for name, run in runs.items()]
        lines.append(
            Line(
                rule,
                tuple(each.value for each in shares),
                tuple(each.low for each in shares),
                tuple(each.high for each in shares),
            )
        )
    return Plot(
        "Right answers by the rule that reads them",
        tuple(lines),
        tuple(runs),
        y_label="accuracy",
        kind="bars",
    )
