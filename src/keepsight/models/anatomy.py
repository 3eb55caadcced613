"""Which submodule of a vision-language model is the tower, the projector and the language model.

transformers gives the parts different names in different families; these are all it uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keepsight.types import KeepsightError

__all__ = ["Anatomy", "anatomy_of"]

_TOWER = ("vision_tower", "vision_model", "visual", "image_encoder")
_PROJECTOR = (
    "multi_modal_projector",
    "connector",
    "merger",
    "language_projection",
    "aligner",
    "modality_projection",
)
_FURTHER = ("deepstack_merger_list",)  # Qwen3-VL also projects features of earlier layers
_LANGUAGE = ("language_model", "text_model")


@dataclass(frozen=True)
class Anatomy:
    """Full module names, such as `model.multi_modal_projector`."""

    tower: str
    projector: tuple[str, ...]  # one module in nearly all families
    language: str

    def projects(self, name: str) -> bool:
        """Whether a tensor of this name belongs to the projector."""
        return name.startswith(tuple(part + "." for part in self.projector))


def anatomy_of(module: Any) -> Anatomy:
    """Finds the three parts by name; the shallowest match wins (a tower may hold a `vision_model` of its own).

    Raises:
        KeepsightError: a part is not there, with the names that are.
    """
    names = sorted(
        (name for name, _ in module.named_modules() if name), key=lambda name: (name.count("."), name)
    )
    return Anatomy(
        tower=_find(module, names, _TOWER, "vision tower"),
        projector=(_find(module, names, _PROJECTOR, "projector"), *_named(names, _FURTHER)),
        language=_find(module, names, _LANGUAGE, "language model"),
    )


def _named(names: list[str], wanted: tuple[str, ...]) -> list[str]:
    return [name for name in names if name.rpartition(".")[2] in wanted]


def _find(module: Any, names: list[str], wanted: tuple[str, ...], part: str) -> str:
    for name in _named(names, wanted):
        return name
    children = ", ".join(name for name, _ in module.named_children())
    raise KeepsightError(
        f"{type(module).__name__} has no {part} under a known name ({', '.join(wanted)}); it has {children}"
    )
