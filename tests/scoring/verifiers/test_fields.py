"""Reading the fields of an answer, from JSON proper to what models write instead."""

import random

import pytest

from keepsight.scoring.verifiers.fields import json_objects, read_fields

NAMES = ("cards", "formula")


@pytest.mark.parametrize(
    "text",
    [
        '{"cards": ["6", "4", "A", "A"], "formula": "6*4=24"}',
        '```json\n{"cards": ["6", "4", "A", "A"], "formula": "6*4=24"}\n```',
        'Sure!\n{"Cards": ["6", "4", "A", "A"], "FORMULA": "6*4=24"} Is that right?',
        '{{"cards": ["6", "4", "A", "A"], "formula": "6*4=24"}}',
        '{"thoughts": {"cards": 4}, "cards": ["6", "4", "A", "A"], "formula": "6*4=24"}',
        '{"answer": {"cards": ["6", "4", "A", "A"], "formula": "6*4=24"}}',
        '{"cards": ["6", "4", "A", "A"], "formula": "6*4=24",}',
        "{\n  \"cards\": ['6', '4', 'A', 'A'],\n  \"number\": [6, 4, 1, 1],\n  \"formula\": \"6*4=24\",\n}",
        "{'cards': ['6', '4', 'A', 'A'], 'formula': '6*4=24'}",
        "{{\n  'cards': [6, 4, A, A],\n  'formula': '6*4=24',\n}}",
        "{cards: [6, 4, A, A,], formula: 6*4=24}",
        '"cards": ["6", "4", "A", "A"],\n"formula": "6*4=24"',
        "cards: [6, 4, A, A]\nformula: 6*4=24\n",
        "**Cards:** [6, 4, A, A]\n\n**Formula:** `6*4=24`",
        'I first thought "formula": "9*9". No:\n{"cards": [6, 4, A, A], "formula": "6*4=24", ',
        '{"cards": ["6", "4", "A", "A"], "formula": "6*4=24"',
    ],
)
def test_ugly_answers_are_read(text):
    given = read_fields(text, NAMES)
    assert given["cards"] == ["6", "4", "A", "A"]
    assert given["formula"] == "6*4=24"


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("", {}),
        ("6*4=24", {}),
        ("The formulas: 6*4", {}),
        ('{"current formula": "6*4"}', {"formula": "6*4"}),
        ('{"cards": 7, "formula": null}', {"cards": 7, "formula": None}),
        ('{"formula": 24}', {"formula": 24}),
        ("cards: []", {"cards": []}),
        ("formula:", {"formula": ""}),
        ('cards: [6, 4\n"formula": "6*4"', {"cards": "[6", "formula": "6*4"}),
        ('{"formula": "unclosed, \n}', {"formula": "unclosed"}),
    ],
)
def test_what_is_not_there_is_not_made_up(text, given):
    assert read_fields(text, NAMES) == given


def test_the_last_object_counts():
    text = '{"formula": "1"} then {"formula": "2"} and {"other": 3}'
    assert read_fields(text, NAMES) == {"formula": "2"}
    assert [*json_objects(text)] == [{"other": 3}, {"formula": "2"}, {"formula": "1"}]


def test_any_text_is_read_soon():
    rng = random.Random(0)
    words = [
        '"cards"',
        "formula",
        ":",
        " ",
        "[",
        "]",
        '"',
        "'",
        "{",
        "}",
        ",",
        "*",
        "6",
        "\n",
        "\\",
        "é",
        "\ud800",
    ]
    for _ in range(3000):
        read_fields("".join(rng.choices(words, k=rng.randrange(60))), NAMES)
    for worst in (
        "{",
        '{"a":',
        "formula",
        "formula:",
        "formula: [",
        "cards" + " ",
        '"cards": "',
        "[[",
        "9",
        "* ",
    ):
        read_fields(worst * (100_000 // len(worst)), NAMES)
