"""NumberLine in all its states."""

from collections import Counter

import numpy as np
import pytest

from keepsight.envs.numberline import NumberLine
from keepsight.errors import UsageError


@pytest.mark.parametrize("most", [1, 2, 5, 9])
def test_every_state_and_action(most):
    """At every step of an episode, against the rules written another way: where one may stand is a list."""
    env = NumberLine(max_position=most)
    line = list(range(most + 1))
    for target in line:
        for current in line:
            if current == target:
                continue
            for name, step in (("+", 1), ("-", -1)):
                env.begin(seed=0)
                env.target, env.current = target, current
                move = env.play(f'{{"action": "{name}"}}')
                to = current + step if current + step in line else current
                nearer = abs(line.index(to) - line.index(target)) < abs(current - target)
                assert env.current == to
                assert move.reward == (1 if to == target else 0 if nearer else -1)
                assert move.terminated == move.solved == (to == target)
                env.current = current
                assert (name in env.best()) == nearer


def test_the_way_to_the_target_is_rewarded_once():
    env = NumberLine(max_position=5)
    env.begin(seed=0)
    env.target, env.current = 5, 0
    assert [env.play("+").reward for _ in range(5)] == [0, 0, 0, 0, 1]


def test_it_ends_in_time():
    env = NumberLine(max_position=3)
    env.begin(seed=0)
    env.target, env.current = 3, 0
    moves = [env.play("-") for _ in range(6)]
    assert [move.truncated for move in moves] == [False] * 5 + [True] and moves[-1].reward == -1


@pytest.mark.parametrize("most", [1, 5])
def test_starts_are_even_over_all_pairs(most):
    env = NumberLine(max_position=most)
    counts = Counter()
    env.begin(seed=0)
    n = 9000
    for _ in range(n):
        env.begin()
        counts[env.target, env.current] += 1
    assert len(counts) == most * (most + 1) and not any(target == current for target, current in counts)
    expected = n / len(counts)
    assert max(abs(count - expected) for count in counts.values()) < 5 * expected**0.5


def test_every_state_looks_different():
    env, pictures = NumberLine(max_position=12), set()
    env.begin(seed=0)
    for env.target in range(13):
        for env.current in range(13):
            pictures.add(env.picture().tobytes())
    assert len(pictures) == 169


def test_a_long_number_is_inside():
    env = NumberLine(max_position=999)
    env.begin(seed=0)
    env.target = env.current = 888
    assert (env.picture()[:, -5:] == 255).all() and not np.all(env.picture() == 255)


@pytest.mark.parametrize("most", [0, -1, 1000, 2.0, "5"])
def test_other_lengths_are_refused(most):
    with pytest.raises(UsageError, match="max_position"):
        NumberLine(max_position=most)
