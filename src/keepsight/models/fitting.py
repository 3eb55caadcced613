"""Whether a model family can be asked a sample at all, said before its tensors are made.

A processor refuses much by itself; what is told here are the cases where nobody would: a family whose processor puts
in one picture by itself takes a second one for another row, and one that needs a picture fails deep inside.
"""

from __future__ import annotations

import inspect
from typing import Any

from keepsight.models.bases import Base
from keepsight.models.prompts import asked_messages, render_messages
from keepsight.types import KeepsightError, Sample

__all__ = ["require_fit"]


def require_fit(base: Base, sample: Sample, text: str) -> None:
    """Refuses a sample with fewer or more pictures than the family has places for.

    Args:
        text: the sample as `prompts.render` writes it.

    Raises:
        KeepsightError: no picture where the model's forward pass needs pixels, or several where the rendered text is
            the same for one.
    """
    if not sample.media and _needs_pixels(base.module):
        raise KeepsightError(f"sample {sample.id} has no picture, and this model answers about pictures only")
    if len(sample.media) > 1 and _one_place(base.processor, sample, text):
        raise KeepsightError(
            f"sample {sample.id} has {len(sample.media)} pictures, and this model with this chat template has a place "
            "for one"
        )


def _needs_pixels(module: Any) -> bool:
    own = module.get_base_model() if hasattr(module, "get_base_model") else module  # under peft's wrapper
    pixels = inspect.signature(own.forward).parameters.get("pixel_values")
    return pixels is not None and pixels.default is inspect.Parameter.empty


def _one_place(processor: Any, sample: Sample, text: str) -> bool:
    message, *history = asked_messages(processor, sample)
    parts = message["content"]
    first = next(at for at, part in enumerate(parts) if part["type"] == "image")
    kept = [part for at, part in enumerate(parts) if at <= first or part["type"] != "image"]
    return render_messages(processor, [{**message, "content": kept}, *history], answer_next=True) == text
