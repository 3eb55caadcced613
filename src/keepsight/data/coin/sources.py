"""Which files a task of CoIN is read from: CoIN's own JSON, or the data set's original annotations.

Only names are looked at here (and one row of a file whose name both have); rows are read when samples are asked for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from keepsight.data.coin import gqa, image_net, ocr_vqa, rec, science_qa, text_vqa, viz_wiz, vqa_v2
from keepsight.data.coin.item import ORDER, Item, Pictures
from keepsight.data.coin.rows import is_coin_row, read_coin_rows, with_annotators
from keepsight.types import KeepsightError

__all__ = ["FOLDERS", "CoinSource", "open_source"]

Kind = Literal["auto", "coin", "original"]
Files = Mapping[str, tuple[Path, ...]]

# What a data set's folder may be called below the one that is given: CoIN's name first.
FOLDERS: Mapping[str, tuple[str, ...]] = {
    "ScienceQA": ("ScienceQA", "scienceqa"),
    "TextVQA": ("TextVQA", "textvqa"),
    "ImageNet": ("ImageNet", "imagenet"),
    "GQA": ("GQA", "gqa"),
    "VizWiz": ("VizWiz", "vizwiz"),
    "REC": ("Grounding", "REC", "RefCOCO"),
    "VQAv2": ("VQAv2", "VQAV2", "vqav2"),
    "OCR-VQA": ("OCRVQA", "OCR-VQA", "ocrvqa"),
}
_INSTRUCTION_FOLDERS = {
    "type1": ("Instruction_Type1", "Instructions_Original", "Instruction_Original"),
    "type2": ("Instruction_Type2", "Instructions_Type2"),
}
_COIN_FILES = {"train": ("train.json",), "test": ("test.json", "val.json"), "val": ("val.json",)}
_HEAD = 1 << 18  # bytes that the first row of a file lies in


@dataclass(frozen=True)
class _Original:
    """A data set's own annotations."""

    looked_for: tuple[str, ...]
    files: Callable[[Path], Files]
    read: Callable[..., list[Item]]
    annotators: Callable[[Path], dict[str, tuple[str, ...]]] | None = None  # by question id
    votes: bool = False  # the answers of ten annotators are there
    ocr: bool = False  # OCR tokens can be had


_ORIGINALS: Mapping[str, _Original] = {
    "ScienceQA": _Original(science_qa.FILES, science_qa.files, science_qa.read),
    "TextVQA": _Original(
        text_vqa.FILES, text_vqa.files, text_vqa.read, text_vqa.annotators, votes=True, ocr=True
    ),
    "ImageNet": _Original(image_net.FILES, image_net.files, image_net.read),
    "GQA": _Original(gqa.FILES, gqa.files, gqa.read),
    "VizWiz": _Original(viz_wiz.FILES, viz_wiz.files, viz_wiz.read, votes=True),
    "REC": _Original(rec.FILES, rec.files, rec.read),
    "VQAv2": _Original(vqa_v2.FILES, vqa_v2.files, vqa_v2.read, vqa_v2.annotators, votes=True),
    "OCR-VQA": _Original(ocr_vqa.FILES, ocr_vqa.files, ocr_vqa.read),
}


@dataclass(frozen=True)
class CoinSource:
    """The files of one task. `votes` names the splits of which all annotators' answers are known."""

    task: str
    kind: Literal["coin", "original"]
    files: Files
    pictures: Pictures
    votes: tuple[str, ...]
    reader: Callable[[tuple[Path, ...], str], list[Item]]

    def items(self, split: str) -> list[Item]:
        """The rows of a split.

        Raises:
            KeepsightError: a split without files; rows that cannot be used, named.
        """
        if split not in self.files:
            there = ", ".join(self.files) or "none"
            raise KeepsightError(
                f"coin:{self.task} has no {split} rows here (there are: {there}); give their file, too"
            )
        return self.reader(self.files[split], split)


def open_source(
    task: str,
    path: str | Path,
    image_folder: str | Path | None = None,
    *,
    source: Kind = "auto",
    instruction: str = "type1",
    ocr: bool | None = None,
) -> CoinSource:
    """Finds the files of a task.

    Args:
        task: a name of `ORDER`.
        path: the data set's folder, one that holds it under one of its `FOLDERS` (or CoIN's `Instruction_Type1`), or a file
            of rows: CoIN's, or for REC also `.jsonl` and parquet.
        image_folder: folder that pictures' paths start from, and may not leave (default: where the annotations lie, and
            for CoIN's rows `path`).
        source: "coin" or "original" where both are there; "auto" takes CoIN's.
        instruction: "type2" looks into CoIN's folder of that type first; "file" keeps the rows' own last line.
        ocr: whether TextVQA's OCR tokens are in the prompt (default: as CoIN's rows have it; not with the originals).

    Raises:
        KeepsightError: nothing there that can be read, and what was looked for.
    """
    if task not in ORDER:
        raise KeepsightError(f"CoIN has no task {task!r}; its tasks are {', '.join(ORDER)}")
    if source not in ("auto", "coin", "original"):
        raise KeepsightError(f"source is {source!r}; give auto, coin or original")
    if ocr is not None and not _ORIGINALS[task].ocr:
        raise KeepsightError(f"coin:{task} has no OCR tokens; leave out ocr=")
    place = Path(path).expanduser()
    if not os.path.exists(place):
        raise KeepsightError(f"coin:{task}: no file or folder {path}; check path")
    opened = _Opened(task, place, Path(image_folder).expanduser() if image_folder else None, instruction, ocr)
    if os.path.isfile(place):
        return opened.file()
    found = (opened.coin() if source != "original" else None) or (
        opened.original() if source != "coin" else None
    )
    if found is None:
        raise KeepsightError(opened.missing(source))
    return found


@dataclass(frozen=True)
class _Opened:
    """What `open_source` was asked for."""

    task: str
    path: Path
    images: Path | None
    instruction: str
    ocr: bool | None

    def file(self) -> CoinSource:
        """The source of one file of rows, or of the data set's own files that this is one of."""
        first, beside = _first_row(self.path), _ORIGINALS[self.task].files(self.path.parent)
        if not is_coin_row(first) and self.path in [file for files in beside.values() for file in files]:
            return self._original(beside, self.path.parent)
        if self.task == "REC" and rec.is_rows(self.path) and not is_coin_row(first):
            pictures = Pictures(self.images or self.path.parent)
            return CoinSource(
                self.task,
                "original",
                self._one(),
                pictures,
                (),
                lambda found, _: rec.read_rows(found[0], pictures),
            )
        if first is not None and not is_coin_row(first):
            raise KeepsightError(
                f"coin:{self.task}: {self.path} holds no rows of CoIN's form; give the folder with the data set's own files"
            )
        return self._coin(self._one(), self.path.parent)

    def coin(self) -> CoinSource | None:
        """CoIN's own files; one that is no JSON counts as CoIN's, so that reading it says what is wrong."""
        for folder in self._folders(typed=True):
            named = {
                split: next((folder / name for name in names if os.path.isfile(folder / name)), None)
                for split, names in _COIN_FILES.items()
            }
            there = {split: (file,) for split, file in named.items() if file is not None}
            first = [_first_row(files[0]) for files in there.values()]
            if there and all(row is None or is_coin_row(row) for row in first):
                return self._coin(there, folder)
        return None

    def original(self) -> CoinSource | None:
        """The data set's own files."""
        found = ((_ORIGINALS[self.task].files(folder), folder) for folder in self._folders())
        return next((self._original(files, folder) for files, folder in found if files), None)

    def missing(self, source: str) -> str:
        """What was looked for and not found."""
        coin = f"CoIN's own (train.json, test.json or val.json, there or in {', '.join(FOLDERS[self.task])})"
        own = f"the data set's ({'; '.join(_ORIGINALS[self.task].looked_for)})"
        looked = {"coin": coin, "original": own}.get(source, f"{coin} or {own}")
        return f"coin:{self.task}: {self.path} does not hold the files that it is read from: {looked}; check path"

    def _one(self) -> Files:
        return {"train" if self.path.stem.startswith("train") else "test": (self.path,)}

    def _folders(self, typed: bool = False) -> list[Path]:
        """Where the data set may lie; `typed`: CoIN's folders of the asked instruction type first."""
        types = _INSTRUCTION_FOLDERS.get(self.instruction, ()) + _INSTRUCTION_FOLDERS["type1"]
        roots = [*(self.path / name for name in types if typed), self.path]
        places = [
            folder for root in roots for folder in (*(root / name for name in FOLDERS[self.task]), root)
        ]
        return [folder for folder in places if os.path.isdir(folder)]

    def _original(self, files: Files, folder: Path) -> CoinSource:
        about, pictures = _ORIGINALS[self.task], Pictures(self.images or folder)
        extra = {"ocr": bool(self.ocr)} if about.ocr else {}

        def read(found: tuple[Path, ...], split: str) -> list[Item]:
            return about.read(found, split, **extra)

        return CoinSource(self.task, "original", files, pictures, tuple(files) if about.votes else (), read)

    def _coin(self, files: Files, folder: Path) -> CoinSource:
        about, annotations = _ORIGINALS[self.task], self._annotations(files, folder)
        pictures = Pictures(self.images or (self.path if os.path.isdir(self.path) else folder))

        def read(found: tuple[Path, ...], split: str) -> list[Item]:
            items = read_coin_rows(self.task, found[0], as_written=self.instruction == "file")
            if self.ocr is not None and about.ocr:
                items = [_with_ocr(item, self.ocr, found[0]) for item in items]
            if split not in annotations or about.annotators is None:
                return items
            return with_annotators(items, about.annotators(annotations[split]), annotations[split])

        return CoinSource(self.task, "coin", files, pictures, tuple(annotations), read)

    def _annotations(self, files: Files, folder: Path) -> dict[str, Path]:
        """The original annotations that lie beside CoIN's rows of a split, where they hold answers by question id."""
        about = _ORIGINALS[self.task]
        if about.annotators is None:
            return {}
        beside = next(
            filter(None, (about.files(place) for place in dict.fromkeys((folder, *self._folders())))), {}
        )
        return {split: paths[-1] for split, paths in beside.items() if split in files and split != "train"}


def _with_ocr(item: Item, ocr: bool, path: Path) -> Item:
    if ocr and not item.aside:
        raise KeepsightError(f"{path}: question {item.id} has no line of OCR tokens; leave out ocr=true")
    return item if ocr else replace(item, aside="")


def _first_row(path: Path) -> Any:
    """The first row of a file, or None where none can be read: what tells forms apart that share a file's name."""
    with path.open("rb") as file:
        head = file.read(_HEAD).decode("utf-8", "ignore").lstrip("\ufeff \t\r\n[")
    try:
        return json.JSONDecoder().raw_decode(head)[0]
    except (ValueError, RecursionError):
        return None
