"""Work in a forked child whose process is killed, or whose disk is full, from one chosen point on.

A fork of this warm process costs milliseconds, so that a hundred kills are cheap. A point is where Python opens, renames,
removes or cuts a file below a folder (its audit events say so), or writes or syncs one. A write is torn half way.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from keepsight.types import KeepsightError

_really_write = os.write


@dataclass
class Fate:
    """Counts the points that this process passes; the one with number `fatal` happens to it."""

    root: Path
    fatal: int | None = None
    passed: int = 0

    events = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"})
    calls = ("fsync", "ftruncate")

    def arm(self) -> None:
        """From now on this process is watched; there is no way back."""
        sys.addaudithook(self._hear)
        for name in self.calls:
            setattr(os, name, self._watched(getattr(os, name)))
        os.write = self._write

    def _hear(self, event: str, arguments: tuple) -> None:
        if event in self.events and str(self.root) in str(arguments[0]):
            self.pass_point(event, arguments)

    def _watched(self, function: Callable) -> Callable:
        def watched(*arguments):
            self.pass_point(function.__name__, arguments)
            return function(*arguments)

        return watched

    def _write(self, handle: int, data: bytes) -> int:
        self.pass_point("write", (handle, data))
        return _really_write(handle, data)

    def pass_point(self, what: str, arguments: tuple) -> None:
        """One more; at the fatal one the process dies, in the middle of writing if it is writing."""
        self.passed += 1
        if self.passed == self.fatal:
            if what == "write":
                _really_write(arguments[0], arguments[1][: len(arguments[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)


class FullDisk(Fate):
    """From the fatal point on nothing new fits: no byte, no file, no folder. What is there can be renamed and cut."""

    events = frozenset({"open", "os.mkdir"})
    calls = ()

    def pass_point(self, what: str, arguments: tuple) -> None:
        """One more thing that needs room."""
        if what == "open" and (Path(os.fsdecode(arguments[0])).exists() or not arguments[2] & os.O_CREAT):
            return
        self.passed += 1
        if self.fatal is not None and self.passed >= self.fatal:
            if what == "write" and self.passed == self.fatal:
                _really_write(arguments[0], arguments[1][: len(arguments[1]) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass(frozen=True)
class End:
    """How a child ended: killed, refused with a message, or well."""

    killed: bool
    refused: str
    passed: int


def in_child(work: Callable[[], object], fate: Fate, *, seconds: float | None = None) -> End:
    """Runs `work` in a child under its fate; after `seconds` it is killed, if it lives so long."""
    return wait_for(started(work, fate), seconds)


def started(work: Callable[[], object], fate: Fate) -> tuple[int, int]:
    """Starts the child; `wait_for` what this returns."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        _live(work, fate, writer)
    os.close(writer)
    return child, reader


def wait_for(child: tuple[int, int], seconds: float | None = None) -> End:
    """How the child ended. An error that is not a KeepsightError fails the test with its traceback."""
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child[0], signal.SIGKILL)
    with os.fdopen(child[1], "rb") as file:
        said = file.read().decode()
    _, status = os.waitpid(child[0], 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return End(True, "", 0)
    assert os.waitstatus_to_exitcode(status) == 0, said
    kind, _, rest = said.partition(" ")
    return End(False, rest, 0) if kind == "refused" else End(False, "", int(rest))


def _live(work: Callable[[], object], fate: Fate, writer: int) -> None:
    code = 0
    try:
        fate.arm()
        work()
        said = f"passed {fate.passed}"
    except KeepsightError as error:
        said = f"refused {error}"
    except BaseException:
        code, said = 1, traceback.format_exc()
    _really_write(writer, said.encode())
    os._exit(code)
