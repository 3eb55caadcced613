"""An audit of hostile data, end to end: every bad sample is named and counted, and nothing gets out."""

import html
import json
import os
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from keepsight import cli, tasks, verbs
from keepsight.data.pictures import decode
from keepsight.errors import KeepsightError
from keepsight.models import Replay
from keepsight.report.wording import printable
from keepsight.store import load_matrix, load_run
from keepsight.types import Output

KEY = "planted-9f3a77c1d2"
# Markup, a formula, terminal commands (7 and 8 bit), a turned direction, a bell, a carriage return, an invisible tag.
EVIL = (
    "<script>alert(1)</script>=cmd|'/c calc'!A1 \x1b[2J\x9b31m\u202etac\x07\r\u200f\U000e0041 [bold]{{7*7}}"
)


def png(colour="red"):
    buffer = BytesIO()
    Image.new("RGB", (6, 6), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """Two good rows and one of every kind of bad one."""
    monkeypatch.chdir(tmp_path)
    good = png()
    files = {
        "a.png": good,
        "b.png": png("blue"),
        "cut.png": good[:40],
        "empty.png": b"",
        "text.png": b"hello",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    lines = [{"image": name, "label": "cat", "split": "test"} for name in files]
    lines[1]["label"] = EVIL
    lines += [{"image": "../secret.png", "label": "cat", "split": "test"}]
    lines += [{"image": "http://169.254.169.254/x.png", "label": "cat", "split": "test"}]
    text = "\n".join(map(json.dumps, lines)) + '\n{"image": \n{"image": "a.png", "label": NaN}\n'
    (tmp_path / "set.jsonl").write_text(text)
    return tmp_path


BAD = 7  # for a model that looks at the pictures
UNREADABLE = 4  # for one that does not


class Looking(Replay):
    """Canned answers from a model that decodes what it is shown, as every real one does."""

    def generate(self, samples, **settings):
        for index, output in super().generate(samples, **settings):
            try:
                for media in samples[index].media:
                    decode(media)
            except KeepsightError as error:
                output = Output("", error=str(error))
            yield index, output


def answers():
    return {s.id: EVIL for s in tasks.get("emt:set.jsonl").test()}


@pytest.fixture
def keepsight(monkeypatch, capsys):
    def run(*argv):
        monkeypatch.setattr("sys.argv", ["keepsight", *map(str, argv)])
        try:
            cli.main()
            code = 0
        except SystemExit as left:
            code = left.code or 0
        return code, *capsys.readouterr()

    return run


def visible(text):
    """Nothing but text and line ends: what a terminal may be given."""
    return printable(text) == text and "\r" not in text


def test_every_bad_sample_is_one_named_error_and_the_others_are_asked(rows):
    matrix = verbs.audit(
        [
            Looking({**answers(), "set/a.png": "cat"}, name="base"),
            Looking({**answers(), "x": EVIL}, name=f"tuned {EVIL}"),
        ],
        ["emt:set.jsonl"],
        "out",
        judges=["label", "taxonomy"],
    )
    for run in matrix.runs.values():
        errors = {record.sample.id: record.output.error for record in run.records if record.output.error}
        assert len(run.records) == BAD + 2 and len(errors) == BAD
        assert all(
            score.status == "error" for r in run.records if r.output.error for score in r.scores.values()
        )
        assert json.loads((run.path / "results.json").read_text())["n_errors"] == BAD
        assert run.headline.n == 2 and run.headline.total == BAD + 2 and run.headline.not_ok["error"] == BAD
        text = "\n".join(errors.values())
        for word in (
            "cut.png",
            "empty.png: the file is empty",
            "text.png",
            "leaves",
            "remote pictures are off",
        ):
            assert word in text
        assert "line 8: not JSON" in text and "line 9: not JSON (NaN" in text
    page = (rows / "out" / "forgetting.html").read_text()
    assert "<script>alert" not in page and "169.254" not in page.partition("<body")[0]
    assert not [c for c in page if not visible(c)]
    assert html.escape("<script>alert(1)</script>") in page or "\\u003cscript\\u003ealert" in page
    assert load_matrix("out").rows == matrix.rows


@pytest.mark.parametrize(
    ("given", "code"), [("true", 1), ("4", 1), ("5", 3), ("0.4", 1), ("0.5", 3), ("false", 3), (None, 3)]
)
def test_fail_on_error_of_eval(rows, keepsight, given, code):
    (rows / "answers.jsonl").write_text(
        "".join(json.dumps({"id": k, "text": v}) + "\n" for k, v in answers().items())
    )
    flag = [] if given is None else ["--fail_on_error", given]
    base = ["--tasks", "emt:set.jsonl", "--judges", "label", "--output_path", "out"]
    found, out, err = keepsight("eval", "--model", "replay:answers.jsonl", *base, *flag)
    assert found == code and visible(out) and visible(err)
    if code == 1:
        assert "failed, the last was" in err
    else:
        assert f"not scored: {UNREADABLE} answers" in err
    found, out, err = keepsight("audit", "replay:answers.jsonl", "replay:answers.jsonl", *base, *flag)
    assert found == code and visible(out) and visible(err)


@pytest.mark.parametrize("given", ["0", "-1", "0.0", "1.5", "nan", "some"])
def test_a_limit_of_errors_that_makes_no_sense(rows, keepsight, given):
    found, _, err = keepsight(
        "eval", "--model", "tiny", "--tasks", "emt:set.jsonl", f"--fail_on_error={given}"
    )
    assert found == 2 and "fail_on_error" in err


def test_what_the_terminal_is_given(rows, keepsight, monkeypatch):
    folder = rows / "pets[bold]\x1b[2J\u202e"
    for label in ("cat", EVIL.replace("/", "_")):
        (folder / label).mkdir(parents=True)
        for i in range(3):
            (folder / label / f"{i}\x1b[31m.png").write_bytes(png())
    (folder / "cat" / "broken.png").write_bytes(b"x")
    os.rename(folder / "cat" / "1\x1b[31m.png", os.fsencode(folder / "cat") + b"/caf\xe9.png")
    ref = f"emt:{folder}"
    (rows / "none.jsonl").write_text(json.dumps({"id": EVIL, "text": EVIL}))
    common = ["--tasks", ref, "--task_args", "split=all", "--output_path", "out"]
    for argv in (
        ["eval", "--model", "replay:none.jsonl", *common],
        ["eval", "--model", "replay:none.jsonl", *common, "--dry_run"],
        ["eval", "--model", "replay:none.jsonl", *common, "--print_prompts", "1"],
        ["eval", "--model", f"replay:{EVIL}", *common],
        ["eval", "--model", EVIL, *common],
        ["eval", "--model", "tiny", "--tasks", f"emt:{EVIL}"],
        ["audit", "replay:none.jsonl", "replay:none.jsonl", *common],
        ["report", "out"],
        ["report", EVIL],
    ):
        code, out, err = keepsight(*argv)
        assert visible(out) and visible(err), argv
        assert code in (0, 1, 3) and "Error" not in err, (argv, err)


def test_a_planted_key_is_in_no_artefact(rows, keepsight, monkeypatch, capsys):
    monkeypatch.setenv("SOME_API_KEY", KEY)

    class Leaky(Replay):
        def generate(self, samples, **settings):
            for index, output in super().generate(samples, **settings):
                failed = {"error": f"401: bad key {KEY} at https://me:{KEY}@host/v1"}
                yield index, output if index else type(output)("", **failed)

    argv = [
        "keepsight",
        "audit",
        "--api_key",
        KEY,
        f"https://me:{KEY}@host/v1",
        "--model_args",
        f"api_key={KEY}",
    ]
    monkeypatch.setattr("sys.argv", argv)
    verbs.audit(
        [Leaky(answers(), name="base"), Replay(answers(), name="t")],
        ["emt:set.jsonl"],
        "out",
        judges=["label"],
    )

    class Failing(Replay):
        def generate(self, samples, **settings):
            raise RuntimeError(f"cannot reach https://me:{KEY}@host with api_key={KEY}")

    verbs.audit(
        [Replay(answers(), name="base"), Failing({}, name="f")], ["emt:set.jsonl"], "out2", judges=["label"]
    )
    codes = [
        keepsight("eval", "--model", f"api:m@https://me:{KEY}@host/v1", "--tasks", "emt:set.jsonl")[1:],
        keepsight("eval", "--model", "tiny", "--model_args", f"api_key={KEY}", "--tasks", "emt:set.jsonl")[
            1:
        ],
        keepsight("tune", f"replay:{KEY}", "--data", f"{KEY}.json")[1:],
    ]
    assert all(KEY not in text for texts in codes for text in texts)
    files = [path for folder in ("out", "out2") for path in Path(folder).rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
    manifest = next(path for path in files if path.name == "manifest.json").read_text()
    assert "--api_key ***" in manifest and "***@host" in manifest, "the command is there, without the key"


class TestTampered:
    """A run directory from elsewhere, or one that somebody edited."""

    @pytest.fixture
    def out(self, rows):
        models = [Replay(answers(), name="base"), Replay({**answers(), "x": "y"}, name="tuned")]
        verbs.audit(models, ["emt:set.jsonl"], "out", judges=["label"], report=False)
        return rows / "out"

    def rewrite(self, path, change):
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))

    @pytest.mark.parametrize("where", ["../other/runs/a/b", "/etc", "x" * 5000, "runs/../../.."])
    def test_runs_outside_the_directory_are_not_read(self, out, where):
        self.rewrite(out / "matrix.json", lambda m: m["runs"][1].__setitem__(0, where))
        with pytest.raises(KeepsightError, match="lies outside its directory"):
            load_matrix(out)

    def test_a_run_that_is_a_link_to_elsewhere_is_not_read(self, out, tmp_path_factory):
        run = next((out / "runs").iterdir())
        run.rename(tmp_path_factory.mktemp("else") / "moved")
        run.symlink_to(tmp_path_factory.getbasetemp())
        with pytest.raises(KeepsightError, match="lies outside its directory"):
            load_matrix(out)

    def test_a_matrix_with_missing_places(self, out):
        self.rewrite(out / "matrix.json", lambda m: m["runs"].pop())
        with pytest.raises(KeepsightError, match="does not have a place for every row and column"):
            load_matrix(out)

    @pytest.mark.parametrize(
        ("name", "message"),
        [("scores.jsonl", "has no score of label for sample"), ("outputs.jsonl", "holds 8 of 9 samples")],
    )
    def test_a_finished_run_with_a_line_removed_is_refused_and_completed_by_running_again(
        self, out, name, message
    ):
        run = next((out / "runs").glob("*/*"))
        lines = (run / name).read_text().splitlines(keepends=True)
        (run / name).write_text("".join(lines[1:]))
        with pytest.raises(KeepsightError, match=f"{message}.*; run the same command again"):
            load_run(run)
        models = [Replay(answers(), name="base"), Replay({**answers(), "x": "y"}, name="tuned")]
        again = verbs.audit(models, ["emt:set.jsonl"], "out", judges=["label"], report=False)
        assert not again.meta.get("failed") and len(load_run(run).records) == 9

    def test_a_stored_picture_that_is_another_or_a_link_is_not_shown(self, out):
        files = sorted((out / "media").iterdir())
        files[0].write_bytes(png("green"))
        records = load_run(next((out / "runs").glob("*/*"))).records
        (changed,) = [r.sample.media[0] for r in records if r.sample.media[0].path.name == files[0].name]
        with pytest.raises(KeepsightError, match="is damaged: its content is not that of its name"):
            changed.read()


@pytest.mark.parametrize("place", ["x" * 300, "file/x", "loop"], ids=["long", "below a file", "loop"])
def test_a_path_that_no_file_can_have_is_an_error_by_name_on_every_python(place, tmp_path, monkeypatch):
    """`Path.exists` and its kin raise on some Pythons what they answer with False on others."""
    import keepsight as ks
    from keepsight.data.judged import write_unlabelled
    from keepsight.data.messages import read_training_rows
    from keepsight.data.readers import read_set

    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    for reader in (ks.load_run, load_matrix, read_set, read_training_rows, lambda at: ks.gate([at], 0.1)):
        with pytest.raises(KeepsightError):
            reader(place)
    for act in (
        lambda: read_training_rows("file", place),
        lambda: ks.import_logs([place], "out"),
        lambda: ks.export(place, "csv", "out.csv"),
        lambda: write_unlabelled(place, [], 1),
    ):
        with pytest.raises(KeepsightError):
            act()


LONG = "x" * 300
EVAL = ("eval", "--model", "replay:r.jsonl", "--tasks", "emt:shapes", "--limit", "1", "--output_path", "out")
LONG_NAMES = {
    "model": (*EVAL, "--model", LONG),
    "model hf": (*EVAL, "--model", f"hf:{LONG}"),
    "model hf below": (*EVAL, "--model", f"hf:{LONG}/{LONG}"),
    "model replay": (*EVAL, "--model", f"replay:{LONG}"),
    "model adapter": (*EVAL, "--model", f"tiny+adapter:{LONG}"),
    "chat_template": (*EVAL, "--model", "tiny", "--model_args", f"chat_template={LONG}"),
    "extra_body": (*EVAL, "--model", "api:m@http://127.0.0.1:9/v1", "--model_args", f"extra_body={LONG}"),
    "checkpoint": ("audit", "tiny", LONG, *EVAL[3:]),
    "tasks": (*EVAL, "--tasks", LONG),
    "tasks folder": (*EVAL, "--tasks", f"emt:{LONG}"),
    "tasks below": (*EVAL, "--tasks", f"emt:{LONG}/x"),
    "tasks file": (*EVAL, "--tasks", f"{LONG}.py:f"),
    "include_path": (*EVAL, "--tasks", "a.py:f", "--include_path", LONG),
    "task_args": (*EVAL, "--tasks", "emt:caltech101", "--task_args", f"path={LONG}"),
    "judges": (*EVAL, "--judges", f"{LONG}.py:f"),
    "llm_judge": (*EVAL, "--judges", "verdict", "--llm_judge", LONG),
    "embedder": (*EVAL, "--judges", "label,embedding", "--embedder", LONG),
    "embedder clip": (*EVAL, "--judges", "label,embedding", "--embedder", f"clip:{LONG}"),
    "output_path": (*EVAL, "--output_path", LONG),
    "data": ("tune", "tiny", "--data", LONG),
    "data file": ("tune", "tiny", "--data", f"{LONG}.jsonl"),
    "image_folder": ("tune", "tiny", "--data", "rows.jsonl", "--image_folder", LONG),
    "tune output_path": ("tune", "tiny", "--data", "emt:shapes", "--output_path", LONG),
    "score": ("score", LONG, "--judges", "label"),
    "scorer": ("score", "out", "--scorer", f"{LONG}.py:f"),
    "compare": ("compare", LONG, LONG),
    "gate": ("gate", LONG, "--max_forgetting", "0.1"),
    "report": ("report", LONG),
    "import": ("import", LONG),
    "export": ("export", LONG, "--format", "csv", "--output", "x.csv"),
    "export output": ("export", "out", "--format", "csv", "--output", LONG),
    "labelled": ("judge", "calibrate", "replay:r.jsonl", LONG),
    "json": ("judge", "attack", "replay:r.jsonl", "--json", LONG),
}


@pytest.mark.torch
@pytest.mark.parametrize("argv", LONG_NAMES.values(), ids=LONG_NAMES)
def test_a_name_too_long_for_any_file_is_one_clear_line_in_every_option(
    argv, keepsight, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.jsonl").write_text('{"id": "none", "text": "A"}\n')
    (tmp_path / "rows.jsonl").write_text('{"image": "a.png", "conversations": []}\n')
    code, _, err = keepsight(*argv)
    (line,) = err.splitlines()
    assert code in (1, 2) and line.startswith("keepsight: ") and "KEEPSIGHT_TRACEBACK" not in line
