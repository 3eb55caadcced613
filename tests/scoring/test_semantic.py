"""How much of the truth an answer says, whatever its form: a table of answers as models write them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepsight.scoring.semantic import Semantic
from keepsight.types import KeepsightError, Output, Sample

OPTIONS = ("circle", "red square", "moon")
BOX = "[0.04, 0.04, 0.46, 0.46]"


def score(text, target, *, choices=(), question="?"):
    targets = (target,) if isinstance(target, str) else target
    return Semantic()([Sample("s", question, target=targets, choices=choices)], [Output(text)])[0]


# ---- letters of options ----
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("B", 1),
        ("b.", 1),
        ("(B) red square", 1),
        ("The answer is B.", 1),
        ("red square", 1),
        ("It is a red square, I think.", 1),
        ("A Red Square!", 1),
        ("not the moon but the red square", 1),
        ("C", 0),
        ("the moon", 0),
        ("not a red square", 0),
        ("a square", 0),
        ("a dog", 0),
        ("A. red square", 0),  # says two things
        ("moon or red square", 0.25),
        ("circle, red square, moon", 0.5 / 3),
    ],
)
def test_letter_and_text_of_an_option_are_the_same(text, value):
    assert score(text, "B", choices=OPTIONS).value == pytest.approx(value)


# ---- words ----
@pytest.mark.parametrize(
    ("text", "target", "value"),
    [
        ("two", "2", 1),
        ("2", "two", 1),
        ("There are two apples.", "2", 1),
        ("There's 1 apple", "one", 1),
        ("twenty-one", "21", 1),
        ("In 1,735.", "1735", 1),
        ("none", "0", 1),
        ("12", "2", 0),
        ("20", "2", 0),
        ("1735 or 1736", "1735", 0.25),
        ("two or three", "2", 0.25),
        ("one of many", "1", 0),
        ("several", "2", 0),
        ("It's a red one", "red", 1),
        ("RED", "red", 1),
        ("red, not blue", "red", 1),
        ("not red", "red", 0),
        ("The moon isn't red.", "red", 0),
        ("red or blue", "red", 0.25),
        ("reddish", "red", 0),
        ("blue", "red", 0),
        ("blue or green", "red", 0),
        ("grey", "gray", 1),
        ("violet", "purple", 1),
        ("the big one", "large", 1),
        ("small or large?", "small", 0.25),
        ("top-left", "upper left", 1),
        ("at the top, on the left", "upper left", 1),
        ("left", "upper left", 0.25),
        ("upper right", "upper left", 0),
        ("The letter K.", "K", 1),
        ("K", "K", 1),
        ("A picture", "A", 0),
        ("It says: Lion Gate", "lion gate", 1),
        ("lion-gate", "lion gate", 1),
        ("a lion", "lion gate", 0.25),
        ("two fishes", "fish", 1),
        ("a child", "children", 1),
        ("fisherman", "fish", 0),
        ("no fish", "fish", 0),
        ("不是猫", "猫", 1),  # words that deny are English ones: declared, not understood
        ("?", "?", 1),
        ("!", "?", 0),
    ],
)
def test_the_truth_as_whole_words(text, target, value):
    assert score(text, target).value == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "value"), [("moon", 1), ("two moons", 1), ("star", 0), ("moon and star", 0.25), ("a thing", 0)]
)
def test_the_choices_of_a_sample_compete(text, value):
    assert score(text, "moon", choices=("moon", "star", "ring")).value == value


# ---- yes and no ----
ASKED = "Is there a fish in the image?"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Yes", "yes"),
        ("yep!", "yes"),
        ("That is true.", None),
        ("true", "yes"),
        ("There is a fish.", "yes"),
        ("a fish", "yes"),
        ("No", "no"),
        ("nope", "no"),
        ("There is no fish.", "no"),
        ("There isn't a fish in it", "no"),
        ("fish", None),
        ("a red fish", None),
        ("yes or no", None),
        ("maybe", None),
        ("unanswerable", None),
    ],
)
def test_yes_and_no_in_other_words(text, said):
    for truth in ("yes", "no"):
        found = score(text, truth, question=ASKED)
        assert found.value == float(said == truth)
        assert found.status == ("unparsed" if said is None else "ok")


def test_a_statement_says_yes_only_in_the_questions_order():
    question = "Is the cup left of the fish?"
    assert score("The cup is left of the fish.", "yes", question=question).value == 1
    assert score("The fish is left of the cup.", "yes", question=question).status == "unparsed"


# ---- unanswerable ----
@pytest.mark.parametrize(
    "text",
    ["unanswerable", "Not answerable.", "It cannot be answered", "There is no fish.", "I can't tell", "nothing", "none",
     "I don't know", "the fish is not visible", "No", "N/A", "Sorry, I cannot see the image.", "there aren't any", "no fish"],
)  # fmt: skip
def test_ways_to_say_that_there_is_no_answer(text):
    assert score(text, "unanswerable").value == 1
    assert score(text, "red").value == 0


@pytest.mark.parametrize("text", ["red", "a red fish", "the one on the left"])
def test_an_answer_to_what_has_none_is_wrong(text):
    assert score(text, "unanswerable").value == 0


# ---- boxes ----
@pytest.mark.parametrize(
    ("text", "value"),
    [
        (BOX, 1),
        ("0.04 0.04 0.46 0.46", 1),
        ("The box is (0.04, 0.04), (0.46, 0.46).", 1),
        ("[0.46, 0.46, 0.04, 0.04]", 1),
        ("[0.04, 0.04, 0.46, 0.25]", 0.5),
        ("[0.54, 0.54, 0.96, 0.96]", 0),
        ("upper left", 0.42**2 / 0.25),
        ("in the top left corner", 0.42**2 / 0.25),
        ("on the left", 0.42**2 / 0.5),
        ("lower right", 0),
        ("[0.04, 0.04, 0.46", 0),
        ("upper left or lower right", 0),
        ("red", 0),
    ],
)
def test_boxes_by_what_they_share(text, value):
    assert score(text, BOX).value == pytest.approx(value, abs=1e-3)


# ---- every kind ----
@pytest.mark.parametrize("target", ["B", "2", "red", "yes", "unanswerable", BOX, "lion gate", "moon"])
@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_answer_is_never_right(target, text):
    found = score(text, target, choices=OPTIONS)
    assert (found.value, found.status) == (0.0, "unparsed")


def test_a_refusal_is_wrong_unless_it_is_the_truth():
    text = "I'm sorry, I cannot identify it."
    assert (score(text, "red").value, score(text, "red").status) == (0.0, "refused")
    assert score(text, "unanswerable").value == 1


def test_the_best_target_counts_and_one_is_needed():
    assert score("grey", ("cat", "gray")).value == 1
    with pytest.raises(KeepsightError, match="sample s has no target"):
        score("red", ())


def test_options_that_cannot_be_told_apart_do_not_stop_it():
    assert score("B", "B", choices=("C", "C++")).value == 1
    assert score("something", "A", choices=("-", "?")).status == "unparsed"


@settings(max_examples=40)
@given(st.text(max_size=60), st.sampled_from(["B", "2", "red", "yes", "unanswerable", BOX, "lion gate"]))
def test_any_text_has_a_value_between_0_and_1(text, target):
    found = score(text, target, choices=OPTIONS)
    assert 0 <= found.value <= 1
    assert found.value == 0 or found.answer


@pytest.mark.parametrize(
    "target", ["B", "2", "red", "yes", "unanswerable", BOX, "lion gate", "K", "moon", "é", "3.5"]
)
def test_the_truth_itself_is_right(target):
    assert score(target, target, choices=OPTIONS).value == 1


def test_labels_that_are_letters_are_no_letters_of_options():
    letters = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert score("The letter K.", "K", choices=letters).tags == ("choice",)
    assert score("K or M", "K", choices=letters).value == 0.25
