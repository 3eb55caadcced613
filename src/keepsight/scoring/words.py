"""Text as a list of words with their places, and the forms a word can take.

Everything that reads answers works on these tokens, so that case, underscores, hyphens, odd apostrophes and full-width
letters are dealt with once. One pass over the text, no backtracking: time grows with its length and nothing else.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

__all__ = ["APOSTROPHES", "ARTICLE", "Token", "forms", "number_words", "tokenize", "word_set"]

ARTICLE = "a(n)"
"""Normal form of the article that EMT's fine-tuning sentences write literally: "The object is a(n) airplane."."""

APOSTROPHES = "'’`´"
# Scripts written without blanks: every character is a word, so that a label is found inside a sentence.
_UNSPACED = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Letters and digits of all other scripts, with the combining marks that \w leaves out.
_LETTER = rf"(?:[^\W_{_UNSPACED}]|[\u0300-\u036f\u0900-\u0963\u0966-\u0dff])"
_TOKEN = (
    r"(?P<article>(?<![^\W_])[aA]\([nN]\))"
    r"|\d{1,3}(?:,\d{3})+(?![\d,])|\d+\.\d+(?![.\d])"  # 1,000 and 3.14 are one word, and no digit label
    rf"|{_LETTER}+(?:[{APOSTROPHES}]{_LETTER}+)*|[{_UNSPACED}]"
)


def word_set(words: str) -> frozenset[str]:
    """A set of words written with blanks between them, as word lists read best."""
    return frozenset(words.split())


def _in_order(words: str) -> tuple[str, ...]:
    return tuple(words.split())


class Token(NamedTuple):
    """One word: its normal form (lower case, plain apostrophe), as written, where, and what stands before it."""

    text: str
    written: str
    start: int
    end: int
    gap: str  # characters between the word before and this one


def tokenize(text: str, symbols: str = "") -> list[Token]:
    """The words of `text` in order. Clitics are words of their own: "isn't" -> "is", "n't"; "it's" -> "it", "'s".

    Args:
        symbols: characters that count as words besides (labels may consist of them: "♥", "+").
    """
    tokens: list[Token] = []
    end = 0
    for match in _pattern(symbols).finditer(text):
        start, gap = match.start(), text[end : match.start()]
        word, end = match.group(), match.end()
        if match.lastgroup == "article":
            tokens.append(Token(ARTICLE, word, start, end, gap))
        elif word.isalnum():
            tokens.append(Token(_normal(word), word, start, end, gap))
        else:
            for left, right in pairwise(_clitic_edges(word)):
                normal = _normal(word[left:right])
                tokens.append(Token(normal, word[left:right], start + left, start + right, gap))
                gap = ""
    return tokens


@lru_cache(maxsize=64)
def _pattern(symbols: str) -> re.Pattern[str]:
    return re.compile(_TOKEN + (f"|[{re.escape(symbols)}]" if symbols else ""))


def _clitic_edges(word: str) -> list[int]:
    """Where a word falls apart before what hangs on it after an apostrophe, both ends included."""
    cuts = [index for index, character in enumerate(word) if character in APOSTROPHES]
    if cuts and word[cuts[-1] - 1 : cuts[-1]] in ("n", "N") and word[cuts[-1] + 1 :] in ("t", "T"):
        cuts = [*cuts[:-1], cuts[-1] - 1]  # the n of "n't" belongs to it
    return sorted({0, *cuts, len(word)})


def _normal(word: str) -> str:
    if word.isascii():
        return word.lower().replace("`", "'")
    for apostrophe in APOSTROPHES:  # before NFKC, which takes "´" apart
        word = word.replace(apostrophe, "'")
    normal = unicodedata.normalize("NFKC", word).casefold()
    return "".join(str(unicodedata.decimal(digit)) for digit in normal) if normal.isdecimal() else normal


# ---- plural and singular ------------------------------------------------------------------------------------------

_IRREGULAR = {
    "child": "children",
    "foot": "feet",
    "goose": "geese",
    "mouse": "mice",
    "ox": "oxen",
    "person": "people",
    "tooth": "teeth",
}
_SINGULAR = {plural: singular for singular, plural in _IRREGULAR.items()}
# Plural in form only: without its s this is another word.
_NO_SINGULAR = {"gas", "glasses", "lens", "news", "pants", "series", "shorts", "species"}


def forms(word: str) -> set[str]:
    """The regular plurals and singulars of a lower-case word (and a few irregular ones), itself included."""
    if len(word) < 2 or not word.isalpha():
        return {word}
    return {word, *_plurals(word), *_singulars(word)}


def _plurals(word: str) -> set[str]:
    if word in _IRREGULAR:
        return {_IRREGULAR[word]}
    if word.endswith("man"):
        return {word[:-2] + "en", word + "s"}
    if word.endswith("y") and word[-2] not in "aeiou":
        return {word[:-1] + "ies"}
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return {word + "es"}
    if word.endswith("fe"):
        return {word[:-2] + "ves", word + "s"}
    if word.endswith("f"):
        return {word[:-1] + "ves", word + "s"}
    return {word + "s", word + "es"} if word.endswith("o") else {word + "s"}


def _singulars(word: str) -> set[str]:
    if word in _SINGULAR:
        return {_SINGULAR[word]}
    if len(word) < 4 or word in _NO_SINGULAR or word.endswith(("ss", "us", "is")):
        return set()
    if word.endswith("men"):
        return {word[:-2] + "an"}
    if word.endswith("ies"):
        return {word[:-3] + "y", word[:-1]}
    if word.endswith("ves"):
        return {word[:-3] + "f", word[:-3] + "fe", word[:-1]}
    if word.endswith(("ses", "xes", "zes", "ches", "shes", "oes")):
        return {word[:-2], word[:-1]}
    return {word[:-1]} if word.endswith("s") else set()


# ---- numbers ------------------------------------------------------------------------------------------------------

_UNITS = _in_order(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = _in_order("twenty thirty forty fifty sixty seventy eighty ninety")


@lru_cache(maxsize=1)
def number_words() -> dict[tuple[str, ...], int]:
    """English number words from zero to a hundred, as token sequences: ("twenty", "one") -> 21."""
    words: dict[tuple[str, ...], int] = {(unit,): value for value, unit in enumerate(_UNITS)}
    for index, ten in enumerate(_TENS):
        words[(ten,)] = 10 * (index + 2)
        words.update(
            {(ten, unit): 10 * (index + 2) + value for value, unit in enumerate(_UNITS[1:10], start=1)}
        )
    words[("hundred",)] = words[("a", "hundred")] = words[("one", "hundred")] = 100
    return words
