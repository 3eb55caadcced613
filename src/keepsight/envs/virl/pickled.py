"""The mapping of V-IRL's places to panoramas, from its pickle to JSON. The pickle is never unpickled.

`gps_pano_mapping.pkl` holds one dictionary, {(latitude, longitude): panorama's id}. An interpreter of our own carries out the
opcodes that build a dictionary, tuples, numbers and texts. Any other opcode - each that names, imports, calls or builds an
object is among them - is refused, so nothing in the file can run.
"""

from __future__ import annotations

import json
import pickletools
from pathlib import Path
from typing import Any

from keepsight.data.json_rows import text_bytes
from keepsight.errors import KeepsightError

__all__ = ["MAPPING", "convert_mapping", "plain_mapping"]

MAPPING = "gps_pano_mapping.json"
MOST_OPCODES = 50_000_000
MOST_BITS = 1024  # of a whole number


class _Mark:
    """Where a run of values on the stack begins."""


_PUSHED = {"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "FLOAT", "BINFLOAT", "UNICODE", "BINUNICODE",
           "SHORT_BINUNICODE", "BINUNICODE8"}  # fmt: skip
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_SKIPPED = {"PROTO", "FRAME"}
_PUT, _GET = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}


def convert_mapping(source: Path, target: Path) -> int:
    """Writes `gps_pano_mapping.pkl` as JSON rows [latitude, longitude, id] and returns their number.

    Raises:
        KeepsightError: the file cannot be read, is no such mapping, or holds anything but plain values.
    """
    try:
        value = plain_mapping(text_bytes(source))
    except KeepsightError as error:
        raise KeepsightError(f"cannot convert {source}: {error}") from error
    rows = [_row(source, place, name) for place, name in value.items()]
    try:
        target.write_text(json.dumps(rows), encoding="utf-8")
    except OSError as error:
        raise KeepsightError(f"cannot write {target}: {error.strerror}") from error
    return len(rows)


def _row(source: Path, place: Any, name: Any) -> list[Any]:
    if not (
        isinstance(place, tuple)
        and len(place) == 2
        and all(map(_is_degrees, place))
        and isinstance(name, str)
    ):
        raise KeepsightError(
            f"cannot convert {source}: it maps {place!r:.60} to {name!r:.60}, not a place to an id"
        )
    return [float(place[0]), float(place[1]), name]


def _is_degrees(value: Any) -> bool:
    return type(value) in (int, float) and -180 <= value <= 180


def plain_mapping(data: bytes) -> dict[Any, Any]:
    """The dictionary of a pickle: keys are tuples, texts or numbers, values texts or numbers.

    Raises:
        KeepsightError: another opcode, another value, a broken pickle, or one that is too long.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count >= MOST_OPCODES:
                raise KeepsightError(f"the pickle has more than {MOST_OPCODES:,} steps")
            if opcode.name == "STOP":
                return _only(stack)
            _do(opcode.name, argument, stack, memo)
    except KeepsightError:
        raise
    except Exception as error:  # pickletools raises anything from ValueError to struct.error on broken bytes
        raise KeepsightError(f"the pickle is broken ({type(error).__name__}); fetch it again") from error
    raise KeepsightError("the pickle is broken (no end); fetch it again")


def _only(stack: list[Any]) -> dict[Any, Any]:
    if len(stack) != 1 or type(stack[0]) is not dict:
        raise KeepsightError("the pickle holds no dictionary of places")
    return stack[0]


def _do(name: str, argument: Any, stack: list[Any], memo: dict[int, Any]) -> None:
    """One opcode, as pickletools documents it."""
    if name in _PUSHED:
        if isinstance(argument, int) and argument.bit_length() > MOST_BITS:
            raise KeepsightError("the pickle has an absurdly large number")
        stack.append(argument)
    elif name == "MARK":
        stack.append(_Mark())
    elif name in _TUPLES:
        stack.append(tuple(stack.pop() for _ in range(_TUPLES[name]))[::-1])
    elif name == "TUPLE":
        stack.append(tuple(_since_mark(stack)))
    elif name == "EMPTY_DICT":
        stack.append({})
    elif name == "DICT":
        stack.append(_pairs(_since_mark(stack)))
    elif name in ("SETITEM", "SETITEMS"):
        items = _since_mark(stack) if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
        if type(stack[-1]) is not dict:
            raise ValueError("no dictionary")
        stack[-1].update(_pairs(items))
    elif name in _PUT or name == "MEMOIZE":
        memo[len(memo) if name == "MEMOIZE" else int(argument)] = stack[-1]
    elif name in _GET:
        stack.append(memo[int(argument)])
    elif name not in _SKIPPED:
        raise KeepsightError(
            f"the pickle does {name}, which plain places and ids do not need; it is refused, and nothing of it was run"
        )


def _since_mark(stack: list[Any]) -> list[Any]:
    items = []
    while not isinstance(item := stack.pop(), _Mark):
        items.append(item)
    return items[::-1]


def _pairs(items: list[Any]) -> dict[Any, Any]:
    parts = [part for key in items[::2] for part in (key if type(key) is tuple else (key,))]
    if not all(type(each) in (int, float, str) for each in (*parts, *items[1::2])):
        # values in values in values could take for ever to hash or to show
        raise KeepsightError("the pickle nests values where a place or an id should be")
    return dict(zip(items[::2], items[1::2], strict=True))
