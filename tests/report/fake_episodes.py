"""Episodes made up for the report's tests: NumberLine played by scripted texts, no model.

`played` plays one episode with a function from environment and step to a text; `episode_matrix` builds a matrix.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random

from PIL import Image

from keepsight.envs import make
from keepsight.scoring.metrics import accuracy
from keepsight.types import Media, Output, Record, ResultMatrix, Run, Sample, Score
from tests.report.fake_audit import run_of

Player = Callable[..., str]
TASK = "env:numberline"
SCORERS = (
    "solved",
    "return",
    "positive_return",
    "step_accuracy",
    "illegal_rate",
    "steps",
    "expert",
    "random",
)


def played(player: Player, seed: int, name: str = TASK) -> Record:
    """One episode as a rollout stores it."""
    env = make("numberline")
    env.reset(seed=seed)
    episode, steps, over = f"seed-{seed}", [], False
    while not over:
        picture = Media(data=_png(env.picture()))
        sample = Sample(f"{episode}/{len(steps)}", env.prompt(), (picture,), group=episode)
        best = env.best()
        text = player(env, len(steps))
        move = env.play(text)
        over = move.terminated or move.truncated
        tags = [*move.tags, *(["illegal"] if move.status == "illegal" else [])]
        tags += ["correct" if move.status == "parsed" and move.answer in best else "wrong"]
        tags += [word for word in ("solved", "truncated") if getattr(move, word)]
        message = "The number moved away from the target." if move.reward < 0 else move.message
        reward = Score(
            move.reward, move.answer, "unparsed" if move.status == "unparsed" else "ok", message, tuple(tags)
        )
        steps.append(Record(sample, Output(text, stop="eos"), {"reward": reward}))
    first = replace(steps[0].sample, id=episode, group=episode, meta={"seed": seed})
    output = Output(text, stop="eos", steps=tuple(steps))
    return Record(first, output, scores_of(output, seed))


def scores_of(output: Output, seed: int) -> dict[str, Score]:
    """What the scorers of an environment say."""
    rewards = [step.scores["reward"] for step in output.steps]
    n = float(len(rewards))
    total = math.fsum(score.value for score in rewards)
    solved = float("solved" in rewards[-1].tags)
    return {
        "solved": Score(solved, "solved" if solved else "out of steps"),
        "return": Score(total),
        "positive_return": Score(float(total > 0)),
        "steps": Score(n),
        "step_accuracy": Score(sum("correct" in score.tags for score in rewards) / n, weight=n),
        "illegal_rate": Score(
            sum("illegal" in score.tags or score.status == "unparsed" for score in rewards) / n, weight=n
        ),
        "expert": Score(1.0),
        "random": Score(float(seed % 4 == 0)),
    }


def episode_run(row: str, col: str, records: list[Record]) -> Run:
    """A run whose headline is the share of solved episodes."""
    made = run_of(row, col, [])
    manifest = {**made.manifest, "scorer": "solved", "scorers": dict.fromkeys(SCORERS, "1")}
    samples = [record.sample for record in records]
    head = accuracy(samples, [record.scores["solved"] for record in records])
    return Run(manifest, tuple(records), (replace(head, name="success_rate"),))


def episode_matrix(
    players: Mapping[str, Player], n: int = 12, cols: tuple[str, ...] = (TASK,)
) -> ResultMatrix:
    """Every player on the same seeds."""
    runs = {
        (row, col): episode_run(row, col, [played(player, seed) for seed in range(n)])
        for row, player in players.items()
        for col in cols
    }
    return ResultMatrix(tuple(players), cols, runs, {"created": "2026-11-20T18:00:00+00:00"})


def expert(env, step: int) -> str:
    """The best answer."""
    return env.expert()


def away(env, step: int) -> str:
    """Always the wrong way."""
    (best,) = env.best()
    return f'{{"thoughts": "I go the other way.", "action": "{"-" if best == "+" else "+"}"}}'


def mute(env, step: int) -> str:
    """Nothing that could be read."""
    return "I see two numbers."


def wavering(env, step: int) -> str:
    """Sometimes the expert, sometimes wrong, illegal or unreadable."""
    dice = Random(f"{env.target}/{env.current}/{step}").random()
    if dice < 0.25:
        return away(env, step)
    if dice < 0.4:
        return '{"action": "jump"}'
    return mute(env, step) if dice < 0.5 else env.expert()


def _png(picture) -> bytes:
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "PNG")
    return data.getvalue()
