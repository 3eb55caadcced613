"""`keepsight build qa`: the estimate first, then questions in a file that a task asks; codes say what is missing."""

import json

import pytest

from keepsight import cli, models, tasks
from keepsight.building import build_questions
from keepsight.data.wikiqa import read_wikiqa
from tests.test_building import PAGES, TOPICS, Writer, classname_of, made
from tests.test_cli import folder, run, write_replay  # noqa: F401  (fixtures)

BUILD = ("build", "qa", "pages", "--model", "replay:replies.jsonl", "--output_path", "out")


@pytest.fixture
def pages(folder):  # noqa: F811
    (folder / "pages").mkdir()
    for name, text in PAGES.items():
        (folder / "pages" / f"{name}.txt").write_text(text)
    return folder


def replies_of(writer, directory, pages=PAGES):
    """What a writer says to all requests of a build, as a replay file."""
    said = {}

    class Heard(type(writer)):
        def generate(self, samples, **settings):
            for index, output in super().generate(samples, **settings):
                said[samples[index].id] = output.text
                yield index, output

    writer.__class__ = Heard
    try:
        build_questions(pages, writer, directory / "rehearsal")
    finally:
        rows = [json.dumps({"id": key, "text": text}) for key, text in said.items()]
        (directory / "replies.jsonl").write_text("\n".join(rows))


def test_from_pages_to_a_task(run, pages):  # noqa: F811
    replies_of(Writer(), pages)
    code, out, err = run(*BUILD, "--data", "things")
    assert code == 0 and err.startswith("2 pages: 2 to 24 requests, at most 12,") and err.count("\n") == 1
    assert out == (
        "made 10, invalid 0, unanswerable 0, guessable 0, unreadable 0, no reply 0, kept 10\n"
        "right letters: A 3, B 2, C 3, D 2\nwritten: out/questions.jsonl\n"
    )
    assert all(len(question.images) == 3 for question in read_wikiqa(pages / "out" / "questions.jsonl"))
    task = tasks.get("wikiqa:out/questions.jsonl")
    write_replay(pages / "right.jsonl", {sample.id: f"({sample.target[0]})" for sample in task.test()})
    asked = ("eval", "--model", "replay:right.jsonl", "--tasks", "wikiqa:out/questions.jsonl")
    code, out, _ = run(*asked, "--output_path", "asked")
    assert code == 0 and "100.0" in out and "wikiqa:questions" in out


def test_again_asks_nothing(run, pages, monkeypatch):  # noqa: F811
    replies_of(Writer(), pages)
    run(*BUILD)
    before = {path: path.read_bytes() for path in (pages / "out").iterdir() if path.is_file()}
    asked = models.load("replay:replies.jsonl")
    monkeypatch.setattr(models, "load", lambda ref, **settings: asked)
    assert run(*BUILD)[0] == 0 and asked.calls == 0 and len(before) == 2
    assert before == {path: path.read_bytes() for path in before}


def test_dry_run_asks_and_writes_nothing(run, pages):  # noqa: F811
    (pages / "replies.jsonl").write_text("")
    code, out, err = run(*BUILD, "--dry_run")
    assert (code, err) == (0, "") and out.startswith("2 pages: 2 to 24 requests")
    assert not (pages / "out").exists()
    served = ("build", "qa", "pages", "--model", "api:some@http://127.0.0.1:9/v1", "--dry_run")
    assert run(*served)[1].endswith("tokens; prices were not given\n")
    assert run(*served, "--model_args", "prompt_price=1,completion_price=2")[1].endswith(
        " at the prices given\n"
    )


def test_a_class_that_failed_makes_it_partial_and_all_make_it_failed(run, pages):  # noqa: F811
    def make(prompt):
        return "I would rather not." if classname_of(prompt) == "cup" else json.dumps(made("fish"))

    replies_of(Writer(make=make), pages)
    code, out, err = run(*BUILD)
    assert code == 3 and "made 5, invalid 5" in out and "written: out/questions.jsonl" in out
    assert err.splitlines()[1:] == ["keepsight: no question on cup: it is no JSON"]
    (pages / "replies.jsonl").write_text("")
    code, out, err = run(*BUILD[:-1], "none")
    assert code == 1 and out == "" and "made no question; page 'cup': no reply" in err


def test_what_no_filter_replied_to_makes_it_partial(run, pages):  # noqa: F811
    replies_of(Writer(), pages)
    rows = (pages / "replies.jsonl").read_text().splitlines()
    (pages / "replies.jsonl").write_text("\n".join(row for row in rows if len(json.loads(row)["text"]) > 1))
    code, out, err = run(*BUILD)
    assert code == 3 and "no reply 10, kept 0" in out
    assert "10 questions got no reply from a filter" in err and "no question passed both filters" in err


@pytest.mark.parametrize(
    ("argv", "code", "told"),
    [
        (("--data", "paints"), 1, "set paints has no class 'cup' (2 of 2 pages)"),
        (("--task_args", "path=x"), 2, "none is given"),
        (("--data", "things", "--task_args", "spoons=1"), 1, "has no setting 'spoons'"),
        (("--output_path", "base.jsonl"), 1, "base.jsonl is no directory"),
        (("--max_page_chars", "0"), 2, "max_page_chars"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_before_anything_is_asked(argv, code, told, run, pages):  # noqa: F811
    (pages / "replies.jsonl").write_text("")
    found, out, err = run(*BUILD, *argv)
    assert (found, out) == (code, "") and told in " ".join(err.replace("│", " ").split())
    assert not (pages / "out" / "judge").exists()


def test_longer_pages_are_cut(run, pages):  # noqa: F811
    cut = {name: text[:20] for name, text in PAGES.items()}
    replies_of(Writer(), pages, cut)
    assert run(*BUILD, "--max_page_chars", "20")[0] == 0
    assert json.loads((pages / "out" / "report.json").read_text())["pages_cut"] == ["cup", "fish"]
    assert len(TOPICS) == 5 and cli.build_app.info.help
