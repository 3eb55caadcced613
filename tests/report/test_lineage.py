import pytest

from keepsight.report.lineage import column_titles, lines, row_titles, tuned_columns
from keepsight.types import ResultMatrix


@pytest.mark.parametrize(
    "rows, expected",
    [
        (["base"], []),
        (["base", "linear/epoch-1", "linear/epoch-2", "lora/epoch-1"],
         [("linear", (1, 2), ("1", "2"), True), ("lora", (3,), ("1",), True)]),
        (["base", "lora-epoch1", "full_step=200"], [("", (1, 2), ("lora-epoch1", "full_step=200"), False)]),
        (["base", "run checkpoint-100", "run checkpoint-200"], [("run", (1, 2), ("100", "200"), True)]),
        (["base", "epoch-1", "epoch-2"], [("", (1, 2), ("epoch-1", "epoch-2"), True)]),
        (["base", "a", "b", "c"], [("", (1, 2, 3), ("a", "b", "c"), False)]),
        (["base", "lora/epoch-1", "linear/epoch-1", "lora/epoch-2"],
         [("lora", (1, 3), ("1", "2"), True), ("linear", (2,), ("1",), True)]),
        (["tiny", "out/demo/linear/epoch-1", "out/demo/lora/epoch-1", "out/demo/lora/epoch-2"],
         [("linear", (1,), ("1",), True), ("lora", (2, 3), ("1", "2"), True)]),
        (["base", "digits/final", "digits/best", "cards/final"],
         [("digits", (1, 2), ("final", "best"), True), ("cards", (3,), ("final",), True)]),
    ],
)  # fmt: skip
def test_lines(rows, expected):
    assert [(line.method, line.rows, line.steps, line.sequential) for line in lines(rows)] == expected


def test_who_speaks_for_a_line():
    assert lines(["base", "lora/epoch-1", "lora/epoch-2"])[0].ends == (2,)
    assert lines(["base", "a", "b"])[0].ends == (1, 2)


def test_titles_lose_only_what_all_share():
    assert row_titles(["base", "x/y/a/epoch-1", "x/y/b/epoch-1"]) == ["base", "a/epoch-1", "b/epoch-1"]
    assert row_titles(["a/e-1", "x/a/e-1", "x/b/e-1"]) == ["a/e-1", "x/a/e-1", "x/b/e-1"], (
        "else two are alike"
    )
    assert row_titles([]) == []
    assert column_titles(["emt:digits", "emt:cards"]) == ["digits", "cards"]
    assert column_titles(["emt:a", "emt:scenes", "yesno:scenes"]) == ["a", "scenes", "yesno:scenes"]
    assert column_titles(["emt:", "emt:a", "a"]) == ["emt:", "emt:a", "a"], "else two are alike"
    assert column_titles(["pope", "chair"]) == ["pope", "chair"]


@pytest.mark.parametrize(
    "tuned_on, expected", [(None, {}), ({"a": "y", "gone": "x", "b": "gone"}, {1: 1}), (7, {})]
)
def test_tuned_columns(tuned_on, expected):
    assert tuned_columns(ResultMatrix(("base", "a", "b"), ("x", "y"), {}, {"tuned_on": tuned_on})) == expected
