"""Base models in memory: one copy each, whichever checkpoints are put on it.

`shared_base` keeps the last few bases of this process by what they are (digest, device), so that auditing k adapters
of one base loads it once. Switching checkpoints turns LoRA layers on or off and copies replaced tensors (a
projector); the base's own tensors are kept aside and come back bit for bit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from keepsight.models.anatomy import anatomy_of
from keepsight.models.batching import free_memory
from keepsight.models.checkpoint import Checkpoint
from keepsight.models.decoding import Vocabulary
from keepsight.models.lanes import Lanes, lanes_for
from keepsight.models.memory import Memory
from keepsight.models.overlay import Overlays, offloaded
from keepsight.models.prompts import Prepared, prepare
from keepsight.models.sources import SPREAD, Source
from keepsight.models.tower_cache import TowerCache, shared_store
from keepsight.ranks import launched
from keepsight.types import KeepsightError, Sample, digest_of

__all__ = ["Base", "computing_device", "default_device", "on_device", "resolve_device", "shared_base"]

_RESIDENT = 2  # a base and a judge
_BATCH_BYTES = 1 << 28  # of prepared batches per base: 10,000 pictures of 48 px, 200 of 336 px
_bases: OrderedDict[tuple[str, str], Base] = OrderedDict()


class Base:
    """One module in memory with its processor; nothing is loaded before it is asked for."""

    def __init__(self, source: Source, device: str, *, shared: bool = True) -> None:
        self.source = source
        self.device = device
        self.shared = shared
        self._lanes: tuple[int, Lanes] | None = None

    @cached_property
    def processor(self) -> Any:
        return self.source.load_processor()

    @cached_property
    def module(self) -> Any:
        return self.source.load_module(self.device)

    def about(self) -> dict[str, str]:
        """How the loaded module computes and its pictures are read, for people; empty before anything is loaded."""
        if "module" not in self.__dict__:
            return {}
        module, pictures = self.module, self.processor.image_processor
        return {
            "class": type(module).__name__,
            "image_processor": type(pictures).__name__,
            "image_backend": str(getattr(pictures, "backend", "pil")),
            "dtype": str(module.dtype).removeprefix("torch."),
            "device": str(computing_device(module)),
            "attn_implementation": str(module.config.get_text_config()._attn_implementation),
        }

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.of(self.module, self.processor)

    @cached_property
    def _overlays(self) -> Overlays:
        return Overlays(self.module)

    @cached_property
    def _batches(self) -> Memory[Prepared]:
        return Memory(_BATCH_BYTES)

    def prepared(self, texts: Sequence[str], samples: Sequence[Sample]) -> Prepared:
        """`prompts.prepare` for this base; the next checkpoint asks the same batches, which are kept."""
        if not self.shared:  # its owner may change the processor
            return prepare(self.processor, texts, samples)
        key = _batch_key(texts, samples)
        known = None if key is None else self._batches.get(key)
        if known is not None:
            return known
        made = prepare(self.processor, texts, samples)
        if key is not None:
            self._batches.keep(key, made)
        return made

    def wear(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Puts exactly these checkpoints on the module."""
        cache = self.tower_cache  # made while the tower is still the base's own
        if checkpoints or "_overlays" in self.__dict__:  # a module nobody dressed is left alone
            self._overlays.wear(checkpoints)
        if cache is not None:
            cache.active = not self._overlays.touch(self._tower)

    def lanes(self) -> Lanes:
        """The module as it is dressed now, as many times as it can be asked side by side."""
        if not self.shared:  # its owner may change it
            return Lanes(self.module)
        if self._lanes is None or self._lanes[0] != self._overlays.changes:
            self._lanes = self._overlays.changes, lanes_for(self.module, self.device, [self.tower_cache])
        return self._lanes[1]

    @cached_property
    def _tower(self) -> str:
        return anatomy_of(self.module).tower

    @cached_property
    def tower_cache(self) -> TowerCache | None:
        """Features of the tower by picture; only where nobody but a checkpoint may change the weights."""
        if not self.shared or offloaded(self.module):
            return None
        try:
            return TowerCache(self.module.get_submodule(self._tower), shared_store())
        except KeepsightError:  # a family whose tower we cannot name is asked without
            return None


def _batch_key(texts: Sequence[str], samples: Sequence[Sample]) -> str | None:
    """What a processor sees of a batch, or None when a picture cannot even be read."""
    try:
        return digest_of(
            [[text, [media.sha256 for media in sample.media]] for text, sample in zip(texts, samples)]
        )
    except KeepsightError:
        return None


def shared_base(source: Source, device: str) -> Base:
    """The process's copy of a base; the least recently used one is forgotten when a third comes."""
    key = (source.digest, device)
    if key not in _bases:
        _bases[key] = Base(source, device)
        while len(_bases) > _RESIDENT:
            _bases.popitem(last=False)
            if device != "cpu":
                free_memory()  # a module and its feature memory refer to each other: only the collector frees them
    _bases.move_to_end(key)
    return _bases[key]


def computing_device(module: Any) -> Any:
    """Where the module's inputs go. Weights that accelerate keeps elsewhere between calls have no device of their own."""
    hooks = (getattr(part, "_hf_hook", None) for part in module.modules())
    devices = (getattr(hook, "execution_device", None) for hook in hooks)
    found = next((device for device in devices if device is not None), None)
    return module.device if found is None else found


def on_device(inputs: dict[str, Any], module: Any) -> dict[str, Any]:
    """Tensors where the module computes; pixels in its dtype."""
    device = computing_device(module)
    return {
        name: value.to(device, module.dtype if value.is_floating_point() else value.dtype)
        for name, value in inputs.items()
    }


def default_device() -> str:
    """This process's CUDA device (the first, unless a launcher started several), else Apple's, else the CPU."""
    import torch

    if torch.cuda.is_available():
        return f"cuda:{launched().local % torch.cuda.device_count()}"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def resolve_device(device: str | None) -> str:
    """`device`, or the default for None.

    Raises:
        KeepsightError: it is no device, or a CUDA device that torch does not see.
    """
    if device == "cpu" or device in SPREAD:
        return device
    import torch

    if device is None:
        return default_device()
    try:
        torch.device(device)
    except RuntimeError as error:
        raise KeepsightError(f"device {device} is unknown; give cpu, cuda, cuda:1, mps or auto") from error
    seen = torch.cuda.device_count()
    if device.startswith("cuda") and int(device.partition(":")[2] or 0) >= seen:
        raise KeepsightError(
            f"device {device}: torch sees {seen} CUDA devices; use --device cpu or one it sees"
        )
    return device
