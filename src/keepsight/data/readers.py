"""One door to every labelled picture set that is not drawn here."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from keepsight.data.class_names import class_list
from keepsight.data.confine import RemoteSource
from keepsight.data.folders import read_folder, read_jsonl
from keepsight.data.json_rows import archive_kind
from keepsight.data.labelled import LabelledSet
from keepsight.data.tabular import read_dataset, read_parquet
from keepsight.types import KeepsightError

__all__ = ["is_class_folder", "read_dataset", "read_folder", "read_jsonl", "read_parquet", "read_set"]


def read_set(
    ref: str | Path,
    labels: Sequence[str] = (),
    *,
    classes: str | Path | None = None,
    image_root: str | Path | None = None,
    remote: RemoteSource | None = None,
) -> LabelledSet:
    """A labelled set from whatever `ref` is.

    A folder of class folders, a parquet file or a folder of them, a directory written by `datasets.save_to_disk`,
    JSON lines of `{"image", "label", "split"}`, or `hf:org/name` for the hub. Nothing else touches the network.

    Args:
        ref: path, or hub id with `hf:` in front.
        labels: the set's known labels in data-set order; they name class numbers and fix the order.
        classes: a file of class names, where `labels` are not known: for class folders see
            `class_names.folder_names`, for everything else a JSON list in class order.
        image_root: of JSON lines, the folder that picture paths start from (default: the file's).
        remote: what fetches pictures that rows give as http(s) addresses (default: each is an error).

    Raises:
        KeepsightError: nothing there, or nothing that can be read.
    """
    text = str(ref)
    if text.startswith("hf:"):
        return read_dataset(text, _known(labels, classes), remote=remote)
    path = Path(text).expanduser()
    if not os.path.exists(path):
        hint = (
            f"; for a data set on the hub write hf:{text}" if re.fullmatch(r"[\w.-]+/[\w.-]+", text) else ""
        )
        raise KeepsightError(f"no file or folder {text}{hint or '; check the path'}")
    if os.path.isfile(path):
        return _read_file(path, labels, classes, image_root, remote)
    if image_root is not None:
        raise KeepsightError(f"image_root is for JSON lines; {path} is a folder, whose pictures lie in it")
    if os.path.isfile(path / "dataset_dict.json") or os.path.isfile(path / "dataset_info.json"):
        return read_dataset(path, _known(labels, classes), remote=remote)
    if any(path.rglob("*.parquet")):
        return read_parquet(path, _known(labels, classes), remote=remote)
    return read_folder(path, labels, classes)


def _known(labels: Sequence[str], classes: str | Path | None) -> Sequence[str]:
    return labels or (() if classes is None else class_list(Path(classes).expanduser()))


def is_class_folder(path: Path) -> bool:
    """Whether a directory holds folders, and no table or JSON of rows."""
    folders = any(os.path.isdir(child) for child in path.iterdir())
    return folders and not any(path.glob("*.json*")) and not any(path.rglob("*.parquet"))


def _read_file(
    path: Path,
    labels: Sequence[str],
    classes: str | Path | None,
    image_root: str | Path | None,
    remote: RemoteSource | None,
) -> LabelledSet:
    if path.suffix == ".parquet":
        return read_parquet(path, _known(labels, classes), remote=remote)
    if path.suffix in (".jsonl", ".json"):
        return read_jsonl(path, classes, image_root, labels, remote=remote)
    with path.open("rb") as file:
        kind = archive_kind(file.read(512))
    if kind is not None:
        raise KeepsightError(
            f"{path} is an archive ({kind}), which is never opened; unpack it and give the folder"
        )
    raise KeepsightError(f"{path} is no set of pictures; give a folder, a .parquet or a .jsonl file")
