"""The model that ships with the package: a small LLaVA, the CLIP whose tower it sees with, and a vision-only encoder.

Standard transformers classes throughout. The files lie in this package, the tower's tensors once:

- `llava/`: config, tokenizer, processor and every tensor but the vision tower's.
- `clip/`: an ordinary CLIP directory; its vision model is the tower.
- `ssl/`: an ordinary encoder directory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from keepsight.models.bases import default_device
from keepsight.models.clip import ClipModel
from keepsight.models.headers import Shape, shapes_below
from keepsight.models.identity import files_digest, model_files, transformers_version
from keepsight.models.processors import load_processor
from keepsight.models.sources import shortened
from keepsight.types import KeepsightError, digest_of

__all__ = ["TinySource", "tiny_directory"]

TOWER = "model.vision_tower."  # prefix of the shared tensors in the LLaVA; `vision_model` in the CLIP
WEIGHTS = "model.safetensors"


def tiny_directory(part: str = "") -> Path:
    """Where the packed files lie: `llava`, `clip`, `ssl`, or the directory of all three.

    Raises:
        KeepsightError: the package was installed without its weights.
    """
    directory = Path(__file__).parent / part
    if part and not os.path.isfile(directory / WEIGHTS):
        raise KeepsightError(
            f"the embedded model is not installed: {directory / WEIGHTS} is missing; reinstall"
        )
    return directory


class TinySource:
    """The packed LLaVA as a base model. Weights stored in half precision are used in `dtype` (float32)."""

    shareable = True

    def __init__(
        self,
        directory: Path | None = None,
        *,
        dtype: str | None = None,
        image_backend: str = "pil",
        chat_template: str | None = None,
    ) -> None:
        self.ref = "tiny"
        self.llava = directory / "llava" if directory else tiny_directory("llava")
        self.clip = directory / "clip" if directory else tiny_directory("clip")
        self.dtype = dtype or "float32"
        self.image_backend = image_backend
        self.chat_template = chat_template

    @cached_property
    def weights_digest(self) -> str:
        return digest_of([_weights_of(self.llava), _weights_of(self.clip)])

    @cached_property
    def digest(self) -> str:
        files = [files_digest(part, model_files(part)) for part in (self.llava, self.clip)]
        return digest_of(
            {
                "files": files,
                "dtype": self.dtype,
                "image_backend": self.image_backend,
                "chat_template": self.chat_template,
                "transformers": transformers_version(),
            }
        )

    def require_base(self) -> None:
        """It lies on nothing."""

    def shapes(self) -> Mapping[str, Shape | None]:
        """Of its own tensors; not those of the tower, which the CLIP's file calls by other names."""
        return shapes_below(self.llava)

    def load_processor(self) -> Any:
        return load_processor(
            self.llava,
            image_backend=self.image_backend,
            chat_template=self.chat_template,
            trust_remote_code=False,
        )

    def load_module(self, device: str) -> Any:
        """The LLaVA put together from its own tensors and the CLIP's vision model; every tensor accounted for."""
        import torch
        from safetensors.torch import load_file
        from transformers import AutoConfig, LlavaForConditionalGeneration

        clip = ClipModel(self.clip, "tiny", dtype="float32", device="cpu").module
        tensors = {TOWER + name: value for name, value in clip.vision_model.state_dict().items()}
        tensors.update(load_file(self.llava / WEIGHTS))
        with torch.random.fork_rng(
            devices=[]
        ):  # building fills the tensors at random before they are replaced
            module = LlavaForConditionalGeneration(AutoConfig.from_pretrained(self.llava))
        tensors.update(_tied_tensors(module, tensors))
        found = module.load_state_dict(tensors, strict=False)
        if wrong := [*found.missing_keys, *found.unexpected_keys]:
            raise KeepsightError(
                f"the embedded model is damaged: {shortened(wrong)} missing or unknown; reinstall"
            )
        return module.to(
            device=default_device() if device == "auto" else device, dtype=getattr(torch, self.dtype)
        ).eval()


def _tied_tensors(module: Any, tensors: dict[str, Any]) -> dict[str, Any]:
    """For each tensor of `module` that is not in `tensors` but shares memory with one that is: that one's value."""
    state = module.state_dict()
    by_address = {state[name].data_ptr(): name for name in tensors if name in state}
    absent = (
        (name, by_address.get(value.data_ptr())) for name, value in state.items() if name not in tensors
    )
    return {name: tensors[twin] for name, twin in absent if twin is not None}


def _weights_of(directory: Path) -> dict[str, str]:
    return files_digest(directory, [directory / "config.json", directory / WEIGHTS])
