"""How a model is named: `tiny`, `hf:path-or-hub-id`, either with `+adapter:dir` after it (repeatable), `replay:file`,
`api:model@base_url`, `routed:dir` (experts of one base, see `models.routed`).

A bare path to an existing directory reads as `hf:`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from keepsight.types import KeepsightError

__all__ = ["Ref", "neighbours", "parse_ref"]

_NEEDS_LOCATION = {
    "tiny": False, "hf": True, "replay": True, "routed": True, "api": True, "clip": True, "st": True
}  # fmt: skip
_ADAPTER = "+adapter:"
_SHOWN = 8  # names in one error


@dataclass(frozen=True)
class Ref:
    """A parsed model reference: `scheme:location` and the adapter directories in the order they are put on."""

    scheme: str
    location: str
    adapters: tuple[str, ...] = ()


def parse_ref(text: str) -> Ref:
    """Splits a model reference into its parts; looks at the disk only to accept a bare directory.

    Raises:
        KeepsightError: an unknown prefix, a missing location, or an empty adapter directory.
    """
    base, *adapters = text.strip().split(_ADAPTER)
    if not all(adapters):
        raise KeepsightError(f"model {text!r}: '+adapter:' has no directory after it")
    scheme, _, location = base.partition(":")
    if scheme not in _NEEDS_LOCATION:
        if base and os.path.isdir(Path(base).expanduser()):
            return Ref("hf", base, tuple(adapters))
        if base and os.path.isfile(Path(base).expanduser()):
            raise KeepsightError(
                f"model {text!r} is a file; give a model's directory, hf:HUB-ID, or replay:{base} for canned answers"
            )
        raise KeepsightError(
            f"model {text!r} is not understood: no such directory{neighbours(base)}; write tiny, hf:PATH-OR-HUB-ID, "
            "hf:BASE+adapter:DIR, api:MODEL@BASE_URL or replay:FILE"
        )
    if _NEEDS_LOCATION[scheme] != bool(location):
        needed = f"{scheme}:PATH" if _NEEDS_LOCATION[scheme] else scheme
        raise KeepsightError(f"model {text!r} is not understood: write {needed}")
    return Ref(scheme, location, tuple(adapters))


def neighbours(location: str) -> str:
    """What lies where a missing directory was looked for, as the end of a sentence; empty if there is no such place."""
    parent = Path(location).expanduser().parent
    if parent == Path() or not os.path.isdir(parent):
        return ""
    names = sorted(child.name for child in parent.iterdir() if os.path.isdir(child) and child.name[0] != ".")
    return (
        f" ({parent} holds {', '.join(names[:_SHOWN])}{', ...' if names[_SHOWN:] else ''})" if names else ""
    )
