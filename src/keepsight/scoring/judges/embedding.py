"""The text-embedding judge: the label whose phrase lies nearest to the answer.

Source: EMT section 7 and appendix D.4: argmin_i ||e(answer) - e(phrase_i)||_2 over the label phrases. The paper speaks
of "formatted ground truth phrases" in one place and of bare labels in the other, hence `phrase`; it does not say whether
the embeddings are normalised. `normalise=True` (the default, as CLIP is used) makes argmin L2 the argmax of the cosine;
`False` compares the embedder's raw rows.

The rule always finds some label, even for noise. `margin` lets it abstain: when the nearest phrase is not nearer than
the second by more than `margin`, the answer is "unparsed". An abstention is counted, not guessed, and its value is 0: the
answer could not be tied to the true label, as with the label judge. Left out of the mean, a checkpoint that turned to
noise would look better the more of its answers are noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from keepsight.scoring.answered import score_answered, version_of
from keepsight.scoring.labels import LabelMatcher
from keepsight.scoring.truth import true_labels
from keepsight.types import KeepsightError, Output, Sample, Score, TextEmbedder

__all__ = ["EmbeddingJudge"]

Array = np.ndarray[Any, np.dtype[Any]]


class EmbeddingJudge:
    """Value 1 if the nearest label phrase belongs to a true label, else 0; an empty answer is "unparsed".

    Args:
        embedder: any text embedder; each distinct text is embedded once per call, each phrase once per judge.
        labels: the closed label set.
        phrase: what is embedded for a label; `{label}` stands for its text form (underscores as blanks).
        margin: least lead of the nearest phrase over the second, as an L2 distance.
        normalise: scale embeddings to length 1 first.
    """

    name = "embedding"

    def __init__(
        self,
        embedder: TextEmbedder,
        labels: Iterable[str],
        phrase: str = "{label}",
        margin: float = 0.0,
        *,
        normalise: bool = True,
    ) -> None:
        if "{label}" not in phrase:
            raise KeepsightError(
                f"the phrase {phrase!r} does not contain {{label}}, so all labels would look alike"
            )
        self.embedder = embedder
        self.matcher = LabelMatcher(labels)
        self.phrase = phrase
        self.margin = margin
        self.normalise = normalise
        if len(self.matcher.labels) < 2:
            raise KeepsightError("an embedding judge needs at least two labels to choose from")
        self.version = version_of("1", list(self.matcher.labels), phrase, margin, normalise, embedder.digest)
        self._phrases: Array | None = None  # [labels, d]

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """Scores each answer; see the class."""
        return score_answered(samples, outputs, self._score)

    def _score(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        texts = list(dict.fromkeys(output.text.strip() for output in outputs if output.text.strip()))
        distances = dict(zip(texts, self._distances(texts), strict=True)) if texts else {}
        return [
            self._judge(sample, distances.get(output.text.strip()))
            for sample, output in zip(samples, outputs, strict=True)
        ]

    def _judge(self, sample: Sample, distances: Array | None) -> Score:
        truth = true_labels(sample, self.matcher)
        if distances is None:
            return Score(0.0, status="unparsed", explanation="empty answer")
        if not np.all(np.isfinite(distances)):
            return Score(float("nan"), status="judge_failed", explanation="the embedding is not finite")
        nearest, second = np.argsort(distances, kind="stable")[:2]
        labels = self.matcher.labels
        told = f"{labels[nearest]} at {distances[nearest]:.3f}, {labels[second]} at {distances[second]:.3f}"
        if self.margin and distances[second] - distances[nearest] <= self.margin:
            return Score(0.0, status="unparsed", explanation=f"too close to call: {told}")
        return Score(float(labels[nearest] in truth), labels[nearest], explanation=told)

    def _distances(self, texts: Sequence[str]) -> Array:
        """L2 distances [texts, labels]."""
        if self._phrases is None:
            phrases = [
                self.phrase.replace("{label}", label.replace("_", " ")) for label in self.matcher.labels
            ]
            self._phrases = self._embed(phrases)
        answers = self._embed(texts)
        return np.stack([np.linalg.norm(self._phrases - answer, axis=1) for answer in answers])

    def _embed(self, texts: Sequence[str]) -> Array:
        rows = np.asarray(self.embedder.embed_texts(texts), dtype=np.float64)  # [n, d]
        if rows.ndim != 2 or len(rows) != len(texts):
            raise KeepsightError(
                f"{self.embedder.name} gave an array of shape {rows.shape} for {len(texts)} texts; expected [n, d]"
            )
        if not self.normalise:
            return rows
        with np.errstate(invalid="ignore", divide="ignore"):
            return rows / np.linalg.norm(rows, axis=1, keepdims=True)
