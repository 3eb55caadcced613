"""The grammar of formulas: against Python's own arithmetic where it may agree, and on text that is no formula."""

import ast
import contextlib
import random
from fractions import Fraction

import pytest

from keepsight.scoring.verifiers.arithmetic import IllFormed, numbers_in, rounded_value_of, value_of

WORDS = [
    *"0123456789+-*/()",
    "  ",
    "10",
    "13",
    "**",
    "//",
    "=24",
    "x",
    "²",
    "٣",
    "×",
    "\n",
    "\0",
    "1e9",
    "(" * 40,
]


def fraction_of(node: ast.expr) -> Fraction:
    """The same value from Python's grammar."""
    if isinstance(node, ast.Constant):
        return Fraction(node.value)
    left, right = fraction_of(node.left), fraction_of(node.right)
    match node.op:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Div():
            return left / right
    raise AssertionError(node.op)


def random_formula(rng: random.Random, depth: int) -> str:
    if depth == 0 or rng.random() < 0.2:
        return str(rng.randrange(100))
    one, other = random_formula(rng, depth - 1), random_formula(rng, depth - 1)
    blank = rng.choice(["", " ", "\t"])
    formula = f"{one}{blank}{rng.choice('+-*/')}{blank}{other}"
    return f"({formula})" if rng.random() < 0.5 else formula


def test_values_are_those_of_python_in_fractions():
    rng, divided = random.Random(0), 0
    for _ in range(3000):
        text = random_formula(rng, rng.randrange(5))
        try:
            value = fraction_of(ast.parse(text.replace("\t", " "), mode="eval").body)
        except ZeroDivisionError:
            divided += 1
            with pytest.raises(IllFormed, match="divides by zero"):
                value_of(text)
        else:
            assert value_of(text) == value
    assert divided


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8/(3-8/3)", 24),
        (" ( 1 + 6 ) * 3 + 13 ", 34),
        ("1/3+1/3+1/3", 1),
        ("9-3-2", 4),
        ("24/4/2", 3),
        ("2*(3)", 6),
        ("((7))", 7),
        ("0*5", 0),
    ],
)
def test_values(text, value):
    assert value_of(text) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "ends too early"),
        ("   ", "ends too early"),
        ("2 4+5-5", "4 stands where an operator should"),
        ("6**4", "'\\*' stands where a number should"),
        ("6//4", "'/' stands where a number should"),
        ("-6+30", "'-' stands where a number should"),
        ("6*-4", "'-' stands where a number should"),
        ("(6*4", "not closed"),
        ("6*4)", "'\\)' stands where an operator should"),
        ("()", "'\\)' stands where a number should"),
        ("2(3)", "'\\(' stands where an operator should"),
        ("(2)3", "3 stands where an operator should"),
        ("6*4=24", "'=' is no digit"),
        ("6×4", "'×' is no digit"),
        ("٣+3", "'٣' is no digit"),
        ("2²", "'²' is no digit"),
        ("1.5*16", r"'\.' is no digit"),
        ("1_000", "'_' is no digit"),
        ("6*4\n", "is no digit"),
        ("24+", "ends too early"),
        ("5/(3-3)", "divides by zero"),
        ("012*2", "begins with a zero"),
        ("1234567", "more than 6"),
        ("9**9**9**9", "stands where a number should"),
        ("+".join("1" * 200), "more than 256"),
        ("(" * 33 + "1" + ")" * 33, "more than 32 brackets"),
        ("__import__('os')", "is no digit"),
    ],
)
def test_what_is_no_formula(text, why):
    with pytest.raises(IllFormed, match=why):
        value_of(text)


def test_limits_are_reached_and_not_passed():
    assert value_of("(" * 32 + "1" + ")" * 32) == 1
    assert value_of("+".join("1" * 128)) == 128
    assert value_of("999999*1") == 999999


def test_numbers_stand_in_their_order():
    assert numbers_in("(13 - 1) / 3 * 6") == (13, 1, 3, 6)
    assert numbers_in("") == ()
    assert numbers_in("2 4 +") == (2, 4)
    with pytest.raises(IllFormed):
        numbers_in("2 + x")


def test_a_hundred_thousand_texts_end_in_a_value_or_in_ill_formed():
    rng, values = random.Random(1), 0
    for _ in range(100_000):
        text = "".join(rng.choices(WORDS[:17] if rng.random() < 0.7 else WORDS, k=rng.randrange(9)))
        with contextlib.suppress(IllFormed):
            values += isinstance(value_of(text), Fraction)
    assert values > 1000
    for worst in ("/".join(["1"] + ["999983"] * 36), "(" * 10**6, "1" * 10**6, "1+" * 10**6):
        with contextlib.suppress(IllFormed):
            value_of(worst)


def test_rounded_values_are_those_of_python():
    for text in ("8/(3-8/3)", "1/3+1/3+1/3", "7*4-8/2"):
        assert rounded_value_of(text) == eval(text)
    assert rounded_value_of("8/(3-8/3)") != 24
