"""Features of a frozen vision tower, kept per picture: k checkpoints over one tower encode each picture once.

The key is the bytes of the picture's pixel tensor, so a cached row can only ever stand for the very same input. When
the store is full a *random* entry goes: an audit shows the same pictures again and again in the same order, where the
least recently used one is exactly the one needed next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from operator import itemgetter
from random import Random
from typing import Any

__all__ = ["DEFAULT_CACHE_BYTES", "TowerCache"]

_Row = dict[str, Any]  # output field -> tensor, or tuple of tensors, without the picture dimension

DEFAULT_CACHE_BYTES = (
    1 << 30
)  # CPU memory; about 400 pictures of LLaVA-1.5's tower in half precision, any of ours


class TowerCache:
    """Stands before a tower's `forward` and answers from memory where it can.

    It answers only when `active`, without gradients, and for a tower that maps pixels [n, 3, h, w] to outputs whose
    every tensor has n rows; any other call goes straight to the tower.

    Attributes:
        active: set by whoever knows whether the tower's weights are the base's own.
        rows_encoded: pictures the tower has really encoded while active.
    """

    def __init__(self, tower: Any, limit_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self.active = True
        self.rows_encoded = 0
        self._suitable = True
        self._limit = limit_bytes
        self._used = 0
        self._rows: dict[str, _Row] = {}
        self._kind: Callable[..., Any] = dict
        self._order: list[str] = []
        self._random = Random(0)
        self._encode = tower.forward
        tower.forward = self  # on the instance: the module keeps its class, its names and its place

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        pixels, others = _split_arguments(args, kwargs)
        if pixels is None or not self._may_answer(pixels):
            return self._encode(*args, **kwargs)
        keys = _keys(pixels, others)
        first = {key: at for at, key in reversed(list(enumerate(keys))) if key not in self._rows}
        fresh: dict[str, _Row] = {}
        if first:
            output = self._encode(pixels[sorted(first.values())], *args[1:], **_without_pixels(kwargs))
            self.rows_encoded += len(first)
            rows = _rows_of(output, len(first))
            if rows is None:  # not a map of pictures to rows: never answered from memory
                self._suitable = False
                return self._encode(*args, **kwargs)
            self._kind = type(output)
            fresh = dict(zip(sorted(first, key=first.__getitem__), rows))
            if len(first) == len(keys):
                self._keep(fresh)
                return output
        known = [fresh[key] if key in fresh else self._rows[key] for key in keys]
        self._keep(fresh)
        return self._kind(**_stacked(known, pixels.device))

    def _may_answer(self, pixels: Any) -> bool:
        import torch

        return (
            self.active
            and self._suitable
            and not torch.is_grad_enabled()
            and pixels.dim() == 4
            and len(pixels) > 0
        )

    def _keep(self, rows: dict[str, _Row]) -> None:
        for key, row in rows.items():
            kept = {name: _each(value, _to_memory) for name, value in row.items()}
            size = _bytes(kept)
            while self._order and self._used + size > self._limit:
                self._drop()
            if size <= self._limit:
                self._rows[key] = kept
                self._order.append(key)
                self._used += size

    def _drop(self) -> None:
        at = self._random.randrange(len(self._order))
        self._order[at], self._order[-1] = self._order[-1], self._order[at]
        self._used -= _bytes(self._rows.pop(self._order.pop()))


def _split_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, str]:
    """The pixels and a description of all other arguments; pixels None when those hold tensors of their own."""
    import torch

    pixels = args[0] if args else kwargs.get("pixel_values")
    others = [*args[1:], *sorted(_without_pixels(kwargs).items())]
    plain = all(
        not isinstance(value, torch.Tensor) for value in (*args[1:], *_without_pixels(kwargs).values())
    )
    return (pixels if isinstance(pixels, torch.Tensor) and plain else None), repr(others)


def _without_pixels(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name != "pixel_values"}


def _keys(pixels: Any, others: str) -> list[str]:
    import torch

    head = f"{pixels.dtype}|{tuple(pixels.shape[1:])}|{others}".encode()
    rows = pixels.detach().contiguous().cpu().reshape(len(pixels), -1).view(torch.uint8).numpy()
    return [hashlib.blake2b(head + row.tobytes(), digest_size=20).hexdigest() for row in rows]


def _rows_of(output: Any, n: int) -> list[_Row] | None:
    """The output taken apart by picture, or None when one of its tensors does not have n rows."""
    from transformers.utils import ModelOutput

    if not isinstance(output, ModelOutput):
        return None
    tensors = [part for value in output.values() for part in _parts(value) if part is not None]
    if any(not hasattr(part, "shape") or part.dim() == 0 or part.shape[0] != n for part in tensors):
        return None
    return [{name: _each(value, itemgetter(at)) for name, value in output.items()} for at in range(n)]


def _stacked(rows: Sequence[_Row], device: Any) -> _Row:
    import torch

    def stack(parts: Sequence[Any]) -> Any:
        return None if parts[0] is None else torch.stack([part.to(device) for part in parts])

    return {
        name: tuple(stack(parts) for parts in zip(*(row[name] for row in rows)))
        if isinstance(value, tuple)
        else stack([row[name] for row in rows])
        for name, value in rows[0].items()
    }


def _parts(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (tuple, list)) else (value,)


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(None if part is None else change(part) for part in value)
    return change(value)


def _to_memory(part: Any) -> Any:
    """A copy of its own on the CPU: a view would keep the whole batch alive."""
    return part.detach().to("cpu", copy=True)


def _bytes(row: _Row) -> int:
    return sum(part.nbytes for value in row.values() for part in _parts(value) if part is not None)
