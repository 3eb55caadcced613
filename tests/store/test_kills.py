"""An audit that is killed anywhere goes on as if nothing had happened."""

import os
import shutil
import time
from pathlib import Path
from random import Random

from keepsight.evaluate import rescore
from keepsight.store import Store, load_matrix, load_run
from tests.killing import Fate, in_child
from tests.store.audited import AskedJudge, Diary, everything, kept, run_audit

KILLS = 100


def die_and_go_on(root: Path, whole, *deaths: dict) -> int:
    """Kills an audit so many times, ends it, and checks that nothing shows; returns how many kills were in time."""
    files, asked, _ = whole
    diary = Diary(root.with_name(f"{root.name}-diary"))
    ends = [
        in_child(lambda: run_audit(root, diary), Fate(root, death.get("fatal")), seconds=death.get("seconds"))
        for death in deaths
    ]
    diary.take()
    written = kept(root)
    matrix = run_audit(root, diary)
    assert diary.take() == asked - written, "exactly what was not written is asked"
    assert everything(root) == files and kept(root) == asked
    assert load_matrix(root).runs == matrix.runs
    os.close(diary.handle)
    return sum(end.killed for end in ends)


def test_killed_wherever_it_touches_the_disk(whole, quick_disk):
    random, points = Random(0), whole[2]
    assert points > KILLS
    for point in random.sample(range(1, points + 1), KILLS):
        assert die_and_go_on(quick_disk / f"point-{point}", whole, {"fatal": point}) == 1, point


def test_killed_again_and_again(whole, quick_disk):
    for number in range(5):
        deaths = [{"fatal": Random(f"{number}/{i}").randint(1, 40)} for i in range(6)]
        assert die_and_go_on(quick_disk / f"again-{number}", whole, *deaths) >= 5


def test_killed_at_any_instant(whole, quick_disk):
    diary, began = Diary(quick_disk / "timed-diary"), time.perf_counter()
    in_child(lambda: run_audit(quick_disk / "timed", diary), Fate(quick_disk))
    span, killed = time.perf_counter() - began, 0  # as long as this machine takes, now
    for number in range(20):
        death = {"seconds": Random(number).uniform(0, span)}
        in_time = die_and_go_on(quick_disk / f"instant-{number}", whole, death)
        killed += in_time
        span *= 1 if in_time else 0.7  # it has become faster
    assert killed > 5


def test_killed_while_finished_runs_are_scored_again(whole, quick_disk):
    """The runs stay finished and readable all the time, and the same command goes on."""
    root, diary = quick_disk / "rescored", Diary(quick_disk / "rescored-diary")
    run_audit(root, diary)
    runs = load_matrix(root).runs.values()

    def score_again(where: Path):
        for run in runs:
            path = where / run.path.relative_to(root)
            for scorer in (AskedJudge("third", diary), AskedJudge("judge", diary, version="2")):
                rescore(load_run(path), scorer, Store(where))

    shutil.copytree(root, quick_disk / "scored-twice")
    score_again(quick_disk / "scored-twice")
    shutil.copytree(root, quick_disk / "counted-scoring")
    points = in_child(lambda: score_again(quick_disk / "counted-scoring"), Fate(quick_disk)).passed
    for point in Random(1).sample(range(1, points + 1), 25):
        copy = quick_disk / f"scoring-{point}"
        shutil.copytree(root, copy)
        assert in_child(lambda copy=copy: score_again(copy), Fate(copy, point)).killed
        score_again(copy)
        assert figures(copy) == figures(quick_disk / "scored-twice"), point


def figures(root: Path) -> dict:
    return {path.parent.name: path.read_bytes() for path in root.glob("runs/*/*/results.json")}
