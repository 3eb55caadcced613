"""CoIN's published rules, each with its quirks; an empty answer is right in none of them."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepsight.scoring.boxes import BoxAccuracy, box_text
from keepsight.scoring.coin_rules import (
    CoinBox,
    CoinEqual,
    CoinGqa,
    CoinLetter,
    CoinOcr,
    CoinSubstring,
    CoinVote,
    coded_answer,
    coin_box,
    coin_letter,
)
from keepsight.types import KeepsightError, Output, Sample

RULES = [CoinLetter, CoinVote, CoinSubstring, CoinGqa, CoinEqual, CoinOcr, CoinBox]


def value(rule, truth, said, **more):
    (score,) = rule()([Sample("a", "?", target=(truth,), **more)], [Output(said)])
    return score.value


# What the published script reads, by its rules (facts of the published code, 1.3).
LETTERS = {
    "B": "B",
    "b": "B",
    "B. dog": "B",
    "B.dog": "B",
    "a dog": "A",
    "It is a dog": "A",
    "I think B": "I",
    "The answer is B.": "B",
    "dog": None,
    "": None,
    "F": "F",
    "x": "X",
    "42": None,
    "Is it 4 or 5?": "4",
}


@pytest.mark.parametrize("text", LETTERS)
def test_the_letter(text):
    assert coin_letter(text) == LETTERS[text]


def test_a_letter_out_of_range_is_wrong():
    scores = CoinLetter()(
        [Sample("a", "?", target=("B",), choices=("x", "y"))] * 3, [Output(t) for t in ("B", "C", "I am B")]
    )
    assert [s.value for s in scores] == [1, 0, 0]
    assert [s.status for s in scores] == ["ok", "unparsed", "unparsed"]


# Measured against a rewrite of the published processor's steps with the same table of contractions: no difference in 200,000 random strings.
CODED = {
    "T-shirt - red": "tshirt red",
    "t-shirt": "t shirt",
    "1,000 cats": "1000 cats",
    "red,blue": "redblue",
    "What's that?": "what 's that",
    "dont": "don't",
    "U.S.A.": "usa",
    f"{'.' * 40}x": "........x",
    "somebody'd": "somebodyd",
    "None": "0",
    "a": "",
}


@pytest.mark.parametrize("text", CODED)
def test_the_normalisation(text):
    assert coded_answer(text) == CODED[text]


def test_the_vote_is_over_the_coded_texts():
    votes = {"answers": ["red,blue"] * 2 + ["redblue"] + ["x"] * 7}
    assert value(CoinVote, "x", "redblue", meta=votes) == pytest.approx(0.9)
    assert value(CoinVote, "x", "red blue", meta=votes) == 0


@pytest.mark.parametrize(
    ("rule", "truth", "said", "right"),
    [
        (CoinSubstring, "Pickup", "Pickup truck", 1),
        (CoinSubstring, "Pickup", "P", 1),
        (CoinSubstring, "Pickup", "pickup", 0),
        (CoinSubstring, "ant", "elephant", 1),
        (CoinGqa, "yes", " Yes...", 1),
        (CoinGqa, "yes", "  yes", 0),
        (CoinGqa, "Yes", "Yes", 0),
        (CoinGqa, "yes", "yes, it is", 0),
        (CoinEqual, "two", "TWO", 1),
        (CoinEqual, "two", "2", 0),
        (CoinEqual, "red", "red.", 0),
        (CoinOcr, "Zondervan", "zondervan", 1),
        (CoinOcr, "Unanswerable", "Unanswerable", 0),
        (CoinOcr, "unanswerable", "unanswerable", 1),
    ],
)
def test_the_quirks(rule, truth, said, right):
    assert value(rule, truth, said) == right


@pytest.mark.parametrize("rule", RULES)
def test_an_empty_answer_is_never_right(rule):
    sample = Sample(
        "a",
        "?",
        target=("[0, 0, 1, 1]" if rule is CoinBox else "B",),
        choices=("x", "y"),
        meta={"answers": ["a"] * 10},
    )
    for said in ("", "  \n"):
        (score,) = rule()([sample], [Output(said)])
        assert (score.value, score.status) == (0, "unparsed")
    (empty,) = rule()([sample], [Output("")])
    # "a" is an article, so that ten annotators who said it agree with silence.
    assert ("coin_counts_right" in empty.tags) == (rule in (CoinSubstring, CoinVote))


@pytest.mark.parametrize("rule", RULES)
def test_a_sample_without_what_the_rule_compares_with(rule):
    with pytest.raises(KeepsightError, match="sample q has"):
        rule()([Sample("q", "?", choices=("x", "y"))], [Output("A")])


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("[0.12, 0.34, 0.56, 0.78]", [0.12, 0.34, 0.56, 0.7]),
        (" [0.12, 0.34, 0.56, 0.78]", [0.12, 0.34, 0.56, 0.7]),
        ("[0.12, 0.34, 0.56, 0.8]", [0.12, 0.34, 0.56, 0.0]),
        ("[1.0, 0.34, 0.56, 1.0]", [0.0, 0.34, 0.56, 1.0]),
        ("  [1.0, 0.34, 0.56, 0.78]", [1.0, 0.34, 0.56, 0.7]),
        ("[0.1, 0.2, 0.3, 0.444].", [0.1, 0.2, 0.3, 0.444]),
        ("0.1, 0.2, 0.3", None),
        ("<box>0.1, 0.2, 0.3, 0.4</box>", None),
        ("", None),
    ],
)
def test_the_slice_eats_a_character_at_each_end(text, box):
    assert coin_box(text) == box


def rec_boxes(n):
    """Boxes with sides of 15 to 70 % of the picture, as referred things have."""
    rng = Random(0)
    for _ in range(n):
        width, height = rng.uniform(0.15, 0.7), rng.uniform(0.15, 0.7)
        x, y = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
        yield (x, y, x + width, y + height)


def test_perfect_boxes_of_two_decimals_score_about_90_percent_by_the_published_rule():
    """Measured elsewhere on the published script: 90.6 %. A last corner of one decimal, "0.8", is read as 0."""
    texts = [box_text(box, 2) for box in rec_boxes(3000)]
    samples = [Sample(f"{i}", "?", target=(text,)) for i, text in enumerate(texts)]
    outputs = [Output(text) for text in texts]
    published, ours = (
        sum(score.value for score in scorer(samples, outputs)) / 3000 for scorer in (CoinBox(), BoxAccuracy())
    )
    assert ours == 1.0 and published == pytest.approx(0.906, abs=0.015)
    one_digit = [
        text
        for text in texts
        if text.endswith((".1]", ".2]", ".3]", ".4]", ".5]", ".6]", ".7]", ".8]", ".9]"))
    ]
    lost = sum(CoinBox()([Sample("a", "?", target=(t,))], [Output(t)])[0].value == 0 for t in one_digit)
    assert lost == len(one_digit) > 100


def test_corners_are_taken_as_they_come():
    """Of swapped corners the formula makes a negative area."""
    assert value(CoinBox, "[0.2, 0.2, 0.6, 0.6]", "[0.600, 0.600, 0.200, 0.200]") == 0
    assert value(CoinBox, "[0.2, 0.2, 0.6, 0.6]", "[0.600, 0.200, 0.200, 0.600]") == 0


@given(st.text("aB [](),.0123456789-e\n_é红", max_size=30))
def test_no_text_breaks_a_rule(said):
    sample = Sample(
        "a", "?", target=("[0.1, 0.2, 0.3, 0.4]",), choices=("x", "y"), meta={"answers": ["x"] * 10}
    )
    for rule in RULES:
        (score,) = rule()([sample], [Output(said)])
        assert score.scored and (score.value == 0 or said.strip())
