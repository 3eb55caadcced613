"""Points24 against an oracle that tries every formula, and the formulas that fooled others."""

from fractions import Fraction
from itertools import permutations, product
from operator import add, mul, sub
from random import Random

import numpy as np
import pytest

from keepsight.envs.cards import Card
from keepsight.envs.points24 import Points24
from keepsight.errors import UsageError


def divide(a, b):
    return a / b if b else None


def apply(operation, a, b):
    return None if a is None or b is None else operation(a, b)


def solvable(numbers, target):
    """Tries all orders, operations and the five ways to bracket four numbers."""
    operations = (add, sub, mul, divide)
    for a, b, c, d in set(permutations(map(Fraction, numbers))):
        for p, q, r in product(operations, repeat=3):
            if target in (
                apply(r, apply(q, apply(p, a, b), c), d),
                apply(q, apply(p, a, b), apply(r, c, d)),
                apply(r, apply(p, a, apply(q, b, c)), d),
                apply(p, a, apply(r, apply(q, b, c), d)),
                apply(p, a, apply(q, b, apply(r, c, d))),
            ):
                return True
    return False


def hand(env, numbers, formula=(), steps=0):
    ranks = {1: "A", 11: "J", 12: "Q", 13: "K"}
    env.begin(seed=0)
    env.lay([Card(ranks.get(number, str(number)), "S") for number in numbers])
    env.formula, env.steps = formula, steps


def written(env, tokens):
    """The last move of an episode in which `tokens` are pressed."""
    for token in tokens[:-1]:
        move = env.play(f'{{"action": "{token}"}}')
        assert not move.terminated and not move.truncated
    return env.play(f'{{"action": "{tokens[-1]}"}}')


@pytest.mark.parametrize("face_cards", ["10", "11-13"])
def test_what_can_be_solved_is_what_the_oracle_can_solve(face_cards):
    env = Points24(face_cards=face_cards)
    unsolved = 0
    for seed in range(40):
        env.begin(seed=seed)
        possible = solvable(env.numbers, 24)
        unsolved += not possible
        assert bool(env.best()) == possible
        assert (env.expert() is not None) == possible
        while possible and not (move := env.play(env.expert())).terminated:
            pass
        assert not possible or (move.solved and move.reward == 10)
    assert 0 < unsolved < 30


def test_best_actions_are_those_after_which_the_oracle_can_win():
    rng, env = Random(5), Points24(target_points=7)
    for _ in range(12):
        numbers = tuple(rng.randint(1, 10) for _ in range(4))
        hand(env, numbers)
        for number in set(numbers):
            hand(env, numbers)
            rests = values(left_of(numbers, number))
            starts = any(
                apply(p, Fraction(number), rest) == 7 for rest in rests for p in (add, sub, mul, divide)
            )
            if starts:
                assert str(number) in env.best()


def left_of(numbers, number):
    left = list(numbers)
    left.remove(number)
    return left


def values(numbers):
    """All values of formulas of three numbers."""
    for a, b, c in set(permutations(map(Fraction, numbers))):
        for p, q in product((add, sub, mul, divide), repeat=2):
            for value in (apply(q, apply(p, a, b), c), apply(p, a, apply(q, b, c))):
                if value is not None:
                    yield value


@pytest.mark.parametrize(
    "numbers, tokens, solved, message",
    [
        ((8, 3, 8, 3), "8 / ( 3 - 8 / 3 ) =", True, "8/(3-8/3) is 24"),  # no float comes near enough
        ((6, 4, 1, 1), "6 * 4 * 1 * 1 =", True, "6*4*1*1 is 24"),
        ((6, 4, 1, 1), "( ( 6 * 4 ) ) * 1 / 1 =", True, "((6*4))*1/1 is 24"),
        ((2, 4, 5, 5), "2 4 + 5 - 5 =", False, "'24+5-5' is no formula"),  # digits do not join
        ((5, 2, 1, 1), "5 * * 2 - 1 * 1 =", False, "'5**2-1*1' is no formula"),
        ((9, 5, 5, 5), "9 * 5 / / 5 + 5 =", False, "is no formula"),
        ((10, 10, 10, 10), "10 * * 10 * * 10 * * 10 =", False, "is no formula"),
        ((6, 4, 1, 1), "6 * 4 =", False, "the formula does not use all cards"),
        ((6, 4, 1, 1), "6 * ( 4 * 1 * 1 =", False, "a bracket is not closed"),
        ((6, 4, 1, 1), "- 6 + 4 * 1 * 1 =", False, "is no formula"),
        ((6, 6, 1, 1), "6 / ( 1 - 1 ) + 6 =", False, "it divides by zero"),
        ((6, 4, 1, 1), "6 + 4 + 1 + 1 =", False, "6+4+1+1 is 12, not 24"),
        ((1, 2, 1, 1), "1 / 2 + 1 + 1 =", False, "1/2+1+1 is 5/2, not 24"),
        ((1, 2, 3, 4), "=", False, "the formula does not use all cards"),
    ],
)
def test_what_the_verifier_says(numbers, tokens, solved, message):
    env = Points24()
    hand(env, numbers)
    move = written(env, tokens.split())
    assert move.solved == solved and move.reward == (10 if solved else -1) and move.terminated
    assert message in move.message


def test_numbers_that_are_not_there_change_nothing():
    env = Points24()
    hand(env, (6, 4, 1, 1))
    before = env.picture()
    move = env.play("7")
    assert (move.reward, move.status, move.answer, env.written) == (-1, "illegal", "7", "")
    assert np.array_equal(env.picture(), before) and not move.terminated
    assert [env.play(token).reward for token in ("1", "+", "1", "+", "1")] == [0, 0, 0, 0, -1]
    assert env.written == "1+1+" and env.legal() == ("4", "6", "+", "-", "*", "/", "(", ")", "=")


def test_it_ends_after_twenty_steps_and_nothing_is_taken_for_it():
    env = Points24(action="index")
    hand(env, (6, 4, 1, 1))
    moves = [env.play(env.actions.index("(")) for _ in range(20)]
    assert [move.truncated for move in moves] == [False] * 19 + [True]
    assert not any(move.reward for move in moves)


def test_a_win_must_come_in_time():
    env = Points24(thoughts=False)
    hand(env, (6, 4, 1, 1), steps=12)
    assert "6" in env.best() and env.expert() != '{\n"action": "="\n}'  # seven tokens and "="
    hand(env, (6, 4, 1, 1), steps=13)
    assert env.best() == frozenset() and env.expert() is None
    hand(env, (6, 4, 1, 1), ("6", "*", "4", "*", "1", "*", "1"), steps=19)
    assert env.best() == {"="} and env.expert() == '{\n"action": "="\n}'


@pytest.mark.parametrize("face_cards", [10, "10", "11-13"])
def test_face_cards(face_cards):
    env = Points24(face_cards=face_cards, action="index")
    env.begin(seed=0)
    env.lay([Card(rank, "D") for rank in "JQKA"])
    high = face_cards == "11-13"
    assert env.numbers == ((11, 12, 13, 1) if high else (10, 10, 10, 1))
    assert env.action_space.n == (20 if high else 17) and len(env.actions) == env.action_space.n
    note = "'11', '12', and '13' respectively" if high else "'10'"
    assert f"Note that 'J', 'Q', and 'K' count as {note}. Your goal" in env.prompt()
    assert ("'13'" in env.prompt()) == high


@pytest.mark.parametrize("tokens", [["10", "+"] * 4, ["("] * 20, ["10", "10", "10", "10", *"()*-+" * 3]])
def test_long_formulas_are_inside_the_picture(tokens):
    env = Points24()
    hand(env, (10, 10, 10, 10))
    empty, seen = env.picture(), set()
    for at in range(len(tokens) + 1):
        env.formula = tuple(tokens[:at])
        picture = env.picture()
        seen.add(picture.tobytes())
        changed = np.argwhere((picture != empty).any(axis=2))
        assert at == 0 or (changed.max() < 296 and changed[:, 0].min() >= 230)
    assert len(seen) == len(tokens) + 1


def test_hands_are_even():
    env = Points24()
    env.begin(seed=0)
    ranks, twice, n = {}, 0, 3000
    for _ in range(n):
        env.begin()
        twice += len(set(env.cards)) < 4
        for card in env.cards:
            ranks[card.rank] = ranks.get(card.rank, 0) + 1
    assert (
        len(ranks) == 13
        and max(abs(count - 4 * n / 13) for count in ranks.values()) < 5 * (4 * n / 13) ** 0.5
    )
    assert abs(twice / n - 0.1124) < 0.03  # 1 - 51 * 50 * 49 / 52**3


def test_the_prompts_are_the_published_ones():
    env = Points24()
    hand(env, (1, 2, 10, 1), ("(", "2"), 2)
    task = (  # figure C.6
        "You are an expert 24 points card game player. You are observing these four cards in the image. You are observing the "
        "current formula: '(2'. You can choose between ['1', '2', '3', '4', '5', '6', '7', '8', '9', '10', '+', '-', '*', '/', "
        "'(', ')', '=']. The number or operator you choose will be appended to the current formula. Note that 'J', 'Q', and "
        "'K' count as '10'. Your goal is to output a formula that evaluates to 24, and each number can only be used once. "
        "Your response should be a valid json file in the following format:\n{\n"
    )
    thoughts = (
        '"cards": [x, y, z, w],\n"current formula": \'(2\'\n"thoughts": {First check whether the current formula equals 24. If '
        "the current formula equals 24, output '='. Otherwise consider which number or operator should be appended to the "
        "current formula to make it equal 24.}\n"
    )
    action = '"action": "{number}" or "{operator}"\n}'
    assert env.prompt() == task + thoughts + action
    assert env.expert() == (  # figure C.21
        '{\n"cards": [1, 2, 10, 1],\n"formula": "(2",\n"thoughts": "\'(2\' is an incomplete formula, since '
        '\'(2+10)*(1+1)=24\', I should append \'+\' to the current formula",\n"action": "+"\n}'
    )
    env.thoughts = False
    assert env.prompt() == task + action and env.expert() == '{\n"action": "+"\n}'


@pytest.mark.parametrize("setting", [{"target_points": 0}, {"target_points": 24.0}, {"face_cards": 11}])
def test_what_cannot_be_played_is_refused(setting):
    with pytest.raises(UsageError, match=next(iter(setting))):
        Points24(**setting)


@pytest.mark.parametrize("told", ['["A", "10", "J", "5"]', '["ace", "T", "Jack", 5]', "[1, 10, 10, 5]"])
def test_card_names_are_read_as_in_general_points(told):
    env = Points24()
    env.begin(seed=0)
    env.lay([Card("A", "S"), Card("10", "H"), Card("J", "C"), Card("5", "D")])
    assert env.play(f'{{"cards": {told}, "action": "5"}}').tags == ("recognized",)
