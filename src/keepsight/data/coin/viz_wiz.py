"""VizWiz's own files: `train.json` and `val.json`, pictures named by the row.

A row is `{"image", "question", "answers": [{"answer", "answer_confidence"}, ... ten], "answer_type", "answerable"}`. The test
split has no public answers: "test" is the validation split. A question that cannot be answered has "unanswerable" as the
answer of most annotators.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keepsight.data.coin.item import Item, items_of, majority, text_of
from keepsight.data.coin.voters import ten_answers
from keepsight.data.json_rows import rows_of

__all__ = ["FILES", "files", "read"]

FILES = ("train.json", "val.json")
_FOLDERS = (".", "Annotations", "annotations")


def files(folder: Path) -> Mapping[str, tuple[Path, ...]]:
    """Split -> its file, as far as they are there. CoIN's own files have the same names: see `sources`."""
    for place in _FOLDERS:
        named = {"train": "train.json", "val": "val.json", "test": "val.json"}
        there = {split: (folder / place / name,) for split, name in named.items()}
        if found := {split: paths for split, paths in there.items() if os.path.isfile(paths[0])}:
            return found
    return {}


def read(found: Sequence[Path], split: str) -> list[Item]:
    """The questions of a split. Raises KeepsightError, naming bad rows."""
    (path,) = found

    def make(row: Mapping[str, Any], place: str) -> Iterator[Item]:
        picture, answers = text_of(row, "image"), ten_answers(row.get("answers"))
        yield Item(
            id=picture,
            question=text_of(row, "question"),
            answer=majority(answers),
            answers=answers,
            picture=picture,
            places=(picture, f"{path.stem}/{picture}", f"images/{picture}"),
        )

    return items_of(path, rows_of(path), make)
