"""JSON is read strictly, line by line, and every fault has its place."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepsight.data.json_rows import parsed, read_json, rows_of
from keepsight.types import KeepsightError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES, st.booleans())
@settings(deadline=None)
def test_what_python_writes_is_read_back(value, ascii_only):
    assert parsed(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.binary(max_size=60))
@settings(deadline=None)
def test_any_bytes_are_a_value_or_one_error(data):
    try:
        json.dumps(parsed(data), allow_nan=False, ensure_ascii=False).encode()
    except KeepsightError as error:
        assert str(error).startswith("not ") and "\n" not in str(error)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"NaN", "NaN is no JSON number"),
        (b'{"a": -Infinity}', "-Infinity is no JSON number"),
        (b"[1e999]", "the number 1e999 is too large"),
        (b"9" * 6000, "not JSON"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b'{"id": "1", "id": "2"}', "'id' stands twice"),
        (b'"\\ud800"', "half a character"),
        (b'"\xff"', r"not UTF-8 \(byte 2\)"),
        (b'"caf\xe9"', r"not UTF-8 \(byte 5\)"),
        (b"'a'", "not JSON"),
        (b"", "not JSON"),
        (b"{} {}", "not JSON"),
    ],
)
def test_what_python_takes_and_others_do_not(data, message):
    with pytest.raises(KeepsightError, match=message):
        parsed(data)


LINES = ['{"a": 1}', '{"a": "ü\u2028\u0085"}', '{"a": 3}']


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n"])
def test_marks_and_line_ends(tmp_path, mark, end):
    """U+2028 and U+0085 may stand inside a JSON string: they end no line."""
    path = tmp_path / "x.jsonl"
    path.write_bytes(mark + end.join(LINES).encode())
    assert [row for _, row in rows_of(path)] == [json.loads(line) for line in LINES]


def test_one_line_in_another_encoding_is_one_bad_line(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": "caf\xe9"}\n\n{"a": 2}\n{"a": ')
    found = list(rows_of(path))
    assert [place for place, _ in found] == ["line 1", "line 2", "line 4", "line 5"]
    assert [isinstance(row, KeepsightError) for _, row in found] == [False, True, False, True]


def test_a_list_and_lines_are_told_apart_by_content(tmp_path):
    (tmp_path / "list.json").write_text('[{"a": 1}, {"a": 2}]')
    (tmp_path / "lines.json").write_text('{"a": 1}\n{"a": 2}')
    (tmp_path / "lists.jsonl").write_text("[1]\n[2]")
    assert [row for _, row in rows_of(tmp_path / "list.json")] == [{"a": 1}, {"a": 2}]
    assert [row for _, row in rows_of(tmp_path / "lines.json")] == [{"a": 1}, {"a": 2}]
    assert [row for _, row in rows_of(tmp_path / "lists.jsonl")] == [[1], [2]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{}".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        (b"PK\x03\x04rest", r"archive \(zip\), which is never opened; unpack it"),
        (b"\x1f\x8b\x08rest", r"archive \(gzip\)"),
        (b"name".ljust(257, b"\0") + b"ustar\x0000", r"archive \(tar\)"),
        (b"[1,", r"x\.json: not JSON"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, data, message):
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(KeepsightError, match=message):
        list(rows_of(path))


def test_sizes_and_kinds_of_files(tmp_path, monkeypatch):
    with pytest.raises(KeepsightError, match="not a regular file"):
        read_json(tmp_path)
    with pytest.raises(KeepsightError, match=r"cannot read .*gone\.json: No such file"):
        read_json(tmp_path / "gone.json")
    (tmp_path / "x.json").write_text("[1, 2]")
    monkeypatch.setenv("KEEPSIGHT_MAX_TEXT_BYTES", "5")
    with pytest.raises(
        KeepsightError, match="larger than 5 bytes; split it, or set KEEPSIGHT_MAX_TEXT_BYTES"
    ):
        read_json(tmp_path / "x.json")
