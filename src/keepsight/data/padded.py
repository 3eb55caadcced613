"""Pictures laid on a square, centred, as LLaVA's training pads them: nothing is cropped and nothing is stretched."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

from keepsight.data.pictures import decode
from keepsight.types import Media

__all__ = ["PADDING", "Padded", "padded"]

# The mean colour of CLIP's pictures (0.481, 0.458, 0.408) in 8 bits, which LLaVA pads with.
PADDING = (122, 116, 104)


@dataclass(frozen=True, eq=False)
class Padded(Media):
    """A picture on a square of its longer side. The file is read and padded when the bytes are asked for."""

    def read(self) -> bytes:
        """The padded picture as PNG, or a square one as it is. Raises KeepsightError when it cannot be read."""
        from PIL import Image

        original = Media(self.kind, self.data, self.path)
        picture = decode(original)
        side = max(picture.size)
        if picture.size == (side, side):
            return original.read()
        square = Image.new("RGB", (side, side), PADDING)
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        file = BytesIO()
        square.save(file, "PNG", compress_level=1)
        return file.getvalue()


def padded(media: Media) -> Media:
    """`media` on a square; what cannot be read as it is (a subclass with its own reading) stays as it is."""
    return Padded(media.kind, media.data, media.path) if type(media) is Media else media
