"""The one place where encoded bytes become pixels, for models and reports alike.

Pictures come from strangers, so only formats on the allow-list are opened, nothing larger than `MAX_PIXELS` is
decoded, and a file that ends too early is an error, not a half-grey picture.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, TypeVar

from keepsight.types import KeepsightError, Media

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")

__all__ = ["FORMATS", "MAX_BYTES", "MAX_PIXELS", "SUFFIXES", "decode", "picture_name", "suffix_of"]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
SUFFIXES = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)
MAX_PIXELS = 64_000_000  # 8000 x 8000: larger than any camera picture a VLM is shown, 192 MB once decoded
MAX_BYTES = 256_000_000  # of the encoded file

_ORIENTATION_TAG = 0x0112  # EXIF 2.3, section 4.6.4
_CURE = "remove or replace the file (" + ", ".join(FORMATS) + " can be read)"


def decode(media: Media) -> Image:
    """The picture as RGB, upright, `mode == "RGB"`; of an animation or a stack the first frame.

    Transparent pixels are laid on white. 16-bit grey is scaled to 8 bits.

    Raises:
        KeepsightError: not a picture, a format off the allow-list, truncated, empty, or too large to decode.
    """
    return _named(media, lambda data: _to_rgb(_upright(_load(data))))


def picture_name(media: Media) -> str:
    """How an error names a picture: its path, or the start of its digest when it only lives in memory."""
    return str(media.path) if media.path is not None else f"(in memory, sha256 {media.sha256[:12]})"


def suffix_of(media: Media) -> str:
    """`.png`, `.jpg`, ...: the file suffix that fits the content. Raises KeepsightError when it is no picture."""
    found = _named(media, lambda data: str(_open(data).format))
    return {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif"}.get(found, f".{found.lower()}")


def _named(media: Media, work: Callable[[bytes], T]) -> T:
    """`work` on the picture's bytes; whatever it raises becomes one line that names the picture."""
    name = picture_name(media)
    data = _read_capped(media, name)
    try:
        return work(data)
    except KeepsightError as error:
        raise KeepsightError(f"cannot decode picture {name}: {error}") from error
    except Exception as error:  # decoders raise anything from SyntaxError to struct.error on hostile bytes
        cause = " ".join(str(error).split()) or type(error).__name__
        raise KeepsightError(f"cannot decode picture {name}: {cause}; {_CURE}") from error


def _read_capped(media: Media, name: str) -> bytes:
    if media.kind != "image":
        raise KeepsightError(f"cannot decode {name}: it is {media.kind}, not an image; give pictures only")
    if media.path is not None and media.path.is_file() and media.path.stat().st_size > MAX_BYTES:
        raise KeepsightError(f"cannot decode picture {name}: larger than {MAX_BYTES:,} bytes; shrink it")
    data = media.read()
    if not data:
        raise KeepsightError(f"cannot decode picture {name}: the file is empty; {_CURE}")
    return data


def _load(data: bytes) -> Image:
    """Checks the size before a pixel is decoded, then decodes frame 0."""
    image = _open(data)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise KeepsightError(f"{width} x {height} is more than {MAX_PIXELS:,} pixels; shrink it")
    image.load()
    return image


def _open(data: bytes) -> Image:
    """Reads the header only. The content decides the format, never the suffix."""
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise KeepsightError(f"more than {MAX_PIXELS:,} pixels; shrink it") from error
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


def _to_rgb(image: Image) -> Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _deep_grey_to_8_bits(image)
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
    """16-bit grey (0..65535) and float grey (0..1) to 8 bits; Pillow's own conversion would clip at 255."""
    import numpy as np
    from PIL import Image

    grey = np.asarray(image)  # [h, w]
    full = 1.0 if image.mode == "F" else 65535.0
    if not np.isfinite(grey).all() or grey.min() < 0 or grey.max() > full:
        raise KeepsightError(
            f"{image.mode} pixels outside 0..{full:g} have no known range; save it with 8 or 16 bits"
        )
    return Image.fromarray(np.rint(grey / full * 255.0).astype(np.uint8))
