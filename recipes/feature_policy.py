"""Ordinary RL on a picture's frozen features, the baseline beside a VLM (dissertation, appendix C.2, "CNN-based RL").

    python -m recipes.feature_policy [--tiny] [--env numberline] [--encoder tiny] --output_path out/feature_policy

A frame's features, two layers, and a linear layer to the actions, trained by PPO on the environment's index form. Then the
policy plays the episodes that a VLM plays (`env:NAME`): it answers with its most likely action. Writes the run, claims.json
and index.html. Needs stable-baselines3.

What differs from the paper:
1. PPO is stable-baselines3's. Its settings are the dissertation's where it names them, else the defaults of the code that
   it built on (clipping 0.2, entropy 0.01).
2. Features are shifted and scaled to mean 0 and variance 1 over frames of random play: two frames of a game hardly differ.
3. No text features stand beside the picture's: a formula is read in the picture.
4. The figure is the policy's at the end of training, not the best of its curve.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from keepsight import models, tasks
from keepsight.data.drawn.png import packed_png
from keepsight.data.pictures import decode
from keepsight.envs import ActionEnv, class_of, make
from keepsight.evaluate import evaluate
from keepsight.report.claims import Claim, verdict_on, write_claims
from keepsight.scoring.metrics import accuracy
from keepsight.store import Store
from keepsight.types import Embeds, KeepsightError, Media, Output, Run, Sample, digest_of
from recipes import command_line

if TYPE_CHECKING:
    from stable_baselines3 import PPO

__all__ = ["Eyes", "FeaturePolicy", "trained"]

PAPER = "Towards Foundation Models that Learn and Adapt"
# Success of CNN+RL in Table C.1, in per cent.
PUBLISHED = {"numberline": 87.1, "ezpoints": 0.0, "points24": 0.0, "blackjack": 38.8}
ROLLOUT = {"numberline": 512, "blackjack": 512, "ezpoints": 1024, "points24": 1024}  # transitions per update
EPISODES = {"numberline": 200, "blackjack": 1000, "ezpoints": 200, "points24": 200}
WIDTH = 256
TRAINED_FROM = 2_000_000  # the first seed of training: no episode that is asked has it


@dataclass(frozen=True)
class Size:
    """How much is learnt and asked."""

    steps: int
    episodes: int | None = None  # default: the dissertation's


FULL, TINY = Size(15_000), Size(512, 8)


class Eyes:
    """What an encoder makes of frames, standardised; each frame is embedded once."""

    def __init__(self, encoder: Embeds) -> None:
        self.encoder = encoder
        self._known: dict[bytes, NDArray[np.float32]] = {}
        self.mean = self.scale = np.zeros(0, np.float32)

    def see(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features [d] of a frame [h, w, 3]."""
        return (self._raw(pixels) - self.mean) * self.scale

    def adapt(self, env: ActionEnv, frames: int) -> None:
        """Takes mean and spread from frames of random play."""
        rng = np.random.default_rng(TRAINED_FROM)
        raw: list[NDArray[np.float32]] = []
        over, seed = True, TRAINED_FROM
        while len(raw) < frames:
            if over:
                env.reset(seed=seed)
                seed += 1
            else:
                move = env.play(int(rng.integers(len(env.actions))))
            raw.append(self._raw(env.picture()))
            over = not over and (move.terminated or move.truncated)
        self.mean = np.mean(raw, axis=0, dtype=np.float32)
        self.scale = 1 / np.maximum(np.std(raw, axis=0), 1e-6).astype(np.float32)

    def _raw(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        key = hashlib.blake2b(pixels.tobytes()).digest()
        if key not in self._known:
            (self._known[key],) = self.encoder.embed_images([Media(data=packed_png(pixels))])
        return self._known[key]


class _Featured(gymnasium.ObservationWrapper[Any, Any, Any]):
    """The index form of an environment with features in the picture's place."""

    def __init__(self, env: ActionEnv, eyes: Eyes) -> None:
        super().__init__(env)
        self.eyes = eyes
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, eyes.mean.shape, np.float32)

    def observation(self, observation: Any) -> NDArray[np.float32]:
        return self.eyes.see(observation)


class FeaturePolicy:
    """A trained policy as a model: it sees a sample's picture and answers with an action; the prompt is not read."""

    def __init__(self, eyes: Eyes, policy: PPO, actions: Sequence[str], name: str) -> None:
        self.eyes = eyes
        self.policy = policy
        self.actions = tuple(actions)
        self.name = name

    @property
    def digest(self) -> str:
        """Of the encoder, how its features are scaled, and the policy's weights."""
        weights = {name: value.numpy().tobytes() for name, value in self.policy.policy.state_dict().items()}
        told = {**weights, "mean": self.eyes.mean.tobytes(), "scale": self.eyes.scale.tobytes()}
        hashed = {name: hashlib.sha256(value).hexdigest() for name, value in told.items()}
        return digest_of(["feature policy", self.eyes.encoder.digest, self.actions, hashed])  # type: ignore[attr-defined]

    def generate(
        self,
        samples: Sequence[Sample],
        *,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        batch_size: int | None = None,
    ) -> Iterator[tuple[int, Output]]:
        """Yields `(index, the most likely action as JSON)`."""
        for index, sample in enumerate(samples):
            features = self.eyes.see(np.asarray(decode(sample.media[0])))
            action, _ = self.policy.predict(features, deterministic=True)
            yield index, Output(json.dumps({"action": self.actions[int(action)]}), stop="eos")


def trained(name: str, encoder: Embeds, steps: int, seed: int = 0, **arguments: Any) -> FeaturePolicy:
    """A policy after at least `steps` steps of the environment (whole updates).

    Args:
        arguments: of the environment.

    Raises:
        KeepsightError: stable-baselines3 is missing, or the environment has no numbered actions.
    """
    try:
        from stable_baselines3 import PPO
    except ImportError as error:
        raise KeepsightError("PPO is not installed; pip install stable-baselines3") from error
    if not issubclass(class_of(name), ActionEnv):
        raise KeepsightError(f"environment {name} has no index form; choose from {', '.join(PUBLISHED)}")
    env, eyes = make(name, action="index", **arguments), Eyes(encoder)
    assert isinstance(env, ActionEnv)
    rollout = min(ROLLOUT.get(name, 1024), steps)
    eyes.adapt(env, rollout)
    policy = PPO(
        "MlpPolicy", _Featured(env, eyes), learning_rate=_cosine(steps / rollout), n_steps=rollout, batch_size=min(128, rollout),
        n_epochs=4, gamma=0.9, gae_lambda=0.95, clip_range=0.2, ent_coef=0.01, policy_kwargs={"net_arch": [WIDTH, WIDTH]},
        seed=TRAINED_FROM + seed, device="cpu",
    )  # fmt: skip
    policy.learn(steps)
    return FeaturePolicy(eyes, policy, env.actions, f"PPO on frozen features, {steps} steps")


def _cosine(updates: float, first: float = 3e-4, last: float = 1e-8, span: int = 25) -> Any:
    """The learning rate by the share of training that is left: a half cosine over `span` updates, then `last`."""

    def rate(left: float) -> float:
        done = min((1 - left) * updates / span, 1)
        return last + (first - last) * (1 + math.cos(math.pi * done)) / 2

    return rate


# ---- what it found ------------------------------------------------------------------------------------------------


def study(name: str, encoder: Embeds, output: Path, size: Size, seed: int = 0) -> Run:
    """Trains a policy and lets it play the episodes of `env:NAME`."""
    task = tasks.get(f"env:{name}", n=size.episodes or EPISODES.get(name, 200))
    return evaluate(trained(name, encoder, size.steps, seed), task, Store(output))


def claims_of(name: str, run: Run) -> list[Claim]:
    """Success beside the published figure, counted as its code counts it (return above 0) and as solved episodes."""
    samples = [record.sample for record in run.records]
    found = []
    for scorer, what in (
        ("positive_return", "its rewards add up to more than 0"),
        ("solved", "it is solved"),
    ):
        figure = accuracy(samples, run.scores(scorer))
        chance = 100 * accuracy(samples, run.scores("random")).value
        interval = (100 * figure.low, 100 * figure.high)
        found.append(
            Claim(
                f"PPO on frozen features succeeds more often in {name} than random play solves it ({chance:.1f} %); an episode is "
                f"a success where {what}", f"{PAPER}, Table C.1",
                f"{PUBLISHED[name]} % (CLIP ViT-L/14, the best of its curve)" if name in PUBLISHED else "not asked",
                100 * figure.value, interval, figure.n, verdict_on(interval, above=chance), "%",
            )
        )  # fmt: skip
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--tiny", action="store_true", help="few steps: shows that it runs, not that it holds"
    )
    parser.add_argument("--env", default="numberline", choices=sorted(PUBLISHED))
    parser.add_argument("--encoder", default="tiny", help="tiny, or clip:PATH")
    parser.add_argument("--output_path", type=Path, default=Path("out/feature_policy"))
    options = parser.parse_args(arguments)
    encoder = models.load_embedder(options.encoder)
    if not isinstance(encoder, Embeds):
        raise KeepsightError(f"{options.encoder} embeds no pictures; give tiny or clip:PATH")
    run = study(options.env, encoder, options.output_path, TINY if options.tiny else FULL)
    write_claims(
        claims_of(options.env, run), options.output_path, title=f"RL on frozen features: {options.env}"
    )
    for claim in claims_of(options.env, run):
        print(
            f"{claim.measured:.1f} % [{claim.interval[0]:.1f}, {claim.interval[1]:.1f}], n {claim.n}: {claim.claim}"
        )


if __name__ == "__main__":
    command_line(main)
