"""Benchmarks by name. A benchmark is one file in this folder and one line in `TASKS`; `example.py` is there to copy."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keepsight.data.drawn import ALL_SETS
from keepsight.data.drawn.coin import DRAWN_TASKS
from keepsight.data.labelled import PictureSet
from keepsight.data.published import PUBLISHED
from keepsight.errors import UsageError
from keepsight.tasks.classification import closed_world, open_world
from keepsight.tasks.coin import ORDER, TITLES, coin
from keepsight.tasks.coin_drawn import coin_drawn
from keepsight.tasks.emt import emt
from keepsight.tasks.environments import builder_of, environments
from keepsight.tasks.picture_sets import names_a_set, picture_set
from keepsight.tasks.rows import rows
from keepsight.tasks.scenes import objects_in_scenes, polling_scenes
from keepsight.tasks.wikiqa import quiz_task, wikiqa
from keepsight.third_party import entry_points, function_of_file
from keepsight.types import KeepsightError, Task

__all__ = [
    "OF_A_FILE",
    "OF_A_SET",
    "TASKS",
    "TaskInfo",
    "available",
    "get",
    "set_of",
    "shared",
    "takes",
]

TASKS: dict[str, Callable[..., Task]] = {
    "yesno:scenes": polling_scenes,
    "objects:scenes": objects_in_scenes,
    "wikiqa:world": quiz_task,
}
# Asked about any labelled picture set: `emt:SET`.
OF_A_SET: dict[str, Callable[..., Task]] = {"emt": emt, "open": open_world, "closed": closed_world}
# Read from a file of rows: `rows:PATH`.
OF_A_FILE: dict[str, Callable[..., Task]] = {"wikiqa": wikiqa, "rows": rows}
_SAID = {
    "emt": "Closed-world classification of {set}.",
    "open": "Open-world classification of {set}.",
    "closed": "Classification of {set}, the labels in the prompt.",
}
ENTRY_POINTS = "keepsight.tasks"


@dataclass(frozen=True)
class TaskInfo:
    """One line of `keepsight ls tasks`."""

    name: str
    description: str


def available() -> list[TaskInfo]:
    """Every task that `get` knows by name, those of installed packages included (named, not imported)."""
    drawn = [(name, f"{name}, a drawn set") for name in ALL_SETS]
    published = [(name, f"{about.title} (give path=)") for name, about in PUBLISHED.items()]
    sets = [
        TaskInfo(f"{kind}:{name}", _SAID[kind].format(set=said))
        for kind in OF_A_SET
        for name, said in [*drawn, *published]
    ]
    own = [TaskInfo(name, _first_line(name, builder)) for name, builder in TASKS.items()]
    own += [TaskInfo(f"coin:{name}", f"CoIN: {TITLES[name]} (give path=).") for name in ORDER]
    own += [
        TaskInfo(f"coin_drawn:{name}", f"As CoIN's {task.of}, drawn: {_ended(task.title)}")
        for name, task in DRAWN_TASKS.items()
    ]
    own += [TaskInfo(f"env:{name}", said) for name, said in environments()]
    others = [TaskInfo(point.name, f"From {point.value}.") for point in entry_points(ENTRY_POINTS)]
    return [*sets, *own, *others]


def get(name: str, **arguments: Any) -> Task:
    """The task of this name.

    Args:
        name: a name of `available()`; `emt:PATH`, `open:PATH` or `closed:PATH` for a folder of class folders, a
            parquet file, JSON lines or a data-set directory; `wikiqa:PATH` for a file of multiple-choice questions;
            `rows:PATH` for rows with a question and its answer; `env:NAME` for an environment; `path/to/file.py:function` for a task of your own.
        arguments: of the task's builder, such as `split`, `share`, `n`, `seed` and `path` of `emt`.

    Raises:
        KeepsightError: an unknown name (with the nearest ones).
        UsageError: an argument that the builder does not take.
    """
    builder, given = _builder_of(name)
    return _built(name, builder, given, arguments)


def takes(name: str, argument: str) -> bool:
    """Whether the task of this name has a setting of this name.

    Raises:
        KeepsightError: an unknown task.
    """
    builder, given = _builder_of(name)
    settings = list(inspect.signature(builder).parameters.values())[len(given) :]
    return any(each.name == argument or each.kind is each.VAR_KEYWORD for each in settings)


def shared(names: Sequence[str], arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of arguments that several tasks are given together, those that each has; one that none has stays, to be refused.

    Raises:
        KeepsightError: an unknown task.
    """
    had = [{key for key in arguments if takes(name, key)} for name in names]
    somewhere = set().union(*had)
    return [{key: arguments[key] for key in arguments if key in own or key not in somewhere} for own in had]


def _builder_of(name: str) -> tuple[Callable[..., Task], tuple[Any, ...]]:
    """What makes the task of this name, and the arguments that the name gives it."""
    if name in TASKS:
        return TASKS[name], ()
    kind, _, rest = name.partition(":")
    if kind in OF_A_SET:
        return OF_A_SET[kind], (_known_set(name, rest),)
    if kind == "coin" and rest in ORDER:
        return coin, (rest,)
    if kind == "coin_drawn" and rest in DRAWN_TASKS:
        return coin_drawn, (rest,)
    if kind == "env":
        return builder_of(rest), ()
    if kind in OF_A_FILE:
        return OF_A_FILE[kind], (_known_file(name, rest),)
    if ".py:" in name:
        return function_of_file(name), ()
    for point in entry_points(ENTRY_POINTS):
        if point.name == name:
            return point.load(), ()
    if os.path.exists(os.path.expanduser(name)):
        raise KeepsightError(f"no task {name!r}; for the pictures in {name} write emt:{name}")
    raise KeepsightError(f"no task {name!r}{_nearest(name)}")


def set_of(pictures: str | Path | PictureSet, **arguments: Any) -> PictureSet:
    """The set that a name speaks of, with or without the kind of a task (`emt:`, `open:`, `closed:`) in front.

    Args:
        pictures: see `picture_sets.picture_set`.
        arguments: its others.

    Raises:
        KeepsightError: an unknown argument or set, or pictures that cannot be read.
    """
    known = list(inspect.signature(picture_set).parameters)[1:]
    if unknown := sorted(set(arguments) - set(known)):
        raise KeepsightError(
            f"set {pictures} has no setting {unknown[0]!r}; task_args can set {', '.join(known)}"
        )
    kind, _, rest = str(pictures).partition(":")
    named = isinstance(pictures, str) and kind in OF_A_SET
    return picture_set(rest if named else pictures, **arguments)


def _built(
    name: str, builder: Callable[..., Task], given: tuple[Any, ...], arguments: dict[str, Any]
) -> Task:
    signature = inspect.signature(builder)
    try:
        signature.bind(*given, **arguments)
    except TypeError as error:
        takes = ", ".join(list(signature.parameters)[len(given) :]) or "no arguments"
        raise UsageError(f"task {name}: {error}; it takes {takes}") from error
    task = builder(*given, **arguments)
    if not isinstance(task, Task):
        raise KeepsightError(
            f"task {name}: its builder returned a {type(task).__name__}, not a keepsight Task"
        )
    return task


def _known_set(name: str, pictures: str) -> str:
    """`pictures`, the part after the task's kind, if it can name a set at all."""
    if names_a_set(pictures):
        return pictures
    raise KeepsightError(f"no set {pictures!r} and no file or folder of that name{_nearest(name)}")


def _known_file(name: str, chosen: str) -> str:
    """`chosen`, the part after the task's kind, if it names a file."""
    if os.path.isfile(Path(chosen).expanduser()):
        return chosen
    raise KeepsightError(f"no file {chosen!r} of questions{_nearest(name)}")


def _picture_folders(kind: str, location: str) -> list[str]:
    """Folders beside the place that was named, as tasks."""
    parent = Path(location).expanduser().parent
    if not os.path.isdir(parent):
        return []
    return [f"{kind}:{child}" for child in parent.iterdir() if os.path.isdir(child) and child.name[0] != "."]


def _nearest(name: str) -> str:
    kind, _, location = name.partition(":") if name.partition(":")[0] in OF_A_SET else ("emt", "", name)
    known = [*(info.name for info in available()), *_picture_folders(kind, location)]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else "; `keepsight ls tasks` lists what there is"


def _first_line(name: str, builder: Callable[..., Task]) -> str:
    said = (inspect.getdoc(builder) or "").partition("\n")[0].removeprefix(f"`{name}`: ")
    return said[:1].upper() + said[1:]


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith("?") else f"{sentence}."
