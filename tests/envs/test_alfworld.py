"""ALFWorld on its own engine. Needs the extra text-env."""

import copy
import hashlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace

import numpy as np
import pytest

os.environ.setdefault("ALFWORLD_DATA", tempfile.gettempdir())
REASON = "ALFWorld's engine is an extra: pip install 'keepsight[text-env]'"
pytest.importorskip("textworld", reason=REASON)
pytest.importorskip("alfworld", reason=REASON)

from keepsight import tasks  # noqa: E402
from keepsight.envs import make  # noqa: E402
from keepsight.envs.household.engine import Engine  # noqa: E402
from keepsight.envs.household.facts import read_house, read_scene  # noqa: E402
from keepsight.envs.household.folders import find_games, read_game, write_game  # noqa: E402
from keepsight.envs.household.games import draw_game, sentences  # noqa: E402
from keepsight.envs.household.goals import TASKS  # noqa: E402
from keepsight.envs.household.planner import shortest_plan, successors  # noqa: E402
from keepsight.envs.rollout import Episodes  # noqa: E402
from keepsight.errors import KeepsightError, UsageError  # noqa: E402


@pytest.fixture
def env():
    return make("alfworld", games=6)


def answer(command):
    return json.dumps({"thoughts": "Go.", "action": command})


# ---- games and engine


@pytest.mark.parametrize("number", range(12))
def test_the_expert_wins_every_game_by_a_shortest_plan(env, number):
    env = make("alfworld", games=1, first_game=number)
    _, info = env.reset(seed=number)
    assert info["kind"] == list(TASKS)[number % 6] and not any(info["conditions"])
    length = len(shortest_plan(env.house, env.goal, env.scene))
    total = 0.0
    for left in range(length, 0, -1):
        assert env.best() <= set(env.legal()) and len(shortest_plan(env.house, env.goal, env.scene)) == left
        predicted = dict(successors(env.house, env.goal, env.scene))
        text = env.expert()
        move = env.play(text)
        assert move.answer == json.loads(text)["action"] and move.status == "parsed"
        assert predicted[move.answer] == env.scene
        total += move.reward
    assert move.solved and move.terminated and total == 50 + len(info["conditions"])


def test_games_differ_and_each_task_has_its_turn():
    games = [draw_game(number) for number in range(60)]
    assert len({game.problem for game in games}) == 60
    assert [game.task for game in games] == list(TASKS) * 10
    assert all(len({g.thing for g in games if g.task == task}) >= 4 for task in TASKS)
    assert {draw_game(number, ("pick_two_obj_and_place",)).task for number in range(5)} == {
        "pick_two_obj_and_place"
    }
    assert all(
        sentences(g.goal)[0] != sentences(g.goal)[1] and g.goal.thing in sentences(g.goal)[0] for g in games
    )


@pytest.mark.parametrize("number", [1, 5])
def test_the_engine_speaks_as_textworld_does(number, tmp_path):
    """A written game, played by TextWorld's own environment and by ours: the walkthrough, then random commands."""
    import textworld.envs.pddl.pddl as pddl
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
    from textworld.core import EnvInfos

    game = draw_game(number)
    file = write_game(game, tmp_path) / "game.tw-pddl"
    theirs, ours = AlfredDemangler(pddl.PddlEnv(EnvInfos(facts=True))), Engine()
    theirs.load(str(file))
    state, text = theirs.reset(), ours.load(game.problem)
    sentence = sentences(game.goal)[0]
    assert state.feedback == f"-= Welcome to TextWorld, ALFRED! =-\n\n{text}\n\nYour task is to: {sentence}."
    walkthrough = json.loads(file.read_text())["walkthrough"]
    rng = np.random.default_rng(number)
    for step in range(len(walkthrough) + 12):
        assert tuple(state["admissible_commands"]) == ours.commands and state["won"] == ours.won
        told = {(fact.name, *(each.strip() for each in fact.names)) for fact in state["facts"]}
        assert {fact for fact in told if not fact[0].startswith("not_")} == set(ours.facts())
        commands = walkthrough[step:] or list(ours.commands)
        command = commands[0] if walkthrough[step:] else commands[int(rng.integers(len(commands)))]
        if step == len(walkthrough):
            assert ours.won
        state, *_ = theirs.step(command)
        assert state.feedback.strip() == ours.do(command), command


def test_a_command_that_is_not_admissible_is_not_done():
    engine = Engine()
    engine.load(draw_game(0).problem)
    with pytest.raises(KeyError):
        engine.do("open the window")


@pytest.mark.parametrize(
    "problem", ["", "(define", "(define (problem x) (:domain alfred) (:init (on a b)))", "x" * 200]
)
def test_what_is_no_problem_is_refused(problem):
    arguments = sys.argv
    with pytest.raises(KeepsightError, match="give another game"):
        Engine().load(problem)
    assert sys.argv is arguments


# ---- rewards and answers


@pytest.mark.parametrize("number", range(6))
def test_each_condition_is_paid_once_and_all_of_them_are_the_goal(number):
    """Random commands, half of them the expert's so that conditions come and go."""
    env = make("alfworld", games=1, first_game=number, horizon=40)
    env.reset(seed=number)
    rng = np.random.default_rng(number)
    earned, ever = 0.0, np.zeros(len(env.paid), bool)
    while True:
        pool = sorted(env.best()) if rng.random() < 0.5 else env.legal()
        move = env.play(answer(pool[int(rng.integers(len(pool)))]))
        now = np.array(env.goal.conditions(env.house, env.scene))
        ever, earned = ever | now, earned + move.reward
        assert move.solved == now.all() == env._engine.won and "random_action" not in move.tags
        assert earned == ever.sum() + 50 * move.solved and ("subgoal" in move.tags) == (move.reward % 50 > 0)
        if move.terminated or move.truncated:
            break
    assert env.steps <= 40


def test_a_condition_that_holds_at_the_start_is_not_paid(tmp_path):
    """A mug that is hot already needs no heating, which would have earned 1."""
    game = draw_game(3)
    thing = re.search(rf"objectType ({game.thing}_bar_\S+)", game.problem).group(1)
    write_game(replace(game, problem=game.problem.replace("(:init", f"(:init (isHot {thing})")), tmp_path)
    env = make("alfworld", path=tmp_path)
    _, info = env.reset(seed=0)
    assert info["conditions"] == (False, True, False)
    rewards = []
    while not (rewards and rewards[-1] > 1):
        rewards.append(env.play(env.expert()).reward)
    assert sum(rewards) == 52


def test_a_condition_is_not_paid_again(env):
    """The same object treated again, put down again."""
    env.reset(seed=0, options={"game": 3})
    for command in shortest_plan(env.house, env.goal, env.scene)[:-1]:
        env.act(command)
    heat = next(each for each in env.legal() if each.startswith("move"))
    assert env.paid[1] and env.act(heat).reward == 52
    taken = next(
        each for each in env.legal() if each.startswith("take") and each.split(" from ")[0][5:] in heat
    )
    assert env.act(taken).reward == 0 and env.act(heat).reward == 50


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (answer("open the window"), "illegal"),
        (answer("go to cabinet"), "illegal"),
        (answer("go to"), "illegal"),
        (answer(""), "unparsed"),
        ("I do not know.", "unparsed"),
        ('{"action": ["look"]}', "unparsed"),
    ],
)
def test_what_is_not_admissible_costs_one_and_a_random_command_is_done(env, text, status):
    env.reset(seed=1)
    admissible = env.legal()
    _, reward, _, _, info = env.step(text)
    assert info["status"] == status and info["tags"][-1] == "random_action"
    assert info["answer"] in admissible and reward == -1


@pytest.mark.parametrize(
    "write",
    [
        str.upper,
        lambda c: c.replace("move", "put").replace(" to ", " in/on ") if c.startswith("move") else c,
        lambda c: c.replace("go to", "goto"),
        lambda c: c.replace("use ", "toggle "),
    ],
)
def test_other_words_for_a_command(env, write):
    for game in range(6):
        env.reset(seed=0, options={"game": game})
        for command in shortest_plan(env.house, env.goal, env.scene):
            written = write(command) if command.startswith(("move", "go", "use")) else command
            move = env.play(answer(written))
            assert (move.answer, move.status) == (command, "parsed")
        assert move.solved


def test_a_number_is_not_the_beginning_of_another(env, monkeypatch):
    env.reset(seed=0)
    monkeypatch.setattr(env, "actions", ("go to cabinet 1", "go to cabinet 10"))
    assert env.read(answer("go to cabinet 10")).action == "go to cabinet 10"
    assert env.read("I think: go to cabinet 10").action == "go to cabinet 10"
    assert env.read(answer("go to cabinet 100")).action is None


def test_numbers_beyond_the_list_are_illegal():
    env = make("alfworld", games=2, action="index")
    picture, info = env.reset(seed=0)
    assert picture.shape == (300, 300, 3) and env.action_space.n == 128
    command = info["admissible"][3]
    assert env.step(3)[4]["answer"] == command
    _, reward, _, _, info = env.step(127)
    assert reward == -1 and info["status"] == "illegal" and "random_action" in info["tags"]
    with pytest.raises(UsageError, match="from 0 to 127"):
        env.step(128)


# ---- episodes


def rollout(env, seed, steps=12):
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    told = [observation["text"], hashlib.sha256(observation["image"].tobytes()).hexdigest(), repr(info)]
    for _ in range(steps):
        kind = int(rng.integers(3))
        text = ["nonsense", env.expert(), answer(env.legal()[int(rng.integers(len(env.legal())))])][kind]
        observation, reward, over, cut, info = env.step(text)
        told += [
            observation["text"],
            hashlib.sha256(observation["image"].tobytes()).hexdigest(),
            repr((reward, info)),
        ]
        if over or cut:
            break
    return told


def test_a_seed_is_an_episode(env):
    first = rollout(env, 3)
    assert rollout(env, 4) != first and rollout(env, 3) == first == rollout(make("alfworld", games=6), 3)


def test_a_seed_is_an_episode_in_another_process(env):
    """Another process orders its sets otherwise."""
    code = f"import runpy\nm = runpy.run_path({__file__!r})\nprint(m['digest'](m['rollout'](m['make']('alfworld', games=6), 3)))"
    other = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert other.stdout.split() == [digest(rollout(env, 3))], other.stderr


def digest(told):
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


@pytest.mark.parametrize("way", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_goes_on_as_the_original(env, way):
    env.reset(seed=2)
    for _ in range(3):
        env.play(env.expert())
    twin = way(env)
    for text in ("nonsense", env.expert(), "nonsense", "nonsense"):
        ours, theirs = env.step(text), twin.step(text)
        assert ours[0]["text"] == theirs[0]["text"] and ours[1:] == theirs[1:]
        assert (ours[0]["image"] == theirs[0]["image"]).all()


def test_the_episode_ends_at_the_horizon(env):
    env = make("alfworld", games=6, horizon=5)
    env.reset(seed=0)
    moves = [env.play(answer("look")) for _ in range(5)]
    assert [move.truncated for move in moves] == [False] * 4 + [True] and not moves[-1].terminated


def test_the_wording_of_the_task_stays(env):
    wordings = set()
    for seed in range(8):
        env.reset(seed=seed, options={"game": 2})
        wordings.add(env.task)
        task = env.task
        env.play("look")
        assert f"Your task is to {task}. Your admissible" in env.prompt()
    assert wordings == set(sentences(env.goal))


@pytest.mark.parametrize(
    "wrong",
    [
        {"tasks": ("cook",)},
        {"tasks": ()},
        {"games": 0},
        {"first_game": -1},
        {"horizon": 0},
        {"path": "no/such/folder"},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(UsageError, match="give "):
        make("alfworld", **wrong)


def test_a_game_that_does_not_exist_is_refused(env):
    with pytest.raises(UsageError, match="from 0 to 5"):
        env.reset(options={"game": 6})


# ---- published folders


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Four games; one each that is unsolvable, sliced, with a movable receptacle, of no known task, and without story."""
    tmp_path = tmp_path_factory.mktemp("alfworld")
    for number in range(4):
        write_game(draw_game(number), tmp_path)
    game = draw_game(4)
    change(write_game(replace(game, name="a/unsolvable"), tmp_path) / "game.tw-pddl", solvable=False)
    change(write_game(replace(game, name="a/unsaid"), tmp_path) / "game.tw-pddl", solvable=None)
    change(write_game(replace(game, name="a/unknown"), tmp_path) / "traj_data.json", task_type="cook")
    write_game(replace(game, name="pick_cool-AppleSliced-None-Fridge-1/trial_1"), tmp_path)
    write_game(replace(game, name="pick_and_place_with_movable_recep-Apple-Pan-Fridge-1/trial_1"), tmp_path)
    (write_game(replace(game, name="a/half"), tmp_path) / "traj_data.json").unlink()
    return tmp_path


@pytest.fixture
def folder(written, tmp_path):
    """A copy of it."""
    return shutil.copytree(written, tmp_path / "games")


def change(file, **values):
    content = {**json.loads(file.read_text()), **values}
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def test_folders_are_read_as_alfworld_reads_them(folder):
    found = find_games(folder)
    assert [each.relative_to(folder).as_posix() for each in found] == sorted(
        draw_game(n).name for n in range(4)
    )
    assert {read_game(each) for each in found} == {draw_game(n) for n in range(4)}
    assert len(find_games(folder, ("look_at_obj_in_light",))) == 1


def test_games_in_folders_are_played(folder):
    env = make("alfworld", path=folder, first_game=1)
    assert len(env.numbers) == 3
    _, info = env.reset(seed=0)
    assert info["hidden"]["game"] in {draw_game(number).name for number in range(4)}
    while not (move := env.play(env.expert())).terminated:
        pass
    assert move.solved


def test_consecutive_seeds_ask_each_game_once(folder):
    def asked(**arguments):
        env = make("alfworld", path=folder)
        names = []
        for sample in tasks.get("env:alfworld", path=str(folder), **arguments).test():
            env.begin(seed=sample.meta["seed"])
            names.append(env.game.name)
        return names

    each = sorted(draw_game(number).name for number in range(4))
    assert asked() == each
    assert asked(n=6, seed=3) == [each[3], *each, each[0]]


def test_the_files_of_the_chosen_games_are_part_of_a_run(folder):
    """Not those of others, and each by its content."""
    env = make("alfworld", path=folder, first_game=1, games=2)
    second, third = find_games(folder)[1:3]
    names = ("game.tw-pddl", "traj_data.json")
    assert env.files() == tuple(each / name for each in (second, third) for name in names)
    settings = {"path": str(folder), "first_game": 1, "games": 2}
    before = Episodes("alfworld", settings).settings
    assert before["files"] and before == Episodes("alfworld", settings).settings
    change(find_games(folder)[0] / "traj_data.json", task_id="other")
    assert before == Episodes("alfworld", settings).settings
    change(third / "traj_data.json", task_id="other")
    assert before["files"] != Episodes("alfworld", settings).settings["files"]


def test_a_game_that_changed_is_read_again(folder):
    one, other = find_games(folder)[:2]
    before = read_game(one)
    shutil.copy(other / "game.tw-pddl", one / "game.tw-pddl")
    shutil.copy(other / "traj_data.json", one / "traj_data.json")
    assert read_game(one).problem == read_game(other).problem != before.problem
    (one / "game.tw-pddl").unlink()
    with pytest.raises(KeepsightError, match="cannot read"):
        read_game(one)


def test_a_grammar_in_a_file_is_never_evaluated(folder, tmp_path):
    """TextWorld evaluates what stands in braces; a file's grammar is not given to it."""
    trap = tmp_path / "trap"
    for game in find_games(folder):
        file = game / "game.tw-pddl"
        grammar = json.loads(file.read_text())["grammar"]
        evil = "{open('%s', 'w')}" % trap  # noqa: UP031
        change(file, grammar=grammar.replace("You are facing the", evil), pddl_domain="(define nothing)")
    env = make("alfworld", path=folder)
    env.reset(seed=0)
    env.play(env.expert())
    env.play(answer("look"))
    assert "You are facing the" in env.told and not trap.exists()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"task_type": "look_at_obj_in_light"}'])
def test_a_broken_file_is_named(tmp_path, content):
    own = write_game(draw_game(1), tmp_path)
    (own / "traj_data.json").write_text(content)
    with pytest.raises(KeepsightError, match="trial_000000001"):
        read_game(find_games(tmp_path)[0])


def test_facts_of_the_engine_are_those_of_the_problem():
    engine = Engine()
    engine.load(draw_game(3).problem)
    house, scene = read_house(engine.facts()), read_scene(engine.facts())
    assert {thing for thing, _ in scene.inside} == house.portable | house.lamps
    assert {
        holder for _, holder in scene.inside
    } <= house.place.keys() and scene.at not in house.place.values()


def test_several_tasks_are_given_on_the_command_line_joined_by_plus():
    two = ("pick_two_obj_and_place", "look_at_obj_in_light")
    assert make("alfworld", tasks="+".join(two)).tasks == make("alfworld", tasks=list(two)).tasks == two
    assert make("alfworld", tasks=two[0]).tasks == two[:1]
    for wrong in ("pick_two_obj_and_place,", "pick_two_obj_and_place+", "+", "", 3, None, [3], [[]]):
        with pytest.raises(UsageError, match=r"tasks is .*; give some of .*, joined by \+"):
            make("alfworld", tasks=wrong)
