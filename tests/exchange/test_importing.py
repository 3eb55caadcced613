"""Other harnesses' logs become runs that everything else can work with; nothing is guessed and nothing is dropped."""

import json
import math

import pytest

import keepsight as ks
from keepsight.gating import gate
from keepsight.types import KeepsightError
from tests.exchange import logs


def test_two_models_of_lm_eval_are_compared_without_running_anything(tmp_path):
    base = logs.lm_eval(tmp_path / "base", 36)
    tuned = logs.lm_eval(tmp_path / "tuned", 12, model="org/tuned")
    found = ks.import_logs([base, tuned], tmp_path / "out")
    matrix = found.matrix
    assert matrix.rows == ("org/base", "org/tuned") and matrix.cols == ("colours",)
    (drop,) = matrix.forgetting()
    assert (drop.n, drop.lost, drop.gained, drop.verdict, drop.unpaired) == (40, 24, 0, "forgotten", 0)
    assert ks.load_matrix(tmp_path / "out").rows == matrix.rows
    assert gate([tmp_path / "out"], 0.02).decision == "failed"

    run = matrix["org/base", "colours"]
    assert run.manifest["scorers"] == {
        "exact_match,strict": "lm-eval-3.0",
        "exact_match,lenient": "lm-eval-3.0",
    }
    assert run.manifest["inference"]["generation_kwargs"] == {"do_sample": False}
    assert (run.headline.name, run.headline.value, run.headline.n) == ("accuracy", 0.9, 40)
    record = run.records[0]
    assert (record.sample.id, record.sample.prompt, record.sample.target) == ("0", "Question 0?", ("blue",))
    assert record.output.text == "It is blue." and record.scores["exact_match,strict"].answer == "blue"
    assert any("edits,strict is better when it is lower" in note for note in found.notes)
    assert matrix.report(tmp_path / "page.html").stat().st_size > 10_000
    changed = ks.compare(run, matrix["org/tuned", "colours"], scorer="exact_match,lenient")
    assert changed.drop.n == 40 and {flow.after for flow in changed.flow} == {"blue", "grey"}


def test_importing_again_changes_nothing_and_another_evaluation_is_another_run(tmp_path):
    folder = logs.lm_eval(tmp_path / "a", 30)
    ks.import_logs([folder], tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "runs").rglob("*")}
    ks.import_logs([folder], tmp_path / "out")
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "runs").rglob("*")} == before
    later = logs.lm_eval(tmp_path / "b", 30, seconds=12)
    matrix = ks.import_logs([folder, later], tmp_path / "out").matrix
    assert matrix.rows == ("org/base#1", "org/base#2")
    assert len({run.manifest["checkpoint_digest"] for run in matrix.runs.values()}) == 2
    named = ks.import_logs([folder, later], tmp_path / "named", names=["before", "after"]).matrix
    assert named.rows == ("before", "after")


def test_lmms_eval_is_read_and_pictures_can_be_clusters(tmp_path):
    base, tuned = logs.lmms_eval(tmp_path / "base", 40), logs.lmms_eval(tmp_path / "tuned", 20, model="tuned")
    found = ks.import_logs([base, tuned], tmp_path / "out")
    (drop,) = found.matrix.forgetting()
    assert (drop.col, drop.n, drop.method, drop.verdict) == ("pope", 40, "mcnemar", "forgotten")
    run = found.matrix["llava", "pope"]
    assert run.records[0].output.text == "yes" and set(run.manifest["scorers"]) == {
        "pope_accuracy",
        "pope_f1_score",
    }
    assert any("submission has no number per sample" in note for note in found.notes)
    assert any("the log reports 0.9, the mean over samples is 1" in note for note in found.notes)
    grouped = ks.import_logs([base, tuned], tmp_path / "grouped", group="image").matrix
    (careful,) = grouped.forgetting()  # five pictures fell, not twenty samples
    assert (careful.method, careful.lost, careful.verdict) == ("sign flip", 20, "no evidence")
    with pytest.raises(KeepsightError, match=r"line 1: no field 'picture' to group by"):
        ks.import_logs([base], tmp_path / "x", group="picture")


def test_ranked_choices_keep_their_log_probabilities(tmp_path):
    path = logs.lm_eval_choices(tmp_path)
    run = next(iter(ks.import_logs([path], tmp_path / "out").matrix.runs.values()))
    record = run.records[0]
    assert record.sample.choices[9:] == (" c9", " c10", " c11")
    assert record.output.text == " c10" and record.output.choice_logprobs[10] == -1.0


def test_inspect_grades_epochs_and_groups(tmp_path):
    path = logs.inspect(tmp_path / "a.json", ["C", "I", "P", "N", 0.25, True, float("nan")], epochs=2)
    found = ks.import_logs([path], tmp_path / "out")
    run = found.matrix["openai/x", "letters"]
    values = [score.value for score in run.scores()][::2]
    assert values[:6] == [1.0, 0.0, 0.5, 0.0, 0.25, 1.0] and math.isnan(values[6])
    assert (run.headline.name, run.headline.n, run.headline.total) == ("mean_value", 12, 14)
    record = run.records[1]
    assert (record.sample.id, record.sample.group, record.sample.prompt) == ("0/2", "0", "Q0?")
    assert record.output.text == "A" and record.scores["match"].explanation == "said A"
    assert found.notes == ("openai/x, letters: notes has no number per sample and was left out",)
    assert found.matrix["openai/x", "letters"].records[-1].scores["match"].status == "error"
    folder = logs.inspect(tmp_path / "many" / "b.json", ["C"]).parent
    grouped = ks.import_logs([folder], tmp_path / "grouped", group="picture").matrix
    assert grouped["openai/x", "letters"].records[0].sample.group == "0"


def test_a_run_comes_back_from_inspects_form(tmp_path):
    run = ks.import_logs([logs.lm_eval(tmp_path / "a", 30)], tmp_path / "out").matrix["org/base", "colours"]
    (path,) = ks.export(run.path, "inspect", tmp_path / "log.json")
    back = ks.import_logs([path], tmp_path / "back").matrix["org/base", "colours"]
    assert [r.sample.id for r in back.records] == [r.sample.id for r in run.records]
    assert [r.output.text for r in back.records] == [r.output.text for r in run.records]
    assert [s.value for s in back.scores()] == [s.value for s in run.scores()]
    assert back.headline == run.headline


def test_tasks_that_one_model_lacks_are_named(tmp_path):
    base = logs.lmms_eval(logs.lm_eval(tmp_path / "base", 30), 30)
    tuned = logs.lm_eval(tmp_path / "tuned", 30, model="tuned")
    with pytest.raises(KeepsightError, match="3 names for 2 logs"):
        ks.import_logs([base, tuned], tmp_path / "out", names=["a", "b", "c"])
    matrix = ks.import_logs([base, tuned], tmp_path / "out").matrix
    assert matrix.cols == ("colours", "pope")
    assert matrix.meta["failed"] == [{"row": "tuned", "col": "pope", "error": "no log of this task"}]


def test_another_version_of_a_task_is_not_compared(tmp_path):
    base = logs.lm_eval(tmp_path / "base", 36)
    tuned = logs.lm_eval(tmp_path / "tuned", 12, model="t", versions={"colours": 4.0})
    (drop,) = ks.import_logs([base, tuned], tmp_path / "out").matrix.forgetting()
    assert drop.verdict == "not comparable" and "different versions of exact_match,strict" in drop.why


def row(**change):
    whole = {"doc_id": 0, "target": "a", "input": "Q?", "filtered_resps": ["a"], "acc": 1.0, **change}
    return {name: value for name, value in whole.items() if value is not ...}


LMMS = f"{logs.LMMS_DATE}_samples_t.jsonl"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "is empty; run the harness with --log_samples"),
        (['{"doc_id": 0,'], "line 1: not JSON"),
        (["[" * 100_000], "line 1: not JSON"),
        (["", "[1]"], "line 2: a JSON list, not an object"),
        ([row(doc_id=...)], "line 1: no doc_id"),
        ([row(), row(acc=0.0)], "line 2: doc_id 0 comes twice"),
        ([row(acc=...)], "has no score per sample \\(it logs no metric\\)"),
        ([row(acc="good")], "acc has no number per sample"),
        ([row(acc=float("inf"))], "acc has no number per sample"),
    ],
)
def test_a_damaged_log_is_refused_by_line(tmp_path, lines, message):
    path = tmp_path / LMMS
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    with pytest.raises(KeepsightError, match=message):
        ks.import_logs([path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_sample_without_number_or_answer_is_counted(tmp_path):
    logs.dump(tmp_path / LMMS, [row(), row(doc_id=1, acc=None), row(doc_id=2, filtered_resps=[])])
    run = next(iter(ks.import_logs([tmp_path / LMMS], tmp_path / "out").matrix.runs.values()))
    assert (run.headline.n, run.headline.total, run.headline.not_ok) == (2, 3, {"error": 1})
    assert run.records[2].output.error == "the log has no answer"


def test_what_would_have_to_be_guessed_is_asked_for(tmp_path):
    folder = logs.lm_eval(tmp_path / "a", 30)
    logs.lm_eval(folder, 20, date="2026-01-03T03-04-05.678901")
    with pytest.raises(KeepsightError, match=r"several logs of colours .* give the results file of one"):
        ks.import_logs([folder], tmp_path / "out")
    chosen = ks.import_logs([folder / f"results_{logs.DATE}.json"], tmp_path / "out").matrix
    assert chosen["org/base", "colours"].headline.value == 0.75
    with pytest.raises(KeepsightError, match="no usable metric 'f1'; it has exact_match,strict"):
        ks.import_logs([folder / f"results_{logs.DATE}.json"], tmp_path / "out", metric="f1")
    (tmp_path / "empty").mkdir()
    with pytest.raises(KeepsightError, match="holds no sample log"):
        ks.import_logs([tmp_path / "empty"], tmp_path / "out")
    with pytest.raises(KeepsightError, match="no log at"):
        ks.import_logs([tmp_path / "nowhere"], tmp_path / "out")
    (tmp_path / "x.eval").touch()
    with pytest.raises(KeepsightError, match="inspect log convert"):
        ks.import_logs([tmp_path / "x.eval"], tmp_path / "out")
    (tmp_path / LMMS).write_bytes(b"\xff\xfe{}")
    with pytest.raises(KeepsightError, match="is not UTF-8"):
        ks.import_logs([tmp_path / LMMS], tmp_path / "out")
