"""Weights that the trained ones are held to: quadratic penalties, by their gradient.

The gradient of strength/2 * sum_i importance_i (w_i - anchor_i)^2 is known, so it is added to the gradients of a step
instead of the penalty to its loss. It is then the same however the step is split into batches and over processes,
FSDP's cut-up tensors need nothing more, DDP is not told of a tensor that the forward pass did not use, and the logged
loss stays that of the data. A tensor without a gradient takes no part in a step and is left alone, as AdamW does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keepsight.tune.shards import like
from keepsight.tune.trainable import trained_parameters
from keepsight.types import KeepsightError

__all__ = ["add_pull", "named", "require_same_tensors", "under", "weights_of"]


def weights_of(module: Any) -> dict[str, Any]:
    """A copy of every trained tensor, by name."""
    return {name: value.detach().clone() for name, value in trained_parameters(module).items()}


def add_pull(
    module: Any, anchors: dict[str, Any], strength: float, importance: dict[str, Any] | None = None
) -> None:
    """Adds the penalty's gradient to those of the step.

    `anchors` and `importance` are laid beside the parameters: moved to their device and cut up as they are, once.
    """
    import torch

    with torch.no_grad():
        for name, parameter in trained_parameters(module).items():
            if parameter.grad is None:
                continue
            anchors[name] = like(parameter, anchors[name])
            pull = parameter - anchors[name]
            if importance is not None:
                importance[name] = like(parameter, importance[name])
                pull *= importance[name]
            parameter.grad.add_(pull, alpha=strength)


def require_same_tensors(method: str, remembered: Mapping[str, Any], module: Any) -> None:
    """Raises KeepsightError if the stages before trained other tensors than this one."""
    trained = trained_parameters(module)
    different = set(remembered) ^ set(trained)
    different |= {
        name for name in set(remembered) & set(trained) if remembered[name].shape != trained[name].shape
    }
    if different:
        raise KeepsightError(
            f"method {method} remembers other trained tensors ({min(different)}, ...) than this stage has; give all "
            "stages the same method and lora_r"
        )


def named(prefix: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors as a state holds them: `prefix/name`."""
    return {f"{prefix}/{name}": value for name, value in tensors.items()}


def under(prefix: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """What `named` put into a state."""
    start = f"{prefix}/"
    return {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
