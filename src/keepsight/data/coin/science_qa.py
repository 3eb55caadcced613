"""ScienceQA's own files: `problems.json` and `pid_splits.json`, pictures in `<split>/<problem>/image.png`.

A problem is `{"question", "choices", "answer": <index>, "hint", "image": "image.png" or null, "split", ...}`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keepsight.data.coin.item import LETTERS, Item, items_of, options_text, text_of
from keepsight.data.json_rows import read_json
from keepsight.types import KeepsightError

__all__ = ["FILES", "files", "read"]

FILES = ("problems.json and pid_splits.json",)
_FOLDERS = (".", "data", "data/scienceqa")


def files(folder: Path) -> Mapping[str, tuple[Path, ...]]:
    """Split -> its files, as far as they are there."""
    for place in _FOLDERS:
        both = folder / place / "problems.json", folder / place / "pid_splits.json"
        if all(os.path.isfile(file) for file in both):
            return dict.fromkeys(("train", "val", "test"), both)
    return {}


def read(found: Sequence[Path], split: str) -> list[Item]:
    """The problems of a split, in its order; those without a picture have none. Raises KeepsightError, naming bad ones."""
    problems, splits = read_json(found[0]), read_json(found[1])
    chosen = splits.get(split) if isinstance(splits, dict) else None
    if not isinstance(problems, dict) or not isinstance(chosen, list):
        raise KeepsightError(f"{found[1]} has no list {split!r} of problems, or {found[0]} holds no problems")
    rows = ((f"problem {name}", problems.get(str(name))) for name in chosen)
    return items_of(found[0], rows, lambda row, place: _item(row, place.partition(" ")[2], split))


def _item(row: Mapping[str, Any], name: str, split: str) -> Iterator[Item]:
    choices, answer = row.get("choices"), row.get("answer")
    if not isinstance(choices, list) or not 2 <= len(choices) <= len(LETTERS):
        raise KeepsightError(f'"choices" is no list of 2 to {len(LETTERS)}')
    if type(answer) is not int or not 0 <= answer < len(choices):
        raise KeepsightError(f'"answer" is {answer!r:.20}, not the index of one of {len(choices)} choices')
    texts = tuple(str(choice).strip() for choice in choices)
    picture = f"{split}/{name}/{row['image']}" if row.get("image") else ""
    yield Item(
        id=name,
        question=options_text(text_of(row, "question"), texts, str(row.get("hint") or "").strip()),
        answer=LETTERS[answer],
        picture=picture,
        places=(picture, f"images/{picture}") if picture else (),
        choices=texts,
    )
