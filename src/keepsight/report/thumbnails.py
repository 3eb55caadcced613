"""Pictures small enough to live inside a page, each embedded once however often it is shown."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING

from keepsight.types import KeepsightError, Media

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["LONGEST_SIDE", "Album", "data_uri"]

LONGEST_SIDE = 160  # pixels; what a card shows is rarely larger
_LOSSLESS_BYTES = 12_000  # a photograph stored without loss is several times this at 160 pixels


def data_uri(media: Media, side: int = LONGEST_SIDE) -> str:
    """The picture as a data URI: PNG when that is small, else JPEG, at most `side` pixels wide and high.

    Always encoded anew, so that nothing of the file's metadata (place, camera, author) reaches the page.

    Raises:
        KeepsightError: not a picture that can be decoded.
    """
    from keepsight.data.pictures import decode

    image = decode(media)
    if max(image.size) > side:
        image.thumbnail((side, side))
    data, kind = _encode(image, "PNG", optimize=True), "png"
    if len(data) > _LOSSLESS_BYTES:
        data, kind = _encode(image, "JPEG", quality=80, optimize=True), "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _encode(image: Image, form: str, **settings: object) -> bytes:
    data = BytesIO()
    image.save(data, form, **settings)
    return data.getvalue()


@dataclass
class Album:
    """The pictures of a page in order of arrival. `uris[i]` is "" if one cannot be shown; `notes[i]` says why."""

    side: int = LONGEST_SIDE  # pixels
    uris: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Characters that the embedded pictures take."""
        return sum(map(len, self.uris))

    def __contains__(self, media: Media) -> bool:
        """Whether a picture is embedded already."""
        try:
            return media.sha256 in self._places
        except KeepsightError:
            return False

    def add(self, media: Media) -> int:
        """The place of a picture in the album, embedding it when its bytes are new."""
        try:
            key = media.sha256
        except KeepsightError as error:
            return self._append(f"unreadable {len(self.uris)}", "", str(error))
        if key in self._places:
            return self._places[key]
        try:
            return self._append(key, data_uri(media, self.side), "")
        except KeepsightError as error:
            return self._append(key, "", str(error))

    def _append(self, key: str, uri: str, note: str) -> int:
        self._places[key] = len(self.uris)
        self.uris.append(uri)
        self.notes.append(note)
        return self._places[key]
