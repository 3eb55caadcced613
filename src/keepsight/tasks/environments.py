"""Decision-making environments as tasks: `env:NAME`, a sample an episode.

Beside the model's figures stand those of an expert and of a player that acts at random, on the very same episodes: no
model can be expected to do better than the one, and one that does no better than the other has learnt nothing.

Importing this costs nothing; Gymnasium is imported when an environment is made.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from keepsight.errors import UsageError
from keepsight.scoring.episodes import (
    IllegalRate,
    PositiveReturn,
    Recognition,
    Return,
    Solved,
    StepAccuracy,
    Steps,
    UnstatedRate,
    success_rate,
)
from keepsight.scoring.metrics import unparsed_share
from keepsight.types import Output, Sample, Score, Scorer, Task

if TYPE_CHECKING:
    from keepsight.envs.base import Move, TextEnv

__all__ = ["TRAINING_SEEDS", "builder_of", "environment", "environments"]

# Of how answers are read and judged, in all environments. 2: a choice of several actions is none.
VERSION = "2"
EPISODES = 100  # asked, where they are drawn
TRAINING_SEEDS = 1_000_000  # what is learnt begins so far above what is asked


def environments() -> list[tuple[str, str]]:
    """(name, what it is) of every environment."""
    from keepsight.envs import ENVS, class_of

    return [(name, (inspect.getdoc(class_of(name)) or "").partition("\n")[0]) for name in ENVS]


def environment(
    name: str, *, n: int | None = None, seed: int = 0, train_episodes: int = 500, **arguments: Any
) -> Task:
    """`env:NAME`: episodes of an environment that a model plays by answering in text.

    Args:
        name: of `keepsight.envs.ENVS`.
        n: episodes asked; by default 100, and of a published set each once. More than it has go round again.
        seed: of the first one; the others follow by one.
        train_episodes: episodes of the training split, whose rows are the expert's answers. Their seeds are others; where
            there are few states they begin like episodes that are asked.
        arguments: of the environment.

    Raises:
        UsageError: another environment, an argument it does not take, or a number that makes no sense.
    """
    from keepsight.envs import class_of, make, make_for_model
    from keepsight.envs.players import has_expert
    from keepsight.envs.rollout import Episodes

    asked = EPISODES if n is None else n
    for what, number, least in (("n", asked, 1), ("seed", seed, 0), ("train_episodes", train_episodes, 1)):
        if not isinstance(number, int) or isinstance(number, bool) or number < least:
            raise UsageError(f"environment {name}: {what} is {number!r}; give a whole number from {least}")
    env = make_for_model(name, **arguments)
    if n is None and env.published:
        asked = env.published
    learnt = range(seed + TRAINING_SEEDS, seed + TRAINING_SEEDS + train_episodes)
    return Task(
        name=f"env:{name}",
        version=f"{VERSION}.{class_of(name).VERSION}",
        test=partial(_first_observations, name, arguments, range(seed, seed + asked)),
        infer=Episodes(name, arguments),
        score=Solved(),
        metrics=(success_rate, unparsed_share),
        train=partial(_expert_rows, name, arguments, learnt) if has_expert(env) else None,
        judges=(*_scorers(env), *_players(env, partial(make, name, **arguments))),
        description=(inspect.getdoc(type(env)) or "").partition("\n")[0],
    )


def builder_of(name: str) -> Callable[..., Task]:
    """`environment` of one name, with a signature that names the environment's own arguments.

    Raises:
        UsageError: another environment.
    """
    from keepsight.envs import NOT_FOR_MODELS, class_of

    shared = [each for each in inspect.signature(environment).parameters.values() if each.name in _SHARED]
    own = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for each in inspect.signature(class_of(name)).parameters.values()
        if each.name not in NOT_FOR_MODELS
    ]

    def build(**arguments: Any) -> Task:
        return environment(name, **arguments)

    build.__signature__ = inspect.Signature([*shared, *own])  # type: ignore[attr-defined]
    return build


_SHARED = ("n", "seed", "train_episodes")


def _first_observations(name: str, arguments: Mapping[str, Any], seeds: Iterable[int]) -> list[Sample]:
    from keepsight.envs import make
    from keepsight.envs.rollout import Frames, changed, first_observation

    env, frames, given = make(name, **arguments), Frames(), changed(name, arguments)
    return [first_observation(env, name, given, seed, frames) for seed in seeds]


def _expert_rows(name: str, arguments: Mapping[str, Any], seeds: Iterable[int]) -> list[Sample]:
    """Every step of the expert's episodes; hands without a solution have none."""
    from keepsight.envs import make
    from keepsight.envs.demonstrations import expert_episode
    from keepsight.envs.rollout import Frames

    env, frames = make(name, **arguments), Frames()
    return [row for seed in seeds for row in expert_episode(env, seed, f"seed-{seed}", frames) or ()]


def _scorers(env: TextEnv) -> tuple[Scorer, ...]:
    """Beside the headline, what can be said of this environment's episodes."""
    found: list[Scorer] = [Return(env.return_bounds), PositiveReturn()]
    if env.judges_steps:
        found.append(StepAccuracy())
    if env.checks_recognition:
        found += [Recognition(), UnstatedRate()]
    return (*found, IllegalRate(), Steps(env.horizon))


def _players(env: TextEnv, make_env: Callable[[], TextEnv]) -> tuple[Scorer, ...]:
    from keepsight.envs import ActionEnv
    from keepsight.envs.players import has_expert, play_as_expert, play_at_random

    found = [_Player("expert", make_env, play_as_expert)] if has_expert(env) else []
    if isinstance(env, ActionEnv):
        found.append(_Player("random", make_env, play_at_random))
    return tuple(found)


@dataclass(frozen=True)
class _Player:
    """Plays the episodes itself: 1 for one it solves, else 0. What the model did is not looked at."""

    name: str
    make_env: Callable[[], TextEnv]
    play: Callable[[Any, int], Iterator[Move]]
    version: str = "1"

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """One score per episode."""
        from keepsight.envs.players import total

        env = self.make_env()
        played = [total(self.play(env, sample.meta["seed"])) for sample in samples]
        return [
            Score(
                float(each.solved),
                "solved" if each.solved else "not solved",
                explanation=f"{each.steps} steps, return {each.reward:g}",
            )
            for each in played
        ]
