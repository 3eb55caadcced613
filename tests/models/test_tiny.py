"""Packing and unpacking, on random models of the same classes."""

import shutil

import pytest

from keepsight.models import load, load_embedder
from keepsight.models.hf import HFModel
from keepsight.models.tiny import TinySource
from keepsight.models.tiny.pack import export_tiny, pack_tiny
from keepsight.types import KeepsightError
from tests.models.conftest import answers, assert_same_answers, make_checkpoint
from tests.tiny_llava import make_tiny_clip, make_tiny_encoder, make_tiny_llava

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fresh_registry")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    clip = make_tiny_clip(root / "clip", seed=3)
    return make_tiny_llava(root / "llava", clip_dir=clip), clip, make_tiny_encoder(root / "ssl")


@pytest.fixture(scope="module", params=["float32", "float16"])
def packed(request, trained, tmp_path_factory):
    return pack_tiny(*trained, tmp_path_factory.mktemp("packed") / request.param, dtype=request.param)


@pytest.fixture
def installed(packed, monkeypatch):
    """The packed files where `tiny` finds them."""
    from keepsight.models import embedders, tiny

    monkeypatch.setattr(tiny, "tiny_directory", lambda part="": packed / part)
    monkeypatch.setattr(embedders, "tiny_directory", lambda part="": packed / part)
    return packed


def logits(model, samples):
    import torch

    batch = model.training_batch(samples[:4])
    batch.pop("labels")
    with torch.no_grad():
        return model.module(**batch).logits


def test_packed_and_loaded_gives_the_same_logits(packed, trained, samples):
    import torch

    original, loaded = load(str(trained[0])), HFModel(TinySource(packed))
    assert loaded.module.dtype == torch.float32
    tolerance = 0.0 if packed.name == "float32" else 0.02
    assert torch.allclose(logits(loaded, samples), logits(original, samples), rtol=0, atol=tolerance)
    assert loaded.module.lm_head.weight is loaded.module.model.language_model.embed_tokens.weight


def test_the_tower_is_stored_once(packed):
    from safetensors import safe_open

    with safe_open(packed / "llava" / "model.safetensors", "pt") as file:
        names = list(file.keys())
    assert not any("vision" in name for name in names)
    assert "lm_head.weight" not in names or "model.language_model.embed_tokens.weight" not in names


def test_the_ref_goes_the_way_of_all_models(installed, samples, tmp_path):
    model = load("tiny")
    assert isinstance(model, HFModel) and model.name == "tiny"
    said = answers(model, samples)
    tuned = load("tiny+adapter:" + str(make_checkpoint("tiny", tmp_path / "ck", "lora", seed=1)))
    assert answers(tuned, samples) != said
    assert answers(load("tiny"), samples) == said
    assert tuned.base is model.base
    assert tuned.digest != model.digest


def test_it_can_be_exported_as_an_ordinary_directory(installed, samples, tmp_path):
    export_tiny(tmp_path / "out")
    ordinary = load(f"hf:{tmp_path / 'out'}")
    assert_same_answers(answers(ordinary, samples), answers(load("tiny"), samples))


def test_a_full_checkpoint_of_it_is_an_ordinary_directory_too(installed, samples, tmp_path):
    tuned = make_checkpoint("tiny", tmp_path / "ck", "full", seed=1)
    assert_same_answers(answers(load(f"tiny+adapter:{tuned}"), samples), answers(load(str(tuned)), samples))


def test_its_clip_embeds_texts_and_its_files_are_its_digest(installed, tmp_path):
    embedder = load_embedder("tiny")
    assert embedder.embed_texts(["a circle", "a square"]).shape == (2, 16)
    digests = {load("tiny").digest}
    copy = shutil.copytree(installed, tmp_path / "copy")
    for path in (*(copy / "llava").iterdir(), *(copy / "clip").iterdir()):
        before = path.read_bytes()
        path.write_bytes(before + b"\n")
        digests.add(TinySource(copy).digest)
        path.write_bytes(before)
    assert len(digests) == 1 + len(list((copy / "llava").iterdir())) + len(list((copy / "clip").iterdir()))


@pytest.mark.parametrize("part", ["llava", "clip"])
def test_a_damaged_pack_names_the_tensor(packed, tmp_path, part):
    from safetensors.torch import load_file, save_file

    damaged = shutil.copytree(packed, tmp_path / "damaged")
    path = damaged / part / "model.safetensors"
    tensors = load_file(path)
    gone = next(name for name in sorted(tensors) if "layers.1.mlp" in name and "text_model" not in name)
    del tensors[gone]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(KeepsightError, match=gone.removeprefix("vision_model.")):
        TinySource(damaged).load_module("cpu")


def test_what_cannot_be_packed_is_refused(trained, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    other = make_tiny_llava(tmp_path / "other", seed=8)
    with pytest.raises(KeepsightError, match=r"tower .* differ in embeddings"):
        pack_tiny(other, trained[1], trained[2], tmp_path / "out")
    large = shutil.copytree(trained[0], tmp_path / "large")
    tensors = load_file(large / "model.safetensors")
    name = "multi_modal_projector.linear_1.bias"
    tensors[name] = torch.full_like(tensors[name], 1e6)
    save_file(tensors, large / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(KeepsightError, match=r"linear_1\.bias exceeds the range of float16"):
        pack_tiny(large, trained[1], trained[2], tmp_path / "out2")


def test_without_weights_the_package_says_so(monkeypatch, tmp_path):
    from keepsight.models import tiny

    monkeypatch.setattr(tiny, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(KeepsightError, match="not installed"):
        load("tiny")


def test_an_exported_directory_can_be_read_by_whoever_reads_its_config(installed, tmp_path):
    exported = export_tiny(tmp_path / "exported")
    assert len({file.stat().st_mode for file in exported.iterdir()}) == 1
