"""O-LoRA: the stages' LoRAs add up exactly in one plain checkpoint, and the earlier ones stay as they were."""

import json
from dataclasses import replace

import pytest

from keepsight.models.checkpoint import read_checkpoint
from keepsight.tune.methods import OLoRA
from keepsight.tune.methods.low_rank import lora_layers
from keepsight.tune.starting import read_method_state
from keepsight.types import KeepsightError
from tests.tune.sequences import QUICK, run_stages

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def trained(base, samples, tmp_path_factory):
    """Checkpoints of three stages of two epochs, and the module in which the last one was trained."""
    from keepsight.models import load

    model, own = load(str(base), device="cpu"), []
    unshared = model.unshared
    model.unshared = lambda: own.append(unshared()) or own[-1]
    data = {"one": samples[:4], "two": samples[4:8], "three": samples[8:]}
    out = tmp_path_factory.mktemp("olora")
    return run_stages(model, OLoRA(), data, replace(QUICK, num_train_epochs=2), out), own[-1]


def matrices(checkpoint, part):
    return {
        name: value for name, value in read_checkpoint(checkpoint).tensors().items() if f"lora_{part}" in name
    }


def test_a_stages_checkpoint_is_one_plain_lora_of_all_ranks(trained):
    for stage, checkpoint in enumerate(trained[0], 1):
        for epoch in (1, 2):
            config = json.loads((checkpoint.with_name(f"epoch-{epoch}") / "adapter_config.json").read_text())
            assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 4 * stage, 8 * stage)
        for a, b in zip(matrices(checkpoint, "A").values(), matrices(checkpoint, "B").values(), strict=True):
            assert len(a) == b.shape[1] == 4 * stage


def test_what_the_stages_before_have_learnt_is_kept_to_the_bit(trained):
    for before, after in zip(trained[0], trained[0][1:]):
        for name, value in matrices(before, "A").items():
            stacked = matrices(after, "A")[name]
            assert stacked[: len(value)].equal(value) and not stacked[len(value) :].equal(value[-4:])
        assert all(
            matrices(after, "B")[name][:, : v.shape[1]].equal(v) for name, v in matrices(before, "B").items()
        )
        for name, value in read_method_state(before.parent).items():
            assert value.dim() == 0 or value.equal(_saved(before, name))


def _saved(checkpoint, name):
    layer, _, part = name.rpartition("/")
    return matrices(checkpoint, part[-1])[f"{layer}.{part}.weight"]


def test_the_checkpoint_answers_as_all_loras_together_did(base, trained, samples):
    import torch

    from keepsight.models import load

    checkpoints, own = trained
    loaded = load(f"{base}+adapter:{checkpoints[-1]}", device="cpu")
    batch = {name: value for name, value in own.training_batch(samples[:4]).items() if name != "labels"}
    with torch.inference_mode():
        together, one = own.module(**batch).logits, loaded.module(**batch).logits
        bare = load(str(base), device="cpu").module(**batch).logits
    torch.testing.assert_close(one, together, rtol=1e-5, atol=2e-5)
    assert float((one - bare).abs().max()) > 0.1
    kept = [p for name, p in own.module.named_parameters() if ".earlier." in name]
    assert len(kept) == 28 and not any(p.requires_grad for p in kept)


def overlap(checkpoint, rank=4):
    """Mean size of the cosines between the first stage's directions and the second's."""
    import torch

    normed = [torch.nn.functional.normalize(a) for a in matrices(checkpoint, "A").values()]
    return float(torch.stack([(a[:rank] @ a[rank:].T).abs().mean() for a in normed]).mean())


def test_the_penalty_keeps_subspaces_apart(model, samples, tmp_path):
    found = []
    for strength in (0.0, 0.5):
        data = {"one": samples[:4], "two": samples[4:10]}
        config = replace(QUICK, num_train_epochs=8)
        found.append(overlap(run_stages(model, OLoRA(strength), data, config, tmp_path / str(strength))[1]))
    assert found[1] < 0.3 * found[0]


def test_the_penalty_is_the_sum_of_overlaps_and_moves_the_new_lora_alone(trained):
    own, method = trained[1], OLoRA(strength=0.25)
    assert method.penalty(own, {}, None) == 0.0
    method._layers = lora_layers(own.module, "olora")
    method._earlier = {name: layer.lora_A["earlier"].weight for name, layer in method._layers.items()}
    own.module.zero_grad()
    value = method.penalty(own, {}, None)
    value.backward()
    pairs = [
        (layer.lora_A["earlier"].weight, layer.lora_A["default"].weight) for layer in method._layers.values()
    ]
    assert value.item() == pytest.approx(
        0.25 * sum((old @ new.T).abs().sum().item() for old, new in pairs), rel=1e-5
    )
    moved = {name for name, p in own.module.named_parameters() if p.grad is not None and p.grad.any()}
    assert len(moved) == 14 and all("lora_A.default" in name for name in moved)


def test_a_stage_may_have_another_rank_and_alpha(base, model, samples, tmp_path):
    """Earlier B's are taken along under the scaling of the newest stage."""
    from keepsight.tune.methods import Stage
    from keepsight.tune.sft import tune_stage
    from keepsight.tune.starting import Start

    (one,) = run_stages(model, OLoRA(), {"one": samples[:4]}, QUICK, tmp_path)
    start = Start(one, read_method_state(one.parent))
    changed = replace(QUICK, lora_r=2, lora_alpha=6)
    method = OLoRA()
    two = tune_stage(
        model, Stage("two", samples[:4], number=2), changed, tmp_path / "2", method=method, start=start
    )[-1]
    config = json.loads((two / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (6, 18)
    for (name, b), a in zip(matrices(two, "B").items(), matrices(two, "A").values()):
        before = 2 * matrices(one, "B")[name] @ matrices(one, "A")[name.replace("lora_B", "lora_A")]
        assert (3 * b[:, :4] @ a[:4]).allclose(before, atol=1e-7)


@pytest.mark.parametrize("part", ["linear", "full"])
def test_without_a_lora_it_is_refused(model, samples, tmp_path, part):
    with pytest.raises(
        KeepsightError, match=r"^olora keeps a LoRA per stage, and none is trained here; tune lora$"
    ):
        run_stages(model, OLoRA(), {"one": samples[:4]}, replace(QUICK, method=part), tmp_path)
