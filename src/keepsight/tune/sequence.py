"""One model tuned on a sequence of stages, each from where the one before ended, under one continual method.

Source of the protocol: CoIN (arXiv:2403.08350, sections 3 and 5.1).

What differs from the published scripts:
1. A stage names the checkpoint, the data and the method's memory that it went on from. Killed at any point and run
   again, a sequence goes on to the same bits; a finished stage is never trained again.
2. A method takes part through hooks (`tune.methods`), so that all of them share one loop and one budget.

    output/stages/01-shapes/   tune.json, epoch-1, ..., train_log.jsonl, method.safetensors, stage.json
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from keepsight.data.json_rows import read_json
from keepsight.models import HFModel
from keepsight.ranks import join
from keepsight.store.files import replace_file
from keepsight.tune.config import SFTConfig
from keepsight.tune.identity import data_digest, deciding, is_claimed
from keepsight.tune.methods import Method, Stage
from keepsight.tune.progress import OnProgress
from keepsight.tune.sft import tune_stage
from keepsight.tune.starting import Start, read_method_state, write_method_state
from keepsight.types import KeepsightError, digest_of

__all__ = ["KEEP", "FinishedStage", "Keep", "run_sequence", "stage_configs", "stage_directory"]

Keep = Literal["all", "last", "best"]
KEEP: dict[str, str] = {
    "all": "every epoch of every stage",
    "last": "the newest stage's last epoch",
    "best": "the newest stage's last epoch, and that of the stage with the best score so far",
}
_RECORD = "stage.json"
# What an adapter is made with.
_OF_LORA = ("lora_r", "lora_alpha")
_OF_ADAPTER = {"lora": _OF_LORA, "moelora": (*_OF_LORA, "num_experts", "gate_scale")}
_LORA_TENSOR = "layer.lora_A.weight"  # as a checkpoint names one


@dataclass(frozen=True)
class FinishedStage:
    """A stage that is learnt. `checkpoint` may be gone again (`keep`); its score, and what followed from it, are not."""

    stage: Stage
    directory: Path
    checkpoint: Path
    ref: str | Path  # what is asked: the checkpoint, unless the method makes a model of another kind
    identity: str  # of everything that was learnt up to its end
    score: float | None = None


# Asks the stage's checkpoint; returns what `keep="best"` compares, or None if not all could be asked: it is kept then.
OnStage = Callable[[FinishedStage], float | None]


def run_sequence(
    model: HFModel,
    stages: Sequence[Stage],
    config: SFTConfig,
    output_dir: str | Path,
    *,
    method: Method,
    stage_settings: Mapping[str, Mapping[str, Any]] | None = None,
    keep: Keep = "all",
    on_stage: OnStage | None = None,
    progress: OnProgress | None = None,
) -> list[FinishedStage]:
    """Tunes `model` on the stages in order; returns them finished. Run again it goes on where it was killed.

    Under a launcher every process calls this, as for `sft`.

    Args:
        model: the base, loaded from a ref.
        stages: in order; `method.arrange` sees them first.
        config: the settings of every stage; optimiser and schedule start anew in each.
        stage_settings: stage name -> fields of `config` that replace those.
        method: what is done against forgetting; used for this sequence alone, because it remembers.
        keep: which checkpoints stay on the disk when they are not needed any more, see `KEEP`.
        on_stage: called for every stage in order, finished before or now. It must be repeatable, and able to do
            without a checkpoint that is gone.
        progress: called after every optimiser step.

    Raises:
        KeepsightError: no stages, two of one name, or a directory of another sequence.
    """
    if keep not in KEEP:
        raise KeepsightError(f"keep {keep!r} is none of {', '.join(KEEP)}")
    ranks, given = join(cpu=model.device == "cpu"), stage_settings or {}
    own = {stage.name: given.get(stage.name, {}) for stage in stages}
    arranged = _numbered(method.arrange(_numbered(stages)))
    configs = _arranged_configs(stage_configs(config, own, method), arranged, method)
    ranks.first(lambda: _require_no_others(output_dir, arranged))
    finished: list[FinishedStage] = []
    identity = model.digest
    for stage, own_config in zip(arranged, configs, strict=True):
        settings = method.configure(own_config)
        identity = _identity(identity, stage, settings, method)
        directory = stage_directory(output_dir, stage)
        done = ranks.first(lambda: _read_record(directory, identity))  # noqa: B023 - called at once
        if done is None:
            done = _learn(model, stage, settings, directory, method, finished, progress)
            if ranks.is_first:
                _write_record(directory, identity, *done)
        checkpoint = directory / done[0]
        made = [*(before.checkpoint for before in finished), checkpoint]
        ref = ranks.first(lambda: str(method.checkpoint_ref(made, model.name)))  # noqa: B023
        now = FinishedStage(stage, directory, checkpoint, ref, identity, done[1])
        if on_stage is not None:
            now = replace(now, score=on_stage(now))
            if ranks.is_first:
                _write_record(directory, identity, done[0], now.score)
        finished.append(now)
        if keep != "all":
            ranks.first(lambda: _discard(finished, keep, method, asked=on_stage is not None))
        ranks.wait()
    return finished


def stage_configs(
    config: SFTConfig, stage_settings: Mapping[str, Mapping[str, Any]], method: Method
) -> dict[str, SFTConfig]:
    """The settings of the stages by name, all of them made before anything is learnt.

    Args:
        config: of all stages.
        stage_settings: stage name -> fields of `config` that replace those, in the order in which they are learnt.
        method: decides whether a stage goes on with the adapter of the one before.

    Raises:
        KeepsightError: a setting that there is not, that is no stage's own, or that does not take its value; names the stage.
    """
    tuned_on = method.continues and method.carries_on(_LORA_TENSOR)
    made: dict[str, SFTConfig] = {}
    for name, given in stage_settings.items():
        try:
            made[name] = _stage_config(config, given)
            if tuned_on:
                _require_same_adapter(next(iter(made.values())), made[name])
        except KeepsightError as error:
            raise KeepsightError(f"stage {name}: config: {error}") from error
    return made


def _arranged_configs(
    configs: Mapping[str, SFTConfig], arranged: Sequence[Stage], method: Method
) -> list[SFTConfig]:
    """The settings of each stage of the method's making. One that it made of several has those that all of them share."""
    if [stage.name for stage in arranged] == list(configs):
        return list(configs.values())
    shared = next(iter(configs.values()))
    for name, config in configs.items():
        for setting, value in asdict(config).items():
            if value != getattr(shared, setting):
                raise KeepsightError(
                    f"stage {name}: config: {setting} is {value}, and {getattr(shared, setting)} in the first stage; "
                    f"method {method.name} learns the stages together: give all of them the same"
                )
    return [shared] * len(arranged)


def _stage_config(config: SFTConfig, given: Mapping[str, Any]) -> SFTConfig:
    known = [field.name for field in fields(config) if field.name != "method"]
    if "method" in given:
        raise KeepsightError("method is of the whole sequence; leave it out here, and give --method")
    if unknown := [key for key in given if key not in known]:
        near = get_close_matches(unknown[0], known, n=1)
        cure = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        raise KeepsightError(f"unknown setting {unknown[0]!r}; {cure}")
    return replace(config, **given)


def _require_same_adapter(first: SFTConfig, now: SFTConfig) -> None:
    for name in _OF_ADAPTER.get(now.method, ()):
        before, value = getattr(first, name), getattr(now, name)
        if value != before:
            raise KeepsightError(
                f"{name} is {value}, and {before} in the first stage, whose adapter is tuned on; give all stages the same"
            )


def stage_directory(output_dir: str | Path, stage: Stage) -> Path:
    """Where a stage lies: its number and as much of its name as every file system takes."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", stage.name).strip("._")[:60]
    return Path(output_dir) / "stages" / f"{stage.number:02d}-{name or 'stage'}"


def _require_no_others(output_dir: str | Path, stages: Sequence[Stage]) -> None:
    """Refuses a place where another stage of the same number was begun: the stages had another order or other names."""
    for stage in stages:
        own = stage_directory(output_dir, stage)
        for other in sorted(own.parent.glob(f"{stage.number:02d}-*")):
            if other != own and is_claimed(other):
                raise KeepsightError(
                    f"{other} was learnt as stage {stage.number}, which is {stage.name} now: another order, other names or "
                    "another method; use another --output_path"
                )


def _numbered(stages: Sequence[Stage]) -> list[Stage]:
    if not stages:
        raise KeepsightError("a sequence needs at least one stage")
    names = [stage.name for stage in stages]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise KeepsightError(f"two stages are named {twice[0]!r}; give each its own name")
    return [replace(stage, number=i, count=len(stages)) for i, stage in enumerate(stages, 1)]


def _identity(before: str, stage: Stage, config: SFTConfig, method: Method) -> str:
    """Digest of all that decides what this stage's end looks like."""
    return digest_of(
        [
            before, stage.name, data_digest(stage.samples), data_digest(stage.memory), stage.number, stage.count,
            method.name, method.settings, deciding(asdict(config)),
        ]
    )  # fmt: skip


def _learn(
    model: HFModel,
    stage: Stage,
    config: SFTConfig,
    directory: Path,
    method: Method,
    finished: Sequence[FinishedStage],
    progress: OnProgress | None,
) -> tuple[str, float | None]:
    """The name of the stage's last checkpoint."""
    start = Start()
    if finished:
        before = finished[-1]
        if not os.path.isdir(before.checkpoint):
            raise KeepsightError(
                f"stage {stage.name} is not finished, and {before.checkpoint}, which it goes on from, was removed; use "
                "another --output_path"
            )
        start = Start(before.checkpoint if method.continues else None, read_method_state(before.directory))
    made = tune_stage(model, stage, config, directory, method=method, start=start, progress=progress)
    return made[-1].name, None


def _write_record(directory: Path, identity: str, checkpoint: str, score: float | None) -> None:
    record = {"identity": identity, "checkpoint": checkpoint, "score": score}
    data = json.dumps(record, indent=1).encode() + b"\n"
    path = directory / _RECORD
    if not os.path.exists(path) or path.read_bytes() != data:
        replace_file(path, data)


def _read_record(directory: Path, identity: str) -> tuple[str, float | None] | None:
    """The last checkpoint's name and the score of a finished stage; None if it is not finished.

    Raises:
        KeepsightError: another sequence was finished here.
    """
    path = directory / _RECORD
    if not os.path.exists(path):
        return None
    record = read_json(path)
    if not isinstance(record, dict) or not re.fullmatch(r"epoch-\d+", str(record.get("checkpoint"))):
        raise KeepsightError(f"{path} is damaged; remove it to go on from the stage's checkpoints")
    if record.get("identity") != identity:
        raise KeepsightError(
            f"{directory} was learnt from other data, another base, another method or other settings (of this stage or "
            "of one before); use another --output_path"
        )
    score = record.get("score")
    return record["checkpoint"], float(score) if isinstance(score, (int, float)) else None


def _discard(finished: Sequence[FinishedStage], keep: Keep, method: Method, *, asked: bool) -> None:
    """Removes the checkpoints that nobody needs any more, and what the method remembered with them.

    One that is still to be asked is needed. What a stage remembers goes last: without its checkpoint nothing is learnt
    from it, so that a stage never goes on from half of what was there.
    """
    needed = {done.checkpoint for done in finished if method.keeps_stages} | {finished[-1].checkpoint}
    if asked:
        needed |= {done.checkpoint for done in finished if done.score is None}
    if keep == "best":
        scored = [done for done in finished if done.score is not None]
        needed |= {max(scored, key=lambda done: done.score or 0.0).checkpoint} if scored else set()
    for done in finished:
        for checkpoint in done.directory.glob("epoch-*"):
            if checkpoint not in needed:
                shutil.rmtree(checkpoint, ignore_errors=True)
        if done.checkpoint not in needed:
            write_method_state(done.directory, {})
