"""A CLIP asked like a language model: restricted argmax, one embedding per picture, faults of one sample alone."""

import math

import numpy as np
import pytest

from keepsight.data.drawn import ALL_SETS
from keepsight.evaluate import evaluate
from keepsight.inference import RankChoices
from keepsight.models.clip import ZERO_SHOT, ClipModel, ZeroShotClip
from keepsight.models.tiny import tiny_directory
from keepsight.scoring.forgetting import pair_runs
from keepsight.store import Store
from keepsight.tasks.classification import closed_world
from keepsight.types import VLM, Media, RanksChoices, Sample
from tests.fake_vlm import FakeVLM
from tests.models.conftest import picture

pytestmark = pytest.mark.torch

SHAPES = ALL_SETS["shapes"]
LABELS = SHAPES.labels[:4]


@pytest.fixture(scope="module")
def clip():
    """The one that ships: a random one has the same vector for all texts."""
    return ClipModel(tiny_directory("clip"), "tiny", dtype="float32")


def asked(n=6, choices=LABELS):
    return [Sample(f"s{i}", "What?", (SHAPES.test(n)[i].media,), ("circle",), choices) for i in range(n)]


def counted(clip, monkeypatch):
    """How many pictures and texts were embedded from here on."""
    seen = {"pictures": 0, "texts": 0}
    images, texts = clip.embed_images, clip.embed_texts
    monkeypatch.setattr(
        clip, "embed_images", lambda m: (seen.update(pictures=seen["pictures"] + len(m)), images(m))[1]
    )
    monkeypatch.setattr(
        clip, "embed_texts", lambda t: (seen.update(texts=seen["texts"] + len(t)), texts(t))[1]
    )
    return seen


def test_it_chooses_as_classify_does(clip):
    model, samples = ZeroShotClip(clip), asked()
    assert isinstance(model, VLM) and isinstance(model, RanksChoices)
    expected = clip.classify([s.media[0] for s in samples], LABELS, ZERO_SHOT)
    outputs = dict(model.generate(samples))
    assert [outputs[i].text for i in range(6)] == [LABELS[i] for i in expected.argmax(axis=1)]
    assert np.allclose([np.exp(outputs[i].choice_logprobs) for i in range(6)], expected, atol=1e-5)
    assert dict(model.choice_logprobs(samples)) == {i: outputs[i].choice_logprobs for i in range(6)}


def test_the_answer_is_among_the_samples_own_choices(clip):
    model = ZeroShotClip(clip)
    (everything,) = (output for _, output in model.generate(asked(1)))
    assert len(set(everything.choice_logprobs)) == 4
    others = tuple(label for label in LABELS if label != everything.text)
    (restricted,) = (output for _, output in model.generate(asked(1, others)))
    second = sorted(zip(everything.choice_logprobs, LABELS))[-2][1]
    assert restricted.text == second and len(restricted.choice_logprobs) == 3


def test_batches_change_nothing_and_every_picture_is_embedded_once(clip, monkeypatch):
    seen, model = counted(clip, monkeypatch), ZeroShotClip(clip)
    samples = asked()
    one = dict(model.generate(samples, batch_size=2))
    assert seen == {"pictures": 6, "texts": 4}
    again = dict(model.generate([*samples, *asked(6, LABELS[:2])]))
    assert seen == {"pictures": 6, "texts": 4}
    other = dict(ZeroShotClip(clip).generate(samples))
    for i in range(6):
        assert one[i].text == again[i].text == other[i].text
        assert np.allclose(one[i].choice_logprobs, other[i].choice_logprobs, atol=1e-5)


def test_what_cannot_be_asked_is_an_error_of_its_own(clip):
    good = asked(2)
    bad = [
        Sample("text", "What?", (), choices=LABELS),
        Sample("none", "What?", (picture(1),)),
        Sample("two", "What?", (picture(1), picture(2)), choices=LABELS),
        Sample("broken", "What?", (Media(data=b"no picture"),), choices=LABELS),
    ]
    outputs = dict(ZeroShotClip(clip).generate([good[0], *bad, good[1]]))
    assert [outputs[i].error is None for i in range(6)] == [True, *[False] * 4, True]
    assert (
        "text has 0 pictures" in outputs[1].error and "none has 1 pictures and 0 choices" in outputs[2].error
    )
    logprobs = dict(ZeroShotClip(clip).choice_logprobs(bad[-1:]))[0]
    assert len(logprobs) == 4 and all(map(math.isnan, logprobs))


def test_the_digest_is_that_of_the_weights_and_the_template(clip):
    assert ZeroShotClip(clip).digest == ZeroShotClip(clip).digest != clip.digest
    assert ZeroShotClip(clip, "a drawing of a {label}").digest != ZeroShotClip(clip).digest


def test_it_becomes_a_run_that_pairs_with_a_models(clip, tmp_path):
    clip = ZeroShotClip(clip)
    task, store = closed_world("shapes", n=12), Store(tmp_path)
    run = evaluate(clip, task, store)
    pairing = pair_runs(run, evaluate(FakeVLM(), task, store))
    assert len(pairing.ids) == 12 and pairing.unpaired == 0 and set(pairing.current) == {1.0}
    assert run.headline.value > 0.8  # its labels are shapes, which it was taught
    ranked = [output.text for _, output in RankChoices()(clip, task.test())]
    assert ranked == [record.output.text for record in run.records]
    assert set(ranked) <= set(SHAPES.labels)
