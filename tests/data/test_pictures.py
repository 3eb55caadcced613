"""Every accepted format and mode arrives as upright RGB; everything else is one named error."""

import os
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keepsight.data.pictures import FORMATS, decode, size_of
from keepsight.types import KeepsightError, Media

RED_GREEN = np.zeros((8, 12, 3), np.uint8)
RED_GREEN[:, :6] = (250, 10, 10)
RED_GREEN[:, 6:] = (10, 250, 10)


def encoded(image, format="PNG", **options):
    buffer = BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def pixels(data):
    image = decode(Media(data=data))
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize("format", FORMATS)
def test_every_listed_format_is_read(format):
    got = pixels(encoded(Image.fromarray(RED_GREEN), format))
    assert got.shape == (8, 12, 3)
    assert np.abs(got[:, [0, 11]].astype(int) - RED_GREEN[:, [0, 11]]).max() < 40  # JPEG and WEBP are lossy


@pytest.mark.parametrize("format", ["TGA", "ICO", "PCX", "SGI"])
def test_formats_off_the_list_are_refused(format):
    data = encoded(Image.fromarray(RED_GREEN), format)
    with pytest.raises(KeepsightError, match=r"not a picture in a known format.*PNG, JPEG"):
        decode(Media(data=data))


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_ends_early_is_refused(format):
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), format)
    for share in (0.05, 0.5, 0.9):
        with pytest.raises(KeepsightError, match="cannot decode picture"):
            decode(Media(data=data[: int(len(data) * share)]))


@pytest.mark.parametrize(
    "data", [b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\x89PNG\r\n\x1a\n", bytes(64)]
)
def test_text_and_rubbish_are_refused(data):
    with pytest.raises(KeepsightError, match=r"cannot decode picture \(in memory, sha256 [0-9a-f]{12}\)"):
        decode(Media(data=data))


def test_empty_and_missing_files_are_named(tmp_path):
    empty = tmp_path / "empty.png"
    empty.touch()
    with pytest.raises(KeepsightError, match=r"empty\.png: the file is empty; remove or replace"):
        decode(Media(path=empty))
    with pytest.raises(KeepsightError, match=r"cannot read image .*gone\.png"):
        decode(Media(path=tmp_path / "gone.png"))
    with pytest.raises(KeepsightError, match="it is audio"):
        decode(Media(kind="audio", data=b"x"))


def test_the_content_decides_not_the_suffix(tmp_path):
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(encoded(Image.fromarray(RED_GREEN)))
    assert np.array_equal(np.asarray(decode(Media(path=path))), RED_GREEN)
    assert Media(path=path).where == str(path)


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("1", 1, 255),
        ("L", 90, 90),
        ("LA", (90, 255), 90),
        ("LA", (90, 0), 255),
        ("RGBA", (90, 90, 90, 0), 255),
        ("RGBA", (0, 0, 0, 51), 204),
        ("I;16", 32768, 128),
        ("I;16", 65535, 255),
    ],
)
def test_grey_and_transparent_modes(mode, value, expected):
    assert (pixels(encoded(Image.new(mode, (3, 2), value))) == expected).all()


def test_palette_with_a_transparent_entry_lies_on_white():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.putpixel((1, 1), 1)
    got = pixels(encoded(image, transparency=0))
    assert got[0, 0].tolist() == [255, 255, 255]
    assert got[1, 1].tolist() == [0, 0, 200]


def test_colour_key_transparency_lies_on_white():
    got = pixels(encoded(Image.new("RGB", (2, 2), (1, 2, 3)), transparency=(1, 2, 3)))
    assert (got == 255).all()


def test_cmyk_jpeg_and_float_tiff():
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red = pixels(encoded(cmyk, "JPEG", quality=95))[4, 4]
    assert red[0] > 200 and red[1] < 60 and red[2] < 60
    assert (pixels(encoded(Image.new("F", (2, 2), 0.5), "TIFF")) == 128).all()
    with pytest.raises(KeepsightError, match=r"outside 0\.\.1"):
        decode(Media(data=encoded(Image.new("F", (2, 2), 7.0), "TIFF")))
    with pytest.raises(KeepsightError, match=r"outside 0\.\.65535"):
        decode(Media(data=encoded(Image.new("I", (2, 2), -1), "TIFF")))


def test_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("blue", "yellow")]
    got = pixels(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert got[0, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    got = pixels(data)
    assert size_of(Media(data=data)) == (got.shape[1], got.shape[0])
    assert np.array_equal(got[:, :, 0], upright)


def test_nonsense_orientation_counts_as_upright():
    exif = Image.Exif()
    exif[0x0112] = 77
    assert np.array_equal(pixels(encoded(Image.fromarray(RED_GREEN), exif=exif)), RED_GREEN)


def _png_header_only(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(9_000, 8_000), (10_000, 10_000), (100_000, 100_000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bombs_are_refused_before_decoding(size):
    with pytest.raises(KeepsightError, match="more than 64,000,000 pixels"):
        decode(Media(data=_png_header_only(*size)))


def test_a_file_over_the_byte_cap_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "long.png"
    path.write_bytes(encoded(Image.fromarray(RED_GREEN)))
    monkeypatch.setenv("KEEPSIGHT_MAX_BYTES", "10")
    with pytest.raises(KeepsightError, match="larger than 10 bytes"):
        decode(Media(path=path))


def test_an_opened_pipe_or_an_endless_file_keeps_nobody_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for name, reason in (("pipe.png", "not a regular file"), ("zero.png", "not a regular file")):
        for work in (decode, lambda media: media.sha256):
            with pytest.raises(KeepsightError, match=rf"cannot read image .*{name}: {reason}"):
                work(Media(path=tmp_path / name))


def test_a_file_without_a_size_is_not_read_to_its_end():
    with pytest.raises(KeepsightError, match="it grew while it was read"):
        Media(path=Path("/proc/self/status")).read()


def test_the_size_of_a_file_is_looked_at_before_its_digest_is_made(tmp_path, monkeypatch):
    path = tmp_path / "long.png"
    with path.open("wb") as file:
        file.truncate(300_000_000)  # a sparse file takes no space
    with pytest.raises(
        KeepsightError, match="larger than 256,000,000 bytes; shrink it, or set KEEPSIGHT_MAX_BYTES"
    ):
        _ = Media(path=path).sha256


def _with_scans(count):
    data = encoded(Image.fromarray(RED_GREEN), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * count + b"\xff\xd9"


def test_a_jpeg_that_goes_over_its_pixels_for_ever_is_refused(monkeypatch):
    assert decode(Media(data=_with_scans(20))).size == (12, 8)
    with pytest.raises(KeepsightError, match="more than 100 passes over one picture; save it again"):
        decode(Media(data=_with_scans(200)))
    # bytes that look like scans inside metadata or behind the picture are none
    plain = encoded(Image.fromarray(RED_GREEN), "JPEG")
    comment = b"\xff\xfe" + (2 + 4000).to_bytes(2, "big") + b"\xff\xda" * 2000
    assert decode(Media(data=plain[:2] + comment + plain[2:] + b"\xff\xda" * 500)).size == (12, 8)


def _png(width, height, depth, colour, raw, *chunks):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in body)


@pytest.mark.parametrize("value", [0, 1, 128, 129, 257, 32767, 32768, 65278, 65535])
def test_16_bits_become_the_nearest_of_8(value):
    grey = _png(1, 1, 16, 0, b"\0" + value.to_bytes(2, "big"))
    assert pixels(grey)[0, 0, 0] == round(value / 257)
    colour = pixels(_png(1, 1, 16, 2, b"\0" + value.to_bytes(2, "big") * 3))
    assert abs(int(colour[0, 0, 0]) - value / 257) <= 1


def test_16_bit_grey_with_a_transparent_value_lies_on_white():
    rows = b"\0" + (1000).to_bytes(2, "big") + (30000).to_bytes(2, "big")
    got = pixels(_png(2, 1, 16, 0, rows, (b"tRNS", (1000).to_bytes(2, "big"))))
    assert got[0].tolist() == [[255] * 3, [117] * 3]


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (3, 3)])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_pictures_of_a_pixel_or_a_line(format, size):
    assert decode(Media(data=encoded(Image.new("RGB", size, "red"), format))).size == size


@pytest.mark.parametrize("size", [(0, 2), (2, 0)])
def test_a_picture_without_pixels_is_refused(size):
    with pytest.raises(KeepsightError, match="cannot decode picture"):
        decode(Media(data=_png(*size, 8, 2, b"")))


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_every_animation_gives_its_first_frame(format):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("blue", "yellow", "red")]
    options = {"lossless": True} if format == "WEBP" else {}
    got = pixels(encoded(frames[0], format, save_all=True, append_images=frames[1:], **options))
    assert got[0, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_a_bomb_in_the_metadata_is_refused(kind):
    body = b"a\0\0" + zlib.compress(bytes(80_000_000))
    with pytest.raises(KeepsightError, match="cannot decode picture"):
        decode(Media(data=_png(1, 1, 8, 2, bytes(4), (kind, body))))


def test_more_pixel_data_than_pixels_costs_nothing():
    assert pixels(_png(2, 2, 8, 2, bytes(14) + bytes(50_000_000))).shape == (2, 2, 3)


def test_the_pixel_limit_can_be_set(monkeypatch):
    data = encoded(Image.fromarray(RED_GREEN))
    monkeypatch.setenv("KEEPSIGHT_MAX_PIXELS", "95")
    with pytest.raises(
        KeepsightError, match="12 x 8 is more than 95 pixels; shrink it, or set KEEPSIGHT_MAX_PIXELS"
    ):
        decode(Media(data=data))
    monkeypatch.setenv("KEEPSIGHT_MAX_PIXELS", "96")
    assert decode(Media(data=data)).size == (12, 8)
    monkeypatch.setenv("KEEPSIGHT_MAX_PIXELS", "many")
    with pytest.raises(KeepsightError, match="KEEPSIGHT_MAX_PIXELS is 'many'; give a whole number above 0"):
        decode(Media(data=data))
