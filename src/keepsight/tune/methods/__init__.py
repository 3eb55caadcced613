"""Continual-learning methods by name: what is done, besides learning, so that a stage does not undo the one before."""

from __future__ import annotations

from keepsight.tune.methods.agem import AGEM
from keepsight.tune.methods.dare import Dare
from keepsight.tune.methods.ewc import EWC
from keepsight.tune.methods.l2sp import L2SP
from keepsight.tune.methods.low_alpha import LowAlpha
from keepsight.tune.methods.lwf import LwF
from keepsight.tune.methods.method import Method
from keepsight.tune.methods.multitask import Multitask
from keepsight.tune.methods.olora import OLoRA
from keepsight.tune.methods.replay import Replay
from keepsight.tune.methods.routed import Routed
from keepsight.tune.methods.sequential import Sequential
from keepsight.tune.methods.stage import Stage
from keepsight.tune.methods.ties import Ties
from keepsight.tune.methods.wise_ft import WiseFT

__all__ = ["METHODS", "Method", "Sequential", "Stage"]

METHODS: dict[str, type[Method]] = {
    "sequential": Sequential,
    "agem": AGEM,
    "dare": Dare,
    "ewc": EWC,
    "l2sp": L2SP,
    "low_alpha": LowAlpha,
    "lwf": LwF,
    "multitask": Multitask,
    "olora": OLoRA,
    "replay": Replay,
    "routed": Routed,
    "ties": Ties,
    "wise_ft": WiseFT,
}
