"""In a conversation every answer is learnt and no question is; one exchange is the ordinary case of it."""

from dataclasses import replace

import pytest

from keepsight.data.drawn import SETS
from keepsight.models import load
from keepsight.models.prompts import render
from keepsight.types import KeepsightError, Sample
from tests.tiny_llava import make_tiny_llava

pytestmark = pytest.mark.torch

MEDIA = SETS["shapes"].test(1)[0].media


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_tiny_llava(tmp_path_factory.mktemp("turns"), hidden=16)


@pytest.fixture
def model(base):
    return load(str(base), device="cpu")


def talk(*exchanges, media=(MEDIA,)):
    (prompt, answer), *later = exchanges
    meta = {"turns": [list(exchange) for exchange in later]} if later else {}
    return Sample("talk", prompt, media, (answer,), meta=meta)


def rows(model, *samples):
    """(whole text, text that is learnt) of each row."""
    batch, decode = model.training_batch(samples), model.processor.tokenizer.decode
    return [
        (decode(ids[mask.bool()]), decode(ids[labels != -100]))
        for ids, mask, labels in zip(batch["input_ids"], batch["attention_mask"], batch["labels"])
    ]


def test_every_answer_and_its_end_are_learnt(model):
    three = talk(("What is it?", "a circle"), ("Is it red?", "Yes."), ("Sure?", "Quite."))
    ((text, learnt),) = rows(model, three)
    assert learnt.replace(" ", "") == "acircle</s>Yes.</s>Quite.</s>"
    assert text.endswith(
        "ASSISTANT: a circle</s>USER: Is it red? ASSISTANT: Yes.</s>USER: Sure? ASSISTANT: Quite.</s>"
    )


def test_a_batch_may_mix_lengths_and_text_only_rows(model):
    one, two = talk(("What?", "a star")), talk(("What?", "a cup"), ("Red?", "No."))
    words = talk(("How many?", "three"), media=())
    alone = [rows(model, sample)[0] for sample in (one, two, words)]
    assert rows(model, one, two, words) == alone
    assert rows(model, two, words, one) == [alone[1], alone[2], alone[0]]
    assert "<image>" in alone[0][0] and "<image>" not in alone[2][0]


def test_a_cut_answer_keeps_the_image_and_the_questions_whole(model):
    two = talk(("What?", "a cup"), ("Red?", "No, it is a very long story."))
    whole = model.training_batch([two])
    cut = model.training_batch([two], max_length=whole["input_ids"].shape[1] - 3)
    assert cut["input_ids"].tolist() == whole["input_ids"][:, :-3].tolist()
    assert cut["labels"].tolist() == whole["labels"][:, :-3].tolist()


def test_a_template_that_rewrites_the_past_is_refused(model):
    model = model.unshared()  # what is changed here must not meet the next test
    model.processor.chat_template = "{% for m in messages %}{% if m.role == 'user' or loop.last %}{{ m.content[-1].text }} {% endif %}{% endfor %}"
    with pytest.raises(KeepsightError, match="rewrites earlier turns"):
        model.training_batch([talk(("a", "b"), ("c", "d"), media=())])


def test_of_a_history_nothing_is_learnt(model):
    """A row with wrong answers before the right one: they are read, and only the right one is learnt."""
    wrong = Sample(
        "talk", "What is it?", (MEDIA,), ("a circle",), history=("a star", "Wrong.", "a cup", "No.")
    )
    asked = talk(("What is it?", "a star"), ("Wrong.", "a cup"), ("No.", "a circle"))
    ((text, learnt),) = rows(model, wrong)
    assert learnt.replace(" ", "") == "acircle</s>"
    assert text == rows(model, asked)[0][0]  # the same tokens as where all three are learnt


def test_answers_after_a_history_are_all_learnt(model):
    later = Sample(
        "talk", "What?", (MEDIA,), ("a cup",), history=("a star", "No."), meta={"turns": [["Red?", "Yes."]]}
    )
    ((text, learnt),) = rows(model, later)
    assert learnt.replace(" ", "") == "acup</s>Yes.</s>"
    assert text.endswith("ASSISTANT: a star</s>USER: No. ASSISTANT: a cup</s>USER: Red? ASSISTANT: Yes.</s>")


def test_a_history_changes_the_answer_and_its_picture_marks_are_words(model):
    plain = Sample("a", "What is it?", (MEDIA,))
    talks = [
        replace(plain, history=turns)
        for turns in [("a cup", "Sure?"), ("a <image> cup", "Sure?"), ("x", "y")]
    ]
    texts = [render(model.processor, sample) for sample in (plain, *talks)]
    assert texts[1] == texts[2].replace("a  cup", "a cup") and len({*texts}) == 4
    assert all(text.count("<image>") == 1 for text in texts)
    together = dict(model.generate([plain, *talks], max_new_tokens=3))
    assert [output.error for output in together.values()] == [None] * 4
    for at, sample in enumerate([plain, *talks]):
        ((_, alone),) = model.generate([sample], max_new_tokens=3)
        assert alone.token_ids == together[at].token_ids
