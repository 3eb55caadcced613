"""Some seconds of the fuzzer over every reader; `python -m tests.fuzz` does the same for hours."""

from pathlib import Path

import pytest

from keepsight.types import KeepsightError
from tests.fuzz import TARGETS, Target, case, mutated

CASES = {"picture": 120, "rows": 80, "training": 80, "runs": 25}  # of the others 40
NEEDS_TORCH = ("checkpoint", "config", "state", "runs")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.torch] if name in NEEDS_TORCH else []) for name in TARGETS]
)
def test_a_reader_returns_or_says_what_is_wrong(name, tmp_path, capfd):
    target = TARGETS[name]
    found = []
    for number in range(CASES.get(name, 40)):
        folder = tmp_path / str(number)
        folder.mkdir()
        found.append(case(target, number, folder))
    assert [problem for problem in found if problem] == []


@pytest.mark.parametrize("name", ["picture", "rows", "training", "replay"])
def test_the_files_it_starts_from_are_valid(name, tmp_path):
    for number, files in enumerate(TARGETS[name].seeds()):
        for file, data in files.items():
            (tmp_path / str(number)).mkdir(exist_ok=True)
            (tmp_path / str(number) / file).write_bytes(data)
        TARGETS[name].read(tmp_path / str(number))


def raises(error: BaseException):
    def read(folder: Path) -> None:
        raise error

    return Target("planted", lambda: [{"x": b"data"}], read)


def test_what_it_would_find(tmp_path, monkeypatch):
    import time

    monkeypatch.setattr("tests.fuzz.SECONDS", 1)
    assert "ZeroDivisionError" in case(raises(ZeroDivisionError()), 0, tmp_path)
    assert "names neither file nor sample" in case(raises(KeepsightError("bad")), 0, tmp_path)
    assert "no single short line" in case(raises(KeepsightError(f"{tmp_path}\nbad")), 0, tmp_path)
    assert case(raises(KeepsightError(f"{tmp_path}/x is bad")), 0, tmp_path) == ""
    slow = Target("slow", lambda: [{"x": b"data"}], lambda folder: time.sleep(5))
    assert "took more than 1 s" in case(slow, 0, tmp_path)


def test_a_case_follows_from_its_number():
    from random import Random

    changes = [mutated(b"some bytes " * 9, Random(str(i))) for i in range(50)]
    assert changes == [mutated(b"some bytes " * 9, Random(str(i))) for i in range(50)]
    assert len(set(changes)) > 45
