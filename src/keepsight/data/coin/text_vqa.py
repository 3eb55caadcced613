"""TextVQA's own files: `TextVQA_0.5.1_{train,val}.json`, and Rosetta's OCR tokens where they are asked for.

A row is `{"question_id", "question", "image_id", "answers": [ten texts]}` in a list called "data"; the OCR files hold
`{"image_id", "ocr_tokens": [texts]}`. The test split has no public answers: "test" is the validation split.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keepsight.data.coin.item import Item, items_of, majority, text_of
from keepsight.data.coin.rows import OCR_LINE
from keepsight.data.coin.voters import ten_answers
from keepsight.data.json_rows import read_json
from keepsight.types import KeepsightError

__all__ = ["FILES", "annotators", "files", "ocr_file", "read"]

FILES = ("TextVQA_0.5.1_train.json", "TextVQA_0.5.1_val.json")
_OCR = "TextVQA_Rosetta_OCR_v0.2_{split}.json"


def files(folder: Path) -> Mapping[str, tuple[Path, ...]]:
    """Split -> its file, as far as they are there."""
    named = {"train": FILES[0], "val": FILES[1], "test": FILES[1]}
    return {split: (folder / name,) for split, name in named.items() if os.path.isfile(folder / name)}


def ocr_file(questions: Path) -> Path:
    """Where the OCR tokens of a question file lie."""
    return questions.with_name(_OCR.format(split="train" if questions.name == FILES[0] else "val"))


def read(found: Sequence[Path], split: str, *, ocr: bool = False) -> list[Item]:
    """The questions of a split.

    Args:
        ocr: the tokens that an OCR system read stand between question and instruction.

    Raises:
        KeepsightError: bad rows, named; no file of OCR tokens.
    """
    (path,) = found
    tokens = _tokens(ocr_file(path)) if ocr else {}

    def make(row: Mapping[str, Any], place: str) -> Iterator[Item]:
        picture, answers = text_of(row, "image_id"), ten_answers(row.get("answers"))
        yield Item(
            id=text_of(row, "question_id"),
            question=text_of(row, "question"),
            answer=majority(answers),
            answers=answers,
            picture=picture,
            places=tuple(f"{folder}{picture}.jpg" for folder in ("", "train_images/", "test_images/")),
            aside=tokens.get(picture, ""),
        )

    return items_of(path, _rows(path), make)


def annotators(path: Path) -> dict[str, tuple[str, ...]]:
    """Question id -> the ten annotators' answers."""
    rows = items_of(path, _rows(path), lambda row, _: [_answered(row)])
    return {item.id: item.answers for item in rows}


def _answered(row: Mapping[str, Any]) -> Item:
    return Item(text_of(row, "question_id"), "", answers=ten_answers(row.get("answers")))


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    data = read_json(path)
    rows = data.get("data") if isinstance(data, dict) else None
    if not isinstance(rows, list):
        raise KeepsightError(f'{path} holds no list "data"; give TextVQA\'s file')
    return ((f"row {at}", row) for at, row in enumerate(rows))


def _tokens(path: Path) -> dict[str, str]:
    """Picture -> its line of OCR tokens; a picture without text has the empty line that the published rows have."""
    lines = {}
    for place, row in _rows(path):
        if not isinstance(row, dict) or not isinstance(row.get("ocr_tokens"), list):
            raise KeepsightError(f'{path}, {place}: no list "ocr_tokens"')
        lines[text_of(row, "image_id")] = f"{OCR_LINE} {', '.join(map(str, row['ocr_tokens']))}".rstrip()
    return lines
