"""Refs as a user writes them for an audit: which checkpoint lies on which base, and what its row is called."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keepsight.types import KeepsightError, ResultMatrix

__all__ = ["checkpoint_refs", "on_base", "row_names", "with_row_names"]


def checkpoint_refs(refs: Sequence[Any]) -> list[Any]:
    """Refs with checkpoint directories put on the base (the first ref), and parents of epochs replaced by them."""
    if not refs:
        return []
    base, *others = refs
    expanded = [part for ref in others for part in _epochs(ref)]
    return [base, *(on_base(base, ref) for ref in expanded)]


def _epochs(ref: Any) -> list[Any]:
    path = Path(str(ref)) if isinstance(ref, (str, Path)) else None
    if (
        path is None
        or not os.path.isdir(path)
        or _is_checkpoint(path)
        or os.path.exists(path / "config.json")
    ):
        return [ref]
    epochs = [child for child in path.iterdir() if re.fullmatch(r"(epoch|checkpoint)-\d+", child.name)]
    if not epochs:
        raise KeepsightError(
            f"{path} is neither a model nor a checkpoint, and holds no epoch-1, epoch-2, ..."
        )
    return sorted(epochs, key=lambda child: int(child.name.rpartition("-")[2]))


def _is_checkpoint(path: Path) -> bool:
    return os.path.exists(path / "keepsight.json") or os.path.exists(path / "adapter_config.json")


def on_base(base: Any, ref: Any) -> Any:
    """A checkpoint directory belongs on the base; everything else is a model of its own."""
    if isinstance(ref, (str, Path)) and _is_checkpoint(Path(str(ref))):
        if not isinstance(base, (str, Path)):
            raise KeepsightError(f"checkpoint {ref} needs a base given as a ref; write BASE+adapter:{ref}")
        return f"{base}+adapter:{ref}"
    return ref


def row_names(refs: Sequence[Any]) -> list[str]:
    """Short, unique names of refs: the last parts of their paths, as many as tell them apart."""
    parts = [_name_parts(ref) for ref in refs]
    depth = [2 if "+adapter:" in str(ref) else 1 for ref in refs]
    names: list[str] = []
    for _ in range(max(map(len, parts), default=0)):
        names = ["/".join(part[-n:]) for part, n in zip(parts, depth)]
        depth = [n + (names.count(name) > 1) for name, n in zip(names, depth)]
    return [
        f"{name}#{names[: i + 1].count(name)}" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]


def with_row_names(matrix: ResultMatrix) -> ResultMatrix:
    """A matrix whose rows are refs, its rows named as an audit names them."""
    short = dict(zip(matrix.rows, row_names(matrix.rows)))
    runs = {(short[row], col): run for (row, col), run in matrix.runs.items()}
    return ResultMatrix(tuple(short.values()), matrix.cols, runs, matrix.meta)


def _name_parts(ref: Any) -> list[str]:
    text = str(ref) if isinstance(ref, (str, Path)) else str(getattr(ref, "name", type(ref).__name__))
    if text.startswith("api:"):  # the model tells more than the way to it
        model, _, url = text.removeprefix("api:").rpartition("@")
        return [part for part in (*url.split("/")[2:3], *model.split("/")) if part]
    last = text.rpartition("+adapter:")[2]
    scheme, colon, location = last.partition(":")
    return [part for part in Path(location if colon else scheme).parts if part not in ("/", ".", "..")] or [
        text
    ]
