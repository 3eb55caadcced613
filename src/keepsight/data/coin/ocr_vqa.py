"""OCR-VQA's own file: `dataset.json`, an object of books by id, pictures of their covers in `images/`.

A book is `{"imageURL", "questions": [texts], "answers": [texts], "title", "authorName", "genre", "split": 1, 2 or 3}` (train,
validation, test). The picture is `<id>` with the address's suffix; the address is never visited.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from keepsight.data.coin.item import Item, items_of
from keepsight.data.json_rows import read_json
from keepsight.types import KeepsightError

__all__ = ["FILES", "files", "read"]

FILES = ("dataset.json",)
_NUMBERS = {"train": 1, "val": 2, "test": 3}


def files(folder: Path) -> Mapping[str, tuple[Path, ...]]:
    """Split -> the file, if it is there."""
    path = folder / FILES[0]
    return dict.fromkeys(_NUMBERS, (path,)) if os.path.isfile(path) else {}


def read(found: Sequence[Path], split: str) -> list[Item]:
    """The questions of a split, several per book. Raises KeepsightError, naming bad books."""
    (path,) = found
    data = read_json(path)
    if not isinstance(data, dict):
        raise KeepsightError(f"{path} is no object of books by id; give OCR-VQA's file")

    def make(row: Mapping[str, Any], place: str) -> Iterator[Item]:
        return _items(row, place.partition(" ")[2]) if _part(row) == _NUMBERS[split] else iter(())

    return items_of(path, ((f"book {name}", row) for name, row in data.items()), make)


def _part(row: Mapping[str, Any]) -> int:
    part = row.get("split")
    if type(part) is not int or part not in _NUMBERS.values():
        raise KeepsightError(f'"split" is {part!r:.20}, not 1, 2 or 3')
    return part


def _items(row: Mapping[str, Any], name: str) -> Iterator[Item]:
    questions, answers = row.get("questions"), row.get("answers")
    if not isinstance(questions, list) or not isinstance(answers, list) or len(questions) != len(answers):
        raise KeepsightError('"questions" and "answers" are no lists of one length')
    if not all(isinstance(text, str) and text.strip() for text in (*questions, *answers)):
        raise KeepsightError("an empty question or answer")
    address = row.get("imageURL")
    suffix = PurePosixPath(urlsplit(address).path).suffix if isinstance(address, str) else ""
    picture = f"{name}{suffix or '.jpg'}"
    places = (picture, f"images/{picture}", f"OCR-VQA/images/{picture}")
    for number, (question, answer) in enumerate(zip(questions, answers)):
        yield Item(f"{name}/{number}", question.strip(), answer.strip(), picture, places)
