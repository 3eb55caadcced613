"""Files that survive a kill: append-only lines, whole-file replacement, and a lock that dies with its process."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from keepsight.types import KeepsightError

__all__ = ["Journal", "Lock", "read_document", "read_rows", "replace_file"]

Row = TypeVar("Row", bound=BaseModel)


def replace_file(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Writes under a temporary name and renames: a reader sees the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes files that only their owner can read
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_document(path: Path, row: type[Row]) -> Row:
    """Reads a one-object JSON file. Raises KeepsightError when it is missing or not of the schema."""
    try:
        return row.model_validate_json(path.read_bytes())
    except OSError as error:
        raise KeepsightError(
            f"{path}: {error.strerror}; is this a directory that keepsight wrote?"
        ) from error
    except ValidationError as error:
        raise KeepsightError(f"{path}: {_first_fault(error)}; remove its directory and run again") from error


def read_rows(path: Path, row: type[Row]) -> Iterator[Row]:
    """Yields the rows of a journal; a last line without its newline was torn by a kill and is skipped."""
    if not path.exists():
        return
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise KeepsightError(f"cannot read {path}: {error.strerror}") from error
    for number, line in enumerate(lines[:-1], start=1):
        try:
            yield row.model_validate_json(line)
        except ValidationError as error:
            fault = _first_fault(error)
            raise KeepsightError(f"{path}, line {number}: {fault}; remove the line and run again") from error


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    place = ".".join(str(part) for part in fault["loc"])
    return f"{place}: {fault['msg']}" if place else fault["msg"]


class Journal:
    """An append-only file of JSON lines.

    A row is handed to the operating system at once, so that killing the process loses nothing. At most a second's rows
    are lost to a power cut: a batch of a real model takes longer, so each is synced, and a fast one is not held up. A
    torn last line is cut off when the journal is opened.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._synced = time.monotonic()
        self._dirty = False
        size = self._file.tell()
        if size:
            whole = path.read_bytes().rfind(b"\n") + 1
            if whole != size:
                self._file.truncate(whole)

    def append(self, row: BaseModel) -> None:
        """Adds one row as one line."""
        data = row.model_dump_json().encode() + b"\n"
        self._dirty = True
        while data:  # a raw file may take only part of what it is given
            data = data[self._file.write(data) :]
        if time.monotonic() - self._synced > 1:
            self.sync()

    def sync(self) -> None:
        """Waits until all rows are on the disk."""
        if self._dirty:
            os.fsync(self._file.fileno())
        self._dirty = False
        self._synced = time.monotonic()

    def close(self) -> None:
        """Makes the rows durable and closes the file."""
        self.sync()
        self._file.close()


class Lock:
    """One writer per directory. The kernel drops the lock with its process, so a dead writer never blocks.

    Raises KeepsightError, naming the other process, when the directory is being written.
    """

    def __init__(self, directory: Path) -> None:
        self._file = (directory / ".lock").open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            owner = self._file.read().strip() or "unknown"
            self._file.close()
            raise KeepsightError(
                f"{directory} is being written by process {owner}; wait for it, or use another --output_path"
            ) from error
        self._write(str(os.getpid()))

    def _write(self, text: str) -> None:
        self._file.truncate(0)
        self._file.write(text)
        self._file.flush()

    def release(self) -> None:
        """Lets the next writer in. The file stays: removing it would let two writers lock two files of one name."""
        self._write("")
        self._file.close()
