"""A long prompt with a picture and a thousand labels: what the ranking benchmarks ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from time import perf_counter
from typing import Any

from keepsight import models
from keepsight.data.drawn import SETS
from keepsight.models.decoding import at_rest
from keepsight.models.ranking import Answers, Choices
from keepsight.types import KeepsightError, Sample

__all__ = ["LABELS", "PREFIX", "Asked", "seconds"]

LABELS = 1000
PREFIX = 600  # tokens, those of the picture included

_WORDS = ("dark", "light", "small", "large", "old", "red", "green", "blue", "striped", "plain")
_THINGS = ("circle", "square", "star", "tree", "house", "fish", "cup", "flag", "arrow", "heart")


@dataclass(frozen=True)
class Asked:
    """A model that can be taken apart, and one picture with a long prompt."""

    model: models.HFModel
    labels: tuple[str, ...]
    prefix: int

    @classmethod
    def of(cls, ref: str, labels: int = LABELS, prefix: int = PREFIX) -> Asked:
        model = models.load(ref)
        if not isinstance(model, models.HFModel):
            raise KeepsightError(f"{ref} cannot be taken apart; give tiny or hf:PATH")
        names = [f"{a} {b} {c}" for a in _WORDS for b in _WORDS for c in _THINGS]
        return cls(model.unshared(), tuple(names[:labels]), prefix)

    @cached_property
    def sample(self) -> Sample:
        """A prompt of as many words as it takes to reach the prefix's length."""
        (picture,) = SETS["shapes"].test(1)
        sample = Sample("long", "What is it?", (picture.media,), choices=self.labels)
        while (missing := self.prefix - self._length(sample)) > 0:
            sample = replace(sample, prompt=sample.prompt + " it" * missing)
        return sample

    def _length(self, sample: Sample) -> int:
        return int(self._inputs(sample)["attention_mask"].sum())

    def _inputs(self, sample: Sample) -> dict[str, Any]:
        texts, _ = self.model._rendered([sample])
        return self.model.base.prepared([texts[0]], [sample]).inputs

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """The prompt's tensors."""
        return self._inputs(self.sample)

    @cached_property
    def answers(self) -> Answers:
        """The labels' tokens."""
        texts, _ = self.model._rendered([self.sample])
        end = self.model.base.vocabulary.end
        return Choices.of(self.model.processor, [self.sample], texts, end).answers_of(0)

    def timed(self, rank: Callable[[Any, dict[str, Any], Answers, int], Any]) -> tuple[float, Any]:
        """Seconds and result of one way of ranking, warm."""
        module, pad = self.model.module, self.model.base.vocabulary.pad
        with at_rest(module):
            rank(module, self.inputs, self.answers[:2], pad)
            before = perf_counter()
            found = rank(module, self.inputs, self.answers, pad)
            return perf_counter() - before, found


def seconds(run: Callable[[], Any], times: int) -> Sequence[float]:
    """Of several runs."""
    found = []
    for _ in range(times):
        before = perf_counter()
        run()
        found.append(perf_counter() - before)
    return found
