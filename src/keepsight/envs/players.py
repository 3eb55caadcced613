"""Who plays without a model: the expert, and a player that chooses among the legal actions evenly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from keepsight.envs.base import ActionEnv, Move, TextEnv

__all__ = ["Played", "has_expert", "play_as_expert", "play_at_random", "total"]

_STREAM = 1  # beside the seed: the player's draws are none of the environment's


@dataclass(frozen=True)
class Played:
    """How an episode went."""

    solved: bool
    reward: float  # the sum
    steps: int


def total(moves: Iterator[Move]) -> Played:
    """The sum of an episode's moves."""
    found = list(moves)
    return Played(any(move.solved for move in found), sum(move.reward for move in found), len(found))


def has_expert(env: TextEnv) -> bool:
    """Whether this kind of environment knows best answers."""
    return type(env).expert is not TextEnv.expert


def play_as_expert(env: TextEnv, seed: int) -> Iterator[Move]:
    """The expert's moves in the episode of this seed; they end where no answer is a good one."""
    env.reset(seed=seed)
    while (text := env.expert()) is not None:
        move = env.play(text)
        yield move
        if move.terminated or move.truncated:
            return


def play_at_random(env: ActionEnv, seed: int) -> Iterator[Move]:
    """Moves of a player that does one of the legal actions, all alike likely."""
    env.reset(seed=seed)
    rng = np.random.default_rng((seed, _STREAM))
    while True:
        legal = env.legal()
        move = env.play(json.dumps({"action": legal[int(rng.integers(len(legal)))]}))
        yield move
        if move.terminated or move.truncated:
            return
