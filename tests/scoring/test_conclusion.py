"""The end of a chain of thought is found in ugly answers, and only there."""

import time

import pytest

from keepsight.scoring.conclusion import conclusion
from keepsight.scoring.labels import LabelMatcher

LABELS = ("cat", "dog", "guinea pig", "pig", "St. Bernard", "ship")
MATCHER = LabelMatcher(LABELS)


def concluded(text, *, cut=False):
    """The labels that the conclusion names, or None."""
    end = conclusion(text, MATCHER, cut=cut)
    return None if end is None else [m.label for m in MATCHER.match(end) if not m.negated]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("cat", ["cat"]),
        ("It has whiskers like a dog, but it meows. The answer is a cat.", ["cat"]),
        ("It may be a dog or a cat.\nAnswer: cat", ["cat"]),
        ("A dog? A cat? **Answer:**\n\n**cat**", ["cat"]),
        ("**Final Answer**: Cat", ["cat"]),
        ("Final answer - cat", ["cat"]),
        ("The final answer is: $\\boxed{\\text{cat}}$. The dog is elsewhere.", ["cat"]),
        ("Dogs bark. \\boxed{cat}", ["cat"]),
        ("The answer is cat. A dog would have a longer nose.", ["cat"]),
        ("Answer: dog. Wait, no, I looked again. Answer: cat.", ["cat"]),
        ("The answer is not obvious. It might be a dog. Therefore, it is a cat.", ["cat"]),
        ("The answer is not a dog. So it is a cat.", ["cat"]),
        ("The answer is cat. Therefore we are done with the dog.", ["cat"]),
        ("Therefore it is a cat. I like dogs.", ["cat"]),
        ("So, the object is a guinea pig.", ["guinea pig"]),
        ("So the animal is a cat, thus no dog. Thank you!", ["cat"]),
        ("It barks, hence a dog... Thus: a cat!", ["cat"]),
        ("First, a dog. Second, a pig. The picture shows a cat.", ["cat"]),
        ("Step 1: the fur.\nStep 2: the ears.\nIt is a cat", ["cat"]),
        ("The answer is a St. Bernard. Not a cat.", ["St. Bernard"]),
        ("In conclusion, the picture shows a ship in front of a harbour.", ["ship"]),
        ("Let's see... is the answer a dog? No. It is a cat.", ["cat"]),
        ("The correct choice is “cat”.", ["cat"]),
        ("the answer would be: cat", ["cat"]),
        ("The answer is one of cat, dog. Hard to say.", ["cat", "dog"]),
        ("ANSWER = CAT", ["cat"]),
        ("It is a cat because it is blurred so that no dog can be seen.", ["cat"]),
        ("", None),
        ("Let's think step by step. It has four legs and fur.", None),
        ("It is not a cat.", None),
        ("The answer is not a cat.", None),
        ("Answer:", None),
        ("answer is is is :::", None),
        ("Therefore", None),
    ],
)
def test_ugly_answers(text, labels):
    assert concluded(text) == labels


def test_what_was_cut_off_reached_no_conclusion_unless_it_said_so_before():
    assert concluded("It could be a dog. It could be a cat") == ["cat"]
    assert concluded("It could be a dog. It could be a cat", cut=True) is None
    assert concluded("The answer is a dog. It has a long nose and", cut=True) == ["dog"]


def test_the_conclusion_is_a_part_of_the_text():
    text = "A dog has a long nose. This one has not. So it is a cat, I think."
    assert conclusion(text, MATCHER) in text and "dog" not in conclusion(text, MATCHER)


@pytest.mark.parametrize("piece", ["answer is ", "answer   ", "so it ", "cat. ", "*_ ", "\n", "answer:"])
def test_time_grows_with_the_length_alone(piece):
    text = piece * (4_000 // len(piece))
    before = time.process_time()
    conclusion(text, MATCHER)
    assert time.process_time() - before < 1.0
