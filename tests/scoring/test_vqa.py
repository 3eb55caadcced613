"""The annotators' vote against brute force, the normaliser on ugly strings, equality and containment."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepsight.scoring.choice_letter import LetterOnly
from keepsight.scoring.vqa import Contains, Exact, VqaVote, contractions, normal_answer, vote_share
from keepsight.types import KeepsightError, Output, Sample

NORMAL = {
    "The Dog.": "dog",
    "two dogs": "2 dogs",
    "An apple a day": "apple day",
    "None": "0",
    "ten": "10",
    "eleven": "eleven",
    "1,000 cats": "1000 cats",
    "red, blue": "red blue",
    "red,blue": "red blue",
    "3.5": "3.5",
    ".5": ".5",
    "U.S.A.": "usa",
    "yes.": "yes",
    "dont know": "don't know",
    "don’t know": "don't know",
    "its": "its",
    "girl's": "girl's",
    "2:50 pm": "2:50 pm",
    "t-shirt": "t shirt",
    "black/white": "black white",
    '"stop"': "stop",
    "(left)": "left",
    "$5": "$5",
    "50%": "50%",
    "  blue \n sky ": "blue sky",
    "yall'll": "y'all'll",
    "the": "the",
    "A": "a",
    "?": "?",
    "": "",
    "ÉCOLE": "école",
    "红色": "红色",
}


@pytest.mark.parametrize("text", NORMAL)
def test_a_normal_answer(text):
    assert normal_answer(text) == NORMAL[text]


@given(st.text("aAthe 1,.’'?!-\n$é红", max_size=12))
def test_what_is_said_stays_said(text):
    assert bool(normal_answer(text)) == bool(text.strip().replace("’", "'").split())


@given(st.sampled_from(sorted(contractions().values())))
def test_a_contraction_is_known_without_its_apostrophes(whole):
    assert normal_answer(whole) == whole
    bare = whole.replace("'", "")
    assert normal_answer(bare) in (whole, bare), "some lose all apostrophes only in part"


def brute_vote(matches, voters):
    """All subsets that leave one voter out, by making them."""
    said = [True] * matches + [False] * (voters - matches)
    subsets = list(combinations(said, voters - 1))
    return sum(min(1, sum(subset) / 3) for subset in subsets) / len(subsets)


@given(st.integers(4, 14).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_vote_is_that_of_the_subsets(counted):
    assert vote_share(*counted) == pytest.approx(brute_vote(*counted))


def test_the_vote_of_ten():
    """The values that ten annotators can give."""
    assert [round(vote_share(k, 10), 2) for k in range(11)] == [0, 0.3, 0.6, 0.9, *[1.0] * 7]


words = st.sampled_from(["red", "Red.", "the red", "blue", "two", "2", "", "dark red", "none", "0"])


@given(st.lists(words, min_size=10, max_size=10), words)
def test_the_score_is_the_vote_on_normal_answers(answers, said):
    (score,) = VqaVote()([Sample("a", "?", meta={"answers": answers})], [Output(said)])
    agree = [normal_answer(answer) == normal_answer(said) for answer in answers]
    assert score.value == pytest.approx(brute_vote(sum(agree), 10) if said else 0)
    assert (score.status == "unparsed") == (not said)


@pytest.mark.parametrize("answers", [None, [], ["red"] * 3, "red"])
def test_a_vote_needs_voters(answers):
    with pytest.raises(
        KeepsightError, match=r"sample a has (no|0|3) annotators' answers; a vote needs at least 4"
    ):
        VqaVote()([Sample("a", "?", meta={"answers": answers})], [Output("red")])


def test_what_annotators_said_is_no_refusal():
    sample = Sample(
        "a", "?", meta={"answers": ["sorry we're closed"] * 2 + ["closed"] * 8}, target=("closed",)
    )
    said = ["Sorry, we're closed.", "I'm sorry, I cannot see the image.", "closed", ""]
    scores = VqaVote()([sample] * 4, [Output(text) for text in said])
    assert [s.value for s in scores] == pytest.approx([0.6, 0, 1, 0])
    assert [s.status for s in scores] == ["ok", "refused", "ok", "unparsed"]


EXACT = [
    ("elephants", "Elephants.", 1, "ok"),
    ("2", "two", 1, "ok"),
    ("two", "Two apples", 0, "ok"),
    ("a", "A", 1, "ok"),
    ("a", "the", 0, "ok"),
    ("Zondervan", "It is Zondervan", 0, "ok"),
    ("unanswerable", "Unanswerable", 1, "ok"),
    ("no", "", 0, "unparsed"),
    ("no", " \n", 0, "unparsed"),
    ("no", "I'm sorry, I cannot see the image.", 0, "refused"),
]


@pytest.mark.parametrize(("truth", "said", "value", "status"), EXACT)
def test_exact(truth, said, value, status):
    (score,) = Exact()([Sample("a", "?", target=(truth,))], [Output(said)])
    assert (score.value, score.status) == (value, status)


@pytest.mark.parametrize(
    ("truth", "said", "value"),
    [
        ("two", "Two apples", 1),
        ("cat", "concatenate", 0),
        ("red car", "a red, old car", 0),
        ("the", "the", 1),
        ("x", "", 0),
    ],
)
def test_contains(truth, said, value):
    assert Contains()([Sample("a", "?", target=(truth,))], [Output(said)])[0].value == value


@pytest.mark.parametrize("target", [(), ("",), ("  ", "")])
def test_without_a_target_nothing_is_right(target):
    for scorer in (Exact(), Contains()):
        with pytest.raises(KeepsightError, match="sample a has no target"):
            scorer([Sample("a", "?", target=target)], [Output("x")])


def test_any_of_several_targets():
    sample = Sample("a", "?", target=("", "great white shark", "white shark"))
    assert [s.value for s in Exact()([sample] * 2, [Output("White shark"), Output("shark")])] == [1, 0]


def test_a_small_letter_and_its_text_are_the_letter():
    sample = Sample("a", "?", target=("B",), choices=("Vermont", "New Hampshire"))
    said = ["b. new hampshire", "b: New Hampshire", "a. vermont", "a new hampshire"]
    scores = LetterOnly()([sample] * 4, [Output(text) for text in said])
    assert [(s.value, s.answer) for s in scores] == [(1, "B"), (1, "B"), (0, "A"), (0, "B")]


def test_the_letter_alone():
    sample = Sample("a", "?", target=("B",), choices=("cat", "dog"))
    said = ["B", "b.", "(B)", "B. dog", "dog", "cat", "E", "both", ""]
    scores = LetterOnly()([sample] * 9, [Output(text) for text in said])
    assert [s.value for s in scores] == [1, 1, 1, 1, 0, 0, 0, 0, 0]
    assert [s.answer for s in scores] == ["B"] * 5 + ["A", None, None, None]
    assert ["right_text" in s.tags for s in scores] == [False] * 4 + [True] + [False] * 4
