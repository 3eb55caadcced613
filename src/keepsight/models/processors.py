"""Loading a processor so that it works with and without torchvision, and prepares pictures alike on both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keepsight.types import KeepsightError

__all__ = ["load_processor"]


def load_processor(
    directory: Path, *, image_backend: str, chat_template: str | None, trust_remote_code: bool
) -> Any:
    """The processor of a model directory, with `chat_template` in place of its own if given.

    Raises:
        KeepsightError: the directory has no processor for pictures, or no chat template and none was given.
    """
    from transformers import AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(
            directory, backend=image_backend, trust_remote_code=trust_remote_code, local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise KeepsightError(
            f"{directory} has no processor that can be loaded: {_first_line(error)}"
        ) from error
    if not hasattr(processor, "image_processor"):
        raise KeepsightError(f"{directory} has no image processor (preprocessor_config.json): is it a VLM?")
    return with_chat_template(processor, chat_template, str(directory))


def with_chat_template(processor: Any, chat_template: str | None, where: str) -> Any:
    """Puts the user's template on, or takes the tokenizer's when the processor itself has none."""
    template = chat_template or processor.chat_template or processor.tokenizer.chat_template
    if template is None:
        raise KeepsightError(
            f"{where} has no chat template; give one: chat_template=FILE.jinja (on the command line "
            "--model_args chat_template=FILE.jinja)"
        )
    processor.chat_template = template
    return processor


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
