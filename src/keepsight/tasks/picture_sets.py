"""A labelled picture set from whatever names it: what every classification task starts from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from keepsight.data.drawn import ALL_SETS
from keepsight.data.labelled import PictureSet
from keepsight.data.published import PUBLISHED, published_set
from keepsight.data.readers import read_set
from keepsight.data.remote import RemotePictures

__all__ = ["picture_set"]


def picture_set(
    pictures: str | Path | PictureSet, path: str | Path | None = None, *, remote_images: bool = False
) -> PictureSet:
    """The set that a task was asked for; arguments as for `emt`.

    Raises:
        KeepsightError: an unknown set, or pictures that cannot be read.
    """
    if not isinstance(pictures, (str, Path)):
        return pictures
    name, remote = str(pictures), RemotePictures() if remote_images else None
    if name in PUBLISHED:
        return published_set(name, path, remote=remote)
    if path is not None:
        return replace(read_set(path, remote=remote), name=name)
    return ALL_SETS[name] if name in ALL_SETS else read_set(name, remote=remote)
