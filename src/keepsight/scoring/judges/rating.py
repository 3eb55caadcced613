"""Reading a judge's rating, a whole number from 0 to 10, out of its reply; or saying why there is none.

The published reader takes the first digit from 1 to 9 that it finds: "Score: 10" becomes 1, and so does "100". Here a
reply is read in one of four ways, and every way that applies must give the same number:

1. It is a JSON object with a `score` (perhaps in a code fence), which then decides alone.
2. It says what it gives: "Score: 8", "the rating is 10", "I rate it 7".
3. It counts out of ten: "8/10", "8 out of 10".
4. It, or its first line, is the number and nothing else.

Ranges ("7-8", "between 6 and 8"), fractions, signs, other scales ("80/100", "90%") and numbers beyond 10 are no ratings.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

__all__ = ["MOST", "read_rating"]

MOST = 10

_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)  # what models that think aloud write first
_FENCED = re.compile(r"\A\s*```(?:json)?\s*\n(.*)\n\s*```\s*\Z", re.DOTALL)
_MARKUP = re.compile(r"[*_`#\"“”]+|\\boxed\{(?=[^{}]*\})|(?<=\d)\}")
_SCALE = re.compile(r"\(?\b(?:from\s+)?[01]\s*(?:-|–|—|to|through)\s*10\b\)?")  # the scale itself, repeated
_NUMBER = r"(?P<n>[-+]?\d[\d.,]*%?)(?!\w)"
# What may stand between "score" and its number: "the score for this answer is 8", but not "it scores well: of 3 ...".
_LINK = (
    r"(?:\s*(?:[:=>(–—]|(?:is|of|be|would|should|will|at|as|a|an|it|this|that|the|my|answer|assistant(?:['’]s)?|response|"
    r"prediction|for|to|with|overall|final|accuracy|given)\b)){0,10}"
)
_SAYS = re.compile(
    rf"\b(?:scor(?:e|es|ed)|rat(?:e|es|ed|ing)|grade|i(?:['’]d|\s+would|\s+will)?\s+give)\b{_LINK}\s*{_NUMBER}"
)
_OF_TEN = re.compile(rf"{_NUMBER}\s*(?:/|out of|of(?=\s*10\b))\s*(?P<most>\d[\d.,]*)(?![\w/])")
_ALONE = re.compile(rf"\A\W*?{_NUMBER}\s*(?:points?)?\W*\Z")
_RANGE = re.compile(r"\d\s*(?:-|–|—|~|to|or|and|through)\s*\d|\d[ \t]+\d")


def read_rating(text: str) -> int:
    """The rating in a reply; see the module.

    Raises:
        ValueError: there is none; the message says why, to follow a colon.
    """
    bare = _THOUGHT.sub("", text)
    fenced = _FENCED.match(bare)
    bare = (fenced.group(1) if fenced else bare).strip()
    if bare.startswith("{") and not bare.startswith("{}"):
        return _of_object(bare)
    return _of_words(bare)


def _of_object(text: str) -> int:
    try:
        found = json.loads(text, object_pairs_hook=_object, parse_int=float)
    except (json.JSONDecodeError, RecursionError):
        raise ValueError("it is no JSON object") from None
    if not isinstance(found, dict) or "score" not in found:
        raise ValueError('its object has no "score"')
    score = found["score"]
    if isinstance(score, str):
        return _of_words(score)
    if not isinstance(score, float) or not score.is_integer() or not 0 <= score <= MOST:
        raise ValueError(f'its "score" is no whole number from 0 to {MOST}')
    return int(score)


def _of_words(text: str) -> int:
    plain = unicodedata.normalize("NFKC", text).casefold()
    plain = _SCALE.sub(" ", _MARKUP.sub(" ", plain)).strip()
    if _RANGE.search(plain):
        raise ValueError("it names a range or several numbers")
    lines = plain.splitlines() or [""]
    given = [match["n"] for match in _SAYS.finditer(plain)]
    given += [match["n"] for line in (plain, lines[0]) if (match := _ALONE.match(line))]
    of_ten = list(_OF_TEN.finditer(plain))
    if any(_whole(match["most"]) != MOST for match in of_ten):
        raise ValueError("it counts on another scale than 0 to 10")
    found = {_whole(number) for number in (*given, *(match["n"] for match in of_ten))}
    if len(found) != 1 or None in found:
        raise ValueError(f"it gives no one whole number from 0 to {MOST}")
    (rating,) = found
    assert rating is not None
    return rating


def _whole(number: str) -> int | None:
    """ "8", "8." and "8.0" are 8; None for what is no whole number from 0 to 10."""
    match = re.fullmatch(r"(\d{1,2})(?:\.0*)?,?", number)
    value = int(match[1]) if match else MOST + 1
    return value if value <= MOST else None


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """JSON allows a key twice, and which one counts is the reader's whim."""
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("it has a key twice")
    return dict(pairs)
