"""Pictures named in data files: paths stay under their root, addresses are fetched only when that was asked for."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from keepsight.types import KeepsightError, Media

__all__ = ["RemoteSource", "Unreadable", "confined", "picture_at", "shown_url"]

_SCHEME = re.compile(r"(?i)[a-z][a-z0-9+.-]+:(?=//)|data:")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\")


class RemoteSource(Protocol):
    """What makes a picture of an address (`data.remote.RemotePictures`)."""

    def media(self, url: str) -> Media: ...


@dataclass(frozen=True, eq=False)
class Unreadable(Media):
    """A picture that a data file does not properly name: reading it says what is wrong with the row."""

    fault: str = ""

    def read(self) -> bytes:
        raise KeepsightError(self.fault)


def picture_at(root: Path, where: str, remote: RemoteSource | None = None) -> Media:
    """The picture that a data file names: a path under `root`, or with `remote` an http(s) address.

    Raises:
        KeepsightError: a path that leaves `root` or names no file; an address although `remote` is not given.
    """
    if not (scheme := _SCHEME.match(where)):
        return Media(path=confined(root, where))
    if scheme[0].lower() not in ("http:", "https:"):
        raise KeepsightError(
            f"a picture given as {scheme[0].lower()} is not read; save it as a file and give its path"
        )
    if remote is None:
        raise KeepsightError(
            f"picture {shown_url(where)} is remote, and remote pictures are off; download it and give its path, or allow "
            "them (docs/input.md)"
        )
    return remote.media(where)


def shown_url(url: str) -> str:
    """An address as messages show it: without user, password and query, which may hold keys."""
    bare = re.split(r"[?#]", url, maxsplit=1)[0]
    return re.sub(r"//[^/]*@", "//", bare)[:200]


def confined(root: Path, relative: str) -> Path:
    """`root / relative`, which must be an existing file inside `root` after links are followed.

    The text is taken as it stands: `%2e%2e` is a name, not `..`, and the case must be the file's.

    Raises:
        KeepsightError: a path or link that leaves the root, no such file, or a path no file can have.
    """
    shown = relative if len(relative) <= 200 else f"{relative[:200]}..."
    if "\0" in relative:
        raise KeepsightError(f"path {shown!r} contains a NUL")
    path = root / relative
    try:
        inside, there = path.resolve().is_relative_to(root.resolve()), _is_file(path)
    except (OSError, ValueError, RuntimeError) as error:  # too long, half a character, links in a circle
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise KeepsightError(f"path {shown!r} cannot be looked up: {reason}") from error
    if not inside:
        raise KeepsightError(f"path {shown!r} leaves {root}; give paths inside it, or another image root")
    if not there:
        hint = "; write it with / and relative to that folder" if _WINDOWS.search(relative) else ""
        raise KeepsightError(f"no file {shown!r} in {root}{hint}")
    return path


def _is_file(path: Path) -> bool:
    """As `os.path.isfile`, but a name that no file can have is an OSError that says why."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
