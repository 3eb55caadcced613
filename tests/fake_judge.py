"""Models that judge without weights: a script, and one that reads the shielded prompt as it is meant to be read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from keepsight.types import Output, Sample

CORRECT = '{"reason": "names it", "verdict": "correct"}'
INCORRECT = '{"reason": "names another", "verdict": "incorrect"}'


@dataclass
class ScriptedJudge:
    """Replies by a function of the sample (and of the seed, if it takes two); None: no reply at all."""

    reply: Callable[..., str | Output | None]
    name: str = "scripted"
    digest: str = "1" * 64
    asked: list[Sample] = field(default_factory=list)
    settings: list[dict[str, Any]] = field(default_factory=list)

    def generate(self, samples: Sequence[Sample], **settings: Any) -> Iterator[tuple[int, Output]]:
        self.settings.append(settings)
        for index in reversed(range(len(samples))):  # replies come in any order
            self.asked.append(samples[index])
            reply = self.reply(samples[index], settings["seed"])
            if reply is not None:
                yield index, reply if isinstance(reply, Output) else Output(reply, stop="eos")


@dataclass(frozen=True)
class Shown:
    """What a shielded prompt shows."""

    question: str
    references: list[str]
    answer: list[str]
    mark: str


SHIELDED = re.compile(
    r"^QUESTION (?P<question>\[.*\])\nREFERENCES (?P<references>\[.*\])\n"
    r"BEGIN ANSWER (?P<mark>[0-9a-f]{24})\n(?P<answer>\[.*\])\nEND ANSWER (?P=mark)\n",
    re.MULTILINE,
)


def shown(prompt: str) -> Shown:
    """The fields of a prompt; there must be one way to read it."""
    (found,) = SHIELDED.finditer(prompt)
    fields = {name: json.loads(found[name]) for name in ("question", "references", "answer")}
    (question,) = fields["question"]
    return Shown(question, fields["references"], fields["answer"], found["mark"])


def careful(sample: Sample, seed: int = 0) -> str:
    """Correct if the answer begins by naming a reference, whatever else it says."""
    read = shown(sample.prompt)
    words = re.findall(r"\w+", read.answer[0])[:8]
    named = any(reference in words for reference in read.references)
    return CORRECT if named else INCORRECT


def judge_of(reply: Callable[..., Any] | str) -> ScriptedJudge:
    """A model that gives this reply, or what this function of (sample, seed) says."""
    return ScriptedJudge(reply if callable(reply) else lambda sample, seed: reply)
