"""Many environments of one kind in one process, whose pictures are painted side by side in one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from keepsight.envs.base import Move, TextEnv
from keepsight.errors import UsageError

__all__ = ["PaintedVector"]

Flags = NDArray[np.bool_]  # [n]
_BEGUN = Move(0.0)


class PaintedVector(VectorEnv[Any, Any, Any]):
    """Steps `envs` one after the other; what it returns equals what Gymnasium's SyncVectorEnv returns.

    Nothing is copied: each environment paints into its part of a new array uint8 [n, h, w, 3]. An environment that is over
    begins anew at the next step, whatever its action (Gymnasium's NEXT_STEP). Its own `reset` takes a seed for the first
    environment, from which the others count on, or a list of seeds.
    """

    def __init__(self, envs: Sequence[TextEnv]) -> None:
        """Raises UsageError where there are no environments, or they are not of one kind."""
        if len({(type(env), str(env.observation_space), str(env.action_space)) for env in envs}) != 1:
            raise UsageError(f"{len(envs)} environments of several kinds, or none; give some of one kind")
        self.envs = tuple(envs)
        self.num_envs = len(envs)
        self.metadata = {**envs[0].metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}
        self.render_mode = envs[0].render_mode
        self.single_action_space = envs[0].action_space
        self.single_observation_space = envs[0].observation_space
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._over: Flags = np.zeros(self.num_envs, np.bool_)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Begins every episode."""
        seeds = self._seeds(seed)
        for env, each in zip(self.envs, seeds):
            env.begin(seed=each, options=options)
        self._over = np.zeros(self.num_envs, np.bool_)
        return self._observations(), self._infos([_BEGUN] * self.num_envs)

    def step(self, actions: Any) -> tuple[Any, NDArray[np.float64], Flags, Flags, dict[str, Any]]:
        """Answers every environment, or begins it anew."""
        given = actions.tolist() if isinstance(actions, np.ndarray) else list(actions)
        if len(given) != self.num_envs:
            raise UsageError(f"{len(given)} actions for {self.num_envs} environments")
        moves = [self._moved(*each) for each in zip(self.envs, given, self._over.tolist())]
        terminated = np.array([move.terminated for move in moves])
        truncated = np.array([move.truncated for move in moves])
        rewards = np.array([move.reward for move in moves], np.float64)
        self._over = terminated | truncated
        return self._observations(), rewards, terminated, truncated, self._infos(moves)

    def render(self) -> tuple[Any, ...] | None:
        """Every environment's picture, or None without a render mode."""
        return tuple(env.render() for env in self.envs) if self.render_mode else None

    def close_extras(self, **kwargs: Any) -> None:
        """Closes every environment; `close` calls it."""
        for env in self.envs:
            env.close()

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, (int, np.integer)):
            return [int(seed) + at for at in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise UsageError(f"{len(seed)} seeds for {self.num_envs} environments")
        return list(seed)

    def _moved(self, env: TextEnv, action: Any, over: bool) -> Move:
        if over:
            env.begin()
            return _BEGUN
        return env.play(action)

    def _observations(self) -> Any:
        images = np.empty((self.num_envs, *self.envs[0].size, 3), np.uint8)
        for env, canvas in zip(self.envs, images):
            env.paint(canvas)
        if isinstance(self.single_observation_space, spaces.Box):
            return images
        return {"image": images, "text": tuple(env.text for env in self.envs)}

    def _infos(self, moves: Sequence[Move]) -> dict[str, Any]:
        return _columns([env.info(move) for env, move in zip(self.envs, moves)])


def _columns(infos: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One array for each key and, with "_" before the key, a mask of those that have it: here all."""
    columns: dict[str, Any] = {}
    all_have = np.ones(len(infos), np.bool_)
    for key, first in infos[0].items():
        values = [info[key] for info in infos]
        columns[key] = _columns(values) if isinstance(first, dict) else _column(values)
        columns[f"_{key}"] = all_have.copy()
    return columns


def _column(values: list[Any]) -> NDArray[Any]:
    if type(values[0]) in (bool, int, float):
        return np.array(values, type(values[0]))
    return np.fromiter(values, object, len(values))
