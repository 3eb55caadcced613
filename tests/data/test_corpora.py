"""Reading corpora: every format says the same, a bad row costs itself alone, and memory does not grow."""

import json
import tracemalloc
from random import Random

import pytest

from keepsight.data import corpora
from keepsight.data.corpora import read_corpus
from keepsight.types import KeepsightError

TEXTS = ["A fish.", "Two guinea pigs — “really”.", "No\nthing", ""]


def said(path, **arguments):
    return [document.texts for document in read_corpus(path, **arguments)]


def faults(path):
    return [(d.place, d.fault) for d in read_corpus(path) if d.fault]


def written(path, rows):
    whole = path.suffix == ".json"
    text = json.dumps(rows) if whole else "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text(text, encoding="utf-8")
    return path


def test_every_format_says_the_same(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"caption": text, "image": b"x"} for text in TEXTS]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    plain = [{"caption": text} for text in TEXTS]
    one_line = [text for text in TEXTS if text and "\n" not in text]
    (tmp_path / "lines.txt").write_text("\ufeff" + "\r\n".join([*one_line, " "]), encoding="utf-8")
    expected = [(text,) for text in TEXTS]
    assert said(tmp_path / "a.parquet") == expected
    assert said(written(tmp_path / "a.json", plain)) == expected
    assert said(written(tmp_path / "a.jsonl", plain)) == expected
    assert said(written(tmp_path / "strings.json", TEXTS)) == expected
    assert said(tmp_path / "lines.txt") == [(text,) for text in one_line]
    turns = [{"conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": text}]} for text in TEXTS]  # fmt: skip
    parts = [{"type": "image"}, {"type": "text", "text": "What?"}]
    messages = [{"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": text}]} for text in TEXTS]  # fmt: skip
    for name, rows in (("llava.json", turns), ("messages.jsonl", messages)):
        path = written(tmp_path / name, rows)
        assert said(path, answers_only=True) == expected
        assert [[text.strip() for text in texts] for texts in said(path)] == [
            ["What?", t.strip()] for t in TEXTS
        ]
    assert said(written(tmp_path / "own.jsonl", [{"caption": "a", "alt": "b"}]), column="alt") == [("b",)]


def test_a_folder_is_all_its_files(tmp_path):
    written(tmp_path / "b.json", ["second"])
    written(tmp_path / "a.jsonl", ["first"])
    (tmp_path / "notes.md").write_text("not a corpus")
    assert said(tmp_path) == [("first",), ("second",)]


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_a_list_read_in_pieces_is_the_list(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(corpora, "_CHUNK", chunk)
    rng = Random(f"pieces/{chunk}")
    strange = ["", 'a "quoted" \\ word', "\u2028 line", "日本語", "\\u", "]", ",{", "\n"]
    rows = [{"id": i, "caption": "".join(strange[int(rng.random() * 8)] for _ in range(6)), "x": [1.5e3, None, {"y": -1}]} for i in range(40)]  # fmt: skip
    for indent, ascii_only in ((None, True), (2, False)):
        path = tmp_path / "rows.json"
        path.write_text(json.dumps(rows, indent=indent, ensure_ascii=ascii_only), encoding="utf-8")
        assert said(path) == [(row["caption"],) for row in rows]
    path.write_text("[ ]")
    assert said(path) == []
    path.write_text('[123456789, "a", 0.25]')  # a number has no end of its own
    assert said(path) == [(), ("a",), ()] and len(faults(path)) == 2


@pytest.mark.parametrize(
    ("text", "good", "reason"),
    [
        ('["a", "b', 1, "Unterminated string"),
        ('["a", "b"', 2, "the list has no end"),
        ('["a" "b"]', 1, "']' expected"),
        ('["a", {"caption": }, "c"]', 1, "Expecting value"),
        ('["a"] ["b"]', 1, "more text after the list"),
        ('["a", ' + "[" * 100_000, 1, "not JSON"),
        ('["a", tru', 1, "Expecting value"),
    ],
)
def test_a_broken_list_gives_what_comes_before_and_one_fault(tmp_path, text, good, reason):
    path = tmp_path / "broken.json"
    path.write_text(text)
    assert len([texts for texts in said(path) if texts]) == good
    assert len(faults(path)) == 1 and reason in faults(path)[0][1] and f"row {good}" in faults(path)[0][0]


def test_a_fault_in_the_middle_is_found_without_reading_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "_CHUNK", 1000)
    path = tmp_path / "broken.json"
    path.write_text('["a", oops, ' + '"filler", ' * 5000 + '"z"]')
    assert "not read" in faults(path)[0][1] and "byte 1,000 " in faults(path)[0][1]


def test_a_bad_row_costs_itself_alone(tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = [b'{"caption": "a"}', b"{oops", b"\xff\xfe", b'{"other": 1}', b"3", b'{"messages": [{"role": "user"}]}', b"[" * 100_000, b'{"caption": 4}', b"", b'"b"']  # fmt: skip
    path.write_bytes(b"\n".join(lines))
    assert [texts for texts in said(path) if texts] == [("a",), ("b",)]
    told = dict(faults(path))
    assert list(told) == [f"rows.jsonl, line {i}" for i in range(2, 9)]
    for line, reason in zip(told.values(), ("not JSON", "not UTF-8", "no text among other", "a int", "without text", "not JSON", "a int where")):  # fmt: skip
        assert reason in line


def test_a_line_without_end_is_one_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "_LONGEST_ROW", 1000)
    path = tmp_path / "rows.jsonl"
    path.write_text('"a"\n"' + "x" * 50_000 + '"\n"b"\n')
    assert [texts for texts in said(path) if texts] == [("a",), ("b",)]
    assert [place for place, _ in faults(path)] == ["rows.jsonl, line 2"]


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_memory_does_not_grow_with_the_corpus(tmp_path, monkeypatch, name):
    monkeypatch.setattr(corpora, "_CHUNK", 1 << 13)
    path = written(tmp_path / name, [{"caption": "a fish " * 30}] * 3_000)
    tracemalloc.start()
    assert sum(1 for _ in read_corpus(path)) == 3_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 650_000 and peak < 150_000


def test_progress_rises_to_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "_CHUNK", 200)
    for name in ("a.json", "b.jsonl"):
        written(tmp_path / name, [{"caption": "a fish"}] * 100)
    told = []
    list(read_corpus(tmp_path, progress=lambda *now: told.append(now)))
    done = [now[1] for now in told]
    total = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert done == sorted(done) and len(done) > 10 and told[-1] == ("b.jsonl", total, total)


def test_what_is_no_corpus_is_refused_by_name(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pytest.raises(KeepsightError, match="no corpus at"):
        said(tmp_path)
    (tmp_path / "a.json").write_bytes(b"PK\x03\x04")
    with pytest.raises(KeepsightError, match="archive"):
        said(tmp_path / "a.json")
    pq.write_table(pa.Table.from_pylist([{"x": 1}]), tmp_path / "b.parquet")
    with pytest.raises(KeepsightError, match="no column of text; it has x"):
        said(tmp_path / "b.parquet")
    (tmp_path / "c.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(KeepsightError, match="cannot read"):
        said(tmp_path / "c.parquet")
