"""Which tensors train: the projector alone, LoRA or MoELoRA on the language model with the projector, or everything."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from keepsight.models.anatomy import Anatomy, anatomy_of
from keepsight.tune.config import SFTConfig
from keepsight.types import KeepsightError

__all__ = ["LORA_NAME", "choose_trained", "seeded", "trained_parameters"]

LORA_NAME = "default"


def choose_trained(module: Any, config: SFTConfig) -> None:
    """Freezes everything, then frees (and for an adapter adds) the tensors that `config.method` trains.

    Trained tensors become float32; without `bf16` the whole module does, so that no product mixes dtypes.
    """
    parts = anatomy_of(module)
    module.requires_grad_(False)
    if not config.bf16:
        module.float()
    _CHOOSERS[config.method](module, parts, config)
    if not trained_parameters(module):
        raise KeepsightError(f"{type(module).__name__}: method {config.method} found no tensor to train")
    for parameter in trained_parameters(module).values():
        parameter.data = parameter.data.float()


def trained_parameters(module: Any) -> dict[str, Any]:
    """Name -> parameter of everything that trains, in the module's order."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


@contextmanager
def seeded(device: Any, *key: Any) -> Iterator[None]:
    """Torch's global stream (dropout and initialisation offer no other) set from `key`, and put back afterwards."""
    import hashlib

    import torch

    seed = int.from_bytes(hashlib.sha256("/".join(map(str, key)).encode()).digest()[:7], "big")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _free_projector(module: Any, parts: Anatomy, config: SFTConfig) -> None:
    for part in parts.projector:
        module.get_submodule(part).requires_grad_(True)


def _add_lora(module: Any, parts: Anatomy, config: SFTConfig) -> None:
    from peft import LoraConfig

    _add_adapter(module, parts, config, LoraConfig(**_lora_settings(module, parts, config)))


def _add_moelora(module: Any, parts: Anatomy, config: SFTConfig) -> None:
    from keepsight.models.moelora import MoELoraConfig

    adapter = MoELoraConfig(
        **_lora_settings(module, parts, config), num_experts=config.num_experts, gate_scale=config.gate_scale
    )
    _add_adapter(module, parts, config, adapter)


def _lora_settings(module: Any, parts: Anatomy, config: SFTConfig) -> dict[str, Any]:
    """A regular expression names the layers: `all-linear` or `["q_proj", ...]` would also adapt the vision tower."""
    return {
        "r": config.lora_r,
        "lora_alpha": config.lora_alpha,
        "lora_dropout": config.lora_dropout,
        "target_modules": _language_linears(module, parts),
    }


def _add_adapter(module: Any, parts: Anatomy, config: SFTConfig, adapter: Any) -> None:
    from peft import inject_adapter_in_model

    active = _active_adapters(module)
    with seeded(module.device, config.seed, "lora"), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Already found a `peft_config`"
        )  # worn by the base on purpose
        inject_adapter_in_model(adapter, module, LORA_NAME)
    for name, layer in module.named_modules():
        if name in active:  # an adapter worn by the base goes on counting, unchanged
            layer.set_adapter([*active[name], LORA_NAME])
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(f".{LORA_NAME}." in name)
    _free_projector(module, parts, config)


def _free_all(module: Any, parts: Anatomy, config: SFTConfig) -> None:
    module.requires_grad_(True)
    if config.freeze_vision_tower:
        module.get_submodule(parts.tower).requires_grad_(False)
        _free_projector(module, parts, config)  # some families keep it inside their tower


_CHOOSERS = {"linear": _free_projector, "lora": _add_lora, "moelora": _add_moelora, "full": _free_all}


def _active_adapters(module: Any) -> dict[str, list[str]]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {
        name: list(layer.active_adapters)
        for name, layer in module.named_modules()
        if isinstance(layer, BaseTunerLayer) and not layer.disable_adapters
    }


def _language_linears(module: Any, parts: Anatomy) -> str:
    """A pattern for every linear layer of the language model but its output head."""
    import torch

    head = module.get_output_embeddings()
    language = module.get_submodule(parts.language)
    leaves = {
        name.removesuffix(".base_layer").rpartition(".")[
            2
        ]  # a layer that wears a LoRA keeps itself one level down
        for name, layer in language.named_modules()
        if isinstance(layer, torch.nn.Linear) and layer is not head and ".lora_" not in name
    }
    names = "|".join(sorted(map(re.escape, leaves)))
    return rf"{re.escape(parts.language)}\.(?:.*\.)?(?:{names})"
