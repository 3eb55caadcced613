"""Putting a checkpoint on a base in memory, and taking it off without a trace.

LoRA layers are injected once per checkpoint under a name of their own and then only switched; replaced tensors (a
projector, `modules_to_save`) are copied in, the base's originals kept aside.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from keepsight.models.checkpoint import PROJECTOR, Checkpoint
from keepsight.models.headers import names_of
from keepsight.models.sources import shortened
from keepsight.types import KeepsightError

__all__ = ["Overlay", "Overlays", "offloaded"]

_RESIDENT = 4  # LoRA checkpoints kept in memory per base; an audit goes through them one after the other


@dataclass(frozen=True)
class Overlay:
    """One checkpoint, ready to be put on: tensors to replace (by their name in the base) and a LoRA adapter's name."""

    replaced: dict[str, Any]
    adapter: str | None
    adapted: tuple[str, ...] = ()  # names of the modules that carry the LoRA

    def touches(self, prefix: str) -> bool:
        """Whether anything under the module `prefix` differs from the base."""
        return any(name.startswith(prefix + ".") for name in (*self.replaced, *self.adapted))


@dataclass
class Overlays:
    """What is on one module now, and what can be put on again quickly."""

    module: Any
    changes: int = (
        0  # how often something was put on or taken off: what was derived from the module before is stale
    )
    _known: dict[str, Overlay] = field(default_factory=dict)  # checkpoint digest -> overlay, oldest first
    _worn: tuple[str, ...] = ()
    _originals: dict[str, Any] = field(default_factory=dict)

    def wear(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Takes everything off and puts `checkpoints` on, in order. After an error the bare base is left."""
        wanted = tuple(checkpoint.digest for checkpoint in checkpoints)
        if wanted == self._worn:
            return
        if wanted and offloaded(self.module):
            raise KeepsightError(
                f"checkpoint {checkpoints[0].directory}: part of its base does not fit on the devices (device auto "
                "keeps it elsewhere), and nothing can be put on such weights; use a smaller dtype or another device"
            )
        self._restore()
        overlays = [self._overlay(checkpoint, keep=wanted) for checkpoint in checkpoints]
        for overlay in overlays:
            self._replace(overlay.replaced)
        self._switch([overlay.adapter for overlay in overlays if overlay.adapter])
        self._worn = wanted

    def touch(self, prefix: str) -> bool:
        """Whether a checkpoint now worn changes anything under the module `prefix`."""
        return any(self._known[digest].touches(prefix) for digest in self._worn)

    def _overlay(self, checkpoint: Checkpoint, keep: Sequence[str]) -> Overlay:
        if checkpoint.digest not in self._known:
            self._known[checkpoint.digest] = self._prepare(checkpoint)
            self._forget([digest for digest in self._known if digest not in keep])
        self._known[checkpoint.digest] = self._known.pop(checkpoint.digest)
        return self._known[checkpoint.digest]

    def _prepare(self, checkpoint: Checkpoint) -> Overlay:
        replaced, lora = self._sorted_by_place(checkpoint)
        self._require_projector(checkpoint, replaced)
        if checkpoint.adapter_config() is None:
            return Overlay(replaced, None)
        name = "worn_" + checkpoint.digest[:16]
        return Overlay(replaced, name, self._inject(checkpoint, lora, name))

    def _sorted_by_place(self, checkpoint: Checkpoint) -> tuple[dict[str, Any], dict[str, Any]]:
        """The checkpoint's tensors in two heaps: those that replace a base tensor, and the LoRA's own."""
        replaced: dict[str, Any] = {}
        lora: dict[str, Any] = {}
        lost: list[str] = []
        for name, value in checkpoint.tensors().items():
            current = _current_name(self.module, name)
            target = _tensor(self.module, current)
            if target is not None:
                _require_shape(checkpoint, name, value, target)
                replaced[current] = value.to(target.dtype)
            elif _carrier(self.module, current):
                lora[current] = value
            else:
                lost.append(name)
        if lost:
            raise KeepsightError(
                f"checkpoint {checkpoint.directory} has tensors with no place in {type(self.module).__name__}: "
                f"{shortened(sorted(lost))}; it belongs to another base"
            )
        return replaced, lora

    def _require_projector(self, checkpoint: Checkpoint, replaced: dict[str, Any]) -> None:
        prefixes = [prefix for prefix in checkpoint.manifest.get("trained", ()) if prefix.endswith(".")]
        missing = [
            name
            for name in _base_names(self.module)
            if any(name.startswith(prefix) for prefix in prefixes) and name not in replaced
        ]
        if missing:
            raise KeepsightError(
                f"checkpoint {checkpoint.directory}: {PROJECTOR} lacks {shortened(missing)}, which were trained; "
                "save the checkpoint again"
            )

    def _inject(self, checkpoint: Checkpoint, lora: dict[str, Any], name: str) -> tuple[str, ...]:
        """Adds the checkpoint's LoRA layers, filled from `lora`; anything missing or left over is an error."""
        from peft import inject_adapter_in_model, set_peft_model_state_dict

        settings = dict(checkpoint.adapter_config() or {})
        settings.update(inference_mode=True, modules_to_save=None)  # those tensors are replaced, not wrapped
        config_class = _config_class(checkpoint, settings.get("peft_type"))
        try:
            config = config_class.from_peft_type(**settings)
            with warnings.catch_warnings():  # that there is another adapter already is the point
                warnings.simplefilter("ignore", UserWarning)
                inject_adapter_in_model(config, self.module, name, low_cpu_mem_usage=True)
            lora = {key: value.to(self.module.dtype) for key, value in lora.items()}
            result = set_peft_model_state_dict(self.module, lora, name, low_cpu_mem_usage=True)
        except (ValueError, RuntimeError, TypeError) as error:
            self._remove(name)
            raise KeepsightError(
                f"checkpoint {checkpoint.directory} does not fit the base: {error}"
            ) from error
        self.module.eval()
        missing = [key for key in result.missing_keys if f".{name}" in key]
        if missing or result.unexpected_keys:
            self._remove(name)
            what = "lacks" if missing else "has tensors with no place:"
            names = shortened(
                sorted(key.replace(f".{name}", "") for key in missing or result.unexpected_keys)
            )
            raise KeepsightError(
                f"checkpoint {checkpoint.directory} {what} {names}; save it again, or check the base"
            )
        return tuple(path for path, layer in _tuner_layers(self.module) if name in _adapters_of(layer))

    def _replace(self, tensors: dict[str, Any]) -> None:
        import torch

        with torch.no_grad():
            for name, value in tensors.items():
                target = _tensor(self.module, name)
                if name not in self._originals:
                    self._originals[name] = target.detach().clone()
                target.copy_(value)

    def _restore(self) -> None:
        """Back to the bare base."""
        import torch

        self.changes += 1
        with torch.no_grad():
            for name, value in self._originals.items():
                _tensor(self.module, name).copy_(value)
        self._originals = {}
        self._switch([])
        self._worn = ()

    def _switch(self, adapters: list[str]) -> None:
        for _, layer in _tuner_layers(self.module):
            layer.enable_adapters(bool(adapters))
            if adapters:
                layer.set_adapter(
                    [name for name in adapters if name in _adapters_of(layer)], inference_mode=True
                )

    def _forget(self, candidates: list[str]) -> None:
        """Drops the oldest overlays beyond the number kept."""
        while len(self._known) > _RESIDENT and candidates:
            overlay = self._known.pop(candidates.pop(0))
            if overlay.adapter is not None:
                self._remove(overlay.adapter)

    def _remove(self, adapter: str) -> None:
        from peft.tuners.tuners_utils import BaseTunerLayer

        # Every layer: a refused adapter may be on some of them and not yet in `peft_config`.
        for layer in self.module.modules():
            if isinstance(layer, BaseTunerLayer) and adapter in _adapters_of(layer):
                layer.set_adapter([], inference_mode=True)  # peft would put another one on in its place
                layer.delete_adapter(adapter)
        getattr(self.module, "peft_config", {}).pop(adapter, None)
        self._switch([])


def offloaded(module: Any) -> bool:
    """Whether weights are brought in for each call only, by accelerate."""
    return any(parameter.is_meta for parameter in module.parameters())


def _config_class(checkpoint: Checkpoint, peft_type: Any) -> Any:
    if peft_type == "MOELORA":
        from keepsight.models.moelora import MoELoraConfig  # tells peft of the type

        return MoELoraConfig
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    if peft_type not in PEFT_TYPE_TO_CONFIG_MAPPING:
        raise KeepsightError(f"checkpoint {checkpoint.directory}: unknown peft_type {peft_type!r}")
    return PEFT_TYPE_TO_CONFIG_MAPPING[peft_type]


def _tuner_layers(module: Any) -> Iterator[tuple[str, Any]]:
    if not getattr(module, "peft_config", None):
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    yield from ((name, layer) for name, layer in module.named_modules() if isinstance(layer, BaseTunerLayer))


def _adapters_of(layer: Any) -> set[str]:
    return {name for kind in layer.adapter_layer_names for name in getattr(layer, kind)}


def _require_shape(checkpoint: Checkpoint, name: str, value: Any, target: Any) -> None:
    if value.shape != target.shape:
        raise KeepsightError(
            f"checkpoint {checkpoint.directory}: tensor {name} has shape {list(value.shape)}, the base has "
            f"{list(target.shape)}; it belongs to another base"
        )


def _tensor(module: Any, name: str) -> Any:
    """The base's tensor of this name, or None; a module that carries a LoRA keeps its own one level down."""
    path, _, leaf = name.rpartition(".")
    for candidate in (path, f"{path}.base_layer"):
        owner = _submodule(module, candidate)
        if owner is not None and leaf in (*owner._parameters, *owner._buffers):
            return getattr(owner, leaf)
    return None


def _submodule(module: Any, path: str) -> Any:
    try:
        return module.get_submodule(path)
    except AttributeError:
        return None


def _carrier(module: Any, name: str) -> bool:
    """Whether `name` is a layer of the base followed by an adapter's own tensor (`...q_proj.lora_A.weight`)."""
    layer: Any = module
    for step in name.split(".")[:-1]:
        layer = getattr(layer, step, None)
        if not hasattr(layer, "named_children"):
            return False
        if hasattr(layer, "base_layer") or not list(layer.children()):
            return True
    return False


def _current_name(module: Any, name: str) -> str:
    """`name` as this version of transformers calls it; unknown names stay as they are."""
    for candidate in names_of(name):
        if _tensor(module, candidate) is not None or _carrier(module, candidate):
            return candidate
    return name


def _base_names(module: Any) -> list[str]:
    """Names of the base's own tensors, as they were before any LoRA was put on."""
    return sorted(name.replace(".base_layer.", ".") for name in module.state_dict() if ".worn_" not in name)
