"""How a written answer to "what is it?" is counted: four rules over the same outputs, reported together.

| name | right when | an echo of the label list scores |
|---|---|---|
| `whole_word` | a true label is named, as whole words, the longest label first | 1, tagged `multiple_labels` |
| `inclusion` | a true label's letters stand anywhere in the answer ("ant" in "elephant") | 1 |
| `one_label` | as `whole_word`, and no other label is named | 0 |
| `strict` | the answer is a true label and nothing else | 0 |

Source of `inclusion`: "Why are Visually-Grounded Language Models Bad at Image Classification?", section 2.3 (success is
the true label included in the generation). It cannot tell an answer from a list of all answers, so that no figure of
it should be read without `strict` and the share of answers that name several labels (`metrics.multiple_labels_share`).

All four judge against the whole label set of the data, also where a prompt offers fewer candidates: the same text
gets the same score however many labels were offered.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from keepsight.scoring.answered import score_each, version_of
from keepsight.scoring.conclusion import conclusion
from keepsight.scoring.judges.label_match import LabelMatch
from keepsight.scoring.labels import LabelMatcher
from keepsight.scoring.refusal import declines
from keepsight.scoring.truth import true_labels
from keepsight.types import KeepsightError, Output, Sample, Score, Scorer

__all__ = ["Concluding", "Inclusion", "OneLabel", "Strict", "WholeWord"]


class WholeWord(LabelMatch):
    """Value 1 if the answer names a true label; see `LabelMatch` with the rule "contains"."""

    name = "whole_word"

    def __init__(self, labels: Iterable[str]) -> None:
        super().__init__(labels, rule="contains")


class OneLabel(LabelMatch):
    """Value 1 if the answer names a true label and no other; see `LabelMatch` with the rule "only"."""

    name = "one_label"

    def __init__(self, labels: Iterable[str]) -> None:
        super().__init__(labels, rule="only")


class Inclusion:
    """Value 1 if a true label's letters stand in the answer, upper or lower case: the published rule, kept as it is.

    As published, an answer that declines is wrong (0); its status says `refused` all the same.
    """

    name = "inclusion"
    version = "1"

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """Scores each answer; see the class."""
        return score_each(samples, outputs, self._score)

    def _score(self, sample: Sample, text: str) -> Score:
        if not sample.target:
            raise KeepsightError(f"sample {sample.id} has no target, so its answer cannot be judged")
        found = next((label for label in sample.target if label.lower() in text.lower()), None)
        if found is not None:
            return Score(1.0, found, explanation=f"contains {found}")
        if not text.strip():
            return Score(0.0, status="unparsed", explanation="is empty")
        status = "refused" if declines(text) else "ok"
        return Score(0.0, status=status, explanation=f"does not contain {sample.target[0]}")  # type: ignore[arg-type]


class Strict:
    """Value 1 if the answer is a true label: case, outer blanks, quotes, a final full stop and an article aside.

    An answer that is no label by itself has status "unparsed" and value 0, a refusal status "refused" and no value.

    Args:
        labels: the closed label set.
    """

    name = "strict"

    def __init__(self, labels: Iterable[str]) -> None:
        self.matcher = LabelMatcher(labels)
        self.version = version_of("1", list(self.matcher.labels))
        self._written: dict[str, list[str]] = {}
        for label in self.matcher.labels:
            self._written.setdefault(_bare(label), []).append(label)

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """Scores each answer; see the class."""
        return score_each(samples, outputs, self._score)

    def _score(self, sample: Sample, text: str) -> Score:
        truth = true_labels(sample, self.matcher)
        named = self._label(text)
        if named is not None:
            return Score(float(named in truth), named, explanation=f"is {named}")
        if declines(text):
            return Score(math.nan, status="refused", explanation="declines to answer")
        return Score(0.0, status="unparsed", explanation="is no label by itself")

    def _label(self, text: str) -> str | None:
        """Labels that differ in case only (A, a): the one written so, else the first."""
        same = self._written.get(_bare(text), [])
        return next((label for label in same if label in text), same[0] if same else None)


_ARTICLE = re.compile(r"(?:an?|the|a\(n\))\s+(?=\S)")
_QUOTES = "\"'`“”‘’*"


def _bare(text: str) -> str:
    plain = " ".join(text.replace("_", " ").casefold().split())
    plain = plain.strip(_QUOTES).removesuffix(".").strip(_QUOTES).strip()
    return _ARTICLE.sub("", plain, count=1) if _ARTICLE.match(plain) else plain


class Concluding:
    """Another scorer's word on the conclusion of an answer that reasons first (chain of thought).

    An answer without a conclusion is "unparsed" with value 0 and the tag `no_conclusion`, or "refused" if it declines.
    """

    def __init__(self, scorer: Scorer, labels: Iterable[str]) -> None:
        self.scorer = scorer
        self.matcher = LabelMatcher(labels)
        self.name = scorer.name
        self.version = version_of("1", "conclusion", scorer.version, list(self.matcher.labels))

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """Scores each conclusion; see the class."""
        return [self._score(sample, output) for sample, output in zip(samples, outputs, strict=True)]

    def _score(self, sample: Sample, output: Output) -> Score:
        if output.error is not None:
            return self.scorer([sample], [output])[0]
        end = conclusion(output.text, self.matcher, cut=output.stop == "length")
        if end is not None:
            return self.scorer([sample], [Output(end)])[0]
        if declines(output.text):
            return Score(math.nan, status="refused", explanation="declines to answer")
        return Score(0.0, status="unparsed", explanation="reaches no conclusion", tags=("no_conclusion",))
