"""What an answer gives as the values of named fields: as JSON where it is JSON, else as one writes JSON in haste."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

__all__ = ["json_objects", "read_fields"]

MOST_OBJECTS = (
    64  # of a text that are looked at, from its end: braces without end must not take quadratic time
)
MOST_CHARACTERS = 1000  # of one value that is not JSON
_DECODER = json.JSONDecoder()
_LIST = re.compile(r"\[([^\[\]]*)\]")
_QUOTED = re.compile(r"\"([^\"]*)\"|'([^']*)'|`([^`]*)`")
_BARE = re.compile(r"[^\n,{}]*")
_EDGES = " \t\r\n\"'`"


def read_fields(text: str, names: Sequence[str]) -> dict[str, Any]:
    """The values of those of `names` that the text gives.

    The JSON object that has most of them is taken, the last and outermost one of several. Where none has any, a value is what follows
    the last mention of its name and a colon: a list in square brackets (its items are texts then), a text in quotes, or
    the rest of the line. So single quotes, names without quotes, a comma too much, doubled braces, code fences and words around the object do
    no harm.
    """
    objects = ({name: found[name] for name in names if name in found} for found in json_objects(text))
    if given := max(objects, key=len, default={}):
        return given
    for name in names:
        for mention in _mention_of(name).finditer(text):
            given[name] = _value(text[mention.end() : mention.end() + MOST_CHARACTERS])
    return given


def json_objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in `text`, the last one first, each before those within it; keys in lower case.

    What is no object is passed over.
    """
    found: list[tuple[int, dict[str, Any]]] = []  # where it begins, in the order of what is returned
    at = len(text)
    for _ in range(MOST_OBJECTS):
        at = text.rfind("{", 0, at)
        if at < 0:
            break
        try:
            value, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            continue
        place = next((i for i, (start, _) in enumerate(found) if start < end), len(found))
        found.insert(place, (at, value))
    return ({key.lower(): each for key, each in value.items()} for _, value in found)


@lru_cache(maxsize=64)
def _mention_of(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(name)}[\"'`*]*\s*[:=][\s*]*", re.IGNORECASE)


def _value(text: str) -> str | list[str]:
    if text.startswith("[") and (found := _LIST.match(text)):
        items = [item.strip(_EDGES) for item in found[1].split(",")]
        return items[:-1] if items[-1] == "" else items
    if found := _QUOTED.match(text):
        return next(part for part in found.groups() if part is not None)
    found = _BARE.match(text)
    return found[0].strip(_EDGES) if found else ""
