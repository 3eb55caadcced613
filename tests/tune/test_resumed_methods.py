"""A stage that is stopped under any of these methods goes on to the same bits."""

from dataclasses import replace

import pytest

from keepsight.models import load
from keepsight.tune.methods import METHODS
from tests.tune.sequences import QUICK, run_stages
from tests.tune.test_sft import same

pytestmark = pytest.mark.torch


class Stopped(Exception):
    pass


@pytest.mark.parametrize("name", ["dare", "olora", "routed", "ties", "wise_ft"])
def test_stopped_in_the_second_stage(base, samples, tmp_path, name):
    data = {"one": samples[:2], "two": samples[4:8]}
    config = replace(QUICK, per_device_train_batch_size=2, num_train_epochs=2, save_steps=1, lora_dropout=0.1)
    steps = []

    def stop(now):
        steps.append(now.step)
        if len(steps) == 2 + 3:  # two steps of the first stage, the third of four in the second
            raise Stopped

    whole = run_stages(load(str(base), device="cpu"), METHODS[name](), data, config, tmp_path / "whole")
    with pytest.raises(Stopped):
        run_stages(
            load(str(base), device="cpu"), METHODS[name](), data, config, tmp_path / "cut", progress=stop
        )
    resumed = run_stages(
        load(str(base), device="cpu"), METHODS[name](), data, config, tmp_path / "cut", progress=stop
    )
    assert steps == [1, 2, 1, 2, 3, 3, 4]
    assert all(
        same(one, two) and same(one.parent, two.parent) for one, two in zip(whole, resumed, strict=True)
    )
