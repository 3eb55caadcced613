"""What others bring: functions and classes of a file that the user points at, and what installed packages publish."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keepsight.errors import KeepsightError

__all__ = ["entry_points", "function_of_file"]


def function_of_file(name: str, what: str = "task") -> Callable[..., Any]:
    """A function of a Python file the user points at. Running the user's own code is what was asked for.

    Args:
        name: `path/to/file.py:function`.
        what: what the function makes, for error messages.
    """
    file, _, function = name.rpartition(":")
    path = Path(file).expanduser()
    if not os.path.isfile(path):
        raise KeepsightError(f"{what} {name}: no file {file}")
    spec = importlib.util.spec_from_file_location(f"keepsight_{what}_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up while it runs
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise KeepsightError(f"{what} {name}: {path} failed with {type(error).__name__}: {error}") from error
    builder = getattr(module, function, None)
    if not callable(builder):
        raise KeepsightError(f"{what} {name}: {path} has no function {function!r}")
    return builder


def entry_points(group: str) -> list[importlib.metadata.EntryPoint]:
    """The entry points of a group, by name; nothing is imported."""
    return sorted(importlib.metadata.entry_points(group=group), key=lambda point: point.name)
