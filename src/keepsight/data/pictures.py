"""The one place where encoded bytes become pixels, for models and reports alike.

Pictures come from strangers, so only formats on the allow-list are opened, nothing above the limits (`keepsight.limits`)
is decoded, and a file that ends too early is an error, not a half-grey picture.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, TypeVar

from keepsight.limits import limit
from keepsight.types import KeepsightError, Media

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")

__all__ = ["FORMATS", "SUFFIXES", "decode", "size_of", "suffix_of"]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
SUFFIXES = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)

_ORIENTATION_TAG = 0x0112  # EXIF 2.3, section 4.6.4
# JPEG (ITU-T T.81, annex B): within coded data 0xFF is followed by 0 or a restart marker, which are no segments.
_SEGMENT = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
_START_OF_SCAN, _END_OF_IMAGE = b"\xda", b"\xd9"
_SHRINK = "shrink it, or set KEEPSIGHT_MAX_PIXELS"
_CURE = "remove or replace the file (" + ", ".join(FORMATS) + " can be read)"


def decode(media: Media) -> Image:
    """The picture as RGB, upright, `mode == "RGB"`; of an animation or a stack the first frame.

    Transparent pixels are laid on white. 16-bit grey is scaled to 8 bits.

    Raises:
        KeepsightError: not a picture, a format off the allow-list, truncated, empty, or too large to decode.
    """
    return _named(media, lambda data: _to_rgb(_upright(_load(data))))


def suffix_of(media: Media) -> str:
    """`.png`, `.jpg`, ...: the file suffix that fits the content. Raises KeepsightError when it is no picture."""
    found = _named(media, lambda data: str(_open(data).format))
    return {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif"}.get(found, f".{found.lower()}")


def size_of(media: Media) -> tuple[int, int]:
    """Width and height of the upright picture, from its header. Raises KeepsightError when it is no picture."""
    return _named(media, lambda data: _upright_size(_open(data)))


def _named(media: Media, work: Callable[[bytes], T]) -> T:
    """`work` on the picture's bytes; whatever it raises becomes one line that names the picture."""
    if media.kind != "image":
        raise KeepsightError(
            f"cannot decode {media.where}: it is {media.kind}, not an image; give pictures only"
        )
    data = media.read()
    try:
        if not data:
            raise KeepsightError(f"the file is empty; {_CURE}")
        return work(data)
    except KeepsightError as error:
        raise KeepsightError(f"cannot decode picture {media.where}: {error}") from error
    except Exception as error:  # decoders raise anything from SyntaxError to struct.error on hostile bytes
        cause = " ".join(str(error).split()) or type(error).__name__
        raise KeepsightError(f"cannot decode picture {media.where}: {cause}; {_CURE}") from error


def _load(data: bytes) -> Image:
    """Checks the size before a pixel is decoded, then decodes frame 0."""
    image = _open(data)
    width, height = image.size
    if width * height > (most := limit("MAX_PIXELS")):
        raise KeepsightError(f"{width} x {height} is more than {most:,} pixels; {_SHRINK}")
    if image.format in ("JPEG", "MPO") and _scans(data) > (most := limit("MAX_SCANS")):
        raise KeepsightError(f"more than {most} passes over one picture; save it again")
    image.load()
    return image


def _scans(data: bytes) -> int:
    """How often a JPEG goes over all its pixels: a few bytes per pass can keep a decoder busy for hours."""
    place, count = 2, 0
    while (found := _SEGMENT.search(data, place)) and found[1] != _END_OF_IMAGE:
        count += found[1] == _START_OF_SCAN
        place = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    return count


def _open(data: bytes) -> Image:
    """Reads the header only. The content decides the format, never the suffix."""
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise KeepsightError(f"more than {limit('MAX_PIXELS'):,} pixels; {_SHRINK}") from error
    except UnidentifiedImageError as error:
        raise KeepsightError(f"not a picture in a known format; {_CURE}") from error


def _upright(image: Image) -> Image:
    """Applies the EXIF orientation. Broken EXIF is not a broken picture: it counts as upright."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except Exception:  # the EXIF parser has no closed set of errors either
        return image
    return image.transpose(turns[orientation]) if orientation in turns else image


def _upright_size(image: Image) -> tuple[int, int]:
    try:
        turned = image.getexif().get(_ORIENTATION_TAG) in (5, 6, 7, 8)
    except Exception:  # as in `_upright`
        turned = False
    width, height = image.size
    return (height, width) if turned else (width, height)


def _to_rgb(image: Image) -> Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_grey_to_8_bits(image).convert("RGB")
    if image.mode in ("La", "RGBa"):  # premultiplied alpha converts only to its straight form
        image = image.convert(image.mode.upper())
    if "transparency" in image.info or image.mode in ("LA", "PA", "RGBA"):
        return _on_white(image.convert("RGBA"))
    return image.convert("RGB")


def _on_white(image: Image) -> Image:
    from PIL import Image

    sheet = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(sheet, image).convert("RGB")


def _deep_grey_to_8_bits(image: Image) -> Image:
    """16-bit grey (0..65535) and float grey (0..1) to 8 bits; Pillow's own conversion would clip at 255.

    The one grey that a PNG declares transparent lies on white, as everywhere.
    """
    import numpy as np
    from PIL import Image

    deep = np.asarray(image)  # [h, w]
    full = 1.0 if image.mode == "F" else 65535.0
    if not np.isfinite(deep).all() or deep.min() < 0 or deep.max() > full:
        raise KeepsightError(
            f"{image.mode} pixels outside 0..{full:g} have no known range; save it with 8 or 16 bits"
        )
    # 65535 = 255 * 257, and 257 is odd: adding half of it rounds to nearest without a tie and without floats
    grey = np.rint(deep * 255.0) if image.mode == "F" else (deep.astype(np.int32) + 128) // 257
    if isinstance(transparent := image.info.get("transparency"), int):
        grey = np.where(deep == transparent, 255, grey)
    return Image.fromarray(grey.astype(np.uint8))
