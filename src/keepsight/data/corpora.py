"""The texts of an instruction or caption corpus, one row after the other: read in constant memory, however long it is.

Rows are LLaVA's (`conversations`), Hugging Face's (`messages`, `prompt` and `completion`), or plain (`caption`, `text`); files
are a JSON list, JSON lines, parquet, or text with a document per line. A row that cannot be read comes as its fault, so
that who counts can say how many there were.
"""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from keepsight.data.json_rows import archive_kind
from keepsight.data.llava import IMAGE_MARK
from keepsight.data.tabular import opened_parquet
from keepsight.types import KeepsightError

__all__ = ["TEXT_COLUMNS", "BytesRead", "Document", "corpus_files", "read_corpus"]

# Columns that hold text, in the order in which they are looked for; every one that a row has is read.
TEXT_COLUMNS = (
    "conversations",
    "messages",
    "prompt",
    "completion",
    "caption",
    "captions",
    "text",
    "texts",
    "sentence",
    "question",
    "answer",
)
_SUFFIXES = (".json", ".jsonl", ".ndjson", ".parquet", ".txt")
_CHUNK = 1 << 20
_LONGEST_ROW = 64 << 20  # bytes; what is longer is no row, and must not fill the memory
_ROWS_AT_ONCE = 256
_MODEL_ROLES = ("gpt", "assistant")
# A row cut off by the end of the buffer fails near that end, or inside a string that has no end yet.
_NEAR_END = 16

BytesRead = Callable[[str, int, int], None]  # (file, bytes read so far, bytes of all files)


@dataclass(frozen=True)
class Document:
    """One row: what is said in it, or why it cannot be read."""

    place: str
    texts: tuple[str, ...] = ()
    fault: str = ""


def corpus_files(path: str | Path) -> list[Path]:
    """The files of a corpus: the file itself, or those of a folder by name.

    Raises:
        KeepsightError: nothing there, nothing of a known kind, or an archive.
    """
    path = Path(path)
    if os.path.isdir(path):
        files = [
            file for file in sorted(path.rglob("*")) if file.suffix in _SUFFIXES and os.path.isfile(file)
        ]
    else:
        files = [path] if os.path.isfile(path) else []
    if not files:
        raise KeepsightError(
            f"no corpus at {path}; give a file or a folder of {', '.join(_SUFFIXES)} (LLaVA rows, messages or captions)"
        )
    for file in files:
        with file.open("rb") as start:
            if kind := archive_kind(start.read(512)):
                raise KeepsightError(f"{file} is an archive ({kind}), which is never opened; unpack it")
    return files


def read_corpus(
    path: str | Path,
    *,
    column: str | None = None,
    answers_only: bool = False,
    progress: BytesRead | None = None,
) -> Iterator[Document]:
    """Every row of a corpus in order.

    Args:
        path: a file, or a folder whose files are read by name.
        column: the only one to read (default: all of `TEXT_COLUMNS` that a row has).
        answers_only: leave out what the user says: a question that lists all labels mentions all of them.
        progress: called about every megabyte.

    Raises:
        KeepsightError: no such file, or a parquet file that is damaged or has no such column.
    """
    files = corpus_files(path)
    total, before = sum(file.stat().st_size for file in files), 0
    for file in files:
        size = file.stat().st_size
        for place, row, done in _rows(file, column):
            if progress is not None and done is not None:
                progress(file.name, before + min(done, size), total)
            yield _document(f"{file.name}, {place}", row, column, answers_only)
        before += size
    if progress is not None:
        progress(files[-1].name, total, total)


def _document(place: str, row: Any, column: str | None, answers_only: bool) -> Document:
    try:
        return Document(place, _texts(row, column, answers_only))
    except KeepsightError as error:
        return Document(place, fault=str(error))


# ---- what is said in a row ----------------------------------------------------------------------------------------


def _texts(row: Any, column: str | None, answers_only: bool) -> tuple[str, ...]:
    if isinstance(row, KeepsightError):
        raise row
    if isinstance(row, str):
        return (row,)
    if not isinstance(row, Mapping):
        raise KeepsightError(f"a {type(row).__name__}, not an object with texts")
    names = [column] if column else [name for name in TEXT_COLUMNS if row.get(name) is not None]
    if not names or row.get(names[0]) is None:
        there = ", ".join(f"{name!s:.40}" for name in list(row)[:8]) or "nothing"
        raise KeepsightError(f"no {column or 'text'} among {there}; name the column that holds the text")
    if answers_only:
        names = [name for name in names if name not in ("prompt", "question")]
    said = tuple(text for name in names for text in _said(row[name], answers_only))
    return tuple(text.replace(IMAGE_MARK, " ") for text in said)


def _said(value: Any, answers_only: bool) -> Iterator[str]:
    """The texts of a cell: a text, a list of texts, or turns with a role."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Sequence):
        for item in value:
            yield from _said(item, answers_only)
    elif isinstance(value, Mapping):
        role = value.get("from", value.get("role"))
        if not (answers_only and isinstance(role, str) and role not in _MODEL_ROLES):
            yield from _said(_content(value), answers_only)
    else:
        raise KeepsightError(f"a {type(value).__name__} where a text should stand")


def _content(turn: Mapping[str, Any]) -> Any:
    """What a turn, or a part of one, says; a picture says nothing."""
    for key in ("value", "content", "text"):
        if turn.get(key) is not None:
            return turn[key]
    if turn.get("type") in ("image", "image_url"):
        return ()
    raise KeepsightError(f"a turn without text (it has {', '.join(map(str, list(turn)[:5])) or 'nothing'})")


# ---- rows of a file -----------------------------------------------------------------------------------------------

_Row = tuple[str, Any, int | None]  # place, row or its fault, bytes read so far where they are worth telling


def _rows(file: Path, column: str | None) -> Iterator[_Row]:
    if file.suffix == ".parquet":
        yield from _table_rows(file, column)
        return
    with file.open("rb") as opened:
        if file.suffix == ".txt":
            yield from _lines(opened, _plain_line)
        elif file.suffix == ".json" and _starts_list(opened):
            yield from _list_rows(opened)
        else:
            yield from _lines(opened, _json_line)


def _table_rows(file: Path, column: str | None) -> Iterator[_Row]:
    """Rows with their text columns alone: pictures are not even read."""
    import pyarrow as pa

    try:
        parquet = opened_parquet(file)
        there = parquet.schema_arrow.names
        columns = [name for name in ([column] if column else TEXT_COLUMNS) if name in there]
        if not columns:
            raise KeepsightError(
                f"{file} has no column {column or 'of text'}; it has {', '.join(there[:10])}: name one with column="
            )
        size, rows, number = file.stat().st_size, max(1, parquet.metadata.num_rows), 0
        for batch in parquet.iter_batches(batch_size=_ROWS_AT_ONCE, columns=columns):
            for i, row in enumerate(batch.to_pylist()):
                yield f"row {number}", row, None if i else size * number // rows
                number += 1
    except (OSError, ValueError, pa.ArrowException) as error:
        raise KeepsightError(f"cannot read {file}: {' '.join(str(error).split())[:300]}") from error


def _lines(file: BinaryIO, read: Callable[[bytes], Any]) -> Iterator[_Row]:
    """A row per line that is not empty. A line without end is one fault, whatever its length."""
    done = told = number = 0
    while line := file.readline(_LONGEST_ROW):
        number, done = number + 1, done + len(line)
        cut = len(line) == _LONGEST_ROW and not line.endswith(b"\n")
        while cut and (rest := file.readline(_CHUNK)):
            done += len(rest)
            cut = not rest.endswith(b"\n")
            line = b""
        telling = done - told >= _CHUNK
        told = done if telling else told
        if not line:
            fault = KeepsightError(f"longer than {_LONGEST_ROW:,} bytes; break it up")
            yield f"line {number}", fault, done
        elif line.strip():
            yield f"line {number}", read(line), done if telling else None


def _plain_line(line: bytes) -> Any:
    try:
        return line.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        return KeepsightError(f"not UTF-8 (byte {error.start + 1})")


def _json_line(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return KeepsightError(f"not UTF-8 (byte {error.start + 1})")
    except (ValueError, RecursionError) as error:
        return KeepsightError(f"not JSON ({error})")


def _starts_list(file: BinaryIO) -> bool:
    start = file.read(4096).removeprefix(codecs.BOM_UTF8).lstrip()
    file.seek(0)
    return start[:1] == b"["


def _list_rows(file: BinaryIO) -> Iterator[_Row]:
    """The items of a JSON list, each as soon as it is whole. What follows a fault cannot be told apart: it is left unread."""
    rows, number = _ListReader(file), 0
    try:
        for row in rows:
            yield f"row {number}", row, rows.telling()
            number += 1
    except (ValueError, RecursionError) as error:
        fault = f"not JSON ({error}); the rest of the file, from about byte {rows.done:,} on, was not read"
        yield f"row {number}", KeepsightError(fault), rows.done


class _ListReader:
    """Iterates over the items of one JSON list with no more than an item, or a chunk, in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = json.JSONDecoder()
        self._bytes = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._at, self._ended = "", 0, False
        self.done = self._told = 0

    def telling(self) -> int | None:
        """Bytes read, when a chunk more than told last."""
        if self.done - self._told < _CHUNK:
            return None
        self._told = self.done
        return self.done

    def __iter__(self) -> Iterator[Any]:
        self._take("[")
        if self._next() == "]":
            self._take("]")
        else:
            yield self._item()
            while self._next() == ",":
                self._take(",")
                yield self._item()
            self._take("]")
        if self._next():
            raise ValueError(f"more text after the list: {self._text[self._at : self._at + 20]!r}")

    def _more(self) -> bool:
        """Reads as much again as is waiting, so that a long item is not parsed over and over."""
        if self._ended:
            return False
        waiting = self._text[self._at :]
        if len(waiting) > _LONGEST_ROW:
            raise ValueError(f"an item longer than {_LONGEST_ROW:,} characters, or without an end")
        data = self._file.read(max(_CHUNK, len(waiting)))
        self.done += len(data)
        self._ended = not data
        self._text, self._at = waiting + self._bytes.decode(data, final=self._ended), 0
        return True

    def _next(self) -> str:
        """The next character that is no blank, or "" at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def _take(self, wanted: str) -> None:
        if (found := self._next()) != wanted:
            raise ValueError(f"{wanted!r} expected, found {found!r}" if found else "the list has no end")
        self._at += 1

    def _item(self) -> Any:
        self._next()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
                # The next chunk could go on with a number: "1" and ".5", "1e" and "5".
                if self._ended or self._text[end : end + 1] not in ("", ".", "e", "E"):
                    self._at = end
                    return value
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - _NEAR_END
                if not cut or self._ended:
                    raise
            self._more()
