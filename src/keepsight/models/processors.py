"""Loading a processor so that it works with and without torchvision, and prepares pictures alike on both."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from keepsight.data.json_rows import read_json
from keepsight.types import KeepsightError

__all__ = ["completed", "load_processor"]

# What transformers raises of a processor that it cannot build.
_UNLOADABLE = (ImportError, AttributeError, OSError, ValueError, TypeError)


def load_processor(
    directory: Path, *, image_backend: str, chat_template: str | None, trust_remote_code: bool
) -> Any:
    """The processor of a model directory, with `chat_template` in place of its own if given.

    Families that also read films (Qwen-VL, LLaVA-OneVision, SmolVLM) need torchvision for that part alone; without
    it their processor is put together for pictures.

    Raises:
        KeepsightError: the directory has no processor for pictures, or no chat template and none was given.
    """
    from transformers import AutoProcessor

    options = {"backend": image_backend, "local_files_only": True, "trust_remote_code": trust_remote_code}
    try:
        processor = AutoProcessor.from_pretrained(directory, **options)
    except _UNLOADABLE as error:
        family = _processor_class(directory)
        if "video_processor" not in family.get_attributes():
            raise _unloadable(directory, error) from error
        processor = _without_films(family, directory, options)
    if not hasattr(processor, "image_processor"):
        raise KeepsightError(f"{directory} has no image processor (preprocessor_config.json): is it a VLM?")
    return completed(processor, chat_template, str(directory))


def _without_films(family: Any, directory: Path, options: dict[str, Any]) -> Any:
    """A processor of the family's own class, minus its video processor."""

    def get_attributes(cls: Any) -> list[str]:
        return [name for name in family.get_attributes() if name != "video_processor"]

    def parts_for_init(cls: Any, *args: Any, **kwargs: Any) -> list[Any]:
        parts = family._get_arguments_from_pretrained.__func__(cls, *args, **kwargs)
        parts.insert(family.get_attributes().index("video_processor"), _NoFilms())
        return list(parts)

    members = {
        "get_attributes": classmethod(get_attributes),
        "_get_arguments_from_pretrained": classmethod(parts_for_init),
        "video_processor": _NoFilms(),
        "__module__": __name__,
    }
    for_pictures: Any = type(family.__name__, (family,), members)
    try:
        with _film_packages_left_out(family):
            return for_pictures.from_pretrained(directory, **options)
    except _UNLOADABLE as error:
        raise _unloadable(directory, error) from error


class _NoFilms:
    """In place of a video processor: a processor may look up its settings (a number of frames) for pictures, too."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


@contextmanager
def _film_packages_left_out(family: Any) -> Iterator[None]:
    """Stands in for optional packages that the family's module wants before it builds anything.

    SmolVLM's processor refuses to exist without num2words, which writes the length of a film. A package that is not
    installed is None in its module.
    """
    module = sys.modules[family.__module__]
    absent = [name for name, value in vars(module).items() if value is None and not name.startswith("_")]
    for name in absent:
        setattr(module, name, _missing)
    try:
        yield
    finally:
        for name in absent:
            setattr(module, name, None)


def _missing(*args: Any, **kwargs: Any) -> Any:
    raise KeepsightError("this model's processor was put together for pictures only")


def _processor_class(directory: Path) -> Any:
    import transformers
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    for name in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        if named := _entry(directory / name, "processor_class"):
            return getattr(transformers, named)
    family = _entry(directory / "config.json", "model_type")
    if family not in PROCESSOR_MAPPING_NAMES:
        raise KeepsightError(f"{directory}: this transformers knows no processor for model type {family!r}")
    return getattr(transformers, PROCESSOR_MAPPING_NAMES[family])


def _entry(path: Path, key: str) -> Any:
    found = read_json(path) if os.path.isfile(path) else {}
    return found.get(key) if isinstance(found, dict) else None


def completed(processor: Any, chat_template: str | None, where: str) -> Any:
    """Sees to it that a processor has a chat template and a padding token.

    The template is the user's, else the processor's, else the tokenizer's. Padding is masked, so that the end token
    serves where there is none.

    Raises:
        KeepsightError: there is none anywhere.
    """
    template = chat_template or processor.chat_template or processor.tokenizer.chat_template
    if template is None:
        raise KeepsightError(
            f"{where} has no chat template; give one: chat_template=FILE.jinja (on the command line "
            "--model_args chat_template=FILE.jinja)"
        )
    processor.chat_template = template
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return processor


def _unloadable(directory: Path, error: Exception) -> KeepsightError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return KeepsightError(f"the processor in {directory} cannot be loaded: {reason}")
