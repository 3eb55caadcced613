"""MoELoRA (CoIN, section 4.2, Eq. 4 and 5): a LoRA cut into experts, which a gate mixes for each token, as an adapter of peft.

    h = W x + alpha / r * sum_i G_i B_i A_i x,    G = softmax(R x)
    A_i [r/N, d_in], B_i [d_out, r/N], R [N, d_in]; N experts of rank r/N, r the rank of all together

The experts lie one after another in LoRA's own A and B, so the sum over them is B (repeat(G, r/N) * A x): no loop, and
one tensor (`lora_router`) more than LoRA has. With one expert G is 1 and every bit is LoRA's.

What differs from the released code:
1. No loop over experts, and one dropout mask for all of them instead of one each.
2. The gate is computed in float32 whatever the model's dtype.
3. A starts as peft's LoRA starts it (Kaiming, uniform), not from N(0, .01): the same width as LoRA at any d_in, and one
   expert is LoRA from the first step on. B starts at zero and the gate like any linear layer, as there.
4. `gate_scale="softmax*N"`: gates sum to 1, so experts that are used alike add up to LoRA's update divided by N. The
   paper compares this with LoRA at the full step; with the factor N both take steps of one size.
5. It is merged where that is exact (every token has the same gates) and refused elsewhere.

Importing this module makes the type known to peft, as peft does with its own: `PeftModel.from_pretrained` then reads it.

    model = get_peft_model(model, MoELoraConfig(r=16, num_experts=8, target_modules=["q_proj", "v_proj"]))
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from typing import Any

import peft
import torch
from peft.tuners.lora import Linear, LoraConfig, LoraLayer, LoraModel

from keepsight.types import KeepsightError

__all__ = ["GATE_SCALES", "ROUTER", "Gate", "MoELoraConfig", "MoELoraModel"]

GATE_SCALES = ("softmax", "softmax*N")
ROUTER = "lora_router"
_STARTS = (True, False, "gaussian")  # those that leave B alone, or the base's weights


class AdapterType(str, enum.Enum):
    """peft's own list of types is closed; it looks them up by their text."""

    MOELORA = "MOELORA"


@dataclass
class MoELoraConfig(LoraConfig):
    """peft's LoRA settings and how the rank is cut. `r` is the rank of all experts together."""

    num_experts: int | None = field(default=None, metadata={"help": "Experts that share the rank."})
    gate_scale: str = field(
        default="softmax", metadata={"help": "Gates sum to 1 (softmax) or N (softmax*N)."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = AdapterType.MOELORA
        if type(self.num_experts) is not int or self.num_experts < 1:
            raise ValueError(
                f"MoELoRA: num_experts must be a whole number from 1, it is {self.num_experts!r}"
            )
        uneven = [rank for rank in (self.r, *self.rank_pattern.values()) if rank % self.num_experts]
        if uneven:
            raise ValueError(
                f"MoELoRA: rank {uneven[0]} cannot be cut into {self.num_experts} experts, give a multiple of it"
            )
        if self.gate_scale not in GATE_SCALES:
            raise ValueError(f"MoELoRA: gate_scale {self.gate_scale!r} is none of {', '.join(GATE_SCALES)}")
        if self.init_lora_weights not in _STARTS:
            raise ValueError(f"MoELoRA: init_lora_weights {self.init_lora_weights!r} is for plain LoRA only")
        if self.lora_bias:
            raise ValueError("MoELoRA: lora_bias is for plain LoRA only: a bias has no expert")


class Gate(torch.nn.Module):
    """Which experts a token gets, in float32 also under autocast: x [..., d_in] -> [..., N], each row sums to 1."""

    def __init__(self, like: torch.Tensor, num_experts: int) -> None:
        """`like`: the layer's A, for width, device and dtype."""
        super().__init__()
        weight = torch.empty(num_experts, like.shape[1], device=like.device, dtype=like.dtype)
        self.weight = torch.nn.Parameter(weight, requires_grad=like.requires_grad)
        torch.nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return torch.nn.functional.linear(x.float(), self.weight.float()).softmax(dim=-1)

    @property
    def is_uniform(self) -> bool:
        """Whether every token gets all experts alike."""
        return bool((self.weight == self.weight[:1]).all())


@dataclass(frozen=True)
class Mixture:
    """What one adapter does in a `peft.tuners.lora.Linear`: peft calls this where it computes, merges and unmerges."""

    num_experts: int
    total: int  # what the gates add up to

    def forward(
        self, layer: Any, active_adapter: str, x: torch.Tensor, result: torch.Tensor, **_: Any
    ) -> torch.Tensor:
        """The base's result [..., d_out] with the experts' added; x [..., d_in]."""
        inner, outer = layer.lora_A[active_adapter], layer.lora_B[active_adapter]
        scaling = layer.scaling[active_adapter] * self.total
        gates = getattr(layer, ROUTER)[active_adapter](x)  # [..., N]
        ranks = inner(layer.lora_dropout[active_adapter](x))  # [..., r]
        if self.num_experts == 1:
            return result + outer(ranks * gates.to(ranks.dtype)) * scaling  # rounded where LoRA rounds
        # Scaled here, [..., N] is multiplied instead of [..., d_out]: that pays for most of what the gate costs.
        gates = (gates * scaling).to(ranks.dtype).unsqueeze(-1)  # [..., N, 1]
        mixed = ranks.unflatten(-1, (self.num_experts, -1)) * gates  # [..., N, r/N]
        return result + outer(mixed.flatten(-2))

    def merge_safe(self, layer: Any, active_adapter: str, orig_weight: torch.Tensor) -> torch.Tensor:
        """The weight with the adapter in it, a new tensor."""
        return orig_weight + self._delta(layer, active_adapter).to(orig_weight.dtype)

    def merge_unsafe(self, layer: Any, active_adapter: str, orig_weight: torch.Tensor) -> None:
        """Puts the adapter into the weight."""
        orig_weight.data += self._delta(layer, active_adapter).to(orig_weight.dtype)

    def unmerge(self, layer: Any, active_adapter: str, orig_weight: torch.Tensor) -> torch.Tensor:
        """The weight without the adapter."""
        return orig_weight.data - self._delta(layer, active_adapter).to(orig_weight.dtype)

    def supports_lora_conversion(self) -> bool:
        """A matrix that depends on the token has no low-rank equal."""
        return False

    def _delta(self, layer: Any, adapter: str) -> torch.Tensor:
        if not getattr(layer, ROUTER)[adapter].is_uniform:
            raise ValueError(
                f"MoELoRA {adapter} cannot be merged: its gates differ from token to token, and a weight does not; keep the "
                "adapter beside the model"
            )
        return layer.get_delta_weight(adapter) * (self.total / self.num_experts)


class MoELoraModel(LoraModel):
    """peft's LoRA model, whose new adapters are mixtures. Other adapters on the same layers stay what they are."""

    def inject_adapter(self, model: torch.nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """LoRA everywhere, then the gates: with one expert the random start is LoRA's."""
        super().inject_adapter(model, adapter_name, *args, **kwargs)
        config = self.peft_config[adapter_name]
        for name, layer in model.named_modules():
            if isinstance(layer, LoraLayer) and adapter_name in layer.scaling:
                _mix(name, layer, adapter_name, config)

    def add_weighted_adapter(self, *args: Any, **kwargs: Any) -> None:
        """Refused: the sum of two mixtures is none."""
        raise ValueError("MoELoRA adapters cannot be combined into one; put them on together instead")


def _mix(name: str, layer: Any, adapter: str, config: MoELoraConfig) -> None:
    """Makes a mixture of the plain LoRA that `layer` just got."""
    if type(layer) is not Linear or adapter in layer.lora_variant:
        kind = "with another LoRA variant" if type(layer) is Linear else f"a {type(layer).__name__} of peft's"
        raise ValueError(f"MoELoRA is for plain linear layers and plain LoRA; {name} is {kind}")
    assert config.num_experts is not None  # the config has seen to it
    if ROUTER not in layer.adapter_layer_names:
        layer.adapter_layer_names = (*layer.adapter_layer_names, ROUTER)
        setattr(layer, ROUTER, torch.nn.ModuleDict())
    getattr(layer, ROUTER)[adapter] = Gate(layer.lora_A[adapter].weight, config.num_experts)
    total = config.num_experts if config.gate_scale == "softmax*N" else 1
    layer.lora_variant[adapter] = Mixture(config.num_experts, total)


def _register() -> None:
    """Tells peft of the type.

    Raises:
        KeepsightError: a peft that would not save it (before 0.21), or that has no such place any more.
    """
    if not hasattr(LoraModel, "_get_adapter_state_dict") or not hasattr(LoraLayer, "resolve_lora_variant"):
        raise KeepsightError(
            f"MoELoRA needs peft 0.21 or a later one that still has LoRA variants, not {peft.__version__}; install peft 0.21"
        )
    peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING[AdapterType.MOELORA] = MoELoraConfig
    peft.mapping.PEFT_TYPE_TO_TUNER_MAPPING[AdapterType.MOELORA] = MoELoraModel
    peft.mapping.PEFT_TYPE_TO_PREFIX_MAPPING[AdapterType.MOELORA] = MoELoraModel.prefix


_register()
