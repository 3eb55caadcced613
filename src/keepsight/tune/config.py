"""The settings of a fine-tune. Names are those of Hugging Face's TrainingArguments and peft's LoraConfig."""

from __future__ import annotations

import ast
import inspect
import math
import sys
import textwrap
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

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
        for setting in fields(self):
            value = getattr(self, setting.name)
            if value is not None or setting.default is not None:
                _require(setting.name, value)
        if self.lora_alpha == int(self.lora_alpha):  # 32.0, as the command line reads it, is 32
            object.__setattr__(self, "lora_alpha", int(self.lora_alpha))
        if self.method == "moelora" and self.lora_r % self.num_experts:
            raise KeepsightError(
                f"lora_r {self.lora_r} cannot be cut into num_experts {self.num_experts}: give a multiple of it"
            )


_WORDS: dict[str, tuple[str, ...]] = {
    "method": tuple(TRAINED_PARTS),
    "lr_scheduler_type": SCHEDULES,
    "gate_scale": get_args(GateScale),
}
_FLAGS = ("freeze_vision_tower", "bf16", "gradient_checkpointing")
_LARGEST = sys.float_info.max  # neither infinity nor what is no number at all
_BELOW_ONE = math.nextafter(1, 0)
_FROM_ZERO = (0, _LARGEST, "at least 0")
_FROM_ONE = (1, _LARGEST, "at least 1")
_UP_TO_ONE = (0, 1, "from 0 to 1")
_UNDER_ONE = (0, _BELOW_ONE, "at least 0 and below 1")
# Least, most, and how that is said.
_WHOLE_NUMBERS = {
    "num_train_epochs": _FROM_ONE,
    "per_device_train_batch_size": _FROM_ONE,
    "gradient_accumulation_steps": _FROM_ONE,
    "max_length": _FROM_ONE,
    "lora_r": _FROM_ONE,
    "num_experts": _FROM_ONE,
    "save_steps": _FROM_ZERO,
    "logging_steps": _FROM_ZERO,
    "seed": (-math.inf, math.inf, "any"),
}
_NUMBERS = {
    "learning_rate": _FROM_ZERO,
    "projector_learning_rate": _FROM_ZERO,
    "warmup_ratio": _UP_TO_ONE,
    "weight_decay": _FROM_ZERO,
    "adam_beta1": _UNDER_ONE,
    "adam_beta2": _UNDER_ONE,
    "adam_epsilon": _FROM_ZERO,
    "max_grad_norm": _FROM_ZERO,
    "lora_alpha": (math.ulp(0), _LARGEST, "above 0"),
    "lora_dropout": _UNDER_ONE,
}


def _require(name: str, value: Any) -> None:
    """Raises KeepsightError unless the setting of this name takes the value."""
    if name in _WORDS:
        if value not in _WORDS[name]:
            raise KeepsightError(f"{name} {value!r} is none of {', '.join(_WORDS[name])}")
    elif name in _FLAGS:
        if not isinstance(value, bool):
            raise KeepsightError(f"{name} must be true or false, not {value!r}")
    elif name in _WHOLE_NUMBERS:
        _require_number(name, value, int, "a whole number", *_WHOLE_NUMBERS[name])
    else:
        _require_number(name, value, (int, float), "a number", *_NUMBERS[name])


def _require_number(
    name: str, value: Any, kinds: Any, called: str, least: float, most: float, limits: str
) -> None:
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise KeepsightError(f"{name} must be {called}, not {value!r}")
    if not least <= value <= most:
        raise KeepsightError(f"{name} must be {limits}, not {value!r}")


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
