"""The callback in a real Trainer on a tiny random LLaVA: it sees what is forgotten and leaves no trace in the training."""

import json
import random

import numpy as np
import pytest
import torch

import keepsight as ks
from keepsight import ForgettingCallback, tasks
from keepsight.models.sources import state_digest
from keepsight.tune import callback as module_under_test
from keepsight.tune.callback import Budget, trade_offs, undisturbed
from keepsight.types import KeepsightError, Output
from tests.fake_vlm import Ask, Exact, make_task
from tests.scoring.conftest import make_matrix, make_run

pytestmark = pytest.mark.torch


class Careless(Ask):
    """Asks the model and disturbs every random stream and the module's own memory on the way."""

    settings = {"kind": "careless"}

    def __call__(self, model, samples, *, batch_size=None):
        yield from model.generate(samples, max_new_tokens=2, batch_size=batch_size)
        torch.rand(3), random.random(), np.random.rand()
        model.module.rope_deltas = torch.ones(1)
        model.module.train(not model.module.training)
        model.module.train(not model.module.training)


class Spy:
    """A tracker as Trainer knows them: it hears of every log."""

    def __new__(cls, heard):
        from transformers import TrainerCallback

        class Heard(TrainerCallback):
            def on_log(self, args, state, control, logs=None, **_):
                heard.append(dict(logs))

        return Heard()


def suite(n=3):
    return [
        make_task(tasks.get(f"emt:{name}", n=n).test(), name=name, infer=Careless(), score=Exact("label"))
        for name in ("shapes", "letters")
    ]


@pytest.fixture
def trainer(base, samples, tmp_path):
    """Builds a trainer with fresh weights; dropout and shuffling draw from the global random streams."""
    from transformers import Trainer, TrainingArguments

    from keepsight.models import load

    def build(callbacks=(), *, peft=False, **settings):
        torch.manual_seed(0)
        model = load(str(base), device="cpu").unshared()
        module, processor = model.module, model.processor
        for part in module.modules():
            if hasattr(part, "attention_dropout"):
                part.attention_dropout = 0.2
        module.model.vision_tower.requires_grad_(False)
        if peft:
            from peft import LoraConfig, get_peft_model

            module = get_peft_model(
                module, LoraConfig(r=2, target_modules=r".*language_model.*q_proj", lora_dropout=0.1)
            )
        arguments = {
            "output_dir": str(tmp_path / "trainer"),
            "num_train_epochs": 2,
            "per_device_train_batch_size": 4,
            "learning_rate": 0.01,
            "logging_steps": 2,
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": True,
            "disable_tqdm": True,
            "remove_unused_columns": False,
            **settings,
        }
        return Trainer(
            model=module,
            args=TrainingArguments(**arguments),
            train_dataset=samples[:8],
            data_collator=lambda some: model.training_batch(some),
            processing_class=processor,
            callbacks=list(callbacks),
        )

    return build


def trained(trainer, **arguments):
    trainer.train(**arguments)
    return state_digest(trainer.model.state_dict())


def flags(model):
    return [(name, tensor.requires_grad) for name, tensor in model.named_parameters()], [
        part.training for part in model.modules()
    ]


def test_training_with_and_without_it_gives_the_same_bits_and_the_trackers_hear(trainer, tmp_path):
    plain, heard_plain = trainer(), []
    plain.add_callback(Spy(heard_plain))
    without = trained(plain)

    heard = []
    audited = trainer([Spy(heard)])
    callback = ForgettingCallback(suite(), tmp_path / "audit", tuned_on="shapes", max_time_share=1.0)
    assert callback.attach(audited) is callback
    assert trained(audited) == without
    assert flags(audited.model) == flags(plain.model)

    assert callback.matrix.rows == ("base", "epoch-1", "epoch-2")
    assert callback.matrix.meta["steps"] == {"base": 0, "epoch-1": 2, "epoch-2": 4}
    assert callback.matrix.meta["tuned_on"] == {"epoch-1": "shapes", "epoch-2": "shapes"}
    assert callback.best in callback.matrix.rows
    assert len({run.manifest["checkpoint_digest"] for run in callback.matrix.runs.values()}) == 3
    assert ks.load_matrix(tmp_path / "audit").rows == callback.matrix.rows

    told = [logs for logs in heard if "eval_audit_seconds" in logs]
    assert len(told) == 3 and "eval_shapes/share" in told[0] and "eval_gain" not in told[0]
    assert {"eval_letters/forgotten", "eval_letters/forgotten_low", "eval_forgetting", "eval_gain"} <= set(
        told[1]
    )
    losses = [logs["loss"] for logs in heard if "loss" in logs]
    assert losses == [logs["loss"] for logs in heard_plain if "loss" in logs] and len(losses) == 2
    assert all(
        "eval_audit_seconds" in row or "loss" in row or "train_loss" in row
        for row in audited.state.log_history
    )


def test_a_peft_model_is_audited_and_what_is_frozen_is_read_once(trainer, tmp_path, monkeypatch):
    without = trained(trainer(peft=True))
    read = []
    digest = module_under_test.state_digest
    monkeypatch.setattr(
        module_under_test, "state_digest", lambda state: read.append(len(state)) or digest(state)
    )
    callback = ForgettingCallback(suite(2)[:1], tmp_path / "audit", max_time_share=1.0)
    audited = trainer([callback], peft=True)  # only handed over: the figures are in the history alone
    assert trained(audited) == without
    assert callback.matrix.rows == ("base", "epoch-1", "epoch-2")
    runs = callback.matrix.runs.values()
    assert all(record.output.error is None for run in runs for record in run.records)
    assert len({run.manifest["checkpoint_digest"] for run in runs}) == 3
    assert len(read) == 4 and read[0] > 20 > max(read[1:])  # frozen once, then what learns
    assert sum("eval_audit_seconds" in row for row in audited.state.log_history) == 3


class Killed(Exception):
    pass


def killer(step):
    killing = Spy([])
    type(killing).on_step_end = lambda self, args, state, control, **_: _kill(state.global_step == step)
    return killing


def _kill(now):
    if now:
        raise Killed


def test_a_resumed_training_goes_on_with_its_rows(trainer, tmp_path, caplog):
    def callback(folder="audit"):
        return ForgettingCallback(suite(2), tmp_path / folder, max_time_share=1.0)

    whole = callback("whole")
    end = trained(trainer([whole], peft=True))
    with pytest.raises(Killed):
        trainer([callback(), killer(3)], peft=True, save_strategy="epoch").train()
    checkpoint = str(tmp_path / "trainer" / "checkpoint-2")
    resumed = callback()
    assert trained(trainer([resumed], peft=True), resume_from_checkpoint=checkpoint) == end
    assert resumed.matrix.rows == ("base", "epoch-1", "epoch-2") and not caplog.records
    assert {cell: run.manifest["fingerprint"] for cell, run in resumed.matrix.runs.items()} == {
        cell: run.manifest["fingerprint"] for cell, run in whole.matrix.runs.items()
    }

    # Rows beyond the step that training resumes from are of weights that no longer come; a new training starts anew.
    late = ForgettingCallback(suite(2), tmp_path / "audit")
    assert late._earlier_rows(2).rows == ("base", "epoch-1") and late._earlier_rows(0).rows == ()
    assert set(late._earlier_rows(2).meta["steps"]) == {"base", "epoch-1"}
    with pytest.raises(KeepsightError, match="of another audit"):
        ForgettingCallback(suite(2)[:1], tmp_path / "audit")._earlier_rows(2)


def test_weights_that_were_not_resumed_are_noticed(trainer, tmp_path, caplog):
    from transformers import TrainerControl, TrainerState

    first = ForgettingCallback(suite(1), tmp_path / "audit", max_time_share=1.0)
    audited = trainer([first])
    audited.train()
    second = ForgettingCallback(suite(1), tmp_path / "audit")
    state, control = TrainerState(global_step=4, max_steps=8, epoch=2.0), TrainerControl()
    given = {"model": audited.model, "processing_class": audited.processing_class}
    second.on_train_begin(audited.args, state, control, **given)
    assert second.matrix.rows == ("base", "epoch-1", "epoch-2") and not caplog.records
    with torch.no_grad():
        next(audited.model.model.language_model.parameters()).add_(1)
    second.on_train_begin(audited.args, state, control, **given)
    assert "not those that were audited as epoch-2 at step 4" in caplog.text

    late = ForgettingCallback(suite(1), tmp_path / "late")
    late.on_train_begin(audited.args, state, control, **given)
    assert late.matrix.rows == ("step-4",) and "compared with step 4" in caplog.text


def test_steps_are_counted_and_the_last_one_is_always_audited(trainer, tmp_path, caplog):
    always = ForgettingCallback(suite(1)[:1], tmp_path / "a", every=3, max_time_share=1.0)
    trainer([always]).train()
    assert always.matrix.rows == ("base", "step-3", "step-4")

    often = ForgettingCallback(suite(1)[:1], tmp_path / "c", every=2, max_time_share=1.0)
    logged = trainer()
    often.attach(logged)
    logged.train()
    steps = [row["step"] for row in logged.state.log_history if "loss" in row]
    assert steps == [2, 4]  # where both have something to say, both say it
    rarely = ForgettingCallback(suite(1)[:1], tmp_path / "b", every=1, max_time_share=1e-6)
    trainer([rarely]).train()
    assert rarely.matrix.rows == ("base", "step-4")
    (message,) = [
        record.getMessage() for record in caplog.records if "the next comes in about" in record.message
    ]
    assert "0 % are allowed" in message


class Weaker(Exact):
    """Right as long as the model is the base; wrong once it has learnt anything."""

    def __call__(self, samples, outputs):
        fallen = self.fallen
        self.fallen = True
        return [ks.Score(float(not fallen), answer="x") for _ in samples]


def test_shown_forgetting_stops_training_and_too_little_evidence_does_not(trainer, tmp_path):
    def stops_after(n):
        scorer = Weaker("label")
        scorer.fallen = False
        asked = [ks.Sample(f"s{i}", "What is it?", target=("circle",)) for i in range(n)]
        task = make_task(asked, name="t", infer=Fixed(), score=scorer)
        callback = ForgettingCallback([task], tmp_path / str(n), max_time_share=1.0, max_forgetting=0.1)
        trained_by = trainer([callback])
        trained_by.train()
        return callback.matrix.rows, trained_by.state.global_step

    assert stops_after(30) == (("base", "epoch-1"), 2)
    assert stops_after(3) == (("base", "epoch-1", "epoch-2"), 4)


def test_looking_often_is_paid_for(tmp_path):
    def beyond(earlier, lost=9):
        rows = {"base": 200, **{f"e{i}": 200 for i in range(earlier)}, "now": 200 - lost}
        runs = {
            (row, "t"): make_run([0.0] * (200 - right) + [1.0] * right, checkpoint=row)
            for row, right in rows.items()
        }
        callback = ForgettingCallback([make_task(name="t")], tmp_path, max_forgetting=0.01)
        callback.matrix = make_matrix(runs)
        return callback._is_beyond("now")

    assert beyond(earlier=0) and not beyond(earlier=8) and beyond(earlier=8, lost=30)
    learning = ForgettingCallback([make_task(name="t")], tmp_path, max_forgetting=0.01, tuned_on="t")
    learning.matrix = make_matrix({("base", "t"): make_run([1.0] * 50), ("now", "t"): make_run([0.0] * 50)})
    assert not learning._is_beyond("now")  # the tuned task may fall


class Fixed(Ask):
    def __call__(self, model, samples, *, batch_size=None):
        yield from ((i, Output("circle")) for i in range(len(samples)))


def test_a_failing_audit_costs_its_row_alone(trainer, tmp_path, monkeypatch, caplog):
    callback = ForgettingCallback(suite(1)[:1], tmp_path / "audit", max_time_share=1.0)
    real, calls = module_under_test.write_matrix, []

    def full_disk(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError("no space left on device")
        return real(*arguments)

    monkeypatch.setattr(module_under_test, "write_matrix", full_disk)
    audited = trainer([callback])
    audited.train()
    assert audited.state.global_step == 4 and len(calls) == 3
    assert "the audit of epoch-1 failed; training goes on" in caplog.text


def test_other_processes_ask_nothing_and_hear_the_first_ones_word(base, tmp_path, monkeypatch):
    from transformers import TrainerControl, TrainerState

    from keepsight.models import load

    model = load(str(base), device="cpu").module
    callback = ForgettingCallback(suite(1), tmp_path / "audit", max_time_share=1.0)
    state = TrainerState(is_world_process_zero=False, epoch=1.0, global_step=2, max_steps=4)
    control = TrainerControl()
    callback.on_train_begin(None, state, control, model=model)
    monkeypatch.setattr(module_under_test, "_agreed", lambda stop, args: not stop)
    callback.on_epoch_end(None, state, control, model=model)
    assert control.should_training_stop and callback.matrix.rows == () and not (tmp_path / "audit").exists()


def test_a_tokenizer_and_a_sharded_model_are_refused(base, tmp_path):
    from transformers import TrainerState

    from keepsight.models import load

    model = load(str(base), device="cpu").unshared()
    callback = ForgettingCallback(suite(1), tmp_path)
    with pytest.raises(KeepsightError, match="needs a processor, not"):
        callback.on_train_begin(
            None, TrainerState(), None, model=model.module, processing_class=model.processor.tokenizer
        )
    next(model.module.parameters()).ds_id = 0
    with pytest.raises(KeepsightError, match="sharded over processes"):
        callback.on_train_begin(
            None, TrainerState(), None, model=model.module, processing_class=model.processor
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": ["emt:none"]}, "no set 'none'"),
        ({"every": 0}, "every is 0"),
        ({"every": "step"}, "every is 'step'"),
        ({"max_time_share": 0}, "max_time_share is 0"),
        ({"max_forgetting": -1}, "max_forgetting is -1"),
        ({"tuned_on": "emt:cards"}, "tuned_on names 'emt:cards', which is not among the tasks"),
    ],
)
def test_wrong_settings_are_refused_before_training(settings, message):
    with pytest.raises(KeepsightError, match=message):
        ForgettingCallback(**{"tasks": ["emt:shapes"], **settings})


def test_the_module_is_put_back():
    layer = torch.nn.BatchNorm1d(2)
    layer.offsets = None
    mean = layer.running_mean
    before = torch.get_rng_state(), random.getstate()
    with pytest.raises(ValueError), undisturbed(layer):
        torch.rand(1), random.random()
        layer.register_buffer("running_mean", torch.ones(2))
        layer.register_buffer("grown", torch.ones(2))
        layer.offsets, layer.seen, layer.hooked = torch.ones(1), torch.ones(1), True
        raise ValueError
    assert layer.running_mean is mean and layer.offsets is None and layer.hooked
    assert not hasattr(layer, "seen") and not hasattr(layer, "grown")
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]


def test_the_budget_puts_audits_off_until_they_fit():
    now = [0.0]
    budget = Budget(0.1, clock=lambda: now[0])
    budget.start()
    with budget.measured():
        now[0] += 10
    assert not budget.allows() and budget.wait == pytest.approx(180)
    assert budget.puts_off() and not budget.puts_off()
    now[0] += 179
    assert not budget.allows()
    now[0] += 1
    assert budget.allows()
    with budget.measured():
        now[0] += 10
    assert budget.share == pytest.approx(0.1) and budget.puts_off()


def test_thawed_weights_are_read_again():
    layer = torch.nn.Linear(2, 2)
    layer.weight.requires_grad_(False)
    weights = module_under_test.Weights(layer)
    first = weights.digest()
    assert weights.digest() == first
    with torch.no_grad():
        layer.bias.add_(1)
    second = weights.digest()
    layer.weight.requires_grad_(True)
    third = weights.digest()
    with torch.no_grad():
        layer.weight.add_(1)
    assert len({first, second, third, weights.digest()}) >= 3 and weights.digest() != third


def table(**cells):
    """Rows base, a, b with the share right per column out of 10."""
    runs = {
        (row, col): make_run([1.0] * right + [0.0] * (10 - right), checkpoint=row)
        for col, rights in cells.items()
        for row, right in zip(("base", "a", "b"), rights)
    }
    return make_matrix(runs)


def test_the_trade_off_is_gain_minus_mean_loss():
    matrix = table(new=(0, 9, 10), old=(10, 9, 4), other=(5, 6, 5))
    drops = matrix.forgetting()
    assert trade_offs(matrix, drops, "new") == pytest.approx({"base": 0.0, "a": 0.9, "b": 0.7})
    assert trade_offs(matrix, drops, None) == pytest.approx({"a": 0.3, "b": 0.4 / 3})
    costly = table(new=(5, 6, 6), old=(10, 0, 1))
    values = trade_offs(costly, costly.forgetting(), "new")
    assert max(values, key=values.get) == "base"
    gone = table(new=(5, 6, 6), old=(10, 9, 1))
    del gone.runs["a", "old"]
    assert set(trade_offs(gone, gone.forgetting(), "new")) == {"base", "b"}


def test_the_figures_are_plain_json(tmp_path):
    matrix = table(new=(0, 9, 10), old=(10, 9, 4))
    matrix = ks.ResultMatrix(matrix.rows, matrix.cols, matrix.runs, {"trade_off": {"a": 0.8}})
    figures = module_under_test._figures(matrix, matrix.forgetting(), "a", "new")
    assert figures["eval_trade_off"] == 0.8 and figures["eval_gain"] == pytest.approx(0.9)
    assert figures["eval_forgetting"] == pytest.approx(0.1) and json.dumps(figures, allow_nan=False)
