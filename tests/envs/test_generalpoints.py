"""GeneralPoints: hands, the dialogue of revisions, the expert and its wrong answers."""

import json
from collections import Counter

import numpy as np
import pytest

from keepsight.envs import make
from keepsight.envs.cards import FELT, RANKS
from keepsight.envs.generalpoints import DECKS, SAMPLINGS
from keepsight.errors import UsageError
from keepsight.scoring.verifiers.points import REWARDS, read_answer

VARIANTS = [
    {},
    {"vision": True},
    {"vision": True, "face_cards": "11-13", "sampling": "face_card", "colours": "red"},
    {"sampling": "with_replacement", "colours": "black", "attempts": 2},
    {"vision": True, "sampling": "forced_face_card", "recognition_penalty": "add"},
    {"target_points": 10},
]


def hands(n=500, **arguments):
    env = make("generalpoints", **arguments)
    found = []
    for seed in range(n):
        env.reset(seed=seed)
        found.append((env.cards, env.hand))
    return found


@pytest.mark.parametrize("arguments", VARIANTS)
def test_the_expert_solves_every_hand_at_once(arguments):
    env = make("generalpoints", **arguments)
    for seed in range(100):
        env.reset(seed=seed)
        _, reward, terminated, truncated, info = env.step(env.expert())
        assert (reward, terminated, truncated, info["solved"]) == (5, True, False, True)
        assert info["answer"] == info["hidden"]["solutions"][0] + f"={env.target_points}"
        assert json.loads(env.expert())["number"] == list(info["numbers"])


@pytest.mark.parametrize("arguments", VARIANTS)
def test_a_seed_is_an_episode(arguments):
    one, other = make("generalpoints", **arguments), make("generalpoints", **arguments)
    for seed in range(20):
        (seen, info), (seen_too, info_too) = one.reset(seed=seed), other.reset(seed=seed)
        assert info == info_too and seen["text"] == seen_too["text"]
        assert np.array_equal(seen["image"], seen_too["image"])
        assert one.observation_space.contains(seen)


def test_a_deck_has_every_card_once():
    for cards, hand in hands():
        assert len(set(cards)) == 4
        assert hand.ranks == tuple(card.rank for card in cards)


def test_the_deck_is_drawn_evenly():
    """Before hands without a solution are left out."""
    rng, n = np.random.default_rng(0), 8_000
    for name in ("deck", "with_replacement"):
        count = Counter(card for _ in range(n) for card in SAMPLINGS[name](rng, DECKS["mixed"]))
        assert len(count) == 52
        assert max(abs(times - n * 4 / 52) for times in count.values()) < 5 * (n * 4 / 52) ** 0.5
    twice = sum(len(set(SAMPLINGS["with_replacement"](rng, DECKS["mixed"]))) < 4 for _ in range(n)) / n
    assert twice == pytest.approx(1 - 51 * 50 * 49 / 52**3, abs=0.02)


def test_face_cards_by_drawing_again_and_by_force():
    rng, n = np.random.default_rng(0), 8_000
    shares = {}
    for name in ("face_card", "forced_face_card"):
        faces = [sum(card.rank in "JQK" for card in SAMPLINGS[name](rng, DECKS["mixed"])) for _ in range(n)]
        assert min(faces) == 1
        shares[name] = faces.count(1) / n
    one = 4 * 12 * 40 * 39 * 38 / (52 * 51 * 50 * 49)
    none = 40 * 39 * 38 * 37 / (52 * 51 * 50 * 49)
    assert shares["face_card"] == pytest.approx(one / (1 - none), abs=0.02)
    assert shares["forced_face_card"] == pytest.approx((10 / 13) ** 3, abs=0.02)


@pytest.mark.parametrize(("colours", "suits"), [("mixed", "HSDC"), ("red", "HD"), ("black", "SC")])
def test_colours(colours, suits):
    for sampling in ("deck", "forced_face_card"):
        found = hands(300, colours=colours, sampling=sampling)
        assert {card.suit for cards, _ in found for card in cards} == set(suits)


@pytest.mark.parametrize(("face_cards", "faces"), [("10", [10, 10, 10]), ("11-13", [11, 12, 13])])
def test_what_the_cards_count_as(face_cards, faces):
    worth = dict(zip(RANKS, [*range(1, 11), *faces]))
    for _, hand in hands(300, face_cards=face_cards):
        assert hand.numbers == tuple(worth[rank] for rank in hand.ranks)


def test_the_prompt_of_words():
    env = make("generalpoints", face_cards="11-13")
    env.reset(seed=3)
    assert env.prompt() == (
        "[Task Description]\n"
        "You are an expert 24 points card game player. You will receive a set of 4 cards.\n"
        "Note that 'J', 'Q', and 'K' count as '11', '12', and '13' respectively, and each card must be used once.\n"
        "Your goal is to output a formula that evaluates to 24 using numbers from the cards and operators such as "
        "'+', '-', '*', '/', '(', ')', and '='.\n"
        "\n"
        "[Input]\n"
        f"Cards: {list(env.hand.ranks)}\n"
        "\n"
        "[Output]\n"
        "{\n"
        "  \"cards\": [x, y, z, w], where 'J', 'Q', and 'K' count as '11', '12', and '13' respectively,\n"
        '  "number": [a, b, c, d], where a, b, c, and d are the numbers on the cards,\n'
        "  \"formula\": 'an equation that equals 24',\n"
        "}"
    )


def test_the_prompt_to_a_picture_does_not_name_the_cards():
    env = make("generalpoints", vision=True, target_points=10)
    prompts = set()
    for seed in range(20):
        env.reset(seed=seed)
        prompts.add(env.prompt())
    (prompt,) = prompts
    assert "Cards:" not in prompt and "[Input]" not in prompt
    assert (
        "You are observing these four cards in the image.\nNote that 'J', 'Q', and 'K' count as '10', and"
        in prompt
    )
    assert "[Output]\nYour response should be a valid json file in the following format:\n{\n" in prompt
    assert "evaluates to 10" in prompt and "24" not in prompt


def test_the_dialogue_grows_until_the_last_attempt_fails():
    env = make("generalpoints", attempts=3)
    env.reset(seed=0)
    wrong = '{"formula": "1+1"}'
    rewards = []
    for attempt in range(3):
        seen, reward, terminated, truncated, info = env.step(wrong)
        rewards.append(reward)
        assert len(env.dialogue) == 3 + 2 * attempt
        assert env.dialogue[-2] == wrong
        assert env.dialogue[-1] == f"You failed this trial because {info['message']}"
        assert seen["text"] == "\n".join(env.dialogue)
        assert info["attempts_left"] == 2 - attempt
        assert (terminated, truncated) == (False, attempt == 2)
    assert rewards == [-2, -2, -3]
    env.reset(seed=1)
    assert env.replies == []


def test_a_right_answer_at_the_last_attempt_counts():
    env = make("generalpoints", attempts=2)
    env.reset(seed=0)
    env.play("no idea")
    move = env.play(env.expert())
    assert (move.reward, move.terminated, move.truncated, move.solved) == (5, True, False, True)
    assert len(env.replies) == 2


def test_the_one_attempt_of_a_recognition_test():
    env = make("generalpoints", vision=True, attempts=1)
    env.reset(seed=0)
    move = env.play("no idea")
    # it names no cards, which costs as much as wrong ones
    assert (move.reward, move.truncated, move.tags) == (-2.5, True, ())


def test_a_penalty_that_is_added_lets_a_right_formula_solve_the_hand():
    for penalty, reward in (("replace", -1.5), ("add", 3.5)):
        env = make("generalpoints", vision=True, recognition_penalty=penalty)
        env.reset(seed=0)
        text = json.dumps({**json.loads(env.expert()), "cards": ["2", "2", "2", "2"]})
        move = env.play(text)
        assert (move.reward, move.solved, move.terminated) == (reward, penalty == "add", penalty == "add")


@pytest.mark.parametrize("arguments", VARIANTS)
def test_mistakes_fail_and_the_expert_mends_them(arguments):
    env, rewards, rng = make("generalpoints", **arguments), Counter(), np.random.default_rng(0)
    for seed in range(60):
        env.reset(seed=seed)
        before = env.np_random.bit_generator.state
        for _ in range(env.horizon - 1):
            mistake = env.mistake(rng)
            move = env.play(mistake)
            rewards[move.reward] += 1
            assert not move.solved and not move.truncated
            assert move.status == "parsed"  # a formula of misread cards is not illegal
            assert read_answer(mistake).formula.endswith(f"={env.target_points}")
        assert env.np_random.bit_generator.state == before
        assert env.play(env.expert()).solved
        assert len(env.replies) == 2 * (env.horizon - 1)
    kinds = {-1.0, -2.0}
    if arguments.get("vision"):
        kinds |= {-3.5} if arguments.get("recognition_penalty") == "add" else {-1.5}
    assert set(rewards) == kinds
    assert min(rewards.values()) > 0.1 * sum(rewards.values())


def test_mistakes_follow_from_their_generator():
    env = make("generalpoints")
    env.reset(seed=0)
    once, again = ([env.mistake(np.random.default_rng(n)) for n in range(20)] for _ in range(2))
    assert once == again
    assert len(set(once)) > 5


def test_what_was_told_stays_as_it_was():
    env = make("generalpoints")
    _, first = env.reset(seed=0)
    kept = repr(first)
    env.step("no idea")
    env.reset(seed=1)
    assert repr(first) == kept


def test_no_solution_is_told():
    env = make("generalpoints")
    _, info = env.reset(seed=0)
    hidden = info.pop("hidden")
    assert hidden["solutions"]
    assert all(formula not in repr(info) + env.prompt() for formula in hidden["solutions"])


@pytest.mark.parametrize("resolution", [64, 300, 1200])
def test_every_card_is_in_one_row_inside_the_picture(resolution):
    env = make("generalpoints", vision=True, resolution=resolution)
    seen, _ = env.reset(seed=0)
    image = seen["image"]
    assert image.shape == (resolution, resolution, 3)
    ink = (image != np.array(FELT)).any(axis=2)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    assert rows[0] > 0 and columns[0] > 0 and rows[-1] < resolution - 1 and columns[-1] < resolution - 1
    assert np.count_nonzero(np.diff(columns) > 1) == 3  # gaps between 4 cards
    assert np.all(np.diff(rows) == 1)
    assert (columns[-1] - columns[0]) / resolution > 0.9


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"action": "index"}, "answered in text alone; give text"),
        ({"face_cards": 11}, "face_cards is .11.; give 10 or 11-13"),
        ({"colours": "blue"}, "colours is 'blue'; give mixed or red or black"),
        (
            {"sampling": "x"},
            "sampling is 'x'; give deck or with_replacement or face_card or forced_face_card",
        ),
        ({"attempts": 0}, "attempts is 0; give a whole number from 1 to 100"),
        ({"attempts": True}, "attempts is True"),
        ({"target_points": 0}, "target_points is 0"),
        ({"resolution": 63}, "resolution is 63"),
        ({"recognition_penalty": "x"}, "give replace or add"),
        ({"thoughts": False}, "has no setting 'thoughts'"),
    ],
)
def test_arguments_that_are_refused(arguments, said):
    with pytest.raises(UsageError, match=said):
        make("generalpoints", **arguments)


def test_a_target_that_no_hand_makes_is_refused(monkeypatch):
    monkeypatch.setattr("keepsight.envs.generalpoints.MOST_DRAWS", 50)
    with pytest.raises(UsageError, match="target_points is 9999: none of 50 hands makes it"):
        make("generalpoints", target_points=9999).reset(seed=0)


def test_rewards_of_random_texts_are_those_of_the_rule():
    env, rng = make("generalpoints", vision=True), np.random.default_rng(0)
    words = ['{"formula": "', '"}', '"cards": [', "]", "10", "1", "2", "+", "*", "(", ")", "=24", " ", "\n"]
    for seed in range(100):
        env.reset(seed=seed)
        for attempt in range(5):
            move = env.play("".join(rng.choice(words, size=12)))
            assert move.reward + (attempt == 4) in REWARDS.values()
            assert move.truncated == (attempt == 4)
