"""Files that survive a kill: append-only lines, whole-file replacement, and a lock that dies with its process.

Where the operating system refuses to write, a StoreError says which file, why, and what to do.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TypeVar

from pydantic import BaseModel, ValidationError

from keepsight.types import KeepsightError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = [
    "Journal",
    "Lock",
    "StoreError",
    "read_document",
    "read_rows",
    "replace_file",
    "require_place",
    "writing",
]

Row = TypeVar("Row", bound=BaseModel)

_CURES = {
    errno.ENOSPC: "free some space and run the same command again, what was written is kept",
    errno.EDQUOT: "free some of your quota and run the same command again, what was written is kept",
    errno.EROFS: "use another --output_path",
    errno.EACCES: "change its permissions, or use another --output_path",
    errno.EPERM: "change its permissions, or use another --output_path",
    errno.ENOLCK: "this disk has no locks; use an --output_path on another one",
    errno.ENOTSUP: "this disk has no locks; use an --output_path on another one",
}


class StoreError(KeepsightError):
    """A directory cannot be written: full, read-only, or another process's. What comes next could not be kept either."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Says in one line what the operating system said of `path`."""
    try:
        yield
    except OSError as error:
        cure = _CURES.get(
            error.errno or 0, "mend that and run the same command again, what was written is kept"
        )
        raise StoreError(f"{path} cannot be written: {error.strerror or error}; {cure}") from error


def require_place(directory: Path) -> None:
    """Refuses a directory that cannot be used or made, before any work is done for it; makes nothing.

    One that is there may be read-only: it may hold all that is wanted already.

    Raises:
        StoreError: it, or what it would lie in, is a file, or not open to this user.
    """
    place = directory
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not os.path.isdir(place):
        raise StoreError(f"--output_path {directory}: {place} is no directory; give another --output_path")
    wanted, mode = ("read", os.R_OK) if place == directory else ("written", os.W_OK)
    if not os.access(place, mode | os.X_OK):
        raise StoreError(
            f"--output_path {directory}: {place} cannot be {wanted}; change its permissions, or give another "
            "--output_path"
        )


def replace_file(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Writes under a temporary name and renames: a reader sees the old file or the new one, never half of one.

    The temporary name is always the same: what a kill left under it is taken over by the next writer of this file.

    Raises:
        StoreError: the disk is full, or the directory cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _opened_alone(partial) as file:
            try:
                os.ftruncate(file.fileno(), 0)
                _write_all(file.fileno(), data)
                if durable:
                    os.fsync(file.fileno())
                if sys.platform == "win32":
                    file.close()  # Windows renames no open file
                os.replace(partial, path)
            except OSError:
                partial.unlink(missing_ok=True)
                raise


@contextmanager
def _opened_alone(path: Path) -> Iterator[IO[bytes]]:
    """The file `path`, locked; waits for whoever is writing it, and takes a new one when they renamed theirs."""
    while True:
        with path.open("ab", buffering=0) as file:
            _lock(file, wait=True)
            if _is_still(path, file):
                yield file
                return


def _is_still(path: Path, file: IO[bytes]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _write_all(handle: int, data: bytes) -> None:
    while data:  # a raw file may take only part of what it is given
        data = data[os.write(handle, data) :]


if sys.platform == "win32":
    _LOCKED_BYTE = 1 << 30  # locks are mandatory there: a byte that nobody reads

    def _lock(file: IO[bytes], *, wait: bool) -> bool:
        """Whether the lock was got; with `wait` it tries for as long as it takes."""
        while True:
            file.seek(_LOCKED_BYTE)
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
                return True
            except PermissionError:
                if not wait:
                    return False
                time.sleep(0.01)

else:

    def _lock(file: IO[bytes], *, wait: bool) -> bool:
        """Whether the lock was got; with `wait` it blocks until then. It belongs to the open file, so threads count too."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True


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
    if not os.path.exists(path):
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

    Every method raises StoreError when the disk is full or cannot be written; no part of a row stays then.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._synced = time.monotonic()
        self._dirty = False
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)
            self._size = path.read_bytes().rfind(b"\n") + 1
            if self._size != self._file.tell():
                os.ftruncate(self._file.fileno(), self._size)

    def append(self, row: BaseModel) -> None:
        """Adds one row as one line."""
        data = row.model_dump_json().encode() + b"\n"
        with writing(self._path):
            try:
                _write_all(self._file.fileno(), data)
            except OSError:
                os.ftruncate(
                    self._file.fileno(), self._size
                )  # the next row must not be glued to half of this one
                raise
        self._size += len(data)
        self._dirty = True
        if time.monotonic() - self._synced > 1:
            self.sync()

    def sync(self) -> None:
        """Waits until all rows are on the disk."""
        if self._dirty:
            with writing(self._path):
                os.fsync(self._file.fileno())
        self._dirty = False
        self._synced = time.monotonic()

    def close(self) -> None:
        """Makes the rows durable and closes the file."""
        try:
            self.sync()
        finally:
            self._file.close()


class Lock:
    """One writer per directory. The kernel drops the lock with its process, so a dead writer never blocks.

    Raises StoreError, naming the other process, when the directory is being written or cannot be.
    """

    def __init__(self, directory: Path) -> None:
        with writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
            self._file = (directory / ".lock").open("a+b", buffering=0)
            try:
                if not _lock(self._file, wait=False):
                    raise StoreError(
                        f"{directory} is being written by process {self._owner()}; "
                        "wait for it, or use another --output_path"
                    )
                self._sign(str(os.getpid()))
            except BaseException:
                self._file.close()
                raise

    def _owner(self) -> str:
        self._file.seek(0)
        return self._file.read().decode(errors="replace").strip() or "unknown"

    def _sign(self, text: str) -> None:
        os.ftruncate(self._file.fileno(), 0)
        _write_all(self._file.fileno(), text.encode())

    def release(self) -> None:
        """Lets the next writer in. The file stays: removing it would let two writers lock two files of one name."""
        with suppress(OSError):  # the number is for people; the lock goes with the file
            self._sign("")
        self._file.close()
