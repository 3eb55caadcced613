"""A model, a scorer and a task for tests of the store and the audit: no torch, no pictures drawn."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keepsight.types import Media, MetricValue, Output, Sample, Score, Task, digest_of


@dataclass
class FakeVLM:
    """Answers `answers[id]`, or the sample's target; counts the samples it was asked."""

    name: str = "fake"
    weights: str = "w0"
    answers: Mapping[str, str | Exception] = field(default_factory=dict)
    broken: frozenset[str] = frozenset()
    seconds: float = 0.0
    interrupt_after: int | None = None
    reverse: bool = False
    asked: list[str] = field(default_factory=list)
    loads: int = 0

    @property
    def digest(self) -> str:
        return digest_of([self.weights])

    def generate(
        self, samples: Sequence[Sample], *, batch_size=None, **settings: Any
    ) -> Iterator[tuple[int, Output]]:
        self.loads += 1
        order = range(len(samples))
        for i in reversed(order) if self.reverse else order:
            if self.interrupt_after is not None and len(self.asked) >= self.interrupt_after:
                raise KeyboardInterrupt
            time.sleep(self.seconds)
            sample = samples[i]
            self.asked.append(sample.id)
            answer = self.answers.get(sample.id, sample.target[0] if sample.target else "")
            if isinstance(answer, Exception):
                raise answer
            said = Output(answer, stop="eos", usage={"tokens": 1})
            yield i, Output("", error="broken picture") if sample.id in self.broken else said


@dataclass(frozen=True)
class Ask:
    """The simplest Inference."""

    max_new_tokens: int = 8
    seed: int = 0

    @property
    def settings(self) -> dict[str, Any]:
        return {"method": "ask", "max_new_tokens": self.max_new_tokens, "seed": self.seed}

    def __call__(self, model, samples, *, batch_size=None):
        return model.generate(
            samples, max_new_tokens=self.max_new_tokens, seed=self.seed, batch_size=batch_size
        )


@dataclass
class Exact:
    """1 when the answer is the target, 0 otherwise; unparsed when empty."""

    name: str = "exact"
    version: str = "1"
    fails: frozenset[str] = frozenset()  # no reply
    babbles: frozenset[str] = frozenset()  # a reply that cannot be read
    scored: list[str] = field(default_factory=list)

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        self.scored += [sample.id for sample in samples]
        return [self._score(sample, output) for sample, output in zip(samples, outputs)]

    def _score(self, sample: Sample, output: Output) -> Score:
        if sample.id in self.fails | self.babbles:
            tags = ("no_reply",) if sample.id in self.fails else ()
            return Score(math.nan, status="judge_failed", explanation="no verdict", tags=tags)
        if not output.text:
            return Score(0.0, status="unparsed")
        return Score(float(output.text in sample.target), answer=output.text, tags=("seen",))


def share(samples: Sequence[Sample], scores: Sequence[Score]) -> MetricValue:
    """Mean of what was scored, with a token interval."""
    values = [score.value for score in scores if score.scored]
    value = sum(values) / len(values) if values else math.nan
    failed = sum(score.status != "ok" for score in scores)
    return MetricValue(
        "share", value, value, value, len(values), len(samples), not_ok={"error": failed} if failed else {}
    )


def picture(i: int) -> Media:
    return Media(data=b"\x89PNG" + i.to_bytes(4, "big"))


def samples(n: int = 10, prompt: str = "What is it?") -> list[Sample]:
    return [
        Sample(f"s{i:03}", prompt, (picture(i),), target=("cat" if i % 2 else "dog",), meta={"place": i})
        for i in range(n)
    ]


def make_task(given: Sequence[Sample] | None = None, name: str = "emt:pets", **changes: Any) -> Task:
    given = samples() if given is None else given
    fields: dict[str, Any] = {"infer": Ask(), "score": Exact(), "metrics": (share,), "labels": ("cat", "dog")}
    return Task(name=name, version="1", test=lambda: given, **{**fields, **changes})
