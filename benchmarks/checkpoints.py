"""A base and three checkpoints of it, made in seconds: what the audit benchmarks ask."""

from __future__ import annotations

from pathlib import Path

from keepsight import models
from keepsight.data.drawn import SETS
from keepsight.tasks import get
from keepsight.tune.sft import SFTConfig, sft
from keepsight.types import KeepsightError, Task

__all__ = ["all_sets", "four_checkpoints"]

_LEARNT = 48  # samples; enough for three checkpoints that answer differently


def four_checkpoints(ref: str, folder: Path) -> list[str]:
    """Refs of the base, one projector-only checkpoint and two epochs of LoRA."""
    base = models.load(ref)
    if not isinstance(base, models.HFModel):
        raise KeepsightError(f"{ref} cannot be tuned; give tiny or hf:PATH")
    task = get("emt:shapes")
    assert task.train is not None
    samples = list(task.train())[:_LEARNT]
    linear = SFTConfig(method="linear", num_train_epochs=1, learning_rate=1e-3, save_steps=0)
    lora = SFTConfig(method="lora", num_train_epochs=2, learning_rate=1e-3, lora_r=8, save_steps=0)
    made = [*sft(base, samples, linear, folder / "linear"), *sft(base, samples, lora, folder / "lora")]
    return [ref, *(f"{ref}+adapter:{path}" for path in made)]


def all_sets(n: int) -> list[Task]:
    """The EMT task of every drawn set, `n` pictures each."""
    return [get(f"emt:{name}", n=n) for name in SETS]
