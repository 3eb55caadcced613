"""How often a corpus names each class: sentences that name it, and documents that do.

Source: Zhang et al., "Why are Visually-Grounded Language Models Bad at Image Classification?" (arXiv:2405.18415), section 3.3
and appendix B.6: a class counts once per sentence that contains it.

What differs from the published counting:
1. A name counts at the start and at the end of a sentence, too; there, names at either end were missed.
2. Case, hyphens, plurals and punctuation inside a label ("potter's wheel") do not matter; there, such labels counted nothing.
3. By default "guinea pig" is no pig (`overlap="longest"`); `overlap="all"` counts both, as published.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from keepsight.scoring.labels import LabelMatcher
from keepsight.scoring.words import APOSTROPHES, forms, word_set
from keepsight.types import KeepsightError

__all__ = ["MentionCounter", "MentionCounts", "Overlap", "sentences", "together"]

Overlap = Literal["longest", "all"]

_NAMED_FAULTS = 3
_SENTENCE_END = re.compile(r"[.!?]+[\"')\]]*\s+|[。！？]+|[\r\n]+")
_ABBREVIATIONS = word_set("st mr mrs ms dr jr sr vs no mt ft prof etc e.g i.e approx fig")
# Words of a plain text, and what separates them: a comma between two words keeps them from being one name.
_PLAIN = re.compile(r"[a-z0-9]+|'[a-z0-9]+|[^\sa-z0-9_-]")
_NOT_PLAIN = re.compile(r"n't|a\(n\)|\d[.,]\d|`")
_JOINS = frozenset(" \t\n\r_-\u00a0\u2010\u2011\u2012\u2013")
# Words that are labels of published sets and mostly mean something else: `LabelMatcher` reads their sentences.
_DELICATE = word_set("can may might must will one")


@dataclass(frozen=True)
class MentionCounts:
    """What one corpus, or several together, names how often. Every label has a count, 0 included."""

    name: str
    sentences: Mapping[str, int]  # label -> sentences that name it
    documents: Mapping[str, int]  # label -> rows that name it
    n_sentences: int
    n_documents: int
    n_bad: int = 0  # rows that could not be read
    bad: tuple[str, ...] = ()  # the first of them, with the reason
    overlap: Overlap = "longest"


@dataclass
class MentionCounter:
    """Counts mentions of `labels` in documents that are given one after the other.

    Args:
        labels: the class names; a label met twice is one label.
        overlap: which names count where one lies inside another: the longest, or all.
        synonyms: further names, `{label: [names]}`.
    """

    labels: Sequence[str]
    overlap: Overlap = "longest"
    synonyms: Mapping[str, Sequence[str]] | None = None
    n_sentences: int = 0
    n_documents: int = 0
    n_bad: int = 0
    bad: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.overlap not in ("longest", "all"):
            raise KeepsightError(f"overlap is {self.overlap!r}; give longest or all")
        self._matcher = LabelMatcher(self.labels, self.synonyms)
        self._sentences: Counter[str] = Counter()
        self._documents: Counter[str] = Counter()
        self._names: dict[
            str, list[tuple[list[str], str]]
        ] = {}  # first word -> (words, label), longest first
        for words, label in self._writings().items():
            self._names.setdefault(words[0], []).append((list(words), label))
        for names in self._names.values():
            names.sort(key=lambda name: -len(name[0]))
        self._first = frozenset(self._names)
        self._delicate = frozenset(
            word
            for word, *more in self._matcher.writings()
            if not more and (word in _DELICATE or (len(word) == 1 and not word.isdecimal()))
        )

    def add(self, texts: Iterable[str]) -> None:
        """One document: the texts of a row."""
        found: set[str] = set()
        for text in texts:
            for sentence in sentences(text):
                self.n_sentences += 1
                if named := self.labels_in(sentence):
                    self._sentences.update(named)
                    found |= named
        self._documents.update(found)
        self.n_documents += 1

    def add_fault(self, reason: str) -> None:
        """A document that could not be read."""
        self.n_bad += 1
        if len(self.bad) < _NAMED_FAULTS:
            self.bad.append(reason)

    def labels_in(self, sentence: str) -> set[str]:
        """The labels that a sentence names."""
        words = self._words(sentence)
        if self._first.isdisjoint(words):
            return set()
        if self._delicate and not self._delicate.isdisjoint(words):
            return self._carefully(sentence, words)
        return self._named(words)

    def counts(self, name: str) -> MentionCounts:
        """What was counted so far."""
        labels = self._matcher.labels
        return MentionCounts(
            name,
            {label: self._sentences[label] for label in labels},
            {label: self._documents[label] for label in labels},
            self.n_sentences,
            self.n_documents,
            self.n_bad,
            tuple(self.bad),
            self.overlap,
        )

    def _writings(self) -> dict[tuple[str, ...], str]:
        """The matcher's; plurals of short names and synonyms; and labels with their own punctuation ("St. Bernard")."""
        known = self._matcher.writings()
        for words, label in list(known.items()):
            if words[-1] not in forms(self._matcher.read(label)[0][-1].text):
                for last in sorted(forms(words[-1])):
                    known.setdefault((*words[:-1], last), label)
        for label in self._matcher.labels:
            words = tuple(self._words(label))
            while len(words) > 1 and not words[-1][-1].isalnum():
                words = words[:-1]
            if words:
                known.setdefault(words, label)
        return known

    def _words(self, sentence: str) -> list[str]:
        """Words in order, and between them what is neither blank nor hyphen, a character each."""
        text = sentence.lower()
        if text.isascii() and not _NOT_PLAIN.search(text):
            return _PLAIN.findall(text)
        words = []
        for token in self._matcher.read(sentence)[0]:
            words += ["'" if c in APOSTROPHES else c for c in token.gap if c not in _JOINS]
            words.append(token.text)
        return words

    def _named(self, words: Sequence[str], skip: frozenset[str] = frozenset()) -> set[str]:
        named: set[str] = set()
        spans: list[tuple[int, int, str]] = []
        for at, word in enumerate(words):
            for name, label in self._names.get(word, ()):
                length = len(name)
                if (length == 1 and word not in skip) or (length > 1 and words[at : at + length] == name):
                    spans.append((length, at, label))
        if self.overlap == "all" or len(spans) < 2:
            return {label for _, _, label in spans}
        taken: set[int] = set()
        for length, at, label in sorted(spans, key=lambda span: (-span[0], span[1])):
            places = range(at, at + length)
            if taken.isdisjoint(places):
                taken.update(places)
                named.add(label)
        return named

    def _carefully(self, sentence: str, words: Sequence[str]) -> set[str]:
        """Where a word may be an article, a pronoun or an auxiliary, the matcher of answers decides about such words."""
        meant = {mention.label for mention in self._matcher.match(sentence)}
        return meant if self.overlap == "longest" else meant | self._named(words, skip=self._delicate)


def together(counts: Sequence[MentionCounts], name: str = "together") -> MentionCounts:
    """Several corpora as one: the stages of a training, added up.

    Raises:
        KeepsightError: no counts, or counts of different labels or rules.
    """
    if not counts:
        raise KeepsightError("no corpus was counted; name at least one")
    first = counts[0]
    for other in counts[1:]:
        if set(other.sentences) != set(first.sentences) or other.overlap != first.overlap:
            raise KeepsightError(
                f"{first.name} and {other.name} were counted for other labels or by another rule; count both alike"
            )
    return MentionCounts(
        name,
        {label: sum(c.sentences[label] for c in counts) for label in first.sentences},
        {label: sum(c.documents[label] for c in counts) for label in first.documents},
        sum(c.n_sentences for c in counts),
        sum(c.n_documents for c in counts),
        sum(c.n_bad for c in counts),
        tuple(fault for c in counts for fault in c.bad)[:_NAMED_FAULTS],
        first.overlap,
    )


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text: they end at a full stop, question or exclamation mark before a blank, or with the line.

    The stop of an abbreviation ("St. Bernard", "J. Smith") ends none.
    """
    start = 0
    for end in _SENTENCE_END.finditer(text):
        if end.group()[0] == "." and _abbreviated(text, start, end.start()):
            continue
        if sentence := text[start : end.end()].strip():
            yield sentence
        start = end.end()
    if rest := text[start:].strip():
        yield rest


def _abbreviated(text: str, start: int, stop: int) -> bool:
    word = text[max(start, stop - 8) : stop].rpartition(" ")[2].lower()
    return word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha())
