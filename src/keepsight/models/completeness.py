"""Whether a checkpoint has all that was trained, told from its files' headers before a base is in memory.

Judges by names and shapes alone. What these cannot tell (a name that the base's files do not have, packed weights,
adapters other than LoRA and MoELoRA) is left to `models.overlay`, which sees everything, but only when the base is loaded.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from keepsight.models.checkpoint import ADAPTER_CONFIG, Checkpoint
from keepsight.models.headers import Shape, names_of
from keepsight.models.sources import shortened
from keepsight.types import KeepsightError

__all__ = ["require_trained"]

Shapes = Mapping[str, Shape | None]
Layers = Mapping[str, Mapping[str, Shape | None]]  # layer -> "A", "B" -> shape

_LORA = re.compile(r"^(?P<layer>.+)\.lora_(?P<side>[AB])\.weight$")
_ROUTER = ".lora_router.weight"


def require_trained(checkpoint: Checkpoint, base: Shapes) -> None:
    """Refuses a checkpoint that lacks a tensor it was trained with, or has one that does not fit the base.

    Args:
        base: the shapes of the base's tensors, also under the names of other versions.

    Raises:
        KeepsightError: names the checkpoint and the tensor.
    """
    tensors = checkpoint.shapes()
    _require_shapes(checkpoint, tensors, base)
    _require_modules(checkpoint, tensors, base)
    adapter = checkpoint.adapter_config() or {}
    if adapter.get("peft_type") in ("LORA", "MOELORA"):
        layers = _lora_layers(tensors)
        _require_factors(checkpoint, layers)
        _require_widths(checkpoint, layers, base, turned=bool(adapter.get("fan_in_fan_out")))
        _require_layers(checkpoint, layers, base, adapter)
        if adapter["peft_type"] == "MOELORA":
            _require_gates(checkpoint, layers, tensors, adapter)


def _require_shapes(checkpoint: Checkpoint, tensors: Shapes, base: Shapes) -> None:
    """A tensor that takes the place of one of the base has its shape."""
    for name, shape in tensors.items():
        wanted = _of_base(name, base)
        if shape is not None and wanted is not None and shape != wanted:
            raise KeepsightError(
                f"checkpoint {checkpoint.directory}: tensor {name} has shape {list(shape)}, the base has "
                f"{list(wanted)}; it belongs to another base"
            )


def _require_modules(checkpoint: Checkpoint, tensors: Shapes, base: Shapes) -> None:
    """Modules that were trained as a whole are there as a whole."""
    for prefix in checkpoint.manifest.get("trained", ()):
        own = {name for name in tensors if name.startswith(prefix)}
        if prefix.endswith(".") and own <= set(base):  # otherwise the files call them by other names
            missing = [name for name in base if name.startswith(prefix) and name not in own]
            _require_none(checkpoint, missing)


def _require_factors(checkpoint: Checkpoint, layers: Layers) -> None:
    """A LoRA has both factors, of one rank."""
    missing = [
        f"{layer}.lora_{side}.weight" for layer, sides in layers.items() for side in "AB" if side not in sides
    ]
    _require_none(checkpoint, missing)
    for layer, sides in layers.items():
        inner, outer = sides["A"], sides["B"]  # [r, inputs], [outputs, r]
        if inner is not None and outer is not None and inner[0] != outer[1]:
            _refuse(checkpoint, layer, f"one factor has rank {inner[0]}, the other {outer[1]}")


def _require_widths(checkpoint: Checkpoint, layers: Layers, base: Shapes, *, turned: bool) -> None:
    """A LoRA is as wide on either side as the layer it adapts."""
    for layer, sides in layers.items():
        weight = _of_base(f"{layer}.weight", base)
        inner, outer = sides["A"], sides["B"]
        if inner is None or outer is None or weight is None or len(weight) != 2:
            continue
        wanted = weight[::-1] if turned else weight
        if (outer[0], inner[1]) != wanted:
            _refuse(
                checkpoint,
                layer,
                f"it has the shape {[outer[0], inner[1]]}, the base's layer {list(wanted)}",
            )


def _require_layers(checkpoint: Checkpoint, layers: Layers, base: Shapes, adapter: Mapping[str, Any]) -> None:
    """What is adapted in one block of the base is adapted in all blocks that the config names."""
    adapted = _targets(adapter)
    kinds = {_kind(layer) for layer in layers}
    there = {name.removesuffix(".weight") for name in base if name.endswith(".weight")}
    missing = [
        f"{layer}.lora_A.weight" for layer in there - set(layers) if _kind(layer) in kinds and adapted(layer)
    ]
    _require_none(checkpoint, missing)


def _require_gates(
    checkpoint: Checkpoint, layers: Layers, tensors: Shapes, adapter: Mapping[str, Any]
) -> None:
    """A MoELoRA says into how many experts it is cut, and every layer of it has the gate that mixes them."""
    unsaid = [name for name in ("num_experts", "gate_scale") if adapter.get(name) is None]
    if unsaid:
        raise KeepsightError(
            f"checkpoint {checkpoint.directory}: {ADAPTER_CONFIG} does not say {unsaid[0]}, without which its experts "
            "cannot be mixed; save the checkpoint again"
        )
    _require_none(checkpoint, [layer + _ROUTER for layer in layers if layer + _ROUTER not in tensors])
    for layer, sides in layers.items():
        gate, inner = tensors[layer + _ROUTER], sides["A"]
        if gate is not None and inner is not None and gate != (adapter["num_experts"], inner[1]):
            wanted = [adapter["num_experts"], inner[1]]
            _refuse(checkpoint, layer, f"its gate has the shape {list(gate)}, the experts need {wanted}")


def _lora_layers(tensors: Shapes) -> Layers:
    found: dict[str, dict[str, Shape | None]] = defaultdict(dict)
    for name, shape in tensors.items():
        parts = _LORA.match(name)
        if parts and (shape is None or len(shape) == 2):  # a convolution's have more
            found[parts["layer"]][parts["side"]] = shape
    return found


def _of_base(name: str, base: Shapes) -> Shape | None:
    return next((base[candidate] for candidate in names_of(name) if candidate in base), None)


def _kind(layer: str) -> str:
    """The layer's name without the numbers of its blocks."""
    return re.sub(r"\.\d+(?=\.)", ".#", layer)


def _targets(adapter: Mapping[str, Any]) -> Callable[[str], bool]:
    """Whether peft adapts the layer of a name; of none where more than names decides."""
    targets = adapter.get("target_modules")
    if any(adapter.get(key) for key in ("exclude_modules", "layers_to_transform", "layers_pattern")):
        return lambda layer: False
    if isinstance(targets, list):
        endings = tuple(f".{target}" for target in targets)
        return lambda layer: f".{layer}".endswith(endings)
    try:
        pattern = re.compile(targets or "(?!)")
    except (re.error, TypeError):
        return lambda layer: False
    return lambda layer: pattern.fullmatch(layer) is not None


def _require_none(checkpoint: Checkpoint, missing: list[str]) -> None:
    if missing:
        raise KeepsightError(
            f"checkpoint {checkpoint.directory} lacks {shortened(sorted(missing))}, which belongs to what was trained; "
            "save the checkpoint again"
        )


def _refuse(checkpoint: Checkpoint, layer: str, why: str) -> None:
    raise KeepsightError(
        f"checkpoint {checkpoint.directory}: the LoRA of {layer} does not fit: {why}; save it again, or check the base"
    )
