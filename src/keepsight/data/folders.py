"""Picture sets that are files: a folder of class folders, or JSON lines that point at pictures."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keepsight.data.class_names import BESIDE, WORDNET_ID, class_list, folder_names
from keepsight.data.confine import RemoteSource, Unreadable, picture_at
from keepsight.data.json_rows import rows_of
from keepsight.data.labelled import LabelledSet, Rows, label_text
from keepsight.data.pictures import SUFFIXES
from keepsight.data.splits import SPLIT_NAMES, settle
from keepsight.types import KeepsightError, Media

__all__ = ["read_folder", "read_jsonl"]

MACOS = "__MACOSX"  # what a Mac puts beside the folders of an archive
_SHOWN = 3  # files named in one note


def read_folder(
    path: str | Path, labels: Sequence[str] = (), classes: str | Path | None = None
) -> LabelledSet:
    """A folder of class folders, with or without `train/`, `val/`, `test/` above them.

    A class is a folder's name; a file may give readable names (`{"n01532829": "house finch"}`, or ImageNet's own
    `LOC_synset_mapping.txt`). Folders that it gives one name are one class. Pictures may lie deeper inside a class
    folder. Hidden files are ignored; folders without pictures are no classes and, like other files that are no
    pictures, are told in `notes`. Without a split, a fifth of each class is held out by a digest of the file's path.

    Args:
        path: the folder.
        labels: the set's known labels, which fix the order (default: sorted folder names, numbers by value).
        classes: the file of names (default: one of `class_names.BESIDE` beside the folders, if it is there).

    Raises:
        KeepsightError: no such folder, no pictures, two folders with the same label, or a link that leads outside.
    """
    root = Path(path)
    if not os.path.isdir(root):
        raise KeepsightError(f"no folder {root}; give a folder that holds one folder per class")
    empty: list[str] = []
    found = _split_folders(root, empty)
    folders = [folder.name for _, inside in found for folder in inside]
    names = _class_names(root, classes, folders)
    passed_over: list[str] = []
    parts = {part: _rows(root, inside, names, passed_over) for part, inside in found}
    by_label = _distinct(root, folders, names)
    _require_words(root, list(by_label))
    order = _ordered(labels, list(by_label))
    splits, notes = settle(root.resolve().name, parts)
    notes += [*_merged(by_label), *_notes(empty, passed_over)]
    return LabelledSet(root.resolve().name, order, splits, _noun(order), tuple(notes))


def _split_folders(root: Path, empty: list[str]) -> list[tuple[str, list[Path]]]:
    """(part, class folders) of each split; folders without pictures go to `empty`."""
    found: list[tuple[str, list[Path]]] = []
    for part, start in _parts(root, empty):
        _refuse_escape(root, start)
        if part in dict(found):
            raise KeepsightError(f"folder {root}: two folders hold the {part} split; merge them")
        found.append((part, _class_folders(start, root, empty)))
    return found


def read_jsonl(
    path: str | Path,
    classes: str | Path | None = None,
    image_root: str | Path | None = None,
    labels: Sequence[str] = (),
    *,
    remote: RemoteSource | None = None,
) -> LabelledSet:
    """Rows `{"image": path, "label": name, "split": "train"}`, one per line, and a JSON list of all class names.

    A row that cannot be used stays in the set as a picture that cannot be read and says why: asking about it is one
    named, counted error. It counts to its split, or where the row does not tell, to the one that is asked.

    Args:
        path: the JSON lines, or a JSON list of rows.
        classes: the class list (default: `<stem>_classes.json` beside the file, if it is there).
        image_root: folder the image paths start from and may not leave (default: the file's folder).
        labels: the set's known labels; they take the place of a class list.
        remote: what fetches pictures given as addresses (default: each is an error).

    Raises:
        KeepsightError: an unreadable file, or one without a single row that can be used.
    """
    path = Path(path)
    root = Path(image_root) if image_root is not None else path.parent
    known = tuple(labels) or _class_list(path, classes)
    found = [_row(path, root, place, row, known, remote) for place, row in rows_of(path)]
    found = _ids_once(path, found)
    good = [row for row in found if not isinstance(row.media, Unreadable)]
    if not good:
        first = f"; the first: {found[0].media.fault}" if found else ""  # type: ignore[attr-defined]
        raise KeepsightError(f"{path} holds no row that can be used{first}")
    known_parts = {row.part for row in good}
    asked = next(part for part in ("test", "val", "all", "train") if part in known_parts)
    parts: dict[str, list[_Row]] = defaultdict(list)
    for row in found:
        parts[row.part if row.part in known_parts else asked].append(row)
    order = known or _ordered((), sorted({row.label for row in good}))
    splits, notes = settle(path.stem, {part: _rows_of(rows) for part, rows in parts.items()})
    return LabelledSet(path.stem, order, splits, _noun(order), tuple(notes))


@dataclass(frozen=True)
class _Row:
    """One line of JSON lines. `part` and `label` are empty where the line does not tell."""

    place: str
    id: str
    part: str
    label: str
    media: Media


def _row(
    path: Path, root: Path, place: str, row: Any, known: Sequence[str], remote: RemoteSource | None
) -> _Row:
    part = _part_of(row)
    try:
        image, label = _fields(row, known)
        return _Row(place, image, part, label, picture_at(root, image, remote))
    except KeepsightError as error:
        return _faulty(path, place, part, str(error))


def _faulty(path: Path, place: str, part: str, fault: str) -> _Row:
    return _Row(place, place, part, "", Unreadable(path=path, fault=f"{path}, {place}: {fault}"))


def _ids_once(path: Path, rows: Sequence[_Row]) -> list[_Row]:
    """The rows, each further one with the same picture as a fault of its own: answers are kept by picture."""
    first: dict[str, str] = {}
    once = []
    for row in rows:
        if row.id in first:
            row = _faulty(path, row.place, row.part, f"picture {row.id!r} has a row already, {first[row.id]}")
        first.setdefault(row.id, row.place)
        once.append(row)
    return once


def _rows_of(rows: Sequence[_Row]) -> Rows:
    media = [row.media for row in rows]
    return Rows(
        tuple(row.id for row in rows),
        tuple(row.label for row in rows),
        lambda places: [media[i] for i in places],
    )


def _parts(root: Path, empty: list[str]) -> list[tuple[str, Path]]:
    """(part, folder) pairs. `train` is a split only if every folder is one: CIFAR-100 has a class of that name."""
    without: list[str] = []
    folders = _with_pictures(root, root, without)
    if not folders or not all(f.name.lower() in SPLIT_NAMES for f in folders):
        return [("all", root)]
    flat = [f for f in folders if not _subfolders(f)]
    if len(flat) == len(folders):
        return [("all", root)]
    if flat:  # ImageNet's validation pictures come so
        raise KeepsightError(
            f"folder {flat[0]} holds no class folders, unlike the split beside it; sort its pictures into one folder "
            "per class"
        )
    empty += without
    return [(SPLIT_NAMES[f.name.lower()], f) for f in folders]


def _subfolders(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if os.path.isdir(f) and not f.name.startswith("."))


def _class_folders(start: Path, root: Path, empty: list[str]) -> list[Path]:
    if not _subfolders(start):
        raise KeepsightError(
            f"folder {start} holds no class folders; put each class's pictures into one folder"
        )
    return _with_pictures(start, root, empty)


def _with_pictures(start: Path, root: Path, empty: list[str]) -> list[Path]:
    """The folders that hold pictures, at any depth; the others go to `empty`. A zip made on a Mac brings `__MACOSX`."""
    found = []
    for folder in _subfolders(start):
        if folder.name != MACOS and _holds_picture(folder):
            found.append(folder)
        else:
            empty.append(folder.relative_to(root).as_posix())
    return found


def _holds_picture(folder: Path) -> bool:
    return any(
        not file.startswith(".") and Path(file).suffix.lower() in SUFFIXES
        for _, _, files in _walk(folder)
        for file in files
    )


def _walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """As os.walk, in one order everywhere, without what is hidden."""
    for place, directories, files in os.walk(folder):
        directories[:] = sorted(d for d in directories if not d.startswith(".") and d != MACOS)
        yield place, directories, files


def _rows(root: Path, folders: list[Path], names: Mapping[str, str], passed_over: list[str]) -> Rows:
    images = []
    for folder in folders:
        _refuse_escape(root, folder)
        label = label_text(names.get(folder.name, _text(folder.name)))
        images += [(file, label) for file in _picture_files(root, folder, passed_over)]
    return _file_rows(root, images)


def _file_rows(root: Path, images: list[tuple[str, str]]) -> Rows:
    files = [root / image for image, _ in images]
    return Rows(
        tuple(_text(image) for image, _ in images),
        tuple(label for _, label in images),
        lambda places: [Media(path=files[i]) for i in places],
    )


def _text(name: str) -> str:
    """A file name as text: names need not be UTF-8, ids and labels must."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _picture_files(root: Path, folder: Path, passed_over: list[str]) -> list[str]:
    """Paths of one class's pictures relative to the root, sorted; what is no picture goes to `passed_over`."""
    found: list[str] = []
    for place, directories, files in _walk(folder):
        for name in [*directories, *files]:
            _refuse_escape(root, Path(place, name))
        for name in sorted(f for f in files if not f.startswith(".")):
            relative = Path(place, name).relative_to(root).as_posix()
            (found if Path(name).suffix.lower() in SUFFIXES else passed_over).append(relative)
    return found


def _refuse_escape(root: Path, path: Path) -> None:
    if os.path.islink(path) and not path.resolve().is_relative_to(root.resolve()):
        raise KeepsightError(
            f"{path} is a link that leads outside {root}; copy what it points to into the folder"
        )


def _class_names(root: Path, classes: str | Path | None, folders: list[str]) -> dict[str, str]:
    if classes is not None:
        return folder_names(Path(classes).expanduser(), folders)
    beside = next((root / name for name in BESIDE if os.path.isfile(root / name)), None)
    return {} if beside is None else folder_names(beside, folders)


def _distinct(root: Path, folders: list[str], names: Mapping[str, str]) -> dict[str, list[str]]:
    """Label -> its folders, numbers by value. Folder names that are one label by accident are a mistake in the data."""
    by_label: dict[str, list[str]] = {}
    written: dict[str, str] = {}
    for folder in sorted(set(folders), key=_natural):
        label = label_text(names.get(folder, _text(folder)))
        same = written.setdefault(label.casefold(), label)
        others = by_label.get(same, [])
        if others and not (label == same and folder in names and others[0] in names):
            raise KeepsightError(
                f"folder {root}: {others[0]!r} and {folder!r} are one label, {label!r}; merge them"
            )
        by_label[same] = [*others, folder]
    return by_label


def _merged(by_label: Mapping[str, list[str]]) -> list[str]:
    """ImageNet has two classes each of crane and maillot: an answer cannot tell them apart."""
    twice = [f"{label} ({', '.join(folders)})" for label, folders in by_label.items() if len(folders) > 1]
    return [f"{len(twice)} names stand for several classes, which are one here: {', '.join(twice)}."] * bool(
        twice
    )


def _require_words(root: Path, labels: Sequence[str]) -> None:
    """A model cannot be asked for `n02110341`."""
    nameless = [label for label in labels if WORDNET_ID.fullmatch(label)]
    if nameless:
        raise KeepsightError(
            f"folder {root}: {len(nameless)} class folders are named by WordNet ids; put classes.json beside them, "
            f'{{"{nameless[0]}": "name", ...}}, or give classes=, ImageNet\'s LOC_synset_mapping.txt'
        )


def _natural(name: str) -> tuple[int, int, str]:
    return (0, int(name), "") if name.isdecimal() else (1, 0, name)


def _ordered(known: Sequence[str], found: Sequence[str]) -> tuple[str, ...]:
    """Known labels first, in their order, then whatever else was found."""
    return tuple(label for label in known if label in found) + tuple(x for x in found if x not in known)


def _noun(labels: Sequence[str]) -> str:
    return "number" if all(label.isdecimal() for label in labels) else "object"


def _notes(empty: list[str], passed_over: list[str]) -> list[str]:
    found = [(empty, "folders hold no pictures and are no classes"), (passed_over, "files are no pictures")]
    return [f"{len(names)} {what}: {_named(names)}." for names, what in found if names]


def _named(names: list[str]) -> str:
    return ", ".join(map(_text, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")


def _class_list(path: Path, classes: str | Path | None) -> tuple[str, ...]:
    beside = (
        Path(classes).expanduser() if classes is not None else path.with_name(f"{path.stem}_classes.json")
    )
    if classes is None and not os.path.isfile(beside):
        return ()
    return tuple(dict.fromkeys(class_list(beside)))


def _part_of(row: Any) -> str:
    """The split that a row names, "all" if it names none, "" if that cannot be told."""
    if not isinstance(row, dict):
        return ""
    part = str(row.get("split") or "all").lower()
    return part if part == "all" else SPLIT_NAMES.get(part, "")


def _fields(row: Any, known: Sequence[str]) -> tuple[str, str]:
    """(image, label) of one row."""
    if isinstance(row, KeepsightError):
        raise row
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("image", "label")):
        raise KeepsightError('expected {"image": "...", "label": "...", "split": "train" or "test"}')
    if not _part_of(row):
        raise KeepsightError(f"split {row['split']!r:.40} is none of {', '.join(SPLIT_NAMES)}")
    label = label_text(row["label"])
    if not label:
        raise KeepsightError("the label is empty")
    if known and label not in known:
        raise KeepsightError(f"label {label!r:.80} is not in the class list")
    return row["image"], label
