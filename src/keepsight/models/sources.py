"""Where a base model comes from: a directory of files, or a module and processor somebody already built.

A source knows its identity without torch and loads itself when asked to; nothing else in the package asks which kind
it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from keepsight.data.json_rows import read_json
from keepsight.models.checkpoint import Checkpoint
from keepsight.models.headers import Shape, shapes_below
from keepsight.models.identity import files_digest, model_files, transformers_version
from keepsight.models.processors import completed, load_processor
from keepsight.types import KeepsightError, digest_of

__all__ = [
    "DTYPES",
    "SPREAD",
    "BuiltSource",
    "DirectorySource",
    "Source",
    "WholeCheckpointSource",
    "configured_dtype",
    "quiet_loading",
    "require_complete",
    "shortened",
    "state_digest",
]


DTYPES = ("bfloat16", "float16", "float32", "float64")
SPREAD = ("auto", "balanced", "balanced_low_0", "sequential")  # devices that mean: over all there are


class Source(Protocol):
    """A base model that can say what it is and be put in memory."""

    @property
    def ref(self) -> str: ...

    @property
    def weights_digest(self) -> str:
        """Of the weights and the config alone: what an adapter was trained on."""
        ...

    @property
    def digest(self) -> str:
        """Of everything that can move an answer."""
        ...

    @property
    def shareable(self) -> bool:
        """Whether equal digests mean that one copy in memory can serve all."""
        ...

    def require_base(self) -> None:
        """Refuses to lie on a base it was not trained on (KeepsightError); looks at files alone."""
        ...

    def shapes(self) -> Mapping[str, Shape | None]:
        """Name -> shape of its tensors as far as that is known without loading them; None where it is packed."""
        ...

    def load_processor(self) -> Any: ...

    def load_module(self, device: str) -> Any:
        """The module on `device`, in eval mode, every tensor from the checkpoint (or KeepsightError)."""
        ...


class DirectorySource:
    """A model directory as `save_pretrained` writes it. `dtype` None means the one its config names."""

    shareable = True

    def __init__(
        self,
        directory: Path,
        ref: str,
        *,
        dtype: str | None = None,
        image_backend: str = "pil",
        chat_template: str | None = None,
        trust_remote_code: bool = False,
        attn_implementation: str | None = None,
    ) -> None:
        self.directory = directory
        self.ref = ref
        self.dtype = dtype or configured_dtype(directory)
        self.image_backend = image_backend
        self.chat_template = chat_template
        self.trust_remote_code = trust_remote_code
        self.attn_implementation = attn_implementation

    @cached_property
    def weights_digest(self) -> str:
        files = [path for path in model_files(self.directory) if _holds_weights(path)]
        return digest_of(files_digest(self.directory, files))

    @cached_property
    def digest(self) -> str:
        files = model_files(self.directory, code=self.trust_remote_code)
        about = {
            "files": files_digest(self.directory, files),
            "dtype": self.dtype,
            "image_backend": self.image_backend,
            "chat_template": self.chat_template,
            "remote_code": self.trust_remote_code,
            "transformers": transformers_version(),
        }
        if self.attn_implementation is not None:  # rounds differently
            about["attn_implementation"] = self.attn_implementation
        return digest_of(about)

    def require_base(self) -> None:
        """It lies on nothing."""

    def shapes(self) -> Mapping[str, Shape | None]:
        return shapes_below(self.directory)

    def load_processor(self) -> Any:
        return load_processor(
            self.directory,
            image_backend=self.image_backend,
            chat_template=self.chat_template,
            trust_remote_code=self.trust_remote_code,
        )

    def load_module(self, device: str) -> Any:
        import torch
        from transformers import AutoModelForImageTextToText

        options: dict[str, Any] = {}
        if self.attn_implementation is not None:
            options["attn_implementation"] = self.attn_implementation
        try:
            with quiet_loading():
                module, info = AutoModelForImageTextToText.from_pretrained(
                    self.directory,
                    dtype=getattr(torch, self.dtype),
                    device_map=device if device in SPREAD else {"": device},
                    trust_remote_code=self.trust_remote_code,
                    local_files_only=True,
                    use_safetensors=True,
                    ignore_mismatched_sizes=True,  # reported in `info` by name, and refused below
                    output_loading_info=True,
                    **options,
                )
        except (ImportError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise KeepsightError(f"model {self.ref} cannot be loaded: {reason}") from error
        require_complete(self.ref, info)
        _require_decoder(self.ref, module)
        return module.eval()


class WholeCheckpointSource(DirectorySource):
    """A checkpoint that is a whole model (method full): a directory of its own that remembers its base."""

    def __init__(self, checkpoint: Checkpoint, base: Source, **options: Any) -> None:
        super().__init__(checkpoint.directory, f"{base.ref}+adapter:{checkpoint.directory}", **options)
        self._checkpoint = checkpoint
        self._base = base

    def require_base(self) -> None:
        self._base.require_base()
        self._checkpoint.require_base(self._base.weights_digest, self._base.ref)


class BuiltSource:
    """A module and a processor in the caller's hands. The caller may change them, so digests are never remembered."""

    shareable = False

    def __init__(self, module: Any, processor: Any, chat_template: str | None = None) -> None:
        self.ref = f"built:{type(module).__name__}"
        self._module = module
        self._processor = completed(processor, chat_template, self.ref)

    @property
    def weights_digest(self) -> str:
        return state_digest(self._module.state_dict())

    @property
    def digest(self) -> str:
        tokenizer = self._processor.tokenizer
        return digest_of(
            {
                "weights": self.weights_digest,
                "config": json.loads(self._module.config.to_json_string(use_diff=False)),
                "tokenizer": _tokenizer_rules(tokenizer) if tokenizer.is_fast else str(tokenizer),
                "image_processor": json.loads(self._processor.image_processor.to_json_string()),
                "image_backend": getattr(self._processor.image_processor, "backend", "pil"),
                "chat_template": self._processor.chat_template,
                "transformers": transformers_version(),
            }
        )

    def require_base(self) -> None:
        """It lies on nothing."""

    def shapes(self) -> Mapping[str, Shape | None]:
        state = self._module.state_dict()
        return {name.replace(".base_layer.", "."): tuple(value.shape) for name, value in state.items()}

    def load_processor(self) -> Any:
        return self._processor

    def load_module(self, device: str) -> Any:
        return self._module


def _tokenizer_rules(tokenizer: Any) -> dict[str, Any]:
    """Without what the last call asked for, which the backend remembers and every call sets again."""
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    return {name: rule for name, rule in rules.items() if name not in ("padding", "truncation")}


def state_digest(state: Mapping[str, Any]) -> str:
    """SHA-256 over the names, dtypes, shapes and bytes of a state dict's tensors, in order of name."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().contiguous().cpu()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def require_complete(what: str, info: Mapping[str, Any]) -> None:
    """Refuses a model whose loading left a tensor newly initialised or of another shape.

    Args:
        info: as `from_pretrained(..., output_loading_info=True)` gives it.
    """
    wrong = [f"{name} is missing" for name in sorted(info["missing_keys"])]
    wrong += [
        f"{name} has shape {list(found)} instead of {list(wanted)}"
        for name, found, wanted in sorted(info["mismatched_keys"], key=lambda entry: str(entry[0]))
    ]
    wrong += list(info["error_msgs"])
    if wrong:
        raise KeepsightError(
            f"model {what} is incomplete: {shortened(wrong)}; answers would come from random weights, so it is "
            "not evaluated: save the whole model again, or check that this is the right directory"
        )
    if info["unexpected_keys"]:
        names = shortened(sorted(info["unexpected_keys"]))
        warnings.warn(f"model {what} has tensors its class has no place for: {names}", stacklevel=3)


def shortened(names: list[str], limit: int = 5) -> str:
    """The first few names and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


@contextmanager
def quiet_loading() -> Iterator[None]:
    """No progress bar and no load report: what matters in them is raised as an error by name."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _require_decoder(what: str, module: Any) -> None:
    """Answers of an encoder-decoder do not follow their prompt, which all that is asked here relies on."""
    if module.config.get_text_config().is_encoder_decoder:
        raise KeepsightError(
            f"model {what} has an encoder-decoder as language model ({module.config.get_text_config().model_type}); "
            "only decoders are supported, take a version with one (Vicuna, OPT, ...)"
        )


def _holds_weights(path: Path) -> bool:
    return path.name == "config.json" or path.suffix == ".safetensors"


def configured_dtype(directory: Path) -> str:
    """The dtype in config.json ("float16"), else float32: the same on every device.

    Raises:
        KeepsightError: the directory has no config.json that can be read.
    """
    path = directory / "config.json"
    if not os.path.isfile(path):
        raise KeepsightError(f"{directory} is not a model directory: it has no config.json")
    config = read_json(path)
    text = config.get("text_config") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(text, (dict, type(None))):
        raise KeepsightError(f"{path} is no model's config: it and its text_config must be objects")
    text = text or {}
    named = config.get("dtype") or config.get("torch_dtype") or text.get("dtype") or text.get("torch_dtype")
    name = str(named or "float32").removeprefix("torch.")
    if name not in DTYPES:
        raise KeepsightError(f"{path}: dtype {name[:40]!r} is none of {', '.join(DTYPES)}; give --dtype")
    return name
