"""Vision encoders without a language side (DINOv2 and the like): pictures to vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from keepsight.data.pictures import decode
from keepsight.models.bases import resolve_device
from keepsight.models.identity import files_digest, model_files, transformers_version
from keepsight.models.sources import configured_dtype, quiet_loading, require_complete
from keepsight.types import KeepsightError, Media, digest_of

__all__ = ["VisionEncoder"]

_BATCH = 64


class VisionEncoder:
    """An image encoder from its directory, loaded when first asked. Rows are normalised to length 1."""

    def __init__(
        self,
        directory: Path,
        name: str | None = None,
        *,
        dtype: str | None = None,
        device: str | None = None,
        image_backend: str = "pil",
    ) -> None:
        self.directory = directory
        self.name = name or f"encoder:{directory}"
        self.dtype = dtype or configured_dtype(directory)
        self.image_backend = image_backend
        self._device = device

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the model's files, its dtype, the image backend and the transformers version."""
        files = files_digest(self.directory, model_files(self.directory))
        return digest_of([files, self.dtype, self.image_backend, transformers_version()])

    @cached_property
    def module(self) -> Any:
        """The torch module, in eval mode.

        Raises:
            KeepsightError: a tensor is missing from the checkpoint or has another shape.
        """
        import torch
        from transformers import AutoModel

        with quiet_loading():
            module, info = AutoModel.from_pretrained(
                self.directory,
                dtype=getattr(torch, self.dtype),
                local_files_only=True,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # reported in `info` by name, and refused below
                output_loading_info=True,
            )
        require_complete(self.name, info)
        return module.to(resolve_device(self._device)).eval().requires_grad_(False)

    @cached_property
    def image_processor(self) -> Any:
        """What turns a picture into the encoder's pixels."""
        from transformers import AutoImageProcessor

        try:
            return AutoImageProcessor.from_pretrained(
                self.directory, backend=self.image_backend, local_files_only=True
            )
        except (OSError, ValueError) as error:
            raise KeepsightError(f"{self.name} has no image processor in {self.directory}") from error

    def embed_images(self, media: Sequence[Media]) -> np.ndarray:
        """The pooled output per picture, or the first token's last state where there is none; float32 [n, d].

        Raises:
            KeepsightError: a picture cannot be decoded.
        """
        return self._embedded(media, lambda batch: _pooled(self.module(**self._pixels(batch))))

    def _pixels(self, media: Sequence[Media]) -> dict[str, Any]:
        inputs = self.image_processor(images=[decode(one) for one in media], return_tensors="pt")
        return self._on_device({"pixel_values": inputs["pixel_values"]})

    def _on_device(self, inputs: dict[str, Any]) -> dict[str, Any]:
        module = self.module
        return {
            name: value.to(module.device, module.dtype if value.is_floating_point() else value.dtype)
            for name, value in inputs.items()
        }

    def _embedded(self, items: Sequence[Any], features: Callable[[Sequence[Any]], Any]) -> np.ndarray:
        """Rows for `items`, a batch at a time, each of length 1."""
        import torch

        rows = [np.zeros((0, 0), np.float32)]
        with torch.inference_mode():
            for at in range(0, len(items), _BATCH):
                found = features(items[at : at + _BATCH]).float()  # [b, d]
                rows.append(torch.nn.functional.normalize(found, dim=-1).cpu().numpy())
        return np.concatenate(rows[1:]) if items else rows[0]


def _pooled(output: Any) -> Any:
    pooled = getattr(output, "pooler_output", None)
    return pooled if pooled is not None else output.last_hidden_state[:, 0]
