"""Both forms of the question file are read, each fault has its place, and letters are balanced without changing an answer."""

import json
from collections import Counter

import pytest

from keepsight.data.drawn import ALL_SETS
from keepsight.data.wikiqa import (
    WikiQuestion,
    asked_text,
    letter_counts,
    named,
    read_wikiqa,
    rebalance,
    sample_images,
    write_wikiqa,
)
from keepsight.types import KeepsightError

TEXT = "Where does this object live?\nA. in water\nB. in trees\nC. in caves\nD. on ice\nChoose A, B, C, or D."
ROW = {"image": "a.png", "text": TEXT, "label": "B", "wiki": "It lives in trees.", "classname": "guinea pig"}
OURS = {"question": "Where is this object?", "choices": list("wxyz"), "answer": 3, "classname": "cup"}


def file(tmp_path, *rows):
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def png(tmp_path, *names):
    for name, picture in zip(names, ALL_SETS["things"].test(len(names))):
        (tmp_path / name).write_bytes(picture.media.read())


def many(n=50):
    return [
        WikiQuestion(f"q{i}", f"What of this object {i}?", tuple(f"{i} {x}" for x in "wxyz"), 0, "fish")
        for i in range(n)
    ]


def test_the_published_form(tmp_path):
    png(tmp_path, "a.png", "b.png")
    (question,) = read_wikiqa(file(tmp_path, ROW, {**ROW, "image": "b.png"}))
    assert question.question == "Where does this object live?" and question.letter == "B"
    assert question.choices == ("in water", "in trees", "in caves", "on ice")
    assert (question.classname, question.reference) == ("guinea pig", "It lives in trees.")
    assert [image.read() for image in question.images] == [
        (tmp_path / n).read_bytes() for n in ("a.png", "b.png")
    ]
    assert asked_text(question) == TEXT, "what is asked is what the published file asks"


def test_a_line_ends_where_the_published_file_ends_it(tmp_path):
    odd = TEXT.replace("in caves", "in caves\u2028and holes")
    (question,) = read_wikiqa(file(tmp_path, {**ROW, "text": odd}))
    assert question.choices[2] == "in caves\u2028and holes" and asked_text(question) == odd


def test_equal_questions_of_two_classes_stay_two(tmp_path):
    png(tmp_path, "a.png")
    assert len(read_wikiqa(file(tmp_path, ROW, {**ROW, "classname": "lynx", "label": "A"}))) == 2


def test_a_missing_picture_spoils_its_sample_only(tmp_path):
    (question,) = read_wikiqa(file(tmp_path, ROW))
    with pytest.raises(KeepsightError, match=r"a\.png"):
        question.images[0].read()


def test_ours_is_written_and_read(tmp_path):
    png(tmp_path, "a.png")
    questions = read_wikiqa(
        file(tmp_path, {**OURS, "images": ["a.png"], "reference": "s"}, {**OURS, "classname": "flag"})
    )
    written = write_wikiqa(tmp_path / "out" / "q.jsonl", questions)
    again = read_wikiqa(written)
    assert again == questions and len(list((tmp_path / "out" / "images").iterdir())) == 1
    assert write_wikiqa(tmp_path / "out" / "q.jsonl", again).read_text() == written.read_text()


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("{", "not JSON"),
        ("[1]", "a list, not an object"),
        ({**ROW, "label": "E"}, "\"label\" is 'E', none of A, B, C, D"),
        ({**ROW, "label": None}, '"label" is missing'),
        ({**ROW, "classname": " "}, '"classname" is missing'),
        ({**ROW, "image": 7}, '"image" is missing'),
        ({**ROW, "text": TEXT.removesuffix("Choose A, B, C, or D.")}, '"text" does not end with'),
        ({**ROW, "text": TEXT.replace("C. ", "E. ")}, '"text" does not end with'),
        ({**ROW, "text": TEXT.replace("Where does this object live?\n", "")}, '"text" does not end with'),
        ({**ROW, "text": TEXT.replace("in caves", "In Water")}, "two equal choices"),
        ({**OURS, "choices": ["a", "b", "c"]}, "3 choices; there must be four"),
        ({**OURS, "choices": ["a", "b", "c", ""]}, "an empty choice"),
        ({**OURS, "choices": ["a", "b", "c", 4]}, "an empty choice"),
        ({**OURS, "answer": 4}, "the answer is 4"),
        ({**OURS, "answer": "3"}, '"answer" no whole number'),
        ({**OURS, "answer": True}, '"answer" no whole number'),
        ({**OURS, "images": "a.png"}, '"images" is no list'),
        ({"classname": "cup"}, '"question" is missing'),
    ],
)
def test_faults_are_named_with_their_line(tmp_path, row, fault):
    png(tmp_path, "a.png")
    with pytest.raises(KeepsightError) as raised:
        read_wikiqa(file(tmp_path, ROW, row))
    assert "line 2: " in str(raised.value) and fault in str(raised.value)


def test_an_id_stands_for_one_question(tmp_path):
    with pytest.raises(KeepsightError, match="line 2: a second question with the id 'x'"):
        read_wikiqa(
            file(tmp_path, {**OURS, "id": "x"}, {**OURS, "id": "x", "question": "Another this object?"})
        )


def test_an_empty_file(tmp_path):
    with pytest.raises(KeepsightError, match="holds no question"):
        read_wikiqa(file(tmp_path))


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("Where does this object live?", "Where does guinea pig live?"),
        ("This object lives where?", "Guinea pig lives where?"),
        ("Is this object like this object's kin?", "Is guinea pig like guinea pig's kin?"),
    ],
)
def test_the_class_name_stands_for_this_object(question, told):
    assert named(WikiQuestion("q", question, tuple("wxyz"), 0, "guinea pig")) == told


@pytest.mark.parametrize("n", [1, 3, 4, 30, 50])
def test_letters_are_balanced_to_within_one_and_answers_stay(n):
    before = many(n)
    after = rebalance(before, seed=3)
    counts = letter_counts(after).values()
    assert max(counts) - min(counts) <= 1
    for old, new in zip(before, after):
        assert new.choices[new.answer] == old.choices[old.answer]
        assert sorted(new.choices) == sorted(old.choices) and new.id == old.id
    assert after == rebalance(before, seed=3) and (n < 30 or after != rebalance(before, seed=4))


def test_the_other_options_are_mixed_too():
    firsts = Counter(q.choices[0][-1] for q in rebalance(many(200)))
    assert set(firsts) == set("wxyz") and min(firsts.values()) > 25


def test_pictures_are_of_the_class_and_each_question_has_its_own_stream():
    questions = [*many(4), WikiQuestion("c", "this object?", tuple("wxyz"), 1, "cup")]
    shown = sample_images(questions, ALL_SETS["things"], seed=1)
    by_digest = {p.media.sha256: p.label for p in ALL_SETS["things"].test()}
    assert all([by_digest[m.sha256] for m in q.images] == [q.classname] * 3 for q in shown)
    assert shown[0].images != shown[1].images, "equal classes, different streams"
    assert sample_images(questions[::-1], ALL_SETS["things"], seed=1)[::-1] == shown, (
        "the order changes nothing"
    )
    with pytest.raises(KeepsightError, match="question q: set things has no picture of 'dog'"):
        sample_images([WikiQuestion("q", "this object?", tuple("wxyz"), 1, "dog")], ALL_SETS["things"])
