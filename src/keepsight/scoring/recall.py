"""Which of a scene's objects an open description names, and which it makes up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from keepsight.scoring.answered import SHARE, score_each, version_of
from keepsight.scoring.labels import LabelMatcher
from keepsight.scoring.truth import true_labels
from keepsight.types import Output, Sample, Score

__all__ = ["ObjectRecall"]


class ObjectRecall:
    """Value: share of the sample's object kinds (its targets) that the caption names; denied mentions do not count.

    The parsed answer is every kind named, in order; each kind named that is not in the scene gives a tag
    `hallucinated:<kind>`, each one left out a tag `missed:<kind>`. A sample without objects has no value. A caption that
    names no kind has value 0 and status "unparsed".

    Args:
        kinds: all object kinds that can be named.
        synonyms: further names, `{kind: [names]}`.
    """

    name = "recall"

    def __init__(self, kinds: Iterable[str], synonyms: Mapping[str, Sequence[str]] | None = None) -> None:
        self.matcher = LabelMatcher(kinds, synonyms)
        names = {kind: list(others) for kind, others in (synonyms or {}).items()}
        self.version = version_of("2", list(self.matcher.labels), names)

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """Scores each caption; see the class."""
        return score_each(samples, outputs, self._score, SHARE)

    def _score(self, sample: Sample, text: str) -> Score:
        present = true_labels(sample, self.matcher) if sample.target else frozenset()
        named = list(dict.fromkeys(m.label for m in self.matcher.match(text) if not m.negated))
        made_up = [kind for kind in named if kind not in present]
        missed = sorted(present.difference(named))
        tags = (*(f"hallucinated:{kind}" for kind in made_up), *(f"missed:{kind}" for kind in missed))
        value = 1 - len(missed) / len(present) if present else math.nan
        told = f"{len(present) - len(missed)} of {len(present)} named, {len(made_up)} made up"
        if not named:
            return Score(value, status="unparsed", explanation="names no object kind", tags=tags)
        return Score(value, ", ".join(named), explanation=told, tags=tags)
