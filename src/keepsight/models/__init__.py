"""Models: `load(ref)` gives something that can be asked, `load_embedder(ref)` something that embeds texts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keepsight.data.json_rows import text_bytes
from keepsight.errors import UsageError
from keepsight.models.api import LIMITS, Budget, ServedModel, served_arguments, served_options
from keepsight.models.checkpoint import Checkpoint, read_checkpoint, save_checkpoint
from keepsight.models.embedders import embedder_of
from keepsight.models.hf import HFModel
from keepsight.models.hub import model_directory
from keepsight.models.refs import Ref, parse_ref
from keepsight.models.replay import Replay
from keepsight.models.routed import ROUTED, Routed, read_experts
from keepsight.models.sources import DTYPES, BuiltSource, DirectorySource, Source, WholeCheckpointSource
from keepsight.models.tiny import TinySource
from keepsight.models.tiny.pack import export_tiny
from keepsight.types import VLM, KeepsightError, TextEmbedder

__all__ = [
    "Budget",
    "HFModel",
    "Ref",
    "Replay",
    "Routed",
    "ServedModel",
    "export_tiny",
    "load",
    "load_embedder",
    "parse_ref",
    "save_checkpoint",
    "shared_limits",
]


def load(
    ref: Any,
    *,
    device: str | None = None,
    dtype: str | None = None,
    batch_size: int | None = None,
    trust_remote_code: bool = False,
    **model_args: Any,
) -> VLM:
    """A model that can be asked, from a ref, a `(module, processor)` pair, or a VLM (returned as it is).

    Weights are loaded when the first question is asked. See `models.refs` for the forms of a ref.

    Args:
        device: "cpu", "cuda:0", or "auto", "balanced", "sequential" (spread over all there are, as accelerate's
            device maps); default: the first accelerator, else the CPU.
        dtype: "float32", "bfloat16", "float16"; default, or "auto": what the checkpoint's config names.
        batch_size: samples asked at once unless the caller says otherwise; of a served model, requests under way.
        trust_remote_code: run Python code that comes with the model; part of its digest.
        model_args: `chat_template` (a Jinja text or a file), `image_backend` ("pil" or "torchvision"),
            `attn_implementation` ("sdpa", "eager", "flash_attention_2", ...: what transformers and the model offer);
            for a served model the fields of `keepsight.models.api.ServedOptions`. One kind of model passes over the
            other's.

    Raises:
        KeepsightError: an unknown ref, a missing directory or file, or an unknown model argument.
    """
    if not isinstance(ref, (str, Path, tuple)):
        return ref
    served = {name: value for name, value in model_args.items() if name in served_arguments()}
    options = _options({name: value for name, value in model_args.items() if name not in served})
    if isinstance(ref, tuple):
        module, processor = ref
        return HFModel(BuiltSource(module, processor, options.get("chat_template")), batch_size=batch_size)
    parsed = parse_ref(str(ref))
    if parsed.scheme == "replay":
        if parsed.adapters:
            raise KeepsightError(
                f"model {ref}: canned answers take no adapter; write {_name(Ref('replay', parsed.location))}"
            )
        return Replay(parsed.location)
    if parsed.scheme == "api":
        if parsed.adapters:
            raise KeepsightError(
                f"model api:{parsed.location.partition('@')[0]}: a served model takes no adapter; "
                "start the server with it and give the name it is served under"
            )
        return ServedModel(parsed.location, served_options(served), batch_size=batch_size)
    options.update(dtype=_dtype(dtype), trust_remote_code=trust_remote_code)
    if parsed.scheme == "routed":
        if parsed.adapters:
            raise KeepsightError(
                f"model {ref}: experts take no further adapter; write {_name(Ref('routed', parsed.location))}"
            )
        experts = read_experts(Path(parsed.location).expanduser())
        return Routed(experts, _weights(parse_ref(experts.base), options, device, batch_size), _name(parsed))
    return _weights(parsed, options, device, batch_size)


def _weights(parsed: Ref, options: dict[str, Any], device: str | None, batch_size: int | None) -> HFModel:
    """A base with the checkpoints that its ref names."""
    checkpoints = [read_checkpoint(Path(path).expanduser()) for path in parsed.adapters]
    source, worn = _on_whole_models(_base(parsed, options), checkpoints, options)
    return HFModel(source, worn, name=_name(parsed), device=device, batch_size=batch_size)


def shared_limits(model_args: Mapping[str, Any]) -> dict[str, Any]:
    """`model_args` with its limits on spending made one budget, which all models loaded with them share."""
    limits = {name: model_args[name] for name in LIMITS if name in model_args}
    if not limits:
        return dict(model_args)
    served_options(
        {name: value for name, value in model_args.items() if name in served_arguments()}
    )  # checks them
    others = {name: value for name, value in model_args.items() if name not in LIMITS}
    return {**others, "budget": Budget(**limits)}


def load_embedder(ref: Any, *, device: str | None = None) -> TextEmbedder:
    """What turns texts into vectors: `tiny` (the shipped CLIP's text tower), `clip:path`, `st:path-or-id`.

    An object that already embeds texts is returned as it is.

    Raises:
        KeepsightError: an unknown ref or a missing directory; sentence-transformers is missing (at the first text).
    """
    if not isinstance(ref, (str, Path)):
        return ref
    return embedder_of(parse_ref(str(ref)), device)


def _base(ref: Ref, options: dict[str, Any]) -> Source:
    if ref.scheme == "tiny":
        if "attn_implementation" in options:
            raise KeepsightError("model tiny: attn_implementation is not a choice here; leave it out")
        return TinySource(**{key: value for key, value in options.items() if key != "trust_remote_code"})
    if ref.scheme != "hf":
        raise KeepsightError(
            f"{ref.scheme}: names an embedder, not a model that answers; use it with load_embedder"
        )
    directory = model_directory(ref.location, code=options["trust_remote_code"])
    _require_model(directory)
    return DirectorySource(directory, f"hf:{ref.location}", **options)


def _require_model(directory: Path) -> None:
    """Says how a checkpoint is asked that was given as a model of its own."""
    if os.path.exists(directory / "config.json"):
        return
    if os.path.exists(directory / ROUTED):
        raise KeepsightError(f"{directory} holds experts of a base; write routed:{directory}")
    if os.path.exists(directory / "keepsight.json") or os.path.exists(directory / "adapter_config.json"):
        base = read_checkpoint(directory).base_ref or "BASE"
        raise KeepsightError(
            f"{directory} is a checkpoint, not a model of its own; write {base}+adapter:{directory}"
        )


def _name(ref: Ref) -> str:
    base = f"{ref.scheme}:{ref.location}" if ref.location else ref.scheme
    return "+adapter:".join([base, *ref.adapters])


def _on_whole_models(
    base: Source, checkpoints: Sequence[Checkpoint], options: dict[str, Any]
) -> tuple[Source, list[Checkpoint]]:
    """A checkpoint that is a whole model takes the place of what lies under it; the others are put on."""
    worn: list[Checkpoint] = []
    for checkpoint in checkpoints:
        if checkpoint.is_whole_model:
            base, worn = WholeCheckpointSource(checkpoint, base, **options), []
        else:
            worn.append(checkpoint)
    return base, worn


def _dtype(name: str | None) -> str | None:
    if name in (None, "auto"):
        return None
    if name not in DTYPES:
        raise UsageError(f"dtype {name} is unknown; give auto or one of {', '.join(DTYPES)}")
    return name


def _options(model_args: dict[str, Any]) -> dict[str, Any]:
    """Checks `model_args`; a template given as a file is replaced by its text."""
    known = {"attn_implementation", "chat_template", "image_backend"}
    if unknown := sorted(set(model_args) - known):
        hint = "; a key belongs in the environment or a key file" if "key" in unknown[0] else ""
        raise UsageError(
            f"unknown model argument {', '.join(unknown)}; known are {', '.join(sorted(known))}, and for api: "
            f"{', '.join(sorted(served_arguments()))}{hint}"
        )
    template = model_args.get("chat_template")
    if template is None or "{" in template:
        return dict(model_args)
    path = Path(template).expanduser()
    if not os.path.isfile(path):
        raise KeepsightError(f"chat_template {template} is neither a Jinja text nor a file")
    return {**model_args, "chat_template": _template_text(path)}


def _template_text(path: Path) -> str:
    try:
        return text_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise KeepsightError(f"chat_template {path} is not UTF-8 (byte {error.start + 1})") from error
