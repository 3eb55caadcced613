"""Quoting an answer to a judge so that nothing in it can pass for something else.

Two walls. Inside: the answer is a JSON list of strings in which line breaks, brackets, braces, quotes, invisible and
look-alike characters are written as `\\uXXXX`. No end of a turn (`</s>`), role, fence, picture mark or closing quote can
be spelled in what is left. Outside: the lines before and after it carry a mark made from a hash over the whole request,
answer included, so that an answer would have to contain its own hash to spell the line that ends it.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata

__all__ = ["cut", "mark_of", "quoted"]

# What chat templates, tokenizers' special tokens, Markdown and JSON itself are built of.
_BUILDING = frozenset('<>[]{}`|"\\')
# Controls, formats (zero-width, direction, tags), surrogates, private use, unassigned, line and paragraph separators.
_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
# Seen by a tokenizer and by nobody else, though Unicode files them under letters and marks.
_UNSEEN = re.compile("[\u034f\u115f\u1160\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
_MARK_DIGITS = 24


def quoted(*texts: str) -> str:
    """The texts as a JSON list on one line that reads back exactly; ordinary letters of any script stay as they are."""
    return "[" + ", ".join(f'"{"".join(map(_written, text))}"' for text in texts) + "]"


def _written(character: str) -> str:
    if _harmless(character):
        return character
    if character in _BUILDING:  # json.dumps would leave most of them
        return f"\\u{ord(character):04x}"
    return json.dumps(character)[1:-1]


def _harmless(character: str) -> bool:
    if character in _BUILDING or unicodedata.category(character) in _INVISIBLE or _UNSEEN.match(character):
        return False
    if character != " " and character.isspace():
        return False
    # A tokenizer may normalise first: a full-width bracket becomes a bracket.
    return not _BUILDING.intersection(unicodedata.normalize("NFKC", character))


def cut(text: str, most: int) -> tuple[tuple[str, ...], int]:
    """The text if it has at most `most` characters, else its beginning and its end (a quarter), and how many are gone."""
    if len(text) <= most:
        return (text,), 0
    end = most // 4
    return (text[: most - end], text[len(text) - end :]), len(text) - most


def mark_of(*parts: str) -> str:
    """A mark that follows from `parts`, and occurs in none of them."""
    attempt = 0
    while True:
        text = json.dumps([*parts, attempt])  # escaped, so that a lone surrogate can be hashed
        mark = hashlib.sha256(text.encode()).hexdigest()[:_MARK_DIGITS]
        if not any(mark in part.lower() for part in parts):
            return mark
        attempt += 1
