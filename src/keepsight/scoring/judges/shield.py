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

__all__ = ["cut", "mark_of", "quoted"]

# What chat templates, tokenizers' special tokens, Markdown and JSON itself are built of.
_BUILDING = frozenset('<>[]{}`|"\\')
# Fixed ranges, because Python's own tables differ from version to version, and with them the prompt and its reply would.
# Controls, blanks other than the space, formats (zero-width, direction, tags), separators, surrogates, private use,
# variation selectors, fillers: seen by a tokenizer and by nobody else. What no Unicode has assigned stays as it is.
_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\xa0\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u1680\u180e"
    "\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ud800-\uf8ff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff0-\uffff\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U0010ffff]"
)
# A tokenizer may normalise first (NFKC): a full-width bracket becomes a bracket.
_LOOK_ALIKE = re.compile(
    "[\u1fef\ufe37\ufe38\ufe47\ufe48\ufe5b\ufe5c\ufe64\ufe65\ufe68\uff02\uff1c\uff1e\uff3b-\uff3d\uff40\uff5b-\uff5d]"
)
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
    return not (character in _BUILDING or _INVISIBLE.match(character) or _LOOK_ALIKE.match(character))


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
