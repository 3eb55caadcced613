"""A sequence of stages as a user writes it down: a YAML file, or the name of one that is built in.

    stages:
      - name: birds
        data: birds_train.json        # rows to learn: LLaVA JSON or messages
        image_folder: images
        task: rows:birds_test.json    # what asks, after every stage, what this one teaches
      - coin_drawn:counts             # a task with a training split: learnt and asked
    tasks: [yesno:scenes]             # asked after every stage, learnt in none

Files are looked for beside the YAML file first. A known name is no file: write `emt:./letters` for a folder called so.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from keepsight.errors import UsageError
from keepsight.types import KeepsightError

__all__ = ["SequenceSpec", "StageSpec", "in_order", "read_sequence"]

_STAGE_KEYS = ("name", "task", "data", "image_folder", "task_args", "config")
_KEYS = ("stages", "tasks", "task_args", "config")
_WITH_EXPONENT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+\Z")


@dataclass(frozen=True)
class StageSpec:
    """One stage: `task` asks what it teaches, and gives what is learnt unless `data` does."""

    name: str
    task: str
    data: Path | None = None
    image_folder: Path | None = None
    task_args: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)  # replaces settings of the tuning


@dataclass(frozen=True)
class SequenceSpec:
    """Stages in order, tasks that are only asked, and stages of which only the task is asked."""

    stages: tuple[StageSpec, ...]
    tasks: tuple[str, ...] = ()
    unlearnt: tuple[StageSpec, ...] = ()


def read_sequence(path: str | Path, known: Collection[str] = ()) -> SequenceSpec:
    """The sequence that a YAML file describes.

    Args:
        path: of the file.
        known: names of tasks that mean what they mean, whatever lies beside the file.

    Raises:
        KeepsightError: no such file, not YAML, or a stage that says too little or something unknown (named).
    """
    path = Path(path).expanduser()
    if not os.path.isfile(path):
        raise KeepsightError(f"sequence {path}: no such file; give a YAML file with stages")
    document = _parsed(path)
    if isinstance(document, list):
        raise KeepsightError(f"sequence {path} is a list; put it under the key stages:")
    document = _mapping(document, str(path))
    _require_known(document, _KEYS, str(path))
    stages = document.get("stages")
    if not isinstance(stages, list) or not stages:
        raise KeepsightError(f"sequence {path}: stages must be a list with at least one stage")
    shared = {key: _mapping(document.get(key) or {}, f"{path}: {key}") for key in ("task_args", "config")}
    read = [
        _stage(stage, f"{path}: stage {i}", path.parent, shared, known) for i, stage in enumerate(stages, 1)
    ]
    tasks = document.get("tasks") or []
    if not isinstance(tasks, list) or not all(isinstance(task, str) for task in tasks):
        raise KeepsightError(f"sequence {path}: tasks must be a list of task names")
    return SequenceSpec(tuple(read), tuple(_beside(task, path.parent, known) for task in tasks))


def in_order(spec: SequenceSpec, order: str) -> SequenceSpec:
    """The same stages in another order.

    Args:
        order: "reverse"; "seed:3", a random order; or stage names with commas between. Stages that are not named become
            `unlearnt`.

    Raises:
        UsageError: a name that no stage has, or a seed that is no number.
    """
    names = [stage.name for stage in spec.stages]
    kind, _, seed = order.partition(":")
    if order == "reverse":
        wanted = names[::-1]
    elif kind == "seed" and seed.isdecimal():
        wanted = names[:]
        Random(f"order/{seed}").shuffle(wanted)
    else:
        wanted = [name.strip() for name in order.split(",")]
    if unknown := [name for name in wanted if name not in names]:
        raise UsageError(
            f"order names {unknown[0]!r}; give reverse, seed:NUMBER, or stage names of {', '.join(names)}"
        )
    stages = tuple(spec.stages[names.index(name)] for name in wanted)
    unlearnt = tuple(stage for stage in spec.stages if stage.name not in wanted)
    return replace(spec, stages=stages, unlearnt=(*spec.unlearnt, *unlearnt))


def _parsed(path: Path) -> Any:
    import yaml

    class StrictSafeLoader(yaml.SafeLoader):
        """Takes no key twice in a mapping, and reads numbers as YAML 1.2 does: 2e-3 is one, without a point and a sign."""

        def compose_mapping_node(self, anchor: Any) -> Any:
            node = super().compose_mapping_node(anchor)
            keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            if twice := [key for key, times in keys.items() if times > 1]:
                line = node.start_mark.line + 1
                raise KeepsightError(
                    f"sequence {path}: the key {twice[0]!r} stands twice in the mapping of line {line}; leave one of them"
                )
            return node

    StrictSafeLoader.add_implicit_resolver("tag:yaml.org,2002:float", _WITH_EXPONENT, list("-+.0123456789"))
    try:
        return yaml.load(path.read_text(encoding="utf-8"), StrictSafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, OSError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise KeepsightError(f"sequence {path} cannot be read as YAML: {reason}") from error


def _stage(
    stage: Any, where: str, folder: Path, shared: Mapping[str, Mapping[str, Any]], known: Collection[str]
) -> StageSpec:
    if isinstance(stage, str):
        stage = {"task": stage}
    stage = _mapping(stage, where)
    _require_known(stage, _STAGE_KEYS, where)
    data, task = stage.get("data"), stage.get("task")
    if data is None and task is None:
        raise KeepsightError(f"{where} names neither data nor task; give rows to learn, or a task with some")
    learnt = _file(data, folder, f"{where}: data") if data is not None else None
    written = str(task) if task is not None else f"rows:{learnt}"
    image_folder = stage.get("image_folder")
    given = {key: _mapping(stage.get(key) or {}, f"{where}: {key}") for key in ("task_args", "config")}
    return StageSpec(
        name=str(stage.get("name") or (learnt.stem if learnt else _ending(written))),
        task=_beside(written, folder, known) if task is not None else written,
        data=learnt if stage.get("task") is not None else None,  # rows:FILE holds some of its rows out
        image_folder=folder / str(image_folder) if image_folder is not None else None,
        task_args={**shared["task_args"], **given["task_args"]},
        config={**shared["config"], **given["config"]},
    )


def _file(value: Any, folder: Path, where: str) -> Path:
    path = Path(str(value)).expanduser()
    found = folder / path if os.path.exists(folder / path) else path
    if not os.path.exists(found):
        raise KeepsightError(f"{where}: no file {value} in {folder} or here")
    return found


def _beside(task: str, folder: Path, known: Collection[str]) -> str:
    """A task whose file or folder lies beside the sequence's file, by the path that leads there."""
    kind, colon, place = task.partition(":")
    if task in known or not colon or not place or not os.path.exists(folder / place):
        return task
    return f"{kind}:{os.path.join(folder, place)}"  # keeps a ./, without which it may be a known name again


def _ending(task: str) -> str:
    """What a stage is called after its task, wherever the sequence's file lies."""
    return os.path.normpath(task.rpartition(":")[2])


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise KeepsightError(f"{where} is not a mapping of names to values")
    return value


def _require_known(value: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    if unknown := [key for key in value if key not in known]:
        raise KeepsightError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(known)}")
