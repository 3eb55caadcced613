"""The verb: a sequence of own files is tuned, asked, reported, resumed, and refused where it makes no sense."""

import json
from contextlib import nullcontext

import pytest

from keepsight.data.drawn import SETS
from keepsight.data.llava import write_llava_json
from keepsight.errors import KeepsightError, UsageError
from keepsight.sequencing import SEQUENCES, sequence_of, tune_sequence
from keepsight.store import load_matrix
from keepsight.tune.progress import Shown
from keepsight.types import Media
from tests.test_cli import run  # noqa: F401  (a fixture)
from tests.tiny_llava import make_tiny_llava

pytestmark = pytest.mark.torch

FAST = {
    "num_train_epochs": 1,
    "learning_rate": 1e-2,
    "per_device_train_batch_size": 16,
    "lora_r": 4,
    "device": "cpu",
}
STAGES = "task_args: {max_new_tokens: 4}\nstages:\n  - {name: shapes, data: shapes/train.json}\n  - {name: letters, data: letters/train.json}\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A base, two files of rows and the sequence of them."""
    place = tmp_path_factory.mktemp("place")
    make_tiny_llava(place / "base", hidden=16)
    for name in ("shapes", "letters"):
        write_llava_json(SETS[name], place / name, n=40)
    (place / "s.yaml").write_text(STAGES)
    return place


def tuned(place, out, sequence="s.yaml", **settings):
    return tune_sequence(
        str(place / "base"), place / sequence, out, judges=("label",), **{**FAST, "report": False, **settings}
    )


def test_a_sequence_of_own_files(place, tmp_path, monkeypatch):
    found = tuned(place, tmp_path, method="moelora", num_experts=2, report=True)
    matrix = found.matrix
    assert matrix.rows == ("base", "1-shapes", "2-letters") and matrix.cols == ("rows:shapes", "rows:letters")
    assert matrix.meta["tuned_on"] == {"1-shapes": "rows:shapes", "2-letters": "rows:letters"}
    assert matrix.meta["sequence"] == {
        "stages": ["shapes", "letters"],
        "method": "sequential",
        "trained": "moelora",
    }
    for task in matrix.meta["gates"]["2-letters"].values():
        assert all(sum(row) == pytest.approx(1) and len(row) == 2 for row in task["mean"])
    assert "moelora" in (tmp_path / "forgetting.html").read_text()
    learnt = {sample.media[0] for stage in found.stages for sample in stage.stage.samples}
    asked = {record.sample.media[0] for cell in matrix.runs.values() for record in cell.records}
    assert len(learnt) + len(asked) == 80 and not learnt & asked

    def refuse(*_, **__):
        raise AssertionError("trained or asked again")

    monkeypatch.setattr("keepsight.tune.sft._optimizer", refuse)
    monkeypatch.setattr("keepsight.models.hf.HFModel.generate", refuse)
    again = tuned(place, tmp_path, method="moelora", num_experts=2).matrix
    assert (
        again.meta == matrix.meta
        and again.runs.keys() == matrix.runs.keys() == load_matrix(tmp_path).runs.keys()
    )


def test_what_was_asked_of_a_checkpoint_that_is_gone_stays(place, tmp_path):
    whole = tuned(place, tmp_path / "all").matrix
    for _ in range(2):
        kept = tuned(place, tmp_path / "last", keep="last")
        assert [stage.checkpoint.exists() for stage in kept.stages] == [False, True]
        assert {cell: asked.metrics for cell, asked in kept.matrix.runs.items()} == {
            cell: asked.metrics for cell, asked in whole.runs.items()
        }
    with pytest.raises(
        KeepsightError, match="1-shapes was not asked emt:digits before its checkpoint was removed"
    ):
        tuned(place, tmp_path / "last", keep="last", tasks=["emt:digits"], limit=3)


def test_a_newer_scorer_scores_what_was_asked_of_a_checkpoint_that_is_gone_too(place, tmp_path, monkeypatch):
    from keepsight.scoring.vqa import Exact

    tuned(place, tmp_path, keep="last")
    monkeypatch.setattr(Exact, "version", "newer")
    monkeypatch.setattr("keepsight.models.hf.HFModel.generate", lambda *_, **__: pytest.fail("asked"))
    matrix = tuned(place, tmp_path, keep="last").matrix
    assert {cell.manifest["scorers"]["exact"] for cell in matrix.runs.values()} == {"newer"}
    assert len(matrix.runs) == 6 and load_matrix(tmp_path).runs.keys() == matrix.runs.keys()


def test_a_method_that_cannot_let_checkpoints_go_says_so(place, tmp_path):
    found = tuned(place, tmp_path, method="routed", keep="last", limit=2)
    (note,) = found.notes
    assert "--keep last leaves the last epoch of each" in note
    assert all(stage.checkpoint.is_dir() for stage in found.stages)


def test_several_checkpoints_that_are_gone_and_a_kill_on_the_way(place, tmp_path, monkeypatch):
    (place / "three.yaml").write_text(
        STAGES + "  - {name: again, data: shapes/train.json, task: 'rows:letters/train.json'}"
    )
    whole = tuned(place, tmp_path, "three.yaml", keep="last").matrix
    asked = []

    def killed(model, *_, **__):
        asked.append(model)
        raise KeyboardInterrupt

    monkeypatch.setattr("keepsight.sequencing._Audit._remember", killed)
    with pytest.raises(KeyboardInterrupt):
        tuned(place, tmp_path, "three.yaml", keep="last")
    monkeypatch.undo()
    again = tuned(place, tmp_path, "three.yaml", keep="last").matrix
    assert load_matrix(tmp_path).rows == again.rows
    assert asked and again.runs.keys() == whole.runs.keys() and len(again.rows) == 4


def test_a_test_file_of_its_own_is_asked_whole(place, tmp_path):
    (place / "own.yaml").write_text(
        "stages: [{name: a, data: shapes/train.json, task: 'rows:letters/train.json'}]"
    )
    found = tuned(place, tmp_path, "own.yaml")
    assert (
        found.matrix.runs["base", "rows:a"].headline.total == 40 and len(found.stages[0].stage.samples) == 40
    )


@pytest.mark.parametrize(
    ("text", "settings", "told"),
    [
        ("stages: [emt:shapes, {name: b, task: emt:shapes}]", {}, "two tasks are named 'emt:shapes'"),
        ("stages: [{name: a, task: yesno:scenes}]", {}, "task yesno:scenes has no training split"),
        (STAGES, {"task_args": {"volum": 0.1}}, "no task of the sequence has a setting 'volum'"),
        (STAGES, {"order": "digits"}, "order names 'digits'"),
        (STAGES, {"method": "reply"}, "method 'reply' is not understood"),
        (STAGES, {"method_args": {"share": 1}}, "method sequential has no setting 'share'"),
        (STAGES, {"lora_r": 0}, "lora_r must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_is_learnt(place, tmp_path, text, settings, told):
    (place / "bad.yaml").write_text(text)
    with pytest.raises((KeepsightError, UsageError), match=told):
        tuned(place, tmp_path / "out", "bad.yaml", **settings)
    assert not list(tmp_path.rglob("tune.json"))


@pytest.mark.parametrize("own_task", ["", ", task: 'rows:letters/train.json'"])
def test_bad_rows_are_left_out_where_that_is_allowed(place, tmp_path, own_task):
    rows = json.loads((place / "shapes/train.json").read_text())
    bad = [{"id": "silent", "image": rows[0]["image"], "conversations": []}, {**rows[1], "image": "gone.png"}]
    (place / "shapes/some.json").write_text(json.dumps([*bad, *rows]))
    (place / "some.yaml").write_text(f"stages: [{{name: a, data: shapes/some.json{own_task}}}]")
    with pytest.raises(KeepsightError, match=r"of \d+ rows cannot be learnt: .*--fail_on_error false"):
        tuned(place, tmp_path / "none", "some.yaml")
    for _ in range(2):  # again: the same are left out
        found = tuned(place, tmp_path / "two", "some.yaml", fail_on_error=3)
        assert len(found.left_out) == 2 and "some.json, row 0" in found.left_out[0]
    learnt = {sample.media[0] for sample in found.stages[0].stage.samples}
    asked = {record.sample.media[0] for cell in found.matrix.runs.values() for record in cell.records}
    whole = {Media(path=place / "shapes" / row["image"]) for row in rows}
    assert (learnt if own_task else learnt | asked) == whole and not learnt & asked
    with pytest.raises(KeepsightError, match="2 of"):
        tuned(place, tmp_path / "one", "some.yaml", fail_on_error=2)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("{learningrate: 0.1}", "unknown setting 'learningrate'; did you mean learning_rate?"),
        ("{zzz: 1}", "unknown setting 'zzz'; known are learning_rate, "),
        ("{learning_rate: fast}", "learning_rate must be a number, not 'fast'"),
        ("{bf16: 'no'}", "bf16 must be true or false, not 'no'"),
        ("{lr_scheduler_type: linar}", "lr_scheduler_type 'linar' is none of linear"),
        ("{num_train_epochs: 1.5}", "num_train_epochs must be a whole number, not 1.5"),
        ("{lora_r: 8}", "lora_r is 8, and 4 in the first stage, whose adapter is tuned on"),
        ("{lora_alpha: 8}", "lora_alpha is 8, and 32 in the first stage"),
        ("{method: full}", "method is of the whole sequence; leave it out here, and give --method"),
    ],
)
def test_a_stage_that_cannot_be_tuned_is_told_before_the_first_is_learnt(place, tmp_path, config, told):
    (place / "late.yaml").write_text(
        STAGES.replace("letters/train.json}", f"letters/train.json, config: {config}}}")
    )
    with pytest.raises(KeepsightError) as caught:
        tuned(place, tmp_path / "out", "late.yaml")
    assert f"late.yaml: stage letters: config: {told}" in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("tune.json"))


def test_a_known_task_is_no_folder_beside_the_file(tmp_path):
    for name in ("letters", "scenes"):
        (tmp_path / name).mkdir()
    (tmp_path / "s.yaml").write_text("stages: [emt:letters]\ntasks: [yesno:scenes]")
    read = sequence_of(tmp_path / "s.yaml")
    assert (read.stages[0].task, *read.tasks) == ("emt:letters", "yesno:scenes")


def test_sequences_by_name():
    for name, tasks in SEQUENCES.items():
        assert [stage.task for stage in sequence_of(name).stages] == list(tasks)
        assert len(tasks) == len({task.rpartition(":")[2] for task in tasks}) == 8
    with pytest.raises(KeepsightError, match="no sequence coyn: give a YAML file with stages, or"):
        sequence_of("coyn")


def test_the_command_line(run, place, tmp_path, monkeypatch):  # noqa: F811
    words = [
        "tune",
        str(place / "base"),
        "--sequence",
        str(place / "s.yaml"),
        "--judges",
        "label",
        "--output_path",
        str(tmp_path),
    ]
    fast = [
        "--num_train_epochs",
        "1",
        "--per_device_train_batch_size",
        "16",
        "--lora_r",
        "4",
        "--device",
        "cpu",
        "--keep",
        "last",
    ]
    shown = []
    monkeypatch.setattr(
        "keepsight.tune.progress.console_progress",
        lambda: nullcontext(
            Shown(lambda now: shown.append("tuning"), lambda what, done, total: shown.append(what))
        ),
    )
    code, out, _ = run(*words, *fast, "--order", "reverse")
    assert {"tuning"} < set(shown) and any("rows:letters" in what for what in shown)
    assert code == 0 and "2-shapes" in out and f"not kept: {tmp_path}/stages/01-letters/epoch-1" in out
    assert json.loads((tmp_path / "matrix.json").read_text())["meta"]["sequence"]["trained"] == "lora"
    for wrong, told in [
        (["--data", "emt:shapes"], "give --data, what is learnt, or --sequence"),
        (["--image_folder", "x"], "--image_folder is of --data"),
    ]:
        code, _, err = run(*words, *wrong)
        assert code == 2 and told in err
    code, _, err = run("tune", "tiny", "--data", "emt:shapes", "--keep", "last")
    assert code == 2 and "--keep is of a --sequence" in err


def test_a_stage_that_the_order_leaves_out_is_asked_as_an_unseen_task(place, tmp_path):
    found = tuned(place, tmp_path, order="letters", limit=3)
    assert found.matrix.rows == ("base", "1-letters")
    assert found.matrix.cols == ("rows:letters", "rows:shapes")
    assert found.matrix.meta["tuned_on"] == {"1-letters": "rows:letters"}
    assert found.notes == ["not in the order, so not learnt but asked: shapes"]
    (place / "known.yaml").write_text(
        "stages: [{name: a, data: shapes/train.json}, emt:letters]\ntasks: [emt:digits]"
    )
    found = tuned(place, tmp_path / "besides", "known.yaml", order="a", tasks=["emt:letters"], limit=3)
    assert found.matrix.cols == ("rows:a", "emt:digits", "emt:letters"), "each once"


def test_two_files_of_one_name_need_names(place, tmp_path):
    (place / "alike.yaml").write_text("stages:\n  - data: shapes/train.json\n  - data: letters/train.json\n")
    with pytest.raises(KeepsightError, match=r"two tasks are named 'rows:train'; give each stage a name"):
        tuned(place, tmp_path, "alike.yaml")
