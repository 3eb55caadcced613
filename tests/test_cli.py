"""The command line: what a user types, what comes back, and with which exit code."""

import contextlib
import io
import json
import math
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from keepsight import Output, cli, verbs
from keepsight.cli import command_of
from keepsight.cli_help import definition_lines
from keepsight.console import gate_lines
from keepsight.gating import Gate, Gated
from keepsight.refs import checkpoint_refs, row_names
from keepsight.shelves import SHELVES as LISTINGS
from keepsight.store import load_matrix, load_run
from keepsight.tune.config import TRAINED_PARTS
from keepsight.types import KeepsightError, Score
from tests.exchange import logs
from tests.fake_vlm import FakeVLM, make_task
from tests.report.fake_audit import demo_audit

LABELS = ("blue", "green", "red")
SCORER_FILE = """
import math
from keepsight import Score
class Brief:
    name, version = "brief", "1"
    def __call__(self, samples, outputs):
        unknown = [Score(math.nan, status="judge_failed")]
        return unknown + [Score(float(len(o.text) < 5)) for o in outputs[1:]]
def brief():
    return Brief()
"""
TASK_FILE = """
from tests.fake_vlm import make_task, samples
def pets():
    return make_task(samples(6), name="pets")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a folder of class folders and canned answers of a base and two checkpoints."""
    monkeypatch.chdir(tmp_path)
    for label in LABELS:
        for i in range(16):
            file = tmp_path / "paints" / ("test", "train")[i % 2] / label / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8 + i), label).save(file)  # no two alike, or they would be one cluster
    from keepsight import tasks

    samples = tasks.get("emt:paints").test()
    for name, right in (("base", 24), ("e1", 22), ("e2", 2)):
        answers = [s.target[0] if i < right else "a number" for i, s in enumerate(samples)]
        write_replay(tmp_path / f"{name}.jsonl", {s.id: a for s, a in zip(samples, answers)})
    return tmp_path


def write_replay(path: Path, answers: dict[str, str]) -> None:
    path.write_text("".join(json.dumps({"id": i, "text": a}) + "\n" for i, a in answers.items()))


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command in this process and returns (exit code, stdout, stderr)."""

    def call(*argv: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["keepsight", *argv])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return call


AUDIT = ("audit", "replay:base.jsonl", "replay:e1.jsonl", "replay:e2.jsonl", "--tasks", "emt:paints")
PLAIN = ("--judges", "label,taxonomy", "--output_path", "out")


def test_eval_ends_with_the_command_that_makes_its_page(run, folder):
    code, out, _ = run("eval", "replay:base.jsonl", "--tasks", "emt:paints", "--output_path", "my out")
    told = out.splitlines()[-1]
    assert code == 0 and told == "the page of it: keepsight report 'my out'"
    assert run(*shlex.split(told.partition(": keepsight ")[2]))[0] == 0
    assert (folder / "my out" / "forgetting.html").is_file()


def test_audit_prints_a_narrow_table_and_writes_everything(run, folder):
    code, out, err = run(*AUDIT, *PLAIN)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 60
    assert "100.0" in out and "8.3▼" in out and "forgotten" in out and "written: out/forgetting.html" in out
    assert {p.name for p in (folder / "out").iterdir()} == {"runs", "media", "matrix.json", "forgetting.html"}
    matrix = load_matrix(folder / "out")
    assert matrix.rows == ("base.jsonl", "e1.jsonl", "e2.jsonl")
    assert [drop.verdict for drop in matrix.forgetting()] == ["no evidence", "forgotten"]
    assert set(matrix["e2.jsonl", "emt:paints"].records[0].scores) == {"label", "taxonomy"}
    command = matrix["base.jsonl", "emt:paints"].manifest["command"]
    assert command.startswith("keepsight audit replay:base.jsonl")


def test_the_same_command_again_is_a_no_op(run, folder):
    run(*AUDIT, *PLAIN)
    before = {p: p.stat().st_mtime_ns for p in (folder / "out" / "runs").rglob("*")}
    first = (folder / "out" / "matrix.json").read_bytes()
    code, _, _ = run(*AUDIT, *PLAIN)
    assert code == 0 and {p: p.stat().st_mtime_ns for p in (folder / "out" / "runs").rglob("*")} == before
    assert (folder / "out" / "matrix.json").read_bytes() == first


def test_dashes_and_underscores_are_the_same(run, folder):
    code, _, _ = run(
        *AUDIT, "--judges", "label", "--output-path", "dashed", "--batch-size", "3", "--no-report"
    )
    assert code == 0 and {p.name for p in (folder / "dashed").iterdir()} == {"runs", "media", "matrix.json"}


def test_a_gate_on_forgetting(run, folder):
    assert run(*AUDIT, *PLAIN, "--fail_on_forgetting")[0] == 4
    assert run(*AUDIT[:3], *AUDIT[4:], *PLAIN, "--fail_on_forgetting")[0] == 0


def test_unanswered_samples_are_named_and_the_exit_code_is_partial(run, folder):
    lines = (folder / "e1.jsonl").read_text().splitlines(keepends=True)
    (folder / "e1.jsonl").write_text("".join(lines[:-2]))
    code, out, err = run(*AUDIT, *PLAIN)
    assert code == 3 and "≥22" in out
    assert "not scored: 2 answers, the first paints/" in err and "has no answer for sample" in err


def test_a_failing_cell_is_named_and_the_others_are_kept(run, folder, monkeypatch):
    models = {"base": FakeVLM("base"), "bad": FakeVLM("bad", "w1", answers={"s001": ValueError("nope")})}
    monkeypatch.setattr("keepsight.models.load", lambda ref, **_: models[ref])
    (folder / "task.py").write_text(TASK_FILE)
    code, out, err = run("audit", "base", "bad", "--tasks", "task.py:pets", "--output_path", "out")
    assert code == 3 and "failed" in out and "keepsight: failed: bad on pets: ValueError: nope" in err
    models = {"bad": models["bad"]}
    assert run("eval", "--model", "bad", "--tasks", "task.py:pets", "--output_path", "out")[0] == 1


def test_an_audit_without_an_answer_keeps_the_earlier_page(run, folder, monkeypatch):
    (folder / "task.py").write_text(TASK_FILE)
    argv = ("audit", "base", "tuned", "--tasks", "task.py:pets", "--output_path", "out")
    monkeypatch.setattr("keepsight.models.load", lambda ref, **_: FakeVLM(ref))
    assert run(*argv)[0] == 0
    before = {file: (folder / "out" / file).read_bytes() for file in ("matrix.json", "forgetting.html")}
    broken = FakeVLM("bad", "w1", answers={"s001": ValueError("nope")})
    monkeypatch.setattr("keepsight.models.load", lambda ref, **_: broken)
    code, out, err = run(*argv)
    assert code == 1 and "written" not in out and "failed: base on pets" in err
    assert before == {file: (folder / "out" / file).read_bytes() for file in before}


@pytest.mark.parametrize("place", ["train.json", "train.json/below", "link"])
def test_an_output_path_that_cannot_be_one_is_named_before_anything_is_asked(run, folder, place):
    (folder / "train.json").write_text("[]")
    (folder / "link").symlink_to("nowhere")
    at = "link" if place == "link" else "train.json"
    for command in (
        AUDIT,
        ("eval", "--model", "replay:base.jsonl", "--tasks", "emt:paints"),
        ("tune", "tiny", "--data", "emt:paints"),
        ("demo",),
    ):
        code, out, err = run(*command, "--output_path", place)
        told = f"keepsight: --output_path {place}: {at} is no directory; give another --output_path\n"
        assert (code, out, err) == (1, "", told)
    assert (folder / "train.json").read_text() == "[]"


@pytest.mark.parametrize(("place", "what"), [("closed", "read"), ("closed/below", "written")])
def test_an_output_path_without_permission_is_named(folder, monkeypatch, place, what):
    (folder / "closed").mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != Path("closed"))
    with pytest.raises(
        KeepsightError, match=f"--output_path {place}: closed cannot be {what}; change its permissions"
    ):
        verbs.evaluate_tasks("replay:base.jsonl", ["emt:paints"], place)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("eval", "--model", "base.jsonl"), "model 'base.jsonl' is a file; give a model's directory"),
        (("eval", "--model", "tuned/epoch-3"), "no such directory (tuned holds epoch-1, epoch-2)"),
        (("audit", "replay:base.jsonl", "tuned/epoch-3"), "no such directory (tuned holds epoch-1, epoch-2)"),
        (("eval", "--model", "replay:base.jsonl", "--tasks", "paints"), "write emt:paints"),
        (("eval", "--model", "replay:base.jsonl", "--tasks", "emt:pains"), "did you mean emt:paints"),
        (("eval", "--model", "replay:base.jsonl", "--tasks", "pains"), "did you mean emt:paints"),
        (("tune", "tiny", "--data", "paints"), "data paints is a folder of class folders, not rows to learn; write emt:paints"),
        (("tune", "tiny", "--data", "nothere.json"), "data nothere.json: no such file"),
        (("tune", "tiny", "--data", "pains"), "did you mean emt:paints"),
    ],
)  # fmt: skip
def test_what_was_meant_is_said(run, folder, argv, told):
    for epoch in ("epoch-1", "epoch-2"):
        (folder / "tuned" / epoch).mkdir(parents=True)
    tasks = () if argv[0] == "tune" or "--tasks" in argv else ("--tasks", "emt:paints")
    code, _, err = run(*argv, *tasks, "--output_path", "out")
    assert code == 1 and told in err and err.count("\n") == 1 and not (folder / "out").exists()


def test_eval_prints_every_metric_with_its_interval(run, folder):
    code, out, _ = run("eval", "--model", "replay:e2.jsonl", "--tasks", "emt:paints", *PLAIN, "--log_samples")
    assert code == 0 and ["emt:paints", "accuracy", "8.3", "2.3–25.8", "24"] in [
        line.split() for line in out.splitlines()
    ]
    (path,) = (line.partition(": ")[2] for line in out.splitlines() if line.startswith("emt:paints: "))
    assert load_run(path).headline.n == 24 and not (folder / "out" / "matrix.json").exists()
    assert max(map(len, out.splitlines()[:5])) <= 80


def test_eval_takes_what_lm_eval_takes(run, folder, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        "keepsight.models.load", lambda ref, **args: seen.update(ref=ref, **args) or FakeVLM()
    )
    (folder / "mine").mkdir()
    (folder / "mine" / "task.py").write_text(TASK_FILE)
    argv = [
        "--tasks",
        "task.py:pets",
        "--include_path",
        "mine",
        "--gen_kwargs",
        "max_new_tokens=9",
        "--seed",
        "5",
    ]
    argv += ["--device", "cpu", "--limit", "4", "--output_path", "out"]
    code, out, err = run(
        "eval", "--model", "hf", "--model_args", "pretrained=a/b,peft=c,dtype=float32", *argv
    )
    assert (code, err) == (0, "")
    assert seen == {"ref": "hf:a/b+adapter:c", "device": "cpu", "dtype": "float32"}
    run_path = out.strip().splitlines()[-2].partition(": ")[2]
    manifest = load_run(run_path).manifest
    assert manifest["inference"] == {"method": "ask", "max_new_tokens": 9, "seed": 5}
    assert manifest["n_samples"] == 4 and manifest["settings"]["limit"] == "4"


def test_dry_run_counts_and_writes_nothing(run, folder):
    code, out, _ = run(*AUDIT, *PLAIN, "--dry_run", "--limit", "10")
    assert code == 0 and not (folder / "out").exists()
    assert [line.split() for line in out.splitlines()[2:]] == [
        *([name, "emt:paints", "10", "10", "unknown"] for name in ("base.jsonl", "e1.jsonl", "e2.jsonl")),
        ["all", "30", "30", "unknown"],
    ]
    run(*AUDIT, *PLAIN, "--limit", "10")
    _, out, _ = run(*AUDIT, *PLAIN, "--dry_run", "--llm_judge", "replay:base.jsonl", "--judges", "label")
    assert out.splitlines()[2].split()[:4] == ["base.jsonl", "emt:paints", "14", "24"]
    assert "unknown" not in out and "the llm judge would be asked at most 72 times" in out


def test_print_prompts(run, folder):
    code, out, _ = run(
        "eval", "--model", "replay:base.jsonl", "--tasks", "emt:paints", "--print_prompts", "2"
    )
    assert code == 0 and out.count("Please only answer a single object in blue, green, red.") == 2


def test_compare_score_and_report(run, folder):
    run(*AUDIT, "--judges", "label", "--output_path", "out", "--no_report")
    matrix = load_matrix(folder / "out")
    base, last = (str(matrix[row, "emt:paints"].path) for row in ("base.jsonl", "e2.jsonl"))

    code, out, _ = run("compare", base, last, "--top", "2")
    assert code == 0 and out.startswith("replay:base.jsonl → replay:e2.jsonl\n")
    assert "100.0 → 8.3 %, n 24" in out and "lost 91.7 points" in out and "forgotten" in out
    assert "exact McNemar p < 0.001" in out and "22 samples fell, 0 rose" in out and "left out" not in out
    classes, answers = out.split("\n\n")[1:]
    assert "verdict" in classes and "times" in answers and len(answers.splitlines()) == 4
    assert len(classes.splitlines()) == 4 and classes.count("forgotten") == 2
    assert "no answer changed" in run("compare", base, base)[1]

    code, out, _ = run("score", base, last, "--judges", "taxonomy")
    assert (
        code == 0
        and out.count("taxonomy") == 2
        and set(load_run(base).manifest["scorers"]) == {"label", "taxonomy"}
    )
    told = [line.split() for line in out.splitlines()[2:]]
    assert [(line[0], line[2], line[-1]) for line in told] == [
        ("replay:base.jsonl", "label", "before"),
        ("replay:base.jsonl", "taxonomy", "now"),
        ("replay:e2.jsonl", "label", "before"),
        ("replay:e2.jsonl", "taxonomy", "now"),
    ]

    code, out, _ = run("report", "out", "--html", "page.html")
    assert code == 0 and (folder / "page.html").read_text().startswith("<!") and "written: page.html" in out

    (folder / "mine.py").write_text(SCORER_FILE)
    code, out, err = run("score", base, "--scorer", "mine.py:brief")
    assert code == 3 and "brief" in out and "judge brief gave no verdict on 1 of 24 answers" in err
    assert run("compare", base, base, "--scorer", "brief")[1].count("left out: 1 not scored in both") == 1
    assert "has no scores by 'brief'" in run("compare", base, last, "--scorer", "brief")[2]


def test_report_of_an_evaluation_without_a_matrix(run, folder):
    run("eval", "replay:base.jsonl", "--tasks", "emt:paints", *PLAIN)
    (path,) = (folder / "out").glob("runs/*/*")
    for place in ("out", str(path.relative_to(folder))):
        code, out, _ = run("report", place)
        assert code == 0 and f"written: {place}/forgetting.html" in out
        assert "Evaluation of" in (folder / place / "forgetting.html").read_text()
    assert load_run(path).headline.n == 24, "the page in its directory disturbs no run"
    run("eval", "replay:e1.jsonl", "--tasks", "emt:paints", *PLAIN)
    code, _, err = run("report", "out")
    assert code == 1 and "holds runs of 2 checkpoints and no matrix.json" in err


def test_the_directory_of_an_audit_stands_for_its_runs_or_is_told_apart(run, folder):
    run(*AUDIT, "--judges", "label", "--output_path", "out", "--no_report")
    for where in ("out", "out/runs"):
        code, out, _ = run("score", where, "--judges", "taxonomy")
        assert code == 0 and out.count("taxonomy") == 3
        code, _, err = run("compare", where, where)
        assert (
            code == 1
            and f"keepsight: {where} is no run but holds 3; give the ones you mean: out/runs/" in err
        )
    assert "or all: out" in run("gate", "out/runs", "--max_forgetting", "0.1")[2]


@pytest.mark.parametrize("width", [60, 80])
def test_the_gates_table_breaks_no_word_and_keeps_names_apart(width):
    names = [f"checkpoint-number-one-thousand-and-{i}" for i in range(3)]
    cells = [Gated(name, "emt:animals", "too little data", 0.8, 0.7, 0.9, n=1000) for name in names]
    shown = io.StringIO()
    console = Console(file=shown, width=width)
    for part in gate_lines(Gate(0.02, False, tuple(cells))):
        console.print(part)
    lines = shown.getvalue().splitlines()
    assert max(map(len, lines)) <= width and lines[0].split() == [
        "checkpoint",
        "task",
        "lost",
        "interval",
        "n",
        "outcome",
    ]
    assert sum("+80.0 +70.0 to +90.0 1,000 too little" in line for line in lines) == 3
    folded = "".join(line.split(" ")[0] for line in lines)
    assert all(name in folded for name in names)


@pytest.mark.parametrize(("rows", "told"), [(1, "1 row was"), (2, "2 rows were")])
def test_rows_that_were_not_learnt_are_counted(run, folder, monkeypatch, rows, told):
    tuned = verbs.Tuned((), None, [f"rows.jsonl, line {i}" for i in range(rows)])
    monkeypatch.setattr(verbs, "fine_tune", lambda *_, **__: tuned)
    code, _, err = run("tune", "tiny", "--data", "rows.jsonl")
    assert code == 3 and f"keepsight: {told} not learnt, the first: rows.jsonl, line 0" in err


def test_the_version_is_told(run):
    assert run("--version") == (0, f"keepsight {version('keepsight')}\n", "")


def test_a_wrong_choice_is_told_plainly(run):
    for argv, told in (
        (("ls", "nothing"), "is not one of"),
        (("tune", "tiny", "--data", "emt:digits", "--method", "qlora"), "with PART one of linear, lora"),
    ):
        code, _, err = run(*argv)
        assert code == 2 and told in err and "Value error" not in err


def test_two_runs_of_different_limits_say_what_was_left_out(run, folder):
    for ref, limit in (("base", "20"), ("e1", "1-10")):
        run("eval", "--model", f"replay:{ref}.jsonl", "--tasks", "emt:paints", *PLAIN, "--limit", limit)
    base, other = (str(next((folder / "out").glob(f"runs/*{name}*/*"))) for name in ("base", "e1"))
    code, out, _ = run("compare", base, other)
    assert code == 0 and "n 10" in out and "left out: 10 only in the first run" in out


def test_a_gate_passes_fails_and_says_when_it_cannot_tell(run, folder):
    run(*AUDIT, *PLAIN, "--no_report")
    code, out, _ = run("gate", "out", "--max_forgetting", "0.2")
    assert code == 4 and "failed: forgetting beyond 20 points (1 undecided, 1 beyond)" in out
    assert out.splitlines()[2].split()[:3] == ["e1.jsonl", "emt:paints", "+8.3"]
    base, first, last = (str(next((folder / "out").glob(f"runs/*{n}*/*"))) for n in ("base", "e1", "e2"))
    assert run("gate", base, last, "--max-forgetting", "0.2")[0] == 4
    code, out, _ = run("gate", base, first, "--max_forgetting", "0.3")
    assert code == 0 and "passed: forgetting beyond 30 points is not shown anywhere" in out
    assert run("gate", base, first, "--max_forgetting", "0.05", "--strict")[0] == 4
    assert run("gate", base, first, "--max_forgetting", "0.9", "--strict")[0] == 0
    code, out, _ = run("gate", base, first, "--max_forgetting", "0.05", "--json")
    told = json.loads(out)
    assert (code, told["decision"], told["cells"][0]["outcome"]) == (0, "passed", "undecided")

    for ref in ("base", "e1"):
        few = ("--tasks", "emt:paints", *PLAIN[:2], "--output_path", "few", "--limit", "3")
        run("eval", "--model", f"replay:{ref}.jsonl", *few)
    few = [str(next((folder / "few").glob(f"runs/*{name}*/*"))) for name in ("base", "e1")]
    code, out, _ = run("gate", *few, "--max_forgetting", "0.02")
    assert code == 3 and "too little data to judge forgetting beyond 2 points" in out


def test_a_cell_that_cannot_be_compared_is_partial(run, folder, monkeypatch):
    monkeypatch.setattr(
        "keepsight.store.runs.row_fault", lambda root, row: None
    )  # the edit stands for another task
    run(*AUDIT[:3], "--tasks", "emt:paints", *PLAIN, "--no_report")
    file = folder / "out" / "matrix.json"
    run_path = next((folder / "out").glob("runs/*e1*/*"))
    outputs = run_path / "outputs.jsonl"
    outputs.write_text(outputs.read_text().replace("What is the object", "What was the object"))
    code, out, err = run("report", "out")
    assert code == 3 and "not comparable: e1.jsonl on emt:paints: sample" in err and file.exists()
    assert "not comparable: e1.jsonl on paints: sample" in " ".join(out.split())
    assert "not comparable" in (folder / "out" / "forgetting.html").read_text()
    code, out, _ = run("gate", "out", "--max_forgetting", "0.1")
    assert code == 3 and "another prompt in replay:e1.jsonl" in " ".join(out.split())


def test_logs_are_imported_and_exported(run, folder):
    base, tuned = logs.lm_eval(folder / "a", 36), logs.lm_eval(folder / "b", 12, model="org/tuned")
    code, out, err = run("import", "a", "b", "--output_path", "in", "--names", "old,new")
    assert code == 0 and "90.0" in out and "30.0▼" in out and "written: in/matrix.json" in out
    assert err.count("note: ") == 4 and base.is_dir() and tuned.is_dir()
    assert run("gate", "in", "--max_forgetting", "0.02")[0] == 4
    assert run("report", "in")[0] == 0
    code, out, _ = run("export", "in", "--format", "csv", "--output", "table.csv")
    assert code == 0 and out == "written: table.csv\n" and (folder / "table.csv").read_text().count("\n") == 3
    (path,) = (folder / "in").glob("runs/new-*/*")
    assert run("export", str(path), "--format", "inspect", "--output", "log.json")[0] == 0
    code, _, err = run("score", str(path), "--judge", "label")
    assert code == 1 and "has no label set, which judge label matches" in err


def test_methods_are_those_that_tune_takes(run):
    from keepsight.tune.naming import named_method

    names = [row["name"] for row in json.loads(run("ls", "methods", "--json")[1])]
    found = {name: named_method(name) for name in names}
    assert all(name in (part, method.name) for name, (part, method) in found.items())


@pytest.mark.parametrize("shelf", LISTINGS)
def test_ls(run, shelf):
    code, out, _ = run("ls", shelf, "--json")
    rows = json.loads(out)
    assert code == 0 and all(set(row) == {"name", "description"} for row in rows)
    assert len({row["name"] for row in rows}) == len(rows)
    piped = [line.split(maxsplit=1) for line in run("ls", shelf)[1].splitlines()]
    assert piped == [[row["name"], row["description"]] for row in rows]  # one line per entry: grep finds it


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("shelf", LISTINGS)
def test_listings_fit_a_terminal_and_lose_no_word(shelf, width):
    rows = LISTINGS[shelf]()
    lines = list(definition_lines(rows, width))
    assert max(map(len, lines)) <= width
    assert " ".join(lines).split() == " ".join(part for row in rows for part in row).split()


def test_descriptions_are_whole_sentences():
    """Those of methods and tasks are first lines of docstrings: a sentence that goes on there would be cut."""
    for name, said in [*LISTINGS["methods"](), *LISTINGS["tasks"](), *LISTINGS["envs"]()]:
        assert name in TRAINED_PARTS or re.search(r"[^.?;,][.?]\)?$", said), (name, said)
        assert not re.search(r"\.,|\?\.|^`\w+:", said), (name, said)


def test_ls_wraps_in_a_terminal():
    master, slave = os.openpty()
    argv = [sys.executable, "-m", "keepsight.cli", "ls", "judges"]
    with subprocess.Popen(argv, stdin=slave, stdout=slave, env={**os.environ, "COLUMNS": "60"}) as process:
        os.close(slave)
        shown = ""
        with contextlib.suppress(OSError):  # a terminal without a writer ends in one on Linux
            while more := os.read(master, 1 << 16):
                shown += more.decode()
    os.close(master)
    assert process.returncode == 0 and 50 < max(map(len, shown.splitlines())) <= 60


def test_a_name_wider_than_its_column_has_a_line_of_its_own_and_no_word_is_broken():
    rows = [("a", "one two-three four"), ("b" * 30, "default: a-long-name.which_stays_whole"), ("c", "")]
    lines = ["a         one", "          two-three", "          four", "b" * 30]
    lines += ["          default:", "          a-long-name.which_stays_whole", "c"]
    assert list(definition_lines(rows, 20)) == lines


def _helped(command, *path):
    yield path, command
    for name, each in getattr(command, "commands", {}).items():
        yield from _helped(each, *path, name)


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_fits_a_narrow_terminal_and_cuts_nothing(run, verb, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    for path, command in _helped(command_of(verb), verb):
        out = run(*path, "--help")[1]
        flat = " ".join(out.split())
        assert max(map(len, out.splitlines())) <= 60
        for said in (command.help, *(each.help for each in getattr(command, "commands", {}).values())):
            assert " ".join(said.split()) in flat
        for default in re.findall(r"\[default: *([^];]+)", flat):
            assert " " not in default, path


@pytest.mark.parametrize(
    ("argv", "code", "error"),
    [
        (["audit", "tinyy", "x", "--tasks", "emt:digits"], 1, "keepsight: model 'tinyy' is not understood"),
        (
            ["audit", "replay:base.jsonl", "replay:none.jsonl", "--tasks", "emt:paints"],
            1,
            "keepsight: replay file",
        ),
        (["eval", "--model", "replay:base.jsonl", "--tasks", "emt:digts"], 1, "did you mean emt:digits"),
        (
            [*AUDIT, "--judges", "labels"],
            2,
            "keepsight: unknown judge 'labels'; choose from label, embedding",
        ),
        ([*AUDIT, "--judges", "llm"], 2, "keepsight: the llm judge needs a model"),
        ([*AUDIT, "--judges", "label", "--limit", "x"], 2, "keepsight: limit 'x' is not a number"),
        (
            [*AUDIT, "--judges", "label", "--gen_kwargs", "beams=2"],
            2,
            "has no setting 'beams'; gen_kwargs can set max_new",
        ),
        ([*AUDIT, "--judges", "label", "--task_args", "colour=2"], 2, "colour"),
        (
            [*AUDIT, "--judges", "label", "--tuned_on", "emt:x"],
            2,
            "tuned_on names 'emt:x', which is not audited",
        ),
        ([*AUDIT[:4], "--tasks", ","], 1, "keepsight: no tasks given"),
        (["compare", "nowhere", "here"], 1, "keepsight: nowhere/manifest.json: No such file"),
        (["report", "nowhere"], 1, "keepsight: nowhere"),
        (["tune", "replay:base.jsonl", "--data", "x.json"], 1, "replay:base.jsonl has no weights to tune"),
        (
            ["tune", "tiny", "--data", "emt:paints", "--limit", "4"],
            2,
            "limit is of the audits, and no tasks to audit",
        ),
        ([*AUDIT, "--judges", "label", "--limit", "0"], 2, "keepsight: limit 0 is not a number"),
        (
            [*AUDIT, "--judges", "label", "--limit", "90-99"],
            1,
            "keepsight: limit '90-99' leaves nothing of 24 samples",
        ),
        (
            [*AUDIT, "--judges", "label", "--task_args", "n=0"],
            2,
            "keepsight: set paints: n=0 is not a number of pictures",
        ),
        (
            [*AUDIT, "--judges", "label", "--model_args", "wings=2"],
            2,
            "keepsight: unknown model argument wings",
        ),
        ([*AUDIT, "--judge_args", "embedding.margn=1"], 2, "keepsight: judge_args has no 'embedding.margn'"),
        (
            ["eval", "replay:base.jsonl", "--model", "tiny", "--tasks", "emt:paints"],
            2,
            "name one model: keepsight eval MODEL",
        ),
        (["eval", "--tasks", "emt:paints"], 2, "name one model: keepsight eval MODEL"),
        (["audit", "tiny"], 2, "Missing argument"),
        (["audit", "tiny", "x"], 2, "Missing option '--tasks'"),
        ([*AUDIT, "--model_args", "dtype"], 2, "--model_args 'dtype' is not of the form name=value"),
        ([*AUDIT, "--fail_on_error", "some"], 2, "neither true, false, a share nor a count"),
        (["eval", "--model", "hf", "--tasks", "emt:digits"], 2, "--model hf needs --model_args pretrained="),
        (["ls", "spoons"], 2, "spoons"),
        (["gate", "nowhere", "--max_forgetting", "0.1"], 1, "keepsight: nowhere/manifest.json"),
        (["gate", "nowhere"], 2, "Missing option '--max_forgetting'"),
        (["import", "nowhere"], 1, "keepsight: no log at nowhere"),
        (["export", "nowhere", "--format", "xml", "--output", "x"], 2, "xml"),
        ([*AUDIT, "--judges", "mine.txt:f"], 2, "unknown judge 'mine.txt:f'"),
        (["nonsense"], 2, "No such command 'nonsense'"),
    ],
)
def test_errors_are_one_line_with_the_right_code(run, folder, argv, code, error):
    found, out, err = run(*argv)
    assert found == code and error in " ".join(err.split())
    usage = err.startswith("Usage:")
    assert out == "" and (code == 2 if usage else err.count("\n") == 1)


def test_eval_takes_its_model_by_position_or_by_name(run, folder):
    asked = ("--tasks", "emt:paints", "--judges", "label", "--output_path", "out")
    by_position = run("eval", "replay:base.jsonl", *asked)
    assert by_position[0] == 0 and "emt:paints" in by_position[1]
    assert run("eval", "--model", "replay:base.jsonl", *asked) == by_position


def test_the_embedding_judge_can_be_told_to_abstain(run, folder):
    asked = (
        "eval",
        "replay:e2.jsonl",
        "--tasks",
        "emt:paints",
        "--judges",
        "label,embedding",
        "--output_path",
        "out",
    )
    assert run(*asked)[0] == 0
    scores = lambda: load_run(next((folder / "out").glob("runs/*/*"))).scores("embedding")  # noqa: E731
    assert {score.status for score in scores()} == {"ok"}
    assert run(*asked, "--judge_args", "embedding.margin=5")[0] == 0
    assert {score.status for score in scores()} == {"unparsed"}


def test_a_task_without_samples_is_named(run, folder):
    (folder / "task.py").write_text(
        "from tests.fake_vlm import make_task\ndef none():\n    return make_task([], name='none')\n"
    )
    code, _, err = run("eval", "replay:base.jsonl", "--tasks", "task.py:none")
    assert (code, err) == (1, "keepsight: task none has no samples; there is nothing to ask\n")


def test_an_unexpected_failure_is_one_line_with_a_way_to_see_more(run, monkeypatch):
    def broken(output_path) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("keepsight.doctor.checks", broken)
    code, _, err = run("doctor")
    assert (code, err) == (1, "keepsight: RuntimeError: two lines (KEEPSIGHT_TRACEBACK=1 shows where)\n")
    monkeypatch.setenv("KEEPSIGHT_TRACEBACK", "1")
    monkeypatch.setattr(sys, "argv", ["keepsight", "doctor"])
    with pytest.raises(RuntimeError):
        cli.main()


def test_an_interrupt_says_how_to_go_on(run, folder, monkeypatch):
    monkeypatch.setattr("keepsight.models.load", lambda ref, **_: FakeVLM(ref, interrupt_after=2))
    (folder / "task.py").write_text(TASK_FILE)
    code, _, err = run("eval", "--model", "base", "--tasks", "task.py:pets", "--output_path", "out")
    assert code == 130 and err == "keepsight: interrupted; run the same command again to go on\n"
    (path,) = (folder / "out").glob("runs/*/*/manifest.json")
    assert json.loads(path.read_text())["status"] == "cancelled"


def test_a_progress_bar_is_drawn_on_a_terminal_only(folder, run, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    assert run(*AUDIT, *PLAIN)[2] == ""
    from keepsight.console import progress_bar

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_bar() as show:
        show("a-very-long-checkpoint-name emt:digits", 3, 10)
    assert "ame emt:digits" in sys.stderr.getvalue() and "3/10" in sys.stderr.getvalue()


def test_tune_offers_every_setting_of_the_config(run):
    from keepsight.tune.config import SFTConfig, help_of

    code, out, _ = run("tune", "--help")
    flat = " ".join(out.split())
    assert code == 0
    for name, text in help_of(SFTConfig).items():
        assert f"--{name}" in out and text[:30] in flat


def test_tune_passes_its_settings_on(run, monkeypatch):
    seen = {}

    def fine_tune(*args, **settings):
        seen.update(settings, args=args)
        return verbs.Tuned([Path("out/epoch-1")], None)

    monkeypatch.setattr(verbs, "fine_tune", fine_tune)
    argv = [
        "--method",
        "lora",
        "--learning-rate",
        "0.5",
        "--lora_r",
        "4",
        "--bf16",
        "--no_freeze_vision_tower",
    ]
    code, out, _ = run("tune", "tiny", "--data", "x.json", "--tasks", "emt:a,emt:b", *argv)
    assert code == 0 and out == "checkpoint: out/epoch-1\n"
    assert seen["args"] == ("tiny", "x.json", Path("keepsight-out")) and seen["tasks"] == ["emt:a", "emt:b"]
    assert (seen["method"], seen["learning_rate"], seen["lora_r"], seen["bf16"]) == ("lora", 0.5, 4, True)
    assert seen["freeze_vision_tower"] is False and seen["num_train_epochs"] == 3


@pytest.mark.parametrize(
    ("refs", "names"),
    [
        ([], []),
        (["tiny"], ["tiny"]),
        (
            ["tiny", "tiny+adapter:out/linear/epoch-1", "tiny+adapter:out/lora/epoch-1"],
            ["tiny", "linear/epoch-1", "lora/epoch-1"],
        ),
        (["tiny", "tiny+adapter:out/lora/epoch-1"], ["tiny", "lora/epoch-1"]),
        (["hf:org/model", "hf:other/model"], ["org/model", "other/model"]),
        (["tiny+adapter:a/x/epoch-1", "tiny+adapter:b/x/epoch-1"], ["a/x/epoch-1", "b/x/epoch-1"]),
        (["tiny", "tiny"], ["tiny#1", "tiny#2"]),
        (["/models/llava-7b", "../x"], ["llava-7b", "x"]),
        ([FakeVLM("mine"), (object(), object())], ["mine", "tuple"]),
    ],
)
def test_row_names_are_short_and_unique(refs, names):
    assert row_names(refs) == names


def test_checkpoint_directories_find_their_base(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for epoch in ("epoch-2", "epoch-10", "epoch-1"):
        (tmp_path / "lora" / epoch).mkdir(parents=True)
        (tmp_path / "lora" / epoch / "keepsight.json").touch()
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "config.json").touch()
    (tmp_path / "empty").mkdir()
    on = "tiny+adapter:lora/epoch-"
    assert checkpoint_refs(["tiny", "lora"]) == ["tiny", f"{on}1", f"{on}2", f"{on}10"]
    assert checkpoint_refs(["tiny", "lora/epoch-2", "whole", "hf:x"]) == ["tiny", f"{on}2", "whole", "hf:x"]
    with pytest.raises(KeepsightError, match="empty is neither a model nor a checkpoint"):
        checkpoint_refs(["tiny", "empty"])
    with pytest.raises(KeepsightError, match="needs a base given as a ref"):
        checkpoint_refs([FakeVLM(), "lora"])


def test_judges_are_loaded_once_and_only_when_asked_for(folder, monkeypatch):
    loads = []

    class Embedder:
        name, digest = "e", "d"

        def embed_texts(self, texts):
            import numpy as np

            return np.array([[float("blue" in t), float("green" in t), 1.0] for t in texts])

    monkeypatch.setattr(
        "keepsight.models.load_embedder", lambda ref: loads.append(ref) or Embedder(), raising=False
    )
    from keepsight import tasks

    two = [tasks.get("emt:paints"), tasks.get("emt:paints", split="train", share=0.5)]
    base = "replay:base.jsonl"
    verbs.evaluate_tasks(base, two, "out", judges=["label", "taxonomy"])
    assert loads == []
    yes = FakeVLM("judge")
    yes.generate = lambda samples, **_: ((i, Output("Yes.")) for i in range(len(samples)))
    matrix = verbs.evaluate_tasks(
        base, two, "out", judges=["label", "embedding"], llm_judge=yes, embedder="e"
    )
    assert loads == ["e"]
    run = matrix.runs["base.jsonl", "emt:paints"]
    assert set(run.records[0].scores) == {"label", "embedding", "llm"}
    assert run.records[0].scores["llm"].value == 1.0


def test_other_tasks_keep_their_own_scorers(tmp_path):
    matrix = verbs.evaluate_tasks(FakeVLM(), [make_task()], tmp_path, judges=["label"])
    assert set(matrix["fake", "emt:pets"].records[0].scores) == {"exact"}


def test_only_the_verb_that_is_named_makes_its_options(run, monkeypatch):
    made = []
    monkeypatch.setattr(cli, "command_of", lambda name: made.append(name) or command_of(name))
    code, out, _ = run("--help")
    assert code == 0 and made == []
    first_lines = [re.split(" {2,}", line.strip()) for line in out.partition("Commands:\n")[2].splitlines()]
    whole = {name: command_of(name).get_short_help_str(limit=100) for name in cli.VERBS}
    assert dict(first_lines) == whole
    assert run("ls", "methods")[0] == 0 and made == ["ls"]


def test_a_verb_written_wrongly_is_guessed(run):
    code, _, err = run("aduit")
    assert code == 2 and "Did you mean 'audit'?" in err


def test_help_names_every_verb_and_is_quick():
    done = subprocess.run(
        [sys.executable, "-m", "keepsight.cli", "--help"], capture_output=True, text=True, check=True
    )
    verbs = (
        "demo",
        "audit",
        "eval",
        "compare",
        "gate",
        "score",
        "tune",
        "report",
        "import",
        "export",
        "ls",
        "doctor",
    )
    for verb in verbs:
        assert f"\n  {verb} " in done.stdout
    assert "..." not in done.stdout.partition("Commands:")[2]


def test_a_tasks_own_judge_is_kept_because_it_knows_the_foreign_labels(folder):
    from keepsight import tasks

    ids = [sample.id for sample in tasks.get("emt:paints").test()]
    write_replay(folder / "leaky.jsonl", dict.fromkeys(ids, "The object is a triangle."))
    names = ["emt:paints", "emt:shapes"]
    matrix = verbs.evaluate_tasks("replay:leaky.jsonl", names, "out", judges=["taxonomy"], limit=3)
    record = matrix.runs["leaky.jsonl", "emt:paints"].records[0]
    assert "leak:shapes" in record.scores["taxonomy"].tags


@pytest.mark.torch
def test_a_demo_whose_small_judge_is_at_a_loss_is_a_success_and_one_with_a_failed_cell_is_not(
    run, folder, monkeypatch
):
    from keepsight import demo
    from keepsight.report.claims import write_claims

    matrix = demo_audit(n=20)
    cell, judged = next(iter(matrix.runs.items()))
    lost = Score(math.nan, status="judge_failed", explanation="the judge said: " + "cross arrow " * 500)
    first, *others = judged.records
    records = (replace(first, scores={**first.scores, "llm": lost}), *others)
    matrix = replace(matrix, runs={**matrix.runs, cell: replace(judged, records=records)})
    monkeypatch.setattr(demo, "tune_demo", lambda path, **_: write_claims([], path, title="none"))
    monkeypatch.setattr(demo, "audit_demo", lambda *_, **__: matrix)
    code, _, err = run("demo", "--output_path", "shown")
    assert code == 0 and "judge llm gave no verdict on " in err and "cross arrow" in err
    assert len(max(err.splitlines(), key=len)) < 300
    matrix.meta["failed"] = [{"row": cell[0], "col": cell[1], "error": "no picture"}]
    assert run("demo", "--output_path", "shown")[0] == 3
