"""Pictures, sounds and films, stored once by content."""

from __future__ import annotations

import hashlib
import os
from functools import cached_property, lru_cache
from pathlib import Path

from keepsight.store.files import replace_file
from keepsight.store.schema import MediaRow
from keepsight.types import KeepsightError, Media, MediaKind

__all__ = ["StoredMedia", "media_of", "media_row", "put_media"]

# First bytes of the encodings in use; the name's ending is for people and browsers, nothing reads it back.
_ENDINGS: dict[bytes, str] = {
    b"\x89PNG": "png",
    b"\xff\xd8\xff": "jpg",
    b"GIF8": "gif",
    b"BM": "bmp",
    b"II*\x00": "tiff",
    b"MM\x00*": "tiff",
    b"RIFF": "riff",
}
_RIFF_ENDINGS: dict[bytes, str] = {b"WEBP": "webp", b"WAVE": "wav", b"AVI ": "avi"}


def _ending(data: bytes) -> str:
    if data[4:8] == b"ftyp":
        return "mp4"
    ending = next((name for magic, name in _ENDINGS.items() if data.startswith(magic)), "bin")
    return _RIFF_ENDINGS.get(data[8:12], "bin") if ending == "riff" else ending


def put_media(root: Path, media: Media) -> str:
    """Stores the bytes below `root/media` unless they are there, and returns the file's name.

    Raises KeepsightError when the bytes cannot be read, or are no longer those that were asked about.
    """
    return _put(root, media, media.read())


def _put(root: Path, media: Media, data: bytes) -> str:
    if hashlib.sha256(data).hexdigest() != media.sha256:
        raise KeepsightError(f"{media.kind} {media.path} was changed while it was in use; run again")
    path = root / "media" / f"{media.sha256}.{_ending(data)}"
    # A size that differs is what a power cut leaves of a file whose name was already on the disk.
    if not os.path.exists(path) or path.stat().st_size != len(data):
        replace_file(path, data, durable=False)
    return path.name


def media_row(root: Path, media: Media) -> MediaRow:
    """Stores `media` and returns how a row names it; an unreadable file is named by where it was looked for."""
    try:
        data, sha256 = media.read(), media.sha256
    except KeepsightError:
        return MediaRow(kind=media.kind, sha256=None, path=media.where)
    return MediaRow(kind=media.kind, sha256=sha256, file=_put(root, media, data))


class StoredMedia(Media):
    """A medium of the store. Its file is named by its content, so it need not be read to be identified."""

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the encoded bytes, 64 hex digits."""
        assert self.path is not None
        return self.path.stem

    def read(self) -> bytes:
        """The encoded bytes. Raises KeepsightError when the file is not what its name says: damaged, or a link."""
        data = super().read()
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise KeepsightError(
                f"{self.path} is damaged: its content is not that of its name; run the audit again"
            )
        return data


def media_of(root: Path, row: MediaRow) -> Media:
    """The medium that `row` names, read from the store when asked for.

    What could not be read then cannot be read now: a run directory from elsewhere must not point outside its store.
    """
    if row.file is None:
        return Media(kind=row.kind, path=root / "media" / f"unreadable-{Path(str(row.path)).name}")
    return _stored(root, row.kind, row.file)


@lru_cache(maxsize=65536)  # all checkpoints of an audit are asked about the same pictures
def _stored(root: Path, kind: MediaKind, file: str) -> StoredMedia:
    return StoredMedia(kind=kind, path=root / "media" / file)
