"""The state a killed run goes on from: trained weights, the optimiser's moments and the position. Tensors and JSON only.

A state is a directory that appears by one rename when everything in it is on the disk; the older one goes after that.
The order of samples, the learning rate and dropout follow from the step's number, so no stream has to be saved.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keepsight.data.json_rows import read_json
from keepsight.models.checkpoint import like_neighbour, read_tensors, saving
from keepsight.ranks import ALONE, Ranks
from keepsight.tune.shards import like, whole
from keepsight.types import KeepsightError

__all__ = ["StateDirectory"]

_TENSORS = "state.safetensors"
_POSITION = "state.json"


@dataclass(frozen=True)
class StateDirectory:
    """Where one run keeps its states, and the identity they must carry."""

    root: Path
    identity: str  # digest of base, data and settings: a state of another run is never continued
    ranks: Ranks = ALONE  # a step's samples follow from how many processes there are

    def save(self, step: int, trained: Mapping[str, Any], optimizer: Any, extra: Mapping[str, Any]) -> None:
        """Saves the state after `step` steps. Every rank calls this, the first one writes.

        Args:
            trained: name -> parameter, every one of them in the optimiser.
            optimizer: its per-parameter state must be tensors (AdamW's is).
            extra: a method's own tensors by name.
        """
        first = self.ranks.is_first
        tensors = {f"weight/{name}": whole(value.detach(), keep=first) for name, value in trained.items()}
        for name, value in trained.items():
            moments = optimizer.state[value].items()
            tensors |= {f"optimizer/{key}/{name}": whole(moment, keep=first) for key, moment in moments}
        tensors |= {f"method/{name}": whole(value, keep=first) for name, value in extra.items()}
        if first:
            self._write(step, tensors)

    def _write(self, step: int, tensors: Mapping[str, Any]) -> None:
        from safetensors.torch import save_file

        partial = self.root / ".partial"  # the run's lock lets one process write
        target = self.root / f"step-{step:08d}"
        with saving(self.root):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, partial / _TENSORS)
            position = {"step": step, "identity": self.identity, "processes": self.ranks.size}
            (partial / _POSITION).write_text(json.dumps(position))
            like_neighbour(partial, _POSITION)
            for file in partial.iterdir():
                _sync(file)
            shutil.rmtree(target, ignore_errors=True)
            partial.rename(target)
            _sync(self.root)
        for old in self._states():
            if old != target:
                shutil.rmtree(old)

    def load(self, trained: Mapping[str, Any], optimizer: Any) -> tuple[int, dict[str, Any]]:
        """Puts the newest state into the parameters and the optimiser; returns its step and a method's tensors.

        Step 0 and nothing when there is no state.

        Raises:
            KeepsightError: a state of another run, or with other tensors.
        """
        import torch

        states = self._states()
        if not states:
            return 0, {}
        position = self._position(states[-1])
        tensors = read_tensors(states[-1] / _TENSORS)
        _require_same(states[-1], tensors, trained)
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(like(parameter, tensors[f"weight/{name}"]))
        for name, parameter in trained.items():
            optimizer.state[parameter] = {
                key.split("/", 2)[1]: value if value.dim() == 0 else like(parameter, value)
                for key, value in tensors.items()
                if key.startswith("optimizer/") and key.split("/", 2)[2] == name
            }
        extra = {
            key.removeprefix("method/"): value for key, value in tensors.items() if key.startswith("method/")
        }
        return position, extra

    def clear(self) -> None:
        """Removes all states: the run is finished and its checkpoints hold the result."""
        shutil.rmtree(self.root, ignore_errors=True)

    def _states(self) -> list[Path]:
        return sorted(self.root.glob("step-*"))

    def _position(self, state: Path) -> int:
        position = read_json(state / _POSITION)
        if not isinstance(position, dict) or type(position.get("step")) is not int:
            raise KeepsightError(f"{state / _POSITION} is damaged; remove {state} and run again")
        if position.get("identity") != self.identity:
            raise KeepsightError(f"{state} belongs to a run with other settings; use another --output_path")
        saved_by = position.get("processes", 1)
        if saved_by != self.ranks.size:
            raise KeepsightError(
                f"{state} was saved by {saved_by} processes and this run has {self.ranks.size}; "
                "go on with as many, or use another --output_path"
            )
        return int(position["step"])


def _require_same(state: Path, tensors: Mapping[str, Any], trained: Mapping[str, Any]) -> None:
    saved = {name.removeprefix("weight/") for name in tensors if name.startswith("weight/")}
    if different := sorted(saved ^ set(trained)):
        raise KeepsightError(
            f"{state} holds other trained tensors ({different[0]}, ...); use another --output_path"
        )


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
