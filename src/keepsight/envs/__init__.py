"""Environments by name. Importing this room registers them with Gymnasium.

    import gymnasium, keepsight.envs
    env = gymnasium.make("keepsight/NumberLine-v0")
    envs = gymnasium.make_vec("keepsight/NumberLine-v0", num_envs=16)

An environment is one file in this folder and one line in `ENVS`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Collection
from functools import cache, partial
from typing import Any

import gymnasium

from keepsight.envs.base import ActionEnv, Move, TextEnv
from keepsight.errors import KeepsightError, UsageError
from keepsight.third_party import entry_points, function_of_file

__all__ = [
    "ENVS",
    "NOT_FOR_MODELS",
    "ActionEnv",
    "Move",
    "TextEnv",
    "class_of",
    "make",
    "make_for_model",
    "make_vector",
]

ENTRY_POINTS = "keepsight.envs"
NOT_FOR_MODELS = ("action", "render_mode")  # a model is shown the picture and answers in text

# name -> (Gymnasium's id, where the class is)
ENVS: dict[str, tuple[str, str]] = {
    "numberline": ("keepsight/NumberLine-v0", "keepsight.envs.numberline:NumberLine"),
    "ezpoints": ("keepsight/EZPoints-v0", "keepsight.envs.ezpoints:EZPoints"),
    "points24": ("keepsight/Points24-v0", "keepsight.envs.points24:Points24"),
    "blackjack": ("keepsight/Blackjack-v0", "keepsight.envs.blackjack:Blackjack"),
    "generalpoints": ("keepsight/GeneralPoints-v0", "keepsight.envs.generalpoints:GeneralPoints"),
    "virl": ("keepsight/VIRL-v1", "keepsight.envs.virl:Navigation"),
    "alfworld": ("keepsight/ALFWorld-v1", "keepsight.envs.household.environment:ALFWorld"),
}


def class_of(name: str) -> type[TextEnv]:
    """The class of an environment.

    Args:
        name: of `ENVS`; one that an installed package publishes; or `path/to/file.py:Class`.

    Raises:
        UsageError: another name.
        KeepsightError: a file without such a class, or a class that is no `TextEnv`.
    """
    if name in ENVS:
        module, _, cls = ENVS[name][1].partition(":")
        return getattr(importlib.import_module(module), cls)
    if ".py:" in name:
        return _of_file(name)
    for point in entry_points(ENTRY_POINTS):
        if point.name == name:
            return _checked(name, point.load())
    raise UsageError(f"no environment {name!r}; choose from {', '.join(ENVS)}, or give path/to/file.py:Class")


@cache  # a file is run once, not for every episode
def _of_file(name: str) -> type[TextEnv]:
    return _checked(name, function_of_file(name, "environment"))


def _checked(name: str, found: Any) -> type[TextEnv]:
    if not (isinstance(found, type) and issubclass(found, TextEnv)):
        raise KeepsightError(f"environment {name} is no subclass of keepsight.envs.TextEnv")
    return found


def make(name: str, **arguments: Any) -> TextEnv:
    """An environment of `ENVS`, without Gymnasium's wrappers.

    Raises:
        UsageError: another name, or an argument that the environment does not take.
    """
    return _made(name, arguments, ("render_mode",))


def make_for_model(name: str, **arguments: Any) -> TextEnv:
    """`make` for one who is shown the picture and answers in text: `action` and `render_mode` are as they are.

    Raises:
        UsageError: what `make` raises, or one of those two.
    """
    if barred := sorted(set(arguments) & set(NOT_FOR_MODELS)):
        raise UsageError(f"environment {name}: {barred[0]} cannot be set here; answers are text")
    return _made(name, arguments, NOT_FOR_MODELS)


def _made(name: str, arguments: dict[str, Any], untold: Collection[str]) -> TextEnv:
    cls = class_of(name)
    taken = list(inspect.signature(cls).parameters)
    if unknown := sorted(set(arguments) - {*taken, "render_mode"}):
        told = ", ".join(each for each in taken if each not in untold)
        raise UsageError(f"environment {name} has no setting {unknown[0]!r}; it takes {told}")
    return cls(**arguments)


def make_vector(name: str, num_envs: int = 1, **arguments: Any) -> Any:
    """`num_envs` environments of `ENVS` as one `gymnasium.vector.VectorEnv`. Raises what `make` raises."""
    from keepsight.envs.vector import PaintedVector

    return PaintedVector([make(name, **arguments) for _ in range(num_envs)])


for _name, (_id, _entry_point) in ENVS.items():
    gymnasium.register(id=_id, entry_point=_entry_point, vector_entry_point=partial(make_vector, _name))
