"""The whole study, small: every finding that its arms bear on gets its number, and a second run trains and asks nothing."""

import json

import pytest

from recipes import coin

pytestmark = pytest.mark.torch


def test_every_finding_gets_its_number(tmp_path, monkeypatch):
    coin.main(["--tiny", "--output_path", str(tmp_path)])
    rows = json.loads((tmp_path / "claims.json").read_text())
    matched = [
        row for row in rows if row["claim"].startswith("Having learnt as much")
    ]  # if both reach one score
    assert len({row["claim"] for row in rows}) == len(rows) == 12 + len(matched)
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
    assert len(
        {
            (arm.method, str(arm.method_args), str(arm.config), str(arm.task_args), arm.seed, arm.order)
            for arm in coin.ARMS.values()
        }
    ) == len(coin.ARMS)
    budget = {"num_train_epochs", "per_device_train_batch_size", "lora_r", "gradient_accumulation_steps"}
    for arm in coin.ARMS.values():
        assert not budget & set(arm.config)
        assert ("learning_rate" in arm.config) == ("rate" in arm.name)
        assert ("volume" in arm.task_args) == ("volume" in arm.name)
    assert set(coin.TINY.arms) < set(coin.ARMS)
