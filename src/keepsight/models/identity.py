"""What a model *is*, computed from its files: no torch, no weights in memory.

A digest is SHA-256 over every file that can move an answer (weights, config, processor, tokenizer, chat template)
and the settings that can (dtype, image backend, transformers version). Change one byte of any: another digest.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import time
from collections.abc import Iterable
from pathlib import Path

__all__ = ["file_digest", "files_digest", "model_files", "transformers_version"]

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
_BLOCK = 1 << 22  # bytes read at once

_SETTLED = 2.0  # seconds; a file written within them may be written again without its times moving

_known: dict[tuple[str | int, ...], str] = {}  # this process only: a file is read once per state


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


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes; re-read only when size, times or inode changed since this process last read it.

    A file that was written this very moment, or in the future of a clock that was set back, is not remembered.
    """
    state = path.stat()
    key = (str(path.resolve()), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
    settled = time.time() - max(state.st_ctime, state.st_mtime) > _SETTLED
    if key not in _known or not settled:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        _known[key] = digest.hexdigest()
    return _known[key]


def files_digest(directory: Path, files: Iterable[Path]) -> dict[str, str]:
    """Relative name -> SHA-256."""
    return {str(path.relative_to(directory).as_posix()): file_digest(path) for path in files}


def transformers_version() -> str:
    """`major.minor` of the installed transformers, read from its metadata: importing it takes seconds."""
    return ".".join(importlib.metadata.version("transformers").split(".")[:2])
