"""Models: `load(ref)` gives something that can be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keepsight.models.hf import HFModel
from keepsight.models.hub import model_directory
from keepsight.models.refs import Ref, parse_ref
from keepsight.models.sources import BuiltSource, DirectorySource, Source
from keepsight.types import VLM, KeepsightError

__all__ = ["HFModel", "Ref", "load", "parse_ref"]


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
        device: "cpu", "cuda:0", "auto" (spread over all); default: the first accelerator, else the CPU.
        dtype: "float32", "bfloat16", "float16"; default: what the checkpoint's config names.
        batch_size: samples asked at once unless the caller says otherwise.
        trust_remote_code: run Python code that comes with the model; part of its digest.
        model_args: `chat_template` (a Jinja text or a file), `image_backend` ("pil" or "torchvision").

    Raises:
        KeepsightError: an unknown ref, a missing directory or file, or an unknown model argument.
    """
    if isinstance(ref, tuple):
        module, processor = ref
        return HFModel(BuiltSource(module, processor, **_template(model_args)), batch_size=batch_size)
    if not isinstance(ref, (str, Path)):
        return ref
    parsed = parse_ref(str(ref))
    directory = model_directory(parsed.location, code=trust_remote_code)
    source: Source = DirectorySource(
        directory,
        f"hf:{parsed.location}",
        dtype=dtype,
        trust_remote_code=trust_remote_code,
        **_template(model_args),
    )
    return HFModel(source, [Path(path) for path in parsed.adapters], device=device, batch_size=batch_size)


def _template(model_args: dict[str, Any]) -> dict[str, Any]:
    """`model_args` with a template given as a file replaced by its text."""
    known = {"chat_template", "image_backend"}
    if unknown := sorted(set(model_args) - known):
        raise KeepsightError(
            f"unknown model argument {', '.join(unknown)}; known are {', '.join(sorted(known))}"
        )
    template = model_args.get("chat_template")
    if template is not None and "{" not in template:
        path = Path(template).expanduser()
        if not path.is_file():
            raise KeepsightError(f"chat_template {template} is neither a Jinja text nor a file")
        template = path.read_text(encoding="utf-8")
    return {**model_args, **({"chat_template": template} if template is not None else {})}
