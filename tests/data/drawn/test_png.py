"""Packed PNGs are read by others as the pixels they were made of, and are the same bytes everywhere."""

import hashlib
import zlib
from io import BytesIO

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from keepsight.data.drawn.png import LONGEST, packed_png, png_bytes


def pixels_of(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


def striped(*runs: tuple[int, int]) -> np.ndarray:
    """One row whose bytes are these (value, how often), filled up to whole pixels."""
    row = np.concatenate([np.full(n, value, np.uint8) for value, n in runs])
    return np.append(row, np.zeros(-len(row) % 3, np.uint8)).reshape(1, -1, 3)


def test_a_run_of_any_length():
    for n in (*range(1, 300), *(2 * LONGEST + k for k in range(6))):
        pixels = striped((7, n), (200, 900))
        assert np.array_equal(pixels_of(packed_png(pixels)), pixels), n


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(1, 700)), min_size=1, max_size=30))
def test_any_runs(runs):
    pixels = striped(*runs)
    assert np.array_equal(pixels_of(packed_png(pixels)), pixels)


def test_rows_that_repeat_are_small_and_noise_is_no_larger_than_stored():
    flat = np.full((300, 300, 3), 255, np.uint8)
    flat[100:140, 30:200] = (10, 20, 30)
    assert len(packed_png(flat)) < 4000 and np.array_equal(pixels_of(packed_png(flat)), flat)
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    assert packed_png(noise) == png_bytes(noise)


def test_the_bytes_do_not_depend_on_a_library(monkeypatch):
    monkeypatch.setattr(zlib, "compress", None)
    monkeypatch.setattr(zlib, "compressobj", None)
    pixels = np.repeat(np.arange(240, dtype=np.uint8), 9).reshape(8, 90, 3)
    assert hashlib.sha256(packed_png(pixels)).hexdigest()[:16] == "22672650c72c7b1d"
