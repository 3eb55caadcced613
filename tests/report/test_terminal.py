import pytest
from rich.cells import cell_len

from keepsight.report import matrix_table
from keepsight.report.terminal import read_table
from tests.report.fake_audit import evil_audit, small_audit

PAIR = small_audit({("base", "emt:x"): ["cat", "dog", "ship"] * 10, ("lora/epoch-1", "emt:x"): ["3"] * 30})


def test_small_table():
    assert matrix_table(PAIR).splitlines() == [
        "                     x",
        "base             100.0",
        "lora/epoch-1       0.0▼",
        "n                   30",
        "",
        "▼ forgotten ▲ improved against base: 1 of 1.",
        "95 % corrected interval (Holm); unmarked: no evidence.",
        "▼ lora/epoch-1 on x",
        "    100.0 → 0.0, −100.0 [−100.0 to −77.3] n 30",
    ]


@pytest.mark.parametrize("width", [40, 60, 100, 200])
def test_no_line_is_wider_than_asked(width, demo):
    for matrix in (demo, evil_audit(), PAIR):
        assert max(map(cell_len, matrix_table(matrix, width).splitlines())) <= width


def test_every_column_and_row_is_there(demo):
    text = matrix_table(demo)
    assert all(name.removeprefix("emt:") in text for name in (*demo.cols, *demo.rows))


def test_a_heading_is_whole_where_there_is_room():
    cells = {("base", f"emt:{name}"): ["cat"] * 3 for name in ("generalpoints", "unanswerable")}
    assert "  generalpoints   unanswerable\n" in matrix_table(small_audit(cells)) + "\n"


def test_missing_cells_are_named():
    failed = {"failed": [{"row": "a", "col": "y", "error": "broken"}]}
    text = matrix_table(
        small_audit({("base", "x"): ["cat"]}, rows=("base", "a"), cols=("x", "y"), meta=failed)
    )
    assert "failed" in text and "–" in text and "Nothing to compare with." in text


def test_markdown_keeps_whole_names():
    lines = read_table(evil_audit()).markdown().splitlines()
    assert all(line.startswith("| ") and line.endswith(" |") for line in lines)
    assert len(lines) == 9 and "x" * 300 in lines[6]


@pytest.mark.parametrize("width", [40, 60, 80])
def test_names_that_are_cut_stay_apart(width):
    names = [
        f"{name}-{i}" for name in ("pictures-of-all-the-animals-in-the-world", "w" * 60) for i in range(4)
    ]
    ends = [f"{name}/final-checkpoint-of-the-run" for name in names]
    table = read_table(small_audit({(row, names[0]): ["cat"] for row in ends}, rows=ends, cols=names))
    text = table.text(width).split("\n\n")
    columns = [title for block in text[:-1] for title in block.splitlines()[0].split() if "…" in title]
    assert len(columns) == len(set(columns)) == 8
    rows = [line.split()[0] for line in text[0].splitlines()[1:-1]]
    assert len(rows) == len(set(rows)) == 8
    assert max(cell_len(line) for line in table.text(width).splitlines()) <= width
