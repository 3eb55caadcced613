"""Tasks are found by name, path and entry point; what every one of them must keep is checked on all."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from keepsight import tasks
from keepsight.types import KeepsightError, Output, Task
from tests.data.test_readers import folder

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "src" / "keepsight" / "tasks" / "example.py"
NAMES = [
    info.name
    for info in tasks.available()
    if "give path=" not in info.description and not info.name.startswith("env:")  # see test_environments.py
]


def asked(name):
    task = tasks.get(name, n=6)
    return task, list(task.test())


@pytest.mark.parametrize("name", [*NAMES, f"{EXAMPLE}:red_or_not"])
class TestEveryTask:
    def test_ids_are_unique_and_digests_stable(self, name):
        task, samples = asked(name)
        assert len({s.id for s in samples}) == len(samples) > 0
        assert [s.digest() for s in samples] == [s.digest() for s in asked(name)[1]]
        assert task.name and task.version and task.description

    def test_the_oracle_scores_one(self, name):
        task, samples = asked(name)
        scores = task.score(samples, [Output(" and ".join(s.target)) for s in samples])
        assert task.metrics[0](samples, scores).value == 1.0

    def test_the_silent_model_scores_nothing(self, name):
        task, samples = asked(name)
        scores = task.score(samples, [Output("")] * len(samples))
        assert task.metrics[0](samples, scores).value == 0.0
        assert {score.status for score in scores} == {"unparsed"}

    def test_a_failed_generation_is_not_scored(self, name):
        task, samples = asked(name)
        scores = task.score(samples, [Output("", error="broken picture")] * len(samples))
        assert not any(score.scored for score in scores) and task.metrics[0](samples, scores).n == 0

    def test_targets_and_media_are_there(self, name):
        task, samples = asked(name)
        assert all(s.target and s.media for s in samples)
        if task.labels:
            assert all(s.target[0] in task.labels for s in samples)


def test_a_folder_is_a_task(tmp_path):
    task = tasks.get(f"emt:{folder(tmp_path / 'pets')}")
    assert task.name == "emt:pets" and len(task.test()) == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("emt:digit", "no set 'digit'.*did you mean emt:digits"),
        ("yesno:scene", "no task 'yesno:scene'; did you mean yesno:scenes"),
        ("qwertz", "no task 'qwertz'; `keepsight ls tasks`"),
        ("gone.py:f", "no file gone.py"),
        (f"{EXAMPLE}:nothing", "has no function 'nothing'"),
    ],
)
def test_unknown_names_suggest_near_ones(name, message):
    with pytest.raises(KeepsightError, match=message):
        tasks.get(name)


def test_an_argument_nobody_takes():
    with pytest.raises(KeepsightError, match=r"emt:digits: .*'shares'; it takes path, split, share"):
        tasks.get("emt:digits", shares=0.2)


def test_files_that_fail_or_return_something_else(tmp_path):
    (tmp_path / "a.py").write_text("1 / 0")
    with pytest.raises(KeepsightError, match="failed with ZeroDivisionError"):
        tasks.get(f"{tmp_path / 'a.py'}:f")
    (tmp_path / "b.py").write_text("def f():\n    return 3")
    with pytest.raises(KeepsightError, match="returned a int, not a keepsight Task"):
        tasks.get(f"{tmp_path / 'b.py'}:f")


def test_tasks_of_other_packages(monkeypatch):
    point = importlib.metadata.EntryPoint(
        "their-task", "keepsight.tasks.example:red_or_not", tasks.ENTRY_POINTS
    )
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [point] if group == tasks.ENTRY_POINTS else []
    )
    assert isinstance(tasks.get("their-task"), Task)
    assert "their-task" in {info.name for info in tasks.available()}


def test_tasks_do_not_import_torch():
    code = "import sys; from keepsight import tasks; tasks.get('emt:digits').test(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_builder_that_takes_anything_gets_what_others_have(tmp_path):
    (tmp_path / "mine.py").write_text("def task(**settings): ...\ndef strict(): ...\n")
    lax, strict = (f"{tmp_path / 'mine.py'}:{name}" for name in ("task", "strict"))
    given = {"n": 3, "x": 1}
    assert tasks.shared([lax, "emt:digits", strict], given) == [given, {"n": 3}, {}]
    assert tasks.shared(["emt:digits", strict], given) == [
        given,
        {"x": 1},
    ]  # that `get` may name what it takes
