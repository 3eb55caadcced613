"""Long answers, each of one thing over and over: whoever reads answers must take time in proportion to their length."""

import time
from itertools import product

MOST = 100_000  # characters of an answer that an environment reads
SECONDS = 1.5  # of the processor's time for one text; a reader in linear time needs a tenth at most
KEYS = ("turn_direction (", '"action": ', '"action"', '"cards": [', '"formula": "', "current observation: ", "intersection ")  # fmt: skip
FILLINGS = (" ", "\n", '"', "*", "[", "{", ")", "1", "no ", "\u0300\u0323")


def long_texts(length):
    """A filling without end, a key and such a filling, or a key again and again."""
    for key, filling in product(("", *KEYS), FILLINGS):
        yield (key + filling * length)[:length]
    for key, filling in product(KEYS, ("", " ", '"')):
        yield ((key + filling) * length)[:length]


def assert_reads_quickly(read, most=MOST):
    """`read(text)` takes linear time. A fifth of a text tells: in quadratic time it takes a twenty-fifth of the whole's."""
    for part, whole in zip(long_texts(most // 5), long_texts(most), strict=True):
        if _seconds(read, part) > SECONDS / 50:
            took = _seconds(read, whole)
            assert took < SECONDS, f"{took:.1f} s for {most} characters: {whole[:40]!r} ..."


def _seconds(read, text):
    began = time.process_time()
    read(text)
    return time.process_time() - began
