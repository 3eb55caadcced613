"""Kills, torn lines, two writers."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keepsight.evaluate import evaluate
from keepsight.store import Store, load_run
from keepsight.types import KeepsightError, Output, Sample
from tests.fake_vlm import FakeVLM, make_task, samples
from tests.store.test_round_trip import identity_of

SLOW = """
import sys
from keepsight.evaluate import evaluate
from keepsight.store import Store
from tests.fake_vlm import FakeVLM, make_task, samples
model = FakeVLM(seconds=0.005, reverse=True)
evaluate(model, make_task(samples(60)), Store(sys.argv[1]), batch_size=7)
print(len(model.asked))
"""


def start(root: Path) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.Popen(
        [sys.executable, "-c", SLOW, str(root)], env=environment, stdout=subprocess.PIPE, text=True
    )


def wait_for_lines(root: Path, n: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if sum(path.read_bytes().count(b"\n") for path in root.glob("runs/*/*/outputs.jsonl")) >= n:
            return
        time.sleep(0.002)
    raise AssertionError("the run ended or hung before it could be killed")


def without_times(run) -> dict:
    passing = {"created", "updated", "command", "settings"}
    return {key: value for key, value in run.manifest.items() if key not in passing}


@pytest.mark.parametrize("kills", [[0], [1], [23], [5, 31, 50]])
def test_killed_and_run_again_equals_uninterrupted(tmp_path, kills):
    task = make_task(samples(60))
    fresh = evaluate(FakeVLM(), task, Store(tmp_path / "fresh"))
    for n in kills:
        process = start(tmp_path / "killed")
        wait_for_lines(tmp_path / "killed", n, process)
        process.kill()
        process.wait()
    kept = [path.read_bytes().count(b"\n") for path in (tmp_path / "killed").glob("runs/*/*/outputs.jsonl")]
    model = FakeVLM()
    resumed = evaluate(model, task, Store(tmp_path / "killed"))

    assert len(model.asked) == 60 - sum(kept) and sum(kept) >= kills[-1]
    assert resumed.records == fresh.records and resumed.metrics == fresh.metrics
    assert without_times(resumed) == without_times(fresh)
    assert (resumed.path / "results.json").read_bytes() == (fresh.path / "results.json").read_bytes()
    asked = [json.loads(line)["doc_id"] for line in (resumed.path / "outputs.jsonl").read_text().splitlines()]
    assert len(asked) == len(set(asked)) == 60


def test_a_second_writer_is_refused_and_a_dead_one_is_not_in_the_way(tmp_path):
    process = start(tmp_path)
    wait_for_lines(tmp_path, 1, process)
    with pytest.raises(KeepsightError, match=f"is being written by process {process.pid}"):
        evaluate(FakeVLM(), make_task(samples(60)), Store(tmp_path))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert evaluate(FakeVLM(), make_task(samples(60)), Store(tmp_path)).headline.n == 60


def test_two_writers_in_one_process(tmp_path):
    sample = Sample("a", "What?")
    store = Store(tmp_path)
    with (
        store.open_run(identity_of([sample]), {"judge": "1"}, {}),
        pytest.raises(KeepsightError, match=str(os.getpid())),
        store.open_run(identity_of([sample]), {"judge": "1"}, {}),
    ):
        pass
    with store.open_run(identity_of([sample]), {"judge": "1"}, {}):
        pass


@pytest.mark.parametrize("torn", [b"", b"{", b'{"doc_id":"s0', b"\x00" * 50])
@pytest.mark.parametrize("name", ["outputs.jsonl", "scores.jsonl"])
def test_a_torn_last_line_is_skipped_and_cut_off(tmp_path, torn, name):
    task = make_task()
    model = FakeVLM(interrupt_after=6)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, task, Store(tmp_path))
    (path,) = tmp_path.glob(f"runs/*/*/{name}")
    with path.open("ab") as file:
        file.write(torn)
    assert len(load_run(path.parent).records) == 6
    model = FakeVLM()
    run = evaluate(model, task, Store(tmp_path))
    assert len(model.asked) == 4 and run.headline.n == 10
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_the_middle_of_the_file_being_damaged_is_an_error_that_names_the_line(tmp_path):
    run = evaluate(FakeVLM(), make_task(), Store(tmp_path))
    path = run.path / "outputs.jsonl"
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:3], lines[3][:40], *lines[4:]]))
    with pytest.raises(KeepsightError, match=r"outputs\.jsonl, line 4"):
        load_run(run.path)


@pytest.mark.parametrize(
    ("failure", "status", "error"),
    [
        (KeyboardInterrupt, "cancelled", "interrupted"),
        (RuntimeError("out of memory"), "error", "RuntimeError: out of memory"),
    ],
)
def test_leaving_early_marks_the_run_and_keeps_what_was_added(tmp_path, failure, status, error):
    two = [Sample("a", "What?"), Sample("b", "What?")]
    store = Store(tmp_path)
    with (
        pytest.raises((KeyboardInterrupt, RuntimeError)),
        store.open_run(identity_of(two), {"judge": "1"}, {}) as writer,
    ):
        writer.add_output(0, two[0], Output("yes"))
        raise failure
    run = load_run(writer.path)
    assert (run.manifest["status"], run.manifest["error"]) == (status, error)
    assert [record.output.text for record in run.records] == ["yes"] and run.metrics == ()
    assert store.find_run(identity_of(two)) is None


def test_a_crash_inside_opening_lets_the_next_writer_in(tmp_path):
    run = evaluate(FakeVLM(), make_task(), Store(tmp_path))
    manifest = (run.path / "manifest.json").read_bytes()
    (run.path / "manifest.json").write_bytes(b"{}")
    with pytest.raises(KeepsightError, match="Field required"):
        evaluate(FakeVLM(), make_task(), Store(tmp_path))
    (run.path / "manifest.json").write_bytes(manifest)
    assert evaluate(FakeVLM(), make_task(), Store(tmp_path)).headline.n == 10


def test_a_full_disk_keeps_the_answers_and_lets_the_next_writer_in(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr("keepsight.store.runs.RunWriter.add_scores", full)
        patch.setattr(
            "keepsight.store.runs.RunWriter._set_status",
            lambda self, status, error=None: status == "started" or full(),
        )
        evaluate(FakeVLM(), make_task(), Store(tmp_path))
    model = FakeVLM()
    assert evaluate(model, make_task(), Store(tmp_path)).headline.n == 10 and model.asked == []
