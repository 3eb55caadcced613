"""Packing trained models into the layout that ships, and unpacking it into an ordinary Hugging Face directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from keepsight.models.checkpoint import like_neighbour
from keepsight.models.clip import ClipModel
from keepsight.models.encoders import VisionEncoder
from keepsight.models.sources import DirectorySource, quiet_loading, shortened
from keepsight.models.tiny import TOWER, WEIGHTS, TinySource
from keepsight.types import KeepsightError

__all__ = ["export_tiny", "pack_tiny"]


def pack_tiny(llava_dir: Path, clip_dir: Path, ssl_dir: Path, out: Path, dtype: str = "float16") -> Path:
    """Writes `out/llava`, `out/clip` and `out/ssl` from three `save_pretrained` directories, tensors in `dtype`.

    Raises:
        KeepsightError: the LLaVA's tower is not the CLIP's vision model, or a tensor does not fit `dtype`.
    """
    llava = DirectorySource(llava_dir, str(llava_dir), dtype="float32")
    module, processor = llava.load_module("cpu"), llava.load_processor()
    clip = ClipModel(clip_dir, dtype="float32", device="cpu").module
    _require_same_tower(module, clip)
    _save(clip, out / "clip", dtype)
    _save_processing(clip_dir, out / "clip")
    _save(VisionEncoder(ssl_dir, dtype="float32", device="cpu").module, out / "ssl", dtype)
    _save_processing(ssl_dir, out / "ssl")
    _save_llava(module, out / "llava", dtype)
    processor.save_pretrained(out / "llava")
    return out


def export_tiny(directory: str | Path) -> Path:
    """Writes the embedded model as an ordinary Hugging Face directory, which `hf:directory` loads like any other."""
    source = TinySource()
    source.load_module("cpu").save_pretrained(directory)
    source.load_processor().save_pretrained(directory)
    like_neighbour(Path(directory), "config.json")
    return Path(directory)


def _require_same_tower(llava: Any, clip: Any) -> None:
    import torch

    ours, theirs = llava.model.vision_tower.state_dict(), clip.vision_model.state_dict()
    odd = sorted(set(ours) ^ set(theirs)) or [
        name for name in ours if not torch.equal(ours[name], theirs[name])
    ]
    if odd:
        raise KeepsightError(
            f"the LLaVA's tower and the CLIP's vision model differ in {shortened(odd)}; "
            "freeze the tower while training the LLaVA, so that one copy can serve both"
        )


def _save(module: Any, directory: Path, dtype: str) -> None:
    import torch

    _require_range(module.state_dict(), dtype)
    with quiet_loading():
        module.to(getattr(torch, dtype)).save_pretrained(directory)
    like_neighbour(directory, "config.json")


def _save_processing(source: Path, target: Path) -> None:
    """Copies tokenizer and image processor files as they are: the pack must not change how inputs are read."""
    for path in sorted(source.iterdir()):
        if (
            os.path.isfile(path)
            and path.name != "config.json"
            and not path.name.endswith((".safetensors", ".index.json"))
        ):
            (target / path.name).write_bytes(path.read_bytes())


def _save_llava(module: Any, directory: Path, dtype: str) -> None:
    import torch
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Any] = {}
    seen: set[int] = set()
    for name, value in module.state_dict().items():
        if not name.startswith(TOWER) and value.data_ptr() not in seen:  # a tied tensor is stored once
            seen.add(value.data_ptr())
            kept[name] = value
    _require_range(kept, dtype)
    tensors = {name: value.to(getattr(torch, dtype)).contiguous() for name, value in kept.items()}
    save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})
    module.config.save_pretrained(directory)
    module.generation_config.save_pretrained(directory)
    like_neighbour(directory, "config.json")


def _require_range(state: dict[str, Any], dtype: str) -> None:
    import torch

    limit = torch.finfo(getattr(torch, dtype)).max
    large = [name for name, value in state.items() if value.is_floating_point() and value.abs().max() > limit]
    if large:
        raise KeepsightError(f"{shortened(large)} exceeds the range of {dtype}; pack in float32 or bfloat16")
