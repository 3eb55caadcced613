"""How a user names what is trained and what is done against forgetting: `lora`, `replay`, `moelora+replay`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keepsight.errors import UsageError
from keepsight.tune.config import TRAINED_PARTS, TrainedPart
from keepsight.tune.methods import METHODS, Method

__all__ = ["named_method"]


def named_method(name: str, arguments: Mapping[str, Any] | None = None) -> tuple[TrainedPart, Method]:
    """What is trained and the continual method of `PART`, `METHOD` or `PART+METHOD`; lora and sequential by default.

    Raises:
        UsageError: an unknown name, or a setting that the method does not have.
    """
    words = [word.strip() for word in name.split("+")]
    part: Any = words.pop(0) if words[0] in TRAINED_PARTS else "lora"
    continual = words.pop(0) if words else "sequential"
    if words or continual not in METHODS:
        raise UsageError(
            f"method {name!r} is not understood: write PART, METHOD or PART+METHOD, with PART one of "
            f"{', '.join(TRAINED_PARTS)} and METHOD one of {', '.join(METHODS)}"
        )
    known = getattr(METHODS[continual], "__dataclass_fields__", {})
    if unknown := [key for key in arguments or {} if key not in known]:
        takes = ", ".join(known) or "none"
        raise UsageError(f"method {continual} has no setting {unknown[0]!r}; method_args can set {takes}")
    return part, METHODS[continual](**(arguments or {}))
