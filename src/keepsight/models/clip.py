"""CLIP: pictures and texts in one space. Zero-shot classification, and embeddings for judges and probes.

Rows have length 1, so that a dot product is the cosine and L2 distance orders alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from keepsight.models.encoders import VisionEncoder
from keepsight.types import Media

__all__ = ["ClipModel"]


class ClipModel(VisionEncoder):
    """A CLIP-like model: a vision encoder with a text tower beside it (CLIP, SigLIP, ...)."""

    @cached_property
    def tokenizer(self) -> Any:
        """The text tower's tokenizer."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.directory, local_files_only=True)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Texts, cut to the tower's length, as float32 [n, d]."""
        return self._embedded(texts, self._text_features)

    def embed_images(self, media: Sequence[Media]) -> np.ndarray:
        """Pictures in the space of the texts, float32 [n, d].

        Raises:
            KeepsightError: a picture cannot be decoded.
        """
        return self._embedded(
            media, lambda batch: _tensor(self.module.get_image_features(**self._pixels(batch)))
        )

    def classify(
        self, media: Sequence[Media], labels: Sequence[str], template: str = "a photo of a {label}."
    ) -> np.ndarray:
        """Zero-shot class probabilities [n, len(labels)]: softmax over scaled cosines (CLIP, section 3.1.2)."""
        texts = self.embed_texts([template.replace("{label}", label) for label in labels])
        scale = float(self.module.logit_scale.exp())
        logits = scale * self.embed_images(media) @ texts.T  # [n, l]
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    def _text_features(self, texts: Sequence[str]) -> Any:
        limit = self.module.config.text_config.max_position_embeddings
        inputs = self.tokenizer(
            list(texts), return_tensors="pt", padding=True, truncation=True, max_length=limit
        )
        kept = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        return _tensor(self.module.get_text_features(**self._on_device(kept)))


def _tensor(features: Any) -> Any:
    """transformers 5 gives an output object where it used to give the tensor."""
    return getattr(features, "pooler_output", features)
