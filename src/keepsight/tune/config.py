"""The settings of a fine-tune. Names are those of Hugging Face's TrainingArguments and peft's LoraConfig."""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from dataclasses import dataclass, fields
from typing import Literal, get_args

from keepsight.types import KeepsightError

__all__ = ["SCHEDULES", "TRAINED_PARTS", "GateScale", "SFTConfig", "TrainedPart", "help_of"]

TrainedPart = Literal["linear", "lora", "moelora", "full"]
GateScale = Literal["softmax", "softmax*N"]
TRAINED_PARTS: dict[str, str] = {
    "linear": "tunes the projector alone",
    "lora": "tunes LoRA matrices in the language model, and the projector",
    "moelora": "tunes LoRA matrices cut into experts that a gate mixes for each token, and the projector",
    "full": "tunes every tensor",
}
SCHEDULES = ("linear", "cosine", "constant", "constant_with_warmup")


@dataclass(frozen=True)
class SFTConfig:
    """Settings of supervised fine-tuning.

    Learning rate, schedule, warm-up and weight decay are those LLaVA-1.5 uses with LoRA (arXiv:2310.03744); three
    epochs are EMT's (arXiv:2309.10313, section 5.1).
    """

    method: TrainedPart = "linear"
    """What is trained: linear (the projector alone), lora (LoRA on the language model, and the projector), moelora (that LoRA as a mixture of experts, and the projector) or full."""
    learning_rate: float = 2e-4
    """Peak learning rate of AdamW."""
    projector_learning_rate: float | None = None
    """Peak learning rate of the projector's tensors; none means learning_rate."""
    num_train_epochs: int = 3
    """How often every sample is seen; each epoch ends with a checkpoint."""
    per_device_train_batch_size: int = 16
    """Samples in one forward pass on one device."""
    gradient_accumulation_steps: int = 1
    """Forward passes per optimiser step."""
    lr_scheduler_type: str = "cosine"
    """How the learning rate runs after warm-up: linear, cosine, constant or constant_with_warmup."""
    warmup_ratio: float = 0.03
    """Share of all steps over which the learning rate rises from zero."""
    weight_decay: float = 0.0
    """AdamW's weight decay, on matrices only (not on biases and norms)."""
    adam_beta1: float = 0.9
    """AdamW's decay rate of the mean gradient."""
    adam_beta2: float = 0.999
    """AdamW's decay rate of the mean squared gradient."""
    adam_epsilon: float = 1e-8
    """AdamW's term against division by zero."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm; 0 leaves them alone."""
    max_length: int | None = None
    """Longest sequence in tokens: a longer answer loses its tail, an image or a question is never cut."""
    lora_r: int = 16
    """Rank of the LoRA matrices."""
    lora_alpha: float = 32
    """LoRA's scaling is lora_alpha / lora_r."""
    lora_dropout: float = 0.05
    """Dropout before the LoRA matrices."""
    num_experts: int = 8
    """Experts of a MoELoRA (moelora only); each has the rank lora_r / num_experts."""
    gate_scale: GateScale = "softmax"
    """What a MoELoRA's gates sum to (moelora only): softmax (1) or softmax*N (the number of experts, LoRA's step)."""
    freeze_vision_tower: bool = True
    """Keep the vision tower as it is (full only; the others never touch it)."""
    bf16: bool = False
    """Compute in bfloat16 while the trained tensors stay float32; without it everything is float32."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third slower."""
    save_steps: int = 200
    """Steps between two savings of the resumable training state (every epoch's end saves it too); 0: only there."""
    logging_steps: int = 1
    """Steps between two rows of train_log.jsonl."""
    seed: int = 0
    """Decides the order of the samples, the LoRA start values and dropout."""

    def __post_init__(self) -> None:
        if not 0 < self.lora_alpha < math.inf:
            raise KeepsightError(f"lora_alpha must be a positive number, not {self.lora_alpha}")
        if self.lora_alpha == int(self.lora_alpha):  # 32.0, as the command line reads it, is 32
            object.__setattr__(self, "lora_alpha", int(self.lora_alpha))
        if self.lr_scheduler_type not in SCHEDULES:
            raise KeepsightError(
                f"lr_scheduler_type {self.lr_scheduler_type!r} is none of {', '.join(SCHEDULES)}"
            )
        if self.method not in TRAINED_PARTS:
            raise KeepsightError(f"method {self.method!r} is none of {', '.join(TRAINED_PARTS)}")
        for name in (
            "num_train_epochs",
            "per_device_train_batch_size",
            "gradient_accumulation_steps",
            "lora_r",
            "num_experts",
        ):
            if getattr(self, name) < 1:
                raise KeepsightError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in (
            "learning_rate",
            "warmup_ratio",
            "weight_decay",
            "max_grad_norm",
            "save_steps",
            "logging_steps",
        ):
            if getattr(self, name) < 0:
                raise KeepsightError(f"{name} must not be negative, it is {getattr(self, name)}")
        if self.gate_scale not in get_args(GateScale):
            raise KeepsightError(
                f"gate_scale {self.gate_scale!r} is none of {', '.join(get_args(GateScale))}"
            )
        if self.method == "moelora" and self.lora_r % self.num_experts:
            raise KeepsightError(
                f"lora_r {self.lora_r} cannot be cut into num_experts {self.num_experts}: give a multiple of it"
            )


def help_of(config: type) -> dict[str, str]:
    """Field name -> the line of help under it in the class body of a dataclass."""
    body = ast.parse(textwrap.dedent(inspect.getsource(config))).body[0]
    assert isinstance(body, ast.ClassDef)
    help_lines = {}
    for field, text in zip(body.body, body.body[1:]):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            help_lines[ast.unparse(field.target)] = str(text.value.value)
    return {field.name: help_lines.get(field.name, "") for field in fields(config)}
