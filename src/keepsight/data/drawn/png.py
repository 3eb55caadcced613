"""PNG files of our own making: the bytes of a picture must not depend on the zlib in use, because digests rest on them.

`packed_png` compresses with the smallest part of deflate (RFC 1951) that drawn pictures need: fixed Huffman codes, and
matches with the byte before alone. After PNG's filter "Up" (RFC 2083, section 6.4) what is equal to the row above is a
run of zeros.
"""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["packed_png", "png_bytes"]

LONGEST = 258  # bytes of a match
_UP = 2  # the filter's number
_FEWEST_A_RUN = 3  # bytes on average, for packing to pay
# Of each of deflate's 29 length symbols: how many extra bits follow it.
_EXTRA_BITS = [0] * 8 + [n for n in range(1, 6) for _ in range(4)] + [0]


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """PNG of [h, w, 3] pixels, stored without compression."""
    height, width, _ = pixels.shape
    raw = b"".join(b"\0" + row.tobytes() for row in pixels)
    blocks = [raw[i : i + 65535] for i in range(0, len(raw), 65535)]
    stored = b"".join(
        struct.pack("<BHH", i == len(blocks) - 1, len(block), len(block) ^ 0xFFFF) + block
        for i, block in enumerate(blocks)
    )
    return _file(height, width, stored, raw)


def packed_png(pixels: NDArray[np.uint8]) -> bytes:
    """PNG of [h, w, 3] pixels, runs packed: a drawn picture takes a few thousand bytes instead of h * w * 3.

    A picture with few runs, such as a photograph, is stored as it is.
    """
    height, width, _ = pixels.shape
    rows = pixels.reshape(height, 3 * width)
    filtered = np.full((height, 3 * width + 1), _UP, np.uint8)
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])  # modulo 256
    data = filtered.ravel()
    starts = np.flatnonzero(np.concatenate([[True], data[1:] != data[:-1]]))
    if starts.size * _FEWEST_A_RUN > data.size:
        return png_bytes(pixels)
    return _file(height, width, _deflated(data, starts), data)


def _file(height: int, width: int, deflated: bytes, data: Any) -> bytes:
    """A PNG of 8-bit RGB whose filtered rows are `data`."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    stream = b"\x78\x01" + deflated + struct.pack(">I", zlib.adler32(data))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", stream) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _deflated(data: NDArray[np.uint8], starts: NDArray[np.int64]) -> bytes:
    """One deflate block with fixed codes of `data`, whose runs of equal bytes begin at `starts`."""
    codes, lengths = _words()
    words = np.concatenate([_as_words(data, starts), [_END]])
    sizes = lengths[words]
    ends = np.cumsum(sizes) + 3  # bits, after the block's own three
    firsts = ends - sizes
    values = codes[words] << (firsts & 7)
    block = np.zeros((int(ends[-1]) + 7) // 8 + _BYTES)
    block[0] = 0b011  # the last block; fixed codes
    for place in range(_BYTES):  # no two words share a bit, so that their sum is their union
        block += np.bincount(firsts // 8 + place, values >> 8 * place & 255, block.size)
    return block[:-_BYTES].astype(np.uint8).tobytes()


_BYTES = 4  # that a word may touch: 18 bits at most, from any bit on
_END = 256  # words: 0 to 255 are bytes, 256 ends the block, 256 + n repeats the byte before n times
_WORDS = 256 + LONGEST + 1


def _as_words(data: NDArray[np.uint8], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """`data` as words; what is left of a run after its longest matches is bytes when no match is so short (1 or 2)."""
    repeats = np.diff(np.append(starts, data.size)) - 1  # of each run's first byte
    whole, rest = repeats // LONGEST, repeats % LONGEST
    counts = 1 + whole + np.where(rest >= 3, 1, rest)  # words of each run
    firsts = np.cumsum(counts) - counts
    at = np.arange(int(counts.sum())) - np.repeat(firsts, counts)  # place of a word in its run
    byte = np.repeat(data[starts].astype(np.int64), counts)
    match = np.repeat(256 + rest, counts)
    tail = np.where(np.repeat(rest >= 3, counts), match, byte)
    return np.where(at == 0, byte, np.where(at <= np.repeat(whole, counts), 256 + LONGEST, tail))


@lru_cache(maxsize=1)
def _words() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bits of every word, the first one lowest, and how many there are: two arrays [words]."""
    codes, lengths = np.zeros(_WORDS, np.int64), np.zeros(_WORDS, np.int64)
    for byte in range(256):
        codes[byte], lengths[byte] = _symbol(byte)
    codes[_END], lengths[_END] = _symbol(_END)
    first = 3
    for number, extra in enumerate(_EXTRA_BITS):
        symbol, size = _symbol(257 + number)
        for more in range(1 << extra):
            if first + more < LONGEST or number == len(_EXTRA_BITS) - 1:
                word = 256 + min(first + more, LONGEST)
                codes[word] = symbol | more << size
                lengths[word] = size + extra + 5  # the distance's code: five zeros, one byte before
        first += 1 << extra
    return codes, lengths


def _symbol(number: int) -> tuple[int, int]:
    """Fixed Huffman code of a symbol (RFC 1951, section 3.2.6), its first bit lowest, and its length."""
    if number < 144:
        code, size = 0b00110000 + number, 8
    elif number < 256:
        code, size = 0b110010000 + number - 144, 9
    elif number < 280:
        code, size = number - 256, 7
    else:
        code, size = 0b11000000 + number - 280, 8
    return int(f"{code:0{size}b}"[::-1], 2), size
