"""Readable names of classes that data sets number or code: synset folders (`n01440764`), lists in class order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keepsight.data.json_rows import read_json, text_bytes
from keepsight.data.labelled import label_text
from keepsight.types import KeepsightError

__all__ = ["BESIDE", "WORDNET_ID", "class_list", "folder_names"]

WORDNET_ID = re.compile(r"n\d{8}")
# Looked for beside class folders, in this order; the text files are those that come with ImageNet.
BESIDE = ("classes.json", "LOC_synset_mapping.txt", "words.txt")
_SYNSET_LINE = re.compile(r"(n\d{8})[ \t]+(\S.*)")


def class_list(path: str | Path) -> tuple[str, ...]:
    """The names of a JSON list in class order, in text form. A name that stands twice is kept twice: places count.

    Raises:
        KeepsightError: no file, or no list of names.
    """
    names = read_json(Path(path))
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise KeepsightError(f"{path} must be a JSON list of class names")
    return tuple(label_text(name) for name in names)


def folder_names(path: Path, folders: Sequence[str]) -> dict[str, str]:
    """Folder name -> class name out of a file.

    The file is a JSON object (`{"n01440764": "tench"}`, or torchvision's `{"0": ["n01440764", "tench"]}`), lines of a
    synset and its synonyms (ImageNet's `LOC_synset_mapping.txt` and `words.txt`; the first synonym is the name), or a
    JSON list of as many names as there are synset folders, which stand in the order of the sorted synsets.

    Raises:
        KeepsightError: the file is none of these.
    """
    if path.suffix != ".json":
        return _synset_lines(path)
    names = read_json(path)
    if isinstance(names, list):
        return _in_synset_order(path, class_list(path), folders)
    if isinstance(names, Mapping):
        pairs = [_pair(folder, name) for folder, name in names.items()]
        if all(isinstance(name, str) for _, name in pairs):
            return dict(pairs)
    raise KeepsightError(f"{path} must map folder names to class names")


def _pair(folder: str, name: Any) -> tuple[str, Any]:
    """torchvision's class index numbers the classes and gives (synset, name)."""
    return tuple(name) if isinstance(name, list) and len(name) == 2 else (folder, name)


def _in_synset_order(path: Path, names: Sequence[str], folders: Sequence[str]) -> dict[str, str]:
    synsets = sorted(set(folders))
    if len(names) != len(synsets) or not all(WORDNET_ID.fullmatch(folder) for folder in synsets):
        raise KeepsightError(
            f"{path} lists {len(names)} names for {len(synsets)} class folders; a list without folder names needs one "
            "name for each synset folder (n01440764, ...), in sorted order"
        )
    return dict(zip(synsets, names))


def _synset_lines(path: Path) -> dict[str, str]:
    try:
        lines = text_bytes(path).decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise KeepsightError(f"{path} is not UTF-8 (byte {error.start + 1})") from error
    names: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        found = _SYNSET_LINE.fullmatch(line.strip())
        if found is None:
            raise KeepsightError(f"{path}, line {number}: expected a synset and its names (n01440764 tench)")
        names[found[1]] = found[2].partition(",")[0].strip()
    return names
