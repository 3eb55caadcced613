"""The verbs on a real (random) LLaVA: tune, audit every epoch, and do nothing the second time."""

import pytest
from PIL import Image

import keepsight as ks
from keepsight import verbs
from keepsight.errors import UsageError
from keepsight.store import load_matrix
from keepsight.types import KeepsightError

pytestmark = pytest.mark.torch


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for label in ("blue", "red"):
        for i in range(6):
            path = tmp_path / "paints" / ("test", "train")[i % 2] / label / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 20 + i), label).save(path)
    return tmp_path


@pytest.fixture
def tune(tiny_llava):
    def call(output_path="out", tasks=("emt:paints", "emt:letters"), **changes) -> verbs.Tuned:
        settings = {
            "num_train_epochs": 2,
            "learning_rate": 0.01,
            "per_device_train_batch_size": 3,
            "lora_r": 2,
        }
        return verbs.fine_tune(
            f"hf:{tiny_llava}",
            "emt:paints",
            output_path,
            tasks=tasks,
            judges=["label", "taxonomy"],
            limit=4 if tasks else None,
            **{**settings, **changes},
        )

    return call


def test_a_limit_without_tasks_is_refused_before_anything_is_loaded(folder):
    with pytest.raises(UsageError, match=r"no tasks to audit are given; name some \(--tasks\)"):
        verbs.fine_tune("hf:nowhere", "emt:paints", "out", limit=4)
    assert not (folder / "out").exists()


def test_tuning_audits_every_epoch_and_can_be_run_again(tune, folder):
    asked = []
    tuned = tune(method="lora", asking=lambda what, done, total: asked.append((what, done, total)))
    cells = {what.removesuffix(" label").removesuffix(" taxonomy") for what, _, _ in asked}
    assert len(cells) == 6 and all(done <= total for _, done, total in asked)
    assert [path.name for path in tuned.checkpoints] == ["epoch-1", "epoch-2"]
    matrix = load_matrix(folder / "out")
    assert matrix.rows == ("llava", "out/epoch-1", "out/epoch-2") == tuned.matrix.rows
    assert matrix.cols == ("emt:paints", "emt:letters")
    assert matrix.meta["tuned_on"] == {"out/epoch-1": "emt:paints", "out/epoch-2": "emt:paints"}
    assert len({run.manifest["checkpoint_digest"] for run in matrix.runs.values()}) == 3
    assert (folder / "out" / "forgetting.html").exists()

    before = {path: path.stat().st_mtime_ns for path in (folder / "out" / "runs").rglob("*")}
    again = tune(method="lora")
    assert {path: path.stat().st_mtime_ns for path in (folder / "out" / "runs").rglob("*")} == before
    assert again.matrix.runs.keys() == matrix.runs.keys()


def test_an_epochs_audit_knows_the_settings_of_its_tasks(tune, folder, monkeypatch):
    """Without its path the task cannot be made; a setting that no task has stops before anything is learnt."""
    settings = {"tasks": ["emt:caltech101"], "num_train_epochs": 1}
    tuned = tune(task_args={"path": "paints"}, **settings)
    assert tuned.matrix.cols == ("emt:caltech101",) and len(tuned.matrix.runs) == 2
    monkeypatch.setattr("keepsight.tune.sft.sft", lambda *_, **__: pytest.fail("learnt"))
    with pytest.raises(KeepsightError, match="path"):
        tune(output_path="other", **settings)


def test_a_checkpoint_of_another_base_stops_before_the_first_question(tune, folder, tmp_path_factory):
    from tests.tiny_llava import make_tiny_llava

    other = make_tiny_llava(tmp_path_factory.mktemp("other") / "llava", seed=1)
    for method in ("linear", "full"):
        tuned = tune(method=method, num_train_epochs=1, output_path=method, tasks=())
        refs = [f"hf:{other}", *tuned.checkpoints]
        for ask in (verbs.audit, verbs.plan):
            with pytest.raises(
                KeepsightError, match=rf"{method}/epoch-1 was trained on hf:.*, not on hf:{other} "
            ):
                ask(refs, ["emt:paints"], "audit", limit=2)
    assert not (folder / "audit").exists()


def test_a_checkpoint_given_as_a_model_says_what_to_write(tune, folder, tiny_llava):
    tuned = tune(method="linear", num_train_epochs=1, tasks=())
    with pytest.raises(
        KeepsightError, match=rf"not a model of its own; write hf:{tiny_llava}\+adapter:out/epoch-1$"
    ):
        verbs.evaluate_tasks(str(tuned.checkpoints[0]), ["emt:paints"], "asked")
    with pytest.raises(KeepsightError, match=r"epoch-3 is not a directory \(out holds epoch-1"):
        verbs.evaluate_tasks(f"hf:{tiny_llava}+adapter:out/epoch-3", ["emt:paints"], "asked")
    assert not (folder / "asked").exists()


@pytest.mark.parametrize("device", ["cuda:99", "gpu"])
def test_an_unusable_device_stops_before_anything_is_asked_or_written(tiny_llava, folder, device):
    refs, tasks = [f"hf:{tiny_llava}"], ["emt:paints"]
    for ask in (
        verbs.audit,
        verbs.plan,
        lambda refs, *rest, **given: verbs.evaluate_tasks(*refs, *rest, **given),
    ):
        with pytest.raises(KeepsightError, match=f"^device {device}"):
            ask(refs, tasks, "out", device=device)
    with pytest.raises(KeepsightError, match=f"^device {device}"):
        verbs.fine_tune(refs[0], "emt:paints", "out", device=device)
    assert not (folder / "out").exists()


def test_prompts_are_shown_through_the_chat_template(tiny_llava, folder):
    (prompt,) = verbs.rendered_prompts(f"hf:{tiny_llava}", 1, ["emt:paints"])
    assert prompt.startswith("<s>USER: <image>") and prompt.endswith("ASSISTANT:")


def test_tuning_needs_something_to_learn(tiny_llava, folder):
    with pytest.raises(KeepsightError, match="no training split"):
        verbs.fine_tune(f"hf:{tiny_llava}", "yesno:scenes", "out")


@pytest.mark.parametrize("kind", ["emt", "open", "closed"])
def test_a_task_on_a_path_can_be_what_was_tuned_on(folder, kind):
    """By the name that was asked for, which is not the column's."""
    (folder / "data").mkdir()
    (folder / "paints").rename(folder / "data" / "paints")
    base, tuned = (ks.Replay({}, name=name) for name in ("base", "tuned"))
    asked = f"{kind}:data/paints"
    matrix = verbs.audit(
        [base, tuned], [asked], "out", judges=["label"], limit=3, tuned_on=asked, report=False
    )
    assert matrix.meta["tuned_on"] == {"tuned": f"{kind}:paints"}
