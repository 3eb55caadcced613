"""The answer and nothing else: what is folded away, and what is not."""

import pytest

from keepsight.scoring.same_text import SameText, folded
from keepsight.types import KeepsightError, Output, Sample


def score(text, *targets):
    return SameText()([Sample("s", "p", target=targets)], [Output(text)])[0]


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("Red", "red"),
        ("  red.\n", "red"),
        ("“Red”", "red"),
        ("**red**", "red"),
        ("upper   left", "Upper left"),
        ("ＲＥＤ", "red"),
        ("Straße", "STRASSE"),
        ("unanswerable.", "unanswerable"),
        ("(2)", "2"),
        ("don't!", "don't"),
        (".5", ".5"),
        ("कि", "कि"),
    ],
)
def test_case_and_punctuation_at_the_ends_do_not_count(text, target):
    assert score(text, target).value == 1.0 and score(target, text).value == 1.0


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("two", "2"),
        ("a fish", "fish"),
        ("fishes", "fish"),
        ("It is red", "red"),
        ("red or blue", "red"),
        ("12", "2"),
        ("-3", "3"),
        ("50%", "50"),
        (".5", "5"),
        ("C++", "C"),
        ("upperleft", "upper left"),
        ("red,blue", "red blue"),
    ],
)
def test_everything_else_does(text, target):
    found = score(text, target)
    assert (found.value, found.status) == (0.0, "ok") and found.answer == folded(text)


@pytest.mark.parametrize("text", ["", "  \n", "?", "...", "**"])
def test_an_empty_answer_is_never_right(text):
    assert (score(text, "red").value, score(text, "red").status) == (0.0, "unparsed")
    with pytest.raises(KeepsightError, match="sample s has no target"):
        score("red", text)


def test_a_refusal_counts_as_wrong_and_any_target_as_right():
    assert (score("I'm sorry, I cannot see the image.", "red").status) == "refused"
    assert score("grey", "gray", "grey").value == 1.0
    with pytest.raises(KeepsightError, match="no target"):
        score("red")


def test_a_failed_generation_is_no_answer():
    (found,) = SameText()([Sample("s", "p", target=("red",))], [Output("", error="broken")])
    assert found.status == "error" and not found.scored
