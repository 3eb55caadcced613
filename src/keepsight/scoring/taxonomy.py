"""How an answer is right or fails: the failure taxonomy of EMT (section 4.2) as fixed rules.

| category | meaning |
|---|---|
| correct | names the true label, and no other, as its answer |
| incorrect | names one other label, a label of another set, or something short outside the label set |
| intrinsic | contradicts itself or the question: several labels, or "The airplane is 8." |
| extrinsic | a description that cannot be checked against the label set: "a picture of a fish in a tank" |
| no_answer | nothing that answers: empty, a refusal, "I don't know", only denials of other labels |

Category and flags are separate outputs, so that the paper's label-string accuracy (category correct, or flag
`contains_truth`) and the strict one come from one pass.

| flag | meaning |
|---|---|
| multiple_labels | two or more own labels offered as the answer |
| predicate_contradiction | the subject names one label and the predicate another |
| leak:<set> | the answer is a label of a foreign set and of none of the own ones |
| out_of_set | the answer is neither an own nor a foreign label |
| contains_truth | not correct, although the true label is named somewhere |
| partial_label_overlap | not a label, but shares a word with the true one ("fish" for aquarium fish) |
| extra_description | words beyond label and template |
| hedged, negated | "might be a cat"; "not a ship" |
| repeated, echo | a sentence came twice; the answer began by repeating the prompt |
| refusal, does_not_know | why there is no answer |

What differs from the paper, which gives examples and no rules: a label in a modifier is scenery, not an answer; a longer
foreign label is not read as the shorter own one in it ("garbage truck"); labels that two sets share are not a leak.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from keepsight.scoring.answered import score_each, version_of
from keepsight.scoring.labels import LabelMatcher
from keepsight.scoring.phrases import Part, parts_of
from keepsight.scoring.refusal import declines, does_not_know
from keepsight.scoring.truth import true_labels
from keepsight.scoring.words import forms, tokenize
from keepsight.types import Output, Sample, Score, ScoreStatus

__all__ = ["CATEGORIES", "Category", "Taxonomy"]

Category = Literal["correct", "incorrect", "intrinsic", "extrinsic", "no_answer"]
CATEGORIES: tuple[Category, ...] = ("correct", "incorrect", "intrinsic", "extrinsic", "no_answer")

_LONGEST_ANSWER = 60  # characters of an answer outside the label set, as tables show it
_DESCRIPTION = 3  # content words that make an answer without a label a description


class Taxonomy:
    """Value 1 for "correct", else 0; the explanation is the category, the tags are the flags (tables in the module).

    The parsed answer is the label named (own or foreign), several joined by commas, or the words given instead.
    No answer: status "unparsed", value 0. A refusal: category no_answer, status "refused", no value.

    Args:
        labels: the closed label set.
        foreign: other label sets by name, usually those the checkpoint was tuned on or is also tested on.
        synonyms: further names of own labels, `{label: [names]}`.
    """

    name = "taxonomy"

    def __init__(
        self,
        labels: Iterable[str],
        foreign: Mapping[str, Sequence[str]] | None = None,
        synonyms: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.own = LabelMatcher(labels, synonyms)
        self.matcher = LabelMatcher(self.own.labels, synonyms, foreign)
        names = {label: list(others) for label, others in (synonyms or {}).items()}
        others = {name: list(values) for name, values in self.matcher.foreign.items()}
        self.version = version_of("1", list(self.own.labels), others, names)

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """Classifies each answer; see the class."""
        return score_each(samples, outputs, self._score)

    def _score(self, sample: Sample, text: str) -> Score:
        truth = true_labels(sample, self.own)
        answer_text = _without_echo(text, sample.prompt)
        parts, repeated = parts_of(answer_text, self.matcher)
        final = [part for part in parts if part.final and part.head]
        reading = _Reading(final[-1:] or parts, truth, answer_text)
        category, answer, flags = reading.verdict()
        flags = [*flags, *dict.fromkeys(self._leaks(reading))]
        if category != "correct" and self._contains(parts, answer_text, truth):
            flags.append("contains_truth")
        if repeated:
            flags.append("repeated")
        if len(answer_text) < len(text):
            flags.append("echo")
        if "refusal" in flags:
            return Score(math.nan, answer, "refused", category, tuple(flags))
        status: ScoreStatus = "unparsed" if category == "no_answer" else "ok"
        return Score(float(category == "correct"), answer, status, category, tuple(flags))

    def _leaks(self, reading: _Reading) -> Iterator[str]:
        leaked = reading.contradiction or (() if reading.own else reading.head)
        for label in dict.fromkeys(mention.label for mention in leaked):
            yield from (f"leak:{name}" for name in self.matcher.foreign_sets(label))

    def _contains(self, parts: Sequence[Part], text: str, truth: frozenset[str]) -> bool:
        """Is a true label named anywhere, or hidden in a longer foreign one ("garbage truck")?"""
        named = [mention for part in parts for mention in part.named]
        longer = {text[m.start : m.end] for m in named if m.source is not None}
        hidden = (mention.label for words in longer for mention in self.own.match(words))
        return not truth.isdisjoint([*(m.label for m in named if m.source is None), *hidden])


class _Reading:
    """All sentences of an answer together, against the truth."""

    def __init__(self, parts: Sequence[Part], truth: frozenset[str], text: str) -> None:
        self.parts = parts
        self.truth = truth
        self.text = text
        self.head = [mention for part in parts for mention in part.head]
        self.own = list(dict.fromkeys(mention.label for mention in self.head if mention.source is None))
        self.contradiction = [mention for part in parts for mention in part.contradiction]
        self.content = [word for part in parts for word in part.content]

    def verdict(self) -> tuple[Category, str | None, list[str]]:
        """Category, parsed answer and flags."""
        flags = [*self._qualified()]
        if self.contradiction:
            labels = dict.fromkeys(mention.label for mention in self.contradiction)
            return "intrinsic", _listed(labels), [*self._several(), "predicate_contradiction", *flags]
        if len(self.own) > 1:
            return "intrinsic", _listed(self.own), ["multiple_labels", *flags]
        if self.own:
            category: Category = "correct" if self.own[0] in self.truth else "incorrect"
            return category, self.own[0], [*self._extra(), *flags]
        if self.head:
            return "incorrect", self.head[0].label, [*self._extra(), *flags]
        return self._without_label(flags)

    def _without_label(self, flags: list[str]) -> tuple[Category, str | None, list[str]]:
        denied = [mention for part in self.parts for mention in part.denied if mention.source is None]
        if declines(self.text):
            return "no_answer", None, ["refusal", *flags]
        if any(mention.label in self.truth for mention in denied):
            return "incorrect", f"not {_listed(dict.fromkeys(m.label for m in denied))}", flags
        rest = [mention for part in self.parts for mention in part.rest]
        if does_not_know(self.text) or not (self.content or rest):
            return "no_answer", None, [*(["does_not_know"] if does_not_know(self.text) else []), *flags]
        overlap = ["partial_label_overlap"] if self._shares_word() else []
        answer = (
            next((part.answer for part in self.parts if part.answer), "")[:_LONGEST_ANSWER].strip() or None
        )
        if overlap or rest or len(self.content) >= _DESCRIPTION:
            return "extrinsic", answer, [*overlap, *self._extra(), *flags]
        if denied:
            return "no_answer", None, flags
        return "incorrect", answer, ["out_of_set", *flags]

    def _qualified(self) -> Iterator[str]:
        mentions = [*self.head, *self.contradiction, *(m for part in self.parts for m in part.denied)]
        if any(mention.hedged for mention in mentions):
            yield "hedged"
        if any(mention.negated for mention in mentions):
            yield "negated"

    def _several(self) -> Iterator[str]:
        if len({mention.label for mention in self.contradiction if mention.source is None}) > 1:
            yield "multiple_labels"

    def _extra(self) -> Iterator[str]:
        if self.content:
            yield "extra_description"

    def _shares_word(self) -> bool:
        """ "fish" for aquarium fish. A name of one word would have been found itself."""
        names = [[token.text for token in tokenize(label)] for label in self.truth]
        parts = {word for name in names if len(name) > 1 for word in name if len(word) > 2}
        return bool(parts & {form for word in self.content for form in forms(word)})


def _listed(labels: Iterable[str]) -> str:
    """ "cat, dog"; long lists are cut, with their length."""
    names = list(labels)
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:3])}, ... ({len(names)} labels)"


def _without_echo(text: str, prompt: str) -> str:
    """The answer without the prompt, if it begins by repeating it."""
    stripped = text.lstrip()
    return stripped[len(prompt) :] if prompt and stripped.startswith(prompt) else text
