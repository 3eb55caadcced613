"""Equivalences first: neither batch, company, padding, cache nor order may change an answer."""

import math
from dataclasses import replace

import pytest

from keepsight.models import load
from keepsight.models.lanes import Lanes
from keepsight.types import VLM, KeepsightError, RanksChoices, Sample, Trainable
from tests.models.conftest import answers, picture

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def model(tiny_llava):
    return load(str(tiny_llava), device="cpu")


def same(left, right) -> bool:
    """Equal but for the last bits of log-probabilities, where the shape of a batch shows."""
    return all(
        replace(a, token_logprobs=None) == replace(b, token_logprobs=None)
        and a.token_logprobs == pytest.approx(b.token_logprobs, abs=1e-4)
        for a, b in zip(left, right, strict=True)
    )


def test_it_has_the_capabilities(model):
    assert isinstance(model, VLM) and isinstance(model, RanksChoices) and isinstance(model, Trainable)


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.0, "top_p": 0.9, "seed": 7}])
def test_a_batch_answers_as_one_by_one(model, samples, settings):
    alone = answers(model, samples, batch_size=1, **settings)
    assert len({output.text for output in alone}) > 4, "the model tells the pictures apart"
    assert same(answers(model, samples, batch_size=3, **settings), alone)
    assert same(answers(model, samples[::-1], **settings)[::-1], alone)


def test_the_same_questions_twice_give_the_same_bits(model, samples):
    assert answers(model, samples) == answers(model, samples)


def test_greedy_decoding_is_the_argmax_of_an_uncached_forward(model, samples):
    import torch

    from keepsight.models.prompts import batch_inputs, pictures, render

    for output, sample in zip(answers(model, samples[:3]), samples):
        inputs = batch_inputs(model.processor, [render(model.processor, sample)], [pictures(sample)])
        ids = list(inputs.pop("input_ids")[0])
        with torch.no_grad():
            for token, logprob in zip(output.token_ids, output.token_logprobs):
                now = {**inputs, "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
                logits = model.module(input_ids=torch.tensor([ids]), **now).logits[0, -1]
                logits[list(model.base.vocabulary.forbidden)] = -torch.inf
                assert int(logits.argmax()) == token
                assert float(logits.log_softmax(-1)[token]) == pytest.approx(logprob, abs=1e-4)
                ids.append(token)


def test_what_comes_with_an_output(model, samples):
    output = answers(model, samples)[0]
    assert output.text == model.processor.tokenizer.decode(output.token_ids, skip_special_tokens=True).strip()
    assert len(output.token_ids) == len(output.token_logprobs) == output.usage["completion_tokens"]
    prompt = model.training_batch(samples[:1])["labels"][0]
    assert output.usage["prompt_tokens"] == int((prompt == -100).sum())
    assert all(value < 0 for value in output.token_logprobs)


def test_an_answer_stops_at_the_end_token_or_at_the_limit(model, samples):
    end = model.base.vocabulary.end
    for output in answers(model, samples, max_new_tokens=40, temperature=3.0):
        assert (output.stop == "eos") == (output.token_ids[-1] in end)
        assert not set(output.token_ids[:-1]) & end
        assert output.stop == "eos" or len(output.token_ids) == 40
        assert not set(output.token_ids) & set(model.base.vocabulary.forbidden)


def test_every_sample_has_a_random_stream_of_its_own(model, samples):
    hot = {"temperature": 1.5, "max_new_tokens": 8}
    first = answers(model, samples, seed=1, **hot)
    assert same(answers(model, samples[2:5], seed=1, **hot), first[2:5]), "a resumed run equals a fresh one"
    assert not same(answers(model, samples, seed=2, **hot), first)
    twins = [replace(samples[0], id="x"), replace(samples[0], id="y")]
    x, y = answers(model, twins, seed=1, **hot)
    assert x.text != y.text


@pytest.mark.parametrize(
    ("temperature", "top_p", "expected"),
    [
        (1.0, 0.7, [0.0, 4 / 7, 0.0, 3 / 7, 0.0]),  # the smallest set that holds 70 %, renormalised
        (0.5, 1.0, [0.01 / 0.285, 0.16 / 0.285, 0.0025 / 0.285, 0.09 / 0.285, 0.0225 / 0.285]),  # squared
    ],
)
def test_sampling_follows_the_models_distribution(temperature, top_p, expected):
    """A chi-square of 2,000 draws against what temperature and nucleus make of a known distribution."""
    import torch
    from scipy.stats import chisquare

    from keepsight.models.decoding import Choice, Decoding, Vocabulary

    n = 2000
    logits = torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15]).log().repeat(n, 1)
    decoding = Decoding(temperature=temperature, top_p=top_p)
    choice = Choice(decoding, Vocabulary(frozenset({0}), 0, ()), [str(at) for at in range(n)])
    drawn = choice(None, logits).argmax(dim=-1).bincount(minlength=5).tolist()
    assert all(count == 0 for count, share in zip(drawn, expected) if share == 0)
    likely = [at for at, share in enumerate(expected) if share > 0]
    assert chisquare([drawn[at] for at in likely], [n * expected[at] for at in likely]).pvalue > 0.001
    assert set(choice.logprobs[0].exp().mul(100).round().int().tolist()) <= {10, 40, 5, 30, 15}, (
        "at temperature 1"
    )


def test_a_broken_picture_is_one_error(model, samples, broken):
    outputs = answers(model, [samples[0], broken, samples[1]])
    assert outputs[1].error is not None and outputs[1].text == ""
    assert same([outputs[0], outputs[2]], answers(model, samples[:2]))


def test_marks_place_pictures(model, samples):
    one, two = picture(1), picture(90)
    front = Sample("front", "What is it?", (one, two))
    marked = replace(front, prompt="<image>\n<image>\nWhat is it?")
    middle = replace(front, prompt="<image> or <image>?")
    left, right, other = answers(model, [front, marked, middle])
    assert left == right
    assert other.error is None
    wrong, injected = answers(
        model, [replace(front, prompt="<image> alone"), replace(front, prompt="<image>" * 3)]
    )
    assert "1 <image> marks for 2 pictures" in wrong.error and "3 <image>" in injected.error


def test_memory_running_out_halves_the_batch(model, samples, monkeypatch):
    import torch

    monkeypatch.setattr(model.base, "lanes", lambda: Lanes(model.base.module))
    samples = [sample for sample in samples if sample.media]
    whole = answers(model, samples)
    sizes = []
    decode = model._decode

    def small(decoding, module, question):
        sizes.append(len(question.asked))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(decoding, module, question)

    monkeypatch.setattr(model, "_decode", small)
    assert same(answers(model, samples, batch_size=8), whole)
    assert sizes == [7, 3, 1, 1, 1, 1, 1, 1, 1]

    monkeypatch.setattr(model, "_decode", lambda *rest: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    assert answers(model, samples[:1])[0].error.startswith("out of memory")


def test_logits_that_are_not_numbers_are_an_error_of_that_sample(model, samples, monkeypatch):
    import torch

    head = model.module.lm_head
    whole = answers(model, samples[:3], batch_size=3)
    hook = head.register_forward_hook(
        lambda layer, given, out: out.index_fill(0, torch.tensor([1]), float("nan"))
    )
    try:
        outputs = answers(model, samples[:3], batch_size=3)
    finally:
        hook.remove()
    failed = [output.error is not None for output in outputs]
    assert sum(failed) == 1 and "nan" in outputs[failed.index(True)].error
    assert all(got == expected for got, expected, bad in zip(outputs, whole, failed) if not bad)


def test_other_errors_are_not_swallowed(model, samples, monkeypatch):
    def wrong(*rest):
        raise RuntimeError("a bug")

    monkeypatch.setattr(model, "_decode", wrong)
    with pytest.raises(RuntimeError, match="a bug"):
        answers(model, samples)


def test_generation_config_files_do_not_reach_in(tiny_llava, samples, tmp_path):
    """A checkpoint that asks for sampling and a repetition penalty is still asked greedily, and put back after."""
    module = load(str(tiny_llava)).unshared()
    plain = answers(module, samples[:2])
    own = module.module.generation_config
    own.update(do_sample=True, temperature=2.0, repetition_penalty=3.0, num_beams=2, max_length=3)
    assert answers(module, samples[:2]) == plain
    assert module.module.generation_config is own


def test_a_module_in_peft_s_wrapper_is_asked_as_it_is(tiny_llava, samples):
    from peft import LoraConfig, get_peft_model

    bare = load(str(tiny_llava)).unshared()
    config = LoraConfig(r=2, target_modules=r".*language_model.*q_proj", init_lora_weights=False)
    wrapped = load((get_peft_model(bare.module, config), bare.processor))
    bare.module.generation_config.repetition_penalty = 3.0
    assert answers(wrapped, samples) == answers(bare, samples), "the layers are in the module itself"


def test_asking_in_mid_training_changes_nothing(tiny_llava, samples):
    model = load(str(tiny_llava)).unshared()
    plain = answers(model, samples[:3])
    model.module.train()
    model.module.model.vision_tower.eval()
    model.module.requires_grad_(True)
    model.module.lm_head.requires_grad_(False)
    modes = [part.training for part in model.module.modules()]
    flags = [parameter.requires_grad for parameter in model.module.parameters()]
    assert answers(model, samples[:3]) == plain
    assert modes == [part.training for part in model.module.modules()]
    assert flags == [parameter.requires_grad for parameter in model.module.parameters()]


# choices


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_choices_in_a_batch_equal_one_by_one(model, samples, reduction):
    together = dict(model.choice_logprobs(samples, reduction=reduction, batch_size=5))
    alone = dict(model.choice_logprobs(samples, reduction=reduction, batch_size=1))
    assert sorted(together) == list(range(len(samples)))
    for at, sample in enumerate(samples):
        assert together[at] == pytest.approx(alone[at], abs=1e-4)
        assert len(together[at]) == len(sample.choices)


def test_choice_logprobs_against_a_plain_forward(model, samples):
    import torch

    sample = samples[1]
    prompt = "<s>USER: <image>\n" + sample.prompt + " ASSISTANT:"
    for choice, got in zip(sample.choices, dict(model.choice_logprobs([sample]))[0]):
        from keepsight.models.prompts import pictures

        asked = model.processor(
            text=prompt, images=pictures(sample), return_tensors="pt", add_special_tokens=False
        )
        answer = model.processor.tokenizer(" " + choice, add_special_tokens=False)["input_ids"]
        ids = torch.cat([asked["input_ids"], torch.tensor([answer])], dim=1)
        with torch.no_grad():
            logits = model.module(input_ids=ids, pixel_values=asked["pixel_values"]).logits[0]
        steps = logits.log_softmax(-1)[-len(answer) - 1 : -1]
        expected = sum(float(steps[at, token]) for at, token in enumerate(answer))
        assert got == pytest.approx(expected, abs=1e-4)
        mean = dict(model.choice_logprobs([replace(sample, choices=(choice,))], reduction="mean"))[0][0]
        assert mean == pytest.approx(expected / len(answer), abs=1e-4)


def test_choices_that_cannot_be_ranked(model, samples, broken):
    with pytest.warns(UserWarning, match="cannot decode"):
        found = dict(model.choice_logprobs([samples[0], broken, Sample("none", "?")]))
    assert all(math.isfinite(value) for value in found[0])
    assert len(found[1]) == 2 and all(math.isnan(value) for value in found[1])
    assert found[2] == ()
    with pytest.raises(KeepsightError, match="reduction"):
        list(model.choice_logprobs(samples, reduction="max"))


# training batches


def test_only_the_answer_and_its_end_are_learnt(model, samples):
    batch = model.training_batch(samples)
    assert batch["labels"].shape == batch["input_ids"].shape == batch["attention_mask"].shape
    for row, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"]):
        learnt = labels != -100
        assert (row[learnt] == labels[learnt]).all()
        assert mask[learnt].all()
        text = model.processor.tokenizer.decode(labels[learnt])
        assert text in (" circle</s>", " Yes.</s>")
    assert set(batch) == {"input_ids", "attention_mask", "pixel_values", "labels"}


def test_the_prompt_learnt_after_is_the_prompt_asked(model, samples):
    """Training and asking tokenise alike: the unlearnt tokens are exactly what generation starts from."""
    from keepsight.models.prompts import batch_inputs, pictures, render

    for sample in samples:
        asked = batch_inputs(model.processor, [render(model.processor, sample)], [pictures(sample)])[
            "input_ids"
        ][0]
        batch = model.training_batch([sample])
        assert batch["input_ids"][0][batch["labels"][0] == -100].tolist() == asked.tolist()


def test_the_loss_of_a_batch_is_that_of_its_rows(model, samples):
    import torch

    def loss(batch):
        with torch.no_grad():
            logits = model.module(**{k: v for k, v in batch.items() if k != "labels"}).logits[:, :-1]
        return torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), batch["labels"][:, 1:].flatten(), reduction="sum"
        )

    whole = loss(model.training_batch(samples))
    rows = sum(loss(model.training_batch([sample])) for sample in samples)
    assert float(whole) == pytest.approx(float(rows), rel=1e-5)


def test_image_tokens_are_never_cut(model, samples):
    sample = replace(samples[0], target=("circle square triangle star",))
    full = model.training_batch([sample])
    prompt = int((full["labels"] == -100).sum())
    cut = model.training_batch([sample], max_length=prompt + 2)
    assert cut["input_ids"].shape[1] == prompt + 2
    assert (cut["input_ids"][0] == full["input_ids"][0][: prompt + 2]).all()
    with pytest.raises(KeepsightError, match=f"sample {sample.id}.*max_length"):
        model.training_batch([sample], max_length=prompt)


def test_a_sample_that_cannot_be_learnt_is_named(model, samples, broken):
    with pytest.raises(KeepsightError, match="sample none has no target"):
        model.training_batch([replace(samples[0], id="none", target=())])
    with pytest.raises(KeepsightError, match="cannot decode"):
        model.training_batch([replace(broken, target=("x",))])


# templates


def test_a_model_without_template_asks_for_one(tmp_path, samples, model):
    from tests.tiny_llava import CHAT_TEMPLATE, make_tiny_llava

    bare = make_tiny_llava(tmp_path / "bare", chat_template=None)
    with pytest.raises(KeepsightError, match=r"no chat template.*chat_template=FILE"):
        answers(load(str(bare)), samples)
    (tmp_path / "t.jinja").write_text(CHAT_TEMPLATE)
    given = load(str(bare), chat_template=str(tmp_path / "t.jinja"))
    assert same(answers(given, samples), answers(model, samples))
    assert given.digest == load(str(bare), chat_template=CHAT_TEMPLATE).digest != load(str(bare)).digest


def test_a_template_without_beginning_or_end_gets_both(tmp_path, samples):
    """As LLaVA-1.5's on the hub: no <s>, which the tokenizer adds, and no </s> after an answer, which we add."""
    from tests.tiny_llava import CHAT_TEMPLATE, make_tiny_llava

    loose = CHAT_TEMPLATE.replace("{{ bos_token }}", "").replace("{{ eos_token }}", " ")
    model = load(str(make_tiny_llava(tmp_path / "loose", chat_template=loose)))
    labels = model.training_batch(samples[:1])["labels"][0]
    assert model.processor.tokenizer.decode(labels[labels != -100]).replace(" ", "") == "circle</s>"


@pytest.mark.parametrize("rendered", [True, False])
def test_there_is_exactly_one_beginning_whoever_writes_it(tiny_llava, samples, rendered):
    """A tokenizer that adds <s> by itself, under a template that does and one that does not write it."""
    from tokenizers.processors import TemplateProcessing

    from keepsight.models.prompts import batch_inputs, pictures, render
    from tests.tiny_llava import CHAT_TEMPLATE

    template = CHAT_TEMPLATE if rendered else CHAT_TEMPLATE.replace("{{ bos_token }}", "")
    processor = load(str(tiny_llava), chat_template=template).processor
    processor.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    ids = batch_inputs(processor, [render(processor, samples[0])], [pictures(samples[0])])["input_ids"][0]
    assert ids[0] == 1 and int((ids == 1).sum()) == 1


def test_impossible_devices_and_dtypes_are_refused(tiny_llava, samples):
    with pytest.raises(KeepsightError, match="device cuda:99"):
        answers(load(str(tiny_llava), device="cuda:99"), samples)
    with pytest.raises(KeepsightError, match="dtype int3"):
        load(str(tiny_llava), dtype="int3")
    assert load(str(tiny_llava), dtype="auto").digest == load(str(tiny_llava)).digest


def test_a_built_model_without_template_says_so(model):
    import copy

    bare = copy.copy(model.processor)
    bare.tokenizer = copy.copy(bare.tokenizer)
    bare.chat_template = bare.tokenizer.chat_template = None
    with pytest.raises(KeepsightError, match="built:LlavaForConditionalGeneration has no chat template"):
        load((model.module, bare))


def test_a_tokenizer_without_padding_pads_with_the_end(tiny_llava, samples, tmp_path):
    import json
    import shutil

    copy = shutil.copytree(tiny_llava, tmp_path / "copy")
    path = copy / "tokenizer_config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "pad_token"}))
    model = load(str(copy))
    assert same(answers(model, samples, batch_size=8), answers(model, samples, batch_size=1))
    assert model.processor.tokenizer.pad_token == "</s>"
    labels = model.training_batch(samples)["labels"]
    assert all(int((row == 3).sum()) == 1 for row in labels), "the end is learnt once, padding never"
    assert 3 not in model.base.vocabulary.forbidden
