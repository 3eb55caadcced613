"""The same code asks, ranks and trains other families, whatever their processors make of a picture."""

import pytest

from keepsight.models import load
from keepsight.models.anatomy import anatomy_of
from keepsight.types import Sample
from tests.models.conftest import answers, make_checkpoint, picture
from tests.tiny_families import FAMILIES

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fresh_registry")]


@pytest.fixture(scope="module")
def asked():
    """Pictures of several sizes and shapes, so that they take different numbers of tokens."""
    return [
        Sample(
            id=f"s{at}",
            prompt="What is the object?" + " Really?" * (at % 3),
            media=(picture(40 * at, (40 + 8 * at, 60 - 8 * at)),),
            target=("circle",),
            choices=("circle", "yellow star"),
        )
        for at in range(4)
    ]


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def directory(request, tmp_path_factory):
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FAMILIES[request.param](tmp_path_factory.mktemp(request.param))


def test_a_batch_answers_as_one_by_one(directory, asked):
    model = load(str(directory))
    together, alone = answers(model, asked, batch_size=4), answers(model, asked, batch_size=1)
    assert [output.text for output in together] == [output.text for output in alone]
    assert len({output.text for output in alone}) == 4
    assert len({output.usage["prompt_tokens"] for output in alone}) >= 3
    for left, right in zip(together, alone):
        assert left.token_logprobs == pytest.approx(right.token_logprobs, abs=1e-4)
    ranked = [dict(model.choice_logprobs(asked, batch_size=size)) for size in (8, 1)]
    for at in range(4):
        assert ranked[0][at] == pytest.approx(ranked[1][at], abs=1e-4)


def test_training_batches_fit_the_model(directory, asked):
    model = load(str(directory)).unshared()
    batch = model.training_batch(asked)
    learnt = [row[row != -100] for row in batch["labels"]]
    assert [model.processor.tokenizer.decode(row) for row in learnt] == ["circle</s>"] * 4
    whole = model.module(**batch).loss
    rows = [model.module(**model.training_batch([sample])).loss for sample in asked]
    assert float(whole.detach()) == pytest.approx(float(sum(rows).detach()) / 4, rel=1e-4)
    whole.backward()


def test_checkpoints_are_worn(directory, asked, tmp_path):
    language = anatomy_of(load(str(directory)).module).language
    saved = make_checkpoint(
        directory, tmp_path / "ck", "lora", seed=1, targets=rf"{language}\..*(q_proj|down_proj)"
    )
    base, tuned = load(str(directory)), load(f"{directory}+adapter:{saved}")
    plain = answers(base, asked)
    assert answers(tuned, asked) == answers(tuned.unshared(), asked) != plain
    assert answers(base, asked) == plain


def test_a_picture_that_a_family_refuses_fails_alone(tmp_path, asked):
    model = load(str(FAMILIES["qwen2_vl"](tmp_path)))
    thin = Sample("thin", "What is it?", (picture(0, (1, 900)),))
    outputs = answers(model, [asked[0], thin, asked[1]])
    assert (
        "sample thin" in outputs[1].error
        and "1x900" in outputs[1].error
        and "aspect ratio" in outputs[1].error
    )
    assert [outputs[0].text, outputs[2].text] == [output.text for output in answers(model, asked[:2])]
    assert answers(model, [thin])[0].error == outputs[1].error


def test_a_fault_that_is_no_picture_s_is_raised(tmp_path, asked, monkeypatch):
    from keepsight.models import prompts

    model = load(str(FAMILIES["idefics3"](tmp_path)))
    real = prompts.batch_inputs

    def fails_in_company(processor, texts, images):
        if len(texts) > 1:
            raise ValueError("shapes do not stack")
        return real(processor, texts, images)

    monkeypatch.setattr(prompts, "batch_inputs", fails_in_company)
    with pytest.raises(ValueError, match="do not stack"):
        answers(model, asked)
