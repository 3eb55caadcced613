"""A plan shows every sample once per epoch, to any number of processes, and depends on nothing but its numbers."""

import math
from dataclasses import fields

import pytest

from keepsight.tune.config import SCHEDULES, SFTConfig, help_of
from keepsight.tune.plan import Plan, learning_rate_factor
from keepsight.types import KeepsightError


def plan(samples, processes=1, **settings):
    return Plan.of(SFTConfig(num_train_epochs=2, **settings), samples, processes)


def flat(batches):
    return [i for batch in batches for i in batch]


@pytest.mark.parametrize(("batch", "accumulation"), [(1, 8), (8, 1), (3, 2), (4, 1), (50, 2)])
def test_an_epoch_shows_every_sample_once(batch, accumulation):
    laid_out = plan(29, per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation)
    steps = range(1, laid_out.steps_per_epoch + 1)
    assert sorted(i for step in steps for i in flat(laid_out.batches(step))) == list(range(29))
    assert all(len(b) <= batch for step in steps for b in laid_out.batches(step))
    assert [laid_out.ends_epoch(step) for step in steps] == [False] * (len(steps) - 1) + [True]


def test_epochs_differ_in_order_and_seeds_too():
    def order(epoch, seed):
        laid_out = plan(29, per_device_train_batch_size=29, seed=seed)
        assert laid_out.epoch_of(epoch) == epoch
        return flat(laid_out.batches(epoch))

    assert len({tuple(order(epoch, seed)) for epoch in (1, 2) for seed in (0, 1)}) == 4
    assert order(1, 0) == order(1, 0)


def test_batch_and_accumulation_may_trade_places():
    eight = plan(29, per_device_train_batch_size=8)
    ones = plan(29, per_device_train_batch_size=1, gradient_accumulation_steps=8)
    assert all(flat(eight.batches(step)) == flat(ones.batches(step)) for step in range(1, 9))


@pytest.mark.parametrize("samples", [1, 5, 29, 32])
def test_processes_share_a_step_evenly(samples):
    laid_out = plan(samples, processes=3, per_device_train_batch_size=2, gradient_accumulation_steps=2)
    seen = []
    for step in range(1, laid_out.steps_per_epoch + 1):
        shares = [flat(laid_out.batches(step, process)) for process in range(3)]
        assert len({len(share) for share in shares}) == 1 and shares[0]
        for process, share in enumerate(shares):
            seen += share[:-1] if laid_out.has_filler(step, process) else share
    assert sorted(seen) == list(range(samples))


@pytest.mark.torch
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 0.03, 0.5])
def test_schedules_are_those_of_transformers(name, warmup):
    import torch
    from transformers import get_scheduler

    total = 40
    config = SFTConfig(lr_scheduler_type=name, warmup_ratio=warmup)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    steps = -(-int(total * warmup * 100) // 100)
    theirs = get_scheduler(name, optimizer, num_warmup_steps=steps, num_training_steps=total)
    for step in range(1, total + 1):
        assert learning_rate_factor(config, step, total) == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        theirs.step()


def test_every_setting_has_a_line_of_help():
    lines = help_of(SFTConfig)
    assert list(lines) == list(SFTConfig.__dataclass_fields__)
    assert all(line.endswith(".") and "\n" not in line for line in lines.values()), lines


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "qlora"},
        {"method": ["lora"]},
        {"lr_scheduler_type": "step"},
        {"num_train_epochs": 0},
        {"num_train_epochs": 1.5},
        {"learning_rate": -1.0},
        {"learning_rate": "2e-3"},
        {"learning_rate": math.inf},
        {"learning_rate": 10**400},
        {"projector_learning_rate": -1},
        {"warmup_ratio": 3},
        {"lora_dropout": 1},
        {"adam_beta1": 1.5},
        {"adam_beta2": 1.0},
        {"lora_alpha": 0},
        {"gradient_accumulation_steps": 0},
        {"max_length": 0},
        {"seed": 0.5},
        {"bf16": "no"},
        {"freeze_vision_tower": 1},
    ],
)
def test_bad_settings_are_named(settings):
    with pytest.raises(KeepsightError, match=next(iter(settings))):
        SFTConfig(**settings)


@pytest.mark.parametrize("setting", fields(SFTConfig), ids=lambda setting: setting.name)
def test_no_setting_takes_what_is_of_another_kind(setting):
    SFTConfig(**{setting.name: setting.default})
    for wrong in (math.nan, "no", ["no"], {}, None):
        if wrong != setting.default:
            with pytest.raises(KeepsightError, match=rf"^{setting.name} [^\n]*$"):
                SFTConfig(**{setting.name: wrong})


@pytest.mark.parametrize(
    "settings",
    [{"warmup_ratio": 1}, {"learning_rate": 0}, {"adam_beta1": 0}, {"max_grad_norm": 0}, {"seed": -1}],
)
def test_the_bounds_themselves_are_taken(settings):
    assert {name: getattr(SFTConfig(**settings), name) for name in settings} == settings
