"""The objective is compared on the same pictures and steps; a tuning that failed proves nothing."""

import json
import math
from dataclasses import replace
from importlib import import_module

import pytest

from keepsight.diagnose import QUESTIONS, Study
from keepsight.diagnose.objective import RECIPES, Recipe, _Tuned, objective
from keepsight.store import Store
from keepsight.tune.config import SFTConfig
from keepsight.types import KeepsightError
from tests.diagnose.fake_states import THINGS, FakeEncoder, FakeStates, Few
from tests.fake_vlm import FakeVLM

SETTINGS = {"num_train_epochs": 2, "per_device_train_batch_size": 8, "save_steps": 0}
RECIPE = Recipe(
    SFTConfig(method="linear", learning_rate=1e-3, **SETTINGS),
    SFTConfig(method="lora", learning_rate=1e-3, lora_r=2, lora_alpha=4, **SETTINGS),
    head_learning_rate=0.1,
)


class Taught(Few):
    """24 pictures to learn from and validate by."""

    def train(self, n=None, seed=0):
        return THINGS.train(24, seed)


@pytest.fixture(scope="module")
def study(tmp_path_factory, tiny_llava):
    from keepsight.models import load

    store = Store(tmp_path_factory.mktemp("objective"))
    model = load(str(tiny_llava), device="cpu")
    return Study(model, Taught(), store, n=12, n_validation=4, clip=FakeEncoder())


@pytest.mark.torch
def test_same_pictures_same_steps_and_nothing_twice(study, monkeypatch):
    module = import_module("keepsight.diagnose.objective")  # the function has its name, too
    steps = []
    real = module.fit_adam
    monkeypatch.setattr(
        module,
        "fit_adam",
        lambda x, *rest, **settings: steps.append((len(x), settings)) or real(x, *rest, **settings),
    )
    found = objective(study, recipe=RECIPE)
    ((n, settings),) = steps
    head_steps = settings["epochs"] * math.ceil(n / settings["batch_size"])
    logs = sorted(study.work.glob("objective/*/train_log.jsonl"))
    assert len(logs) == 2 and n == 20
    for log in logs:
        assert len(log.read_text().splitlines()) == head_steps == 6
    for config in study.work.glob("objective/*/tune.json"):
        assert json.loads(config.read_text())["samples"] == n
    figures = {figure.name: figure for figure in found.figures}
    assert {"accuracy, projector", "strict accuracy, projector", "accuracy, projector + LoRA"} <= set(figures)
    assert all(figure.n == 12 for figure in found.figures)
    assert found.verdict == "no_evidence", "the loss of a few steps has not fallen"
    assert any("hardly fell" in note for note in found.notes)
    monkeypatch.setattr(type(study.model), "generate", lambda *_, **__: pytest.fail("asked again"))
    assert objective(study, recipe=RECIPE).figures == found.figures


@pytest.mark.torch
def test_a_tuning_that_diverges_is_counted_and_said(study, monkeypatch):
    wild = replace(RECIPE, lora=replace(RECIPE.lora, learning_rate=1e25, max_grad_norm=0.0))
    found = objective(study, recipe=wild)
    figure = {figure.name: figure for figure in found.figures}["accuracy, projector + LoRA"]
    assert math.isnan(figure.value) and figure.n == 0 and figure.not_ok == {"error": 12}
    assert any(note.startswith("projector + LoRA: diverged (step") for note in found.notes)
    assert math.isnan(found.plots[1].lines[1].y[-1])


def test_a_loss_must_fall_to_mean_something():
    run = object()
    for losses, fitted in [
        ([2.0] * 20, False),
        ([2.0] * 10 + [0.9] * 10, True),
        ([1.0] * 10 + [0.6] * 10, False),
        ([0.01] * 20, True),
    ]:
        assert _Tuned(tuple(losses), run, 0.5).fitted == fitted
    assert not _Tuned((2.0, 0.1), None, -1.0).fitted


def test_the_recipes_are_the_paper_s_and_a_small_one():
    paper = RECIPES["paper"]
    for config in (paper.projector, paper.lora):
        assert config.num_train_epochs == 50 and config.per_device_train_batch_size == 64
        assert config.warmup_ratio == 0.03
    assert paper.projector.learning_rate == paper.lora.projector_learning_rate == 2e-5
    assert (paper.lora.learning_rate, paper.lora.lora_r, paper.lora.lora_alpha) == (2e-4, 128, 256)


@pytest.mark.parametrize(
    "settings, fault",
    [
        ({"recipe": "large"}, "'large' is unknown; give auto, paper or small"),
        ({}, "fake cannot be tuned in a copy"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, settings, fault):
    study = Study(FakeStates(), Taught(), Store(tmp_path), n=12, n_validation=4, clip=FakeEncoder())
    with pytest.raises(KeepsightError, match=fault):
        objective(study, **settings)


def test_it_is_a_question():
    assert QUESTIONS["objective"] is objective


@pytest.mark.parametrize(
    ("name", "epochs", "rate"),
    [("tiny", 20, 2e-3), ("tiny+adapter:out/epoch-1", 20, 2e-3), ("hf:tiny", 50, 2e-5), ("fake", 50, 2e-5)],
)
def test_the_embedded_model_has_a_recipe_of_its_own(tmp_path, monkeypatch, name, epochs, rate):
    seen = []

    def of(study, recipe):
        seen.append(recipe.projector)
        raise KeepsightError("enough")

    monkeypatch.setattr(import_module("keepsight.diagnose.objective")._Course, "of", of)
    with pytest.raises(KeepsightError, match="enough"):
        objective(Study(FakeVLM(name), Taught(), Store(tmp_path)))
    assert (seen[0].num_train_epochs, seen[0].learning_rate) == (epochs, rate)
