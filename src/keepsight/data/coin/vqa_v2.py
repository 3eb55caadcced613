"""VQAv2's own files: questions and annotations of COCO's 2014 pictures.

`v2_OpenEnded_mscoco_{train,val}2014_questions.json` holds `{"questions": [{"question_id", "image_id", "question"}]}`,
`v2_mscoco_{train,val}2014_annotations.json` the answers by the same id. The test questions have no public answers: "test"
is the validation split.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keepsight.data.coin.item import Item, items_of, majority, text_of
from keepsight.data.coin.voters import ten_answers
from keepsight.data.json_rows import read_json
from keepsight.types import KeepsightError

__all__ = ["FILES", "annotators", "coco_places", "files", "read"]

_QUESTIONS = "v2_OpenEnded_mscoco_{part}_questions.json"
_ANNOTATIONS = "v2_mscoco_{part}_annotations.json"
_PARTS = {"train": "train2014", "val": "val2014", "test": "val2014"}
FILES = tuple(form.format(part="{train,val}2014") for form in (_QUESTIONS, _ANNOTATIONS))


def files(folder: Path) -> Mapping[str, tuple[Path, ...]]:
    """Split -> its questions and annotations, as far as both are there."""
    both = {
        split: (folder / _QUESTIONS.format(part=part), folder / _ANNOTATIONS.format(part=part))
        for split, part in _PARTS.items()
    }
    return {split: pair for split, pair in both.items() if all(os.path.isfile(file) for file in pair)}


def read(found: Sequence[Path], split: str) -> list[Item]:
    """The questions of a split; the answer to learn is the annotators' most frequent. Raises KeepsightError."""
    questions, annotations = found
    answers = annotators(annotations)

    def make(row: Mapping[str, Any], place: str) -> Iterator[Item]:
        name = text_of(row, "question_id")
        if name not in answers:
            raise KeepsightError(f"question {name} has no row in {annotations.name}")
        picture = f"COCO_{_PARTS[split]}_{int(text_of(row, 'image_id')):012d}.jpg"
        yield Item(
            id=name,
            question=text_of(row, "question"),
            answer=majority(answers[name]),
            answers=answers[name],
            picture=picture,
            places=coco_places(picture),
        )

    return items_of(questions, _rows(questions, "questions"), make)


def annotators(path: Path) -> dict[str, tuple[str, ...]]:
    """Question id -> the ten annotators' answers."""
    rows = items_of(path, _rows(path, "annotations"), lambda row, _: [_answered(row)])
    return {item.id: item.answers for item in rows}


def coco_places(picture: str) -> tuple[str, ...]:
    """Where a COCO picture may lie: as named, in the folder of its part, or in CoIN's layout."""
    part = next((part for part in ("train2014", "val2014") if f"_{part}_" in picture), "train2014")
    return picture, f"{part}/{picture}", f"COCO2014/{part}/{picture}"


def _answered(row: Mapping[str, Any]) -> Item:
    return Item(text_of(row, "question_id"), "", answers=ten_answers(row.get("answers")))


def _rows(path: Path, name: str) -> Iterator[tuple[str, Any]]:
    data = read_json(path)
    rows = data.get(name) if isinstance(data, dict) else None
    if not isinstance(rows, list):
        raise KeepsightError(f'{path} holds no list "{name}"; give VQAv2\'s file')
    return ((f"row {at}", row) for at, row in enumerate(rows))
