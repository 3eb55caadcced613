"""Episodes with a model: what it is shown, what is written down, and that company, order and kills change nothing."""

import json
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any, ClassVar

import pytest

from keepsight import envs
from keepsight.data.drawn.png import packed_png
from keepsight.envs import Move, TextEnv, make, rollout
from keepsight.envs.rollout import GIVEN_UP_IN_A_ROW, Episodes, Frames, first_observation, reward_of
from keepsight.evaluate import evaluate
from keepsight.ranks import deal
from keepsight.scoring.episodes import Solved
from keepsight.store import Store
from keepsight.tasks.environments import environment
from keepsight.types import KeepsightError, Media, Output, Sample, digest_of
from keepsight.verbs import _asked_with
from tests.fake_vlm import make_task

SAID = ['{"action": "+"}', '{"action": "-"}', '{"action": "up"}', "", "+", "I say minus"]


class Speaker:
    """Says what `words` makes of a question; an exception stands for a failed answer."""

    def __init__(self, words, stop_after: int | None = None, name: str = "speaker") -> None:
        self.words = words
        self.name = name
        self.batches: list[list[str]] = []
        self.stop_after = stop_after

    @property
    def digest(self) -> str:
        return digest_of(self.name)

    def generate(self, samples, *, batch_size=None, **settings):
        self.batches.append([sample.id for sample in samples])
        if self.stop_after is not None and len(self.batches) > self.stop_after:
            raise KeyboardInterrupt
        for place, sample in Random(len(self.batches)).sample(list(enumerate(samples)), len(samples)):
            said = self.words(sample)
            usage = {"prompt_tokens": 10, "completion_tokens": 1}
            yield (
                place,
                Output("", error=said.args[0]) if isinstance(said, Exception) else Output(said, usage=usage),
            )


def chance(sample: Sample) -> str:
    """Any of `SAID`, always the same to one step."""
    return Random(sample.id).choice(SAID)


def right(sample: Sample) -> str:
    return "+" if sample.meta["current"] < sample.meta["target"] else "-"


def episodes(n: int = 12, name: str = "numberline") -> list[Sample]:
    env, frames = make(name), Frames()
    return [first_observation(env, name, {}, seed, frames) for seed in range(n)]


def played(samples, words=chance, **settings) -> dict[str, Output]:
    model = Speaker(words)
    return {samples[i].id: output for i, output in Episodes("numberline", **settings)(model, samples)}


class Riddle(TextEnv):
    """A number below 100, three attempts, no picture."""

    VERSION: ClassVar[str] = "7"
    horizon = 3

    def __init__(self, *, render_mode: str | None = None) -> None:
        super().__init__((8, 8), thoughts=False, shows_picture=False, render_mode=render_mode)

    def start(self, options: Mapping[str, Any]) -> None:
        self.number = int(self.np_random.integers(100))

    def paint(self, canvas) -> None:
        canvas[:] = 0

    def prompt(self) -> str:
        return "Which number?"

    def hidden(self) -> dict[str, Any]:
        return {"number": self.number}

    def judge(self, text: str) -> Move:
        if not text.isdecimal():
            return Move(-1.0, status="unparsed")
        if int(text) == self.number:
            return Move(1.0, text, terminated=True, solved=True, tags=("recognized",))
        self.replies += [text, "more" if int(text) < self.number else "less"]
        return Move(0.0, text)


@pytest.fixture
def riddle(monkeypatch):
    monkeypatch.setitem(envs.ENVS, "riddle", ("keepsight/Riddle-v0", f"{__name__}:Riddle"))


# ---- what a model is shown


def test_a_sample_is_the_first_observation_and_shows_nothing_hidden(riddle):
    (sample,) = episodes(1)
    env = make("numberline")
    observation, info = env.reset(seed=0)
    assert sample.id == "seed-0" and sample.prompt == env.prompt() and not sample.history
    assert sample.media == (Media(data=packed_png(observation["image"])),)
    facts = {"target": info["target"], "current": info["current"]}
    assert sample.meta == {"env": "numberline", "arguments": {}, "seed": 0, "facts": facts}
    (unseen,) = episodes(1, "riddle")
    assert not unseen.media and "number" not in json.dumps(dict(unseen.meta["facts"]))


def test_episodes_that_begin_alike_are_one_cluster():
    samples = episodes(200)
    starts = {(s.meta["facts"]["target"], s.meta["facts"]["current"]): s.group for s in samples}
    assert len(starts) == 30 and len(set(starts.values())) == 30
    assert all(
        s.group == starts[s.meta["facts"]["target"], s.meta["facts"]["current"]] == s.cluster for s in samples
    )


def test_a_step_holds_what_was_seen_said_and_done():
    samples = episodes(12)
    outputs = played(samples)
    for sample in samples:
        output = outputs[sample.id]
        env = make("numberline")
        env.reset(seed=sample.meta["seed"])
        for number, step in enumerate(output.steps):
            assert step.sample.id == f"{sample.id}/{number}" and step.sample.group == sample.id
            assert step.sample.media == (Media(data=packed_png(env.picture())),)
            assert step.sample.meta == env.facts() and step.output.text == chance(step.sample)
            best = env.best()
            assert step.scores == {"reward": reward_of(env.play(step.output.text), best)}
        assert env._over and output.text == output.steps[-1].output.text and output.error is None
        assert output.usage == {
            "prompt_tokens": 10 * len(output.steps),
            "completion_tokens": len(output.steps),
        }


def test_a_revision_is_a_dialogue(riddle):
    samples = episodes(1, "riddle")
    asked = iter(["1000", "0", "what"])
    ((_, output),) = Episodes("riddle")(Speaker(lambda sample: next(asked)), samples)
    histories = [step.sample.history for step in output.steps]
    assert histories == [(), ("1000", "less"), ("1000", "less", "0", "more")]
    assert {step.sample.prompt for step in output.steps} == {"Which number?"}
    rewards = [step.scores["reward"] for step in output.steps]
    assert [(reward.status, reward.tags) for reward in rewards] == [
        ("ok", ()),
        ("ok", ()),
        ("unparsed", ("truncated",)),
    ]


@pytest.mark.parametrize(
    ("move", "best", "status", "tags"),
    [
        (Move(1.0, "+", solved=True, terminated=True), "+", "ok", ("correct", "solved")),
        (Move(0.0, "-"), "+", "ok", ("wrong",)),
        (Move(0.0, "-"), "", "ok", ()),
        (
            Move(0.0, "+", "illegal", tags=("random_action",)),
            "+",
            "ok",
            ("random_action", "illegal", "wrong"),
        ),
        (Move(0.0, "+", "unparsed", tags=("random_action",)), "+", "unparsed", ("random_action", "wrong")),
        (Move(0.0, "+", truncated=True, tags=("recognized",)), "", "ok", ("recognized", "truncated")),
        (Move(0.0, "north", tags=("correct",)), "", "ok", ("correct",)),
    ],
)
def test_what_a_step_is_called(move, best, status, tags):
    score = reward_of(move, frozenset(best))
    assert (score.status, score.tags, score.value, score.answer) == (status, tags, move.reward, move.answer)


def test_equal_frames_are_encoded_once(monkeypatch):
    made = []
    monkeypatch.setattr(rollout, "packed_png", lambda pixels: made.append(1) or packed_png(pixels))
    samples = episodes(60)
    assert len(made) <= 30
    del made[:]
    outputs = played(samples)
    shown = {step.sample.media[0].sha256 for output in outputs.values() for step in output.steps}
    assert len(made) == len(shown) < sum(len(output.steps) for output in outputs.values())


# ---- neither order nor company matters


@pytest.mark.parametrize("at_once", [1, 2, 5, 32])
def test_how_many_are_played_at_once_changes_no_episode(at_once):
    samples = episodes(12)
    alone = {sample.id: played([sample])[sample.id] for sample in samples}
    assert len({len(output.steps) for output in alone.values()}) > 3
    assert played(samples, at_once=at_once) == alone == played(samples[::-1], at_once=at_once)
    for share in deal(samples, 2):
        assert played([samples[i] for i in share]).items() <= alone.items()


def test_every_round_is_one_batch_and_a_place_that_falls_free_is_filled():
    samples, model = episodes(12), Speaker(chance)
    outputs = dict(Episodes("numberline", at_once=4)(model, samples))
    steps = sum(len(output.steps) for output in outputs.values())
    assert sum(map(len, model.batches)) == steps and all(len(batch) == 4 for batch in model.batches[:8])
    wide = Speaker(chance)
    list(Episodes("numberline", at_once=4)(wide, samples, batch_size=9))
    assert len(wide.batches[0]) == 9


def test_a_killed_run_goes_on_to_the_same_records(tmp_path):
    task = replace(environment("numberline", n=10), infer=Episodes("numberline", at_once=3))
    fresh = evaluate(Speaker(chance), task, Store(tmp_path / "fresh"))
    for rounds in (4, 5):
        with pytest.raises(KeyboardInterrupt):
            evaluate(Speaker(chance, stop_after=rounds), task, Store(tmp_path / "killed"))
    model = Speaker(chance)
    resumed = evaluate(model, task, Store(tmp_path / "killed"))
    assert resumed.records == fresh.records and resumed.metrics == fresh.metrics
    begun = {name.partition("/")[0] for batch in model.batches for name in batch}
    assert 0 < len(begun) < 10, "some were finished before"
    assert evaluate(Speaker(lambda sample: 1 / 0), task, Store(tmp_path / "killed")).records == fresh.records


def test_the_store_gives_back_what_was_played(tmp_path):
    samples = episodes(6)
    task = make_task(samples, infer=Episodes("numberline"), score=Solved())
    run = evaluate(Speaker(chance), task, Store(tmp_path))
    kept = {record.sample.id: record.output.steps for record in run.records}
    assert kept == {name: output.steps for name, output in played(samples).items()}
    assert [record.sample for record in run.records] == samples


# ---- failures


def test_a_failed_answer_fails_its_episode_and_no_other():
    samples = episodes(6)
    spoilt = played(samples, lambda sample: OSError("gone") if sample.id == "seed-2/1" else chance(sample))
    whole = played(samples)
    assert spoilt["seed-2"].error == "step seed-2/1: gone"
    assert spoilt["seed-2"].steps == whole["seed-2"].steps[:1]
    assert {k: v for k, v in spoilt.items() if k != "seed-2"} == {
        k: v for k, v in whole.items() if k != "seed-2"
    }


def test_a_model_that_leaves_one_out_or_answers_twice():
    class Sloppy(Speaker):
        def generate(self, samples, **settings):
            yield from (pair for pair in super().generate(samples, **settings) if pair[0])

    outputs = dict(Episodes("numberline")(Sloppy(right), episodes(4)))
    assert sorted(outputs) == [0, 1, 2, 3]
    assert outputs[0].error == "step seed-0/0: speaker gave no answer"

    class Twice(Speaker):
        def generate(self, samples, **settings):
            yield from [*super().generate(samples, **settings)] * 2

    with pytest.raises(KeepsightError, match="answered step seed-0/0 twice"):
        list(Episodes("numberline")(Twice(lambda sample: "-"), episodes(1)))


def test_when_nothing_is_answered_any_more_no_further_episode_is_begun():
    n = 3 * GIVEN_UP_IN_A_ROW
    model = Speaker(lambda sample: OSError("server gone"))
    outputs = dict(Episodes("numberline", at_once=10)(model, episodes(n)))
    assert len(outputs) == n and all(output.error for output in outputs.values())
    assert sum(map(len, model.batches)) == GIVEN_UP_IN_A_ROW
    half = Speaker(lambda sample: OSError("bad") if int(sample.group[5:]) % 2 else right(sample))
    outputs = dict(Episodes("numberline", at_once=1)(half, episodes(n)))
    assert sum(output.error is None for output in outputs.values()) == n / 2


# ---- settings


def test_settings_say_what_is_asked_and_in_what(riddle):
    plain = Episodes("numberline")
    assert plain.settings == {
        "kind": "episodes",
        "max_new_tokens": 256,
        "temperature": 0.0,
        "env": "numberline",
        "env_version": "0",
        "arguments": {},
    }
    assert Episodes("numberline", {"thoughts": True, "max_position": 5}).settings == plain.settings
    assert Episodes("numberline", {"max_position": 7}).settings["arguments"] == {"max_position": 7}
    for name in ("points24", "generalpoints"):
        (settings,) = {str(Episodes(name, {"face_cards": given}).settings) for given in (10, "10")}
        assert "face_cards" not in settings and make(name, face_cards=10).prompt() == make(name).prompt()
    assert replace(plain, at_once=1).settings == plain.settings
    sampled = replace(plain, temperature=0.7, seed=3).settings
    assert (sampled["temperature"], sampled["seed"], sampled["top_p"]) == (0.7, 3, 1.0)
    assert Episodes("riddle").settings["env_version"] == "7"
    assert (Episodes("riddle").questions_per_sample, plain.questions_per_sample) == (3, 10)


def test_settings_can_be_given_and_the_environment_cannot():
    task = environment("numberline", n=2)
    assert _asked_with(task, {"max_new_tokens": 9, "at_once": 2}).infer == Episodes(
        "numberline", {}, max_new_tokens=9, at_once=2
    )
    with pytest.raises(KeepsightError, match="gen_kwargs can set at_once, max_new_tokens, seed, temp"):
        _asked_with(task, {"env": "riddle"})
    for wrong in ({"temperature": -1}, {"max_new_tokens": 0}, {"at_once": 0}):
        with pytest.raises(KeepsightError, match="give"):
            _asked_with(task, wrong)


def test_the_stream_of_a_sampled_answer_is_its_steps_own():
    model = Speaker(chance)
    list(Episodes("numberline")(model, episodes(8)))
    asked = [name for batch in model.batches for name in batch]
    assert len(set(asked)) == len(asked)
