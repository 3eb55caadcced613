"""How weights get into memory and where they are: devices, dtypes, attention, offloading; and what is refused."""

import pytest

from keepsight.models import load, processors
from keepsight.models.bases import computing_device
from keepsight.models.batching import in_batches
from keepsight.types import KeepsightError
from tests.models.conftest import answers
from tests.tiny_families import make

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fresh_registry")]


@pytest.fixture
def given(monkeypatch):
    """The arguments that `from_pretrained` was called with, newest last."""
    from transformers import AutoModelForImageTextToText

    calls = []
    real = AutoModelForImageTextToText.from_pretrained

    def remembering(*args, **kwargs):
        calls.append(kwargs)
        return real(*args, **kwargs)

    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", remembering)
    return calls


@pytest.mark.parametrize(
    ("asked_for", "handed_on"),
    [("cpu", {"": "cpu"}), ("auto", "auto"), ("balanced", "balanced"), ("sequential", "sequential")],
)
def test_devices_and_dtypes_reach_the_loader(tiny_llava, samples, given, asked_for, handed_on):
    import torch

    model = load(str(tiny_llava), device=asked_for, dtype="bfloat16")
    assert [output.error for output in answers(model, samples[:2])] == [None, None]
    assert given[-1]["device_map"] == handed_on
    assert given[-1]["dtype"] is torch.bfloat16
    assert "attn_implementation" not in given[-1]
    assert {parameter.dtype for parameter in model.module.parameters()} == {torch.bfloat16}


def test_the_attention_can_be_chosen(tiny_llava, samples, given):
    plain, eager = load(str(tiny_llava)), load(str(tiny_llava), attn_implementation="eager")
    assert plain.digest != eager.digest, "it rounds differently"
    assert [output.token_ids for output in answers(eager, samples)] == [
        output.token_ids for output in answers(plain, samples)
    ]
    assert [call.get("attn_implementation") for call in given] == ["eager", None]
    assert eager.module.config.get_text_config()._attn_implementation == "eager"
    with pytest.raises(KeepsightError, match="cannot be loaded"):
        answers(load(str(tiny_llava), attn_implementation="flash_of_genius"), samples)
    with pytest.raises(KeepsightError, match="tiny: attn_implementation"):
        load("tiny", attn_implementation="eager")


def test_offloaded_weights_answer_the_same(tiny_llava, samples, checkpoints):
    """What `device auto` does where a model does not fit: weights are brought to the device for each call."""
    from accelerate import cpu_offload

    plain = answers(load(str(tiny_llava)).unshared(), samples)
    model = load(str(tiny_llava))
    cpu_offload(model.base.module, execution_device="cpu")
    assert model.base.module.device.type == "meta"
    assert str(computing_device(model.base.module)) == "cpu"
    found = answers(model, samples)
    assert [output.token_ids for output in found] == [output.token_ids for output in plain]
    ranked = [dict(one.choice_logprobs(samples[:1]))[0] for one in (model, load(str(tiny_llava)).unshared())]
    assert ranked[0] == pytest.approx(ranked[1], abs=1e-5)
    assert model.base.tower_cache is None, "nothing is known of weights that are elsewhere"
    with pytest.raises(KeepsightError, match="does not fit on the devices"):
        answers(load(f"{tiny_llava}+adapter:{checkpoints['lora']}"), samples)
    assert [output.token_ids for output in answers(model, samples)] == [output.token_ids for output in plain]


def test_a_dispatched_model_answers_the_same(tiny_llava, samples):
    from accelerate import dispatch_model

    plain = answers(load(str(tiny_llava)), samples)
    own = load(str(tiny_llava)).unshared()
    parts = {name: "cpu" for name, _ in own.module.named_children()}
    dispatch_model(own.module, parts, main_device="cpu", force_hooks=True)
    assert answers(own, samples) == plain


def test_a_compiled_module_can_be_handed_over(tiny_llava, samples):
    """Compiling is the caller's choice: nothing here does it."""
    base = load(str(tiny_llava))
    own = base.unshared()
    calls = []

    def backend(graph, inputs):
        calls.append(graph)
        return graph.forward

    assert own.module._compiled_call_impl is None
    own.module.model.multi_modal_projector.compile(backend=backend)
    built = load((own.module, own.processor))
    assert [output.token_ids for output in answers(built, samples)] == [
        output.token_ids for output in answers(base, samples)
    ]
    assert calls


def test_an_encoder_decoder_is_refused(tmp_path):
    from transformers import Blip2Config, Blip2ForConditionalGeneration, T5Config

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Blip2Config(
        vision_config={**sizes, "image_size": 16, "patch_size": 8},
        qformer_config={**sizes, "encoder_hidden_size": 16, "vocab_size": 20},
        text_config=T5Config(
            d_model=16, d_ff=16, d_kv=8, num_layers=1, num_heads=2, vocab_size=50, decoder_start_token_id=0
        ),
        num_query_tokens=2,
    )
    Blip2ForConditionalGeneration(config).save_pretrained(tmp_path)
    with pytest.raises(KeepsightError, match="encoder-decoder as language model"):
        _ = load(str(tmp_path)).module


def test_memory_that_runs_out_inside_the_module_halves_the_batch(tiny_llava, samples, monkeypatch):
    """Asking, ranking and reading features all shrink and go on; the results stay the same."""
    import torch

    asked = samples[:6]
    plain = load(str(tiny_llava)).unshared()
    expected = [output.token_ids for output in answers(plain, asked)]
    ranked, seen = dict(plain.choice_logprobs(asked)), dict(plain.features(asked))
    tight = load(str(tiny_llava)).unshared()
    sizes = []

    def raising(module, args, kwargs):
        rows = len(kwargs["input_ids"])
        sizes.append(rows)
        if rows > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    tight.module.register_forward_pre_hook(raising, with_kwargs=True)
    found = answers(tight, asked, batch_size=6, max_new_tokens=6)
    assert [output.token_ids for output in found] == expected
    assert sizes[0] == 6 and max(sizes[2:]) <= 2
    for at, values in tight.choice_logprobs(asked, batch_size=8):
        assert values == pytest.approx(ranked[at], abs=1e-4)
    for at, vector in tight.features(asked, batch_size=6):
        assert vector == pytest.approx(seen[at], abs=1e-3)


def test_a_batch_holds_one_kind(tiny_llava):
    batches = []

    def run(batch):
        batches.append(batch)
        return batch

    kinds = [0, 0, 0, 1, 1, 0, 2]
    found = list(in_batches(range(7), 2, run, str, kind=lambda at: kinds[at]))
    assert batches == [[0, 1], [2], [3, 4], [5], [6]]
    assert found == [(at, at) for at in range(7)]


def test_a_language_model_s_own_generation_config_does_not_reach_in(tmp_path, samples):
    """BLIP-2's language model generates by itself, from settings of its own."""
    model = load(str(make("blip2", tmp_path))).unshared()
    plain = answers(model, samples[:2])
    own = model.module.language_model.generation_config
    own.update(do_sample=True, temperature=9.0, repetition_penalty=3.0, num_beams=2, max_length=3)
    assert answers(model, samples[:2]) == plain
    assert model.module.language_model.generation_config is own


# processors


def test_the_second_text_of_a_processor_is_padded_where_its_encoder_expects_it(tmp_path, samples):
    """The Q-Former counts positions from the first column: left padding would move the question."""
    from keepsight.models.prompts import batch_inputs, pictures, render

    processor = load(str(make("instructblip", tmp_path))).processor
    texts = [render(processor, sample) for sample in samples[:4]]
    images = [pictures(sample) for sample in samples[:4]]
    inputs = batch_inputs(processor, texts, images)
    for row, (text, image) in enumerate(zip(texts, images)):
        alone = batch_inputs(processor, [text], [image])["qformer_input_ids"][0].tolist()
        assert inputs["qformer_input_ids"][row, : len(alone)].tolist() == alone
        assert inputs["qformer_attention_mask"][row].tolist() == [1] * len(alone) + [0] * (
            inputs["qformer_input_ids"].shape[1] - len(alone)
        )


def test_packages_for_films_alone_are_not_needed(tmp_path, monkeypatch):
    """SmolVLM's processor would not be built without num2words, whose only use is the length of a film."""
    from transformers.models.smolvlm import processing_smolvlm

    monkeypatch.setattr(processing_smolvlm, "num2words", None)
    processor = load(str(make("smolvlm", tmp_path))).processor
    assert processing_smolvlm.num2words is None, "put back as it was"
    assert processor.image_seq_len == 4, "the settings in the directory are read"
    with pytest.raises(KeepsightError, match="pictures only"):
        processors._missing(3)


def test_a_processor_that_needs_more_than_is_there_says_what(tiny_llava, monkeypatch):
    from transformers import AutoProcessor

    def failing(*args, **kwargs):
        raise ImportError("LlamaTokenizer requires the SentencePiece library")

    monkeypatch.setattr(AutoProcessor, "from_pretrained", failing)
    with pytest.raises(KeepsightError, match="cannot be loaded: LlamaTokenizer requires the SentencePiece"):
        _ = load(str(tiny_llava)).processor


def test_the_image_backend_is_part_of_what_a_model_is(tiny_llava):
    model = load(str(tiny_llava))
    assert model.processor.image_processor.backend == "pil"
    assert model.digest != load(str(tiny_llava), image_backend="torchvision").digest
    built = load((model.module, model.processor))
    before = built.digest
    model.processor.image_processor.resample = 0
    assert built.digest != before


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, {"dtype": "float32", "attn_implementation": "sdpa", "image_backend": "pil"}),
        (
            {"dtype": "bfloat16", "attn_implementation": "eager"},
            {"dtype": "bfloat16", "attn_implementation": "eager", "image_backend": "pil"},
        ),
    ],
)
def test_a_run_says_how_its_model_computed(tiny_llava, samples, tmp_path, fresh_registry, settings, told):
    from keepsight.evaluate import evaluate
    from keepsight.inference import Generate
    from keepsight.store import Store
    from tests.fake_vlm import make_task

    model = load(str(tiny_llava), device="cpu", **settings)
    assert model.about() == {}, "nothing is loaded to be told"
    task = make_task(samples[:3], infer=Generate(max_new_tokens=2))
    run = evaluate(model, task, Store(tmp_path))
    wanted = {"class": "LlavaForConditionalGeneration", "device": "cpu", **told}
    assert {name: run.manifest["model"][name] for name in wanted} == wanted
    assert run.manifest["model"]["image_processor"].startswith("CLIPImageProcessor")
    assert (run.path / "manifest.json").read_text().count('"image_backend"') == 1


def test_a_run_that_is_killed_after_its_first_answer_says_it_too(tiny_llava, samples, tmp_path):
    """And whoever only scores what others answered leaves it as it was."""
    from keepsight.evaluate import evaluate
    from keepsight.inference import Generate
    from keepsight.store import Store
    from tests.fake_vlm import Exact, make_task

    class Broken(Exact):
        def __call__(self, samples, outputs):
            raise KeyboardInterrupt

    model = load(str(tiny_llava), device="cpu")
    infer = Generate(max_new_tokens=2)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, make_task(samples[:3], infer=infer, score=Broken("exact")), Store(tmp_path))
    model.generate = None  # nobody is asked again
    run = evaluate(model, make_task(samples[:3], infer=infer, score=Exact("exact")), Store(tmp_path))
    assert run.manifest["model"]["dtype"] == "float32" and run.manifest["status"] == "success"
