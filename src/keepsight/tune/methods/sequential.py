"""Plain sequential fine-tuning: the baseline that forgets."""

from __future__ import annotations

from keepsight.tune.methods.method import Method

__all__ = ["Sequential"]


class Sequential(Method):
    """Learns each stage and does nothing about the ones before."""

    name = "sequential"
