"""Environments as tasks: what is asked, what is learnt, who plays beside the model, what the command line says."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from keepsight import tasks, verbs
from keepsight.console import figures_table, scorers_table
from keepsight.envs import ENVS, class_of, make
from keepsight.envs.players import play_as_expert, play_at_random, total
from keepsight.evaluate import audit, evaluate
from keepsight.judging import Judges
from keepsight.report.episode_figures import figure_name
from keepsight.scoring.metrics import mean_score
from keepsight.store import Store
from keepsight.tasks.environments import TRAINING_SEEDS, VERSION, environment
from keepsight.types import KeepsightError
from tests.envs.small import FEW, QUICK
from tests.envs.test_rollout import Speaker, right

N = 12


@pytest.fixture(params=list(ENVS))
def name(request):
    return request.param


def figures(run) -> dict[str, float]:
    samples = [record.sample for record in run.records]
    return {scorer: mean_score(samples, run.scores(scorer)).value for scorer in run.manifest["scorers"]}


class Clairvoyant(Speaker):
    """The expert as a model: plays each episode beside itself."""

    def __init__(self, name: str) -> None:
        super().__init__(self.answer, name="expert")
        self.envs, self.env_name = {}, name

    def answer(self, sample):
        episode, _, step = sample.id.partition("/")
        if step == "0":
            self.envs[episode] = make(self.env_name, **QUICK.get(self.env_name, {}))
            self.envs[episode].reset(seed=int(episode.removeprefix("seed-")))
        env = self.envs[episode]
        text = env.expert() or "none"
        env.play(text)
        return text


# ---- every environment


def test_samples_are_stable_and_of_other_seeds_than_what_is_learnt(name):
    task = tasks.get(f"env:{name}", n=3, seed=3, **QUICK.get(name, {}))
    samples = task.test()
    assert [sample.meta["seed"] for sample in samples] == list(range(3, 6))
    again = tasks.get(f"env:{name}", n=3, seed=3, **QUICK.get(name, {})).test()
    assert [sample.digest() for sample in samples] == [sample.digest() for sample in again]
    assert task.name == f"env:{name}" and task.description
    assert task.version == f"{VERSION}.{class_of(name).VERSION}"
    if task.train is not None:
        episodes = {
            row.group
            for row in tasks.get(f"env:{name}", n=3, seed=3, train_episodes=3, **QUICK.get(name, {})).train()
        }
        assert episodes <= {f"seed-{TRAINING_SEEDS + 3 + at}" for at in range(3)}
        assert not episodes & {sample.id for sample in samples}


def test_an_expert_as_a_model_scores_what_the_expert_does(name, tmp_path):
    task = environment(name, n=FEW.get(name, N), **QUICK.get(name, {}))
    found = figures(evaluate(Clairvoyant(name), task, Store(tmp_path)))
    assert found["solved"] == found["expert"] > 0
    assert found.get("step_accuracy", 1.0) == 1.0


def test_a_mute_model_is_unparsed_and_the_others_figures_stay(name, tmp_path):
    task = environment(name, n=FEW.get(name, N), **QUICK.get(name, {}))
    run = evaluate(Speaker(lambda sample: ""), task, Store(tmp_path))
    assert {score.status for score in run.scores()} == {"unparsed"}
    assert figures(run)["illegal_rate"] == 1.0
    env = make(name, **QUICK.get(name, {}))
    for player, play in (("expert", play_as_expert), ("random", play_at_random)):
        if player in run.manifest["scorers"]:
            own = [float(total(play(env, sample.meta["seed"])).solved) for sample in task.test()]
            assert [score.value for score in run.scores(player)] == own


def test_rows_to_learn_are_the_experts_and_lead_to_its_end(name):
    task = environment(name, n=2, train_episodes=4, **QUICK.get(name, {}))
    env, reached, train = make(name, **QUICK.get(name, {})), 0, task.train()
    for seed in range(TRAINING_SEEDS, TRAINING_SEEDS + 4):
        rows = [row for row in train if row.group == f"seed-{seed}"]
        moves = list(play_as_expert(env, seed))
        assert len(rows) == len(moves) and all(len(row.target) == 1 for row in rows)
        env.reset(seed=seed)
        for row in rows:
            assert (row.prompt, *row.history) == env.dialogue
            env.play(row.target[0])
        reached += bool(moves) and moves[-1].solved
    assert reached > 0


def test_shared_judges_leave_episodes_alone(name, tmp_path):
    task = environment(name, n=FEW.get(name, N), **QUICK.get(name, {}))
    asked = Judges(("label", "embedding", "taxonomy"), None, "tiny")
    assert asked.of(task, Store(tmp_path)).judges == task.judges


# ---- NumberLine's own figures


def test_numberline_by_an_expert_and_by_chance():
    env = make("numberline")
    expert = [total(play_as_expert(env, seed)) for seed in range(100)]
    assert all(each.solved and each.reward == 1 for each in expert)
    chance = [total(play_at_random(env, seed)) for seed in range(100)]
    assert chance == [total(play_at_random(env, seed)) for seed in range(100)]
    assert 0.3 < sum(each.solved for each in chance) / 100 < 0.9


def test_a_model_is_measured_beside_both(tmp_path):
    up = evaluate(Speaker(lambda sample: "+"), environment("numberline", n=40), Store(tmp_path))
    facts = [record.sample.meta["facts"] for record in up.records]
    assert [score.value for score in up.scores()] == [float(f["current"] < f["target"]) for f in facts]
    found = figures(up)
    assert found["expert"] == 1.0 and 0 < found["random"] < 1 and found["illegal_rate"] == 0
    assert up.headline.name == "success_rate" and found["positive_return"] == up.headline.value
    best = evaluate(Speaker(right), environment("numberline", n=40), Store(tmp_path / "best"))
    assert best.headline.value == 1.0 and figures(best)["return"] == 1.0


def test_other_arguments_are_another_question(tmp_path):
    store = Store(tmp_path)
    evaluate(Speaker(right), environment("numberline", n=4), store)
    for same, task in (
        (True, environment("numberline", n=4, thoughts=True)),
        (False, environment("numberline", n=4, max_position=3)),
    ):
        model = Speaker(right)
        evaluate(model, task, store)
        assert (not model.batches) == same


# ---- names and arguments


def test_every_environment_is_listed():
    listed = {info.name: info.description for info in tasks.available()}
    assert all(listed[f"env:{name}"] for name in ENVS)


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        (
            "env:numberline",
            {"positions": 3},
            "'positions'; it takes n, seed, train_episodes, max_position, parser, thoughts",
        ),
        ("env:numberline", {"action": "index"}, "'action'; it takes n"),
        ("env:numberline", {"max_position": 0}, "max_position is 0; give a whole number"),
        ("env:numberline", {"n": 0}, "n is 0; give a whole number from 1"),
        ("env:numberline", {"seed": -1}, "seed is -1; give a whole number from 0"),
        ("env:numbers", {}, "no environment 'numbers'; choose from numberline, ezpoints"),
        ("env:", {}, "no environment ''"),
    ],
)
def test_what_is_not_there_is_named(task, arguments, message):
    with pytest.raises(KeepsightError, match=message):
        tasks.get(task, **arguments)


def test_python_is_told_the_same():
    with pytest.raises(KeepsightError, match="numberline has no setting 'positions'; it takes max_position"):
        environment("numberline", positions=3)
    with pytest.raises(KeepsightError, match="action cannot be set here"):
        environment("numberline", action="index")


def test_who_answers_in_text_is_offered_what_can_be_set(tmp_path):
    from keepsight.envs.demonstrations import build_demonstrations

    for refused in (
        lambda **settings: environment("numberline", **settings),
        lambda **settings: build_demonstrations("numberline", tmp_path, arguments=settings),
    ):
        for barred in ({"action": "index"}, {"render_mode": "rgb_array"}):
            with pytest.raises(KeepsightError, match="cannot be set here; answers are text"):
                refused(**barred)
        with pytest.raises(KeepsightError, match=r"it takes max_position, parser, thoughts$"):
            refused(positions=3)


def test_of_settings_for_several_tasks_each_gets_those_it_has(tmp_path):
    names, given = ["env:numberline", "env:generalpoints"], {"n": 2, "thoughts": False, "vision": True}
    replies = tmp_path / "none.jsonl"
    replies.write_text("")
    matrix = verbs.evaluate_tasks(f"replay:{replies}", names, tmp_path, task_args=given)
    one, two = (run.records[0].sample for run in matrix.runs.values())
    assert "thoughts" not in one.prompt and not two.meta["arguments"].keys() - {"vision"} and two.media
    with pytest.raises(KeepsightError, match=r"env:numberline.*'colour'.*it takes n, seed"):
        verbs.plan([f"replay:{replies}"], tasks=names, output_path=tmp_path, task_args={**given, "colour": 1})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *itertools.product(("n", "seed", "train_episodes"), (True, 1.5, "x", [], -1)),
        *itertools.product(("seed", "train_episodes"), (None,)),  # of n it is the default
    ],
)
def test_numbers_that_make_no_sense_are_named(name, value):
    with pytest.raises(KeepsightError, match=f"{name} is .*; give a whole number from"):
        environment("numberline", **{name: value})


def test_takes_knows_the_environments_own_arguments():
    assert all(tasks.takes("env:numberline", each) for each in ("n", "seed", "thoughts", "max_position"))
    assert not tasks.takes("env:numberline", "action") and not tasks.takes("env:numberline", "share")


def test_gymnasium_is_imported_when_an_environment_is_named():
    code = (
        "import sys; from keepsight import cli, tasks, verbs; tasks.get('emt:digits')\n"
        "assert 'gymnasium' not in sys.modules\n"
        "tasks.get('env:numberline', n=1).test()\n"
        "assert 'gymnasium' in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# ---- through the verbs


def test_what_an_audit_would_ask_is_told_in_episodes_and_requests(tmp_path):
    asked = {"tasks": ["env:numberline"], "output_path": tmp_path, "task_args": {"n": 5}}
    answers = {f"seed-{at}/{step}": "+" for at in range(3) for step in range(10)}
    (tmp_path / "r.jsonl").write_text(
        "".join(json.dumps({"id": key, "text": text}) + "\n" for key, text in answers.items())
    )
    ref = f"replay:{tmp_path / 'r.jsonl'}"
    (before,) = verbs.plan([ref], **asked)
    assert (before.asked, before.total, before.requests, before.tokens) == (5, 5, 50, None)
    matrix = verbs.evaluate_tasks(ref, **asked)
    (run,) = matrix.runs.values()
    assert (run.headline.n, run.headline.total) == (3, 5) and run.headline.not_ok == {"error": 2}
    (after,) = verbs.plan([ref], **asked)
    assert (after.asked, after.requests) == (2, 20)


def test_two_runs_are_compared_episode_by_episode(tmp_path):
    task = environment("numberline", n=20)
    up, best = (
        evaluate(Speaker(words), task, Store(tmp_path / str(at)))
        for at, words in enumerate((lambda s: "+", right))
    )
    found = verbs.compare(up, best)
    assert found.drop.gained > 0 == found.drop.lost and found.unscored == 0
    assert ("out of steps", "solved") in {(flow.before, flow.after) for flow in found.flow}


FIGURES = ("illegal rate", "best play", "mean return")


def test_the_document_has_every_figure_and_the_name_it_is_shown_by():
    text = (Path(__file__).parents[2] / "docs" / "environments.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)`(?: \(shown: ([^)]+)\))? \|", text, re.MULTILINE))
    task = environment("ezpoints", n=1)
    assert {"unparsed_share", *(scorer.name for scorer in task.judges)} <= rows.keys()
    assert {name: rows[name] or name.replace("_", " ") for name in rows} == {
        name: figure_name(name) for name in rows
    }


def test_returns_and_steps_are_told_as_numbers_and_the_rest_in_per_cent(tmp_path, capsys):
    matrix = audit([Speaker(lambda sample: "")], [environment("numberline", n=6)], Store(tmp_path))
    runs = list(matrix.runs.values())
    Console(width=100).print(figures_table(matrix), scorers_table(runs, runs))
    lines = capsys.readouterr().out.splitlines()
    beside = {name: line.split(name)[1].split() for line in lines for name in FIGURES if name in line}
    assert beside["illegal rate"][:2] == ["100.0", "%"] and beside["best play"][:2] == ["100.0", "%"]
    mean = sum(score.value for score in runs[0].scores("return")) / 6
    told = f"{mean:.3g}".replace("-", "−")
    assert beside["mean return"][0] == told and "%" not in beside["mean return"]
    assert [line.split()[3] for line in lines if line.startswith("speaker") and " return " in line] == [told]


def test_the_page_asks_no_judges_of_episodes(tmp_path):
    models = [Speaker(right, name="base"), Speaker(lambda sample: "+", name="tuned")]
    matrix = audit(models, [environment("numberline", n=6)], Store(tmp_path))
    page = matrix.report(tmp_path / "page.html").read_text()
    assert "judges-title" not in page and "env:numberline" in page
