"""What a tuning run is, as `tune.json` keeps it: a directory is only ever continued by the very run that began it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from keepsight.data.json_rows import read_json
from keepsight.models import HFModel
from keepsight.ranks import Ranks
from keepsight.store.files import replace_file
from keepsight.tune.config import SFTConfig
from keepsight.tune.methods import Method, Stage
from keepsight.tune.starting import Start
from keepsight.types import KeepsightError, Sample, digest_of

__all__ = ["claim", "data_digest", "deciding", "identity_of", "is_claimed", "require_same"]

# Settings that do not change what is learnt, so a run may be resumed with others.
_FREE = ("save_steps", "logging_steps")
_OF_EXPERTS = ("num_experts", "gate_scale")  # decide nothing unless there are experts
_NAMED = ("model_digest", "data_digest", "continual_method", "continual_settings", "start", "stage", "memory")


def identity_of(
    model: HFModel, stage: Stage, config: SFTConfig, method: Method, start: Start
) -> dict[str, Any]:
    """What this run is. `identity` is the digest of all that decides what is learnt."""
    about = {
        "model": model.name,
        "model_digest": model.digest,
        "data_digest": data_digest(stage.samples),
        "samples": len(stage.samples),
        "continual_method": method.name,
        "config": asdict(config),
    }
    further = {
        "continual_settings": method.settings,
        "start": start.digest,
        "stage": [stage.number, stage.count] if stage.count > 1 else [],
        "memory": data_digest(stage.memory) if stage.memory else "",
    }
    about |= {name: value for name, value in further.items() if value}
    return {**about, "identity": _digest(about)}


def require_same(identity: str, ranks: Ranks) -> None:
    """All processes do the same run."""
    told = ranks.gather(identity)
    if different := [rank for rank, other in enumerate(told) if other != told[0]]:
        raise KeepsightError(
            f"rank {different[0]} has another model, other data or other settings than rank 0; give all the same"
        )


def is_claimed(directory: Path) -> bool:
    """Whether a run has begun here."""
    return os.path.exists(directory / "tune.json")


def claim(directory: Path, about: Mapping[str, Any]) -> None:
    """Writes what this run is, or checks that the directory belongs to this very run."""
    path = directory / "tune.json"
    if not is_claimed(directory):
        replace_file(path, json.dumps(about, indent=2).encode())
        return
    before = _earlier(path)
    if before["identity"] != about["identity"]:
        changed = ", ".join(_differences(before, about))
        raise KeepsightError(
            f"{directory} holds another tuning run ({changed} differ); use another --output_path"
        )


def data_digest(samples: Sequence[Sample]) -> str:
    """Of everything that is learnt, in order."""
    return digest_of([sample.digest() for sample in samples])


def deciding(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an SFTConfig, given as a mapping, that decide what is learnt."""
    idle = _FREE if config["method"] == "moelora" else (*_FREE, *_OF_EXPERTS)
    return {name: value for name, value in config.items() if name not in idle}


def _digest(about: Mapping[str, Any]) -> str:
    return digest_of({**about, "model": "", "config": deciding(about["config"])})


def _earlier(path: Path) -> dict[str, Any]:
    """What tune.json says. Raises KeepsightError when it is not as it was written."""
    try:
        before: dict[str, Any] = read_json(path)
        if before["identity"] == _digest({k: v for k, v in before.items() if k != "identity"}):
            return before
        fault = "it does not fit its identity"
    except (LookupError, TypeError, AttributeError) as error:
        fault = f"{type(error).__name__}: {error}"
    raise KeepsightError(f"{path} is damaged ({fault}); restore it, or use another --output_path")


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    top = [name for name in _NAMED if before.get(name) != now.get(name)]
    return top + [
        name for name, value in deciding(now["config"]).items() if before["config"].get(name) != value
    ]
