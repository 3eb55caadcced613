"""Environments by name. Importing this room registers them with Gymnasium.

    import gymnasium, keepsight.envs
    env = gymnasium.make("keepsight/NumberLine-v0")
    envs = gymnasium.make_vec("keepsight/NumberLine-v0", num_envs=16)

An environment is one file in this folder and one line in `ENVS`.
"""

from __future__ import annotations

import importlib
import inspect
from functools import partial
from typing import Any

import gymnasium

from keepsight.envs.base import ActionEnv, Move, TextEnv
from keepsight.errors import UsageError

__all__ = ["ENVS", "ActionEnv", "Move", "TextEnv", "class_of", "make", "make_vector"]

# name -> (Gymnasium's id, where the class is)
ENVS: dict[str, tuple[str, str]] = {
    "generalpoints": ("keepsight/GeneralPoints-v0", "keepsight.envs.generalpoints:GeneralPoints"),
    "numberline": ("keepsight/NumberLine-v0", "keepsight.envs.numberline:NumberLine"),
    "ezpoints": ("keepsight/EZPoints-v0", "keepsight.envs.ezpoints:EZPoints"),
    "points24": ("keepsight/Points24-v0", "keepsight.envs.points24:Points24"),
    "virl": ("keepsight/VIRL-v0", "keepsight.envs.virl:Navigation"),
    "blackjack": ("keepsight/Blackjack-v0", "keepsight.envs.blackjack:Blackjack"),
}


def class_of(name: str) -> type[TextEnv]:
    """The class of an environment of `ENVS`. Raises UsageError for another name."""
    if name not in ENVS:
        raise UsageError(f"no environment {name!r}; choose from {', '.join(ENVS)}")
    module, _, cls = ENVS[name][1].partition(":")
    return getattr(importlib.import_module(module), cls)


def make(name: str, **arguments: Any) -> TextEnv:
    """An environment of `ENVS`, without Gymnasium's wrappers.

    Raises:
        UsageError: another name, or an argument that the environment does not take.
    """
    cls = class_of(name)
    known = [each for each in inspect.signature(cls).parameters if each != "render_mode"]
    if unknown := sorted(set(arguments) - {*known, "render_mode"}):
        raise UsageError(f"environment {name} has no setting {unknown[0]!r}; it takes {', '.join(known)}")
    return cls(**arguments)


def make_vector(name: str, num_envs: int = 1, **arguments: Any) -> Any:
    """`num_envs` environments of `ENVS` as one `gymnasium.vector.VectorEnv`. Raises what `make` raises."""
    from keepsight.envs.vector import PaintedVector

    return PaintedVector([make(name, **arguments) for _ in range(num_envs)])


for _name, (_id, _entry_point) in ENVS.items():
    gymnasium.register(id=_id, entry_point=_entry_point, vector_entry_point=partial(make_vector, _name))
