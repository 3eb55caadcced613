import base64
import io
from random import Random

import pytest
from PIL import Image

from keepsight.report.thumbnails import LONGEST_SIDE, Album, data_uri
from keepsight.types import KeepsightError, Media


def encoded(image, form="PNG", **settings):
    data = io.BytesIO()
    image.save(data, form, **settings)
    return Media(data=data.getvalue())


def decoded(uri):
    kind, text = uri.split(";base64,")
    return kind, Image.open(io.BytesIO(base64.b64decode(text)))


def noise(width, height, seed=0):
    return Image.frombytes("RGB", (width, height), Random(seed).randbytes(width * height * 3))


def test_small_pictures_keep_every_pixel():
    image = noise(48, 48)
    kind, shown = decoded(data_uri(encoded(image)))
    assert kind == "data:image/png" and shown.convert("RGB").tobytes() == image.tobytes()


@pytest.mark.parametrize("size", [(4000, 1000), (161, 20), (30, 3000)])
def test_photographs_shrink(size):
    kind, shown = decoded(data_uri(encoded(noise(*size), "JPEG")))
    assert max(shown.size) == LONGEST_SIDE
    assert kind in ("data:image/jpeg", "data:image/png")
    assert len(data_uri(encoded(noise(*size)))) < 30_000


def test_metadata_stays_behind():
    exif = Image.Exif()
    exif[0x013B] = "the photographer's name"
    for form in ("JPEG", "PNG"):
        media = encoded(noise(64, 64), form, exif=exif)
        assert b"photographer" in media.read()
        assert b"photographer" not in base64.b64decode(data_uri(media).split(",")[1])


def test_album_keeps_each_picture_once():
    album = Album()
    one, other = encoded(noise(8, 8)), encoded(noise(8, 8, seed=1))
    assert [album.add(one), album.add(other), album.add(Media(data=one.data))] == [0, 1, 0]
    assert album.size == sum(map(len, album.uris)) > 0
    with pytest.raises(KeepsightError):
        data_uri(Media(data=b"GIF89a"))
    assert album.uris[album.add(Media(data=b"GIF89a"))] == ""


def test_picture_that_is_gone_is_noted(tmp_path):
    album = Album()
    place = album.add(Media(path=tmp_path / "gone.png"))
    assert album.uris[place] == "" and "gone.png" in album.notes[place]
