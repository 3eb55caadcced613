"""Complete checkpoints: everything a fine-tune changed in one directory, and the refusal of anything less.

Layout of a directory written here:

- `keepsight.json`: format, method, base ref and digest, which tensors were trained, epoch, step, data digest, config.
- `projector.safetensors` (linear, lora, moelora): every tensor of the projector under its full name in the module.
- `adapter_config.json`, `adapter_model.safetensors` (lora, moelora): as peft writes and reads them.
- the whole model and processor as `save_pretrained` writes them (full).

A directory that peft wrote elsewhere is read too, `modules_to_save` included.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from keepsight.data.json_rows import read_json
from keepsight.models.anatomy import anatomy_of
from keepsight.models.headers import Shape, read_shapes
from keepsight.models.identity import files_digest, model_files
from keepsight.models.refs import neighbours
from keepsight.store.files import writing
from keepsight.types import KeepsightError, digest_of

if TYPE_CHECKING:
    from keepsight.models.hf import HFModel

__all__ = [
    "FORMAT",
    "Checkpoint",
    "Method",
    "like_neighbour",
    "read_checkpoint",
    "read_tensors",
    "remove_leftovers",
    "save_checkpoint",
    "saving",
]

FORMAT = 1
MANIFEST = "keepsight.json"
PROJECTOR = "projector.safetensors"
ADAPTER = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
_PICKLES = (
    "non_lora_trainables.bin",
    "mm_projector.bin",
    "adapter_model.bin",
)  # what LLaVA and old peft write
_PEFT = "base_model.model."  # what peft puts before every name
_PROJECTOR_NAMES = ("projector", "connector", "merger", "non_lora")  # in the names of files that hold one
_UNFINISHED = (".partial", ".replaced")  # beside a checkpoint that is being written, or is being replaced

Method = Literal["linear", "lora", "moelora", "full"]


@dataclass(frozen=True)
class Checkpoint:
    """A directory that changes a base. `manifest` is empty for a directory that peft wrote."""

    directory: Path
    manifest: Mapping[str, Any]

    @property
    def is_whole_model(self) -> bool:
        return self.manifest.get("method") == "full"

    @cached_property
    def digest(self) -> str:
        """SHA-256 over every file that can move an answer."""
        return digest_of(files_digest(self.directory, model_files(self.directory)))

    def require_base(self, weights_digest: str, ref: str) -> None:
        """Refuses any base but the one this checkpoint was trained on. A plain peft directory does not say."""
        trained_on = self.manifest.get("base_digest")
        if trained_on is not None and trained_on != weights_digest:
            raise KeepsightError(
                f"checkpoint {self.directory} was trained on {self.manifest.get('base', 'another base')} (weights {trained_on[:12]}), "
                f"not on {ref} (weights {weights_digest[:12]}); give that base"
            )

    @property
    def base_ref(self) -> str | None:
        """How the base was called when this was trained on it; None if nothing says."""
        if "base" in self.manifest:
            return str(self.manifest["base"])
        named = (self.adapter_config() or {}).get("base_model_name_or_path")
        return f"hf:{named}" if named else None

    def adapter_config(self) -> dict[str, Any] | None:
        """What adapter_config.json says, or None when there is no LoRA in this checkpoint."""
        path = self.directory / ADAPTER_CONFIG
        return _json_object(path) if os.path.isfile(path) else None

    def tensors(self) -> dict[str, Any]:
        """Every tensor of the checkpoint on the CPU, peft's `base_model.model.` prefix taken off."""
        found: dict[str, Any] = {}
        for name in (PROJECTOR, ADAPTER):
            if os.path.isfile(self.directory / name):
                loaded = read_tensors(self.directory / name)
                found.update({key.removeprefix(_PEFT): value for key, value in loaded.items()})
        return found

    def shapes(self) -> dict[str, Shape | None]:
        """The shapes of `tensors()`, of which none is read. Raises KeepsightError for a damaged file."""
        files = [
            self.directory / name for name in (PROJECTOR, ADAPTER) if os.path.isfile(self.directory / name)
        ]
        return {key.removeprefix(_PEFT): shape for file in files for key, shape in read_shapes(file).items()}


def read_checkpoint(directory: Path) -> Checkpoint:
    """Looks at a checkpoint directory without loading tensors.

    Raises:
        KeepsightError: no such directory, not a checkpoint, an incomplete one, or weights only as pickles.
    """
    if not os.path.isdir(directory):
        raise KeepsightError(f"checkpoint {directory} is not a directory{neighbours(str(directory))}")
    path = directory / MANIFEST
    manifest = _manifest(path) if os.path.isfile(path) else {}
    if manifest.get("format", FORMAT) != FORMAT:
        raise KeepsightError(
            f"checkpoint {directory} has format {manifest['format']}, this version reads {FORMAT}; upgrade keepsight"
        )
    _require_files(directory, manifest)
    return Checkpoint(directory, manifest)


def read_tensors(path: Path) -> dict[str, Any]:
    """The tensors of a safetensors file, on the CPU. Raises KeepsightError when it is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise KeepsightError(f"cannot read {path}: {reason}; it is damaged, save it again") from error


def _manifest(path: Path) -> dict[str, Any]:
    """keepsight.json, its fields of the kinds that are relied on."""
    manifest = _json_object(path)
    kinds: dict[str, type] = {"method": str, "base": str, "base_digest": str, "trained": list}
    for name, kind in kinds.items():
        if name in manifest and not isinstance(manifest[name], kind):
            raise KeepsightError(f"{path}: {name} is not a {kind.__name__}; save the checkpoint again")
    if not all(isinstance(prefix, str) for prefix in manifest.get("trained", ())):
        raise KeepsightError(f"{path}: trained is not a list of names; save the checkpoint again")
    return manifest


def _json_object(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise KeepsightError(f"cannot read {path}: a {type(value).__name__}, not an object")
    return value


def _require_files(directory: Path, manifest: Mapping[str, Any]) -> None:
    for name in _PICKLES:
        if os.path.isfile(directory / name):
            raise KeepsightError(
                f"checkpoint {directory} keeps weights in {name}, a pickle, which is never opened; "
                "save them as safetensors and remove it"
            )
    if not manifest:
        _refuse_loose_projector(directory)
    needed = {
        "linear": (PROJECTOR,),
        "lora": (PROJECTOR, ADAPTER, ADAPTER_CONFIG),
        "moelora": (PROJECTOR, ADAPTER, ADAPTER_CONFIG),
        "full": ("config.json",),
        None: (ADAPTER, ADAPTER_CONFIG),
    }
    method = manifest.get("method")
    if method not in needed:
        raise KeepsightError(f"checkpoint {directory}: unknown method {method!r} in {MANIFEST}")
    missing = [name for name in needed[method] if not os.path.isfile(directory / name)]
    if missing:
        kind = (
            f"a {method} checkpoint"
            if method
            else "a checkpoint (no keepsight.json, so peft's files are expected)"
        )
        raise KeepsightError(
            f"{directory} is not complete as {kind}: {', '.join(missing)} missing; "
            "an answer would come from untrained weights, save the checkpoint again"
        )


def _refuse_loose_projector(directory: Path) -> None:
    """peft's own files never include these, and whoever wrote them meant them to be used."""
    for path in sorted(directory.glob("*.safetensors")):
        if path.name != ADAPTER and any(word in path.name for word in _PROJECTOR_NAMES):
            raise KeepsightError(
                f"{directory} holds {path.name} but no {MANIFEST}, so nothing says what it belongs to, and peft's files do not "
                f"mention it; bring {MANIFEST} back, save the projector within {ADAPTER} (modules_to_save), or move {path.name} away"
            )


def save_checkpoint(
    model: HFModel,
    directory: str | Path,
    *,
    method: Method,
    epoch: int,
    step: int,
    config: Mapping[str, Any],
    data_digest: str,
    adapter_name: str = "default",
    base_digest: str | None = None,
    state: Mapping[str, Any] | None = None,
) -> Path:
    """Writes what was trained on `model.module` as one complete checkpoint and returns its directory.

    The directory appears under its name only when everything in it is written; an older checkpoint of that name is
    replaced.

    Args:
        model: the unshared model that was trained; its source is the base the checkpoint belongs to.
        adapter_name: the peft adapter to save (lora, moelora).
        config: the training configuration, kept in keepsight.json; must be JSON.
        base_digest: `model.weights_digest` before training; needed for a built module, which cannot tell any more.
        state: the module's tensors by name, where the module itself holds only this process's shards of them; what
            the method did not train may be left out.

    Raises:
        KeepsightError: the name is taken by something that is not a checkpoint, or a lora without adapter.
    """
    directory = Path(directory)
    if os.path.exists(directory) and not os.path.isfile(directory / MANIFEST):
        raise KeepsightError(f"{directory} exists and is not a checkpoint; choose another output directory")
    remove_leftovers(directory)
    partial, replaced = (directory.with_name(directory.name + ending) for ending in _UNFINISHED)
    with saving(directory):
        partial.mkdir(parents=True)
        state = model.module.state_dict() if state is None else state
        trained = _WRITERS[method](model, partial, adapter_name, state)
    manifest = {
        "format": FORMAT,
        "method": method,
        "base": model.name,
        "base_digest": base_digest or model.weights_digest,
        "trained": trained,
        "epoch": epoch,
        "step": step,
        "data_digest": data_digest,
        "config": dict(config),
    }
    with saving(directory):
        (partial / MANIFEST).write_text(_json(manifest), encoding="utf-8")
        like_neighbour(partial, MANIFEST)
        if os.path.exists(directory):
            # out of the way in one step: a kill must not leave half of it under its name
            os.replace(directory, replaced)
        os.replace(partial, directory)
    remove_leftovers(directory)
    return directory


def remove_leftovers(directory: Path) -> None:
    """Removes what a killed `save_checkpoint` left beside `directory`."""
    for ending in _UNFINISHED:
        shutil.rmtree(directory.with_name(directory.name + ending), ignore_errors=True)


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Says in one StoreError why tensors or files of `path` could not be written."""
    from safetensors import SafetensorError

    with writing(path):
        try:
            yield
        except SafetensorError as error:
            number = re.search(r"os error (\d+)", str(error))
            raise (
                OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(error)
            ) from error


def like_neighbour(directory: Path, neighbour: str) -> None:
    """Gives the tensor files of a directory the mode of a file beside them: safetensors lets nobody else read its own."""
    mode = (directory / neighbour).stat().st_mode
    for file in directory.glob("*.safetensors"):
        file.chmod(mode)


State = Mapping[str, Any]


def _write_linear(model: HFModel, directory: Path, adapter_name: str, state: State) -> list[str]:
    from safetensors.torch import save_file

    parts = anatomy_of(model.module)
    projector = {
        name.replace(".base_layer.", "."): value.detach().cpu().contiguous()
        for name, value in state.items()
        if parts.projects(name)
    }
    save_file(projector, directory / PROJECTOR, metadata={"format": "pt"})
    return [part + "." for part in parts.projector]


def _write_lora(model: HFModel, directory: Path, adapter_name: str, state: State) -> list[str]:
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    configs = getattr(model.module, "peft_config", {})
    if adapter_name not in configs:
        raise KeepsightError(
            f"the model has no LoRA adapter named {adapter_name} to save; it has {sorted(configs)}"
        )
    adapter = get_peft_model_state_dict(model.module, state_dict=dict(state), adapter_name=adapter_name)
    prefixed = {
        "base_model.model." + name.removeprefix("base_model.model."): value.detach().cpu().contiguous()
        for name, value in adapter.items()
    }
    save_file(prefixed, directory / ADAPTER, metadata={"format": "pt"})
    settings = configs[adapter_name].to_dict()
    settings = {**settings, "inference_mode": True, "base_model_name_or_path": model.name}
    (directory / ADAPTER_CONFIG).write_text(_json(settings), encoding="utf-8")
    return [*_write_linear(model, directory, adapter_name, state), "lora"]


def _write_full(model: HFModel, directory: Path, adapter_name: str, state: State) -> list[str]:
    model.module.save_pretrained(directory, state_dict=dict(state))
    model.processor.save_pretrained(directory)
    return [""]


_WRITERS = {"linear": _write_linear, "lora": _write_lora, "moelora": _write_lora, "full": _write_full}


def _json(value: Mapping[str, Any]) -> str:
    """Sorted, sets as sorted lists: the same checkpoint has the same bytes in every process."""
    return json.dumps(value, indent=2, sort_keys=True, default=_plain) + "\n"


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, (set, frozenset)) else str(value)
