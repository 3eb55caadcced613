"""Continual-learning methods by name: what is done, besides learning, so that a stage does not undo the one before."""

from __future__ import annotations

from keepsight.tune.methods.agem import AGEM
from keepsight.tune.methods.ewc import EWC
from keepsight.tune.methods.l2sp import L2SP
from keepsight.tune.methods.lwf import LwF
from keepsight.tune.methods.method import Method
from keepsight.tune.methods.multitask import Multitask
from keepsight.tune.methods.replay import Replay
from keepsight.tune.methods.sequential import Sequential
from keepsight.tune.methods.stage import Stage

__all__ = ["AGEM", "EWC", "L2SP", "METHODS", "LwF", "Method", "Multitask", "Replay", "Sequential", "Stage"]

METHODS: dict[str, type[Method]] = {
    "sequential": Sequential,
    "multitask": Multitask,
    "replay": Replay,
    "ewc": EWC,
    "l2sp": L2SP,
    "lwf": LwF,
    "agem": AGEM,
}
