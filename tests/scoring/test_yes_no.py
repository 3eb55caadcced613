"""Yes/no answers: tables of what people and models say."""

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepsight.scoring.yes_no import YesNo, first_word, read_yes_no
from keepsight.types import KeepsightError, Output, Sample

READ = {
    "yes": [
        "yes", "Yes.", "YES!!!", "Yes, there is a dog.", "yes it is", "Yeah", "Yep.", "True", "Correct.",
        "The answer is yes.", "Answer: Yes", "**Yes**", "\n yes", "Yes, there is no doubt.", "Yes, not only one.",
        "I would say yes", "It is certainly there: yes", "Absolutely", "yes yes yes", "Yes, but no cat.", "ｙｅｓ",
    ],
    "no": [
        "no", "No.", "NO", "No, there isn't.", "Nope", "False", "Incorrect.", "The answer is no.", "Answer: No",
        "There is no dog in the image.", "There isn't a dog.", "There is not a dog", "It is not.", "It isn’t",
        "I don't see a dog.", "I do not see any dog in the image.", "I cannot see a dog in the picture of the park",
        "The image does not contain a dog.", "Not at all.", "Neither.", "The dog is absent; no",
        "I don't think so", "It's not a dog, it's a cat.",
    ],
    None: [
        "", "   ", "...", "🐶", "There is a dog.", "a dog", "8", "The object is a circle.", "Maybe", "maybe not sure",
        "I'm not sure.", "I don't know", "I cannot tell.", "yes or no", "Yes/No", "no, yes or", "yes and no",
        "The answer is yes and no.", "no idea", "no doubt", "notable", "nose", "know", "yesterday", "noon",
        "eyes", "oui", "да",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    "expected, text", [(answer, text) for answer, texts in READ.items() for text in texts]
)
def test_three_readings(expected, text):
    assert read_yes_no(text) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Yes", "yes"),
        ("no.", "no"),
        ('"No"', "no"),
        ("The answer is yes", None),
        ("", None),
        ("yes/no", None),
        ("Nope", None),
    ],
)
def test_first_word(text, expected):
    assert first_word(text) == expected


def score(target, text, error=None):
    return YesNo()([Sample("s", "Is there a dog?", target=(target,))], [Output(text, error=error)])[0]


@pytest.mark.parametrize("target, text", list(product(["yes", "no", "Yes", "NO"], ["yes", "no"])))
def test_value_is_agreement_with_the_target(target, text):
    assert score(target, text) == score(target, text)
    assert score(target, text).value == float(target.lower() == text)
    assert (score(target, text).answer, score(target, text).status) == (text, "ok")


def test_unreadable_is_not_correct_and_counted():
    assert (score("no", "a dog").value, score("no", "a dog").answer, score("no", "a dog").status) == (
        0.0,
        None,
        "unparsed",
    )


@pytest.mark.parametrize(
    "text", ["I'm sorry, I can't see the image.", "As an AI language model, I cannot view images."]
)
def test_a_refusal_is_no_no(text):
    refused = score("no", text)
    assert refused.status == "refused"
    assert math.isnan(refused.value)


def test_an_answer_with_an_apology_is_an_answer():
    assert score("yes", "Yes, but I cannot see the image well.").value == 1


def test_a_failed_output_is_an_error():
    assert score("no", "no", error="broken").status == "error"


@pytest.mark.parametrize("target", ["", "maybe", "dog"])
def test_other_targets_are_refused(target):
    with pytest.raises(KeepsightError, match="sample s has the target"):
        score(target, "yes")


@given(st.text(max_size=60))
def test_any_text_has_one_of_three_readings(text):
    assert read_yes_no(text) in ("yes", "no", None)
    if first_word(text):
        assert read_yes_no(text) == first_word(text)
