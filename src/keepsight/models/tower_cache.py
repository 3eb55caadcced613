"""Features of a frozen vision tower, kept per picture: k checkpoints over one tower encode each picture once.

The key is what the tower is and the bytes of the picture's pixel tensor, so a kept row can only ever stand for the very
same computation, even across models that have the same tower (full checkpoints that left it frozen).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from threading import Lock
from typing import Any

from keepsight.models.memory import Memory
from keepsight.models.sources import state_digest

__all__ = ["DEFAULT_LIMIT", "FeatureStore", "TowerCache", "shared_store"]

DEFAULT_LIMIT = 1 << 30  # bytes of CPU memory: about 400 pictures of LLaVA-1.5's tower in half precision


@dataclass(frozen=True)
class Row:
    """One picture's part of a tower's output: its class, and tensors (or tuples of them) without the first dimension."""

    kind: Callable[..., Any]
    fields: dict[str, Any]

    def mapped(self, change: Callable[[Any], Any]) -> Row:
        """The same row with every tensor changed."""
        return Row(self.kind, {name: _each(value, change) for name, value in self.fields.items()})

    @property
    def nbytes(self) -> int:
        return sum(
            part.nbytes for value in self.fields.values() for part in _parts(value) if part is not None
        )


FeatureStore = Memory[Row]

_shared = FeatureStore(DEFAULT_LIMIT)


def shared_store() -> FeatureStore:
    """The process's store: one limit for all towers together."""
    return _shared


class TowerCache:
    """Stands before a tower's `forward` and answers from a store where it can.

    It answers only when `active`, without gradients, and for a tower that maps pixels [n, 3, h, w] to outputs whose
    every tensor has n rows; any other call goes straight to the tower. The tower's weights must not change while it is
    active.

    Attributes:
        active: set by whoever knows whether the tower's weights are those it was made with.
        rows_encoded: pictures the tower has really encoded while active.
    """

    def __init__(self, tower: Any, store: FeatureStore) -> None:
        self.active = True
        self.rows_encoded = 0
        self._store = store
        self._suitable = True
        self._counting = Lock()
        self._identity = _identity(tower)
        self._encode = tower.forward
        tower.forward = self  # on the instance: the module keeps its class, its names and its place

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        pixels, others = _split_arguments(args, kwargs)
        if pixels is None or not self._may_answer(pixels):
            return self._encode(*args, **kwargs)
        keys = _keys(pixels, self._identity + others)
        rows = {key: self._store.get(key) for key in keys}
        known = {key: row for key, row in rows.items() if row is not None}
        first = {key: at for at, key in reversed(list(enumerate(keys))) if key not in known}
        if first:
            asked = sorted(first.values())
            output = self._encode(pixels[asked], *args[1:], **_without_pixels(kwargs))
            encoded = _rows_of(output, len(asked))
            if encoded is None:  # not a map of pictures to rows: never answered from memory
                self._suitable = False
                return self._encode(*args, **kwargs)
            self._keep([keys[at] for at in asked], encoded)
            if len(asked) == len(keys):
                return output
            known.update(zip((keys[at] for at in asked), encoded))
        return _stacked([known[key] for key in keys], pixels.device)

    def _keep(self, keys: Sequence[str], rows: Sequence[Row]) -> None:
        with self._counting:
            self.rows_encoded += len(keys)
        for key, row in zip(keys, rows):
            self._store.keep(key, row.mapped(_to_memory))

    def _may_answer(self, pixels: Any) -> bool:
        import torch

        return (
            self.active
            and self._suitable
            and not torch.is_grad_enabled()
            and pixels.dim() == 4
            and len(pixels) > 0
        )


def _identity(tower: Any) -> str:
    """Weights, class, configuration and place: what, besides the pixels, decides a row's bits."""
    state = tower.state_dict()
    config = tower.config.to_json_string() if hasattr(tower, "config") else ""
    devices = sorted({str(value.device) for value in state.values()})
    return f"{type(tower).__name__}|{config}|{devices}|{state_digest(state)}"


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


def _rows_of(output: Any, n: int) -> list[Row] | None:
    """The output taken apart by picture, or None when one of its tensors does not have n rows."""
    from transformers.utils import ModelOutput

    if not isinstance(output, ModelOutput):
        return None
    tensors = [part for value in output.values() for part in _parts(value) if part is not None]
    if any(not hasattr(part, "shape") or part.dim() == 0 or part.shape[0] != n for part in tensors):
        return None
    whole = Row(type(output), dict(output.items()))
    return [whole.mapped(itemgetter(at)) for at in range(n)]


def _stacked(rows: Sequence[Row], device: Any) -> Any:
    """An output as the tower gives it, from rows on any device."""
    import torch

    def stack(parts: Sequence[Any]) -> Any:
        if isinstance(parts[0], tuple):
            return tuple(stack(inner) for inner in zip(*parts))
        return None if parts[0] is None else torch.stack([part.to(device) for part in parts])

    return rows[0].kind(**{name: stack([row.fields[name] for row in rows]) for name in rows[0].fields})


def _parts(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (tuple, list)) else (value,)


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(None if part is None else change(part) for part in value)
    return change(value)


def _to_memory(part: Any) -> Any:
    """A copy of its own on the CPU: a view would keep the whole batch alive."""
    return part.detach().to("cpu", copy=True)
