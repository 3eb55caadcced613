"""f: from what a model wrote to the action it names (dissertation, section 4.4, equation 4.1)."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from keepsight.scoring.negation import denied, denied_afterwards
from keepsight.scoring.verifiers.fields import json_objects
from keepsight.scoring.words import tokenize

__all__ = [
    "PARSERS",
    "ParseStatus",
    "Parsed",
    "answer_text",
    "parse_action",
    "parse_as_released",
]

ParseStatus = Literal["parsed", "illegal", "unparsed"]
_BLANKS = " \t\r\n"
_QUOTES = "\"'`“”‘’"
# An asterisk is markup where a word or a quote follows, or two of them close a bold key; else it is the action "*".
_VALUE = rf"(?:\*\*\s+|\*+(?=[{_QUOTES}\w]))?[{_QUOTES}]*([^{_QUOTES}\n,}}]*)"
_AFTER_KEY = re.compile(rf"(?<![^\W_])action[{_QUOTES}*]*\s*[:=]\s*{_VALUE}", re.IGNORECASE)
_OR_ANOTHER = re.compile(
    rf"[{_QUOTES}* \t]*(?:[,;/|]|\b(?:or|and)\b)[,;/| \t]*(?:\b(?:or|and)\b[ \t]*)?{_VALUE}", re.IGNORECASE
)
# What is taken off a name that is none as it stands: least first, so that "*" is left where it is an action.
_EDGES = (_BLANKS, _BLANKS + _QUOTES + ".!", _BLANKS + _QUOTES + ".!*")


@dataclass(frozen=True)
class Parsed:
    """`parsed` with an action, `illegal` (the text names something that is no action), or `unparsed` (it names nothing)."""

    status: ParseStatus
    action: str | None = None
    rule: str = ""  # what found it: "json", "key", "bare", "mention" or "substring"


def parse_action(text: str, actions: Sequence[str]) -> Parsed:
    """The action that `text` names.

    In this order: the key "action" of the last JSON object that has one (the outermost of several within each other); what follows the last word `action` and a colon;
    the whole text, if it is an action; the only action whose name of letters stands in the text as whole words, and not
    denied ("I should not hit"). Names are compared whole, without regard to case and outer quotes: "standing" is not
    "stand", "100" is not "10". A choice of several ("action": "stand" or "hit") is no action.
    """
    named = _by_folded_name(tuple(actions))
    for value in (found["action"] for found in json_objects(text) if "action" in found):
        return _named(named, value, "json")
    if keyed := [*_AFTER_KEY.finditer(text)]:
        return _keyed(named, text, keyed[-1])
    if (bare := _named(named, text, "bare")).action is not None:
        return bare
    mentioned = _mentioned(named, text.casefold())
    return Parsed("parsed", named[mentioned[0]], "mention") if len(mentioned) == 1 else Parsed("unparsed")


def parse_as_released(text: str, actions: Sequence[str]) -> Parsed:
    """The action that the released code of RL4VLM reads, for comparison with its figures; not for new work.

    The text from the first `"action":` on, in lower case, or its last character alone where that key is missing. Every
    action that is a part of it counts, longer ones first; it must be the only one. So "standing" is "stand", "100" is "10",
    "11" is "1", and whatever is written after the object is read as well.
    """
    lowered = text.lower()
    at = lowered.find('"action":')
    rest, found = lowered[at:], []
    for action in sorted(actions, key=len, reverse=True):
        if action.lower() in rest:
            found.append(action)
            rest = rest.replace(action.lower(), "\0")
    return Parsed("parsed", found[0], "substring") if len(found) == 1 else Parsed("unparsed")


def answer_text(fields: Mapping[str, Any]) -> str:
    """An answer as figures C.15 to C.22 print it: a JSON object, one key a line."""
    return (
        "{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(each)}" for key, each in fields.items()) + "\n}"
    )


@lru_cache(maxsize=64)
def _by_folded_name(actions: tuple[str, ...]) -> Mapping[str, str]:
    return {action.casefold(): action for action in actions}


def _named(named: Mapping[str, str], value: Any, rule: str) -> Parsed:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return Parsed("unparsed")
    name = ""
    for edges in _EDGES:
        name = str(value).strip(edges).casefold()
        if name in named:
            return Parsed("parsed", named[name], rule)
    return Parsed("illegal", rule=rule) if name else Parsed("unparsed")


def _keyed(named: Mapping[str, str], text: str, found: re.Match[str]) -> Parsed:
    """What stands after the key: illegal where it is a choice of several actions, as the prompts' own templates are."""
    first = _named(named, found[1], "key")
    others = {_named(named, value, "key").action for value in _others(text, found.end())} - {None}
    return Parsed("illegal", rule="key") if others - {first.action} else first


def _others(text: str, at: int) -> Iterator[str]:
    """What is offered from `at` on as well: `" or "hit"`."""
    while found := _OR_ANOTHER.match(text, at):
        yield found[1]
        at = found.end()


def _mentioned(named: Mapping[str, str], words: str) -> list[str]:
    """The names of letters that stand in `words` and are not denied there."""
    places = {
        name: [found.span() for found in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", words)]
        for name in named
        if name[:1].isalpha()
    }
    if not any(places.values()):
        return []
    tokens = tokenize(words)
    starts, inside = [token.start for token in tokens], denied(tokens)

    def is_denied(start: int, end: int) -> bool:
        after = bisect_right(starts, end - 1)
        return inside[bisect_right(starts, start) - 1] or denied_afterwards(tokens, after)

    return [name for name, spans in places.items() if not all(is_denied(*span) for span in spans)]


PARSERS: Mapping[str, Callable[[str, Sequence[str]], Parsed]] = {
    "exact": parse_action,
    "released": parse_as_released,
}
