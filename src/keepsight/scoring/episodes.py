"""What episodes are worth: success, returns, and how single steps went. All read `Output.steps` alone.

Words: a step's reward is a Score; its tags say `solved`, `truncated`, `correct` or `wrong` (an expert may, or would not,
act so), `recognized` or `misrecognized` (what an answer states of what it sees is right, or wrong; one that states nothing
in the form it was asked for has neither), `illegal` (the text names something that cannot be done); its status is `unparsed` where the text names nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from keepsight.scoring.metrics import accuracy
from keepsight.types import MetricValue, Output, Sample, Score

__all__ = [
    "IllegalRate",
    "PositiveReturn",
    "Recognition",
    "Return",
    "Solved",
    "StepAccuracy",
    "Steps",
    "UnstatedRate",
    "success_rate",
]


def success_rate(samples: Sequence[Sample], scores: Sequence[Score]) -> MetricValue:
    """Share of episodes that were solved, with Wilson's interval on the episodes that begin differently."""
    return replace(accuracy(samples, scores), name="success_rate")


class Solved:
    """1 if the episode was solved, else 0; the answer is how it ended.

    "unparsed" when none of its answers could be read: then chance alone played.
    """

    name = "solved"
    version = "1"

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """One score per episode."""
        return _score_each(outputs, _solved)


@dataclass(frozen=True)
class Return:
    """The sum of an episode's rewards, undiscounted."""

    bounds: tuple[float, float] | None = (
        None  # between which it must lie, e.g. an environment's `return_bounds`
    )
    name: ClassVar[str] = "return"
    version: ClassVar[str] = "2"

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """One score per episode."""
        return _score_each(outputs, lambda steps: Score(_return(steps), bounds=self.bounds))


class PositiveReturn:
    """1 if the rewards add up to more than 0: what the code of RL4VLM (arXiv:2405.10292) counts as a success.

    In NumberLine a single wrong move before the target makes it 0.
    """

    name = "positive_return"
    version = "1"

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """One score per episode."""
        return _score_each(outputs, lambda steps: Score(float(_return(steps) > 0)))


class StepAccuracy:
    """Share of an episode's judged steps whose answer an expert might have given; its weight is their number.

    Steps where no action is better than another are not judged.
    """

    name = "step_accuracy"
    version = "1"

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """One score per episode; nan where no step is judged."""
        return _score_each(outputs, lambda steps: _share(steps, "correct", "wrong"))


class Recognition:
    """Share of an episode's answers that state rightly what is seen; its weight is the number of answers.

    An answer that does not state it in the form it was asked for did not recognise it; `UnstatedRate` counts those.
    """

    name = "recognition"
    version = "2"

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """One score per episode."""
        return _score_each(
            outputs, lambda steps: _share_of_all(steps, lambda step: "recognized" in step.tags)
        )


class UnstatedRate:
    """Share of an episode's answers that state nothing of what is seen; its weight is the number of answers."""

    name = "unstated_rate"
    version = "1"

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """One score per episode."""
        stated = {"recognized", "misrecognized"}
        return _score_each(
            outputs, lambda steps: _share_of_all(steps, lambda step: stated.isdisjoint(step.tags))
        )


class IllegalRate:
    """Share of an episode's steps whose text named no legal action; its weight is the number of steps."""

    name = "illegal_rate"
    version = "1"

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """One score per episode."""
        return _score_each(outputs, lambda steps: _share_of_all(steps, _is_illegal))


@dataclass(frozen=True)
class Steps:
    """How often the model was asked."""

    horizon: int | None = None  # how often at most
    name: ClassVar[str] = "steps"
    version: ClassVar[str] = "2"

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """One score per episode."""
        bounds = None if self.horizon is None else (1.0, float(self.horizon))
        return _score_each(outputs, lambda steps: Score(float(len(steps)), bounds=bounds))


def _score_each(outputs: Sequence[Output], score: Callable[[Sequence[Score]], Score]) -> list[Score]:
    """`score` of each episode's rewards; what was not played is not scored."""
    return [_unplayed(output) or score(_rewards(output)) for output in outputs]


def _unplayed(output: Output) -> Score | None:
    if output.error is not None:
        return Score(math.nan, status="error", explanation=output.error)
    return (
        None
        if output.steps
        else Score(math.nan, status="error", explanation="it is no episode: it has no steps")
    )


def _rewards(output: Output) -> list[Score]:
    return [reward for step in output.steps for reward in step.scores.values()]


def _return(steps: Sequence[Score]) -> float:
    return math.fsum(step.value for step in steps)


def _solved(steps: Sequence[Score]) -> Score:
    tags = {tag for step in steps for tag in step.tags}
    answer = "solved" if "solved" in tags else "out of steps" if "truncated" in tags else "not solved"
    unread = all(step.status == "unparsed" for step in steps)
    told = f"{len(steps)} {'step' if len(steps) == 1 else 'steps'}, return {_return(steps):g}"
    return Score(float("solved" in tags), answer, "unparsed" if unread else "ok", told)


def _share(steps: Sequence[Score], good: str, bad: str) -> Score:
    right = sum(good in step.tags for step in steps)
    judged = right + sum(bad in step.tags for step in steps)
    if not judged:
        return Score(math.nan, explanation=f"no step is {good} or {bad}")
    return Score(right / judged, explanation=f"{right} of {judged} steps", weight=float(judged))


def _share_of_all(steps: Sequence[Score], counts: Callable[[Score], bool]) -> Score:
    n = len(steps)
    such = sum(map(counts, steps))
    return Score(such / n, explanation=f"{such} of {n} steps", weight=float(n))


def _is_illegal(step: Score) -> bool:
    return "illegal" in step.tags or step.status == "unparsed"
