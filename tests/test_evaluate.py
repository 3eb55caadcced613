"""evaluate, rescore and audit: what is asked again, what is not, and what a failure costs."""

import json
import math
from dataclasses import replace

import pytest

from keepsight.evaluate import audit, evaluate, rescore, select
from keepsight.store import Store, load_matrix, load_run
from keepsight.types import KeepsightError, Media, Sample
from tests.fake_vlm import Ask, Exact, FakeVLM, make_task, samples, share


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "out")


def ask_again(store, task, **changes) -> list[str]:
    """Ids that are asked when the same evaluation is run once more, with changes."""
    model = FakeVLM(**changes)
    evaluate(model, task, store)
    return model.asked


def test_a_run_holds_everything(store):
    task = make_task()
    model = FakeVLM(answers={"s001": "dog", "s002": ""})
    run = evaluate(model, task, store, batch_size=3)
    assert [record.sample for record in run.records] == samples()
    assert [record.output.text for record in run.records][:3] == ["dog", "dog", ""]
    assert [score.status for score in run.scores()][:3] == ["ok", "ok", "unparsed"]
    assert run.headline.value == 0.8 and run.headline.n == run.headline.total == 10
    assert run.manifest["inference"] == task.infer.settings
    assert run.manifest["settings"] == {"limit": None, "batch_size": 3}
    assert {"keepsight", "torch", "python"} <= set(run.manifest["libraries"])


def test_a_finished_run_asks_nothing_and_loads_nothing(store):
    evaluate(FakeVLM(), make_task(), store)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in store.root.rglob("*")}
    model = FakeVLM()
    run = evaluate(model, make_task(), store)
    assert model.asked == [] and model.loads == 0 and run.headline.n == 10
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in store.root.rglob("*")} == before


def test_the_same_command_twice_gives_the_same_bytes(tmp_path):
    runs = [evaluate(FakeVLM(reverse=r), make_task(), Store(tmp_path / str(r))) for r in (False, True)]
    first, second = ((run.path / "results.json").read_bytes() for run in runs)
    assert first == second


def one_byte_changed() -> list[Sample]:
    given = samples()
    data = given[4].media[0].read()
    return [*given[:4], replace(given[4], media=(Media(data=data[:-1] + bytes([data[-1] ^ 1])),)), *given[5:]]


ALL = [sample.id for sample in samples()]


@pytest.mark.parametrize(
    ("model", "task", "expected"),
    [
        ({}, {}, []),
        ({"name": "renamed"}, {}, []),
        ({"weights": "w1"}, {}, ALL),
        ({}, {"infer": Ask(max_new_tokens=9)}, ALL),
        ({}, {"infer": Ask(seed=1)}, ALL),
        ({}, {"given": samples(prompt="Which?")}, ALL),
        ({}, {"given": one_byte_changed()}, ["s004"]),
        ({}, {"given": [replace(sample, choices=("cat",)) for sample in samples()]}, ALL),
        ({}, {"given": [replace(sample, target=("cow",)) for sample in samples()]}, []),
        ({}, {"score": Exact(version="2")}, []),
        ({}, {"judges": (Exact("judge"),)}, []),
    ],
    ids=[
        "same",
        "name",
        "weights",
        "setting",
        "seed",
        "prompt",
        "byte",
        "choices",
        "target",
        "scorer",
        "judge",
    ],
)
def test_what_is_asked_again(store, model, task, expected):
    evaluate(FakeVLM(), make_task(), store)
    assert ask_again(store, make_task(**task), **model) == expected


def test_another_target_is_scored_anew(store):
    assert evaluate(FakeVLM(), make_task(), store).headline.value == 1.0
    cows = [replace(sample, target=("cow",)) for sample in samples()]
    assert evaluate(FakeVLM(), make_task(cows), store).headline.value == 0.0


def test_a_wider_limit_asks_only_the_rest(store):
    evaluate(FakeVLM(), make_task(), store, limit=4)
    model = FakeVLM()
    run = evaluate(model, make_task(), store, limit="3-8")
    assert model.asked == ["s004", "s005", "s006", "s007"] and run.headline.n == 6


def test_failed_samples_are_counted_and_asked_again(store):
    run = evaluate(FakeVLM(broken=frozenset({"s001", "s002"})), make_task(), store)
    assert run.manifest["status"] == "success" and run.headline.n == 8
    failed = [(score.status, score.explanation) for score in run.scores() if math.isnan(score.value)]
    assert failed == [("error", "broken picture")] * 2
    assert json.loads((run.path / "results.json").read_text())["n_errors"] == 2
    assert ask_again(store, make_task()) == ["s001", "s002"]
    assert load_run(run.path).headline.n == 10


def test_a_resumed_run_remembers_when_it_was_begun(store):
    run = evaluate(FakeVLM(broken=frozenset({"s001"})), make_task(), store)
    manifest = run.path / "manifest.json"
    manifest.write_text(manifest.read_text().replace(run.manifest["created"], "2020-01-01T00:00:00+00:00"))
    resumed = evaluate(FakeVLM(), make_task(), store).manifest
    assert resumed["created"] == "2020-01-01T00:00:00+00:00" < resumed["updated"]


def test_an_answer_is_not_lost_to_a_later_failure(store):
    evaluate(FakeVLM(broken=frozenset({"s001"})), make_task(), store)
    run = evaluate(FakeVLM(broken=frozenset({"s001", "s002"})), make_task(), store)
    assert [record.sample.id for record in run.records if record.output.error] == ["s001"]


def test_a_missing_picture_is_one_counted_error(store, tmp_path):
    given = samples()
    given[3] = replace(given[3], media=(Media(path=tmp_path / "gone.png"),))
    model = FakeVLM()
    run = evaluate(model, make_task(given), store)
    assert "s003" not in model.asked and len(model.asked) == 9
    assert "gone.png" in run.records[3].output.error and run.headline.n == 9
    (tmp_path / "gone.png").write_bytes(b"\x89PNG")
    assert ask_again(store, make_task(given)) == ["s003"]


def test_a_model_is_not_asked_when_no_picture_can_be_read(store, tmp_path):
    lost = [replace(sample, media=(Media(path=tmp_path / "gone.png"),)) for sample in samples()]
    model = FakeVLM()
    assert evaluate(model, make_task(lost), store).headline.n == 0 and model.loads == 0


def test_another_headline_scorer_makes_another_headline(store):
    strict = Exact("strict", fails=frozenset())
    first = evaluate(FakeVLM(), make_task(judges=(strict,)), store)
    second = evaluate(FakeVLM(), make_task(score=strict, judges=(Exact(),)), store)
    assert (first.scorer, second.scorer) == ("exact", "strict")


class Forgetful(FakeVLM):
    def generate(self, samples, **settings):
        yield from list(super().generate(samples, **settings))[:-1]


class Stammering(FakeVLM):
    def generate(self, samples, **settings):
        yield from super().generate(samples, **settings)
        yield from super().generate(samples[:1], **settings)


def test_a_sample_without_an_answer_is_an_error_not_a_drop(store):
    run = evaluate(Forgetful(), make_task(), store)
    assert run.records[-1].output.error == "fake gave no answer" and len(run.records) == 10


def test_a_sample_answered_twice_is_refused(store):
    with pytest.raises(KeepsightError, match="answered sample s000 twice"):
        evaluate(Stammering(), make_task(), store)


@pytest.mark.parametrize(
    ("fail_on_error", "asked"),
    [(None, 10), (False, 10), (True, 2), (1, 2), (2, 4), (3, 6), (0.1, 2), (0.3, 6), (0.5, 10), (4, 10)],
)
def test_fail_on_error(store, fail_on_error, asked):
    model = FakeVLM(broken=frozenset({"s001", "s003", "s005"}))
    if asked < 10:
        with pytest.raises(KeepsightError, match=f"failed, the last was {ALL[asked - 1]}: broken picture"):
            evaluate(model, make_task(), store, fail_on_error=fail_on_error)
    else:
        evaluate(model, make_task(), store, fail_on_error=fail_on_error)
    assert len(model.asked) == asked


def test_ids_must_be_unique(store):
    with pytest.raises(KeepsightError, match="two samples with id 's000'"):
        evaluate(FakeVLM(), make_task([*samples(), samples()[0]]), store)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (None, "0123456789"),
        (3, "012"),
        (99, "0123456789"),
        (0.25, "012"),
        (1.0, "0123456789"),
        ("3", "012"),
        ("0.2", "01"),
        ("3-5", "234"),
        ("10-20", "9"),
    ],
)
def test_limits(limit, expected):
    assert "".join(select("0123456789", limit)) == expected


@pytest.mark.parametrize("limit", [0, -1, 0.0, 1.5, "a", "0-3", "5-3", "3-", "-3", "", True, "20-30"])
def test_limits_that_mean_nothing(limit):
    with pytest.raises(KeepsightError, match="limit"):
        select("0123456789", limit)


def test_judges_score_the_same_outputs_and_fail_one_by_one(store):
    judge = Exact("judge", fails=frozenset({"s002"}), babbles=frozenset({"s003"}))
    run = evaluate(FakeVLM(), make_task(judges=(judge,)), store)
    assert run.scores("judge")[2].status == "judge_failed" and run.scores()[2].value == 1.0
    by_scorer = json.loads((run.path / "results.json").read_text())["by_scorer"]
    assert (by_scorer["exact"]["n"], by_scorer["judge"]["n"]) == (10, 8)

    again, model = Exact("judge"), FakeVLM()
    run = evaluate(model, make_task(judges=(again,)), store)
    assert again.scored == ["s002"] and model.asked == [] and run.scores("judge")[2].value == 1.0


def test_scores_of_the_same_scorer_are_reused(store):
    evaluate(FakeVLM(), make_task(), store)
    first, second, judge = Exact(), Exact(version="2"), Exact("judge")
    evaluate(FakeVLM(), make_task(score=first, judges=(judge,)), store)
    evaluate(FakeVLM(), make_task(score=second, judges=(judge,)), store)
    assert (len(first.scored), len(second.scored), len(judge.scored)) == (0, 10, 10)


def test_a_score_of_another_answer_is_not_reused(store):
    evaluate(FakeVLM(broken=frozenset({"s001"})), make_task(), store)
    scorer = Exact()
    run = evaluate(FakeVLM(), make_task(score=scorer), store)
    assert scorer.scored == ["s001"] and run.scores()[1].value == 1.0


def test_a_scorer_that_miscounts_is_refused(store):
    class Short(Exact):
        def __call__(self, samples, outputs):
            return super().__call__(samples, outputs)[1:]

    with pytest.raises(KeepsightError, match="scorer exact gave 9 scores for 10 outputs"):
        evaluate(FakeVLM(), make_task(score=Short()), store)


def halved(given, scores):
    return replace(share(given, scores), value=0.5)


def test_a_repaired_metric_replaces_the_old_figure(store):
    evaluate(FakeVLM(), make_task(), store)
    run = evaluate(FakeVLM(), make_task(metrics=(halved,)), store)
    assert run.headline.value == 0.5 and load_run(run.path).headline.value == 0.5


def test_rescoring_generates_nothing(store):
    run = evaluate(FakeVLM(answers={"s000": "cow"}), make_task(), store)
    run = rescore(run, Exact("strict"), store, metrics=(halved,))
    assert set(run.records[0].scores) == {"exact", "strict"}
    assert run.scorer == "exact" and run.manifest["scorers"] == {"exact": "1", "strict": "1"}
    assert run.headline.value == 0.9

    class Kind(Exact):
        def _score(self, sample, output):
            return replace(super()._score(sample, output), value=1.0)

    again = rescore(run, Kind(version="2"), store, metrics=(share,))
    assert again.headline.value == 1.0 and run.manifest["scorers"]["exact"] == "1"
    model = FakeVLM()
    assert evaluate(model, make_task(score=Kind(version="2")), store).headline.value == 1.0
    assert model.asked == []


def test_an_unfinished_run_cannot_be_rescored(store):
    with pytest.raises(KeyboardInterrupt):
        evaluate(FakeVLM(interrupt_after=3), make_task(), store)
    (path,) = store.runs()
    with pytest.raises(KeepsightError, match=r"not finished \(cancelled\)"):
        rescore(load_run(path), Exact("strict"), store)


def three_models() -> list[FakeVLM]:
    said = {sample.id: "cow" for sample in samples()}
    return [FakeVLM("base"), FakeVLM("e1", "w1", answers={"s001": "cow"}), FakeVLM("e2", "w2", answers=said)]


def two_tasks():
    return [make_task(), make_task(samples(prompt="Which?")[:6], name="emt:other")]


def test_audit_writes_the_matrix(store):
    models = three_models()
    matrix = audit(models, two_tasks(), store, meta={"tuned_on": {"e1": "emt:pets"}})
    assert matrix.rows == ("base", "e1", "e2") and matrix.cols == ("emt:pets", "emt:other")
    assert matrix["e1", "emt:pets"].headline.value == 0.9
    assert [len(model.asked) for model in models] == [16, 16, 16]

    file = json.loads((store.root / "matrix.json").read_text())
    assert file["values"] == [[1.0, 1.0], [0.9, 5 / 6], [0.0, 0.0]] and file["n"] == [[10, 6]] * 3
    assert file["failed"] == [] and file["metrics"] == ["share", "share"]
    assert {(drop["row"], drop["col"]): drop["verdict"] for drop in file["forgetting"]} == {
        ("e1", "emt:pets"): "no evidence",
        ("e1", "emt:other"): "no evidence",
        ("e2", "emt:pets"): "forgotten",
        ("e2", "emt:other"): "no evidence",
    }
    loaded = load_matrix(store.root)
    assert (loaded.rows, loaded.cols, loaded.meta) == (matrix.rows, matrix.cols, matrix.meta)
    assert loaded["e2", "emt:other"].records == matrix["e2", "emt:other"].records
    assert load_run(store.root / file["runs"][1][0]).headline == matrix["e1", "emt:pets"].headline


def test_an_identical_audit_asks_nothing(store):
    first = audit(three_models(), two_tasks(), store)
    written = (store.root / "matrix.json").read_bytes()
    models = three_models()
    second = audit(models, two_tasks(), store)
    assert [model.loads for model in models] == [0, 0, 0]
    assert (store.root / "matrix.json").read_bytes() == written
    assert all(second.runs[cell].records == run.records for cell, run in first.runs.items())


def test_samples_are_drawn_once_for_all_models(store):
    calls = []
    task = replace(make_task(), test=lambda: calls.append(1) or samples())
    audit(three_models(), [task], store)
    assert calls == [1]


def test_a_failing_cell_does_not_lose_the_others(store):
    models = three_models()
    models[1] = FakeVLM("e1", "w1", answers={"s008": MemoryError("no\nroom")})
    matrix = audit(models, two_tasks(), store)
    assert set(matrix.runs) == {(r, c) for r in matrix.rows for c in matrix.cols} - {("e1", "emt:pets")}
    assert matrix.meta["failed"] == [{"row": "e1", "col": "emt:pets", "error": "MemoryError: no room"}]
    file = json.loads((store.root / "matrix.json").read_text())
    assert file["values"][1] == [None, 1.0] and file["runs"][1][0] is None
    assert load_matrix(store.root).meta["failed"] == matrix.meta["failed"] == file["failed"]
    assert "failed" not in file["meta"]

    models = three_models()
    assert "failed" not in audit(models, two_tasks(), store).meta
    assert [model.asked for model in models] == [[], ["s008", "s009"], []]


def test_an_interrupt_stops_the_whole_audit(store):
    models = [FakeVLM("base"), FakeVLM("e1", "w1", interrupt_after=3)]
    with pytest.raises(KeyboardInterrupt):
        audit(models, two_tasks(), store)
    assert [load_run(path).manifest["status"] for path in store.runs()].count("cancelled") == 1


def test_names_must_differ(store):
    with pytest.raises(KeepsightError, match="two checkpoints are named 'base'"):
        audit([FakeVLM("base"), FakeVLM("base", "w1")], two_tasks(), store)
    with pytest.raises(KeepsightError, match="two tasks are named 'emt:pets'"):
        audit([FakeVLM("base")], [make_task(), make_task()], store)
    with pytest.raises(KeepsightError, match="no checkpoints given"):
        audit([], two_tasks(), store)
    with pytest.raises(KeepsightError, match="no tasks given"):
        audit([FakeVLM("base")], [], store)
    models = [FakeVLM("base"), FakeVLM("base", "w1")]
    assert audit(models, two_tasks(), store, rows=["a", "b"]).rows == ("a", "b")


def test_progress_covers_all_cells_and_never_goes_back(store):
    seen = []
    audit(three_models(), two_tasks(), store, progress=lambda *event: seen.append(event))
    assert seen[-1][1:] == (48, 48) and {total for _, _, total in seen} == {48}
    done = [event[1] for event in seen]
    assert done == sorted(done)
    assert "e1 emt:other" in {what for what, _, _ in seen}


def test_an_unfinished_run_shows_no_score_of_an_earlier_answer(store):
    class Dying(Exact):
        def __call__(self, samples, outputs):
            raise MemoryError

    evaluate(FakeVLM(broken=frozenset({"s001"})), make_task(), store)
    with pytest.raises(MemoryError):
        evaluate(FakeVLM(), make_task(score=Dying()), store)
    records = load_run(store.runs()[0]).records
    assert records[1].output.text == "cat" and records[1].scores == {}
    assert records[2].scores["exact"].value == 1.0
