"""Texts to vectors, for judges that compare an answer with label phrases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from keepsight.models.clip import ClipModel
from keepsight.models.hub import model_directory
from keepsight.models.identity import files_digest
from keepsight.models.refs import Ref
from keepsight.models.tiny import tiny_directory
from keepsight.types import KeepsightError, TextEmbedder, digest_of

__all__ = ["SentenceEmbedder", "embedder_of"]

_DECIDING = frozenset({".json", ".model", ".safetensors", ".txt"})  # weights, configs, vocabularies


class SentenceEmbedder:
    """A sentence-transformers model from a directory or hub id; loaded at the first text."""

    def __init__(self, directory: Path, name: str, *, device: str | None = None) -> None:
        self.directory = directory
        self.name = name
        self._device = device

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the model's files, its pooling and normalising modules included."""
        inside = [*self.directory.glob("*"), *self.directory.glob("*/*")]  # a module per subdirectory
        return digest_of(
            files_digest(self.directory, sorted(path for path in inside if path.suffix in _DECIDING))
        )

    @cached_property
    def _model(self) -> Any:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise KeepsightError(
                f"{self.name} needs sentence-transformers; install it: pip install 'keepsight[embed]'"
            ) from error
        return SentenceTransformer(str(self.directory), device=self._device, local_files_only=True)

    def embed_texts(self, texts: Sequence[str]) -> Any:
        """One row of float32 per text, [n, d]."""
        return self._model.encode(list(texts), convert_to_numpy=True, show_progress_bar=False)


def _sentence(ref: Ref, device: str | None) -> TextEmbedder:
    return SentenceEmbedder(model_directory(ref.location), f"st:{ref.location}", device=device)


def _clip(ref: Ref, device: str | None) -> TextEmbedder:
    return ClipModel(model_directory(ref.location), f"clip:{ref.location}", device=device)


def _tiny(ref: Ref, device: str | None) -> TextEmbedder:
    return ClipModel(tiny_directory("clip"), "tiny", dtype="float32", device=device)


_EMBEDDERS: dict[str, Callable[[Ref, str | None], TextEmbedder]] = {
    "tiny": _tiny,
    "clip": _clip,
    "st": _sentence,
}


def embedder_of(ref: Ref, device: str | None = None) -> TextEmbedder:
    """The embedder a ref names.

    Raises:
        KeepsightError: the ref names a model that answers, not one that embeds.
    """
    if ref.scheme not in _EMBEDDERS or ref.adapters:
        raise KeepsightError(
            f"{ref.scheme}:{ref.location} embeds no texts; write tiny, clip:PATH or st:PATH-OR-ID"
        )
    return _EMBEDDERS[ref.scheme](ref, device)
