"""Rows of one's own: three forms, two parts without a picture in common."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepsight.data.asked_rows import held_out, read_asked_rows
from keepsight.types import KeepsightError, Media, Sample
from tests.data.coin_files import picture


def turns(question, answer):
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


@pytest.fixture
def write(tmp_path):
    picture(tmp_path / "a.png")

    def file(*rows, name="rows.json"):
        (tmp_path / name).write_text(json.dumps(rows))
        return tmp_path / name

    return file


def test_the_forms_are_told_apart_row_by_row(write):
    path = write(
        {"id": 1, "image": "a.png", "conversations": turns("<image>\nWhat?", "Red.")},
        {
            "images": ["a.png"],
            "messages": [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "Red."}],
        },
        {"question_id": "q", "image": "a.png", "text": "What?", "answer": "Red."},
        {"id": 2, "image": "a.png", "question": "<image>What?", "answer": "Red."},
        {"id": 3, "image": "a.png", "text": "What?", "answer_bbox": "[0, 0, 1, 1]"},
        {"id": 4, "question": "How many?", "answer": 2},
    )
    samples = read_asked_rows(path)
    assert [s.id for s in samples] == ["1", "rows/1", "q", "2", "3", "4"]
    assert {(s.prompt, s.target, len(s.media)) for s in samples[:4]} == {("What?", ("Red.",), 1)}
    assert samples[4].target == ("[0, 0, 1, 1]",) and samples[5].target == ("2",) and not samples[5].media


def test_answers_and_choices(write):
    path = write(
        {"question": "Which?", "answer": "B", "choices": ["x", "y"], "answers": ["B"] * 9 + ["A"]},
        {"question": "Which?\nA. x\nB. y\nAnswer with the letter.", "answer": "A"},
        {"question": "What?", "answer": "a", "answers": [{"answer": "a"}] * 10},
    )
    first, second, third = read_asked_rows(path)
    assert first.choices == second.choices == ("x", "y") and third.choices == ()
    assert len(first.meta["answers"]) == 10 and third.meta["answers"] == ["a"] * 10


def test_rows_that_share_an_id(write):
    rows = [{"id": "1", "question": f"{i}?", "answer": "x"} for i in range(3)]
    assert [s.id for s in read_asked_rows(write(*rows))] == ["1", "1#2", "1#3"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": 1}, 'row 0: no question: neither "conversations", "messages", "text" nor "question"'),
        ({"question": "?", "answer": ""}, '"answer" is missing'),
        ({"question": "?", "answer": True}, '"answer" is missing'),
        ({"question": "?", "answer": "x", "answers": "x"}, '"answers" is no list of texts'),
        ({"question": "?", "answer": "x", "choices": [1]}, '"choices" is no list of texts'),
        ({"question": "?", "answer": "x", "image": 3}, "image must be a path"),
        ({"question": "?", "answer": "x", "image": "../a.png"}, "leaves"),
        ({"question": "<image>?", "answer": "x"}, "1 <image> marks for 0 pictures"),
        ({"image": "https://e.org/a.png", "question": "?", "answer": "x"}, "remote pictures are off"),
        ([1], "a list, not an object"),
    ],
)
def test_a_bad_row_is_named(write, row, message):
    with pytest.raises(KeepsightError, match=message):
        read_asked_rows(write(row))


def sample(name, *pictures):
    return Sample(str(name), f"{name}?", tuple(Media(data=one.encode()) for one in pictures))


names = st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=3), min_size=2, max_size=30)


@given(names, st.floats(0.01, 0.99))
def test_no_picture_is_in_both_parts(rows, share):
    samples = [sample(i, *pictures) for i, pictures in enumerate(rows)]
    try:
        learnt, asked = held_out(samples, share)
    except KeepsightError:
        assert any(rows), "rows without a picture are all about something else"
        return
    assert sorted(learnt + asked, key=lambda s: int(s.id)) == samples and learnt and asked
    shown = [{m.sha256 for s in part for m in s.media} for part in (learnt, asked)]
    assert not shown[0] & shown[1]


@given(names, st.randoms(use_true_random=False))
def test_the_parts_do_not_depend_on_the_order_of_rows(rows, rng):
    samples = [sample(i, *pictures) for i, pictures in enumerate(rows)]
    mixed = rng.sample(samples, len(samples))
    try:
        asked = {s.id for s in held_out(samples, 0.3)[1]}
    except KeepsightError:
        return
    assert {s.id for s in held_out(mixed, 0.3)[1]} == asked


def test_one_picture_cannot_be_divided():
    with pytest.raises(KeepsightError, match=r"all rows are about one picture.*split=all"):
        held_out([sample(1, "a"), sample(2, "a", "b")], 0.1)


def test_the_parts_do_not_depend_on_where_the_pictures_lie(tmp_path):
    parts = []
    for root in (tmp_path / "one", tmp_path / "two" / "deeper"):
        rows = [Sample(f"{i}", "?", (Media(path=root / f"{i}.png"),)) for i in range(40)]
        parts.append([s.id for s in held_out(rows, 0.1, root)[1]])
    assert parts[0] == parts[1] and len(parts[0]) == 4
