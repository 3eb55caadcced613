"""The whole study, small: every finding that its arms bear on gets its number, and a second run trains and asks nothing."""

import json

import pytest

from keepsight.types import MetricValue
from recipes import coin

pytestmark = pytest.mark.torch


def test_every_finding_gets_its_number(tmp_path, monkeypatch):
    coin.main(["--tiny", "--output_path", str(tmp_path)])
    rows = json.loads((tmp_path / "claims.json").read_text())
    matched = [
        row for row in rows if row["claim"].startswith("Having learnt as much")
    ]  # if both reach one score
    assert len({row["claim"] for row in rows}) == len(rows) == 14 + len(matched)
    for row in rows:
        assert (
            row["published"]
            and row["n"] > 0
            and ("arXiv:2403.08350" in row["source"] or "control" in row["source"])
        )
        low, high = row["interval"]
        assert low is None or low <= row["measured"] <= high
    page = (tmp_path / "index.html").read_text()
    assert all(f"<bdi>{name}</bdi>" in page for name in coin.TINY.arms)

    def refuse(*_, **__):
        raise AssertionError("asked or trained again")

    monkeypatch.setattr("keepsight.models.hf.HFModel.generate", refuse)
    monkeypatch.setattr("keepsight.tune.sft._optimizer", refuse)
    coin.main(["--tiny", "--output_path", str(tmp_path)])
    assert json.loads((tmp_path / "claims.json").read_text()) == rows


def test_arms_differ_in_what_they_say_alone():
    arms = coin.arms(repeats=4)
    assert len(
        {
            (arm.method, str(arm.method_args), str(arm.config), str(arm.task_args), arm.seed, arm.order)
            for arm in arms.values()
        }
    ) == len(arms)
    budget = {"num_train_epochs", "per_device_train_batch_size", "lora_r", "gradient_accumulation_steps"}
    for arm in arms.values():
        assert not budget & set(arm.config) or (
            arm.config == {"num_train_epochs": 3} and "3 epochs" in arm.name
        )
        assert ("learning_rate" in arm.config) == ("rate" in arm.name)
        assert ("volume" in arm.task_args) == ("volume" in arm.name)
    assert set(coin.TINY.arms) < set(coin.arms())
    assert {arm.seed for arm in arms.values() if arm.order is None} == {0, 2}
    assert {arm.seed for arm in arms.values() if arm.order == "reverse"} == {1, 3}
    assert set(coin.arms()) < set(arms)


def value(mean, half):
    return MetricValue("difference", mean, mean - half, mean + half, 480, 480)


def test_more_runs_lessen_what_runs_leave_open_and_not_what_pictures_do():
    two = coin.over_repeats([value(0.1, 0.02), value(0.2, 0.05)])
    assert (two.value, two.low, two.high) == pytest.approx((0.15, 0.08, 0.25))
    alike = coin.over_repeats([value(0.1, 0.02)] * 3)
    assert (alike.low, alike.high) == pytest.approx((0.08, 0.12))
    four, many = (coin.over_repeats([value(0.1, 0.02), value(0.2, 0.02)] * n) for n in (2, 50))
    # 0.0577 between runs; Student's factor for three degrees of freedom is 3.182
    assert four.high - four.value == pytest.approx((0.02**2 + (3.182 * 0.05774 / 2) ** 2) ** 0.5, rel=1e-3)
    assert 0.02 < many.high - many.value < 0.023
