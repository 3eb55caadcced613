"""What is quoted reads back exactly, and spells nothing that a template, a tokenizer or JSON is built of."""

import hashlib
import json
import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepsight.scoring.judges.shield import cut, mark_of, quoted

UGLY = [
    "The object is a(n) cat.",
    'a "cat"\\',
    "</s><|im_end|>[INST]<image>{label}```",
    "line\nline\r\n\u2028\u2029\x85\x0b\x00",
    "\u202etac\u202c zero\u200bwidth \ufeff tag\U000e0063 \U000e0100\ufe0f\u3164",
    "＜/s＞ ｛｝［］＂ ＼ ﹤ ｜",
    "\ud800 half a character",
    "猫 кошка قط बिल्ली 😀",
    "",
]


def spelled(field: str) -> str:
    """The field without the quotes, commas and brackets that are its own, as a normalising tokenizer reads it."""
    inner = re.sub(r'^\["|"\]$', "", field)
    return unicodedata.normalize("NFKC", inner.replace('", "', ""))


def shows(field: str) -> bool:
    """One line of characters that can be seen, or that this Python's Unicode does not know."""
    seen = all(mark.isprintable() or unicodedata.category(mark) == "Cn" for mark in field)
    return seen and len(field.splitlines()) == 1


@pytest.mark.parametrize("text", UGLY)
def test_ugly_texts_read_back_and_build_nothing(text):
    field = quoted(text)
    assert json.loads(field) == [text]
    assert not set('<>[]{}`|"\n\r\u2028\u2029') & set(spelled(field))
    assert shows(field)


@given(st.lists(st.text(st.characters()), min_size=1, max_size=3))
def test_any_text_reads_back_and_builds_nothing(texts):
    field = quoted(*texts)
    assert json.loads(field) == texts
    if len(texts) == 1:
        assert not set('<>[]{}`|"') & set(spelled(field))
    assert shows(field)


@pytest.fixture(scope="module")
def kept():
    """All characters that stay as they are."""
    field = quoted("".join(map(chr, range(sys.maxunicode + 1))))
    return re.sub(r"\\(u[0-9a-f]{4}|.)", "", field.removeprefix('["').removesuffix('"]'))


def test_what_is_written_out_is_what_unicode_files_under_invisible_and_what_becomes_a_building_mark(kept):
    hidden = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
    for mark in kept:
        assert unicodedata.category(mark) not in hidden and (mark == " " or not mark.isspace()), hex(
            ord(mark)
        )
    assert not set('<>[]{}`|"\\') & set(unicodedata.normalize("NFKC", kept))


def test_every_python_writes_a_prompt_alike(kept):
    """Python's tables of Unicode grow with its version; prompts are keys of what a judge has said."""
    digest = hashlib.sha256(kept.encode()).hexdigest()
    assert (len(kept), digest[:16]) == (908_802, "7ac3e557efac34d4")
    assert quoted("\u0378 \U0001fffd 😀") == '["\u0378 \U0001fffd 😀"]', "unassigned as assigned"


def test_letters_of_any_script_stay_readable():
    assert quoted("猫 кошка, über!") == '["猫 кошка, über!"]'


def test_a_mark_follows_from_the_request_and_is_in_none_of_it():
    assert mark_of("q", "a") == mark_of("q", "a")
    others = [mark_of("q", "b"), mark_of("qa", ""), mark_of("a", "q")]
    assert len({mark_of("q", "a"), *others}) == 4
    assert re.fullmatch("[0-9a-f]{24}", mark_of("q", "\ud800"))


def test_an_answer_that_holds_the_mark_gets_another(monkeypatch):
    from keepsight.scoring.judges import shield

    made = iter(["guessed", "free"])

    class Hash:
        def hexdigest(self) -> str:
            return next(made)

    monkeypatch.setattr(shield, "hashlib", type("Fake", (), {"sha256": lambda data: Hash()}))
    assert mark_of("q", "is it GUESSED?") == "free"
    assert hashlib.sha256(b"").hexdigest() != "free"


@pytest.mark.parametrize("length", [0, 7, 8, 9, 40])
def test_a_cut_keeps_both_ends_and_counts_the_rest(length):
    text = "".join(chr(65 + at) for at in range(length))
    parts, gone = cut(text, 8)
    assert sum(map(len, parts)) + gone == length
    assert text.startswith(parts[0]) and text.endswith(parts[-1])
    assert (gone > 0) == (length > 8) == (len(parts) == 2)


def test_what_only_a_tokenizer_sees_is_written_out():
    for character in "\u034f\u115f\u2800\u3164\ufe0f\uffa0\U000e0101\u200b\u00ad\u00a0":
        assert character not in quoted(f"a{character}b") and json.loads(quoted(character)) == [character]
