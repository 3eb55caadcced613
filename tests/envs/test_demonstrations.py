"""Expert rows: what is written is read back as what the environment shows and takes."""

import inspect
import json

import numpy as np
import pytest

from keepsight import envs
from keepsight.data.messages import read_training_rows
from keepsight.data.pictures import decode
from keepsight.envs.base import Move, TextEnv
from keepsight.envs.demonstrations import build_demonstrations, demonstration_seed, expert_episode
from keepsight.envs.rollout import Frames
from keepsight.errors import KeepsightError, UsageError
from tests.test_cli import run  # noqa: F401  (a fixture)


class Guess(TextEnv):
    """Name the number of the picture's brightness; three attempts; odd numbers cannot be had."""

    horizon = 3

    def __init__(self, *, solvable=True, thoughts=True, shows_picture=True, render_mode=None):
        super().__init__((8, 8), thoughts=thoughts, shows_picture=shows_picture, render_mode=render_mode)
        self.solvable = solvable

    def start(self, options):
        self.number = int(self.np_random.integers(10))

    def paint(self, canvas):
        canvas[:] = self.number

    def prompt(self):
        return "Which number is it?\nSay it."

    def judge(self, text):
        if text == str(self.number):
            return Move(1.0, text, terminated=True, solved=True)
        self.replies += [text, "Wrong number."]
        return Move(-1.0, text, message="Wrong number.")

    def expert(self):
        return str(self.number) if self.solvable and self.number % 2 == 0 else None

    def mistake(self, rng):
        return str(self.number + int(rng.integers(1, 9)))


class Silent(Guess):
    expert = TextEnv.expert


@pytest.fixture
def guess(monkeypatch):
    monkeypatch.setattr(envs, "class_of", lambda name: {"guess": Guess, "silent": Silent}[name])


def built(directory, name="numberline", **settings):
    made = build_demonstrations(name, directory, **settings)
    return made, read_training_rows(made.path)


def forms(name):
    """The switches that change what is said or shown, each on and off, with small pictures."""
    known = inspect.signature(envs.class_of(name)).parameters
    switches = [switch for switch in ("thoughts", "vision") if switch in known]
    small = {"resolution": 64} if "resolution" in known else {}
    return [(name, {switch: on, **small}) for switch in switches for on in (True, False)] or [(name, small)]


@pytest.mark.parametrize(("name", "arguments"), [form for name in envs.ENVS for form in forms(name)])
def test_every_row_is_what_the_environment_shows_and_takes(tmp_path, name, arguments):
    """Episodes played again by the rows' answers meet the rows' prompts and pictures, and each answer is an action."""
    made, samples = built(tmp_path, name, episodes=3, arguments=arguments)
    env = envs.make(name, **arguments)
    assert made.manifest["rows"] == len(samples) >= 3
    episodes = {}
    for sample in samples:
        episodes.setdefault(sample.id.rsplit("/", 1)[0], []).append(sample)
    assert len(episodes) == 3
    for tried, episode in zip((int(key.split("/")[1]) for key in episodes), episodes.values()):
        env.reset(seed=demonstration_seed(0, tried))
        for sample in episode:
            assert (sample.prompt, *sample.history) == env.dialogue
            assert bool(sample.media) == env.shows_picture
            if sample.media:
                assert np.array_equal(np.asarray(decode(sample.media[0])), env.picture())
            assert sample.target == (env.expert(),)
            move = env.play(sample.target[0])
            assert move.status == "parsed" and "random_action" not in move.tags
        assert move.terminated or move.truncated


def test_with_and_without_thought(tmp_path):
    answers = {
        thoughts: {
            sample.target[0]
            for sample in built(tmp_path / str(thoughts), arguments={"thoughts": thoughts}, episodes=5)[1]
        }
        for thoughts in (True, False)
    }
    assert answers[False] <= {'{\n"action": "+"\n}', '{\n"action": "-"\n}'}
    assert all("The current number is" in answer for answer in answers[True])


def test_one_seed_one_set_of_files(tmp_path):
    def files(directory):
        return {
            path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()
        }

    for at, seed in enumerate((0, 0, 1)):
        built(tmp_path / str(at), episodes=8, seed=seed)
    assert files(tmp_path / "0") == files(tmp_path / "1")
    assert (tmp_path / "0" / "train.json").read_bytes() != (tmp_path / "2" / "train.json").read_bytes()
    more, _ = built(tmp_path / "3", episodes=9)
    assert more.path.read_text().startswith(
        (tmp_path / "0" / "train.json").read_text()[:-3]
    )  # more are the same and more


def test_a_picture_is_stored_once(tmp_path):
    made, samples = built(tmp_path, episodes=100)
    seen = {sample.media[0].sha256 for sample in samples}
    assert (
        len(seen)
        == len(list((tmp_path / "images").iterdir()))
        == made.manifest["pictures"]
        <= 30
        < len(samples)
    )


def test_wrong_answers_are_shown_and_not_learnt(tmp_path, guess):
    made, samples = built(tmp_path, "guess", episodes=40, mistakes=2)
    assert {len(sample.history) for sample in samples} == {2, 4}  # one wrong answer, or two
    for sample in samples:
        assert set(sample.history[1::2]) == {"Wrong number."} and sample.target[0] not in sample.history
        assert str(np.asarray(decode(sample.media[0]))[0, 0, 0]) == sample.target[0]
    rows = json.loads(made.path.read_text())
    for row in rows:
        *wrong, right = [turn for turn in row["conversations"] if turn["from"] == "gpt"]
        assert all(turn["weight"] == 0 for turn in wrong) and "weight" not in right
    assert rows[0]["conversations"][0]["value"].startswith("<image>\n")


@pytest.mark.parametrize("vision", [True, False])
@pytest.mark.parametrize(("name", "attempts"), [("generalpoints", 5), ("virl", 3)])
def test_mistakes_of_environments_that_let_answers_be_revised(tmp_path, name, attempts, vision):
    """Played again, each wrong answer is judged wrong in the words that follow it, and the last one is right."""
    arguments = {"vision": vision, "attempts": attempts, "resolution": 64}
    _, samples = built(
        tmp_path, name, episodes=3 if name == "virl" else 20, arguments=arguments, mistakes=attempts - 1
    )
    assert {len(sample.history) // 2 for sample in samples} == set(range(1, attempts))
    env = envs.make(name, **arguments)
    for sample in samples:
        if sample.id.endswith("/0"):
            env.reset(seed=demonstration_seed(0, int(sample.id.split("/")[1])))
        for wrong in sample.history[::2]:
            assert env.play(wrong).reward < 0
        assert env.dialogue == (sample.prompt, *sample.history)
        move = env.play(sample.target[0])
        assert move.reward > 0
    assert move.solved
    with pytest.raises(UsageError, match=f"wrong answer {attempts} ends .* give at most {attempts - 1}"):
        build_demonstrations(name, tmp_path, arguments=arguments, mistakes=attempts)


def test_hands_without_a_solution_are_left_out_and_counted(tmp_path, guess):
    made, samples = built(tmp_path, "guess", episodes=30)
    assert (
        made.manifest["left_out"] > 10
        and len(samples) == 30
        and not any(sample.history for sample in samples)
    )
    env = Guess()
    assert {expert_episode(env, seed, "", Frames()) is None for seed in range(20)} == {True, False}


def test_rows_of_points24_are_of_hands_that_can_be_solved(tmp_path):
    """About 73 % of the hands can."""
    made, samples = built(tmp_path, "points24", episodes=20, arguments={"thoughts": False})
    assert made.manifest["left_out"] > 0
    hands = {}
    for sample in samples:
        hands.setdefault(sample.id.split("/")[1], []).append(sample.target[0])
    env = envs.make("points24", thoughts=False)
    for number, answers in hands.items():
        env.reset(seed=demonstration_seed(0, int(number)))
        assert [env.play(text) for text in answers][-1].solved


def test_rows_without_a_picture(tmp_path, guess):
    _, samples = built(tmp_path, "guess", episodes=3, arguments={"shows_picture": False})
    assert not any(sample.media for sample in samples) and samples[0].prompt == Guess().prompt()
    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize(
    ("name", "settings", "error", "message"),
    [
        ("silent", {}, UsageError, "silent has no expert"),
        ("guess", {"arguments": {"solvable": False}}, KeepsightError, "0 of 1001 hands have a solution"),
        ("guess", {"mistakes": 3}, UsageError, "wrong answer 3 ends an episode of Guess; give at most 2"),
        ("guess", {"episodes": 0}, UsageError, "episodes is 0"),
    ],
)
def test_what_cannot_be_shown(tmp_path, guess, name, settings, error, message):
    with pytest.raises(error, match=message):
        build_demonstrations(name, tmp_path, **settings)
    assert not (tmp_path / "train.json").exists()


def test_an_environment_that_takes_no_second_answer(tmp_path):
    with pytest.raises(UsageError, match="NumberLine does not let answers be revised"):
        build_demonstrations("numberline", tmp_path, mistakes=1)


def test_from_the_command_line(run, tmp_path):  # noqa: F811
    code, out, _ = run(
        "build",
        "episodes",
        "env:numberline",
        "--n",
        "20",
        "--env_args",
        "thoughts=false",
        "--output_path",
        str(tmp_path),
    )
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    rows = len(read_training_rows(tmp_path / "train.json"))
    assert code == 0 and manifest["rows"] == rows and manifest["arguments"] == {"thoughts": False}
    assert out.splitlines() == [
        f"20 episodes: {rows} rows, {manifest['pictures']} pictures",
        f"written: {tmp_path / 'train.json'}",
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        ("env:chess",),
        ("env:numberline", "--env_args", "colour=red"),
        ("env:numberline", "--env_args", "action=index"),
        ("env:numberline", "--mistakes", "1"),
    ],
)
def test_the_command_line_says_what_is_wrong(run, tmp_path, wrong):  # noqa: F811
    code, _, err = run("build", "episodes", *wrong, "--output_path", str(tmp_path))
    assert code == 2 and err.count("\n") == 1
