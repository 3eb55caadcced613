"""Settings of a method that it does not take, refused with one line before anything is learnt."""

from __future__ import annotations

import sys
from typing import Any

from keepsight.errors import UsageError

__all__ = ["require_count", "require_number", "require_one_of"]


_LARGEST = sys.float_info.max  # infinity is no setting


def require_number(method: str, name: str, value: Any, least: float, most: float = _LARGEST) -> None:
    """Raises UsageError unless `value` is a finite number from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        limits = f"at least {least:g}" if most == _LARGEST else f"from {least:g} to {most:g}"
        raise UsageError(f"method {method}: {name} must be a number {limits}, not {value!r}")


def require_count(method: str, name: str, value: Any, least: int) -> None:
    """Raises UsageError unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(f"method {method}: {name} must be a whole number of at least {least}, not {value!r}")


def require_one_of(method: str, name: str, value: Any, known: tuple[str, ...]) -> None:
    """Raises UsageError unless `value` is among `known`."""
    if value not in known:
        raise UsageError(f"method {method}: {name} {value!r} is none of {', '.join(known)}")
