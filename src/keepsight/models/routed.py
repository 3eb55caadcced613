"""One expert per task and a router before them, asked as one model: `routed:DIR`.

Layout of DIR, which is complete in itself and may be moved:

- `routed.json`: format, the base's ref, and of every expert the stage it learnt and its directory below DIR.
- `prototypes.safetensors`: what the router knows, see `models.routing`.
- `experts/01`, ...: ordinary checkpoints of the base.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keepsight.data.confine import confined
from keepsight.data.digests import file_digest
from keepsight.data.json_rows import read_json
from keepsight.models.checkpoint import Checkpoint, like_neighbour, read_checkpoint, read_tensors, saving
from keepsight.models.hf import HFModel
from keepsight.models.refs import parse_ref
from keepsight.models.routing import Router, routing_features
from keepsight.types import KeepsightError, Output, Sample, digest_of

__all__ = ["ROUTED", "Experts", "Routed", "read_experts", "save_experts"]

FORMAT = 1
ROUTED = "routed.json"
_PROTOTYPES = "prototypes.safetensors"
_FIELDS = ("centres", "owners", "unit")


@dataclass(frozen=True)
class Experts:
    """A directory of experts; the prototypes are read when a sample is routed."""

    directory: Path
    base: str  # a ref
    stages: tuple[str, ...]
    checkpoints: tuple[Checkpoint, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over experts and prototypes; the base has its own."""
        experts = [checkpoint.digest for checkpoint in self.checkpoints]
        return digest_of([experts, file_digest(self.directory / _PROTOTYPES)])

    def router(self) -> Router:
        """Raises KeepsightError when the prototypes are not those of these experts."""
        path = self.directory / _PROTOTYPES
        tensors = {name: value.numpy() for name, value in read_tensors(path).items()}
        if set(tensors) != set(_FIELDS):
            raise KeepsightError(f"{path} does not hold {', '.join(_FIELDS)}; save the experts again")
        router = Router(**tensors)
        _require_consistent(path, router, len(self.stages))
        return router


def read_experts(directory: Path) -> Experts:
    """Looks at a directory of experts without loading tensors.

    Raises:
        KeepsightError: it is none, its index is damaged, or names something outside of it.
    """
    path = directory / ROUTED
    if not os.path.isfile(path):
        raise KeepsightError(
            f"{directory} holds no {ROUTED}; give the directory that a stage tuned with routed wrote"
        )
    index = read_json(path)
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise KeepsightError(f"{path} is not an index of experts in format {FORMAT}")
    base, experts = index.get("base"), index.get("experts")
    if not isinstance(base, str) or parse_ref(base).scheme not in ("tiny", "hf"):
        raise KeepsightError(f"{path}: the base is no model with weights (tiny or hf:...)")
    if not isinstance(experts, list) or not experts or not all(map(_names_one, experts)):
        raise KeepsightError(f"{path}: experts is no list of stages and directories")
    if not os.path.isfile(directory / _PROTOTYPES):
        raise KeepsightError(f"{directory} is not complete: {_PROTOTYPES} is missing; save the experts again")
    checkpoints = tuple(_expert(directory, expert["directory"]) for expert in experts)
    return Experts(directory, base, tuple(expert["stage"] for expert in experts), checkpoints)


def save_experts(
    directory: Path, base: str, stages: Sequence[str], checkpoints: Sequence[Path], router: Router
) -> Path:
    """Writes a directory of experts, which appears when it is complete; what is there already is replaced.

    Files of the checkpoints are linked where the file system can, so that they take no room a second time.
    """
    from safetensors.torch import save_file

    partial = directory.with_name(f".{directory.name}.partial")
    named = [{"stage": stage, "directory": f"experts/{at:02d}"} for at, stage in enumerate(stages, 1)]
    with saving(directory):
        shutil.rmtree(partial, ignore_errors=True)
        for expert, checkpoint in zip(named, checkpoints, strict=True):
            _link(read_checkpoint(checkpoint).directory, partial / expert["directory"])
        save_file(_tensors(router), partial / _PROTOTYPES)
        index = {"format": FORMAT, "base": base, "experts": named}
        (partial / ROUTED).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
        like_neighbour(partial, ROUTED)
        shutil.rmtree(directory, ignore_errors=True)
        os.replace(partial, directory)
    return directory


class Routed:
    """A base and its experts. Every sample is asked of the expert whose prototype is nearest to it.

    An output's usage says which one it was: `expert`, counted from 1.
    """

    def __init__(self, experts: Experts, base: HFModel, name: str | None = None) -> None:
        if whole := [c.directory for c in experts.checkpoints if c.is_whole_model]:
            raise KeepsightError(
                f"{whole[0]} is a whole model; experts are adapters or projectors of one base"
            )
        self.experts, self.base = experts, base
        self.models = tuple(base.wearing(checkpoint) for checkpoint in experts.checkpoints)
        self.name = name or f"routed:{experts.directory}"
        self.batch_size = base.batch_size

    @property
    def digest(self) -> str:
        """SHA-256 over everything that can move an answer: base, experts and prototypes."""
        return digest_of([self.base.digest, self.experts.digest])

    @property
    def processor(self) -> Any:
        """The base's; every expert has the same."""
        return self.base.processor

    def about(self) -> Mapping[str, Any]:
        """How it computes, see `keepsight.types.Described`."""
        told = self.base.about()
        return {**told, "experts": ", ".join(self.experts.stages)} if told else {}

    def require_usable(self) -> None:
        """Refuses what every question would fail at, before one is asked; see `HFModel.require_usable`."""
        self.experts.router()
        for model in self.models:
            model.require_usable()

    def route(self, samples: Sequence[Sample]) -> list[int]:
        """The place of each sample's expert, from 0, in the order of `experts.stages`."""
        if not samples:
            return []
        router = self.experts.router()
        features, _ = routing_features(self.base, samples)
        if features.shape[1] != len(router.unit):
            raise KeepsightError(
                f"{self.name}: its prototypes have {len(router.unit)} numbers, a sample of this base has "
                f"{features.shape[1]}; they belong to another base"
            )
        return [int(expert) for expert in router.nearest(features)]

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
        """As `HFModel.generate`, expert by expert."""
        for expert, places in self._groups(samples):
            answers = self.models[expert].generate(
                [samples[place] for place in places],
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                top_p=top_p,
                seed=seed,
                batch_size=batch_size,
            )
            for at, output in answers:
                yield places[at], replace(output, usage={**output.usage, "expert": expert + 1})

    def choice_logprobs(
        self, samples: Sequence[Sample], *, reduction: str = "sum", batch_size: int | None = None
    ) -> Iterator[tuple[int, tuple[float, ...]]]:
        """As `HFModel.choice_logprobs`, expert by expert."""
        for expert, places in self._groups(samples):
            asked = [samples[place] for place in places]
            ranked = self.models[expert].choice_logprobs(asked, reduction=reduction, batch_size=batch_size)
            yield from ((places[at], logprobs) for at, logprobs in ranked)

    def _groups(self, samples: Sequence[Sample]) -> Iterator[tuple[int, list[int]]]:
        """(expert, places of its samples) of every expert that gets any."""
        homes = self.route(samples)
        for expert in sorted(set(homes)):
            yield expert, [place for place, home in enumerate(homes) if home == expert]


def _names_one(expert: Any) -> bool:
    return isinstance(expert, dict) and all(
        isinstance(expert.get(key), str) for key in ("stage", "directory")
    )


def _expert(directory: Path, relative: str) -> Checkpoint:
    """A checkpoint inside `directory`, links followed."""
    return read_checkpoint(confined(directory, f"{relative}/keepsight.json").parent)


def _require_consistent(path: Path, router: Router, experts: int) -> None:
    import numpy as np

    centres, owners, unit = router.centres, router.owners, router.unit
    fits = centres.ndim == 2 and owners.shape == centres.shape[:1] and unit.shape == centres.shape[1:]
    if not fits or owners.dtype != np.int64 or sorted(set(owners.tolist())) != list(range(experts)):
        raise KeepsightError(
            f"{path}: the prototypes are not those of {experts} experts; save the experts again"
        )
    if not (np.isfinite(centres).all() and np.isfinite(unit).all() and (unit > 0).all()):
        raise KeepsightError(f"{path}: the prototypes are not all numbers; save the experts again")


def _tensors(router: Router) -> dict[str, Any]:
    import torch

    return {name: torch.from_numpy(getattr(router, name)).contiguous() for name in _FIELDS}


def _link(source: Path, target: Path) -> None:
    """A second name for every file of a checkpoint, or a copy where there are no such links."""
    target.mkdir(parents=True)
    for file in sorted(path for path in source.iterdir() if os.path.isfile(path)):
        try:
            os.link(file, target / file.name)
        except OSError:
            shutil.copy2(file, target / file.name)
