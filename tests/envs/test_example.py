"""The environment to copy, and environments of one's own."""

import shutil

import pytest
from gymnasium.utils.env_checker import check_env

from keepsight import tasks
from keepsight.envs import class_of, example, make
from keepsight.envs.players import play_as_expert
from keepsight.errors import KeepsightError


@pytest.fixture
def coin(tmp_path):
    return f"{shutil.copy(example.__file__, tmp_path / 'coin.py')}:Coin"


def test_a_class_of_a_file_is_an_environment(coin):
    check_env(make(coin), skip_render_check=True)
    check_env(make(coin, action="index"), skip_render_check=True)
    assert class_of(coin) is class_of(coin) and class_of(coin) is not example.Coin
    for seed in range(8):
        (move,) = play_as_expert(make(coin), seed)
        assert move.solved and move.reward == 1


def test_and_a_task(coin):
    task = tasks.get(f"env:{coin}", n=3)
    assert len(task.test()) == 3 and task.description == "A dark or a bright coin: say which."
    assert {row.target[0] for row in task.train()} == {'{"action": "dark"}', '{"action": "bright"}'}


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("Coin = 3", "has no function 'Coin'"),
        ("def Coin(): pass", "is no subclass of keepsight.envs.TextEnv"),
        ("import nothing_of_this_name", "failed with ModuleNotFoundError"),
    ],
)
def test_what_is_none_is_named(tmp_path, written, message):
    (tmp_path / "mine.py").write_text(written)
    with pytest.raises(KeepsightError, match=message):
        make(f"{tmp_path / 'mine.py'}:Coin")
