"""Picture sets that are files: a folder of class folders, or JSON lines that point at pictures."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keepsight.data.confine import confined
from keepsight.data.labelled import LabelledSet, Rows, label_text
from keepsight.data.pictures import SUFFIXES
from keepsight.data.splits import SPLIT_NAMES, settle
from keepsight.types import KeepsightError, Media

__all__ = ["read_folder", "read_jsonl"]

_SHOWN = 3  # files named in one note
_WORDNET_ID = re.compile(r"n\d{8}")


def read_folder(path: str | Path, labels: Sequence[str] = ()) -> LabelledSet:
    """A folder of class folders, with or without `train/`, `val/`, `test/` above them.

    A class is a folder's name; `classes.json` beside the folders may give readable names (`{"n01532829": "house
    finch"}`). Pictures may lie deeper inside a class folder. Hidden files are ignored, other files that are no
    pictures are counted in `notes`. Without a split, a fifth of each class is held out by a digest of the file's path.

    Args:
        path: the folder.
        labels: the set's known labels, which fix the order (default: sorted folder names, numbers by value).

    Raises:
        KeepsightError: no such folder, no pictures, two folders with the same label, or a link that leads outside.
    """
    root = Path(path)
    if not root.is_dir():
        raise KeepsightError(f"no folder {root}; give a folder that holds one folder per class")
    names = _class_names(root)
    passed_over: list[str] = []
    parts: dict[str, Rows] = {}
    folders: list[str] = []
    for part, start in _parts(root):
        _refuse_escape(root, start)
        if part in parts:
            raise KeepsightError(f"folder {root}: two folders hold the {part} split; merge them")
        found = _class_folders(start)
        folders += [folder.name for folder in found]
        parts[part] = _rows(root, found, names, passed_over)
    found_labels = [label_text(names.get(name, name)) for name in _distinct(root, folders, names)]
    _require_words(root, found_labels)
    order = _ordered(labels, found_labels)
    splits, notes = settle(root.resolve().name, parts)
    return LabelledSet(root.resolve().name, order, splits, _noun(order), (*notes, *_note(passed_over)))


def read_jsonl(
    path: str | Path,
    classes: str | Path | None = None,
    image_root: str | Path | None = None,
    labels: Sequence[str] = (),
) -> LabelledSet:
    """Rows `{"image": path, "label": name, "split": "train"}`, one per line, and a JSON list of all class names.

    Args:
        path: the JSON lines.
        classes: the class list (default: `<stem>_classes.json` beside the file, if it is there).
        image_root: folder the image paths start from and may not leave (default: the file's folder).
        labels: the set's known labels; they take the place of a class list.

    Raises:
        KeepsightError: unreadable file, a row that is malformed, or whose label is not in the class list.
    """
    path = Path(path)
    root = Path(image_root) if image_root is not None else path.parent
    known = tuple(labels) or _class_list(path, classes)
    rows: dict[str, list[tuple[str, str]]] = defaultdict(list)  # part -> (image, label)
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            try:
                part, image, label = _fields(line, known)
                confined(root, image)
            except KeepsightError as error:
                raise KeepsightError(f"{path}, line {number}: {error}") from error
            rows[part].append((image, label))
    order = known or _ordered((), sorted({label for part in rows.values() for _, label in part}))
    splits, notes = settle(path.stem, {part: _file_rows(root, found) for part, found in rows.items()})
    return LabelledSet(path.stem, order, splits, _noun(order), tuple(notes))


def _parts(root: Path) -> list[tuple[str, Path]]:
    """(part, folder) pairs. `train` is a split only if every folder is one: CIFAR-100 has a class of that name."""
    folders = _subfolders(root)
    if folders and all(f.name.lower() in SPLIT_NAMES and _subfolders(f) for f in folders):
        return [(SPLIT_NAMES[f.name.lower()], f) for f in folders]
    return [("all", root)]


def _subfolders(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))


def _class_folders(start: Path) -> list[Path]:
    folders = _subfolders(start)
    if not folders:
        raise KeepsightError(
            f"folder {start} holds no class folders; put each class's pictures into one folder"
        )
    return folders


def _rows(root: Path, folders: list[Path], names: Mapping[str, str], passed_over: list[str]) -> Rows:
    images = []
    for folder in folders:
        _refuse_escape(root, folder)
        label = label_text(names.get(folder.name, folder.name))
        images += [(file, label) for file in _picture_files(root, folder, passed_over)]
    return _file_rows(root, images)


def _file_rows(root: Path, images: list[tuple[str, str]]) -> Rows:
    files = [root / image for image, _ in images]
    return Rows(
        tuple(image for image, _ in images),
        tuple(label for _, label in images),
        lambda places: [Media(path=files[i]) for i in places],
    )


def _picture_files(root: Path, folder: Path, passed_over: list[str]) -> list[str]:
    """Paths of one class's pictures relative to the root, sorted; what is no picture goes to `passed_over`."""
    found: list[str] = []
    for place, directories, files in os.walk(folder):
        directories[:] = sorted(d for d in directories if not d.startswith("."))
        for name in [*directories, *files]:
            _refuse_escape(root, Path(place, name))
        for name in sorted(f for f in files if not f.startswith(".")):
            relative = Path(place, name).relative_to(root).as_posix()
            (found if Path(name).suffix.lower() in SUFFIXES else passed_over).append(relative)
    return found


def _refuse_escape(root: Path, path: Path) -> None:
    if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
        raise KeepsightError(
            f"{path} is a link that leads outside {root}; copy what it points to into the folder"
        )


def _class_names(root: Path) -> dict[str, str]:
    path = root / "classes.json"
    if not path.is_file():
        return {}
    names = _json(path)
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise KeepsightError(f"{path} must map folder names to class names")
    return names


def _distinct(root: Path, folders: list[str], names: Mapping[str, str]) -> list[str]:
    """Folder names without repetition, numbers by value. Two names for one label are a mistake in the data."""
    by_label: dict[str, str] = {}
    for folder in sorted(set(folders), key=_natural):
        label = label_text(names.get(folder, folder))
        if label.casefold() in by_label:
            raise KeepsightError(
                f"folder {root}: {by_label[label.casefold()]!r} and {folder!r} are one label, {label!r}; merge them"
            )
        by_label[label.casefold()] = folder
    return list(by_label.values())


def _require_words(root: Path, labels: Sequence[str]) -> None:
    """A model cannot be asked for `n02110341`."""
    if labels and all(_WORDNET_ID.fullmatch(label) for label in labels):
        raise KeepsightError(
            f'folder {root}: the class folders are named by WordNet ids; put classes.json beside them, {{"{labels[0]}": '
            '"name", ...}'
        )


def _natural(name: str) -> tuple[int, int, str]:
    return (0, int(name), "") if name.isdecimal() else (1, 0, name)


def _ordered(known: Sequence[str], found: Sequence[str]) -> tuple[str, ...]:
    """Known labels first, in their order, then whatever else was found."""
    return tuple(label for label in known if label in found) + tuple(x for x in found if x not in known)


def _noun(labels: Sequence[str]) -> str:
    return "number" if all(label.isdecimal() for label in labels) else "object"


def _note(passed_over: list[str]) -> list[str]:
    if not passed_over:
        return []
    more = ", ..." if len(passed_over) > _SHOWN else ""
    return [f"{len(passed_over)} files are no pictures: {', '.join(passed_over[:_SHOWN])}{more}."]


def _class_list(path: Path, classes: str | Path | None) -> tuple[str, ...]:
    beside = Path(classes) if classes is not None else path.with_name(f"{path.stem}_classes.json")
    if classes is None and not beside.is_file():
        return ()
    names = _json(beside)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise KeepsightError(f"{beside} must be a JSON list of class names")
    return tuple(dict.fromkeys(label_text(name) for name in names))


def _fields(line: str, known: Sequence[str]) -> tuple[str, str, str]:
    """(part, image, label) of one line."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise KeepsightError(f"not JSON ({error})") from error
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("image", "label")):
        raise KeepsightError('expected {"image": "...", "label": "...", "split": "train" or "test"}')
    part = str(row.get("split") or "all").lower()
    if part != "all" and part not in SPLIT_NAMES:
        raise KeepsightError(f"split {part!r} is none of {', '.join(SPLIT_NAMES)}")
    label = label_text(row["label"])
    if known and label not in known:
        raise KeepsightError(f"label {label!r} is not in the class list")
    return SPLIT_NAMES.get(part, part), row["image"], label


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KeepsightError(f"cannot read {path}: {error}; give a UTF-8 file of JSON lines") from error


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise KeepsightError(f"cannot read {path}: {error}") from error
