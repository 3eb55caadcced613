"""What a file *holds*, read once per state of the file."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

__all__ = ["file_digest"]

_BLOCK = 1 << 22  # bytes read at once
_SETTLED = 2.0  # seconds; a file written within them may be written again without its times moving

_known: dict[tuple[str | int, ...], str] = {}  # this process only: a file is read once per state


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes; re-read only when size, times or inode changed since this process last read it.

    A file that was written this very moment, or in the future of a clock that was set back, is not remembered.
    """
    state = path.stat()
    key = (str(path.resolve()), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
    settled = time.time() - max(state.st_ctime, state.st_mtime) > _SETTLED
    if key not in _known or not settled:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        _known[key] = digest.hexdigest()
    return _known[key]
