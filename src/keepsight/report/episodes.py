"""What an episode was, step by step: read from a record whose output has steps."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from keepsight.types import Media, Record, Run, Score

__all__ = ["OUTCOMES", "Episode", "Outcome", "Step", "has_episodes", "number", "read_episode"]

Outcome = Literal["solved", "unsolved", "cut off", "failed"]
OUTCOMES: dict[Outcome, tuple[str, str]] = {  # its sign and its words
    "solved": ("✓", "solved"),
    "unsolved": ("✗", "not solved"),
    "cut off": ("⊘", "cut off"),
    "failed": ("!", "failed"),  # the model gave no answer: no outcome of play
}
_REWARD = "reward"  # the scorer's name in an episode's steps
_TOLD_ELSEWHERE = {"illegal", "random_action", "solved", "truncated"}


@dataclass(frozen=True)
class Step:
    """One exchange: what was seen and asked, what was said, what was done and what it was worth."""

    number: int  # from 1
    media: tuple[Media, ...]
    prompt: str
    history: tuple[str, ...]  # answer, reply, answer, reply, ... after the prompt
    said: str
    cut: bool  # the answer ended at the length limit
    error: str
    action: str  # what was done, or the answer as read; "" where nothing was read
    fault: Literal["", "illegal", "unreadable"]  # of the answer
    random: bool  # the action was drawn, not the model's
    reward: float
    total: float  # the return up to and with this step
    message: str
    tags: tuple[str, ...]  # without what the fields above say


@dataclass(frozen=True)
class Episode:
    """An episode as played by one checkpoint."""

    id: str
    outcome: Outcome
    steps: tuple[Step, ...]
    error: str = ""

    @property
    def total(self) -> float:
        """The undiscounted return; 0 of an episode without a step."""
        return self.steps[-1].total if self.steps else 0.0

    @property
    def faults(self) -> Mapping[str, int]:
        """How many answers named no legal action, and how many could not be read."""
        return Counter(step.fault for step in self.steps if step.fault)


def has_episodes(run: Run | None) -> bool:
    """Whether a run's outputs are episodes."""
    return run is not None and any(record.output.steps for record in run.records)


def read_episode(record: Record) -> Episode:
    """The episode that a record holds."""
    steps: list[Step] = []
    for place, step in enumerate(record.output.steps):
        total = steps[-1].total if steps else 0.0
        steps.append(_step(place + 1, step, total))
    return Episode(record.sample.id, _outcome(record), tuple(steps), record.output.error or "")


def number(value: float, *, signed: bool = False) -> str:
    """A reward or a return: up to six digits, a real minus sign."""
    if math.isnan(value):
        return "–"
    text = f"{value + 0.0:{'+' if signed and value else ''}.6g}"
    return text.replace("-", "−")


def _outcome(record: Record) -> Outcome:
    if record.output.error is not None or not record.output.steps:
        return "failed"
    tags = _reward(record.output.steps[-1]).tags
    return "solved" if "solved" in tags else "cut off" if "truncated" in tags else "unsolved"


def _step(place: int, step: Record, before: float) -> Step:
    score = _reward(step)
    reward = 0.0 if math.isnan(score.value) else score.value
    return Step(
        number=place,
        media=tuple(media for media in step.sample.media if media.kind == "image"),
        prompt=step.sample.prompt,
        history=step.sample.history,
        said=step.output.text,
        cut=step.output.stop == "length",
        error=step.output.error or "",
        action=score.answer or "",
        fault="illegal" if "illegal" in score.tags else "unreadable" if score.status == "unparsed" else "",
        random="random_action" in score.tags,
        reward=score.value,
        total=before + reward,
        message=score.explanation,
        tags=_other(score.tags),
    )


def _reward(step: Record) -> Score:
    return step.scores.get(_REWARD) or Score(math.nan)


def _other(tags: Sequence[str]) -> tuple[str, ...]:
    return tuple(tag for tag in tags if tag not in _TOLD_ELSEWHERE)
