"""Letters are read from ugly answers, the article is none, and what settles nothing is unparsed, never guessed."""

import math

import pytest

from keepsight.scoring.choice_letter import ChoiceLetter, mmmu_letter, option_text_share, read_letter
from keepsight.scoring.metrics import accuracy, refused_share, unparsed_share
from keepsight.types import KeepsightError, Output, Sample

POSITIONS = ("Fowler's position", "Upright position", "Trendelenburg position", "Flat position")
SAMPLE = Sample("q", "Which position?", target=("C",), choices=POSITIONS)

ALONE = {
    "C": "C",
    "c": "C",
    " C ": "C",
    "C.": "C",
    "C)": "C",
    "(C)": "C",
    "( c )": "C",
    "[C]": "C",
    '"C"': "C",
    "'C'.": "C",
    "**C**": "C",
    "`C`": "C",
    "a": "A",
    "(a).": "A",
    "A": "A",
    "A.": "A",
    "A!": "A",
    "Option A": "A",
    "option (b)": "B",
    "Choice d.": "D",
    "Letter B": "B",
    "$B$": "B",
    "C\n": "C",
    "C。": "C",
    "Ｃ": "C",
    "（Ｃ）": "C",
    "「C」": "C",
    "«B»": "B",
    "【D】": "D",
    "B、": "B",
    "<think>A or B? It is D, no.</think>\nB": "B",
}
CONCLUSION = {
    "Answer: B": "B",
    "answer: b": "B",
    "ANSWER:B": "B",
    "Answer - B": "B",
    "Answer：Ｂ": "B",
    "Answer:\n\nB": "B",
    "The answer is **C**.": "C",
    "The answer is C. Trendelenburg position": "C",
    "The answer is (C) Trendelenburg position.": "C",
    "the correct answer is: (D)": "D",
    "The correct option is B.": "B",
    "The best choice would be D, as the others are wrong.": "D",
    "The answer is option A.": "A",
    "The answer is A.": "A",
    "My answer is A because it is the only one left.": "A",
    "The answer to this question is B.": "B",
    "B is the correct answer.": "B",
    "I am sure that C is correct, although A is tempting.": "C",
    "Option D is right.": "D",
    "I think it is B because A is wrong.": "B",
    "It's B, not A.": "B",
    "It is not A, it is B.": "B",
    "I would choose D.": "D",
    "I'd go with C since B is out.": "C",
    "A looks good, and B as well, but the answer is D.": "D",
    "The answer is B. A is for other patients, and C is for children.": "B",
    "Let us see. A is a sitting position. B is upright. So the answer is C.": "C",
    "The answer is A, I thought. Final answer: B": "B",
    "First I thought the answer is A.\n\nFinal answer: **D**": "D",
    "Therefore, \\boxed{C}": "C",
    "\\boxed{\\text{B}}": "B",
    "答案是B。": "B",
    "答案：Ｄ": "D",
    "正解はCです。": "C",
    "我选B": "B",
    "Die Antwort ist D.": "D",
    "La réponse est « B ».": "B",
    "La respuesta es C.": "C",
    "Ответ: B": "B",
    "The answer isn't A but B. The answer is B": "B",
    "B. Upright position is for standing, so the answer is C.": "C",
    "answer: c. trendelenburg position": "C",
    "the answer is b) upright position": "B",
    "The answer is a. Fowler's position.": "A",
}
FIRST = {
    "C. Trendelenburg position": "C",
    "C) Trendelenburg position": "C",
    "(C) Trendelenburg position": "C",
    "C: Trendelenburg position": "C",
    "C - Trendelenburg position": "C",
    "C, because the feet are raised.": "C",
    "C because the feet are raised": "C",
    "**C.** The feet are raised, so A and B are wrong.": "C",
    "C\nThe feet are raised.": "C",
    "c) Trendelenburg position": "C",
    "A. Fowler's position": "A",
    "A, because he must sit.": "A",
    "Option B: he stands": "B",
    "Ｃ．Trendelenburg position": "C",
    "C。因为": "C",
    "B. It is not the flat position.": "B",
    "c. trendelenburg position": "C",
    "c.trendelenburg position": "C",
    "c: trendelenburg position": "C",
    "**c.** trendelenburg position": "C",
    "(c). the trendelenburg position": "C",
    "option c: the trendelenburg position": "C",
    "a. fowler's position": "A",
    "a: Fowler's position": "A",
    "c.\ntrendelenburg position": "C",
    "c. trendelenburg position, because the feet are raised.": "C",
}
MENTION = {
    "I see the letter B here": None,
    "Well, (B).": "B",
    "Not A, not B and not D: C": "C",
    "Perhaps B?": "B",
    "Hmm. B?": "B",
    "A is wrong. B is wrong. D.": "D",
    "It must be option B": "B",
}
TEXT = {
    "Trendelenburg position": "C",
    "trendelenburg  POSITION.": "C",
    "The Trendelenburg position is used": "C",
    "A Trendelenburg position is used": "C",
    "It is a flat position.": "D",
    "The answer is A Trendelenburg position": "C",
    "It is A flat position, I think": "D",
    "Fowler’s position": "A",
    "It's not the flat position but the upright position": "B",
    "A patient in shock is put in the Trendelenburg position.": "C",
    "a trendelenburg position": "C",
    "a flat position.": "D",
    "e.g. the upright position": "B",
    "i.e. upright position": "B",
    "cf. a flat position": "D",
}
UNPARSED = [
    "",
    "   ",
    "I",
    "E",
    "AB",
    "ABCD",
    "A, B",
    "A or B",
    "A and B",
    "A/B",
    "(A) (C)",
    "A B C D",
    "Choose A, B, C, or D.",
    "The answer is A or B.",
    "The answer is A, B, or C.",
    "The answer is A. The answer is B.",
    "Either B or C",
    "I think A or D is right",
    "A. Fowler's position\nB. Upright position\nC. Trendelenburg position\nD. Flat position",
    "A. Flat position",  # the letter of one, the text of another
    "a. flat position",
    "a. fowler's position\nb. upright position\nc. trendelenburg position\nd. flat position",
    "a. a patient lies down",
    "d. trump",
    "A patient lies down.",
    "A cat",
    "a dog in b minor",
    "Vitamin C is good for it.",
    "A is wrong.",
    "It is not B.",
    "The answer is not B.",
    "I do not think the answer is B.",
    "The answer isn't C.",
    "position",
    "Upright position or flat position",
    "It is none of the above.",
    "Both A and C are correct.",
    "B2",
    "plan-B",
    "D'accord",
    "An A+ for effort",
    "The object is a(n) cup.",
    "fish",
    "the the the",
    "?",
    "Бета",
    "😀",
]
REFUSED = [
    "I'm sorry, but I cannot see the image.",
    "I cannot identify the object in image A.",
    "As an AI language model I cannot answer.",
    "Sorry, I am unable to determine whether it is B or C.",
]


@pytest.mark.parametrize(
    ("rule", "table"),
    [("alone", ALONE), ("conclusion", CONCLUSION), ("first", FIRST), ("option_text", TEXT)],
)
def test_answers_are_read(rule, table):
    wrong = {text: read_letter(text, POSITIONS) for text in table}
    assert {text: (r.letter, r.rule) for text, r in wrong.items()} == {t: (v, rule) for t, v in table.items()}


def test_mentions_are_read_where_only_one_is_meant():
    assert {text: read_letter(text, POSITIONS).letter for text in MENTION} == MENTION


def test_what_settles_nothing_is_unparsed():
    read = {text: read_letter(text, POSITIONS).letter for text in UNPARSED}
    assert read == dict.fromkeys(UNPARSED)


def score(text, target="C"):
    return ChoiceLetter()([Sample("q", "?", target=(target,), choices=POSITIONS)], [Output(text)])[0]


def test_a_refusal_is_neither_right_nor_wrong():
    assert [score(text).status for text in REFUSED] == ["refused"] * len(REFUSED)
    assert all(math.isnan(score(text).value) for text in REFUSED)
    assert score("I'm sorry, I cannot see the image well, but the answer is C.").answer == "C"


def test_an_option_that_sounds_like_a_refusal_is_an_answer():
    signs = ("Sorry, we are closed", "Open", "Push")
    sample = Sample("q", "What does the sign say?", target=("A",), choices=signs)
    texts = ["sorry, we are closed", "It says: sorry, we are closed.", "Sorry, I cannot see if it is open."]
    assert [s.status for s in ChoiceLetter()([sample] * 3, [Output(t) for t in texts])] == [
        "ok",
        "ok",
        "refused",
    ]


def test_outcomes_are_kept_apart():
    texts = ["C", "It is the Trendelenburg position", "no idea", REFUSED[0], "B"]
    samples = [Sample(f"q{i}", "?", target=("C",), choices=POSITIONS) for i in range(len(texts))]
    scores = ChoiceLetter()(samples, [Output(text) for text in texts])
    assert [s.status for s in scores] == ["ok", "ok", "unparsed", "refused", "ok"]
    assert [s.answer for s in scores] == ["C", "C", None, None, "B"]
    assert [s.tags for s in scores] == [("alone",), ("option_text",), (), (), ("alone",)]
    assert (accuracy(samples, scores).value, accuracy(samples, scores).n) == (0.5, 4)
    assert unparsed_share(samples, scores).value == refused_share(samples, scores).value == 0.2
    assert option_text_share(samples, scores).value == 0.25
    assert all(metric(samples, scores).total == 5 for metric in (accuracy, unparsed_share, option_text_share))


@pytest.mark.parametrize("text", [*UNPARSED, "blue", "Choose wisely"])
def test_an_unreadable_answer_is_the_same_every_time(text):
    assert {(s.value, s.answer, s.status) for s in (score(text, t) for t in "ABCD")} == {
        (0.0, None, "unparsed")
    }


@pytest.mark.parametrize(
    ("target", "choices"), [("E", POSITIONS), ("", POSITIONS), ("A", ()), ("C", ("x", "y"))]
)
def test_a_sample_that_is_no_such_question(target, choices):
    sample = Sample("q7", "?", target=(target,) if target else (), choices=choices)
    with pytest.raises(KeepsightError, match="sample q7 has"):
        ChoiceLetter()([sample], [Output("A")])


def test_letters_follow_the_number_of_options():
    assert read_letter("The answer is E.", [f"option {i}" for i in range(5)]).letter == "E"
    assert read_letter("C", ("yes", "no")).letter is None


def test_a_longer_option_is_not_read_as_the_shorter_one_in_it():
    choices = ("cat", "wild cat", "dog", "sea")
    assert read_letter("a wild cat", choices).letter == "B"
    assert read_letter("a cat", choices).letter == "A"
    assert read_letter("a wild cat or a cat", choices).letter is None


def test_an_abbreviation_in_an_option_is_no_letter():
    years = ("c. 1850", "c. 1900", "b. 1900", "d. 1950")
    texts = {"c. 1850": "A", "c. 1900.": "B", "b. 1900": "C", "it is d. 1950": "D"}
    assert {text: read_letter(text, years).letter for text in texts} == texts


def test_a_letter_inside_an_option_is_no_answer():
    """Options of the published file; its parser reads B."""
    diseases = ("Lyme disease", "Influenza", "Rabies", "Herpes B virus")
    texts = ("Herpes B virus", "It is the Herpes B virus.", "Herpes B virus can be carried by it, I believe.")
    assert [read_letter(text, diseases).letter for text in texts] == ["D", "D", "D"]
    assert [mmmu_letter(text, diseases) for text in texts] == ["B", "B", "B"]


# Measured on the published parser (facts of the published code); None stands for its random letter.
MMMU = {
    "C. Trendelenburg position": None,
    "C)": None,
    "C, because ...": None,
    "Trendelenburg position": None,
    "A Trendelenburg position is used": "A",
    "I think it is B because A is wrong.": "A",
    "C": "C",
    "C.": "C",
    "(C)": "C",
    "The answer is (B), not (D)": "D",
    "It is clearly the Trendelenburg position here": "C",
    "The upright position or even the flat position": "D",
    "": None,
}


def test_the_published_parser_without_its_guess():
    assert {text: mmmu_letter(text, POSITIONS) for text in MMMU} == MMMU


def test_a_long_answer_is_read_in_its_length():
    import time

    started = time.process_time()
    for unit in (
        "A ",
        "A, ",
        "a. flat ",
        "a. flat position ",
        "the answer is A. ",
        "(B) and ",
        "Trendelenburg position ",
        "\n\n",
        "not ",
    ):
        read_letter(unit * (20_000 // len(unit)), POSITIONS)
    assert time.process_time() - started < 5
