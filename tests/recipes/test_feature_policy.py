"""RL on frozen features: the frames that training saw are those that are asked, and it learns where that is easy."""

import json

import numpy as np
import pytest

from keepsight import tasks
from keepsight.data.drawn.png import packed_png
from keepsight.envs import ENVS, make
from keepsight.evaluate import evaluate
from keepsight.store import Store
from keepsight.types import KeepsightError, Media, Sample
from recipes import feature_policy

pytestmark = pytest.mark.torch


class Downscaled:
    """An encoder that needs no weights: 75 numbers of a picture."""

    name = digest = "downscaled"

    def __init__(self):
        self.asked = 0

    def embed_images(self, media):
        from keepsight.data.pictures import decode

        self.asked += len(media)
        return np.stack([np.asarray(decode(one).resize((25, 1)), np.float32).ravel() / 255 for one in media])


def test_small_it_runs_to_its_claims(tmp_path, capsys):
    feature_policy.main(["--tiny", "--output_path", str(tmp_path)])
    rows = json.loads((tmp_path / "claims.json").read_text())
    assert [row["n"] for row in rows] == [8, 8] and "87.1 %" in rows[0]["published"]
    for row in rows:
        assert row["interval"][0] <= row["measured"] <= row["interval"][1]
    assert (tmp_path / "index.html").exists() and capsys.readouterr().out.count("n 8") == 2


def test_each_frame_is_embedded_once_and_standardised():
    encoder, env = Downscaled(), make("numberline", action="index")
    eyes = feature_policy.Eyes(encoder)
    eyes.adapt(env, 500)
    assert encoder.asked == 36  # all pairs, those where the target is reached included
    assert eyes.see(env.picture()).dtype == np.float32
    eyes.see(env.picture())
    assert encoder.asked == 36


@pytest.mark.parametrize("name", sorted(set(feature_policy.PUBLISHED) & set(ENVS)))
def test_a_policy_answers_what_it_would_do(name):
    """The same frame, as the environment shows it and as a sample's picture, leads to the same action."""
    policy = feature_policy.trained(name, Downscaled(), 64)
    env = make(name, action="index")
    for seed in range(3):
        picture, _ = env.reset(seed=seed)
        action, _ = policy.policy.predict(policy.eyes.see(picture), deterministic=True)
        ((_, output),) = policy.generate([Sample("s", "?", (Media(data=packed_png(picture)),))])
        assert json.loads(output.text) == {"action": env.actions[int(action)]}


def test_the_digest_is_that_of_the_weights():
    one, same, other = (feature_policy.trained("numberline", Downscaled(), 64, seed) for seed in (0, 0, 1))
    assert one.digest == same.digest != other.digest


def test_it_learns_one_step_lines(tmp_path):
    """With numbers 0 and 1 there are two frames to tell apart."""
    policy = feature_policy.trained("numberline", Downscaled(), 1024, max_position=1)
    task = tasks.get("env:numberline", n=20, max_position=1)
    run = evaluate(policy, task, Store(tmp_path))
    assert run.headline.value == 1.0 and {s.value for s in run.scores("positive_return")} == {1.0}


def test_what_cannot_be_trained(monkeypatch):
    with pytest.raises(KeepsightError, match="no environment 'chess'"):
        feature_policy.trained("chess", Downscaled(), 64)
    monkeypatch.setitem(__import__("sys").modules, "stable_baselines3", None)
    with pytest.raises(KeepsightError, match="pip install stable-baselines3"):
        feature_policy.trained("numberline", Downscaled(), 64)
