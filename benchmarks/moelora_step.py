"""A training step with MoELoRA, against one with plain LoRA of the same rank; a loop over the experts beside them.

All three train the same random language model on the same batch: forward, backward, AdamW. They take turns; CPU time
counts, so other work on the machine does not, and of each the quickest step.
"""

from __future__ import annotations

import math
import time
from typing import Any

from benchmarks.record import Record

__all__ = ["measure"]

SIZES = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 6, "num_attention_heads": 8}
VOCABULARY = 4096
BATCH = (1, 256)  # [b, s]
RANK, EXPERTS, DROPOUT = 128, 8, 0.05  # as CoIN tunes, with LLaVA's dropout
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
REPEATS = 20
LOOPED = 3  # repeats of the loop, which is only shown
GOAL = 1.10  # at most


def measure(ref: str = "tiny") -> Record:
    """The mixture and its loop must give the same logits, or this stops."""
    import torch

    ids = torch.randint(VOCABULARY, BATCH, generator=torch.Generator().manual_seed(0))
    modules = {"lora": _adapted(None), "moelora": _adapted(EXPERTS), "loop": _looped(_adapted(EXPERTS))}
    _require_equal(modules["moelora"], modules["loop"], ids)
    steps = {name: _Step(module.train(), ids) for name, module in modules.items()}
    for step in steps.values():
        step.take()
    best = dict.fromkeys(steps, math.inf)
    for repeat in range(REPEATS):
        for name, step in steps.items():
            if name != "loop" or repeat < LOOPED:
                began = time.process_time()
                step.take()
                best[name] = min(best[name], time.process_time() - began)
    ratio, loop = best["moelora"] / best["lora"], best["loop"] / best["lora"]
    millions = sum(parameter.numel() for parameter in modules["lora"].parameters()) / 1e6
    detail = (
        f"{best['moelora']:.3f} s of CPU against {best['lora']:.3f} s a step ({ratio:.3f}), the quickest of {REPEATS}; "
        f"{millions:.0f} M parameters, rank {RANK}, {EXPERTS} experts; a loop over them {loop:.2f}; at most"
    )
    return Record("moelora_step", ratio, GOAL, ratio <= GOAL, REPEATS, detail)


class _Step:
    """One optimiser step after the other on one batch."""

    def __init__(self, module: Any, ids: Any) -> None:
        import torch

        self._module, self._ids = module, ids
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(trained, lr=1e-4)

    def take(self) -> None:
        self._module(input_ids=self._ids, labels=self._ids, use_cache=False).loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad()


def _adapted(experts: int | None) -> Any:
    """The random model, equal each time, with an adapter whose update is not zero."""
    import torch
    from peft import LoraConfig, inject_adapter_in_model
    from transformers import LlamaConfig, LlamaForCausalLM

    from keepsight.models.moelora import MoELoraConfig

    settings: dict[str, Any] = {
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "lora_dropout": DROPOUT,
        "target_modules": LINEARS,
    }
    config = LoraConfig(**settings) if experts is None else MoELoraConfig(**settings, num_experts=experts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = LlamaForCausalLM(LlamaConfig(**SIZES, vocab_size=VOCABULARY))
        inject_adapter_in_model(config, module)
        for name, parameter in module.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.01)
    return module


def _looped(module: Any) -> Any:
    """The same mixture as the released code computes it: every expert two layers of its own, asked one after another."""
    import torch

    class Experts(torch.nn.Module):
        def __init__(self, layer: Any) -> None:
            super().__init__()
            cut = RANK // EXPERTS
            inner, outer = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            self.inner = torch.nn.ModuleList(_linear(part) for part in inner.split(cut, dim=0))
            self.outer = torch.nn.ModuleList(_linear(part) for part in outer.split(cut, dim=1))

        def forward(self, layer: Any, active_adapter: str, x: Any, result: Any, **_: Any) -> Any:
            gates = layer.lora_router[active_adapter](x)  # [b, s, N]
            dropout, scaling = layer.lora_dropout[active_adapter], layer.scaling[active_adapter]
            for at, (inner, outer) in enumerate(zip(self.inner, self.outer)):
                result = result + outer(inner(dropout(x))) * scaling * gates[..., at : at + 1]
            return result

    for layer in list(module.modules()):
        if hasattr(layer, "lora_router"):
            layer.experts = Experts(layer)
            layer.lora_variant["default"] = layer.experts
            layer.lora_A["default"].requires_grad_(False)
            layer.lora_B["default"].requires_grad_(False)
    return module


def _linear(weight: Any) -> Any:
    import torch

    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight.data = weight.detach().clone()
    return layer


def _require_equal(one: Any, other: Any, ids: Any) -> None:
    import torch

    with torch.no_grad():
        apart = (one.eval()(input_ids=ids).logits - other.eval()(input_ids=ids).logits).abs().max()
    assert apart < 1e-4, f"the loop's logits differ by {apart:.1e}"
