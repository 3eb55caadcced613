"""JSON from outside: whole files and rows, read strictly, each fault with its place.

Strict means: UTF-8 (with or without a byte order mark), finite numbers, no key twice in an object, no half characters.
Python's own reader takes all of these, and then fails far from the line that holds them.
"""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keepsight.limits import limit
from keepsight.types import KeepsightError

__all__ = ["archive_kind", "parsed", "read_json", "rows_of", "text_bytes"]

_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_BOM = b"\xef\xbb\xbf"
# What archives start with. They are refused as a whole: unpacking is the user's decision.
_ARCHIVES = {b"PK\x03\x04": "zip", b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz",
             b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!": "rar", b"\x28\xb5\x2f\xfd": "zstd"}  # fmt: skip


def text_bytes(path: Path) -> bytes:
    """The bytes of a text file, without a byte order mark.

    Raises:
        KeepsightError: not a regular file that can be read, larger than `limit("MAX_TEXT_BYTES")`, an archive, or UTF-16.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise KeepsightError(f"cannot read {path}: not a regular file")
        if status.st_size > (most := limit("MAX_TEXT_BYTES")):
            raise KeepsightError(
                f"cannot read {path}: larger than {most:,} bytes; split it, or set KEEPSIGHT_MAX_TEXT_BYTES"
            )
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise KeepsightError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if kind := archive_kind(data):
        raise KeepsightError(
            f"{path} is an archive ({kind}), which is never opened; unpack it and give what is in it"
        )
    if encoding := _MARKS.get(data[:2]):
        raise KeepsightError(f"cannot read {path}: it is {encoding}; save it as UTF-8")
    return data.removeprefix(_BOM)


def archive_kind(data: bytes) -> str | None:
    """The kind of archive that starts with `data`, or None."""
    if data[257:262] == b"ustar":
        return "tar"
    return next((kind for start, kind in _ARCHIVES.items() if data.startswith(start)), None)


def read_json(path: Path) -> Any:
    """The value of a JSON file. Raises KeepsightError, naming the file, when there is none."""
    data = text_bytes(path)
    try:
        return parsed(data)
    except KeepsightError as error:
        raise KeepsightError(f"cannot read {path}: {error}") from error


def rows_of(path: Path) -> Iterator[tuple[str, Any]]:
    """(where it stands, row) pairs of a JSON list or of JSON lines; a row that is no JSON comes as its KeepsightError.

    A file with the suffix `.jsonl` holds lines; of any other its first character decides. One bad line of JSON lines
    is one bad row; a list with a fault in it cannot be read at all.

    Raises:
        KeepsightError: the file cannot be read, or its list is not JSON.
    """
    data = text_bytes(path)
    if path.suffix != ".jsonl" and data.lstrip()[:1] == b"[":
        yield from ((f"row {i}", row) for i, row in enumerate(read_json(path)))
        return
    for number, line in enumerate(data.splitlines(), 1):
        if line.strip():
            yield f"line {number}", _row_or_fault(line)


def _row_or_fault(line: bytes) -> Any:
    try:
        return parsed(line)
    except KeepsightError as error:
        return error


def parsed(data: bytes) -> Any:
    """The JSON value of UTF-8 bytes. Raises KeepsightError with what is wrong."""
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_float=_finite,
            parse_constant=_no_number,
        )
        if b"\\u" in data:  # only an escape can write half a character
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise KeepsightError(f"not UTF-8 (byte {error.start + 1})") from error
    except UnicodeEncodeError as error:
        raise KeepsightError(
            "not JSON (half a character: a \\ud... escape without its second part)"
        ) from error
    except RecursionError as error:
        raise KeepsightError("not JSON (nested too deeply)") from error
    except ValueError as error:
        raise KeepsightError(f"not JSON ({error})") from error
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:40]!r} stands twice in one object")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")
