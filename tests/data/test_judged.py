"""Labelled answers: what is read, what is refused by line, and what is drawn for a person to label."""

import json
from collections import Counter

import pytest

from keepsight.data.judged import read_labelled, write_unlabelled
from keepsight.types import KeepsightError, Output, Record, Sample

GOOD = '{"question": "q", "answer": "a cat", "target": "cat", "correct": true}\n'


def test_rows_are_read_as_they_stand(tmp_path):
    file = tmp_path / "labels.jsonl"
    rows = [
        {
            "question": "q",
            "answer": "ein \u2028 Hund",
            "target": ["dog", "Hund"],
            "correct": False,
            "id": "x",
        },
        {"question": "q", "answer": "", "target": "cat", "correct": None, "who": "nobody yet"},
    ]
    text = GOOD + "\r\n\n" + "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in rows)
    file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    found = read_labelled(file)
    assert (found.labels, found.unlabelled) == ((True, False), 1)
    assert found.samples[1] == Sample("x", "q", target=("dog", "Hund"))
    assert [output.text for output in found.outputs] == ["a cat", "ein \u2028 Hund"]


@pytest.mark.parametrize(
    "line, told",
    [
        ("[1]", "not a JSON object"),
        ("{", "not a JSON object"),
        ("[" * 100_000, "not a JSON object"),
        ('{"question": "q", "answer": "a", "correct": true}', "needs the texts"),
        ('{"question": "q", "answer": "a", "target": [], "correct": true}', "needs the texts"),
        ('{"question": "q", "answer": "a", "target": [1], "correct": true}', "needs the texts"),
        ('{"question": "q", "answer": null, "target": "a", "correct": true}', "needs the texts"),
        ('{"question": "q", "answer": "a", "target": "a"}', '"correct" is true, false or null'),
        ('{"question": "q", "answer": "a", "target": "a", "correct": 1}', '"correct" is true'),
        ('{"question": "q", "answer": "a", "target": "a", "correct": "yes"}', '"correct" is true'),
    ],
)
def test_a_bad_row_is_named(tmp_path, line, told):
    file = tmp_path / "labels.jsonl"
    file.write_text(GOOD + line + "\n")
    with pytest.raises(KeepsightError, match=r"labels\.jsonl, line 2: ") as caught:
        read_labelled(file)
    assert told in str(caught.value)


def test_files_without_labels_are_refused(tmp_path):
    file = tmp_path / "labels.jsonl"
    file.write_text(GOOD.replace("true", "null"))
    with pytest.raises(KeepsightError, match="holds no labelled answer"):
        read_labelled(file)
    with pytest.raises(KeepsightError, match="cannot be read"):
        read_labelled(tmp_path / "nothing.jsonl")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(KeepsightError, match="cannot be read"):
        read_labelled(file)


def records(n):
    return [
        Record(
            Sample(f"s{at}", "q", target=("cat",)),
            Output(f"answer {at % 4}", error="broken" if at == 3 else None),
        )
        for at in range(n)
    ]


def test_a_random_part_of_what_was_answered_is_drawn(tmp_path):
    drawn = Counter()
    for seed in range(60):
        file = tmp_path / f"{seed}.jsonl"
        assert write_unlabelled(file, records(40), 10, seed) == 10
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        assert all(
            row["correct"] is None and set(row) == {"id", "question", "answer", "target", "correct"}
            for row in rows
        )
        drawn.update(row["id"] for row in rows)
    assert len(drawn) == 39 and "s3" not in drawn and max(drawn.values()) < 32  # each about 15 times
    assert write_unlabelled(tmp_path / "all.jsonl", records(5), 99) == 4


def test_what_was_drawn_can_be_labelled_and_is_never_overwritten(tmp_path):
    file = tmp_path / "new" / "labels.jsonl"
    write_unlabelled(file, records(6), 3)
    file.write_text(file.read_text().replace("null", "false"))
    assert read_labelled(file).labels == (False,) * 3
    with pytest.raises(KeepsightError, match="exists and may hold labels"):
        write_unlabelled(file, records(6), 3)
    assert read_labelled(file).labels == (False,) * 3
