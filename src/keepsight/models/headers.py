"""What safetensors files say of their tensors before any is read: names and shapes, without torch."""

from __future__ import annotations

import json
import re
from pathlib import Path

from keepsight.types import KeepsightError

__all__ = ["Shape", "names_of", "read_shapes", "shapes_below"]

Shape = tuple[int, ...]

_LONGEST = 100_000_000  # bytes of a header; the format's own limit
_FLOATS = {"F64", "F32", "F16", "BF16"}  # of other kinds the shape in the file may be a packed one

# Names that modules had before transformers 4.52 gave language model and tower a common parent, tried in turn.
_FORMER_NAMES = (
    (re.compile(r"^language_model\.lm_head"), "lm_head"),
    (re.compile(r"^language_model\.model\."), "model.language_model."),
    (re.compile(r"^(vision_tower|multi_modal_projector)\."), r"model.\1."),
    (re.compile(r"^visual\."), "model.visual."),
    (re.compile(r"^model\.(layers|embed_tokens|norm)\b"), r"model.language_model.\1"),
)


def names_of(name: str) -> list[str]:
    """`name`, and what it may be called in this version of transformers."""
    return list(dict.fromkeys([name, *(pattern.sub(now, name) for pattern, now in _FORMER_NAMES)]))


def read_shapes(path: Path) -> dict[str, Shape | None]:
    """Name -> shape of a safetensors file's tensors; None where the numbers may be packed.

    Raises:
        KeepsightError: the file has no readable header, or ends too early.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _LONGEST:
                raise ValueError("it has no header")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        if (
            max((about["data_offsets"][1] for about in header.values()), default=0)
            > path.stat().st_size - 8 - length
        ):
            raise ValueError("it ends too early")
        return {
            name: tuple(about["shape"]) if about["dtype"] in _FLOATS else None
            for name, about in header.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise KeepsightError(f"cannot read {path}: {reason}; it is damaged, save it again") from error


def shapes_below(directory: Path) -> dict[str, Shape | None]:
    """The shapes of all tensors of a model directory, under every name of `names_of`."""
    found: dict[str, Shape | None] = {}
    for path in sorted(directory.glob("*.safetensors")):
        for name, shape in read_shapes(path).items():
            for candidate in names_of(name):
                found.setdefault(candidate, shape)
    return found
