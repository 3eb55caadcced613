"""An expert's episodes as training rows in LLaVA's form: `keepsight build episodes`.

Source: Zhai, "Towards Foundation Models that Learn and Adapt" (dissertation), appendix C.3 (expert rows, with and without
chain of thought) and D.3 (sub-optimal trajectories: wrong answers and the verifier's words before the right answer).

What differs from there:
1. A row's wrong answers have weight 0: they are shown and not learnt. (Whether theirs are learnt is not said.)
2. Rows come from whole episodes, so that states stand in the data as often as the expert meets them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from keepsight.data.llava import IMAGE_MARK
from keepsight.envs import make_for_model
from keepsight.envs.base import TextEnv
from keepsight.envs.players import has_expert
from keepsight.envs.rollout import Frames, observed
from keepsight.errors import KeepsightError, UsageError
from keepsight.store.files import replace_file
from keepsight.types import Media, Sample, digest_of

__all__ = ["Demonstrations", "build_demonstrations", "demonstration_seed", "expert_episode"]

Progress = Callable[[str, int, int], None]
_LEAST_SHARE = 50  # of so many hands at least one must have a solution
_STREAM = 2  # beside the seed: mistakes are drawn from a stream of their own, so that the hands stay the same
_WAIT = 20  # as many times more hands may be tried before that is asked


@dataclass(frozen=True)
class Demonstrations:
    """Where the rows lie, and what they were made of (also in `manifest.json`)."""

    path: Path
    manifest: Mapping[str, Any]


def build_demonstrations(
    name: str,
    directory: str | Path,
    *,
    episodes: int = 1000,
    arguments: Mapping[str, Any] | None = None,
    mistakes: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Demonstrations:
    """Writes `train.json`, `images/` and `manifest.json`: a row per observation that the expert meets.

    The same call writes the same files. `train.json` appears when it is complete; pictures are named by their content, so
    that many rows may share one.

    Args:
        name: of `ENVS`.
        episodes: how many are written. Those without a solution are left out, and counted in the manifest.
        arguments: of the environment, e.g. `thoughts=False`.
        mistakes: most wrong answers before each right one, for environments that let answers be revised; each number
            from 1 to it is alike likely.
        seed: of the episodes (`demonstration_seed`).
        progress: called as `(what, done, total)`.

    Raises:
        UsageError: no such environment or setting, one without an expert, or mistakes that it does not take.
        KeepsightError: hardly any hand has a solution, or the directory cannot be written.
    """
    directory, arguments = Path(directory).expanduser(), dict(arguments or {})
    if episodes < 1 or mistakes < 0:
        raise UsageError(f"episodes is {episodes}, mistakes {mistakes}; give at least 1 and 0")
    env = make_for_model(name, **arguments)
    if not has_expert(env):
        raise UsageError(f"environment {name} has no expert; its episodes cannot be shown")
    pictures, rows, left_out = _Pictures(directory), [], 0
    for done, (tried, episode) in enumerate(_solved(env, name, episodes, mistakes, seed), 1):
        left_out = tried - done
        rows += [_row(sample, pictures.name_of(sample.media)) for sample in episode]
        if progress is not None:
            progress(name, done, episodes)
    text = "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n"
    replace_file(directory / "train.json", text.encode())
    manifest = {
        "environment": name,
        "version": env.VERSION,
        "arguments": arguments,
        "seed": seed,
        "mistakes": mistakes,
        "episodes": episodes,
        "left_out": left_out,  # without a solution
        "rows": len(rows),
        "pictures": len(pictures.names),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),  # of train.json
    }
    replace_file(directory / "manifest.json", (json.dumps(manifest, indent=2) + "\n").encode())
    return Demonstrations(directory / "train.json", manifest)


def demonstration_seed(seed: int, number: int) -> int:
    """What the environment is reset with for hand `number` (from 0): 48 bits, so that evaluation starts none of them."""
    return int(digest_of(["demonstrations", seed, number])[:12], 16)


def expert_episode(
    env: TextEnv, seed: int, name: str, frames: Frames, mistakes: int = 0
) -> list[Sample] | None:
    """What the expert meets in the episode of `seed`, its answers as targets; None where there is no solution.

    Args:
        name: the episode's, and the beginning of its samples' ids.
        mistakes: as in `build_demonstrations`.
    """
    env.reset(seed=seed)
    rng = np.random.default_rng([seed, _STREAM])
    shown: list[Sample] = []
    over = False
    while not over:
        if mistakes and env.expert() is not None:
            _err(env, rng, int(rng.integers(1, mistakes + 1)))
        answer = env.expert()
        if answer is None:
            return None
        shown.append(replace(observed(env, f"{name}/{len(shown)}", name, frames), target=(answer,)))
        move = env.play(answer)
        over = move.terminated or move.truncated
    return shown


def _err(env: TextEnv, rng: np.random.Generator, times: int) -> None:
    """Answers wrongly so often. Raises UsageError where that ends the episode, or leaves no trace in the dialogue."""
    for number in range(1, times + 1):
        before = len(env.replies)
        wrong = env.mistake(rng)
        move = env.play(wrong) if wrong is not None else None
        if move is not None and (move.terminated or move.truncated):
            raise UsageError(
                f"--mistakes: wrong answer {number} ends an episode of {type(env).__name__}; give at most {number - 1}"
            )
        if len(env.replies) != before + 2:
            raise UsageError(
                f"--mistakes: {type(env).__name__} does not let answers be revised; give 0, or another environment"
            )


def _solved(
    env: TextEnv, name: str, episodes: int, mistakes: int, seed: int
) -> Iterator[tuple[int, list[Sample]]]:
    """(hands tried so far, episode) of as many episodes as are wanted."""
    found, frames = 0, Frames()
    for tried in count(1):
        if found == episodes:
            return
        episode = expert_episode(
            env, demonstration_seed(seed, tried - 1), f"{name}/{tried - 1:06d}", frames, mistakes
        )
        if episode is not None:
            found += 1
            yield tried, episode
        elif tried > _LEAST_SHARE * (found + _WAIT):
            raise KeepsightError(
                f"environment {name}: {found} of {tried} hands have a solution; change --env_args (the target, say)"
            )


def _row(sample: Sample, image: str | None) -> dict[str, Any]:
    turns = [{"from": "human", "value": f"{IMAGE_MARK}\n{sample.prompt}" if image else sample.prompt}]
    for at, text in enumerate(sample.history):
        turns.append({"from": "human", "value": text} if at % 2 else _unlearnt(text))
    turns.append({"from": "gpt", "value": sample.target[0]})
    return {"id": sample.id, **({"image": image} if image else {}), "conversations": turns}


def _unlearnt(text: str) -> dict[str, Any]:
    return {"from": "gpt", "value": text, "weight": 0}


class _Pictures:
    """The pictures of a directory, each written once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.names: set[str] = set()

    def name_of(self, media: tuple[Media, ...]) -> str | None:
        """The picture's path below the directory, where it lies from now on."""
        if not media:
            return None
        name = f"images/{media[0].sha256}.png"
        if name not in self.names:
            replace_file(self.directory / name, media[0].read(), durable=False)
            self.names.add(name)
        return name
