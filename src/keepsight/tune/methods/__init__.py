"""Continual-learning methods by name: what is done, besides learning, so that a stage does not undo the one before."""

from __future__ import annotations

from keepsight.tune.methods.low_alpha import LowAlpha
from keepsight.tune.methods.method import Method
from keepsight.tune.methods.sequential import Sequential
from keepsight.tune.methods.stage import Stage

__all__ = ["METHODS", "Method", "Sequential", "Stage"]

METHODS: dict[str, type[Method]] = {
    "low_alpha": LowAlpha,
    "sequential": Sequential,
}
