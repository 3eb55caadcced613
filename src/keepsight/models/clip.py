"""CLIP: pictures and texts in one space. Zero-shot classification, and embeddings for judges and probes.

Rows have length 1, so that a dot product is the cosine and L2 distance orders alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from keepsight.models.encoders import VisionEncoder
from keepsight.types import KeepsightError, Media, Output, Sample, digest_of

__all__ = ["ZERO_SHOT", "ClipModel", "ZeroShotClip"]

# "Why are Visually-Grounded Language Models Bad at Image Classification?", section 2.3; its code writes "A photo".
ZERO_SHOT = "a photo of a {label}"


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
        logits = self.scale * self.embed_images(media) @ texts.T  # [n, l]
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    @property
    def scale(self) -> float:
        """What cosines are multiplied with before the softmax: the learnt temperature's inverse."""
        return float(self.module.logit_scale.exp())

    def _text_features(self, texts: Sequence[str]) -> Any:
        limit = self.module.config.text_config.max_position_embeddings
        inputs = self.tokenizer(
            list(texts), return_tensors="pt", padding=True, truncation=True, max_length=limit
        )
        kept = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        return _tensor(self.module.get_text_features(**self._on_device(kept)))


class ZeroShotClip:
    """A CLIP that answers the questions a language model is asked: the choice whose text is nearest to the picture.

    The prompt is not read; the picture and the sample's choices are. No ensembling of prompts, as published. Pictures
    and label texts are embedded once and remembered, so that tasks over the same pictures cost a dot product each.
    """

    def __init__(self, clip: ClipModel, template: str = ZERO_SHOT) -> None:
        self.clip = clip
        self.template = template
        self.name = f"{clip.name} (zero-shot CLIP)"
        self._pictures: dict[str, np.ndarray | str] = {}  # by digest: the row, or why there is none
        self._texts: dict[str, np.ndarray] = {}

    @cached_property
    def digest(self) -> str:
        """Of the CLIP and the template."""
        return digest_of(["zero-shot", self.clip.digest, self.template])

    def generate(
        self,
        samples: Sequence[Sample],
        *,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        batch_size: int | None = None,
    ) -> Iterator[tuple[int, Output]]:
        """Yields `(index, Output)`: the nearest choice as text (of equals the first), and all log-probabilities."""
        for index, logprobs in self._ranked(samples, batch_size):
            if isinstance(logprobs, str):
                yield index, Output("", error=logprobs)
                continue
            best = samples[index].choices[int(np.argmax(logprobs))]
            yield index, Output(best, choice_logprobs=tuple(map(float, logprobs)), stop="eos")

    def choice_logprobs(
        self, samples: Sequence[Sample], *, reduction: str = "sum", batch_size: int | None = None
    ) -> Iterator[tuple[int, tuple[float, ...]]]:
        """Yields `(index, log softmax of the scaled cosines)`; nan where a picture cannot be read."""
        for index, logprobs in self._ranked(samples, batch_size):
            missing = (math.nan,) * len(samples[index].choices)
            yield index, missing if isinstance(logprobs, str) else tuple(map(float, logprobs))

    def _ranked(
        self, samples: Sequence[Sample], batch_size: int | None
    ) -> Iterator[tuple[int, np.ndarray | str]]:
        step = batch_size or _AT_ONCE
        for start in range(0, len(samples), step):
            batch = samples[start : start + step]
            self._embed(batch)
            for place, sample in enumerate(batch, start=start):
                yield place, self._logprobs(sample)

    def _embed(self, samples: Sequence[Sample]) -> None:
        """Embeds what of the samples' pictures and labels is new."""
        labels = list(dict.fromkeys(c for s in samples for c in s.choices if c not in self._texts))
        texts = [self.template.replace("{label}", label) for label in labels]
        self._texts.update(zip(labels, self.clip.embed_texts(texts)))
        media = {m.sha256: m for s in samples for m in s.media[:1] if m.sha256 not in self._pictures}
        try:
            self._pictures.update(zip(media, self.clip.embed_images(list(media.values()))))
        except KeepsightError:  # one of them cannot be read; it must not cost the others
            self._pictures.update({digest: self._one(medium) for digest, medium in media.items()})

    def _one(self, medium: Media) -> np.ndarray | str:
        try:
            return self.clip.embed_images([medium])[0]
        except KeepsightError as error:
            return str(error)

    def _logprobs(self, sample: Sample) -> np.ndarray | str:
        """log p over the sample's choices, [c], or why there is none."""
        if not sample.choices or len(sample.media) != 1:
            return (
                f"sample {sample.id} has {len(sample.media)} pictures and {len(sample.choices)} choices; "
                "a zero-shot CLIP needs one picture and choices"
            )
        picture = self._pictures[sample.media[0].sha256]
        if isinstance(picture, str):
            return picture
        texts = np.stack([self._texts[choice] for choice in sample.choices])  # [c, d]
        logits = self.clip.scale * (texts @ picture)  # [c]
        logits = logits - logits.max()
        return logits - np.log(np.exp(logits).sum())


_AT_ONCE = 64


def _tensor(features: Any) -> Any:
    """transformers 5 gives an output object where it used to give the tensor."""
    return getattr(features, "pooler_output", features)
