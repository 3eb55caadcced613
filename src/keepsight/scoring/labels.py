"""Finding class labels in free text: whole words, longest first.

`LabelMatcher(["pig", "guinea pig"]).match("two guinea-pigs")` finds `guinea pig` and nothing else. Case, underscores,
hyphens and regular plurals do not matter. Numeric label sets accept number words, and sets of number words accept
digits. A single letter counts only where it is meant: not the article of "A picture", not the pronoun of "I think".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from keepsight.scoring.negation import COPULAS, denied, denied_afterwards, hedged
from keepsight.scoring.words import APOSTROPHES, ARTICLE, Token, forms, number_words, tokenize, word_set
from keepsight.types import KeepsightError

__all__ = ["LabelMatcher", "Mention"]

_BLANKS = frozenset(" \t\n\r_-\u00a0\u2010\u2011\u2012\u2013")
_PRONOUNS = (
    ("no", "one"),
    ("one", "of"),
    ("this", "one"),
    ("that", "one"),
    ("which", "one"),
    ("any", "one"),
    ("the", "one"),
)


@dataclass(frozen=True)
class Mention:
    """A label found at text[start:end]. `source` is None for the matcher's own labels, else the foreign set's name."""

    label: str
    start: int
    end: int
    negated: bool = False  # "not a ship"
    hedged: bool = False  # "might be a ship"
    source: str | None = None


@dataclass(frozen=True)
class _Entry:
    words: tuple[str, ...]
    label: str | None  # None: a phrase that contains a label's words but does not name it ("no one")
    source: str | None
    gaps: tuple[frozenset[str], ...]  # characters that may stand before each word besides blanks


class LabelMatcher:
    """Finds mentions of `labels` (and of `foreign` label sets) in texts.

    Args:
        labels: the closed label set, as the data set writes it; mentions carry exactly these strings. A label met
            twice is one label.
        synonyms: further names, `{label: [names]}`.
        foreign: other sets by name, so that "garbage truck" is not read as a truck. A name that both know belongs to
            `labels`.

    Raises KeepsightError when a label has nothing to match, two labels read the same ("C" and "C++"), or `synonyms`
    names a label that is not in the set.
    """

    def __init__(
        self,
        labels: Iterable[str],
        synonyms: Mapping[str, Sequence[str]] | None = None,
        foreign: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.labels = tuple(dict.fromkeys(labels))
        self.foreign = {name: tuple(dict.fromkeys(names)) for name, names in (foreign or {}).items()}
        self._symbols = _symbols(
            [*self.labels, *(label for names in self.foreign.values() for label in names)]
        )
        self._entries: dict[tuple[str, ...], _Entry] = {}
        self._exact: dict[tuple[str, ...], list[str]] = {}
        self._foreign_names: dict[tuple[str, ...], dict[str, None]] = {}  # in set order
        self._add_set(self.labels, None, synonyms or {})
        for name, names in self.foreign.items():
            self._add_set(names, name, {})
        self._by_first: dict[str, list[_Entry]] = {}
        for entry in self._entries.values():
            self._by_first.setdefault(entry.words[0], []).append(entry)

    def match(self, text: str) -> list[Mention]:
        """All mentions in order of place; they never overlap."""
        return [mention for mention, _, _ in self.read(text)[1]]

    def read(self, text: str) -> tuple[list[Token], list[tuple[Mention, int, int]]]:
        """The words of `text`, and every mention with the indices of its first word and of the word after it."""
        tokens = tokenize(text, self._symbols)
        found = self._longest_first(tokens)
        if not found:
            return tokens, []
        negations, hedges = denied(tokens), hedged(tokens)
        mentions = []
        for first, entry in found:
            if entry.label is None:
                continue
            after = first + len(entry.words)
            start, end = tokens[first].start, tokens[after - 1].end
            mention = Mention(
                self._cased(entry, text[start:end]),
                start,
                end,
                negated=negations[first] or denied_afterwards(tokens, after),
                hedged=hedges[first],
                source=entry.source,
            )
            mentions.append((mention, first, after))
        return tokens, mentions

    def canonical(self, name: str) -> str | None:
        """The own label that `name` is one writing of ("Guinea-Pig", "African hunting dog"), or None."""
        if name in self.labels:
            return name
        entry = self._entries.get(_words(name, self._symbols))
        return entry.label if entry is not None and entry.source is None else None

    def writings(self) -> dict[tuple[str, ...], str]:
        """Every sequence of words that names an own label, and the label; for readers of texts too long for `match`."""
        return {
            words: entry.label
            for words, entry in self._entries.items()
            if entry.label is not None and entry.source is None
        }

    def foreign_sets(self, label: str) -> tuple[str, ...]:
        """The foreign sets that know `label`, in any of its forms."""
        return tuple(self._foreign_names.get(_words(label, self._symbols), ()))

    # ---- building ----

    def _add_set(
        self, labels: Sequence[str], source: str | None, synonyms: Mapping[str, Sequence[str]]
    ) -> None:
        unknown = [label for label in synonyms if label not in labels]
        if unknown:
            raise KeepsightError(f"synonyms name the label {unknown[0]!r}, which is not in the label set")
        for label in labels:
            self._add_exact(label, source)
        for label, names in synonyms.items():
            for name in names:
                self._add(_words(name, self._symbols), label, source, name)
        for label, name in _without_parentheses(labels):
            self._add(_words(name, self._symbols), label, source, name)
        for label in labels:
            for words in _variants(_words(label, self._symbols)):
                self._add(words, label, source, label)
        self._add_numbers(labels, source)

    def _add_exact(self, label: str, source: str | None) -> None:
        words = _words(label, self._symbols)
        if not words:
            raise KeepsightError(f"label {label!r} has no letter, digit or symbol to look for; rename it")
        if source is None:
            same = self._exact.setdefault(words, [])
            if same and _plain(same[0]) != _plain(label):
                raise KeepsightError(f"labels {same[0]!r} and {label!r} read the same; rename one of them")
            same.append(label)
        self._add(words, label, source, label)

    def _add(self, words: tuple[str, ...], label: str | None, source: str | None, written: str) -> None:
        if source is not None and label is not None:
            self._foreign_names.setdefault(words, {})[source] = None
        if words and words not in self._entries:
            gaps = tuple(_like(token.gap) for token in tokenize(written, self._symbols)[: len(words)])
            self._entries[words] = _Entry(words, label, source, gaps)

    def _add_numbers(self, labels: Sequence[str], source: str | None) -> None:
        """Number words for digits and the other way round, if all labels are numbers. Foreign ones stay as they are."""
        values = {label: _number(label) for label in labels}
        if not labels or None in values.values():
            return
        by_value = {value: label for label, value in values.items()}
        for words, value in number_words().items() if source is None else ():
            label = by_value.get(value)
            self._add(words, label, source, " ".join(words))
            if label is not None:
                self._add((str(value),), label, source, str(value))
        for words in _PRONOUNS:
            self._add(words, None, None, " ".join(words))

    # ---- matching ----

    def _longest_first(self, tokens: Sequence[Token]) -> list[tuple[int, _Entry]]:
        """(token index, entry) of the mentions kept, in order of place."""
        alone = len({token.text for token in tokens}) == 1  # one word is the entire answer, perhaps repeated
        candidates = [
            (-len(entry.words), index, entry)
            for index, token in enumerate(tokens)
            for entry in self._by_first.get(token.text, ())
            if self._stands_at(entry, tokens, index) and (alone or _is_meant(entry.words, tokens, index))
        ]
        taken = bytearray(len(tokens))
        kept = []
        for minus_length, index, entry in sorted(candidates, key=lambda candidate: candidate[:2]):
            if not any(taken[index : index - minus_length]):
                taken[index : index - minus_length] = b"\1" * -minus_length
                kept.append((index, entry))
        return sorted(kept, key=lambda pair: pair[0])

    def _stands_at(self, entry: _Entry, tokens: Sequence[Token], index: int) -> bool:
        if len(entry.words) == 1:
            return True  # it was looked up by this word
        window = tokens[index : index + len(entry.words)]
        if tuple(token.text for token in window) != entry.words:
            return False
        between = zip(window[1:], entry.gaps[1:])
        return all(_BLANKS.union(allowed).issuperset(token.gap) for token, allowed in between)

    def _cased(self, entry: _Entry, surface: str) -> str:
        """Labels that differ in case only (A, a): the one written like the text, else the first."""
        assert entry.label is not None
        same = self._exact.get(entry.words, ())
        return surface if entry.source is None and surface in same else entry.label


# ---- words that may not mean what they name -----------------------------------------------------------------------

_MODALS = word_set("can may might must will")  # "can" and "will" are also nouns, and labels of published sets
_MODAL_SUBJECTS = word_set("i you we it they he she one that this there who what which")
_AFTER_MODAL = word_set("be see not n't i you we it have also only tell identify")


def _is_meant(words: tuple[str, ...], tokens: Sequence[Token], index: int) -> bool:
    """Is the word there a label, and not an article, a pronoun, an auxiliary?"""
    if len(words) > 1:
        return True
    if _is_letter(words[0]):
        return _means_letter(tokens, index)
    return words[0] not in _MODALS or not _means_modal(tokens, index)


def _means_modal(tokens: Sequence[Token], index: int) -> bool:
    """ "I can see a bear" is about no can."""
    before = tokens[index - 1].text if index else ""
    after = tokens[index + 1].text if index + 1 < len(tokens) else ""
    return bool(after) and (before in _MODAL_SUBJECTS or after in _AFTER_MODAL)


# ---- single letters -----------------------------------------------------------------------------------------------

_NAMES_A_LETTER = word_set("letter letters character option answer choice capital uppercase lowercase")
_BEFORE_SMALL_LETTER = _NAMES_A_LETTER | {"is", "'s", "an", "a", "the", ARTICLE}
# Words that follow a letter ("A is shown", "A or B"); after any other word, "A" is the article and "I" the pronoun.
_AFTER_A = COPULAS | word_set("and or in on at as because since for with from here not n't but which that")
_AFTER_I = word_set("is and or in here")
_PRONOUN_VERBS = word_set("think believe guess see am can would have do know suppose say")
_GLUE = frozenset("-_&\u2011")


def _is_letter(word: str) -> bool:
    """One letter of a script with capitals: a Chinese character is a word."""
    return len(word) == 1 and word.lower() != word.upper()


def _means_letter(tokens: Sequence[Token], index: int) -> bool:
    """Is this one-letter word an answer, or an article, a pronoun, an initial, a part of "X-ray"?"""
    token = tokens[index]
    if _glued(tokens, index) or token.written == "a":
        return False
    before = tokens[index - 1].text if index else ""
    after = _next_word(tokens, index)
    if token.text == "i" and after in _PRONOUN_VERBS:
        return False
    if before in _NAMES_A_LETTER:
        return True
    if token.written.islower():
        return before in _BEFORE_SMALL_LETTER or _quoted(tokens, index)
    if token.text in ("a", "i"):
        follows = _AFTER_A if token.text == "a" else _AFTER_I
        return not after or after in follows or _is_letter(after)
    return True


def _next_word(tokens: Sequence[Token], index: int) -> str:
    """The following word if only blanks lie between, else ""."""
    if index + 1 == len(tokens) or tokens[index + 1].gap.strip():
        return ""
    return tokens[index + 1].text


def _glued(tokens: Sequence[Token], index: int) -> bool:
    """ "X-ray", "I'm", "R&B", "U.S."."""
    sides = [(tokens[index].gap, tokens[index - 1])] if index else []
    sides += [(tokens[index + 1].gap, tokens[index + 1])] if index + 1 < len(tokens) else []
    return any(
        gap in _GLUE
        or (gap == "" and other.text.startswith(("'", "n't")))
        or (gap == "." and _is_letter(other.text))
        for gap, other in sides
    )


def _quoted(tokens: Sequence[Token], index: int) -> bool:
    after = tokens[index + 1].gap[:1] if index + 1 < len(tokens) else tokens[index].gap[-1:]
    return tokens[index].gap[-1:] in tuple("\"'“‘«") and after in tuple("\"'”’»“‘«")


# ---- how labels are written ---------------------------------------------------------------------------------------


def _words(name: str, symbols: str) -> tuple[str, ...]:
    return tuple(token.text for token in tokenize(name, symbols))


def _like(gap: str) -> frozenset[str]:
    """The characters of a gap; one apostrophe stands for all."""
    return frozenset(gap) | (frozenset(APOSTROPHES) if set(gap) & set(APOSTROPHES) else frozenset())


def _plain(label: str) -> str:
    return " ".join(re.sub(r"[\s_-]+", " ", label).split()).casefold()


def _symbols(labels: Iterable[str]) -> str:
    """The characters of labels that have neither letter nor digit ("♥", "+"), less joiners and variation selectors."""
    wordless = [label for label in labels if not tokenize(label)]
    return "".join(sorted({c for label in wordless for c in label if not c.isspace()} - {"\ufe0f", "\u200d"}))


def _without_parentheses(labels: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(label, short name) for "crane (bird)", unless another label would have the same short name."""
    short = {label: re.sub(r"\s*\([^()]*\)", "", label).strip() for label in labels}
    names = Counter(short.values())
    return ((label, name) for label, name in short.items() if name and name != label and names[name] == 1)


def _variants(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Plural and singular of the last word; "potters wheel" for "potter's wheel"."""
    for last in sorted(forms(words[-1])):
        yield (*words[:-1], last)
    if any(word.startswith("'") for word in words):
        yield tuple(" ".join(words).replace(" '", "").split())


def _number(label: str) -> int | None:
    if label.isascii() and label.isdecimal():
        return int(label)
    return number_words().get(_words(label, ""))
