"""Tensors of which every process holds a part (FSDP2), as whole ones and back: what is saved is always whole.

A tensor that is not sharded passes as it is.
"""

from __future__ import annotations

from typing import Any

__all__ = ["is_sharded", "like", "reshard", "settle", "whole"]


def is_sharded(value: Any) -> bool:
    """Whether this process holds only a part of the tensor."""
    return hasattr(value, "full_tensor")


def whole(value: Any, *, keep: bool) -> Any:
    """The tensor with all its parts, on the CPU; None for a process that does not keep it.

    Every process must ask for a sharded one, in the same order.
    """
    if not is_sharded(value):
        return value
    gathered = value.full_tensor()
    return gathered.cpu() if keep else None


def like(parameter: Any, value: Any) -> Any:
    """A whole tensor on `parameter`'s device, and cut up as it is."""
    if not is_sharded(parameter):
        return value.to(parameter.device)
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)


def reshard(module: Any) -> None:
    """Leaves each process its parts alone, which may then be changed between a forward pass and its backward pass.

    FSDP keeps some tensors whole until the backward pass, and gathers them again if they are not.
    """
    for part in module.modules():
        if hasattr(part, "reshard"):  # torch's FSDPModule
            part.reshard()


def settle(module: Any) -> None:
    """Waits until changed parts are what an accelerator holds: a backward pass gathers them in a stream of its own, which
    does not wait for the one in which they were changed."""
    import torch

    if module.device.type != "cpu" and any(is_sharded(parameter) for parameter in module.parameters()):
        torch.accelerator.synchronize(module.device)
