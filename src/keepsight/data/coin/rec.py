"""RefCOCO, RefCOCO+ and RefCOCOg: `instances.json` in COCO's form and the references as JSON, or rows with both.

`instances.json` holds `{"images": [{"id", "file_name", "width", "height"}], "annotations": [{"id", "image_id", "bbox": [x, y, w,
h]}]}`. The references are published as a pickle, `refs(unc).p`. A pickle can run code when it is opened, so it never is: give
`refs(unc).json` beside it, the same list as JSON, `[{"ref_id", "ann_id", "image_id", "split", "sentences": [{"sent_id", "sent"}]}]`.

Rows (`.jsonl`, `.json` or parquet) are `{"question_id", "image": path or {"bytes", "path"}, "bbox": [x, y, w, h], "answer": [sentences]}`
with pixels; `"width"` and `"height"` where a picture should not be opened for them.

A sample is one sentence. "test" is testA and testB of RefCOCO and RefCOCO+, and test of RefCOCOg.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keepsight.data.coin.item import Item, Pictures, items_of, text_of
from keepsight.data.coin.rows import true_box
from keepsight.data.coin.vqa_v2 import coco_places
from keepsight.data.json_rows import read_json, rows_of
from keepsight.data.pictures import size_of
from keepsight.data.tabular import parquet_rows
from keepsight.types import KeepsightError, Media

__all__ = ["FILES", "SETS", "files", "is_rows", "read", "read_rows"]

SETS = ("refcoco", "refcoco+", "refcocog")
FILES = ("instances.json and refs(...).json in refcoco, refcoco+ and refcocog",)
_PARTS = {"train": ("train",), "val": ("val",), "test": ("test", "testA", "testB")}


def files(folder: Path) -> Mapping[str, tuple[Path, ...]]:
    """Split -> instances and references of every set that is there.

    Raises:
        KeepsightError: references that are there as a pickle only.
    """
    pairs: list[Path] = []
    for place in _set_folders(folder):
        references = sorted(place.glob("refs*.json"))
        if not references and (pickles := sorted(place.glob("refs*.p"))):
            raise KeepsightError(
                f"{pickles[0]} is a pickle, which can run code and is never opened; where you trust it, write the same list "
                f"as JSON, {pickles[0].with_suffix('.json').name}"
            )
        pairs += [file for one in references[:1] for file in (place / "instances.json", one)]
    return dict.fromkeys(_PARTS, tuple(pairs)) if pairs else {}


def read(found: Sequence[Path], split: str) -> list[Item]:
    """The sentences of a split, of all sets. Raises KeepsightError, naming bad references."""
    return [
        item
        for instances, references in zip(found[::2], found[1::2])
        for item in _of_set(instances, references, split)
    ]


def _set_folders(folder: Path) -> list[Path]:
    places = [folder / name for name in SETS] if folder.name not in SETS else [folder]
    there = [place for place in places if os.path.isfile(place / "instances.json")]
    return there or ([folder] if os.path.isfile(folder / "instances.json") else [])


def _of_set(instances: Path, references: Path, split: str) -> list[Item]:
    data = read_json(instances)
    if not isinstance(data, dict):
        raise KeepsightError(f"{instances} is no object of images and annotations; give COCO's file")
    images, boxes = (_by_id(instances, data.get(name), name) for name in ("images", "annotations"))
    name = instances.parent.name

    def make(row: Mapping[str, Any], place: str) -> Iterator[Item]:
        if row.get("split") not in _PARTS[split]:
            return
        image = _found(images, text_of(row, "image_id"), "picture", instances)
        box = _found(boxes, text_of(row, "ann_id"), "annotation", instances)
        shown = _Shown(_size(image), text_of(image, "file_name"))
        for number, sentence in enumerate(_list(row, "sentences")):
            told = sentence.get("sent") if isinstance(sentence, dict) else sentence
            identity = f"{name}/{text_of(row, 'ref_id')}/{number}"
            yield _item(identity, told, shown, box.get("bbox"))

    return items_of(references, rows_of(references), make)


def is_rows(path: Path) -> bool:
    """Whether a path names rows that hold picture and box themselves."""
    return path.suffix in (".parquet", ".jsonl") and os.path.isfile(path)


def read_rows(path: Path, pictures: Pictures) -> list[Item]:
    """The sentences of a file of rows, whose split the file is. Raises KeepsightError, naming bad rows."""
    rows: Iterable[tuple[str, Any]] = parquet_rows(path) if path.suffix == ".parquet" else rows_of(path)

    def make(row: Mapping[str, Any], place: str) -> Iterator[Item]:
        shown = _shown(row, place, pictures)
        for number, told in enumerate(_list(row, "answer")):
            identity = f"{text_of(row, 'question_id')}/{number}"
            yield _item(identity, told, shown, row.get("bbox"))

    return items_of(path, rows, make)


@dataclass(frozen=True)
class _Shown:
    """The picture of a reference: its width and height, its name, and itself where the row holds it."""

    size: tuple[int, int]
    picture: str
    media: Media | None = None


def _item(identity: str, told: Any, shown: _Shown, box: Any) -> Item:
    if not isinstance(told, str) or not told.strip():
        raise KeepsightError("a sentence is empty or no text")
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(side, (int, float)) for side in box):
        raise KeepsightError(f"the box {box!r:.60} is not [x, y, width, height]")
    x, y, width, height = box
    shares = true_box([x, y, x + width, y + height], shown.size)
    places = coco_places(shown.picture) if shown.media is None else ()
    return Item(identity, told.strip(), "", shown.picture, places, shown.media, box=shares, size=shown.size)


def _shown(row: Mapping[str, Any], place: str, pictures: Pictures) -> _Shown:
    cell = row.get("image")
    media, name = None, cell
    if isinstance(cell, dict) and isinstance(cell.get("bytes"), bytes) and cell["bytes"]:
        media, name = Media(data=cell["bytes"]), str(cell.get("path") or place)
    if not isinstance(name, str) or not name:
        raise KeepsightError('"image" is neither a path nor a file\'s bytes')
    size = _size(row) if "width" in row else size_of(media or pictures.at(*coco_places(name)))
    return _Shown(size, name, media)


def _by_id(path: Path, rows: Any, name: str) -> dict[str, Mapping[str, Any]]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "id" in row for row in rows):
        raise KeepsightError(f'{path} holds no list "{name}" of rows with an id; give COCO\'s file')
    return {str(row["id"]): row for row in rows}


def _found(rows: Mapping[str, Mapping[str, Any]], name: str, what: str, path: Path) -> Mapping[str, Any]:
    if name not in rows:
        raise KeepsightError(f"{what} {name} is not in {path.name}")
    return rows[name]


def _list(row: Mapping[str, Any], name: str) -> list[Any]:
    value = row.get(name)
    if not isinstance(value, list) or not value:
        raise KeepsightError(f'"{name}" is no list of sentences')
    return value


def _size(row: Mapping[str, Any]) -> tuple[int, int]:
    width, height = row.get("width"), row.get("height")
    if type(width) is not int or type(height) is not int or min(width, height) < 1:
        raise KeepsightError(f"width and height are {width!r} and {height!r}, not pixels")
    return width, height
