"""The text-embedding judge: the label whose phrase lies nearest to the answer.

Source: EMT section 7 and appendix D.4: argmin_i ||e(answer) - e(phrase_i)||_2 over the label phrases. The paper speaks
of "formatted ground truth phrases" in one place and of bare labels in the other, hence `phrase`. One form is not enough:
an embedder may put "The object is a(n) star." nearer to some other bare label than to "star", and then a right answer is
wrong for its wording. A label is therefore as near as the nearest of its forms. The paper does not say whether the
embeddings are normalised. `normalise=True` (the default, as CLIP is used) makes argmin L2 the argmax of the cosine;
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

from keepsight.errors import UsageError
from keepsight.scoring.answered import score_answered, version_of
from keepsight.scoring.labels import LabelMatcher
from keepsight.scoring.truth import true_labels
from keepsight.types import KeepsightError, Output, Sample, Score, TextEmbedder

__all__ = ["PHRASES", "EmbeddingJudge"]

Array = np.ndarray[Any, np.dtype[Any]]

# The bare label (EMT D.4), also written as an answer of one word may be, CLIP's own prompt (Radford et al. 2021, 3.1.4),
# and what EMT's tuning teaches a model to say (D.1).
PHRASES = (
    "{label}",
    "{label}.",
    "{Label}",
    "{Label}.",
    "a photo of a {label}.",
    "The object is a(n) {label}.",
    "The object is {label}.",
    "The number is {label}.",
)


class EmbeddingJudge:
    """Value 1 if the nearest label phrase belongs to a true label, else 0; an empty answer is "unparsed".

    Args:
        embedder: any text embedder; each distinct text is embedded once per call, each phrase once per judge.
        labels: the closed label set.
        phrase: what is embedded for a label, in one form or several, of which the nearest counts; `{label}` stands for
            its text form (underscores as blanks), `{Label}` for the same with a capital. `"{label}"` alone compares
            with bare labels.
        margin: least lead of the nearest label over the second, as an L2 distance.
        normalise: scale embeddings to length 1 first.
    """

    name = "embedding"

    def __init__(
        self,
        embedder: TextEmbedder,
        labels: Iterable[str],
        phrase: str | Sequence[str] = PHRASES,
        margin: float = 0.0,
        *,
        normalise: bool = True,
    ) -> None:
        self.embedder = embedder
        self.matcher = LabelMatcher(labels)
        self.phrases = _forms(phrase)
        self.margin = margin
        self.normalise = normalise
        if len(self.matcher.labels) < 2:
            raise KeepsightError("an embedding judge needs at least two labels to choose from")
        self.version = version_of(
            "2", list(self.matcher.labels), list(self.phrases), margin, normalise, embedder.digest
        )
        self._embedded: Array | None = None  # [forms, labels, d]

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
        """L2 distances [texts, labels], each to the nearest form of a label."""
        if self._embedded is None:
            labels = [label.replace("_", " ") for label in self.matcher.labels]
            rows = self._embed([_phrase(form, label) for form in self.phrases for label in labels])
            self._embedded = rows.reshape(len(self.phrases), len(labels), -1)
        answers = self._embed(texts)
        return np.stack([np.linalg.norm(self._embedded - row, axis=2).min(axis=0) for row in answers])

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


def _forms(phrase: str | Sequence[str]) -> tuple[str, ...]:
    """The different forms. Raises UsageError for one that would make all labels look alike."""
    forms = tuple(dict.fromkeys([phrase] if isinstance(phrase, str) else phrase))
    if bare := [form for form in forms if "{label}" not in form and "{Label}" not in form]:
        raise UsageError(f"the phrase {bare[0]!r} does not contain {{label}}, so all labels would look alike")
    if not forms:
        raise UsageError("no phrase given; the embedding judge needs at least one, such as {label}")
    return forms


def _phrase(form: str, label: str) -> str:
    return form.replace("{label}", label).replace("{Label}", label[:1].upper() + label[1:])
