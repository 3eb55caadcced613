"""The verifier of GeneralPoints: tables of answers; the released rule as it was measured."""

import json
import random
import re

import pytest

from keepsight.envs.solving import solutions
from keepsight.errors import UsageError
from keepsight.scoring.verifiers.points import Hand, PointsAnswer, rank_of, read_answer, verdict
from keepsight.scoring.verifiers.points_released import released_verdict
from tests.envs.long_texts import assert_reads_quickly

HAND = Hand(("6", "4", "A", "A"), (6, 4, 1, 1))
FRACTIONS = Hand(("3", "3", "8", "8"), (3, 3, 8, 8))


def answer(formula, cards='["6", "4", "A", "A"]'):
    return f'{{"cards": {cards}, "number": [6, 4, 1, 1], "formula": {json.dumps(formula)}}}'


def as_prompted(formula, cards="['6', '4', 'A', 'A']"):
    """With the single quotes and the comma too much of the prompt's own form."""
    return f'{{\n  "cards": {cards},\n  "number": [6, 4, 1, 1],\n  "formula": "{formula}",\n}}'


# formula, our reward, our status, the released reward (as measured), the released message
FORMULAS = [
    ("6*4*1*1=24", 5, "parsed", 5, "Correct solution."),
    ("6*4*1*1", 5, "parsed", 5, "Correct solution."),
    ("6*4*1*1=99", -1, "parsed", 5, "Correct solution."),
    ("6 * 4 * 1 * 1 = 24", 5, "parsed", -3, "illegal characters."),
    ("6*(4*1*1=24", -3, "illegal", 1, "partial solution."),
    (
        "6+4+1+1=24",
        -1,
        "parsed",
        -1,
        "6 is partially correct but the full formula does not match any solution.",
    ),
    ("6*4*(1-1)=24", -1, "parsed", -1, None),
    ("6*4/(1-1)=24", -3, "illegal", -1, None),
    ("7*4*1*1=28", -2, "parsed", -4, "you used invalid numbers: [7], you didn't use numbers: [6]."),
    ("6*6*1*1", -2, "parsed", -4, "you used numbers: [6] too many times, you didn't use numbers: [4]."),
    ("6*4", -2, "parsed", -2, "you didn't use numbers: [1]."),
    ("6**4//1", -3, "illegal", -8, None),
    ("Let me think step by step", -3, "illegal", -3, "illegal characters."),
    ("-6*4*1*1", -3, "illegal", -3, "invalid sequence after operator."),
    ("64*1*1", -2, "parsed", -4, None),
    ("6*4*1 1", -3, "illegal", -3, "illegal characters."),
    ("24", -2, "parsed", -4, None),
    ("6*4*1*1=24=24", -3, "illegal", 5, "Correct solution."),
    ("6*4*1*1=twenty-four", -3, "illegal", 5, "Correct solution."),
    ("6*4*1*1=", -3, "illegal", 5, "Correct solution."),
    ("6*4*1*1=24.0", 5, "parsed", 5, "Correct solution."),
    ("6*4*1*1 = 24.", 5, "parsed", -3, "illegal characters."),
    ("6*4*1*1=24.000001", -1, "parsed", 5, "Correct solution."),
    ("6*4*1*1=2.4", -1, "parsed", 5, "Correct solution."),
    ("6*4*1*1=24.0.0", -3, "illegal", 5, "Correct solution."),
    ("6*4*1*1=24e0", -3, "illegal", 5, "Correct solution."),
    ("6*4*1*1=-24", -3, "illegal", 5, "Correct solution."),
    ("24=6*4*1*1", -3, "illegal", -4, None),
    ("6×4×1×1=24", -3, "illegal", -3, "illegal characters."),
    ("((6*4))*1*1 = 24", 5, "parsed", -3, "illegal characters."),
]


@pytest.mark.parametrize(("formula", "reward", "status", "released", "message"), FORMULAS)
def test_formulas(formula, reward, status, released, message):
    for text in (answer(formula), as_prompted(formula), f"```json\n{answer(formula)}\n```"):
        said = verdict(text, HAND)
        assert (said.reward, said.status, said.solved) == (reward, status, reward == 5)
        assert said.tags == ()
        assert said.message.endswith(".") and said.message != "."
    theirs = released_verdict(as_prompted(formula), HAND, solutions(HAND.numbers, 24), sees_cards=True)
    assert (theirs.reward, theirs.solved) == (released, released == 5)
    assert message is None or theirs.message == message


def test_an_exact_solution_that_floats_miss():
    text = as_prompted("8/(3-8/3)=24", list(FRACTIONS.ranks))
    assert verdict(text, FRACTIONS, sees_cards=True).reward == 5
    theirs = released_verdict(text, FRACTIONS, solutions(FRACTIONS.numbers, 24), sees_cards=True)
    assert (theirs.reward, theirs.message) == (0, ".")


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("6+4+1+1", "your formula is incorrect."),
        ("7*4*1*1", "you used invalid numbers: [7], you didn't use numbers: [6]."),
        ("6*6*6*4", "you used numbers: [6] too many times, you didn't use numbers: [1]."),
        ("6*(4*1*1", "your formula is illegal: a bracket is not closed."),
        ("6*4*x", "your formula is illegal: 'x' is no digit, operator or bracket."),
        ("6*4=1=1", "your formula is illegal: it has more than one '='."),
        ("6*4*1*1=2.4", "your formula is incorrect."),
        ("6*4*1*1=all", "your formula is illegal: what stands right of '=' is no number."),
        ("6*4*1/(1-1)", "your formula is illegal: it divides by zero."),
        ("", "your answer has no formula."),
        ("6*4*1*1", "Correct solution."),
    ],
)
def test_messages(formula, message):
    assert verdict(answer(formula), HAND).message == message


@pytest.mark.parametrize(
    "text", ["", "6*4*1*1=24", "I see no cards.", "[]", "{}", '{"formula": null}', '{"formula": ["6*4*1*1"]}']
)
def test_no_formula(text):
    said = verdict(text, HAND)
    assert (said.reward, said.status, said.answer.formula) == (-3, "unparsed", None)


RECOGNIZED = [
    '["6", "4", "A", "A"]',
    '["A", "6", "A", "4"]',
    "['6', '4', 'A', 'A']",
    "[6, 4, A, A]",
    "[6, 4, 1, 1]",
    '[6, 4, "A", 1]',
    '["6", "4", "ace", "a"]',
    '"6, 4, A, A"',
    '"[6, 4, A, A]"',
    '[" 6", "4 ", "A", "A"]',
    '["6♠", "4♥️", "A♦", "♣A"]',
    '["6 of spades", "4 of Hearts", "ace of diamonds", "A of club"]',
    '["6S", "4h", "AD", "1C"]',
]
MISREAD = [
    '["6", "4", "A"]',
    '["6", "4", "A", "A", "A"]',
    '["6", "4", "A", "2"]',
    '["?"]',
    '["6♠♠", "4", "A", "A"]',
    '["6 of", "4", "A", "A"]',
]
UNSTATED = ["[]", "null", "7", '""', '[" "]', '"?"', '"6 and 4"']


@pytest.mark.parametrize("cards", RECOGNIZED)
@pytest.mark.parametrize("penalty", ["replace", "add"])
def test_cards_that_were_recognized(cards, penalty):
    for formula, reward in (("6*4*1*1=24", 5), ("6+4+1+1", -1), ("6*7", -2), ("6*", -3)):
        said = verdict(answer(formula, cards), HAND, sees_cards=True, recognition_penalty=penalty)
        assert (said.reward, said.tags) == (reward, ("recognized",))


@pytest.mark.parametrize("cards", MISREAD + UNSTATED)
def test_cards_that_were_not_recognized(cards):
    for formula, reward in (("6*4*1*1=24", 5), ("6+4+1+1", -1), ("6*7", -2), ("6*", -3), ("", -3)):
        text, tags = answer(formula, cards), ("misrecognized",) * (cards in MISREAD)
        replaced = verdict(text, HAND, sees_cards=True)
        assert (replaced.reward, replaced.message) == (-1.5, "you recognized wrong cards.")
        assert (replaced.tags, replaced.solved) == (tags, False)
        added = verdict(text, HAND, sees_cards=True, recognition_penalty="add")
        assert (added.reward, added.tags) == (reward - 1.5, tags)
        assert added.solved == (reward == 5)
        assert added.message == replaced.message
        assert verdict(text, HAND).reward == reward


@pytest.mark.parametrize("penalty", ["replace", "add"])
def test_what_is_said_of_misread_cards_does_not_tell_them(penalty):
    """Else later answers could do without the picture: every number in the message stands in the answer."""
    rng = random.Random(0)
    for _ in range(3000):
        hand, taken = ([rng.randint(1, 10) for _ in range(4)] for _ in range(2))
        if sorted(hand) == sorted(taken):
            continue
        ranks = [rank_of(str(number)) for number in taken]
        formula = "".join(f"{number}{rng.choice('+-*/')}" for number in rng.sample(taken, rng.randint(1, 4)))[
            :-1
        ]
        text = json.dumps({"cards": rng.choice((ranks, None)), "formula": formula})
        shown = Hand(tuple(rank_of(str(number)) for number in hand), tuple(hand))
        said = verdict(text, shown, sees_cards=True, recognition_penalty=penalty)
        assert "recognized" not in said.tags
        assert set(re.findall(r"\d+", said.message)) <= set(re.findall(r"\d+", text)), said.message


def test_an_answer_without_cards_did_not_recognize_them():
    said = verdict("no idea", HAND, sees_cards=True)
    assert (said.reward, said.message, said.tags) == (-1.5, "you recognized wrong cards.", ())


def test_tens_and_aces_have_two_names():
    hand = Hand(("10", "10", "A", "K"), (10, 10, 1, 10))
    for cards in ('["10", "T", "1", "K"]', '["t", 10, "A", "k"]', '["10", "10", "Ace", "king"]'):
        said = verdict(answer("10+10+1*10", cards), hand, sees_cards=True)
        assert said.tags == ("recognized",)
    assert verdict(answer("1", '["10", "10", "A", "10"]'), hand, sees_cards=True).tags == ("misrecognized",)


def test_what_was_read_is_kept():
    assert read_answer(as_prompted("6*4 = 24")) == PointsAnswer(
        ("6", "4", "A", "A"), ("6", "4", "1", "1"), "6*4 = 24"
    )
    assert read_answer('{"formula": 24, "cards": [1, 10, "T"]}') == PointsAnswer(
        ("A", "10", "10"), None, "24"
    )


def test_another_target():
    hand = Hand(("2", "3"), (2, 3), target=6)
    assert verdict('{"formula": "2*3=6"}', hand).reward == 5
    assert verdict('{"formula": "2*3=24"}', hand).message == "your formula is incorrect."


def test_another_penalty_is_refused():
    with pytest.raises(UsageError, match="give replace or add"):
        verdict("", HAND, recognition_penalty="twice")


@pytest.mark.parametrize(
    ("cards", "recognized"),
    [
        ("['6', '4', 'A', 'A']", True),
        ("[6, 4, A, A]", True),
        ('["6", "4", "A", "A"]', False),
        ("[6, 4, 1, 1]", False),
        ("[A, A, 4, 6]", True),
    ],
)
def test_lists_that_the_released_code_reads(cards, recognized):
    """Recognition as it was measured: JSON proper fails, as do four integers without quotes."""
    solved = released_verdict(as_prompted("6*4*1*1=24", cards), HAND, ("6*4*1*1",), sees_cards=True)
    assert solved.reward == (5 if recognized else -1.5)
    assert solved.tags == (("recognized",) if recognized else ("misrecognized",))
    assert released_verdict(as_prompted("6*4*1*1=24", cards), HAND, ("6*4*1*1",)).reward == 5


def test_the_released_code_never_recognizes_four_whole_numbers():
    hand, solved = Hand(("6", "4", "2", "2"), (6, 4, 2, 2)), "6*4*2/2=24"
    for cards, reward in (("[6, 4, 2, 2]", -1.5), ("['6', '4', '2', '2']", 5), ("[6,4,2,2]", 5)):
        said = released_verdict(
            as_prompted(solved, cards), hand, solutions(hand.numbers, 24), sees_cards=True
        )
        assert said.reward == reward
        assert verdict(as_prompted(solved, cards), hand, sees_cards=True).reward == 5


@pytest.mark.parametrize(
    ("formula", "status"),
    [("7*4*1*1", "parsed"), ("6*4", "parsed"), ("6+4+1+1", "parsed"), ("6**4//1", "illegal")],
)
def test_illegal_means_the_same_in_the_released_rule(formula, status):
    assert verdict(answer(formula), HAND).status == status
    assert released_verdict(answer(formula), HAND, solutions(HAND.numbers, 24)).status == status


def test_the_released_code_never_recognizes_valid_json():
    said = released_verdict(answer("6*4*1*1=24"), HAND, ("6*4*1*1",), sees_cards=True)
    assert (said.reward, said.message) == (-1.5, "you recognized wrong cards")
    assert verdict(answer("6*4*1*1=24"), HAND, sees_cards=True).reward == 5


def test_no_verdict_takes_long():
    found = solutions(HAND.numbers, 24)
    assert_reads_quickly(lambda text: verdict(text, HAND, sees_cards=True))
    assert_reads_quickly(lambda text: released_verdict(text, HAND, found))


def test_any_text_gets_a_verdict():
    rng = random.Random(0)
    words = [
        '"cards": ',
        '"formula": ',
        "[",
        "]",
        '"',
        "{",
        "}",
        ", ",
        "6",
        "4",
        "1",
        "*",
        "+",
        "(",
        ")",
        "=24",
        "x",
    ]
    found = solutions(HAND.numbers, 24)
    for _ in range(5000):
        text = "".join(rng.choices(words, k=rng.randrange(30)))
        said = verdict(text, HAND, sees_cards=rng.random() < 0.5)
        assert said.reward in (5, -1, -1.5, -2, -3)
        released_verdict(text, HAND, found, sees_cards=rng.random() < 0.5)
    for worst in (
        '{"formula": "' + "9" * 10**5,
        '{"formula": ' + "9" * 10**5 + "}",
        '"formula": "' + "(" * 10**5 + '"',
    ):
        assert verdict(worst, HAND).reward == -3
        assert released_verdict(worst, HAND, found).reward < 0
    assert verdict('{"formula": ' + "9" * 4000 + "}", HAND).reward == -3
