"""One door to every labelled picture set that is not drawn here."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from keepsight.data.confine import RemoteSource
from keepsight.data.folders import read_folder, read_jsonl
from keepsight.data.json_rows import archive_kind
from keepsight.data.labelled import LabelledSet
from keepsight.data.tabular import read_dataset, read_parquet
from keepsight.types import KeepsightError

__all__ = ["is_class_folder", "read_dataset", "read_folder", "read_jsonl", "read_parquet", "read_set"]


def read_set(
    ref: str | Path, labels: Sequence[str] = (), *, remote: RemoteSource | None = None
) -> LabelledSet:
    """A labelled set from whatever `ref` is.

    A folder of class folders, a parquet file or a folder of them, a directory written by `datasets.save_to_disk`,
    JSON lines of `{"image", "label", "split"}`, or `hf:org/name` for the hub. Nothing else touches the network.

    Args:
        ref: path, or hub id with `hf:` in front.
        labels: the set's known labels in data-set order; they name class numbers and fix the order.
        remote: what fetches pictures that rows give as http(s) addresses (default: each is an error).

    Raises:
        KeepsightError: nothing there, or nothing that can be read.
    """
    text = str(ref)
    if text.startswith("hf:"):
        return read_dataset(text, labels, remote=remote)
    path = Path(text).expanduser()
    if not os.path.exists(path):
        hint = (
            f"; for a data set on the hub write hf:{text}" if re.fullmatch(r"[\w.-]+/[\w.-]+", text) else ""
        )
        raise KeepsightError(f"no file or folder {text}{hint or '; check the path'}")
    if os.path.isfile(path):
        return _read_file(path, labels, remote)
    if os.path.isfile(path / "dataset_dict.json") or os.path.isfile(path / "dataset_info.json"):
        return read_dataset(path, labels, remote=remote)
    if any(path.rglob("*.parquet")):
        return read_parquet(path, labels, remote=remote)
    return read_folder(path, labels)


def is_class_folder(path: Path) -> bool:
    """Whether a directory holds folders, and no table or JSON of rows."""
    folders = any(os.path.isdir(child) for child in path.iterdir())
    return folders and not any(path.glob("*.json*")) and not any(path.rglob("*.parquet"))


def _read_file(path: Path, labels: Sequence[str], remote: RemoteSource | None) -> LabelledSet:
    if path.suffix == ".parquet":
        return read_parquet(path, labels, remote=remote)
    if path.suffix in (".jsonl", ".json"):
        return read_jsonl(path, labels=labels, remote=remote)
    with path.open("rb") as file:
        kind = archive_kind(file.read(512))
    if kind is not None:
        raise KeepsightError(
            f"{path} is an archive ({kind}), which is never opened; unpack it and give the folder"
        )
    raise KeepsightError(f"{path} is no set of pictures; give a folder, a .parquet or a .jsonl file")
