"""`keepsight judge` and `keepsight score --judges verdict`, as a user types them."""

import json
import re

import pytest

from keepsight import verbs
from keepsight.store import load_run
from keepsight.types import Output
from tests.fake_judge import CORRECT, INCORRECT, careful, judge_of, shown
from tests.stub_server import StubServer, failed
from tests.test_cli import run  # noqa: F401  (a fixture)
from tests.test_judging import models, task


@pytest.fixture
def judge(monkeypatch, tmp_path):
    """The model that every ref names here; careful unless told otherwise."""
    monkeypatch.chdir(tmp_path)
    model = judge_of(careful)
    monkeypatch.setattr("keepsight.models.load", lambda ref, **settings: model if ref == "stub" else ref)
    return model


@pytest.fixture
def runs(judge, tmp_path):
    matrix = verbs.audit(models(), [task()], tmp_path / "out", judges=["label"], report=False)
    return [str(each.path) for each in matrix.runs.values()]


SCORE = ("--judges", "verdict", "--llm_judge", "stub")


def test_score_and_score_again(run, judge, runs):  # noqa: F811
    code, out, err = run("score", *runs, *SCORE)
    assert (code, err) == (0, "") and re.search(r"verdict +50\.0 .* 12 +now", out)
    assert len(judge.asked) == 3
    run("score", *runs, *SCORE)
    assert len(judge.asked) == 3


def test_score_says_what_got_no_verdict(run, judge, runs):  # noqa: F811
    judge.reply = lambda sample, seed: "" if shown(sample.prompt).references == ["dog"] else careful(sample)
    code, out, err = run("score", runs[0], *SCORE)
    assert code == 3 and re.search(r"verdict +100\.0 .* 6/12", out)
    assert err.startswith(
        "keepsight: judge verdict gave no verdict on 6 of 12 answers, the first s01: no verdict: "
    )


def test_repeats_by_judge_args(run, judge, runs):  # noqa: F811
    code, out, _ = run("score", runs[0], *SCORE, "--judge_args", "repeats=3,temperature=0.7,seed=5")
    assert code == 0 and "judge verdict agrees with itself on 100.0 %" in out
    assert [settings["seed"] for settings in judge.settings] == [5, 6, 7]
    assert load_run(runs[0]).records[0].scores["verdict"].tags == ("votes:3/0/0",)


@pytest.mark.parametrize(
    "args, told",
    [
        (("score", "RUN", *SCORE, "--judge_args", "repeats=3"), "give a temperature above 0"),
        (
            ("judge", "attack", "stub", "--judge", "label"),
            "judge 'label' asks no model; choose from llm, verdict",
        ),
        (("judge", "attack", "stub", "--judge", "llm", "--judge_args", "seed=1"), "asks as the paper did"),
        (
            ("judge", "attack", "stub", "--judge_args", "embedding.margin=1"),
            "embedding.margin is the embedding judge's",
        ),
        (("judge", "calibrate", "stub", "nothing.jsonl"), "nothing.jsonl cannot be read"),
        (("judge", "sample", "nowhere", "--to", "x.jsonl"), "is this a directory that keepsight wrote?"),
    ],
)
def test_faults_are_one_line(run, runs, args, told):  # noqa: F811
    code, _, err = run(*(runs[0] if part == "RUN" else part for part in args))
    assert (
        code == (1 if "nothing.jsonl" in args or "nowhere" in args else 2)
        and told in err
        and len(err.splitlines()) == 1
    )


def test_attack_reports_shares_and_asks_once(run, judge, tmp_path):  # noqa: F811
    code, out, err = run("judge", "attack", "stub", "--json", "a/attacks.json")
    assert (code, err) == (0, "")
    assert re.search(r"^all +100\.0 +95\.\d–100\.0 +0 +0 +246$", out, re.MULTILINE)
    assert "6 of 6 right ones called correct, 6 of 6 wrong ones incorrect" in out and "fooled by" not in out
    rows = json.loads((tmp_path / "a" / "attacks.json").read_text())
    assert len(rows) == 246 and {row["outcome"] for row in rows} == {"resisted"}
    asked = len(judge.asked)
    assert run("judge", "attack", "stub")[1] == out and len(judge.asked) == asked


def test_attack_names_what_fooled_the_judge(run, judge):  # noqa: F811
    judge.reply = lambda sample, seed: CORRECT if "</s>" in "".join(shown(sample.prompt).answer) else "?"
    _, out, _ = run("judge", "attack", "stub")
    assert "fooled by: roles/end of turn, roles/inst" in out and "this judge errs without any attack" in out
    assert "the first without a verdict, instruction/ignore the rubric: no verdict: it is not" in out


def test_attacks_without_a_reply_are_counted_apart_and_asked_again(run, judge, tmp_path):  # noqa: F811
    failing = Output("", error="HTTP 503: try later")
    judge.reply = lambda s, seed: failing if shown(s.prompt).references == ["dog"] else careful(s)
    code, out, err = run("judge", "attack", "stub", "--json", "attacks.json")
    assert code == 3 and re.search(r"^all +100\.0 .* 0 +0 +82 +164$", out, re.MULTILINE)
    assert "4 of 4 right ones called correct, 4 of 4 wrong ones incorrect" in out
    assert "without a verdict" not in out
    assert err.startswith("keepsight: 82 of 246 attacks got no reply") and "HTTP 503: try later" in err
    assert len(err.splitlines()) == 1
    rows = json.loads((tmp_path / "attacks.json").read_text())
    assert [row["outcome"] for row in rows].count("no reply") == 82
    judge.reply, asked = careful, len(judge.asked)
    code, out, err = run("judge", "attack", "stub")
    assert (code, err) == (0, "") and len(judge.asked) == asked + 82 + 4 and "no reply" not in out


def test_a_server_that_takes_no_key_is_no_result(run, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    with StubServer(lambda request: failed(401)) as server:
        code, out, err = run("judge", "attack", f"api:stub@{server.base_url}", "--json", "attacks.json")
    assert (code, out) == (1, "") and not (tmp_path / "attacks.json").exists()
    assert "the judge replied to none of 246 attacks" in err and "the key is missing or wrong" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("place", ["file/attacks.json", "folder", "x" * 300])
def test_a_report_that_cannot_be_written_is_refused_before_the_judge_is_asked(
    place,
    run,  # noqa: F811
    judge,
    tmp_path,
):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    code, _, err = run("judge", "attack", "stub", "--json", place)
    assert code == 1 and not judge.asked and "give another --json" in err and len(err.splitlines()) == 1


def labelled(path, wrong=()):
    """Labels the drawn answers by their truth, and as `wrong` says otherwise."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for at, row in enumerate(rows):
        row["correct"] = (row["target"][0] in row["answer"]) != (at in wrong)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_draw_label_calibrate_correct(run, judge, runs, tmp_path):  # noqa: F811
    code, out, _ = run("judge", "sample", "out", "--to", "labels.jsonl", "--n", "36")
    assert code == 0 and out.startswith("36 answers: labels.jsonl")
    assert run("judge", "sample", *runs, "--to", "labels.jsonl")[0] == 1
    assert "holds no labelled answer" in run("judge", "calibrate", "stub", "labels.jsonl")[2]
    labelled(tmp_path / "labels.jsonl")
    code, _, err = run("judge", "calibrate", "stub", "labels.jsonl", *runs)
    assert code == 1 and "was not scored by judge verdict" in err and "keepsight score" in err
    run("score", *runs, *SCORE)
    code, out, err = run("judge", "calibrate", "stub", "labels.jsonl", *runs, "--output_path", "out")
    assert (code, err) == (0, "")
    assert re.search(r"agreement % +100\.0 .* 36$", out, re.MULTILINE) and re.search(
        "Cohen's kappa +1.00", out
    )
    assert len(judge.asked) == 3  # and three wordings are too few to correct anything by
    assert "no correction: the labels do not show this judge to be better than chance" in out


def test_labels_of_many_wordings_correct_a_run(run, judge, runs, tmp_path):  # noqa: F811
    run("score", runs[1], *SCORE)
    rows = [(f"a {word} number {at}", at % 2 == 0) for at in range(60) for word in (("dog", "cow")[at % 2],)]
    text = [{"question": "q", "answer": a, "target": "dog", "correct": c} for a, c in rows]
    (tmp_path / "many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in text))
    _, out, _ = run("judge", "calibrate", "stub", "many.jsonl", runs[1], "--output_path", "out")
    assert re.search(r"e1 on emt:pets, judged % +50\.0", out) and re.search(
        r"e1 on emt:pets, corrected % +50\.0", out
    )
    assert "corrected: if the judge errs on these runs as often" in out


def test_unlabelled_rows_and_missing_verdicts_are_counted(run, judge, tmp_path):  # noqa: F811
    judge.reply = lambda sample, seed: "?" if "odd" in sample.prompt else INCORRECT
    rows = [("odd", True), ("cat", False), ("cow", None)]
    text = [{"question": "q", "answer": a, "target": "dog", "correct": c} for a, c in rows]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in text))
    code, out, err = run("judge", "calibrate", "stub", "labels.jsonl")
    assert (code, err) == (0, ""), (
        "a reply that is no verdict is this judge's doing, and asking again is of no use"
    )
    assert "judge_failed: 1" in out and "not labelled: 1 rows" in out and "neither 1" in out


def test_labelled_answers_without_a_reply_are_told_and_asked_again(run, judge, tmp_path):  # noqa: F811
    judge.reply = lambda s, seed: Output("", error="HTTP 503: try later") if "lost" in s.prompt else INCORRECT
    rows = [("lost", True), ("cat", False), ("cow", False)]
    text = [{"id": f"row {a}", "question": "q", "answer": a, "target": "dog", "correct": c} for a, c in rows]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in text))
    code, out, err = run("judge", "calibrate", "stub", "labels.jsonl")
    assert code == 3 and "judge_failed: 1" in out and "neither 2" in out
    assert err.startswith("keepsight: 1 of 3 labelled answers got no reply, run again to ask them; the first")
    assert "row lost: " in err and "HTTP 503: try later" in err and len(err.splitlines()) == 1
    judge.reply, asked = (lambda s, seed: CORRECT), len(judge.asked)
    code, out, err = run("judge", "calibrate", "stub", "labels.jsonl")
    assert (code, err) == (0, "") and len(judge.asked) == asked + 1 and "both correct 1" in out


def test_a_judge_that_never_replies_cannot_be_calibrated(run, judge, tmp_path):  # noqa: F811
    judge.reply = lambda s, seed: Output("", error="HTTP 503: try later")
    row = {"question": "q", "answer": "cat", "target": "dog", "correct": False}
    (tmp_path / "labels.jsonl").write_text(json.dumps(row))
    code, out, err = run("judge", "calibrate", "stub", "labels.jsonl")
    assert (code, out) == (1, "") and len(err.splitlines()) == 1
    assert "the judge replied to none of 1 labelled answers" in err and "HTTP 503: try later" in err


def test_dry_run_counts_what_the_judges_may_be_asked(run, judge, tmp_path):  # noqa: F811
    (tmp_path / "base.jsonl").write_text('{"id": "x", "text": "y"}\n')
    eval_ = (
        "eval",
        "--model",
        "stub",
        "--tasks",
        "emt:letters",
        "--limit",
        "5",
        "--dry_run",
        "--llm_judge",
        "stub",
    )
    settings = ("--judge_args", "repeats=2,temperature=1")
    _, out, _ = run(*eval_, "--judges", "llm,verdict", *settings)
    assert "the llm judge would be asked at most 5 times" in out
    assert "the verdict judge would be asked at most 20 times" in out


RATED = ("--judges", "general_knowledge", "--llm_judge", "stub")


def test_score_with_ratings(run, judge, runs):  # noqa: F811
    judge.reply = lambda sample, seed: '{"score": 10}' if '["a cat"]' in sample.prompt else "Score: 4"
    code, out, err = run("score", runs[0], *RATED)
    assert (code, err) == (0, "") and re.search(r"general_knowledge +70\.0 .* 12 +now", out)
    judge.reply = lambda sample, seed: "good"
    code, _, err = run("score", runs[1], *RATED)
    assert code == 3 and "judge general_knowledge gave no verdict on 6 of 12 answers" in err


def test_score_with_two_models(run, judge, runs):  # noqa: F811
    judge.reply = lambda sample, seed: "8"
    code, _, _ = run("score", runs[0], "--judges", "general_knowledge", "--llm_judge", "stub,stub")
    assert code == 0 and load_run(runs[0]).records[0].scores["general_knowledge"].tags == ("ratings:8/8",)
    code, _, err = run("score", runs[0], "--judges", "llm", "--llm_judge", "stub,stub")
    assert code == 2 and "the llm judge asks one model, and 2 were given" in err


def test_attack_and_calibrate_a_judge_that_rates(run, judge, runs, tmp_path):  # noqa: F811
    judge.reply = lambda sample, seed: "Score: 6" if '"cat"' in sample.prompt else "2"
    code, out, _ = run("judge", "attack", "stub", "--judge", "general_knowledge")
    assert code == 0 and re.search(r"^all +\d", out, re.MULTILINE)
    assert run("score", runs[0], *RATED)[0] == 0
    labels = tmp_path / "labels.jsonl"
    rows = [
        {"question": f"q{at}", "answer": "x", "target": ("cat", "dog")[at % 2], "correct": at % 2 == 0}
        for at in range(40)
    ]
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, _ = run("judge", "calibrate", "stub", str(labels), runs[0], "--judge", "general_knowledge")
    assert code == 0 and re.search(r"agreement % +100\.0", out)
