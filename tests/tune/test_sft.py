"""The loop: the same bits after a kill, the same loss however a step is split, and complete checkpoints."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from keepsight.tune.ahead import Ahead
from keepsight.tune.config import SFTConfig
from keepsight.tune.methods import METHODS, Method
from keepsight.tune.sft import sft
from keepsight.types import KeepsightError
from tests.killing import Fate, in_child

pytestmark = pytest.mark.torch

QUICK = SFTConfig(
    num_train_epochs=2,
    per_device_train_batch_size=4,
    learning_rate=1e-2,
    save_steps=3,
    lora_r=4,
    num_experts=2,
)
ROOT = Path(__file__).parents[2]
KILLED = """
import os, signal, sys
from keepsight.data.drawn import SETS
from keepsight.data.llava import instruction_samples
from keepsight.models import load
from keepsight.tune.sft import SFTConfig, sft

base, output, method, fatal_step = sys.argv[1:]
def die(now):
    if now.step == int(fatal_step):
        os.kill(os.getpid(), signal.SIGKILL)
config = SFTConfig(method=method, num_train_epochs=2, per_device_train_batch_size=4, learning_rate=1e-2, save_steps=3, lora_r=4, num_experts=2)
sft(load(base, device="cpu"), instruction_samples(SETS["shapes"], n=13), config, output, progress=die)
"""


def tensors(directory):
    from safetensors.torch import load_file

    return {
        f"{file.name}/{k}": v
        for file in sorted(directory.glob("*.safetensors"))
        for k, v in load_file(file).items()
    }


def same(first, second):
    one, two = tensors(first), tensors(second)
    return one.keys() == two.keys() and all(one[name].equal(two[name]) for name in one)


@pytest.fixture(autouse=True)
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def killed_elsewhere(base, model, samples, config, output, fatal_step):
    """In a process that knows nothing of this one: its sets have another order, its memory another layout."""
    command = [sys.executable, "-c", KILLED, str(base), str(output), config.method, str(fatal_step)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    assert subprocess.run(command, env=environment, cwd=ROOT, timeout=120).returncode == -signal.SIGKILL


def killed_in_a_child(base, model, samples, config, output, fatal_step):
    """In a fork of this one, which need not import anything."""

    def die(now):
        if now.step == fatal_step:
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(partial(sft, model, samples, config, output, progress=die), Fate(output)).killed


@pytest.mark.parametrize(
    ("method", "fatal_step", "killed"), [("moelora", 4, killed_elsewhere), ("linear", 7, killed_in_a_child)]
)
def test_a_killed_run_goes_on_to_the_same_bits(base, model, samples, tmp_path, method, fatal_step, killed):
    config = replace(QUICK, method=method)
    whole = sft(model, samples, config, tmp_path / "whole")
    killed(base, model, samples, config, tmp_path / "killed", fatal_step)
    steps = []
    resumed = sft(model, samples, config, tmp_path / "killed", progress=lambda now: steps.append(now.step))
    assert steps == list(range(fatal_step, 9))  # steps 3 and 6 were saved; 4 died before its epoch was
    assert all(same(one, two) for one, two in zip(whole, resumed)) and len(whole) == len(resumed) == 2
    logs = [(tmp_path / name / "train_log.jsonl").read_text().splitlines() for name in ("whole", "killed")]
    figures = [[(row["step"], row["loss"], row["grad_norm"]) for row in map(json.loads, log)] for log in logs]
    assert figures[0] == figures[1] and [step for step, *_ in figures[0]] == list(range(1, 9))


def test_a_finished_run_trains_nothing_and_loads_nothing(model, samples, tmp_path):
    first = sft(model, samples, QUICK, tmp_path)
    assert not (tmp_path / "state").exists()

    class Unloadable:
        name, digest, device = model.name, model.digest, "cpu"

    again, seen = [], []
    again = sft(
        Unloadable(),
        samples,
        QUICK,
        tmp_path,
        progress=seen.append,
        on_epoch=lambda d, e: seen.append((d, e)),
    )
    assert again == first and seen == [(first[0], 1), (first[1], 2)]


def test_a_directory_of_another_run_is_refused(model, samples, tmp_path):
    sft(model, samples, QUICK, tmp_path)
    with pytest.raises(KeepsightError, match="learning_rate differ"):
        sft(model, samples, replace(QUICK, learning_rate=1e-3), tmp_path)
    with pytest.raises(KeepsightError, match="data_digest differ"):
        sft(model, samples[1:], QUICK, tmp_path)
    sft(model, samples, replace(QUICK, logging_steps=5), tmp_path)


@pytest.mark.parametrize("method", ["linear", "lora"])
def test_batch_one_times_eight_learns_what_batch_eight_learns(model, samples, tmp_path, method):
    import torch

    uneven = [replace(s, target=(s.target[0] * (1 + i % 3),)) for i, s in enumerate(samples)]
    base = replace(QUICK, method=method, lora_dropout=0.0, learning_rate=1e-3)
    learnt, losses = [], []
    for batch, accumulation in ((8, 1), (1, 8)):
        config = replace(base, per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation)
        last = sft(model, uneven, config, tmp_path / str(batch))[-1]
        learnt.append(tensors(last))
        log = (tmp_path / str(batch) / "train_log.jsonl").read_text().splitlines()
        losses.append([json.loads(row)["loss"] for row in log])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for name, value in learnt[0].items():
        torch.testing.assert_close(value, learnt[1][name], rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("by_answers", [False, True])
def test_a_penalty_is_added_once_however_a_step_is_split(model, samples, tmp_path, by_answers):
    class Constant(Method):
        penalises_answers = by_answers

        def penalty(self, model, batch, outputs):
            return 3.0

    uneven = [replace(s, target=(s.target[0] * (1 + i % 3),)) for i, s in enumerate(samples[:6])]
    for batch, accumulation in ((6, 1), (2, 3)):
        config = replace(
            QUICK,
            num_train_epochs=1,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulation,
        )
        seen = []
        for name, method in {"plain": None, "penalised": Constant()}.items():
            sft(model, uneven, config, tmp_path / f"{batch}-{name}", method=method, progress=seen.append)
        plain, penalised = seen
        assert penalised.loss == pytest.approx(plain.loss + 3.0, rel=1e-5)
        assert penalised.grad_norm == pytest.approx(plain.grad_norm, rel=1e-5)


def test_the_loss_is_the_models_own(model, samples, tmp_path):
    import torch

    config = replace(QUICK, num_train_epochs=1, per_device_train_batch_size=16, lora_dropout=0.0)
    seen = []
    sft(model, samples, config, tmp_path, progress=seen.append)
    with torch.inference_mode():
        theirs = model.module(**model.training_batch(samples)).loss.item()
    assert seen[0].loss == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("method", ["lora", "moelora"])
def test_a_checkpoint_answers_as_the_trained_module_did(base, model, samples, tmp_path, method):
    import torch

    from keepsight.models import load

    config = replace(QUICK, method=method, lora_dropout=0.0, gate_scale="softmax*N")
    trained = model.unshared()
    trained.unshared = lambda: trained
    last = sft(trained, samples, config, tmp_path)[-1]
    loaded = load(f"{base}+adapter:{last}", device="cpu")
    batch = trained.training_batch(samples[:3])
    labels = batch.pop("labels")
    with torch.inference_mode():
        ours, theirs = trained.module(**batch).logits, loaded.module(**batch).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert (labels != -100).sum() > 0
    about = json.loads((last / "keepsight.json").read_text())
    assert about["epoch"] == 2 and about["step"] == 8 and about["config"]["lora_r"] == 4
    adapter = json.loads((last / "adapter_config.json").read_text())
    experts = (2, "softmax*N") if method == "moelora" else (None, None)
    assert (adapter.get("num_experts"), adapter.get("gate_scale")) == experts


def test_one_expert_learns_what_lora_learns_to_the_bit(model, samples, tmp_path):
    """From the same start with the same dropout; clipping is off, whose norm sums one zero more."""
    config = replace(QUICK, num_train_epochs=1, lora_dropout=0.1, lora_alpha=6, max_grad_norm=0.0)
    lora, one, two = (
        tensors(sft(model, samples, replace(config, **settings), tmp_path / str(at))[-1])
        for at, settings in enumerate(
            (
                {"method": "lora", "num_experts": 3},
                {"method": "moelora", "num_experts": 1},
                {"method": "moelora", "num_experts": 2},
            )
        )
    )
    assert all(value.equal(one[name]) for name, value in lora.items())
    assert {name.split(".")[-2] for name in one.keys() - lora.keys()} == {"lora_router"}
    assert two.keys() == one.keys() and any(not value.equal(two[name]) for name, value in lora.items())


def test_settings_of_experts_belong_to_a_run_with_experts(model, samples, tmp_path):
    config = replace(QUICK, method="linear", num_train_epochs=1)
    sft(model, samples, config, tmp_path / "linear")
    sft(model, samples, replace(config, num_experts=4, gate_scale="softmax*N"), tmp_path / "linear")
    config = replace(config, method="moelora")
    sft(model, samples[:4], config, tmp_path / "mixture")
    with pytest.raises(KeepsightError, match="num_experts, gate_scale differ"):
        sft(model, samples[:4], replace(config, num_experts=4, gate_scale="softmax*N"), tmp_path / "mixture")


def test_the_base_in_memory_is_left_alone(model, samples, tmp_path):
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    sft(model, samples, replace(QUICK, method="full", num_train_epochs=1), tmp_path)
    assert all(value.equal(model.module.state_dict()[name]) for name, value in before.items())


def test_a_module_built_by_the_caller_is_tuned_and_its_base_recorded(base, samples, tmp_path):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from keepsight.models import load

    built = load((AutoModelForImageTextToText.from_pretrained(base), AutoProcessor.from_pretrained(base)))
    before = built.weights_digest
    (checkpoint,) = sft(built, samples, replace(QUICK, num_train_epochs=1), tmp_path)
    assert built.weights_digest != before
    assert json.loads((checkpoint / "keepsight.json").read_text())["base_digest"] == before


def test_hooks_are_called_in_order(model, samples, tmp_path):
    class Spy(Method):
        name = "spy"

        def __init__(self):
            self.calls = []

        def wrap(self, model):
            self.calls.append("wrap")

        def start_stage(self, model, stage):
            self.calls.append("start")

        def penalty(self, model, batch, outputs):
            self.calls.append("penalty")
            parts = model.module.model
            assert parts.language_model.training and not parts.vision_tower.training
            return outputs.logits.sum() * 0.0

        def edit_gradients(self, model):
            self.calls.append("edit")
            assert all(p.grad is not None for p in model.module.parameters() if p.requires_grad)

        def end_stage(self, model, stage):
            self.calls.append("end")

    spy = Spy()
    config = replace(QUICK, num_train_epochs=1, gradient_accumulation_steps=2)
    sft(model, samples, config, tmp_path, method=spy)
    assert spy.calls == ["wrap", "start", "penalty", "penalty", "edit", "penalty", "penalty", "edit", "end"]
    assert METHODS["sequential"]().penalty(None, {}, None) == 0.0


def test_a_loss_that_is_not_a_number_names_the_step(model, samples, tmp_path):
    class Poison(Method):
        def penalty(self, model, batch, outputs):
            return float("nan")

    with pytest.raises(KeepsightError, match=r"step 1 of 8: the loss is nan \(samples shapes/train"):
        sft(model, samples, QUICK, tmp_path, method=Poison())


def test_settings_that_save_memory_do_not_change_what_is_learnt(model, samples, tmp_path):
    import torch

    config = replace(QUICK, method="lora", lora_dropout=0.0, num_train_epochs=1)
    plain = sft(model, samples, config, tmp_path / "plain")[-1]
    spared = sft(model, samples, replace(config, gradient_checkpointing=True), tmp_path / "spared")[-1]
    for name, value in tensors(plain).items():
        torch.testing.assert_close(value, tensors(spared)[name], rtol=1e-4, atol=1e-5)
    half = sft(model, samples, replace(config, bf16=True), tmp_path / "half")[-1]
    moved = [(tensors(half)[name] - value).abs().max() for name, value in tensors(plain).items()]
    assert 0 < max(moved) < 0.1


def test_broken_pictures_are_named_before_anything_is_trained(model, samples, tmp_path):
    from keepsight.types import Media

    path = tmp_path / "broken.png"
    path.write_bytes(samples[0].media[0].read()[:60])
    bad = [
        *samples,
        replace(samples[0], media=(Media(path=path),)),
        replace(samples[1], media=(Media(data=b"x"),)),
    ]
    with pytest.raises(KeepsightError, match=r"2 pictures of the training data: .*broken\.png.*in memory"):
        sft(model, bad, QUICK, tmp_path / "out")
    assert not (tmp_path / "out" / "tune.json").exists()


def test_gradients_may_go_unclipped(model, samples, tmp_path):
    seen = []
    config = replace(QUICK, num_train_epochs=1, max_grad_norm=0.0)
    sft(model, samples, config, tmp_path, progress=seen.append)
    assert all(0 < now.grad_norm < 1e3 and now.seconds_left >= 0 for now in seen)


def test_a_second_run_in_the_same_directory_waits_its_turn(model, samples, tmp_path):
    def intrude(checkpoint, epoch):
        sft(model, samples, QUICK, tmp_path)

    with pytest.raises(KeepsightError, match="is being written by process"):
        sft(model, samples, QUICK, tmp_path, on_epoch=intrude)


def test_conversations_and_rows_without_pictures_are_learnt_together(model, samples, tmp_path):
    talk = replace(samples[0], meta={"turns": [["Is it red?", "No."]]})
    words = replace(samples[1], media=(), prompt="How many?", target=("three",))
    losses = []
    config = replace(QUICK, method="lora", num_train_epochs=1, per_device_train_batch_size=2)
    sft(model, [talk, words, samples[2]], config, tmp_path, progress=lambda now: losses.append(now.loss))
    assert len(losses) == 2 and all(0 < loss < 20 for loss in losses)


def test_a_batch_without_a_picture_has_nothing_for_the_projector_to_learn(model, samples, tmp_path):
    text = [replace(sample, id=f"text-{sample.id}", media=()) for sample in samples]
    alone = replace(QUICK, method="linear", num_train_epochs=1)
    told = r"method linear trains the projector, which reads pictures, and a batch has none \(rows text-.*, \.\.\.\); train with lora"
    with pytest.raises(KeepsightError, match=told):
        sft(model, text, alone, tmp_path / "alone")
    mixed = [row for pair in zip(text, samples) for row in pair]
    together = replace(alone, per_device_train_batch_size=len(mixed))
    sft(model, mixed, together, tmp_path / "mixed")  # its only batch has pictures, too


@pytest.mark.parametrize("ahead", [True, False])
def test_batches_come_in_order_and_errors_with_their_step(ahead):
    def prepare(step):
        if step == 4:
            raise KeepsightError("step 4 is broken")
        return [{"step": step}]

    prepared = Ahead(prepare, ahead=ahead)
    assert [prepared.take(step, last=False)[0]["step"] for step in (1, 2, 3)] == [1, 2, 3]
    prepared.wait()
    with pytest.raises(KeepsightError, match="step 4"):
        prepared.take(4, last=True)


def test_no_samples_is_an_error(model, tmp_path):
    with pytest.raises(KeepsightError, match="nothing to tune on"):
        sft(model, [], QUICK, tmp_path)
