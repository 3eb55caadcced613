"""Environments by name. Importing this room registers them with Gymnasium.

    import gymnasium, keepsight.envs
    env = gymnasium.make("keepsight/NumberLine-v0")

An environment is one file in this folder and one line in `ENVS`.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import gymnasium

from keepsight.envs.base import ActionEnv, Move, TextEnv
from keepsight.errors import UsageError

__all__ = ["ENVS", "ActionEnv", "Move", "TextEnv", "class_of", "make"]

# name -> (Gymnasium's id, where the class is)
ENVS: dict[str, tuple[str, str]] = {
    "numberline": ("keepsight/NumberLine-v0", "keepsight.envs.numberline:NumberLine"),
    "virl": ("keepsight/VIRL-v0", "keepsight.envs.virl:Navigation"),
}


def class_of(name: str) -> type[TextEnv]:
    """The class of an environment of `ENVS`. Raises UsageError for another name."""
    if name not in ENVS:
        raise UsageError(f"no environment {name!r}; choose from {', '.join(ENVS)}")
    module, _, cls = ENVS[name][1].partition(":")
    return getattr(importlib.import_module(module), cls)  # type: ignore[no-any-return]


def make(name: str, **arguments: Any) -> TextEnv:
    """An environment of `ENVS`, without Gymnasium's wrappers.

    Raises:
        UsageError: another name, or an argument that the environment does not take.
    """
    cls = class_of(name)
    known = [each for each in inspect.signature(cls).parameters if each != "render_mode"]
    if unknown := sorted(set(arguments) - set(known)):
        raise UsageError(f"environment {name} has no setting {unknown[0]!r}; it takes {', '.join(known)}")
    return cls(**arguments)


for _id, _entry_point in ENVS.values():
    gymnasium.register(id=_id, entry_point=_entry_point)
