"""Episodes with a model: every round asks it one batch, the present observation of each episode that is still running."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

from keepsight.data.digests import file_digest
from keepsight.data.drawn.png import packed_png
from keepsight.envs import class_of, make
from keepsight.envs.base import ActionEnv, Move, TextEnv
from keepsight.errors import KeepsightError
from keepsight.inference import Generate
from keepsight.store.rows import REWARD
from keepsight.types import VLM, Media, Output, Record, Sample, Score, ScoreStatus, digest_of

__all__ = ["Episodes", "Frames", "changed", "first_observation", "observed", "reward_of"]

GIVEN_UP_IN_A_ROW = 20  # episodes that failed with no answer between: the fault is not theirs
FRAMES_KEPT = 256


class Frames:
    """Pictures of environments as media; of the last `FRAMES_KEPT` different ones each was encoded once."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[Any, ...], Media] = OrderedDict()

    def of(self, env: TextEnv) -> tuple[Media, ...]:
        """What a model is shown of the present state."""
        if not env.shows_picture:
            return ()
        pixels = env.picture()
        key = (pixels.shape, hashlib.blake2b(pixels.data).digest())
        media = self._known.pop(key, None) or Media(data=packed_png(pixels))
        self._known[key] = media
        if len(self._known) > FRAMES_KEPT:
            self._known.popitem(last=False)
        return (media,)


def observed(env: TextEnv, name: str, episode: str, frames: Frames) -> Sample:
    """The present observation as a question with the id `name`; its meta is what may be told of the state."""
    prompt, *history = env.dialogue
    facts = json.loads(json.dumps(env.facts()))  # as the store gives it back
    return Sample(name, prompt, frames.of(env), group=episode, meta=facts, history=tuple(history))


def first_observation(
    env: TextEnv, name: str, arguments: Mapping[str, Any], seed: int, frames: Frames
) -> Sample:
    """The sample that stands for the episode of this seed. Episodes that begin alike are one cluster.

    Args:
        name, arguments: what `env` was made of.
    """
    env.reset(seed=seed)
    seen = observed(env, f"seed-{seed}", "", frames)
    meta = {"env": name, "arguments": dict(arguments), "seed": seed, "facts": seen.meta}
    return Sample(
        seen.id, seen.prompt, seen.media, group=seen.request_digest, meta=meta, history=seen.history
    )


def changed(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that are not the environment's own defaults: saying a default aloud makes no other environment."""
    known = inspect.signature(class_of(name)).parameters
    # as text: a command line gives face_cards=10 as a number
    return {key: value for key, value in arguments.items() if str(value) != str(known[key].default)}


def reward_of(move: Move, best: frozenset[str]) -> Score:
    """What a step's record says of it.

    Tags: those of the move; `illegal` (the text named something that cannot be done); `correct` or `wrong` where `best`
    holds the actions that an expert may choose, an answer that named no action being wrong whatever was done in its place;
    `solved`; `truncated`.
    """
    tags = [*move.tags]
    if move.status == "illegal":
        tags.append("illegal")
    if best:
        tags.append("correct" if move.status == "parsed" and move.answer in best else "wrong")
    tags += [name for name, so in (("solved", move.solved), ("truncated", move.truncated)) if so]
    status: ScoreStatus = "unparsed" if move.status == "unparsed" else "ok"
    return Score(float(move.reward), move.answer, status, move.message, tuple(dict.fromkeys(tags)))


@dataclass(frozen=True)
class Episodes:
    """Plays an environment's episodes with a model, one per sample; an Output holds its `steps`.

    What an episode is depends on its seed and on the model alone, not on the others that are played beside it. An answer
    that failed fails its episode; the steps before it stay in the Output.
    """

    env: str = field(metadata={"gen_kwargs": False})  # of `keepsight.envs.ENVS`
    arguments: Mapping[str, Any] = field(default_factory=dict, metadata={"gen_kwargs": False})
    max_new_tokens: int = 256  # an answer is cut here
    temperature: float = 0.0  # 0 is greedy
    top_p: float = 1.0  # share of the probability mass that is sampled from
    seed: int = 0  # of the answers' random streams, one per step; unused when greedy
    at_once: int = 32  # episodes under way; changes no answer

    def __post_init__(self) -> None:
        self._asking  # noqa: B018  # refuses settings that make no sense
        if not isinstance(self.at_once, int) or self.at_once < 1:
            raise KeepsightError(f"at_once is {self.at_once!r}; give a whole number of at least 1")

    @property
    def _asking(self) -> Generate:
        return Generate(self.max_new_tokens, self.temperature, self.top_p, self.seed)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Enters a run's identity: how the model is asked, and in what."""
        return {
            **self._asking.settings,
            "kind": "episodes",
            "env": self.env,
            "env_version": class_of(self.env).VERSION,
            "arguments": changed(self.env, self.arguments),
            **({"files": digest} if (digest := self._files_digest) else {}),
        }

    @cached_property
    def _files_digest(self) -> str:
        """Of the content of the files that the episodes come from; empty where there are none."""
        files = make(self.env, **self.arguments).files()
        return digest_of([[str(path), file_digest(path)] for path in files]) if files else ""

    @property
    def questions_per_sample(self) -> int:
        """How often a model is asked in an episode, at most."""
        return make(self.env, **self.arguments).horizon

    def __call__(
        self, model: VLM, samples: Sequence[Sample], *, batch_size: int | None = None
    ) -> Iterator[tuple[int, Output]]:
        """Yields `(index, Output)` as episodes end.

        Raises:
            KeepsightError: the model answered a step twice.
        """
        frames = Frames()
        waiting = iter(enumerate(samples))
        running: list[_Episode] = []
        failed_in_a_row = 0
        while True:
            if failed_in_a_row >= GIVEN_UP_IN_A_ROW:
                reason = f"not asked: {failed_in_a_row} episodes failed in a row before it"
                yield from ((index, Output("", error=reason)) for index, _ in waiting)
            room = max(self.at_once, batch_size or 0) - len(running)
            running += [
                _Episode(index, sample, make(self.env, **self.arguments), frames)
                for index, sample in islice(waiting, room)
            ]
            if not running:
                return
            for episode in self._round(model, running, batch_size):
                failed_in_a_row = failed_in_a_row + 1 if episode.error else 0
                if episode.over:
                    yield episode.index, episode.output()
            running = [episode for episode in running if not episode.over]

    def _round(self, model: VLM, running: Sequence[_Episode], batch_size: int | None) -> Iterator[_Episode]:
        """Asks for one step of every episode and yields each after it was taken."""
        asked = [episode.asked for episode in running]
        missing = set(range(len(running)))
        for place, output in self._asking(model, asked, batch_size=batch_size):
            if place not in missing:
                raise KeepsightError(
                    f"{model.name} answered step {asked[place].id} twice; its generate is broken"
                )
            missing.remove(place)
            running[place].take(output)
            yield running[place]
        for place in sorted(missing):
            running[place].take(Output("", error=f"{model.name} gave no answer"))
            yield running[place]


class _Episode:
    """One episode under way."""

    def __init__(self, index: int, sample: Sample, env: TextEnv, frames: Frames) -> None:
        self.index = index
        self.over = False
        self.error: str | None = None
        self._id = sample.id
        self._env = env
        self._frames = frames
        self._steps: list[Record] = []
        env.reset(seed=sample.meta["seed"])
        self.asked = self._question()

    def _question(self) -> Sample:
        return observed(self._env, f"{self._id}/{len(self._steps)}", self._id, self._frames)

    def take(self, output: Output) -> None:
        """Does what the model said to the present observation."""
        if output.error is not None:
            self.error, self.over = f"step {self.asked.id}: {output.error}", True
            return
        best = self._env.best() if isinstance(self._env, ActionEnv) else frozenset()
        move = self._env.play(output.text)
        self._steps.append(Record(self.asked, output, {REWARD: reward_of(move, best)}))
        self.over = move.terminated or move.truncated
        if not self.over:
            self.asked = self._question()

    def output(self) -> Output:
        """The episode so far as one answer."""
        usage: Counter[str] = Counter()
        for step in self._steps:
            usage.update(step.output.usage)
        last = self._steps[-1].output if self._steps else Output("")
        return Output(
            last.text, stop=last.stop, usage=dict(usage), error=self.error, steps=tuple(self._steps)
        )
