"""Merging: products are cut back to their rank as well as can be, averages and task vectors are what they claim."""

import json
import math
from dataclasses import replace

import pytest

from keepsight.errors import UsageError
from keepsight.tune.methods import METHODS, Dare, Sequential, Ties, WiseFT, low_rank
from keepsight.tune.methods.dare import dropped
from keepsight.tune.methods.low_rank import (
    Cut,
    factors,
    lora_layers,
    plain_parameters,
    truncated,
    truncated_sum,
)
from keepsight.tune.methods.ties import agreeing_mean, trimmed
from keepsight.tune.starting import read_method_state
from keepsight.tune.trainable import choose_trained
from keepsight.types import KeepsightError
from tests.tune.sequences import QUICK, run_stages

pytestmark = pytest.mark.torch


def random(*shape, seed=0):
    import torch

    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def best(matrix, rank):
    """The best approximation of a rank, and the relative error that it makes."""
    import torch

    u, s, vh = torch.linalg.svd(matrix.double())
    product = u[:, :rank] * s[:rank] @ vh[:rank]
    return product.float(), math.sqrt(float(s[rank:].square().sum() / s.square().sum()))


@pytest.fixture
def lora(model):
    """A model in training, its LoRA's and projector's tensors random."""
    import torch

    own = model.unshared()
    choose_trained(own.module, QUICK)
    scramble(own, 1)
    assert len(lora_layers(own.module, "test")) == 14 and torch.is_grad_enabled()
    return own


def scramble(model, seed):
    import torch

    with torch.no_grad():
        for at, (_, value) in enumerate(sorted(model.module.named_parameters())):
            if value.requires_grad:
                value.copy_(random(*value.shape, seed=seed * 1000 + at))


def products(model):
    layers = lora_layers(model.module, "test")
    return {
        name: layer.scaling["default"] * b @ a for name, layer in layers.items() for b, a in [factors(layer)]
    }


def plain(model):
    return {name: value.detach().clone() for name, value in plain_parameters(model.module).items()}


# Low rank


@pytest.mark.parametrize(
    ("out", "n", "inside", "rank"), [(7, 6, 9, 3), (4, 8, 5, 2), (5, 12, 30, 4), (6, 2, 6, 2)]
)
def test_a_product_is_cut_as_the_svd_of_the_whole_matrix_would(out, n, inside, rank):
    import torch

    b, a = random(out, n), random(n, inside, seed=1)
    cut = truncated_sum(b, a, rank, size=3.0)
    product, error = best(b @ a, rank)
    torch.testing.assert_close(cut.b @ cut.a, product, rtol=1e-4, atol=1e-5)
    assert cut.b.shape == (out, rank) and cut.a.shape == (rank, inside)
    assert Cut.error([cut]) == pytest.approx(error, abs=1e-6)
    assert float(torch.linalg.matrix_norm(cut.a)) == pytest.approx(3.0, rel=1e-5)


def test_what_fits_costs_nothing_and_what_is_missing_is_zero():
    import torch

    b, a = random(3, 2), random(2, 5, seed=1)
    cut = truncated_sum(b, a, 8, size=1.0)
    torch.testing.assert_close(cut.b @ cut.a, b @ a)
    assert cut.b.shape == (3, 8) and Cut.error([cut]) < 1e-7 and Cut.error([]) == 0.0


def test_a_lora_that_came_to_nothing_can_still_learn():
    cut = truncated_sum(random(6, 4) * 0, random(4, 7), 2, size=2.0)
    assert not cut.b.any() and cut.a.square().sum(dim=1).tolist() == pytest.approx([2.0, 2.0])
    assert Cut.error([cut]) == 0.0


def test_a_large_matrix_is_cut_nearly_as_well(monkeypatch):
    import torch

    spectrum = torch.diag(0.9 ** torch.arange(60.0))
    matrix = torch.linalg.qr(random(80, 60))[0] @ spectrum @ torch.linalg.qr(random(60, 60, seed=1))[0]
    exact = truncated(matrix, 8)
    monkeypatch.setattr(low_rank, "_EXACT", 10)
    about, again = truncated(matrix, 8), truncated(matrix, 8)
    assert exact.lost * (1 - 1e-6) <= about.lost <= exact.lost * 1.001 and about.b.equal(again.b)
    assert Cut.error([exact]) == pytest.approx(best(matrix, 8)[1], rel=1e-4)


# WiSE-FT


def test_an_average_is_taken_in_the_space_of_the_weights(lora):
    import torch

    method = WiseFT(weight=0.3)
    before = plain(lora), products(lora)
    method.start_stage(lora, None)
    scramble(lora, 2)
    after = plain(lora), products(lora)
    method.end_stage(lora, None)
    for name, value in plain(lora).items():
        torch.testing.assert_close(value, 0.7 * before[0][name] + 0.3 * after[0][name])
    lost = total = 0.0
    for name, value in products(lora).items():
        mean = 0.7 * before[1][name] + 0.3 * after[1][name]
        torch.testing.assert_close(value, best(mean, QUICK.lora_r)[0], rtol=1e-3, atol=1e-4)
        lost, total = lost + float((mean - value).square().sum()), total + float(mean.square().sum())
    assert method.recompression_error == pytest.approx(math.sqrt(lost / total), rel=1e-4)
    assert 0.1 < method.recompression_error < 0.9
    other = WiseFT()
    other.load_state_dict(method.state_dict())
    assert other.recompression_error == method.recompression_error


@pytest.fixture(scope="module")
def tuned(base, samples, tmp_path_factory):
    """Method -> checkpoints of two stages; computed once each."""
    from keepsight.models import load

    known = {}

    def of(method):
        key = str((method.name, method.settings))
        if key not in known:
            out = tmp_path_factory.mktemp(method.name)
            model = load(str(base), device="cpu")
            known[key] = run_stages(model, method, {"one": samples[:5], "two": samples[5:]}, QUICK, out)
        return known[key]

    return of


def changes(checkpoint):
    """Everything that a checkpoint says, a LoRA as its product."""
    from keepsight.models.checkpoint import read_checkpoint

    found = read_checkpoint(checkpoint).tensors()
    scaling = QUICK.lora_alpha / QUICK.lora_r
    return {
        name.removesuffix(".lora_A.weight"): scaling * found[name.replace("lora_A", "lora_B")] @ value
        if "lora_A" in name
        else value
        for name, value in found.items()
        if "lora_B" not in name
    }


def test_weight_1_is_sequential_tuning(tuned):
    from keepsight.models.checkpoint import read_checkpoint

    for ours, theirs in zip(tuned(WiseFT(weight=1)), tuned(Sequential())):
        one, two = read_checkpoint(ours).tensors(), read_checkpoint(theirs).tensors()
        assert one.keys() == two.keys() and all(one[name].equal(two[name]) for name in one)


def test_weight_0_stays_where_it_was(tuned, model):
    for checkpoint in tuned(WiseFT(weight=0)):
        for name, value in changes(checkpoint).items():
            before = model.module.state_dict()[name] if "projector" in name else 0
            assert float((value - before).abs().max()) < 1e-6


# TIES


def test_ties_by_hand():
    import torch

    vectors = torch.tensor([[5.0, -1.0, 2.0, 0.5, 0.0], [3.0, 4.0, -6.0, 0.1, 0.0]])
    assert trimmed(vectors[0], 0.4).tolist() == [5, 0, 2, 0, 0]
    assert trimmed(vectors[1], 0.4).tolist() == [0, 4, -6, 0, 0]
    assert Ties(density=0.4, weight=0.5).merged("x", vectors).tolist() == [2.5, 2, -3, 0, 0]
    assert agreeing_mean(torch.tensor([[2.0, 2.0, 1.0], [4.0, -1.0, -1.0], [-1.0, 5.0, 0.0]])).tolist() == [
        3,
        3.5,
        0,
    ]
    assert trimmed(torch.tensor([0.1, -0.2]), 0.01).tolist() == pytest.approx([0, -0.2])  # one stays at least


def test_ties_knows_no_order_and_no_sign():
    vectors = random(3, 4, 5)
    merged = Ties(density=0.5).merged("x", vectors)
    assert merged.allclose(Ties(density=0.5).merged("x", vectors.flip(0)))
    assert merged.allclose(-Ties(density=0.5).merged("x", -vectors))
    assert Ties(density=1.0).merged("x", vectors[:1]).allclose(vectors[0])


@pytest.mark.parametrize("kind", ["ties_svd", "dare_ties_svd", "dare_linear_svd"])
def test_a_merger_is_what_peft_makes_of_the_same_loras(kind, monkeypatch):
    """DARE is given peft's random numbers by giving peft ours."""
    import torch
    from peft import LoraConfig, get_peft_model
    from peft.utils import merge_utils

    net = torch.nn.Sequential(torch.nn.Linear(12, 10))
    config = LoraConfig(r=3, lora_alpha=6, target_modules=["0"], init_lora_weights=False)
    wrapped = get_peft_model(net, config, "1")
    wrapped.add_adapter("2", config)
    layer = wrapped.base_model.model[0]
    dense = torch.stack([layer.get_delta_weight(name).detach() for name in "12"])
    numbers = iter([1, 2])
    monkeypatch.setattr(
        merge_utils,
        "random_pruning",
        lambda value, density, rescale: dropped(value, density, 0, next(numbers), "x"),
    )
    wrapped.add_weighted_adapter(["1", "2"], [0.7, 0.7], "theirs", kind, svd_rank=10, density=0.4)
    combine = {"dare_ties_svd": "ties", "dare_linear_svd": "sum"}.get(kind)
    ours = Dare(0.4, 0.7, combine, 0) if combine else Ties(0.4, 0.7)
    torch.testing.assert_close(
        ours.merged("x", dense), layer.get_delta_weight("theirs").detach(), rtol=1e-4, atol=1e-5
    )


# DARE


def test_dropping_changes_nothing_on_average_and_follows_its_seed():
    import torch

    vector = random(20)
    rows = dropped(vector.repeat(4000, 1), 0.3, 5, 1, "x")  # every row drawn for itself
    assert bool(((rows == 0) | (rows - vector / 0.3).abs().lt(1e-6)).all())
    assert (rows != 0).float().mean() == pytest.approx(0.3, abs=0.01)
    torch.testing.assert_close(rows.mean(dim=0), vector, rtol=0.15, atol=0.03)
    one = dropped(vector, 0.3, 5, 1, "x")
    assert one.equal(dropped(vector, 0.3, 5, 1, "x")) and not one.equal(dropped(vector, 0.3, 5, 2, "x"))
    assert dropped(vector, 1.0, 5).equal(vector)


@pytest.mark.parametrize(("combine", "factor"), [("mean", 0.5), ("sum", 1.0)])
def test_without_dropping_it_is_arithmetic_of_task_vectors(tuned, model, combine, factor):
    import torch

    one, two = tuned(Dare(density=1.0, combine=combine))
    for name, value in changes(one).items():  # one vector alone is what was tuned
        torch.testing.assert_close(value, changes(tuned(Sequential())[0])[name], rtol=1e-4, atol=1e-6)
    state = read_method_state(two.parent)
    error = lost = total = 0.0
    for name, value in changes(two).items():
        if "projector" in name:
            expected = model.module.state_dict()[name] + factor * (state[f"1/{name}"] + state[f"2/{name}"])
            torch.testing.assert_close(value, expected)
        else:
            vectors = [state[f"{n}/{name}.lora_B"] @ state[f"{n}/{name}.lora_A"] for n in (1, 2)]
            merged = factor * (vectors[0] + vectors[1])
            torch.testing.assert_close(value, best(merged, QUICK.lora_r)[0], rtol=1e-3, atol=1e-5)
            lost, total = lost + float((merged - value).square().sum()), total + float(merged.square().sum())
            error = math.sqrt(lost / total)
    assert float(state["recompression_error"]) == pytest.approx(error, rel=1e-3)
    assert set(read_method_state(one.parent)) < set(state)


def test_with_room_for_all_ranks_a_sum_is_exact(tuned):
    """Two LoRAs of rank 4 add up in one of rank 8."""
    import torch

    (_, two) = tuned(Dare(density=1.0, combine="sum", rank=8))
    state, config = read_method_state(two.parent), json.loads((two / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (8, 16) and float(state["recompression_error"]) < 1e-6
    for name, value in changes(two).items():
        if "projector" not in name:
            vectors = [state[f"{n}/{name}.lora_B"] @ state[f"{n}/{name}.lora_A"] for n in (1, 2)]
            torch.testing.assert_close(value, sum(vectors), rtol=1e-4, atol=1e-6)


def test_each_stage_is_tuned_from_the_base(tuned):
    """Its task vector does not depend on how those before were merged."""
    states = [read_method_state(tuned(method)[1].parent) for method in (Ties(), Dare(combine="ties"))]
    assert all(value.equal(states[1][name]) for name, value in states[0].items() if "/" in name)


@pytest.mark.parametrize("part", ["linear", "full"])
@pytest.mark.parametrize("name", ["wise_ft", "ties", "dare"])
def test_what_is_no_lora_is_merged_as_it_is(base, samples, tmp_path, name, part):
    from keepsight.models import load
    from keepsight.models.checkpoint import read_checkpoint

    config = replace(QUICK, method=part, learning_rate=1e-3)
    (last,) = run_stages(
        load(str(base), device="cpu"), METHODS[name](), {"one": samples[:4]}, config, tmp_path
    )
    assert read_checkpoint(last).manifest["method"] == part
    assert float(read_method_state(last.parent)["recompression_error"]) == 0.0


# Refusals


@pytest.mark.parametrize("name", ["wise_ft", "ties", "dare", "olora"])
def test_gated_adapters_are_refused_before_anything_is_learnt(lora, name):
    lora.module.peft_config["default"].peft_type = "MOELORA"
    with pytest.raises(
        KeepsightError, match=rf"^{name} adds up plain LoRA matrices, and those of MOELORA count by a gate"
    ):
        METHODS[name]().wrap(lora)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("wise_ft", {"weight": 1.1}),
        ("wise_ft", {"weight": -0.1}),
        ("ties", {"density": 0.0}),
        ("ties", {"density": 1.1}),
        ("dare", {"density": 0.0}),
        ("dare", {"combine": "svd"}),
        ("dare", {"rank": -1}),
        ("dare", {"seed": 1.5}),
        ("ties", {"weight": "0.5"}),
        ("ties", {"weight": float("nan")}),
        ("olora", {"strength": -1.0}),
        ("routed", {"prototypes": 0}),
        ("routed", {"looked_at": 0}),
    ],
)
def test_impossible_settings_are_refused(name, settings):
    (field,) = settings
    with pytest.raises(UsageError, match=f"method {name}: {field} "):
        METHODS[name](**settings)
