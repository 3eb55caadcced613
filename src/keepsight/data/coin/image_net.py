"""ImageNet, or any labelled pictures in `train/` and `val/` or `test/`, or in parquet; read as every picture set is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from keepsight.data.coin.item import OBJECT_QUESTION, Item
from keepsight.data.labelled import LabelledSet
from keepsight.data.readers import read_set
from keepsight.data.splits import SPLIT_NAMES
from keepsight.types import KeepsightError

__all__ = ["FILES", "files", "read"]

FILES = ("train and val, each with a folder per class; or parquet files",)


def files(folder: Path) -> Mapping[str, tuple[Path, ...]]:
    """Split -> the folder, if it can be a picture set. "val" is asked where there is no test split."""
    parts = [
        child for child in folder.iterdir() if child.name.lower() in SPLIT_NAMES and os.path.isdir(child)
    ]
    return (
        dict.fromkeys(("train", "val", "test"), (folder,)) if parts or any(folder.glob("*.parquet")) else {}
    )


def read(found: Sequence[Path], split: str) -> list[Item]:
    """A question per picture; the answer is its class as text.

    Raises:
        KeepsightError: a set that cannot be read, or without that split.
    """
    shown = read_set(found[0])
    if not isinstance(shown, LabelledSet) or not shown.count("train" if split == "train" else "test"):
        raise KeepsightError(f"{found[0]} has no {split} pictures; give folders train and val")
    chosen = shown.train() if split == "train" else shown.test()
    return [Item(p.id, OBJECT_QUESTION, p.label, p.id, media=p.media) for p in chosen]
