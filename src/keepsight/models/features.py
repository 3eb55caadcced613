"""What a model sees on the way to its answer: one vector per sample, read off the parts that `anatomy` names.

- `tower`: the vision tower's output, averaged over its patches (and over the sample's pictures);
- `projector`: what the language model gets of the pictures, averaged likewise;
- `language`: the state at the prompt's last token, from which the first token of the answer is chosen.

Families put pictures in tensors of different shapes, so the first two are read one sample at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from keepsight.models.anatomy import anatomy_of
from keepsight.types import KeepsightError

__all__ = ["FeaturePart", "require_part", "vectors"]

FeaturePart = Literal["tower", "projector", "language"]


def require_part(part: str) -> None:
    """Refuses a part that is not one of the three."""
    if part not in _PLACES:
        raise KeepsightError(f"features of {part!r} are unknown; give {', '.join(_PLACES)}")


def vectors(module: Any, inputs: dict[str, Any], part: FeaturePart) -> Any:
    """One forward pass; float32 on the CPU: [b, d] for `language`, [1, d] for the others (a batch is one row there).

    Args:
        inputs: right-padded tensors on the module's device.
    """
    seen: list[Any] = []
    hook = _PLACES[part](module).register_forward_hook(lambda _, given, output: seen.append((given, output)))
    try:
        module(**inputs, use_cache=False)
    finally:
        hook.remove()
    if not seen:
        raise KeepsightError(f"{type(module).__name__} does not use its {part} for this sample")
    given, output = seen[0]
    found = _last_of(given[0], inputs["attention_mask"]) if part == "language" else _mean_of(output)
    return found.float().cpu()


# The output head is given the last states; a family's outputs name those differently, or not at all.
_PLACES: dict[str, Callable[[Any], Any]] = {
    "tower": lambda module: module.get_submodule(anatomy_of(module).tower),
    "projector": lambda module: module.get_submodule(anatomy_of(module).projector[0]),
    "language": lambda module: module.get_output_embeddings(),
}


def _last_of(states: Any, attention_mask: Any) -> Any:
    """The state at each row's last token: [b, s, d] -> [b, d]."""
    last = attention_mask.sum(dim=1) - 1  # [b]
    return states[range(len(states)), last.tolist()]


def _mean_of(output: Any) -> Any:
    states = getattr(output, "last_hidden_state", output)
    states = states[0] if isinstance(states, (tuple, list)) else states
    return states.reshape(-1, states.shape[-1]).mean(dim=0, keepdim=True)  # [..., d] -> [1, d]
