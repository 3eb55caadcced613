"""EWC and L2-SP hold weights, LwF holds answers, A-GEM turns gradients: by their formulas, and on two stages that conflict."""

from copy import deepcopy
from dataclasses import replace

import pytest

from keepsight.tune.answers import answer_gradients, answer_loss, answer_places, model_inputs, without_dropout
from keepsight.tune.config import SFTConfig
from keepsight.tune.methods import METHODS, Stage
from keepsight.tune.methods.agem import _product, _project
from keepsight.tune.methods.anchors import add_pull, weights_of
from keepsight.tune.sequence import run_sequence
from keepsight.tune.trainable import choose_trained, trained_parameters
from keepsight.types import KeepsightError

pytestmark = pytest.mark.torch

CONFIG = SFTConfig(
    method="lora", num_train_epochs=1, per_device_train_batch_size=6, learning_rate=2e-2,
    lr_scheduler_type="constant", save_steps=0, lora_r=4, lora_dropout=0.1,
)  # fmt: skip
STEPS = 12  # of each stage


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def own(base):
    """Loaded once; copied for whoever trains it."""
    from keepsight.models import load

    model = load(str(base), device="cpu").unshared()
    assert model.module is not None and model.processor is not None
    return model


@pytest.fixture
def trainee(own):
    """A function: a model of which a part trains, as a stage begins it, its LoRA moved from zero if asked."""
    import torch

    def make(part="lora", moved=True, **changes):
        model = deepcopy(own)
        choose_trained(model.module, replace(CONFIG, method=part, **changes))
        torch.manual_seed(0)
        with torch.no_grad():
            for name, value in trained_parameters(model.module).items():
                value += 0.05 * torch.randn_like(value) if moved or "lora_B" not in name else 0.0
        model.module.train()
        return model

    return make


def logits_of(model, batch):
    import torch

    with torch.no_grad(), without_dropout(model.module):
        return model.module(**model_inputs(batch, "cpu"), use_cache=False).logits


# The formulas


def test_the_pull_is_the_gradient_of_the_penalty(trainee):
    import torch

    module = trainee("linear").module
    trained = trained_parameters(module)
    anchors = {name: torch.randn_like(value) for name, value in trained.items()}
    importance = {name: torch.rand_like(value) for name, value in trained.items()}
    penalty = 0.7 / 2 * sum((importance[n] * (w - anchors[n]) ** 2).sum() for n, w in trained.items())
    wanted = dict(zip(trained, torch.autograd.grad(penalty, list(trained.values()))))
    untouched, *others = trained
    for name in others:
        trained[name].grad = torch.ones_like(trained[name])
    add_pull(module, anchors, 0.7, importance)
    assert trained[untouched].grad is None
    for name in others:
        torch.testing.assert_close(trained[name].grad - 1, wanted[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("part", ["linear", "full"])
def test_gradients_outside_the_loop_leave_those_of_the_step_alone(trainee, samples, part):
    import torch

    model = trainee(part)
    trained = trained_parameters(model.module)
    first = next(iter(trained.values()))
    first.grad = held = torch.ones_like(first)
    with without_dropout(model.module):
        found = answer_gradients(model, samples[:3], CONFIG)
    assert first.grad is held and all(value.grad is None for value in list(trained.values())[1:])
    batch = model.training_batch(samples[:3])
    with without_dropout(model.module):
        logits = model.module(**model_inputs(batch, "cpu"), use_cache=False).logits
    loss = answer_loss(logits, batch["labels"]) / answer_places(batch["labels"]).sum()
    wanted = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
    assert set(found) == {name for name, gradient in zip(trained, wanted) if gradient is not None}
    for name, gradient in zip(trained, wanted):
        if gradient is not None:
            torch.testing.assert_close(found[name], gradient)
    with without_dropout(model.module):
        half = answer_gradients(model, samples[:3], replace(CONFIG, bf16=True))
    off = max(float((half[name] - found[name]).abs().max() / found[name].abs().max()) for name in found)
    assert 1e-4 < off < 0.2, "in the precision of the tuning"
    longest = int(batch["attention_mask"].sum(dim=1).max())
    with without_dropout(model.module):
        cut = answer_gradients(model, samples[:3], replace(CONFIG, max_length=longest - 2))
    assert not all(cut[name].equal(found[name]) for name in found), "and with its longest answers"


def test_a_row_without_a_picture_asks_nothing_of_the_projector(trainee, samples):
    model = trainee("linear")
    words = replace(samples[0], media=(), prompt="How many?")
    assert answer_gradients(model, [words], CONFIG) == {}
    ewc = METHODS["ewc"]()
    ewc.end_stage(model, Stage("a", [words, samples[1]], count=2))
    assert ewc.state_dict()
    agem = METHODS["agem"]()
    agem.start_stage(model, Stage("b", samples, memory=(words,), number=2, count=2))
    agem.edit_gradients(model)


def test_the_importance_is_the_mean_squared_gradient_of_single_samples_over_its_mean(trainee, samples):
    import torch

    model = trainee("linear")
    ewc = METHODS["ewc"](strength=2.0, gamma=0.5, n_fisher=50)
    ewc.configure(replace(CONFIG, method="linear"))
    ewc.start_stage(model, Stage("a", samples[:3], number=1, count=3))
    assert ewc.state_dict() == {}
    ewc.end_stage(model, Stage("a", samples[:3], number=1, count=3))
    trained = trained_parameters(model.module)
    squares = {name: torch.zeros_like(value) for name, value in trained.items()}
    for sample in samples[:3]:
        batch = model.training_batch([sample])
        loss = model.module(**batch).loss  # transformers' own: the mean over the answer's tokens
        for name, gradient in zip(trained, torch.autograd.grad(loss, list(trained.values()))):
            squares[name] += gradient**2 / 3
    mean = torch.cat([value.flatten() for value in squares.values()]).mean()
    first = dict(ewc.state_dict())
    assert first.keys() == {f"{kind}/{name}" for kind in ("anchor", "importance") for name in trained}
    for name, value in trained.items():
        torch.testing.assert_close(first[f"importance/{name}"], squares[name] / mean, rtol=1e-3, atol=1e-6)
        assert first[f"anchor/{name}"].equal(value) and first[f"anchor/{name}"] is not value
    with torch.no_grad():
        next(iter(trained.values())).add_(1.0)
    ewc.end_stage(model, Stage("b", samples[:3], number=2, count=3))
    second = ewc.state_dict()
    alone = METHODS["ewc"](strength=2.0, n_fisher=50)
    alone.end_stage(model, Stage("b", samples[:3], number=2, count=3))
    for name, value in trained.items():
        newest = alone.state_dict()[f"importance/{name}"]
        torch.testing.assert_close(second[f"importance/{name}"], newest + 0.5 * first[f"importance/{name}"])
        assert second[f"anchor/{name}"].equal(value), "one anchor, the newest"
    ewc.end_stage(model, Stage("c", samples[:1], number=3, count=3))
    assert ewc.state_dict()[f"anchor/{name}"] is second[f"anchor/{name}"], "nothing follows the last stage"


def test_tensors_of_other_stages_are_refused(trainee, samples):
    for name, prefixes in {"ewc": ("anchor", "importance"), "l2sp": ("base",)}.items():
        method = METHODS[name](**({"toward": "base"} if name == "l2sp" else {}))
        weights = weights_of(trainee("linear").module)
        method.load_state_dict(
            {f"{prefix}/{key}": value for prefix in prefixes for key, value in weights.items()}
        )
        method.start_stage(trainee("linear"), Stage("b", samples, number=2, count=2))
        with pytest.raises(
            KeepsightError, match=rf"^method {name} remembers other trained tensors \([^\n]*$"
        ):
            method.start_stage(trainee("lora"), Stage("b", samples, number=2, count=2))


def test_the_first_loras_teacher_is_the_model_without_it(trainee, samples):
    """Dropout is off in the teacher, and as it was in the student afterwards."""
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    model = trainee("lora", moved=False)
    lwf = METHODS["lwf"]()
    lwf.start_stage(model, Stage("a", samples))
    with torch.no_grad():
        for name, value in trained_parameters(model.module).items():
            if ".lora_" in name:
                value += 0.1 * torch.randn_like(value)
    batch = model.training_batch(samples[:3])
    modes = [part.training for part in model.module.modules()]
    taught = lwf._teacher_logits(model, batch)
    assert [part.training for part in model.module.modules()] == modes and any(modes)
    learnt = logits_of(model, batch)
    layers = [part for part in model.module.modules() if isinstance(part, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    assert len(layers) > 10 and taught.equal(logits_of(model, batch)) and not taught.requires_grad
    assert (taught - learnt).abs().max() > 1e-3
    later = trainee("lora")  # now dropout would be seen
    lwf.start_stage(later, Stage("b", samples))
    assert lwf._teacher_logits(later, batch).equal(logits_of(later, batch))


@pytest.mark.parametrize("part", ["linear", "lora", "full"])
@pytest.mark.parametrize("tokens", ["answer", "all"])
def test_the_divergence_and_its_gradient(trainee, samples, part, tokens):
    """Against torch's distributions, at the tokens that are meant."""
    import torch
    from torch.distributions import Categorical, kl_divergence

    model = trainee(part, lora_dropout=0.0)
    lwf = METHODS["lwf"](strength=0.5, temperature=3.0, tokens=tokens)
    lwf.start_stage(model, Stage("a", samples))
    batch = model.training_batch([*samples[:2], samples[4]])
    batch["labels"][-1] = -100  # fills up a step
    before = logits_of(model, batch)
    trained = trained_parameters(model.module)
    same = lwf.penalty(model, batch, model.module(**model_inputs(batch, "cpu"), use_cache=False))
    assert abs(float(same.detach())) < 1e-6
    with torch.no_grad():
        for value in trained.values():
            value += 0.05 * torch.randn_like(value)
    outputs = model.module(**model_inputs(batch, "cpu"), use_cache=False)
    found = lwf.penalty(model, batch, outputs)
    meant = answer_places(batch["labels"]) if tokens == "answer" else batch["attention_mask"][:, 1:].bool()
    meant[-1] = False
    teacher, student = (Categorical(logits=x[:, :-1][meant] / 3.0) for x in (before, outputs.logits))
    wanted = 0.5 * 9.0 * kl_divergence(teacher, student).mean()
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    found.backward()
    assert sum(float(value.grad.abs().sum()) for value in trained.values() if value.grad is not None) > 0


@pytest.mark.parametrize("part", ["linear", "lora", "full"])
def test_between_a_forward_and_its_backward_pass_another_may_be_asked(trainee, samples, part):
    """In half precision too, where autocast keeps copies of the weights; the weights are as before, to the bit."""
    import torch

    model = trainee(part, lora_dropout=0.0)
    lwf = METHODS["lwf"]()
    lwf.start_stage(model, Stage("a", samples))
    batch = model.training_batch(samples[:3])
    trained = trained_parameters(model.module)

    def gradients(asks_teacher):
        with torch.autocast("cpu", torch.bfloat16):
            logits = model.module(**model_inputs(batch, "cpu"), use_cache=False).logits
            taught = lwf._teacher_logits(model, batch) if asks_teacher else None
        found = torch.autograd.grad(
            answer_loss(logits, batch["labels"]), list(trained.values()), allow_unused=True
        )
        return taught, found

    with torch.autocast("cpu", torch.bfloat16):
        start = logits_of(model, batch)
    with torch.no_grad():
        for value in trained.values():
            value += 0.05 * torch.randn_like(value)
    moved = weights_of(model.module)
    _, wanted = gradients(asks_teacher=False)
    taught, found = gradients(asks_teacher=True)
    assert taught.equal(start)
    assert all(value.equal(moved[name]) for name, value in trained.items())
    assert all((one is None) == (other is None) for one, other in zip(found, wanted))
    assert all(one.equal(other) for one, other in zip(found, wanted) if one is not None)


def test_a_teacher_that_fails_leaves_the_weights_as_they_were(trainee, samples):
    import torch

    model = trainee("linear")
    lwf = METHODS["lwf"]()
    lwf.start_stage(model, Stage("a", samples))
    with torch.no_grad():
        for value in trained_parameters(model.module).values():
            value += 1.0
    moved = weights_of(model.module)
    with pytest.raises(ValueError, match="input_ids"):
        lwf._teacher_logits(model, {"pixel_values": torch.zeros(1)})
    assert all(value.equal(moved[name]) for name, value in trained_parameters(model.module).items())


def test_of_a_batch_without_answers_nothing_is_added(trainee, samples):
    model = trainee("linear")
    lwf = METHODS["lwf"]()
    lwf.start_stage(model, Stage("a", samples))
    batch = model.training_batch(samples[:1])
    batch["labels"][:] = -100
    assert lwf.penalty(model, batch, None) == 0.0


def test_a_projected_gradient_does_not_go_against_the_reference():
    import torch

    torch.manual_seed(1)
    turned = 0
    for _ in range(40):
        trained = {name: torch.nn.Parameter(torch.zeros(3, 2)) for name in "abc"}
        reference = {name: torch.randn(3, 2) for name in "ab"}
        for name in "ac":  # b took no part in the step, c takes none in the memory
            trained[name].grad = torch.randn(3, 2)
        before = {name: trained[name].grad.clone() for name in "ac"}
        product = float((before["a"] * reference["a"]).sum())
        _project(trained, reference)
        assert trained["c"].grad.equal(before["c"])
        if product >= 0:
            assert trained["a"].grad.equal(before["a"]) and trained["b"].grad is None
            continue
        turned += 1
        after = {name: trained[name].grad for name in "ab"}
        assert abs(_product(after, reference)) < 1e-5
        left = sum(float((after[n] - before.get(n, 0)).pow(2).sum()) for n in "ab")
        norm = sum(float(r.pow(2).sum()) for r in reference.values())
        assert left == pytest.approx(product**2 / norm, rel=1e-4), "the nearest such gradient"
    assert 5 < turned < 35


def test_each_step_is_held_against_samples_of_its_own(trainee, samples, monkeypatch):
    looked_at = []

    def spy(model, memory, config):
        looked_at.append([sample.id for sample in memory])
        return {}

    monkeypatch.setattr("keepsight.tune.methods.agem.answer_gradients", spy)
    model = trainee("linear")
    stage = Stage("b", samples, memory=tuple(samples), number=2, count=2)
    agem = METHODS["agem"](batch_size=4)
    agem.start_stage(model, stage)
    for _ in range(3):
        agem.edit_gradients(model)
    assert len({*map(tuple, looked_at)}) == 3 and all(len(set(ids)) == 4 for ids in looked_at)
    resumed = METHODS["agem"](batch_size=4)
    resumed.start_stage(model, stage)
    resumed.load_state_dict({"step": agem.state_dict()["step"] - 1})
    resumed.edit_gradients(model)
    assert looked_at[3] == looked_at[2]


# What they are for


@pytest.fixture(scope="module")
def stages(samples):
    """The same questions with other answers: learning the second undoes the first."""
    one = [replace(sample, target=("The object is a circle.",)) for sample in samples[:6]]
    two = [replace(sample, target=("Is there a red dog?",)) for sample in one]
    return [Stage("a", one * STEPS), Stage("b", two * STEPS)]


@pytest.fixture(scope="module")
def learnt(own, stages, tmp_path_factory):
    """(method, settings) -> after two stages: loss on the first one's data, distance from its end, divergence from it."""
    import torch

    from keepsight.models.checkpoint import read_checkpoint

    base = deepcopy(own)
    base.unshared = lambda: deepcopy(own)
    batch = own.training_batch(stages[0].samples[:6])
    places = answer_places(batch["labels"])

    def run(name, **settings):
        seen = []

        class Watched(METHODS[name]):
            def end_stage(self, model, stage):
                super().end_stage(model, stage)
                seen.append(logits_of(model, batch)[:, :-1][places].log_softmax(-1))

        method = Watched(**settings)
        done = run_sequence(base, stages, CONFIG, tmp_path_factory.mktemp(name), method=method)
        before, after = (read_checkpoint(one.checkpoint).tensors() for one in done)
        labels = batch["labels"][:, 1:][places]
        return {
            "learnt": -float(seen[0].gather(1, labels[:, None]).mean()),
            "loss": -float(seen[1].gather(1, labels[:, None]).mean()),
            "distance": sum(float((after[key] - before[key]).pow(2).sum()) for key in before),
            "divergence": float(
                torch.nn.functional.kl_div(*seen[::-1], reduction="batchmean", log_target=True)
            ),
        }

    return run


@pytest.fixture(scope="module")
def plain(learnt):
    return learnt("sequential")


@pytest.mark.parametrize(
    ("name", "settings", "nearer"),
    [
        ("replay", {"share": 0.5}, "loss"),
        ("ewc", {"strength": 10.0, "n_fisher": 6}, "distance"),
        ("l2sp", {"strength": 10.0}, "distance"),
        ("lwf", {"strength": 3.0}, "divergence"),
        ("agem", {"share": 0.5}, "loss"),
    ],
)
def test_it_does_what_it_is_for(learnt, plain, name, settings, nearer):
    assert plain["loss"] > plain["learnt"] + 0.5, "without a method the second stage undoes the first"
    assert learnt(name, **settings)[nearer] < 0.95 * plain[nearer]


def test_toward_the_base_is_toward_the_start_of_the_first_stage(own, stages, tmp_path):
    """Also in a second stage that another process tunes."""
    base = deepcopy(own)
    base.unshared = lambda: deepcopy(own)
    stages = [replace(stage, samples=stage.samples[:6]) for stage in stages]
    config = replace(CONFIG, method="linear")

    def stop(now):
        if (tmp_path / "stages" / "01-a" / "stage.json").exists():
            raise KeyboardInterrupt

    method = METHODS["l2sp"]
    with pytest.raises(KeyboardInterrupt):
        run_sequence(base, stages, config, tmp_path, method=method(toward="base"), progress=stop)
    last = method(toward="base")
    run_sequence(base, stages, config, tmp_path, method=last)
    module = own.module
    held = {name.removeprefix("base/"): value for name, value in last.state_dict().items()}
    assert held and all(value.equal(module.get_parameter(name).detach()) for name, value in held.items())
    near = method(toward="stage")
    run_sequence(base, stages, config, tmp_path / "stage", method=near)
    assert near.state_dict() == {}


@pytest.mark.parametrize("name", ["agem", "ewc", "lwf"])
def test_gradient_checkpointing_in_half_precision_learns_the_same(own, stages, tmp_path, name):
    import torch

    from keepsight.models.checkpoint import read_checkpoint

    base = deepcopy(own)
    base.unshared = lambda: deepcopy(own)
    stages = [replace(stage, samples=stage.samples[:6]) for stage in stages]
    plain, spared = (
        run_sequence(
            base, stages, replace(CONFIG, bf16=True, gradient_checkpointing=spared), tmp_path / str(spared),
            method=METHODS[name](),
        )
        for spared in (False, True)
    )  # fmt: skip
    for one, other in zip(plain, spared):
        found = read_checkpoint(other.checkpoint).tensors()
        for key, value in read_checkpoint(one.checkpoint).tensors().items():
            torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5)
