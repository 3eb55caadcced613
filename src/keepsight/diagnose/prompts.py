"""Is it the prompt? Three wordings, with and without the labels, their order, and a chain of thought.

Source: "Why are Visually-Grounded Language Models Bad at Image Classification?", section 3.1 and table 2 (top).

What differs from the paper:
1. Which prompt is the best is chosen on validation pictures; its effect is measured on test pictures, paired with the
   base prompt. The paper compares test figures.
2. The base prompt gives the labels in data-set order: this is what `gap` asks and what an audit's closed-world column
   asks. The paper's base prompt does not give them; it is one of the variants.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from keepsight.data.labelled import PictureSet
from keepsight.diagnose.asking import (
    DECIDING,
    ask,
    difference,
    metric_of,
    right_share,
    settings_of,
    shown,
)
from keepsight.diagnose.effects import guilty, percent, points
from keepsight.diagnose.study import Study
from keepsight.scoring.findings import Finding, Line, Plot
from keepsight.tasks.classification import closed_world, open_world
from keepsight.types import KeepsightError, MetricValue, Run, Task

__all__ = ["BASE", "VARIANTS", "prompts"]

TITLE = "Is it the prompt?"
BASE = "labels"
RANDOM, THOUGHT = "labels in random order", "labels in random order, step by step"
# Name -> how `closed_world` is asked, or `open_world` where `labels` is False.
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    BASE: {},
    "labels, identify": {"prompt": "identify"},
    "labels, depicted": {"prompt": "depicted"},
    RANDOM: {"order": "random"},
    THOUGHT: {"order": "random", "chain_of_thought": True},
    "no labels": {"labels": False},
    "no labels, identify": {"labels": False, "prompt": "identify"},
    "no labels, depicted": {"labels": False, "prompt": "depicted"},
}


def prompts(study: Study, *, max_new_tokens_of_thought: int | None = None) -> Finding:
    """Is it the prompt?

    Whether another prompt does better than the base prompt, the other one chosen on validation pictures.

    Args:
        study: with validation pictures.
        max_new_tokens_of_thought: where a chain of thought is cut (default: the published 512).

    Raises:
        KeepsightError: no validation pictures to choose the prompt by.
    """
    if study.n_validation < 1:
        raise KeepsightError(
            "prompts needs validation pictures to choose a prompt by; give n_validation, e.g. 100"
        )
    asked = {
        part: _runs(study, shown(study, part), max_new_tokens_of_thought) for part in ("validation", "test")
    }
    test = asked["test"]
    chosen = _best_other(asked["validation"])
    effect = difference(f"{chosen} above {BASE} ({DECIDING})", test[chosen], test[BASE])
    return Finding(
        question="prompts",
        title=TITLE,
        verdict=guilty(effect.low, effect.high),
        answer=_answer(test, chosen, effect),
        figures=(effect, *_effects(test), *_shares(test)),
        plots=(_plot(asked),),
        notes=_notes(asked["validation"], test, chosen),
        settings=settings_of(
            study,
            n_validation=study.n_validation,
            chosen=chosen,
            max_new_tokens_of_thought=max_new_tokens_of_thought,
        ),
    )


def _runs(study: Study, pictures: PictureSet, tokens: int | None) -> dict[str, Run]:
    return {name: ask(study, _task(study, pictures, how, tokens)) for name, how in VARIANTS.items()}


def _task(study: Study, pictures: PictureSet, how: Mapping[str, Any], tokens: int | None) -> Task:
    settings = {name: value for name, value in how.items() if name != "labels"}
    if how.get("chain_of_thought"):
        settings["max_new_tokens"] = tokens
    world = closed_world if how.get("labels", True) else open_world
    return world(pictures, seed=study.seed, **settings)


def _best_other(validation: Mapping[str, Run]) -> str:
    """Of the prompts beside the base the one that is right most often; of equals the first."""
    shares = {
        name: right_share(name, run, DECIDING).value for name, run in validation.items() if name != BASE
    }
    return max(shares, key=lambda name: -1.0 if math.isnan(shares[name]) else shares[name])


def _effects(test: Mapping[str, Run]) -> list[MetricValue]:
    """Single steps of table 2: the order alone, the reasoning alone, the labels alone."""
    steps = ((RANDOM, BASE), (THOUGHT, RANDOM), (BASE, "no labels"))
    return [difference(f"{one} above {other} ({DECIDING})", test[one], test[other]) for one, other in steps]


def _shares(test: Mapping[str, Run]) -> list[MetricValue]:
    return [right_share(name, run, rule) for rule in (DECIDING, "inclusion") for name, run in test.items()]


def _answer(test: Mapping[str, Run], chosen: str, effect: MetricValue) -> str:
    shares = {name: right_share(name, run, DECIDING).value for name, run in test.items()}
    if not any(shares.values()):
        return f"None of {len(test)} prompts gets a single one of {effect.total} pictures right."
    return (
        f'The prompt that was best on validation pictures, "{chosen}", is right on {percent(shares[chosen])} of the test '
        f"pictures, the base prompt on {percent(shares[BASE])}: a difference of {points(effect)}."
    )


def _notes(validation: Mapping[str, Run], test: Mapping[str, Run], chosen: str) -> tuple[str, ...]:
    base, other = (right_share(name, validation[name], DECIDING) for name in (BASE, chosen))
    notes = [
        f"Chosen among {len(VARIANTS) - 1} prompts on {base.total} validation pictures: {percent(other.value)} right "
        f"there, the base prompt {percent(base.value)}."
    ]
    silent = metric_of(test[THOUGHT], "unparsed_share")
    if silent.value:
        notes.append(
            f"{percent(silent.value)} of the chains of thought reach no conclusion that names a label."
        )
    return tuple(notes)


def _plot(asked: Mapping[str, Mapping[str, Run]]) -> Plot:
    lines = []
    for part, runs in asked.items():
        shares = [right_share(name, run, DECIDING) for name, run in runs.items()]
        values, low, high = zip(*((each.value, each.low, each.high) for each in shares))
        lines.append(Line(f"{part} pictures", values, low, high))
    return Plot("Right answers by prompt", tuple(lines), tuple(VARIANTS), y_label="accuracy", kind="bars")
