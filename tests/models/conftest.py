"""Pictures, questions and checkpoints for the model tests."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import pytest

from keepsight.types import Media, Sample


def picture(shade: int, size=(40, 48)) -> Media:
    from PIL import Image

    buffer = BytesIO()
    Image.linear_gradient("L").resize(size).point(lambda value: (value * 3 + shade) % 256).save(buffer, "PNG")
    return Media(data=buffer.getvalue())


@pytest.fixture(scope="session")
def samples() -> list[Sample]:
    """Eight questions of four lengths over five pictures, one of them without a picture."""
    asked = [
        Sample(
            id=f"s{at}",
            prompt="What is the object in the image?" + " Please answer." * (at % 4),
            media=(picture(40 * (at % 5)),),
            target=("circle",),
            choices=("circle", "square", "yellow star"),
        )
        for at in range(7)
    ]
    return [*asked, Sample("text", "Is a cat an animal?", target=("Yes.",), choices=("yes", "no"))]


@pytest.fixture(scope="session")
def broken() -> Sample:
    return Sample("broken", "What is it?", (Media(data=b"not a picture"),), choices=("a", "b"))


def answers(model, samples, **settings) -> list:
    """What the model said, in sample order: text, tokens and their log-probabilities."""
    settings = {"max_new_tokens": 6, **settings}
    outputs = dict(model.generate(samples, **settings))
    assert sorted(outputs) == list(range(len(samples)))
    return [outputs[at] for at in range(len(samples))]


def assert_same_answers(one, other) -> None:
    """Equal word for word; where weights lie in memory moves a log-probability's last digit on some processors."""
    assert [replace(output, token_logprobs=None) for output in one] == [
        replace(output, token_logprobs=None) for output in other
    ]
    for first, second in zip(one, other):
        assert first.token_logprobs == pytest.approx(second.token_logprobs, abs=1e-5)


@pytest.fixture
def fresh_registry(monkeypatch):
    """No base and no features in memory from earlier tests, and none left for later ones."""
    from collections import OrderedDict

    from keepsight.models import bases, tower_cache

    monkeypatch.setattr(tower_cache, "_shared", tower_cache.FeatureStore(tower_cache.DEFAULT_LIMIT))
    monkeypatch.setattr(bases, "_bases", OrderedDict())


@pytest.fixture(scope="session")
def checkpoints(tiny_llava, tmp_path_factory):
    """Directories of two LoRA checkpoints (of different rank) and a linear one, changed at random."""
    root = tmp_path_factory.mktemp("checkpoints")
    return {
        "lora": make_checkpoint(tiny_llava, root / "lora", "lora", seed=1),
        "lora2": make_checkpoint(tiny_llava, root / "lora2", "lora", seed=2, r=8),
        "linear": make_checkpoint(tiny_llava, root / "linear", "linear", seed=3),
        "full": make_checkpoint(tiny_llava, root / "full", "full", seed=4),
    }


def make_checkpoint(
    base,
    directory,
    method,
    *,
    seed,
    r=4,
    targets=r".*language_model.*(q_proj|down_proj)",
    num_experts=None,
    even=False,
):
    """A checkpoint changed at random; `even`: a MoELoRA whose gates do not choose."""
    import torch

    from keepsight.models import load, save_checkpoint

    model = load(str(base)).unshared()
    module = model.module
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        if method == "lora":
            from peft import LoraConfig, inject_adapter_in_model

            inject_adapter_in_model(LoraConfig(r=r, target_modules=targets, init_lora_weights=False), module)
        if method == "moelora":
            from peft import inject_adapter_in_model

            from keepsight.models.moelora import MoELoraConfig

            settings = {"r": r, "target_modules": targets, "num_experts": num_experts}
            inject_adapter_in_model(MoELoraConfig(**settings, init_lora_weights=False), module)
        for name, parameter in module.named_parameters():
            if "projector" in name or (method == "full" and "language_model" in name):
                parameter.add_(0.3 * torch.randn_like(parameter))
            if "lora_router" in name:
                parameter.mul_(0.0 if even else 3.0)
    return save_checkpoint(
        model, directory, method=method, epoch=1, step=10, config={"r": r}, data_digest="d"
    )
