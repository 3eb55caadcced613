"""GQA's own files: `{train,val,testdev}_balanced_questions.json`, an object of questions by id.

A question is `{"question", "answer", "imageId", "isBalanced", ...}`. Only balanced questions are read, as GQA's own
evaluation does; "test" is the balanced test-dev split, whose answers are public.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keepsight.data.coin.item import Item, items_of, text_of
from keepsight.data.json_rows import read_json
from keepsight.types import KeepsightError

__all__ = ["FILES", "files", "read"]

_PARTS = {"train": "train", "val": "val", "test": "testdev"}
FILES = tuple(f"{part}_balanced_questions.json" for part in _PARTS.values())
_FOLDERS = (".", "questions1.2", "questions", "data/questions1.2")


def files(folder: Path) -> Mapping[str, tuple[Path, ...]]:
    """Split -> its file, as far as they are there."""
    for place in _FOLDERS:
        there = {
            split: (folder / place / f"{part}_balanced_questions.json",) for split, part in _PARTS.items()
        }
        if found := {split: paths for split, paths in there.items() if os.path.isfile(paths[0])}:
            return found
    return {}


def read(found: Sequence[Path], split: str) -> list[Item]:
    """The balanced questions of a split. Raises KeepsightError, naming bad ones."""
    (path,) = found
    data = read_json(path)
    if not isinstance(data, dict):
        raise KeepsightError(f"{path} is no object of questions by id; give GQA's file")

    def make(row: Mapping[str, Any], place: str) -> Iterator[Item]:
        if row.get("isBalanced") is False:
            return
        picture = f"{text_of(row, 'imageId')}.jpg"
        yield Item(
            id=place.partition(" ")[2],
            question=text_of(row, "question"),
            answer=text_of(row, "answer"),
            picture=picture,
            places=(picture, f"images/{picture}", f"GQA/images/{picture}"),
        )

    return items_of(path, ((f"question {name}", row) for name, row in data.items()), make)
