"""A model that shows states made from the label of the picture it is asked about; counts what it is asked. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any

import numpy as np

from keepsight.data.drawn import UNTAUGHT
from keepsight.types import digest_of

THINGS = UNTAUGHT["things"]


@dataclass(frozen=True)
class Few:
    """The set of things with 200 pictures to learn from. Subclasses show other test pictures."""

    name: str = "things"
    labels: tuple[str, ...] = THINGS.labels
    noun: str = "object"

    def train(self, n=None, seed=0):
        return THINGS.train(n or 200, seed)

    def test(self, n=None, seed=0):
        return THINGS.test(n, seed)


@cache
def _known() -> dict[str, str]:
    pictures = [*THINGS.train(200), *THINGS.test(60)]
    return {picture.media.sha256: picture.label for picture in pictures}


def _labels() -> dict[str, str]:
    return dict(_known())


def _vector(sha: str, label: str, signal: float, where: str) -> np.ndarray[Any, np.dtype[Any]]:
    """Noise of the picture and place, and as much of the label as `signal` says."""
    rng = Random(f"{sha}/{where}")
    noise = np.array([rng.random() - 0.5 for _ in range(12)], np.float32)
    noise[THINGS.labels.index(label)] += signal
    return noise


@dataclass
class FakeStates:
    """`signal[layer]` of the label is in its states from the third token on; `encoded` of it in its encoder's output."""

    signal: Sequence[float] = (0.0, 2.0, 2.0)
    mean: float = 1.0  # how much of it is in their mean
    weights: str = "w0"
    name: str = "fake"
    layers: int = 2
    tokens: int = 5
    asked: list[tuple[str, Any]] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=_labels)

    @property
    def digest(self) -> str:
        return digest_of([self.weights])

    def token_counts(self, samples):
        return [self.tokens for _ in samples]

    def states(self, samples, places, *, batch_size=None):
        for at in reversed(range(len(samples))):
            sha = samples[at].media[0].sha256
            self.asked.append((sha, tuple(places)))
            yield at, np.stack([self._state(sha, *place) for place in places])

    def _state(self, sha, layer, position):
        seen = position in ("last", "mean") or int(position) % self.tokens >= 2
        return _vector(
            sha,
            self.labels[sha],
            self.signal[layer] * (self.mean if position == "mean" else seen),
            f"{layer}/{position}",
        )


@dataclass
class FakeEncoder:
    """Stands for the study's CLIP."""

    signal: float = 2.0
    name: str = "eye"
    digest: str = "e0"
    labels: dict[str, str] = field(default_factory=_labels)

    def embed_images(self, media):
        return np.stack([_vector(one.sha256, self.labels[one.sha256], self.signal, "eye") for one in media])
