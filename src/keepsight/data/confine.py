"""Paths written in data files stay under their root."""

from __future__ import annotations

from pathlib import Path

from keepsight.types import KeepsightError

__all__ = ["confined"]


def confined(root: Path, relative: str) -> Path:
    """`root / relative`, which must be an existing file inside `root` after links are followed.

    Raises:
        KeepsightError: a path or link that leaves the root, or no such file.
    """
    if "\0" in relative:
        raise KeepsightError(f"path {relative!r} contains a NUL")
    path = root / relative
    if not path.resolve().is_relative_to(root.resolve()):
        raise KeepsightError(f"path {relative!r} leaves {root}; give paths inside it, or another image root")
    if not path.is_file():
        raise KeepsightError(f"no file {relative!r} in {root}")
    return path
