"""A labelled picture set from whatever names it: what every classification task starts from."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from keepsight.data.drawn import ALL_SETS
from keepsight.data.labelled import LabelledPicture, PictureSet
from keepsight.data.published import PUBLISHED, published_set
from keepsight.data.readers import read_set
from keepsight.data.remote import RemotePictures
from keepsight.types import KeepsightError

__all__ = ["names_a_set", "picture_set", "require_choice", "sample_id"]


def picture_set(
    pictures: str | Path | PictureSet,
    path: str | Path | None = None,
    *,
    classes: str | Path | None = None,
    image_root: str | Path | None = None,
    remote_images: bool = False,
) -> PictureSet:
    """The set that a task was asked for.

    Args:
        pictures: a drawn set's name, one of `PUBLISHED` (with `path`), the path of a folder of class folders, a parquet
            file, JSON lines or a data-set directory, or a set itself.
        path: where a published set lies; with any other name, where the set of that name lies.
        classes, image_root: see `readers.read_set`.
        remote_images: fetch pictures that rows give as http(s) addresses, under the rules of `data.remote`.

    Raises:
        KeepsightError: an unknown set, or pictures that cannot be read.
    """
    if not isinstance(pictures, (str, Path)):
        return pictures
    name, remote = str(pictures), RemotePictures() if remote_images else None
    if name in PUBLISHED:
        return published_set(name, path, classes=classes, image_root=image_root, remote=remote)
    if path is not None:
        found = read_set(path, classes=classes, image_root=image_root, remote=remote)
        return replace(found, name=name)
    if name in ALL_SETS:
        return ALL_SETS[name]
    return read_set(name, classes=classes, image_root=image_root, remote=remote)


def require_choice(
    found: PictureSet, pictures: str | Path | PictureSet, path: str | Path | None = None
) -> None:
    """Refuses a set whose labels leave nothing to choose from; `pictures` and `path` as they were asked for."""
    if len(found.labels) > 1:
        return
    where = path or (pictures if isinstance(pictures, (str, Path)) else found.name)
    held = f"one class ({found.labels[0]!r})" if found.labels else "no class"
    raise KeepsightError(
        f"{where} holds {held}, and a question with a list of labels needs at least two to choose from; put the pictures "
        "of each class into a folder of its own and give the folder above them"
    )


def names_a_set(text: str) -> bool:
    """Whether `text` can name a set: a drawn or published one, a place, or a hub id with `hf:` in front."""
    return (
        text in ALL_SETS
        or text in PUBLISHED
        or text.startswith("hf:")
        or os.path.exists(Path(text).expanduser())
    )


def sample_id(set_name: str, picture: LabelledPicture) -> str:
    """The id of a question on a picture: the picture's own, below the set's name."""
    return picture.id if picture.id.startswith(f"{set_name}/") else f"{set_name}/{picture.id}"
