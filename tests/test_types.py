"""How results look when they are printed: short, whatever they hold."""

import pytest

from keepsight import ResultMatrix, audit
from keepsight.types import KeepsightError, Sample, digest_of
from tests.fake_vlm import FakeVLM, make_task, samples


def test_a_matrix_prints_as_a_table_and_a_run_as_a_line(tmp_path):
    half = FakeVLM("half", "h", {f"s{i:03}": "mouse" for i in range(10)})
    tasks = [make_task(samples(20), name=name) for name in ("pets", "wild")]
    matrix = audit([FakeVLM("base", "b"), half], tasks, tmp_path, report=False)
    table = [
        "      pets             wild",
        "base  share 1, n 20    share 1, n 20",
        "half  share 0.5, n 20  share 0.5, n 20",
    ]
    assert str(matrix).splitlines() == repr(matrix).splitlines() == table
    assert repr(matrix["half", "pets"]) == "Run(half on pets: share 0.5, n 20)"


def test_what_is_missing_and_what_a_terminal_would_obey(tmp_path):
    matrix = ResultMatrix(("a\x1b[2J", "b\n"), ("pets",), {})
    assert str(matrix).splitlines() == ["       pets", "a�[2J  -", "b�     -"]
    assert str(ResultMatrix((), (), {})) == ""


def test_a_missing_cell_says_why_and_what_to_do():
    failed = [{"row": "tuned", "col": "pets", "error": "RuntimeError: out of memory"}]
    matrix = ResultMatrix(("base", "tuned"), ("pets",), {}, {"failed": failed})
    for cell, told in {
        ("tuned", "pets"): "result of tuned on pets: RuntimeError: out of memory; run the audit again",
        ("base", "pets"): "no result of base on pets; run the audit again",
        ("base", "petz"): "no result of base on petz; rows are base, tuned, columns pets",
    }.items():
        with pytest.raises(KeepsightError, match=told):
            matrix[cell]


def test_a_history_is_part_of_the_question_and_no_history_changes_nothing():
    plain = Sample("a", "What?")
    assert plain.request_digest == digest_of(["What?", [], []])
    talks = [
        Sample("a", "What?", history=history) for history in [("x", "y"), ("y", "x"), ("x", "y", "", "")]
    ]
    assert len({sample.request_digest for sample in [plain, *talks]}) == 4
    assert len({sample.digest() for sample in [plain, *talks]}) == 4


def test_a_history_ends_with_the_users_turn():
    with pytest.raises(KeepsightError, match="sample a: its history has 1 turns"):
        Sample("a", "What?", history=("x",))
