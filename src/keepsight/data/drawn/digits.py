"""Real handwritten digits: the 1,797 pictures of scikit-learn (UCI optical digits test set), enlarged from 8 x 8."""

from __future__ import annotations

from functools import lru_cache
from random import Random

import numpy as np
from numpy.typing import NDArray

from keepsight.data.drawn.palette import any_colour
from keepsight.data.drawn.phrases import presence_pair
from keepsight.data.drawn.picture import Drawing, DrawnSet, Picture, Question, Split
from keepsight.data.drawn.raster import SIDE

__all__ = ["DIGITS"]

LABELS = tuple("0123456789")
TEST_SIZE = 360  # held out: one picture in five
MARGIN = 4  # pixels; the digit itself fills the rest


@lru_cache(maxsize=1)
def _load() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.images.astype(np.int64), data.target.astype(np.int64)


@lru_cache(maxsize=1)
def _order() -> list[int]:
    """All indices, mixed once: in the file the classes follow a pattern that a plain stride would pick up."""
    rng = Random("digits/split")
    return sorted(range(1797), key=lambda _: rng.random())


@lru_cache(maxsize=1)
def _weights() -> NDArray[np.int64]:
    """Linear enlargement as whole-number weights [out, 8], each row summing to 2 * out: no rounding differs anywhere."""
    out = SIDE - 2 * MARGIN
    weights = np.zeros((out, 8), np.int64)
    for i in range(out):
        position = (2 * i + 1) * 8 - out  # in units of 1 / (2 * out) source pixels
        left, part = divmod(position, 2 * out)
        for source, weight in ((left, 2 * out - part), (left + 1, part)):
            weights[i, min(max(source, 0), 7)] += weight
    return weights


def enlarge(image: NDArray[np.int64]) -> NDArray[np.uint8]:
    """An 8 x 8 picture with values 0..16 as [48, 48, 3] uint8, white on black."""
    weights = _weights()
    scale = 16 * int(weights[0].sum()) ** 2
    grey = np.zeros((SIDE, SIDE), np.uint8)
    inner = (weights @ image @ weights.T * 255 + scale // 2) // scale
    grey[MARGIN:-MARGIN, MARGIN:-MARGIN] = inner
    return np.repeat(grey[:, :, None], 3, axis=2)


def _draw(rng: Random, split: Split, index: int) -> Drawing:
    images, targets = _load()
    chosen = _order()[index if split == "test" else index + TEST_SIZE]
    return enlarge(images[chosen]), LABELS[targets[chosen]], {"index": chosen, "value": int(targets[chosen])}


def _captions(picture: Picture, rng: Random) -> list[str]:
    return [f"the number {picture.label}", f"a handwritten {picture.label}"]


def _questions(picture: Picture, rng: Random) -> list[Question]:
    value = int(picture.label)
    pairs = presence_pair(rng, LABELS, picture.label, "the number {}", article=False)
    return [
        *pairs,
        Question("open", "What number is it?", picture.label),
        Question("parity", "Is the number even or odd?", "odd" if value % 2 else "even"),
        Question("colour", "What color is it?", "white"),
        Question("presence of colour", f"Is it {_other_colour(rng)}?", "No"),
    ]


def _other_colour(rng: Random) -> str:
    name = any_colour(rng)
    return "red" if name == "white" else name


DIGITS = DrawnSet(
    "digits",
    LABELS,
    _draw,
    _captions,
    _questions,
    noun="number",
    size={"train": 1797 - TEST_SIZE, "test": TEST_SIZE},
)
