"""What a model *is*, computed from its files: no torch, no weights in memory.

A digest is SHA-256 over every file that can move an answer (weights, config, processor, tokenizer, chat template)
and the settings that can (dtype, image backend, transformers version). Change one byte of any: another digest.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterable
from pathlib import Path

from keepsight.data.digests import file_digest

__all__ = ["files_digest", "model_files", "transformers_version"]

_NAMES = frozenset(
    {
        "config.json",
        "generation_config.json",
        "processor_config.json",
        "preprocessor_config.json",
        "video_preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "tokenizer.model",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
        "chat_template.json",
        "keepsight.json",
        "adapter_config.json",
    }
)
_SUFFIXES = frozenset({".safetensors", ".jinja", ".model", ".spm"})

_PLACES = ("*", "additional_chat_templates/*", "*_tokenizer/*")


def model_files(directory: Path, *, code: bool = False) -> list[Path]:
    """The files of `directory` that decide a model's answers, sorted; with `code`, its Python files too.

    Subdirectories are other models (a trainer's `checkpoint-500`), except those for further chat templates and for a
    processor's second tokenizer (InstructBLIP's `qformer_tokenizer`).
    """
    suffixes = _SUFFIXES | {".py"} if code else _SUFFIXES
    candidates = [path for place in _PLACES for path in directory.glob(place)]
    return sorted(
        path
        for path in candidates
        if os.path.isfile(path)
        and (path.name in _NAMES or path.suffix in suffixes or path.name.endswith(".safetensors.index.json"))
    )


def files_digest(directory: Path, files: Iterable[Path]) -> dict[str, str]:
    """Relative name -> SHA-256."""
    return {str(path.relative_to(directory).as_posix()): file_digest(path) for path in files}


def transformers_version() -> str:
    """`major.minor` of the installed transformers, read from its metadata: importing it takes seconds."""
    return ".".join(importlib.metadata.version("transformers").split(".")[:2])
