"""Where a stage starts: the checkpoint of the stage before, put into the tensors that train, and the method's own state."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keepsight.models.checkpoint import Checkpoint, read_checkpoint, read_tensors, saving
from keepsight.models.sources import quiet_loading
from keepsight.store.files import replace_file
from keepsight.tune.trainable import LORA_NAME, trained_parameters
from keepsight.types import KeepsightError, digest_of

__all__ = ["METHOD_STATE", "Start", "read_method_state", "write_method_state"]

METHOD_STATE = "method.safetensors"


@dataclass(frozen=True)
class Start:
    """A checkpoint of the same base and of the same trained tensors, and what the method remembers. Both may be missing."""

    checkpoint: Path | None = None
    state: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Of every value that a run starts from; empty if it starts from the base and nothing is remembered."""
        if self.checkpoint is None and not self.state:
            return ""
        worn = read_checkpoint(self.checkpoint).digest if self.checkpoint is not None else ""
        return digest_of([worn, {name: _fingerprint(value) for name, value in sorted(self.state.items())}])

    def put_on(self, module: Any, carries_on: Callable[[str], bool] = lambda name: True) -> None:
        """Copies the checkpoint's tensors into the trained parameters of `module`.

        Args:
            carries_on: for which of them, by the name that the checkpoint gives them; the others keep their start values.

        Raises:
            KeepsightError: the checkpoint has other tensors, or others of this name have another shape.
        """
        if self.checkpoint is None:
            return
        import torch

        trained = trained_parameters(module)
        places = {_saved_name(name): parameter for name, parameter in trained.items()}
        tensors = _tensors(read_checkpoint(self.checkpoint), module, places)
        tensors = {name: value for name, value in tensors.items() if carries_on(name)}
        places = {name: parameter for name, parameter in places.items() if carries_on(name)}
        if different := sorted(set(places) ^ set(tensors)):
            raise KeepsightError(
                f"checkpoint {self.checkpoint} holds other trained tensors ({different[0]}, ...); a stage goes on with "
                "the adapter and the settings of the one before"
            )
        with torch.no_grad():
            for name, parameter in places.items():
                if parameter.shape != tensors[name].shape:
                    raise KeepsightError(
                        f"checkpoint {self.checkpoint}: {name} is {list(tensors[name].shape)}, here it is "
                        f"{list(parameter.shape)}; go on with the same lora_r"
                    )
                parameter.copy_(tensors[name])


def _tensors(checkpoint: Checkpoint, module: Any, places: Mapping[str, Any]) -> dict[str, Any]:
    """The checkpoint's tensors; of a whole model those that train, under the names that this module gives them."""
    if not checkpoint.is_whole_model:
        return checkpoint.tensors()
    with quiet_loading():
        state = type(module).from_pretrained(checkpoint.directory).state_dict()
    return {name: value for name, value in state.items() if name in places}


def write_method_state(directory: Path, state: Mapping[str, Any]) -> None:
    """Writes `directory/method.safetensors`; an empty state takes the file away."""
    from safetensors.torch import save

    path = directory / METHOD_STATE
    with saving(path):
        if state:
            tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
            replace_file(path, save(tensors))
        else:
            path.unlink(missing_ok=True)


def read_method_state(directory: Path) -> dict[str, Any]:
    """What `write_method_state` wrote; empty without a file."""
    path = directory / METHOD_STATE
    return read_tensors(path) if os.path.isfile(path) else {}


def _saved_name(name: str) -> str:
    """A trained parameter as its checkpoint calls it."""
    return name.replace(f".{LORA_NAME}.", ".").replace(".base_layer.", ".")


def _fingerprint(value: Any) -> list[Any]:
    """Shape and digest of a tensor's bytes."""
    import hashlib

    import torch

    plain = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return [list(value.shape), hashlib.sha256(plain.numpy().tobytes()).hexdigest()]
