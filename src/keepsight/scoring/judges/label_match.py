"""The label-string judge: is the true label named in the answer?

Source: EMT (seed of the protocol), section 7: "finding the existence of the label names". Here whole words, longest
label first, denied mentions left out. Known weakness, kept on purpose because the paper's rule has it: an answer that
lists every label contains the true one. The tag `multiple_labels` marks such answers, `rule="only"` counts them as
wrong, and the taxonomy calls them hallucinations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from keepsight.scoring.answered import score_each, version_of
from keepsight.scoring.labels import LabelMatcher
from keepsight.scoring.refusal import declines
from keepsight.scoring.truth import true_labels
from keepsight.types import KeepsightError, Output, Sample, Score

__all__ = ["LabelMatch"]


class LabelMatch:
    """Value 1 if the answer names a true label, else 0. The parsed answer is every label named, in order.

    No label named: status "unparsed", value 0. A refusal: status "refused", no value.

    Args:
        labels: the closed label set.
        synonyms: further names, `{label: [names]}`.
        rule: "contains" (the paper's) or "only": the true label and no other must be named.
    """

    name = "label"

    def __init__(
        self,
        labels: Iterable[str],
        synonyms: Mapping[str, Sequence[str]] | None = None,
        rule: Literal["contains", "only"] = "contains",
    ) -> None:
        if rule not in ("contains", "only"):
            raise KeepsightError(f'label match knows the rules "contains" and "only", not {rule!r}')
        self.matcher = LabelMatcher(labels, synonyms)
        self.rule = rule
        names = {label: list(others) for label, others in (synonyms or {}).items()}
        self.version = version_of("1", list(self.matcher.labels), names, rule)

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """Scores each answer; see the class."""
        return score_each(samples, outputs, self._score)

    def _score(self, sample: Sample, text: str) -> Score:
        truth = true_labels(sample, self.matcher)
        mentions = self.matcher.match(text)
        named = list(dict.fromkeys(mention.label for mention in mentions if not mention.negated))
        denied = [mention.label for mention in mentions if mention.negated]
        if not named and declines(text):
            return Score(float("nan"), status="refused", explanation="declines to answer")
        tags = ("multiple_labels",) * (len(named) > 1) + ("negated",) * bool(denied)
        if not named:
            told = f"denies {', '.join(dict.fromkeys(denied))}" if denied else "names no label"
            return Score(0.0, status="unparsed", explanation=told, tags=tags)
        right = bool(truth.intersection(named)) and (self.rule == "contains" or truth.issuperset(named))
        return Score(float(right), ", ".join(named), explanation=f"names {', '.join(named)}", tags=tags)
