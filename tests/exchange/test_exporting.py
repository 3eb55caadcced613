"""CSV that a spreadsheet cannot run, LaTeX that compiles whatever a model said, logs that Inspect reads."""

import csv
import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import keepsight as ks
from keepsight.exchange.exporting import export, latex_text, matrix_csv, matrix_latex, run_csv, safe_cell
from keepsight.types import KeepsightError
from tests.exchange import logs
from tests.fake_vlm import FakeVLM, make_task, samples
from tests.report.fake_audit import EVIL_COLS, EVIL_ROWS, evil_audit

FORMULAS = [
    '=HYPERLINK("http://x","y")',
    "+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "\u200b=1",
    "\ufeff=cmd|' /C calc'!A0",
    "\uff1d1",
]


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_shown_not_run(text, tmp_path):
    assert safe_cell(text) == f"'{text}"
    wrong = FakeVLM("=base", "b", {"s000": text})
    run = next(iter(ks.evaluate_tasks(wrong, [make_task(samples(2), name="t")], tmp_path).runs.values()))
    assert rows_of(run_csv(run))[0]["output"][0] == "'"


@given(st.text())
def test_no_cell_of_text_begins_like_a_formula(text):
    cell = safe_cell(text)
    first = cell.lstrip(" \t\r\n\u200b\ufeff")[:1]
    assert first not in tuple("=+-@\uff1d\uff0b\uff0d\uff20") and cell[:1] not in tuple("\t\r\n")
    assert next(csv.reader(io.StringIO(_line(cell))))[0].replace("\r\n", "\n") == cell.replace("\r\n", "\n")


def _line(cell):
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_NONNUMERIC).writerow([cell])
    return text.getvalue()


def test_numbers_stay_numbers(tmp_path):
    models = [FakeVLM("base", "b", {"s000": "mouse"}), FakeVLM("better", "c")]
    matrix = ks.audit(models, [make_task(samples(30), name="pets")], tmp_path, report=False)
    first, second = rows_of(matrix_csv(matrix))
    assert (first["row"], first["value"], first["verdict"]) == ("base", str(29 / 30), "")
    assert float(second["drop.difference"]) == pytest.approx(-1 / 30) and second["verdict"] == "no evidence"
    assert second["drop.difference"].startswith("-")
    table = rows_of(run_csv(matrix["base", "pets"]))
    assert len(table) == 30 and table[0]["exact.value"] == "0.0" and table[1]["exact.answer"] == "cat"
    assert table[0]["images"].endswith(".png")


def test_what_is_not_known_is_empty_and_what_failed_is_named(tmp_path):
    broken = FakeVLM("broken", "x", answers={"s000": RuntimeError("=no memory")})
    one = FakeVLM("one", "o", broken=frozenset({"s001"}))
    matrix = ks.audit([one, broken], [make_task(samples(3), name="pets")], tmp_path, report=False)
    kept, failed = rows_of(matrix_csv(matrix))
    assert (kept["n"], kept["total"]) == ("2", "3")
    assert (
        failed["error"] == "RuntimeError: =no memory" and failed["value"] == failed["drop.difference"] == ""
    )
    row = rows_of(run_csv(matrix["one", "pets"]))[1]
    assert (row["error"], row["exact.value"], row["exact.status"]) == ("broken picture", "", "error")
    assert "--" in matrix_latex(matrix)


def test_latex_escapes_what_it_would_read():
    assert latex_text("a_b & 50% #1 $x$ {y} \\z ~ ^") == (
        r"a\_b \& 50\% \#1 \$x\$ \{y\} \textbackslash{}z \textasciitilde{} \textasciicircum{}"
    )
    assert "\n" not in latex_text("two\nlines") and "\ud800" not in latex_text("\ud800")


@given(st.text())
def test_no_special_sign_survives_alone(text):
    left = latex_text(text)
    for told in (r"\{", r"\}", r"\$", r"\&", r"\#", r"\%", r"\_"):
        left = left.replace(told, "")
    for name in (
        "backslash",
        "asciicircum",
        "asciitilde",
        "less",
        "greater",
        "bar",
        "quotedbl",
        "asciigrave",
    ):
        left = left.replace(f"\\text{name}{{}}", "")
    left = left.replace("{[}", "").replace("{]}", "").replace("{-}", "")
    assert not set(left) & set('\\{}$&#%_^~<>|"`[]\n\r')


def test_a_table_of_evil_names_keeps_its_shape():
    matrix = evil_audit()
    table = matrix_latex(matrix)
    body = [line for line in table.splitlines() if line.endswith(r"\\")]
    assert len(body) == 2 * len(EVIL_ROWS) + 2
    for line in body:
        assert line.replace(r"\&", "").count("&") == len(EVIL_COLS)
    assert table.count(r"\begin{tabular}{lrrr}") == 1 and "<script>" not in table
    for row in rows_of(matrix_csv(matrix)):
        assert len(row) == 22 and None not in row


def test_marks_and_figures_of_a_table(tmp_path):
    found = ks.import_logs(
        [logs.lm_eval(tmp_path / "a", 36), logs.lm_eval(tmp_path / "b", 12, model="t_1")], tmp_path
    )
    table = matrix_latex(found.matrix)
    assert r"t\_1 & 30.0\textsuperscript{--} \\" in table and "{\\scriptsize 76.9--96.0}" in table
    assert "$n$ & 40" in table


def test_files_are_written_where_they_are_asked_for(tmp_path):
    found = ks.import_logs(
        [logs.lm_eval(tmp_path / "a", 36), logs.lm_eval(tmp_path / "b", 12, model="b")], tmp_path / "out"
    )
    run = found.matrix["b", "colours"].path
    assert [p.name for p in export(run, "csv", tmp_path / "x" / "run.csv")] == ["run.csv"]
    assert export(tmp_path / "out", "latex", tmp_path / "t.tex")[0].read_text().startswith(r"\begin{tabular}")
    written = export(tmp_path / "out", "inspect", tmp_path / "logs")
    assert len(written) == 2 == len({path.name for path in written})
    assert {json.loads(path.read_text())["eval"]["model"] for path in written} == {"org/base", "b"}
    for wrong, message in (
        ((run, "latex", tmp_path / "y"), "LaTeX is made of a matrix"),
        ((run, "xml", tmp_path / "y"), "is none of csv, latex, inspect"),
        ((tmp_path / "out", "inspect", tmp_path / "t.tex"), "need a directory"),
        ((tmp_path / "nowhere", "csv", tmp_path / "y"), "No such file"),
        ((tmp_path / ("x" * 300), "csv", tmp_path / "y"), "File name too long"),
        ((run, "csv", tmp_path / "t.tex" / "y"), "y cannot be written: .*; give another --output"),
        ((tmp_path / "out", "inspect", tmp_path / ("x" * 300)), "cannot be written: File name too long"),
    ):
        with pytest.raises(KeepsightError, match=message):
            export(*wrong)


def test_an_inspect_log_has_what_the_format_asks_for(tmp_path):
    one = FakeVLM("one", "o", broken=frozenset({"s001"}))
    matrix = ks.evaluate_tasks(one, [make_task(samples(3), name="pets")], tmp_path)
    (path,) = export(matrix["one", "pets"].path, "inspect", tmp_path / "log.json")
    log = json.loads(path.read_text())
    assert (log["version"], log["status"]) == (2, "success")
    assert {"created", "task", "dataset", "model", "config"} <= set(log["eval"])
    assert (log["results"]["total_samples"], log["results"]["completed_samples"]) == (3, 2)
    assert log["results"]["scores"][0]["unscored_samples"] == 1
    good, bad = log["samples"][:2]
    assert {"id", "epoch", "input", "target"} <= set(good) and good["scores"]["exact"]["value"] == 1.0
    assert (
        good["output"]["choices"][0]["message"]["content"] == "dog"
        and len(good["metadata"]["image_sha256"][0]) == 64
    )
    assert bad["error"]["message"] == "broken picture" and math.isnan(bad["scores"]["exact"]["value"])
