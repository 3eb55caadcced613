"""Every drawn set: the same pictures everywhere and always, true facts, answerable questions."""

import hashlib
from random import Random

import numpy as np
import pytest

from keepsight.data.drawn import ALL_SETS, SIDE
from keepsight.data.drawn.png import png_bytes
from keepsight.data.drawn.raster import blank, coverage, noise, paint
from keepsight.data.pictures import decode
from keepsight.types import KeepsightError, Media

# SHA-256 of the first 20 test pictures' pixels, made by drawing them; a change here makes every old result another set.
GOLDEN = {
    "digits": "f4db227298a6be69",
    "shapes": "8409f987a60df485",
    "letters": "fd2b8e5ec580f859",
    "textures": "1f58d99ed3fb4e67",
    "cards": "7ba4e77986e8eaa7",
    "colours": "e54157bfd9f5c17e",
    "things": "c2baa67b6c20f156",
    "scenes": "adb6c1b46184e445",
}
every_set = pytest.mark.parametrize("name", ALL_SETS)


def digest(name: str) -> str:
    return hashlib.sha256(b"".join(p.pixels.tobytes() for p in ALL_SETS[name].test(20))).hexdigest()[:16]


@every_set
def test_the_same_pictures_on_every_machine(name):
    assert digest(name) == GOLDEN[name]


@every_set
def test_a_picture_does_not_depend_on_those_before_it(name):
    drawn = ALL_SETS[name]
    alone, row = drawn.picture("test", 7), drawn.test(9)[7]
    assert alone.id == row.id and alone.label == row.label and np.array_equal(alone.pixels, row.pixels)


@every_set
def test_pictures_have_ids_labels_and_pixels_of_the_set(name):
    pictures = ALL_SETS[name].train(60) + ALL_SETS[name].test(60)
    assert len({p.id for p in pictures}) == 120
    for picture in pictures:
        assert picture.pixels.shape == (SIDE, SIDE, 3) and picture.pixels.dtype == np.uint8
        assert picture.label in ALL_SETS[name].labels


@every_set
def test_train_and_test_share_no_picture(name):
    train = {p.pixels.tobytes() for p in ALL_SETS[name].train(300)}
    assert not train & {p.pixels.tobytes() for p in ALL_SETS[name].test(300)}


@every_set
def test_another_seed_gives_other_pictures_of_a_drawn_set(name):
    if ALL_SETS[name].size is None:
        assert not np.array_equal(ALL_SETS[name].test(1, 0)[0].pixels, ALL_SETS[name].test(1, 1)[0].pixels)


@every_set
def test_all_classes_are_drawn_about_as_often(name):
    drawn = ALL_SETS[name]
    shown = [p.label for p in drawn.test(300)]
    counts = [shown.count(label) for label in drawn.labels]
    assert min(counts) > 0 and max(counts) < 3.5 * 300 / len(drawn.labels)


@every_set
def test_captions_name_the_class_and_questions_are_answered(name):
    rng = Random(0)
    for picture in ALL_SETS[name].test(40):
        if name != "scenes":
            assert all(
                any(word in caption for word in (picture.label, picture.facts.get("rank", "?")))
                for caption in ALL_SETS[name].captions(picture, rng)
            )
        questions = ALL_SETS[name].questions(picture, rng)
        assert all(q.prompt.endswith(("?", ".")) and q.answer for q in questions)
        answers = [q.answer for q in questions if q.kind == "yes/no"]
        assert answers.count("Yes") == answers.count("No") > 0


@every_set
def test_the_stored_picture_decodes_to_the_same_pixels(name):
    picture = ALL_SETS[name].test(1)[0]
    assert np.array_equal(np.asarray(decode(picture.media)), picture.pixels)


def test_a_real_set_does_not_invent_pictures():
    with pytest.raises(KeepsightError, match="there are 360"):
        ALL_SETS["digits"].test(361)


def test_a_square_covers_its_pixels_and_half_its_border():
    square = [np.array([(1.0, 1.0), (3.5, 1.0), (3.5, 3.0), (1.0, 3.0)])]
    expected = np.zeros((4, 4), int)
    expected[1:3, 1:3], expected[1:3, 3] = 16, 8
    assert np.array_equal(coverage(square, 4), expected)


def test_a_hole_stays_open_whichever_way_it_is_drawn():
    outer = np.array([(0.0, 0.0), (8, 0), (8, 8), (0, 8)])
    inner = np.array([(2.0, 2.0), (6, 2), (6, 6), (2, 6)])
    for hole in (inner, inner[::-1]):
        assert coverage([outer, hole], 8).sum() == 16 * (64 - 16)


def test_paint_clips_at_every_border():
    mask = np.full((4, 4), 16, np.int32)
    for x, y, touched in ((-3, -3, 1), (6, 6, 4), (9, 0, 0), (0, -9, 0), (2, 2, 16)):
        canvas = blank((0, 0, 0), 8)
        paint(canvas, mask, (255, 255, 255), x, y)
        assert (canvas == 255).all(axis=2).sum() == touched


def test_noise_stays_within_its_strength():
    picture = noise(blank((100, 100, 100)), Random(0), 6).astype(int)
    assert picture.min() == 94 and picture.max() == 106


def test_png_bytes_of_a_large_picture_decode():
    pixels = np.arange(300 * 200 * 3, dtype=np.uint32).astype(np.uint8).reshape(300, 200, 3)
    assert np.array_equal(np.asarray(decode(Media(data=png_bytes(pixels)))), pixels)
