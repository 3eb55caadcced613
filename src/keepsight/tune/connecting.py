"""The processes of one tuning run, connected by accelerate as the launcher's configuration says: DDP or FSDP2."""

from __future__ import annotations

import os
from typing import Any

from keepsight.tune.config import SFTConfig
from keepsight.types import KeepsightError

__all__ = ["connected"]


def connected(module: Any, config: SFTConfig, *, text_alone: bool) -> Any:
    """An Accelerator for tuning `module`, on the device where it lies.

    What a launcher's configuration says about precision and accumulation does not count: `config` does.

    Args:
        text_alone: whether there are samples without a picture.

    Raises:
        KeepsightError: the configuration asks for DeepSpeed, FSDP1, or FSDP where accelerate has none.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.utils import DistributedType, GradientAccumulationPlugin

    if _asked_for("DEEPSPEED"):
        raise KeepsightError(
            "tuning runs under DDP or FSDP2, not DeepSpeed, whose engine takes the optimiser's steps itself; "
            "use FSDP2, or audit what a Trainer under DeepSpeed writes (docs/scaling.md)"
        )
    # A batch of text alone leaves the projector without gradients, and no model uses its whole tower.
    some_unused = config.method == "full" or text_alone
    accelerator = Accelerator(
        cpu=module.device.type == "cpu",
        mixed_precision="no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=some_unused)],
    )
    if _asked_for("FSDP") and accelerator.distributed_type != DistributedType.FSDP:
        raise KeepsightError(
            "accelerate offers FSDP on accelerators only; take another launcher configuration"
        )
    if accelerator.distributed_type == DistributedType.FSDP and not accelerator.is_fsdp2:
        raise KeepsightError(
            "FSDP1 hides single tensors; set fsdp_version: 2 in the launcher's configuration"
        )
    if accelerator.is_fsdp2 and not accelerator.state.fsdp_plugin.transformer_cls_names_to_wrap:
        accelerator.state.fsdp_plugin.transformer_cls_names_to_wrap = _layer_classes(module)
    return accelerator


def _asked_for(engine: str) -> bool:
    """Whether the launcher's configuration names this engine."""
    return os.environ.get(f"ACCELERATE_USE_{engine}", "").lower() == "true"


def _layer_classes(module: Any) -> list[str]:
    """Classes that are gathered one at a time. The family's own list names some that are not in this model (the text
    half of a CLIP), at which accelerate stops."""
    there = {type(part).__name__ for part in module.modules()}
    return sorted(there & set(module._no_split_modules or ()))
