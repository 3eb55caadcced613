"""Everything that should move moves, everything frozen stays bit for bit, and LoRA sits on the language model alone."""

from dataclasses import replace
from typing import get_args

import pytest

from keepsight.tune.config import GateScale, SFTConfig
from keepsight.tune.sft import sft
from keepsight.tune.trainable import choose_trained, trained_parameters
from keepsight.types import KeepsightError

pytestmark = pytest.mark.torch

QUICK = SFTConfig(num_train_epochs=1, per_device_train_batch_size=4, learning_rate=1e-2, warmup_ratio=0.0)
PROJECTOR, TOWER, LANGUAGE = "model.multi_modal_projector.", "model.vision_tower.", "model.language_model."


class Watched:
    """A model whose trained module can be looked at after tuning."""

    def __init__(self, model):
        self.model = model.unshared()
        self.before = {name: value.clone() for name, value in self.model.module.state_dict().items()}

    def __getattr__(self, name):
        return getattr(self.model, name)

    def unshared(self):
        return self.model

    def moved(self):
        now = {name.replace(".base_layer.", "."): v for name, v in self.model.module.state_dict().items()}
        return {name for name, value in self.before.items() if not value.equal(now[name])}


@pytest.fixture
def watched(model):
    return Watched(model)


def test_linear_moves_the_projector_and_nothing_else(watched, samples, tmp_path):
    sft(watched, samples, QUICK, tmp_path)
    assert watched.moved() == {name for name in watched.before if name.startswith(PROJECTOR)}


@pytest.mark.parametrize("method", ["lora", "moelora"])
def test_lora_moves_projector_and_adapter_and_nothing_else(watched, samples, tmp_path, method):
    sft(watched, samples, replace(QUICK, method=method), tmp_path)
    assert watched.moved() == {name for name in watched.before if name.startswith(PROJECTOR)}
    lora = {name: value for name, value in watched.module.named_parameters() if "lora_" in name}
    assert lora and all(value.abs().sum() > 0 for value in lora.values())  # lora_B starts at zero
    assert len(lora) == 14 * (3 if method == "moelora" else 2)


@pytest.mark.parametrize("frozen", [True, False])
def test_full_moves_everything_but_a_frozen_tower(watched, samples, tmp_path, frozen):
    sft(watched, samples, replace(QUICK, method="full", freeze_vision_tower=frozen), tmp_path)
    still = set(watched.before) - watched.moved()
    tower = {name for name in watched.before if name.startswith(TOWER)}
    if frozen:
        assert still == tower
    else:  # the layers after the one whose features are used, and their norm, get no gradient
        assert still < tower and all(".layers.1." in name or "post_layernorm" in name for name in still), (
            still
        )


def test_lora_adapts_every_linear_layer_of_the_language_model_alone(model):
    import torch

    module = model.unshared().module
    linears = {
        n
        for n, layer in module.named_modules()
        if isinstance(layer, torch.nn.Linear) and n.startswith(LANGUAGE)
    }
    choose_trained(module, SFTConfig(method="lora"))
    adapted = {name.partition(".lora_A")[0] for name in trained_parameters(module) if ".lora_A" in name}
    assert adapted == linears and len(linears) == 14


def test_trained_tensors_are_float32_in_a_half_precision_model(base):
    import torch

    from keepsight.models import load

    module = load(str(base), device="cpu", dtype="bfloat16").unshared().module
    choose_trained(module, SFTConfig(method="lora", bf16=True))
    assert {p.dtype for p in trained_parameters(module).values()} == {torch.float32}
    assert module.get_input_embeddings().weight.dtype == torch.bfloat16


@pytest.mark.parametrize(("below", "above"), [("lora", "moelora"), ("moelora", "lora")])
def test_lora_goes_on_top_of_a_worn_lora(base, model, samples, tmp_path, below, above):
    from keepsight.models import load

    (first,) = sft(model, samples, replace(QUICK, method=below), tmp_path / "first")
    worn = load(f"{base}+adapter:{first}", device="cpu").unshared()
    choose_trained(worn.module, SFTConfig(method=above))
    layer = worn.module.get_submodule(f"{LANGUAGE}layers.0.self_attn.q_proj")
    assert len(layer.active_adapters) == 2 and not layer.disable_adapters
    assert len(layer.lora_router) == len(layer.lora_variant) == 1
    assert all(".default." in name or name.startswith(PROJECTOR) for name in trained_parameters(worn.module))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"lora_r": 12}, "lora_r 12 cannot be cut into num_experts 8: give a multiple of it"),
        ({"num_experts": 0}, "num_experts must be at least 1, not 0"),
        ({"gate_scale": "N"}, r"gate_scale 'N' is none of softmax, softmax\*N"),
    ],
)
def test_experts_that_cannot_be_are_refused(settings, told):
    with pytest.raises(KeepsightError, match=told):
        SFTConfig(method="moelora", **settings)


def test_the_settings_of_the_gate_are_the_adapters():
    from keepsight.models.moelora import GATE_SCALES

    assert get_args(GateScale) == GATE_SCALES
    assert SFTConfig(lora_r=12).num_experts == 8, "what is not used need not fit"
