"""What must hold of every environment in `ENVS`."""

import inspect
import pickle
import re
import warnings
from random import Random

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from keepsight import envs
from keepsight.envs import ENVS, ActionEnv, class_of, make_vector
from keepsight.errors import KeepsightError, UsageError
from tests.envs.long_texts import MOST, assert_reads_quickly
from tests.envs.small import FEW, QUICK

TEXTS = 100_000  # of the adversarial player, over all environments
SLOW = {"alfworld": 400}  # TextWorld's engine takes milliseconds a step: so many texts
NAMED_ANYWAY = {"alfworld"}  # hidden is at which of the places that all stand among the commands
CHANCE = {"blackjack"}  # where an expert may lose
INDEXED = [name for name in ENVS if issubclass(class_of(name), ActionEnv)]
FORMS = [(name, "text") for name in ENVS] + [(name, "index") for name in INDEXED]
HEADINGS = (
    "Description",
    "Action Space",
    "Observation Space",
    "Starting State",
    "Rewards",
    "Episode End",
    "Arguments",
    "Version History",
)
# What has broken parsers of one kind or another.
UGLY = [
    "", " ", "\0", "\n" * 50, "{", "}", "{" * 3000, '{"action":' * 2000, "[" * 3000, "(" * 3000, '"action": ' * 2000,
    '{"action": null}', '{"action": true}', '{"action": 1e999}', '{"action": NaN}', '{"action": -0}', '{"action": ""}',
    '{"action": []}', '{"action": {"action": "+"}}', '{"Action": "hit"}', "{'action': '+'}", '{"action": "' + "9" * 9999 + '"}',
    '{"action": ' + "9" * 9999 + "}", '{"action": "10**10**10**10"}', '{"formula": "9**9**9**9=24"}', '{"cards": [' + "1," * 999 + "1]}",
    '{"cards": "5", "formula": 24}', '{"cards": {"a": [1]}, "action": 5}', "\ud800", "\u202e+\u202c", "１０", "٣", "²", "−", "＋",
    "action: ", "action=", "stand hit", "standing", "white", "100", "11", "=" * 5000, "+-" * 5000, "__import__('os').system('ls')",
    "%s%n{0}{formula}{{}}", "</s><image>", "a" * 200_000,
]  # fmt: skip


def make(name, **arguments):
    return envs.make(name, **{**QUICK.get(name, {}), **arguments})


def seen(observation):
    """(picture, text) of an observation in either form."""
    return (
        (observation, "")
        if isinstance(observation, np.ndarray)
        else (observation["image"], observation["text"])
    )


def same(one, other):
    (picture, text), (other_picture, other_text) = seen(one), seen(other)
    return text == other_text and np.array_equal(picture, other_picture)


def drawn_action(env, rng):
    """An action in the environment's form: a good one, another one, or nonsense."""
    if not isinstance(env.action_space, gymnasium.spaces.Text):
        return rng.randrange(len(env.actions))
    kind = rng.randrange(4)
    if kind == 0:
        return env.expert() or ""
    if kind == 1 and isinstance(env, ActionEnv):
        return f'{{"action": "{rng.choice(env.actions)}"}}'
    return rng.choice(UGLY[:-1])


def rollout(env, seed, steps=60):
    """Every step of some episodes in a row, from one seed."""
    rng = Random(seed)
    told = [env.reset(seed=seed)]
    for _ in range(steps):
        told.append(env.step(drawn_action(env, rng)))
        if told[-1][2] or told[-1][3]:
            told.append(env.reset())
    return told


def assert_same_rollouts(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other):
        assert same(a[0], b[0])
        assert a[1:] == b[1:]


@pytest.mark.parametrize("name", ENVS)
def test_the_docstring_is_the_page(name):
    cls = class_of(name)
    found = [line.strip()[3:] for line in cls.__doc__.splitlines() if line.strip().startswith("## ")]
    assert found == list(HEADINGS)
    assert f"v{cls.VERSION}" in cls.__doc__ and ENVS[name][0].endswith(f"-v{cls.VERSION}")


@pytest.mark.parametrize("name, form", FORMS)
def test_gymnasium_is_content(name, form):
    arguments = {"action": form} if form == "index" else {}
    env = gymnasium.make(ENVS[name][0], render_mode="rgb_array", **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*alphanumeric.*|.*should be named.*")
        check_env(env.unwrapped)
    assert env.unwrapped.spec.id == ENVS[name][0]


@pytest.mark.torch
@pytest.mark.parametrize("name", INDEXED)
def test_stable_baselines_is_content(name):
    from stable_baselines3.common.env_checker import check_env as check

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(make(name, action="index"))


@pytest.mark.parametrize("name, form", FORMS)
def test_one_seed_one_rollout(name, form):
    arguments = {"action": form} if form == "index" else {}
    first, again, other = (rollout(make(name, **arguments), seed) for seed in (3, 3, 4))
    assert_same_rollouts(first, again)
    assert not all(same(a[0], b[0]) for a, b in zip(first, other))


@pytest.mark.parametrize("name", ENVS)
def test_no_other_randomness(name, monkeypatch):
    """Neither the global generators nor the clock has a word."""
    import random

    first = rollout(make(name), 3, 20)
    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist()
    assert_same_rollouts(first, rollout(make(name), 3, 20))
    assert before == (random.getstate(), np.random.get_state()[1].tolist())


@pytest.mark.parametrize("name, form", FORMS)
def test_episodes_are_bounded(name, form):
    arguments = {"action": form} if form == "index" else {}
    env = make(name, **arguments)
    low, high = env.reward_bounds
    least, most = env.return_bounds
    steps, total = 0, 0.0
    for _, reward, terminated, truncated, info in (
        each for each in rollout(env, 5, 60 if name in SLOW else 200) if len(each) == 5
    ):
        steps += 1
        assert type(reward) is float and low <= reward <= high and np.isfinite(reward)
        assert info["steps"] == steps <= env.horizon
        total += reward
        assert not info["solved"] or terminated
        assert info["status"] in ("parsed", "illegal", "unparsed")
        assert not (terminated and truncated)
        if terminated or truncated:
            assert least <= total <= most
            steps, total = 0, 0.0
        else:
            assert steps < env.horizon


@pytest.mark.parametrize("name, form", FORMS)
def test_after_the_end_comes_a_reset(name, form):
    env = make(name, **({"action": form} if form == "index" else {}))
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0 if form == "index" else "")
    env.reset(seed=0)
    rng = Random(0)
    while not (move := env.play(drawn_action(env, rng))).terminated and not move.truncated:
        pass
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.play(0 if form == "index" else "")


@pytest.mark.parametrize("name, form", FORMS)
def test_pickled_in_mid_episode(name, form):
    env = make(name, **({"action": form} if form == "index" else {}))
    rng = Random(2)
    for seed in range(4):
        env.reset(seed=seed)
        env.play(drawn_action(env, rng))
        copy = pickle.loads(pickle.dumps(env))
        assert same(env.observation(), copy.observation())
        for _ in range(3):
            action = drawn_action(env, rng)
            if env._over:
                break
            a, b = env.step(action), copy.step(action)
            assert same(a[0], b[0]) and a[1:] == b[1:]


@pytest.mark.parametrize("name, form", FORMS)
def test_observations_are_fresh(name, form):
    env = make(name, render_mode="rgb_array", **({"action": form} if form == "index" else {}))
    picture, _ = seen(env.reset(seed=0)[0])
    kept = picture.copy()
    assert np.array_equal(picture, env.picture()) and np.array_equal(picture, env.render())
    picture[:] = 7
    assert np.array_equal(env.picture(), kept)
    assert not np.shares_memory(env.picture(), env.picture())
    drawn = np.zeros_like(kept)
    env.paint(drawn)
    assert np.array_equal(drawn, kept), "paint leaves a part of the canvas as it was"


@pytest.mark.parametrize("name", ENVS)
def test_told_facts_do_not_change_later(name):
    env, rng = make(name), Random(1)
    infos = [env.reset(seed=1)[1]]
    copies = [pickle.dumps(infos[0])]
    for _ in range(30):
        if env._over:
            env.reset()
        infos.append(env.step(drawn_action(env, rng))[4])
        copies.append(pickle.dumps(infos[-1]))
    assert [pickle.dumps(info) for info in infos] == copies


@pytest.mark.parametrize("name", ENVS)
def test_the_expert_wins_where_a_win_exists(name):
    """From the start, and from wherever some moves of chance have led."""
    env, rng = make(name), Random(0)
    for seed in range(FEW.get(name, 40)):
        env.begin(seed=seed)
        for _ in range(rng.choice((0, 0, 1, 2, 4)) if isinstance(env, ActionEnv) else 0):
            if not env._over:
                env.play(f'{{"action": "{rng.choice(env.legal())}"}}')
        can_win = not env._over and (not isinstance(env, ActionEnv) or bool(env.best()))
        while not env._over:
            best = env.best() if isinstance(env, ActionEnv) else ()
            if (answer := env.expert()) is None:
                assert not can_win
                break
            move = env.play(answer)
            assert move.status == "parsed"
            assert not best or move.answer in best
        assert not can_win or name in CHANCE or move.solved


@pytest.mark.parametrize("name", ENVS)
@pytest.mark.parametrize("thoughts", [True, False])
def test_the_expert_says_what_the_prompt_asks(name, thoughts):
    env = (
        make(name, thoughts=thoughts) if "thoughts" in class_of(name).__init__.__kwdefaults__ else make(name)
    )
    env.begin(seed=0)
    answer = env.expert()
    if answer is not None and env.thoughts:
        assert "thoughts" not in env.prompt() or '"thoughts"' in answer
    elif answer is not None:
        assert "thoughts" not in env.prompt() and "thoughts" not in answer


TEMPLATE = re.compile(r"(?:in the following format:|\[Output\])\n(\{.*)\Z", re.DOTALL)
VARIANTS = ({}, {"thoughts": False}, {"vision": True}, {"directions": "relative"}, {"parser": "released"})
PROMPTS = [
    (name, each)
    for name in ENVS
    for each in VARIANTS
    if each.keys() <= class_of(name).__init__.__kwdefaults__.keys()
]


@pytest.mark.parametrize(("name", "arguments"), PROMPTS, ids=str)
def test_who_repeats_the_prompt_has_not_answered(name, arguments):
    """Neither its template nor the whole of it names an action, so that a parrot plays by chance and is told so."""
    env = make(name, **arguments)
    for seed in range(3):
        env.begin(seed=seed)
        prompt = env.prompt()
        (template,) = TEMPLATE.findall(prompt)
        for text in (template, template.strip("{}\n"), template.splitlines()[-2], prompt):
            env.begin(seed=seed)
            assert env.play(text).status != "parsed", text


def leaves(value):
    if isinstance(value, dict):
        for each in value.values():
            yield from leaves(each)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for each in value:
            yield from leaves(each)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize("name", sorted(set(ENVS) - NAMED_ANYWAY))
def test_hidden_things_are_not_told(name):
    """No word of `hidden` stands in the text or the message, but the names of actions."""
    env, rng = make(name), Random(6)
    for seed in range(20):
        env.begin(seed=seed)
        while not env._over:
            told = env.text
            words = {word for word in leaves(env.hidden()) if word not in getattr(env, "actions", ())}
            assert not [word for word in words if len(word) > 1 and word in told]
            env.play(drawn_action(env, rng))


def vectors(name, form, n):
    arguments = {**QUICK.get(name, {}), **({"action": form} if form == "index" else {})}
    ours = gymnasium.make_vec(ENVS[name][0], num_envs=n, vectorization_mode="vector_entry_point", **arguments)
    theirs = gymnasium.make_vec(
        ENVS[name][0], num_envs=n, vectorization_mode="sync", vector_kwargs={"copy": True}, **arguments
    )
    return ours, theirs


def assert_same_infos(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        if isinstance(value, dict):
            assert_same_infos(value, theirs[key])
        else:
            assert value.dtype == theirs[key].dtype and value.tolist() == theirs[key].tolist(), key


def assert_same_batches(ours, theirs):
    (picture, text), (other, other_text) = seen(ours), seen(theirs)
    assert np.array_equal(picture, other) and picture.dtype == other.dtype
    assert tuple(text) == tuple(other_text)


@pytest.mark.parametrize("name, form", FORMS)
def test_a_vector_is_its_environments(name, form):
    ours, theirs = vectors(name, form, 3)
    assert ours.observation_space == theirs.observation_space and ours.action_space == theirs.action_space
    assert ours.metadata["autoreset_mode"] == theirs.metadata["autoreset_mode"]
    rng = Random(8)
    (one, info), (other, other_info) = ours.reset(seed=11), theirs.reset(seed=11)
    assert_same_batches(one, other)
    assert_same_infos(info, other_info)
    for _ in range(30):
        actions = [drawn_action(env, rng) for env in ours.envs]
        given = np.array(actions) if form == "index" else tuple(actions)
        a, b = ours.step(given), theirs.step(given)
        assert_same_batches(a[0], b[0])
        assert [each.tolist() for each in a[1:4]] == [each.tolist() for each in b[1:4]]
        assert [each.dtype for each in a[1:4]] == [each.dtype for each in b[1:4]]
        assert_same_infos(a[4], b[4])


@pytest.mark.parametrize("name", ENVS)
def test_texts_have_a_flat_form(name):
    env = make(name)
    seen, _ = env.reset(seed=0)
    for text in (seen["text"], "", "é ♠ 𝔸\ud800\0 x"):
        given = {**seen, "text": text}
        flat = spaces.flatten(env.observation_space, given)
        assert spaces.flatten_space(env.observation_space).contains(flat)
        back = spaces.unflatten(env.observation_space, flat)
        assert same(back, given)
    assert spaces.unflatten(env.action_space, spaces.flatten(env.action_space, "−5")) == "−5"
    with pytest.raises(UsageError, match="100,001 characters has no flat form; give at most 100,000"):
        spaces.flatten(env.action_space, "x" * 100_001)


def test_texts_through_shared_memory_are_refused_with_the_cure():
    with pytest.raises(UsageError, match=r"give vector_kwargs=\{'shared_memory': False\}"):
        gymnasium.make_vec(ENVS["numberline"][0], num_envs=2, vectorization_mode="async")


@pytest.mark.parametrize(
    "name, form", [("numberline", "text"), ("generalpoints", "text"), ("blackjack", "index")]
)
def test_processes_return_what_one_does(name, form):
    ours, _ = vectors(name, form, 2)
    memory = {"vector_kwargs": {"shared_memory": False}} if form == "text" else {"action": form}
    theirs = gymnasium.make_vec(ENVS[name][0], num_envs=2, vectorization_mode="async", **memory)
    rng = Random(3)
    try:
        assert_same_batches(ours.reset(seed=5)[0], theirs.reset(seed=5)[0])
        for _ in range(6):
            actions = [drawn_action(env, rng) for env in ours.envs]
            given = np.array(actions) if form == "index" else tuple(actions)
            a, b = ours.step(given), theirs.step(given)
            assert_same_batches(a[0], b[0])
            assert [each.tolist() for each in a[1:4]] == [each.tolist() for each in b[1:4]]
            assert_same_infos(a[4], b[4])
    finally:
        theirs.close()


def test_a_vector_refuses_what_it_cannot_do():
    from keepsight.envs.vector import PaintedVector

    with pytest.raises(UsageError, match="one kind"):
        PaintedVector([])
    with pytest.raises(UsageError, match="one kind"):
        PaintedVector([make("numberline"), make("blackjack")])
    envs = make_vector("numberline", 2, action="index", render_mode="rgb_array")
    with pytest.raises(UsageError, match="3 seeds for 2"):
        envs.reset(seed=[1, 2, 3])
    envs.reset(seed=[1, None])
    assert len(envs.render()) == 2
    with pytest.raises(UsageError, match="3 actions"):
        make_vector("numberline", 2).step(("+", "+", "+"))


def test_a_vector_closes_its_environments(monkeypatch):
    closed = []
    monkeypatch.setattr(class_of("numberline"), "close", lambda env: closed.append(env))
    vector = make_vector("numberline", 3)
    vector.close()
    vector.close()
    assert closed == list(vector.envs)


def spoiled(texts, rng):
    """A text that is almost right."""
    text = rng.choice(texts)
    for _ in range(rng.randrange(3)):
        at, end = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
        other = rng.choice(texts)[:200]
        text = rng.choice((text[:at] + text[end:], text[:at] + other + text[at:], text[at:] + text[:at]))
    return text[:2000]


@pytest.mark.parametrize("name", ENVS)
def test_what_an_expert_earns_lies_within_the_bounds_of_the_return(name):
    env = make(name)
    for seed in range(3):
        env.begin(seed=seed)
        total = 0.0
        while not env._over and (text := env.expert()) is not None:
            total += env.play(text).reward
        least, most = env.return_bounds
        assert least <= total <= most


@pytest.mark.parametrize("name", ENVS)
def test_no_text_breaks_an_environment(name):
    """Words that are almost right, and nonsense; the test's own time limit says that none hangs."""
    env, rng = make(name), Random(len(name))
    env.begin(seed=0)
    low, high = env.reward_bounds
    texts = [
        *UGLY,
        *(f'{{"action": "{action}"}}' for action in getattr(env, "actions", ())),
        env.expert() or "{}",
    ]
    for text in UGLY:
        env.begin()
        env.play(text)
    for at in range(SLOW.get(name, TEXTS // (len(ENVS) - len(SLOW)))):
        if env._over:
            env.begin()
            texts[-1] = (at % 50 == 0 and env.expert()) or texts[-1]
        move = env.play(spoiled(texts, rng))
        assert low <= move.reward <= high


@pytest.mark.parametrize(
    ("name", "parser"), [*((name, "exact") for name in ENVS), *((name, "released") for name in INDEXED)]
)
def test_no_text_takes_long(name, parser):
    """Where an engine does what was read, the reading alone, of shorter texts."""
    env = make(name, **({"parser": parser} if name in INDEXED else {}))
    env.begin(seed=0)

    def play(text):
        if env._over:
            env.begin(seed=0)
        env.play(text)

    if name in SLOW:
        assert_reads_quickly(env.read, MOST // 4)
    else:
        assert_reads_quickly(play)


@pytest.mark.parametrize("name", ENVS)
def test_what_is_no_action_is_refused(name):
    env = make(name)
    env.reset(seed=0)
    with pytest.raises(UsageError, match="answered in text"):
        env.step(0)
    with pytest.raises(UsageError, match="render_mode"):
        make(name, render_mode="human")
    before = env.text
    with pytest.raises(UsageError, match="has no reset option 'rout'; it takes"):
        env.reset(seed=1, options={"rout": 3})
    assert env.text == before
    with pytest.raises(UsageError, match="has no setting 'colour_of_the_sky'"):
        make(name, colour_of_the_sky=1)


SWITCHES = [
    (name, each.name)
    for name in ENVS
    for each in inspect.signature(class_of(name)).parameters.values()
    if each.annotation == "bool"
]


@pytest.mark.parametrize(("name", "switch"), SWITCHES)
@pytest.mark.parametrize("value", ["maybe", "false", 0, 1, None])
def test_what_is_neither_true_nor_false_is_refused(name, switch, value):
    with pytest.raises(UsageError, match=f"{switch} is {value!r}; give true or false"):
        make(name, **{switch: value})


SETTINGS = [(name, each) for name in ENVS for each in inspect.signature(class_of(name)).parameters]
WRONG = [True, 1.5, "x", "", [], [[]], {}, None, -1, 0, 10**9, float("nan"), "x\0", b"x"]


@pytest.mark.parametrize(("name", "setting"), SETTINGS)
def test_a_setting_is_taken_and_plays_or_is_refused_by_its_name(name, setting):
    for value in WRONG:
        try:
            env = make(name, **{setting: value})
            env.reset(seed=0)
            env.play("no idea" if env.action_space.contains("no idea") else 0)
        except KeepsightError as error:
            assert setting in str(error) and "\n" not in str(error), (value, error)
        else:
            assert not (value is True and type(env).__init__.__annotations__[setting] == "int")


@pytest.mark.parametrize("name", INDEXED)
def test_numbers_that_are_no_action_are_refused(name):
    env = make(name, action="index")
    env.reset(seed=0)
    for action in (-1, int(env.action_space.n), "0", 1.0, None):
        with pytest.raises(UsageError, match="give a number from 0 to"):
            env.step(action)
    for wrong in ({"action": "word"}, {"parser": "kind"}):
        with pytest.raises(UsageError):
            make(name, **wrong)
