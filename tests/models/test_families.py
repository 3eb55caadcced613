"""One table of families, one set of properties: the same code asks, ranks, trains, saves and reads all of them.

Entries and the tiny models behind them are in tests/tiny_families.py.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from keepsight.models import load, save_checkpoint
from keepsight.models.anatomy import anatomy_of
from keepsight.models.features import HasStates
from keepsight.types import Embeds, KeepsightError, Sample
from tests.models.conftest import answers, picture
from tests.tiny_families import FAMILIES, make, table

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fresh_registry")]

NAMES = tuple(FAMILIES)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Name -> directory of the family's tiny model, written once and only read."""
    known = {}

    def directory(name):
        if name not in known:
            known[name] = make(name, tmp_path_factory.mktemp(name))
        return known[name]

    return directory


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def family(name):
    return FAMILIES[name]


@pytest.fixture
def directory(built, name):
    return built(name)


@pytest.fixture(scope="module")
def pictured():
    """Pictures of several sizes and shapes, prompts of several lengths."""
    return [
        Sample(
            id=f"s{at}",
            prompt="What is the object?" + " Really?" * (at % 3),
            media=(picture(40 * at, size),),
            target=("circle",),
            choices=("circle", "yellow star"),
        )
        for at, size in enumerate([(40, 60), (48, 52), (56, 44), (72, 20)])
    ]


TEXT = Sample("text", "Is a cat an animal?", target=("Yes.",), choices=("yes", "no way"))
PAIR = Sample(
    "pair",
    "<image>and<image>: which has a star?",
    (picture(10), picture(90, (64, 40))),
    target=("both",),
    choices=("both", "none"),
)


@pytest.fixture
def asked(family, pictured):
    """All the family takes: pictures, two at once, text alone."""
    return [*pictured, *([PAIR] if family.several else []), *([TEXT] if family.text_only else [])]


def same(left, right):
    return [(a.token_ids, a.error, a.stop, a.usage) for a in left] == [
        (b.token_ids, b.error, b.stop, b.usage) for b in right
    ] and all(
        a.token_logprobs == pytest.approx(b.token_logprobs, abs=1e-4)
        for a, b in zip(left, right, strict=True)
    )


def test_every_family_is_in_the_documentation():
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    assert table() in text, "python -m tests.tiny_families prints the table"


# asking


def test_a_batch_answers_as_one_by_one(family, directory, asked):
    model = load(str(directory))
    together, alone = answers(model, asked, batch_size=8), answers(model, asked, batch_size=1)
    assert [output.error for output in alone] == [None] * len(asked)
    assert same(together, alone)
    assert len({output.token_ids for output in alone}) >= 3, "the model tells the samples apart"
    lengths = {output.usage["prompt_tokens"] - 7 * (at % 3) for at, output in enumerate(alone[:4])}
    assert (len(lengths) > 1) == family.varied, "pictures take different numbers of tokens"


def test_the_picture_and_nothing_but_the_sample_decides(directory, pictured):
    model = load(str(directory))
    asked = [replace(pictured[0], id=str(at), media=(picture(60 * at),)) for at in range(3)]
    plain = answers(model, asked)
    assert len({output.token_logprobs for output in plain}) == 3, "the pictures count"
    assert same(answers(model, asked[::-1])[::-1], plain)


def test_choices_are_ranked_as_the_model_would_say_them(directory, asked):
    """log p of a choice: in a batch, alone, and as the generation loop gives it token by token."""
    import torch

    from keepsight.models.prompts import batch_inputs, pictures, render
    from keepsight.models.ranking import choice_ids

    model = load(str(directory))
    ranked = [dict(model.choice_logprobs(asked, batch_size=size)) for size in (16, 1)]
    for at in range(len(asked)):
        assert ranked[0][at] == pytest.approx(ranked[1][at], abs=1e-4)
    module, processor = model.module, model.processor
    for at in (1, len(asked) - 1):
        sample = asked[at]
        text = render(processor, sample)
        ids = choice_ids(processor, text, sample, model.base.vocabulary.end)[1]
        said = []

        def forced(_, scores, ids=ids, said=said):
            said.append(float(scores.float().log_softmax(-1)[0, ids[len(said)]]))
            return torch.full_like(scores, -torch.inf).index_fill_(1, torch.tensor([ids[len(said) - 1]]), 0.0)

        with torch.inference_mode():
            module.generate(
                **batch_inputs(processor, [text], [pictures(sample)]),
                max_new_tokens=len(ids),
                do_sample=False,
                logits_processor=[forced],
            )
        assert len(said) == len(ids) > 1
        assert sum(said) == pytest.approx(ranked[1][at][1], abs=1e-4)


# Where a model has its own idea of masks or caches, choices are ranked the slow way: an upgrade may speed one up.
SLOWER = {
    "blip2": "plain",
    "instructblip": "plain",
    "paligemma": "plain",
    "mllama": "plain",
    "gemma3": "prefix",
}


def test_how_a_family_ranks_choices(name, directory, pictured):
    model = load(str(directory))
    list(model.choice_logprobs(pictured[:1]))
    assert {way for way, _ in model._ways.values()} == {SLOWER.get(name, "packed")}


def test_what_a_family_does_not_take_is_an_error_of_that_sample(name, family, directory, pictured, recwarn):
    model = load(str(directory))
    unfit = ([] if family.several else [PAIR, replace(PAIR, id="front", prompt="Which?")]) + (
        [] if family.text_only else [TEXT]
    )
    asked = [pictured[0], *unfit, pictured[1]]
    outputs = answers(model, asked)
    plain = answers(model, [pictured[0], pictured[1]])
    assert same([outputs[0], outputs[-1]], plain)
    for sample, output in zip(unfit, outputs[1:-1], strict=True):
        assert f"sample {sample.id}" in output.error
        with pytest.raises(KeepsightError, match=f"sample {sample.id}"):
            model.training_batch([pictured[0], sample])
        ranked = dict(model.choice_logprobs([pictured[0], sample]))
        assert all(value != value for value in ranked[1]) and all(value < 0 for value in ranked[0])
    if unfit:
        assert any(f"sample {unfit[0].id}" in str(warning.message) for warning in recwarn)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_answers(directory, asked, dtype):
    import torch

    model = load(str(directory), dtype=dtype)
    assert model.digest != load(str(directory)).digest
    kept = {str(value.dtype) for value in model.module.parameters()}
    assert f"torch.{dtype}" in kept
    for output in answers(model, asked, max_new_tokens=2):
        assert output.error is None and all(torch.isfinite(torch.tensor(output.token_logprobs)))
    assert all(value < 0 for _, values in model.choice_logprobs(asked[:2]) for value in values)


# the tower's features


def test_answers_are_the_same_with_remembered_features(family, directory, asked):
    model = load(str(directory))
    first = answers(model, asked)
    encoded = model.base.tower_cache.rows_encoded
    assert (encoded > 0) == family.tower_cache, "what cannot be remembered is asked again by itself"
    assert answers(model, asked) == first
    assert model.base.tower_cache.rows_encoded == encoded
    assert same(answers(model.unshared(), asked), first)


# training


def test_only_answers_are_learnt_and_no_picture_is_cut(family, directory, asked, pictured):
    import torch

    asked = asked if family.mixed else pictured
    model = load(str(directory)).unshared()
    batch = model.training_batch(asked)
    decode = model.processor.tokenizer.decode
    learnt = [decode(row[row != -100]).strip() for row in batch["labels"]]
    assert learnt == [f"{sample.target[0]}</s>" for sample in asked]

    def loss(batch):
        logits = model.module(**{name: value for name, value in batch.items() if name != "labels"}).logits
        return torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), reduction="sum"
        )

    whole = loss(batch)
    alone = [model.training_batch([sample]) for sample in asked]
    assert float(whole.detach()) == pytest.approx(sum(float(loss(one).detach()) for one in alone), rel=1e-4)
    whole.backward()

    longer = replace(asked[0], target=("circle square triangle star",))
    full = model.training_batch([longer])
    prompt = int((full["labels"] == -100).sum())
    cut = model.training_batch([longer], max_length=prompt + 2)
    assert cut["input_ids"].tolist() == full["input_ids"][:, : prompt + 2].tolist()
    with pytest.raises(KeepsightError, match="raise max_length"):
        model.training_batch([longer], max_length=prompt)


def test_the_loss_of_an_answer_is_what_ranking_says_of_it(directory, pictured):
    """Training, ranking and generating see the same masks and positions."""
    import torch

    model = load(str(directory))
    sample = replace(pictured[1], choices=pictured[1].target)
    batch = model.training_batch([sample])
    with torch.no_grad():
        logits = model.module(**{name: value for name, value in batch.items() if name != "labels"}).logits
    labels = batch["labels"][0]
    learnt = (labels != -100).nonzero().flatten()[:-1]  # the end token is not part of a choice
    steps = logits[0].log_softmax(-1)[learnt - 1, labels[learnt]]
    assert float(steps.sum()) == pytest.approx(dict(model.choice_logprobs([sample]))[0][0], abs=1e-4)


@pytest.mark.parametrize("method", ["linear", "lora"])
def test_a_tuned_checkpoint_is_complete(family, directory, asked, tmp_path, method):
    """Two steps of tuning: what should move moved, all else did not; read again it gives the same answers."""
    from keepsight.tune.sft import SFTConfig, sft

    base = load(str(directory))
    parts = anatomy_of(base.module)
    assert (sorted(parts.projector), parts.language) == (sorted(family.projector), family.language)
    plain = answers(base, asked)
    before = {key: value.clone() for key, value in base.module.state_dict().items()}
    own = base.unshared()
    own.unshared = lambda: own  # the trained module stays in our hands
    config = SFTConfig(
        method=method,
        num_train_epochs=1,
        per_device_train_batch_size=3,
        learning_rate=0.05,
        warmup_ratio=0.0,
        lora_r=4,
    )
    (saved,) = sft(own, asked, config, tmp_path / "run")
    after = {key.replace(".base_layer.", "."): value for key, value in own.module.state_dict().items()}
    moved = {key for key, value in before.items() if not value.equal(after[key])}
    assert moved and all(parts.projects(key) for key in moved)
    lora = [key for key in after if ".lora_B." in key]
    assert all(key.startswith(parts.language + ".") for key in lora) and bool(lora) == (method == "lora")
    assert all(after[key].abs().sum() > 0 for key in lora)

    tuned = load(f"{directory}+adapter:{saved}")
    tuned.require_usable()
    assert same(answers(tuned, asked), answers(own, asked))
    assert answers(base, asked) == plain != answers(tuned, asked)


def test_a_whole_model_is_saved_and_read_again(directory, pictured, tmp_path):
    import torch

    own = load(str(directory)).unshared()
    with torch.no_grad():
        for parameter in own.module.parameters():
            parameter.mul_(1.1)
    saved = save_checkpoint(own, tmp_path / "ck", method="full", epoch=1, step=1, config={}, data_digest="d")
    again = load(f"{directory}+adapter:{saved}")
    assert same(answers(again, pictured), answers(own, pictured))
    assert not same(answers(again, pictured), answers(load(str(directory)), pictured))


# pictures and faults


def test_a_picture_that_a_family_refuses_fails_alone(built, pictured):
    model = load(str(built("qwen2_vl")))
    thin = Sample("thin", "What is it?", (picture(0, (1, 900)),), choices=("a", "b"))
    outputs = answers(model, [pictured[0], thin, pictured[1]])
    assert all(part in outputs[1].error for part in ("sample thin", "1x900", "aspect ratio"))
    assert same([outputs[0], outputs[2]], answers(model, pictured[:2]))
    assert answers(model, [thin])[0].error == outputs[1].error
    with pytest.warns(UserWarning, match="sample thin.*aspect ratio"):
        ranked = dict(model.choice_logprobs([thin, pictured[0]]))
    assert all(value != value for value in ranked[0]) and all(value < 0 for value in ranked[1])
    with pytest.raises(KeepsightError, match="sample thin"):
        dict(model.features([thin]))


def test_a_fault_that_is_no_picture_s_is_raised(built, pictured, monkeypatch):
    from keepsight.models import prompts

    model = load(str(built("idefics3")))
    real = prompts.batch_inputs

    def fails_in_company(processor, texts, images):
        if len(texts) > 1:
            raise ValueError("shapes do not stack")
        return real(processor, texts, images)

    monkeypatch.setattr(prompts, "batch_inputs", fails_in_company)
    with pytest.raises(ValueError, match="do not stack"):
        answers(model, pictured)


def test_a_prompt_with_a_family_s_own_marks_is_refused(built, pictured):
    model = load(str(built("gemma3")))  # one mark in the template, another among the tokens
    asked = [replace(pictured[0], prompt=f"What is {mark}?") for mark in ("<boi>", "<image><image>")]
    for output in answers(model, asked):
        assert "sample s0" in output.error
    assert "image token <boi>" in answers(model, asked)[0].error


# what a model is


def _one_byte_changed(path, content):
    if path.suffix != ".json":
        return content[:-1] + bytes([content[-1] ^ 1])
    at = next(at for at, byte in enumerate(content) if byte in b" \n")  # still JSON
    return content[:at] + b"\t" + content[at + 1 :]


def test_every_file_counts(directory, tmp_path):
    copy = shutil.copytree(directory, tmp_path / "copy")
    before = load(str(copy)).digest
    seen = {before}
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    assert {path.suffix for path in files} == {".json", ".safetensors", ".jinja"}
    for path in files:
        content = path.read_bytes()
        path.write_bytes(_one_byte_changed(path, content))
        seen.add(load(str(copy)).digest)
        path.write_bytes(content)
    assert len(seen) == 1 + len(files)
    assert load(str(copy)).digest == before == load(str(directory)).digest


def test_a_missing_or_misshapen_tensor_is_named(directory, tmp_path):
    from safetensors.torch import load_file, save_file

    parts = anatomy_of(load(str(directory)).module)
    copy = shutil.copytree(directory, tmp_path / "copy")
    path = copy / "model.safetensors"
    whole = load_file(path)

    def stored(leaf):
        """A matrix by a part of its name in the file; the heads of names differ between versions."""
        return next(key for key in whole if f"{leaf}." in key and whole[key].dim() > 1)

    projector = parts.projector[0]
    leaves = {part: part.rpartition(".")[2] for part in (projector, parts.tower)}
    for part, leaf in {**leaves, parts.language: "embed_tokens"}.items():
        lost = stored(leaf)
        save_file(
            {key: value for key, value in whole.items() if key != lost}, path, metadata={"format": "pt"}
        )
        with pytest.raises(KeepsightError, match=rf"incomplete: .*\b{part}\.\S+ is missing"):
            _ = load(str(copy)).module
    lost = stored(leaves[projector])
    misshapen = {**whole, lost: whole[lost].repeat(2, *[1] * (whole[lost].dim() - 1))}
    save_file(misshapen, path, metadata={"format": "pt"})
    with pytest.raises(KeepsightError, match=rf"{projector}\.\S+ has shape"):
        _ = load(str(copy)).module


def test_a_checkpoint_of_another_base_is_refused(name, directory, built, tmp_path):
    own = load(str(directory)).unshared()
    saved = save_checkpoint(
        own, tmp_path / "ck", method="linear", epoch=1, step=1, config={}, data_digest="d"
    )
    other = built("idefics3" if "qwen" in name else "qwen2_vl")
    with pytest.raises(KeepsightError, match="was trained on"):
        _ = load(f"{other}+adapter:{saved}").module
    manifest = json.loads((saved / "keepsight.json").read_text())
    manifest.pop("base_digest")
    (saved / "keepsight.json").write_text(json.dumps(manifest))
    with pytest.raises(KeepsightError, match="belongs to another base"):
        _ = load(f"{other}+adapter:{saved}").module


# features


def test_features_are_those_of_the_sample(family, directory, asked, pictured):
    import numpy as np

    model = load(str(directory))
    batched = dict(model.features(asked))
    alone = dict(model.features(asked, batch_size=1))
    assert sorted(batched) == list(range(len(asked)))
    for at in range(len(asked)):
        assert np.allclose(batched[at], alone[at], rtol=1e-3, atol=1e-3)
    head = model.module.get_output_embeddings()
    scores = head.weight.detach().numpy() @ alone[0]
    scores[[token for token in model.base.vocabulary.forbidden if token < len(scores)]] = -np.inf
    assert scores.argmax() == answers(model, asked[:1])[0].token_ids[0], "the answer follows from the state"
    for part in ("tower", "projector"):
        found = dict(model.features(pictured[::-1], part=part))
        again = dict(model.features(pictured, part=part))
        assert all(np.allclose(found[3 - at], again[at], atol=1e-5) for at in range(4))
        assert len({vector.tobytes() for vector in again.values()}) == 4
        assert all(vector.dtype == np.float32 and vector.ndim == 1 for vector in again.values())
    assert isinstance(model, Embeds)
    rows = model.embed_images([sample.media[0] for sample in pictured])
    assert rows.shape[0] == 4 and len(np.unique(rows, axis=0)) == 4


def test_every_family_shows_its_states(family, directory, pictured):
    import numpy as np

    model = load(str(directory))
    assert isinstance(model, HasStates)
    asked = pictured[:3] if family.varied else pictured[:1] * 3
    found = dict(model.states(asked, [(-1, "last"), (0, "mean"), (-1, 1)]))
    last = dict(model.features(asked))
    for at in range(3):
        assert np.allclose(found[at][0], last[at], rtol=1e-3, atol=1e-3), "what the output head is given"
    final = model.token_counts(asked[:1])[0] - 1
    ((_, (by_number, by_name)),) = model.states(asked[:1], [(1, final), (1, "last")])
    assert np.array_equal(by_number, by_name)
