"""Full and read-only disks, several writers, moved and damaged directories, clocks that go back."""

import json
import os
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from random import Random

import pytest

from keepsight.evaluate import audit, evaluate, rescore
from keepsight.store import Store, StoreError, load_matrix, load_run
from keepsight.store.files import Lock, replace_file
from keepsight.types import KeepsightError, Media
from tests.fake_vlm import Exact, FakeVLM, make_task, samples
from tests.killing import Fate, FullDisk, in_child, started, wait_for
from tests.store.audited import Diary, everything, kept, run_audit


def one_line(message: str, *parts: str) -> bool:
    return "\n" not in message and all(part in message for part in parts)


def test_a_disk_that_is_full_from_any_point_on(whole, quick_disk):
    files, asked, _ = whole
    diary = Diary(quick_disk / "full-diary")
    points = in_child(lambda: run_audit(quick_disk / "never-full", diary), FullDisk(quick_disk)).passed
    diary.take()
    for point in [1, 2, 3, points, *Random(2).sample(range(4, points), 26)]:
        root = quick_disk / f"full-{point}"
        end = in_child(partial(run_audit, root, diary), FullDisk(root, point))
        assert one_line(end.refused, str(root), "No space left on device", "run the same command again"), (
            point
        )
        before, written = diary.take(), kept(root)
        assert sum((before - written).values()) <= 6, "nobody is asked what cannot be kept"
        for path in root.glob("runs/*/*/manifest.json"):
            load_run(path.parent)
        run_audit(root, diary)
        assert diary.take() == asked - written and everything(root) == files, point


def test_a_small_disk(whole, tmp_path):
    disk, files = tmp_path / "disk", whole[0]
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(disk)], capture_output=True
    ).returncode:
        pytest.skip("this user may not mount a disk")
    try:
        diary = Diary(tmp_path / "diary")
        with pytest.raises(StoreError, match=r"No space left on device; free some space"):
            run_audit(disk / "out", diary)
        written = kept(disk / "out")
        assert written
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        diary.take()
        run_audit(disk / "out", diary)
        assert diary.take() == whole[1] - written and everything(disk / "out") == files
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def as_nobody(work) -> None:
    if os.getuid() == 0:
        os.seteuid(65534)  # root may write anywhere
    work()


def test_a_directory_that_may_only_be_read(whole, quick_disk):
    root, empty, diary = quick_disk / "read-only", quick_disk / "nothing", Diary(quick_disk / "read-diary")
    run_audit(root, diary)
    diary.take()
    empty.mkdir()
    for path in (quick_disk, root, empty, *root.rglob("*")):
        path.chmod(0o755 if path == quick_disk else 0o555 if path.is_dir() else 0o444)
    try:
        end = in_child(lambda: as_nobody(lambda: run_audit(root, diary)), Fate(root))
        assert not end.refused and not diary.take(), "a finished audit is read, not written"
        end = in_child(lambda: as_nobody(lambda: run_audit(empty / "new", diary)), Fate(empty))
        assert one_line(end.refused, str(empty), "Permission denied", "another --output_path")
        assert not diary.take()
    finally:
        for path in (root, empty, *root.rglob("*")):
            path.chmod(0o755)


def small_audit(root: Path, model: FakeVLM):
    return audit([model], [make_task(name=task) for task in ("emt:pets", "emt:cars")], Store(root))


def slow_audit(root: Path, name: str, seconds: float = 0.004):
    return small_audit(root, FakeVLM(name, name, seconds=seconds))


@dataclass
class WaitingVLM(FakeVLM):
    """Goes on after its first answer when there is a file `gate`."""

    gate: Path = Path()

    def generate(self, samples, **settings):
        for answer in super().generate(samples, **settings):
            yield answer
            while not self.gate.exists():
                time.sleep(0.001)


def test_of_two_equal_audits_the_second_is_refused_and_the_first_unharmed(quick_disk):
    root = quick_disk / "two-writers"
    slow_audit(quick_disk / "undisturbed", "base")
    gate = quick_disk / "gate"
    first = started(partial(small_audit, root, WaitingVLM("base", "base", gate=gate)), Fate(root))
    while not list(root.glob("runs/*/*/outputs.jsonl")):
        time.sleep(0.001)
    second = in_child(partial(slow_audit, root, "base"), Fate(root))
    gate.touch()
    assert one_line(second.refused, f"is being written by process {first[0]}", "another --output_path")
    assert not wait_for(first).refused
    assert everything(root) == everything(quick_disk / "undisturbed")


@pytest.mark.parametrize("kind", ["processes", "threads"])
def test_different_audits_may_share_a_store(quick_disk, kind):
    root, names = quick_disk / kind, ("one", "two", "three", "four")
    work = [partial(slow_audit, root, name, seconds=0.0) for name in names]
    if kind == "processes":
        ends = [wait_for(child) for child in [started(each, Fate(root)) for each in work]]
        assert not any(end.refused for end in ends)
    else:
        threads = [threading.Thread(target=each) for each in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for name in names:
        slow_audit(quick_disk / f"{kind}-{name}", name, seconds=0.0)
        alone = everything(quick_disk / f"{kind}-{name}")
        together = everything(root)
        assert {
            key: value for key, value in alone.items() if key != "matrix.json"
        }.items() <= together.items()
    assert load_matrix(root).rows[0] in names, "the last audit's, whole"
    assert not [path for path in root.rglob("*") if "partial" in path.name]


def test_a_file_that_many_replace_is_always_whole(tmp_path):
    path, texts = tmp_path / "file", [letter * 50_000 for letter in (b"a", b"b", b"c")]
    path.write_bytes(texts[0])

    def replace_often(text):
        for _ in range(30):
            replace_file(path, text, durable=False)

    threads = [threading.Thread(target=replace_often, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert path.read_bytes() in texts
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_disk_without_locks_is_not_taken_for_a_second_writer(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def no_locks(*arguments):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(StoreError, match="Operation not supported; this disk has no locks"):
        Lock(tmp_path)


def test_a_clock_that_goes_back(tmp_path, monkeypatch):
    clock = [datetime(2030, 1, 1, tzinfo=timezone.utc)]

    def earlier_and_earlier():
        clock[0] -= timedelta(hours=1)
        return clock[0].isoformat(timespec="seconds")

    monkeypatch.setattr("keepsight.store.runs._now", earlier_and_earlier)
    first = evaluate(FakeVLM(broken=frozenset({"s004"})), make_task(), Store(tmp_path))
    for path in tmp_path.rglob("*"):
        os.utime(path, (2**32, 2**32))  # files from the future
    model = FakeVLM()
    second = evaluate(model, make_task(), Store(tmp_path))
    assert model.asked == ["s004"] and second.headline.n == 10 and first.headline.n == 9
    model = FakeVLM()
    assert evaluate(model, make_task(), Store(tmp_path)).metrics == second.metrics and not model.asked
    assert second.manifest["created"] > second.manifest["updated"], (
        "told as the clock told it, used for nothing"
    )


def test_a_store_is_read_and_continued_wherever_it_lies(tmp_path):
    matrix = slow_audit(tmp_path / "here", "base")
    pictures = [record.sample.media[0].read() for record in matrix["base", "emt:pets"].records]
    shutil.copytree(tmp_path / "here", tmp_path / "copy")
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "here").rename(tmp_path / "far" / "away" / "store")
    for place in (tmp_path / "copy", tmp_path / "far" / "away" / "store"):
        found = load_matrix(place)
        records = found["base", "emt:pets"].records
        assert found.runs.keys() == matrix.runs.keys() and not found.meta
        assert [record.sample.media[0].read() for record in records] == pictures
        model = FakeVLM("base", "base")
        audit([model], [make_task(name="emt:pets"), make_task(name="emt:cars")], Store(place))
        assert not model.asked


def edited(name: str, before: str, after: str):
    def edit(run: Path) -> None:
        text = (run / name).read_text()
        assert before in text
        (run / name).write_text(text.replace(before, after, 1))

    return edit


def cut(name: str, share: float):
    def edit(run: Path) -> None:
        data = (run / name).read_bytes()
        (run / name).write_bytes(data[: int(len(data) * share)])

    return edit


def without_line(name: str, number: int):
    def edit(run: Path) -> None:
        lines = (run / name).read_text().splitlines(keepends=True)
        (run / name).write_text("".join(lines[:number] + lines[number + 1 :]))

    return edit


def removed(name: str):
    return lambda run: (run / name).unlink()


DAMAGE = {
    "manifest cut": (cut("manifest.json", 0.5), "manifest.json: Invalid JSON"),
    "manifest empty": (cut("manifest.json", 0), "manifest.json: Invalid JSON"),
    "manifest edited": (edited("manifest.json", '"task_version": "1"', '"task_version": "2"'), "fingerprint"),
    "settings edited": (edited("manifest.json", '"max_new_tokens": 8', '"max_new_tokens": 9'), "fingerprint"),
    "results missing": (removed("results.json"), "results.json: No such file"),
    "results cut": (cut("results.json", 0.9), "results.json: Invalid JSON"),
    "results of others": (
        edited("results.json", '"fingerprint": "', '"fingerprint": "0'),
        "not those of results",
    ),
    "a score edited": (edited("scores.jsonl", '"value":1.0', '"value":0.0'), "not those of results.json"),
    "a score torn": (edited("scores.jsonl", '"value":1.0', '"value":'), "scores.jsonl, line 1"),
    "an answer edited": (
        edited("outputs.jsonl", '"filtered_resps":["dog"]', '"filtered_resps":["cow"]'),
        "sample s000: the answer does not fit",
    ),
    "a raw answer edited": (
        edited("outputs.jsonl", '"resps":[["dog"]]', '"resps":[["cow"]]'),
        "sample s000: the answer does not fit",
    ),
    "a target edited": (
        edited("outputs.jsonl", '"target":"dog"', '"target":"cow"'),
        "the question does not fit",
    ),
    "a prompt edited": (
        edited("outputs.jsonl", '"What is it?"', '"What was it?"'),
        "the question does not fit",
    ),
    "a failure planted": (edited("outputs.jsonl", '"error":null', '"error":"x"'), "the answer does not fit"),
}


GAPS = {
    "scores missing": (removed("scores.jsonl"), "no score of exact for sample s000"),
    "scores cut": (cut("scores.jsonl", 0.75), "no score of exact"),
    "a score missing": (without_line("scores.jsonl", 4), "no score of exact for sample s004"),
    "outputs missing": (removed("outputs.jsonl"), "holds 0 of 10 samples"),
    "outputs cut": (cut("outputs.jsonl", 0.75), "of 10 samples"),
    "an output missing": (without_line("outputs.jsonl", 2), "holds 9 of 10 samples"),
}


@pytest.mark.parametrize("kind", GAPS)
def test_a_run_with_a_gap_is_named_and_completed_by_the_same_command(tmp_path, kind):
    lose, message = GAPS[kind]
    run = evaluate(FakeVLM(), make_task(), Store(tmp_path))
    results, left = (run.path / "results.json").read_bytes(), len(run.records)
    lose(run.path)
    with pytest.raises(KeepsightError) as failure:
        load_run(run.path)
    assert one_line(str(failure.value), str(run.path), message, "run the same command again")
    if (run.path / "outputs.jsonl").exists():
        left = len(run.records) - (run.path / "outputs.jsonl").read_bytes().count(b"\n")
    model = FakeVLM()
    assert evaluate(model, make_task(), Store(tmp_path)).records == run.records and len(model.asked) == left
    assert (run.path / "results.json").read_bytes() == results


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_run_is_named_and_never_used(tmp_path, kind):
    damage, message = DAMAGE[kind]
    run = evaluate(FakeVLM(), make_task(), Store(tmp_path))
    damage(run.path)
    for use in (
        lambda: load_run(run.path),
        lambda: evaluate(FakeVLM(), make_task(), Store(tmp_path)),
        lambda: rescore(load_run(run.path), Exact("new"), Store(tmp_path)),
    ):
        with pytest.raises(KeepsightError) as failure:
            use()
        assert one_line(str(failure.value), str(run.path), message)
    shutil.rmtree(run.path)
    assert evaluate(FakeVLM(), make_task(), Store(tmp_path)).headline.n == 10


def test_an_edited_answer_of_an_unfinished_run_is_not_taken_over(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        evaluate(FakeVLM(interrupt_after=6), make_task(), Store(tmp_path))
    (run,) = (path.parent for path in tmp_path.glob("runs/*/*/manifest.json"))
    DAMAGE["an answer edited"][0](run)
    for limit in (None, 3):  # the same run, and one that would take its answers over
        with pytest.raises(KeepsightError, match="sample s000: the answer does not fit"):
            evaluate(FakeVLM(), make_task(), Store(tmp_path), limit=limit)


def test_a_damaged_picture_is_named_when_it_is_read(tmp_path):
    run = evaluate(FakeVLM(), make_task(), Store(tmp_path))
    stored = run.records[0].sample.media[0]
    stored.path.write_bytes(stored.path.read_bytes()[:-1] + b"?")
    with pytest.raises(KeepsightError, match=r"is damaged: its content is not that of its name"):
        load_run(run.path).records[0].sample.media[0].read()


class Painter(FakeVLM):
    """Somebody paints over a picture while it is being asked about."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def generate(self, asked, **settings):
        for i, output in super().generate(asked, **settings):
            self.path.write_bytes(b"\x89PNGnew")
            yield i, output


def test_a_picture_that_changes_while_it_is_asked_is_named(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNGold")
    given = [type(sample)(sample.id, sample.prompt, (Media(path=path),)) for sample in samples(1)]
    with pytest.raises(KeepsightError, match=r"picture\.png was changed while it was in use; run again"):
        evaluate(Painter(path), make_task(given), Store(tmp_path / "out"))
    assert not list((tmp_path / "out").glob("media/*"))


def test_a_cell_whose_run_is_damaged_costs_only_itself(tmp_path):
    matrix = slow_audit(tmp_path, "base")
    DAMAGE["an answer edited"][0](matrix["base", "emt:pets"].path)
    again = slow_audit(tmp_path, "base")
    (failed,) = again.meta["failed"]
    assert failed["col"] == "emt:pets" and "is damaged" in failed["error"]
    assert json.loads((tmp_path / "matrix.json").read_text())["values"][0][0] is None
