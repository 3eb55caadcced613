"""Sixteen environments in one vector, which paints into one array, against one environment alone.

Linear would be sixteen times the frames in sixteen times the time. A frame is a step's or a reset's; both sides keep their
last sixteen, as a learner does: a frame that is thrown away at once is painted over the last one, in the fastest memory.
CPU time is counted.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from typing import Any

import numpy as np

from benchmarks import env_steps
from benchmarks.record import Record
from keepsight.envs import make_vector

__all__ = ["measure"]

ENVS = 16
FRAMES = 3200
RUNS = 15  # the medians count; a single run is off by a tenth, and so would be the least of eight medians of a few
GOAL = 0.9


def measure(_: str = "tiny") -> Record:
    """The least ratio of frames a second."""
    told, ratios = [], []
    for name in env_steps.NAMES:
        for form in ("text", "index"):
            pairs = [_pair(name, form, run) for run in range(RUNS)]
            ratios.append(statistics.median(together / alone for alone, together in pairs))
            rate = statistics.median(together for _, together in pairs)
            told.append(f"{name} {form} {rate:,.0f} (x{ratios[-1]:.2f})")
    detail = (
        f"times the frames of one environment alone, the least of {len(told)}; frames a second of {ENVS} "
        f"together, of CPU time: {', '.join(told)}"
    )
    return Record("env_vector", min(ratios), GOAL, min(ratios) >= GOAL, FRAMES, detail)


def _pair(name: str, form: str, run: int) -> tuple[float, float]:
    """Frames a second alone and together; they take turns to go first."""
    if run % 2:
        together = _together(name, form)
        return _alone(name, form), together
    return _alone(name, form), _together(name, form)


def _alone(name: str, form: str) -> float:
    env = env_steps.environment(name, form)
    todo = env_steps.actions(env, FRAMES)
    env.reset(seed=0)
    kept: deque[Any] = deque(maxlen=ENVS)
    before, over = time.process_time(), False
    for action in todo:
        if over:
            kept.append(env.reset())
            over = False
        else:
            kept.append(env.step(action))
            over = kept[-1][2] or kept[-1][3]
    return FRAMES / (time.process_time() - before)


def _together(name: str, form: str) -> float:
    envs = make_vector(name, ENVS, action=form)
    todo = env_steps.actions(envs.envs[0], FRAMES)
    envs.reset(seed=0)
    batches = [_batch(todo[at : at + ENVS], form) for at in range(0, FRAMES - ENVS + 1, ENVS)]
    before = time.process_time()
    for batch in batches:
        envs.step(batch)
    return ENVS * len(batches) / (time.process_time() - before)


def _batch(actions: list[Any], form: str) -> Any:
    return np.array(actions) if form == "index" else tuple(actions)
