"""All ways of ranking choices give the plain computation's numbers, and a way that does not is not taken."""

import pytest

from keepsight.models import load, ranking
from keepsight.models.trie import trie_of
from keepsight.types import Sample
from tests.models.conftest import picture

pytestmark = pytest.mark.torch

WORDS = ("red", "green", "dark red", "dark green")
THINGS = ("circle", "square", "star", "starfish", "flower pot", "flower", "c", "cat and dog")
LABELS = tuple(f"{word} {thing}" for word in WORDS for thing in THINGS) + THINGS


@pytest.fixture(scope="module")
def model(tiny_llava):
    return load(str(tiny_llava)).unshared()


@pytest.fixture(scope="module")
def asked():
    """Prompts of three lengths over three pictures, the same choices."""
    return [
        Sample(f"s{at}", "What is it?" + " Really?" * at, (picture(50 * at),), choices=LABELS)
        for at in range(3)
    ]


@pytest.fixture(scope="module")
def question(model, asked):
    """Left-padded inputs and the tokens of the labels."""
    texts, _ = model._rendered(asked)
    choices = ranking.Choices.of(model.processor, asked, texts, model.base.vocabulary.end)
    assert len(choices.answers) == 1 and len({len(answer) for answer in choices.answers_of(0)}) > 3
    return model.base.prepared(list(texts.values()), asked).inputs, choices.answers_of(0)


def sums(model, question, way):
    import torch

    with torch.inference_mode():
        found = ranking.logprobs_of_choices(model.module, *question, model.base.vocabulary.pad, way)
    assert found.shape == (3, len(LABELS)) and bool((found < 0).all())
    return found


@pytest.mark.parametrize("way", ["packed", "prefix"])
@pytest.mark.parametrize("most", [1024, 7, 1])
def test_a_way_gives_what_the_plain_computation_gives(model, question, way, most, monkeypatch):
    monkeypatch.setattr(ranking, "_NODES", most)
    difference = (sums(model, question, way) - sums(model, question, "plain")).abs()
    assert float(difference.max()) < 1e-4


def test_memory_bounds_the_passes(model, question, monkeypatch):
    plain = sums(model, question, "packed")
    passes = []
    monkeypatch.setattr(ranking, "_LOGITS_BYTES", 4 * 3 * model.module.config.text_config.vocab_size * 5)
    read = ranking._logits_in
    monkeypatch.setattr(
        ranking, "_logits_in", lambda trie, prefix: (passes.append(trie), read(trie, prefix))[1]
    )
    assert float((sums(model, question, "packed") - plain).abs().max()) < 1e-4
    assert len(passes) > 5 and all(len(trie) <= 5 or len(trie.labels) == 1 for trie in passes)


def test_a_prompt_s_tensors_are_left_as_they_were(model, question):
    import torch

    from keepsight.models.prefix import read_prefix
    from keepsight.models.prompts import without_answers

    inputs, answers = question
    with torch.inference_mode():
        prefix = read_prefix(model.module, without_answers(model.module, inputs, 0))
        before = [layer.keys.clone() for layer in prefix.cache.layers]
        first = ranking._logits_in(trie_of(answers), prefix)
        second = ranking._logits_in(trie_of(answers), prefix)
    assert torch.equal(first, second)
    assert all(torch.equal(layer.keys, kept) for layer, kept in zip(prefix.cache.layers, before))


def test_a_way_that_gives_other_numbers_is_not_taken(model, question, monkeypatch):
    import torch

    def settled():
        with torch.inference_mode():
            return ranking.way_for(model.module, *question, model.base.vocabulary.pad)

    def refuses(*_):
        raise ValueError("no mask of four dimensions")

    assert settled() == "packed"
    mask = ranking._tree_mask
    monkeypatch.setattr(ranking, "_tree_mask", lambda *given: mask(*given) * 0)  # siblings see each other
    assert settled() == "prefix"
    monkeypatch.setattr(ranking, "_batch_of_continuations", refuses)
    assert settled() == "plain"


def test_a_longer_prompt_or_another_number_of_pictures_is_tried_anew(model, monkeypatch):
    from keepsight.models import hf

    tried = []
    monkeypatch.setattr(hf, "way_for", lambda *given: (tried.append(given[1]), "plain")[1])
    model._ways.clear()
    one = Sample("a", "What is it?", (picture(1),), choices=("cat", "dog"))
    for sample in (one, one, Sample("b", "What is it? " * 3, (picture(1),), choices=one.choices)):
        list(model.choice_logprobs([sample]))
    list(model.choice_logprobs([Sample("c", "Is it?", choices=one.choices)]))
    model._ways.clear()
    assert len(tried) == 3


def test_choices_are_tokenised_once_per_label_set(model, asked, monkeypatch):
    calls = []
    monkeypatch.setattr(ranking, "choice_ids", lambda *given: (calls.append(1), ((5,), (6,)))[1])
    texts = dict.fromkeys(range(3), "the same")
    choices = ranking.Choices.of(model.processor, asked, texts, frozenset())
    assert len(calls) == 1 and choices.groups(asked) == [[0, 1, 2]]


UGLY = (
    "cat",
    "guinea pig",
    "potter's wheel",
    "A",
    "é",
    "<b>",
    "{{ x }}",
    " padded ",
    "co-op",
    "a</think>b",
    "1.",
    "(x)",
)


def test_a_turn_is_what_the_template_makes_of_it(model):
    from keepsight.models.prompts import render

    sample = Sample("a", "What?", (picture(1),), choices=UGLY)
    assert ranking._turns(model.processor, sample) == [
        render(model.processor, sample, choice) for choice in UGLY
    ]


def test_a_template_that_changes_answers_is_asked_for_each(model, monkeypatch):
    def shouting(processor, sample, answer):
        return f"{answer.upper()}!" if answer != "cat" else "meow"

    monkeypatch.setattr(ranking, "render", shouting)
    assert ranking._turns(None, Sample("a", "?", choices=("<cat>", "dog"))) == ["<CAT>!", "dog!"]
