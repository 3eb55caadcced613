"""A tuning run that is killed again and again ends with the same bits as one that nobody disturbed."""

import json
import tempfile
from functools import partial
from pathlib import Path
from random import Random

import pytest

from keepsight.models import load
from keepsight.tune.config import SFTConfig
from keepsight.tune.sft import sft
from keepsight.types import KeepsightError
from tests.killing import Fate, FullDisk, in_child

pytestmark = pytest.mark.torch

KILLS = 40
CONFIG = SFTConfig(
    method="lora",
    num_train_epochs=2,
    per_device_train_batch_size=3,
    learning_rate=1e-2,
    save_steps=1,
    lora_r=2,
    lora_dropout=0.1,
)


@pytest.fixture(scope="module")
def quick_disk():
    """A folder where syncing costs nothing: what is killed here is a process, not the power."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def tune(base, samples):
    """Tunes in a directory; the model is loaded here, so that a forked child need not."""
    model = load(str(base), device="cpu")
    assert model.module is not None

    def run(directory, **arguments):
        return sft(model, samples[:6], CONFIG, directory, **arguments)

    return run


def everything(root: Path) -> dict[str, object]:
    """Every file, without how long it took."""
    return {
        path.relative_to(root).as_posix(): _timeless(path)
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def _timeless(path: Path) -> object:
    if path.suffix != ".jsonl":
        return path.read_bytes()
    rows = map(json.loads, path.read_text().splitlines())
    return [
        {name: row[name] for name in ("step", "epoch", "loss", "learning_rate", "grad_norm")} for row in rows
    ]


@pytest.fixture(scope="module")
def whole(tune, quick_disk):
    tune(quick_disk / "whole")
    points = in_child(partial(tune, quick_disk / "counted"), Fate(quick_disk / "counted")).passed
    files = everything(quick_disk / "whole")
    assert everything(quick_disk / "counted") == files and len(files["train_log.jsonl"]) == 4
    return files, points


def test_killed_again_and_again(tune, whole, quick_disk):
    """Each kill comes a random number of points after the last one, so every run dies many times before it ends."""
    files, points = whole
    killed = runs = 0
    random = Random(0)
    while killed < KILLS:
        runs += 1
        root = quick_disk / f"killed-{runs}"
        told: list[tuple[Path, int]] = []
        while in_child(partial(tune, root), Fate(root, random.randint(1, points // 2))).killed:
            killed += 1
        tune(root, on_epoch=lambda checkpoint, epoch, told=told: told.append((checkpoint, epoch)))
        assert everything(root) == files, f"run {runs} after {killed} kills in all"
        assert told == [(root / "epoch-1", 1), (root / "epoch-2", 2)]
    assert runs > 1


def test_killed_at_any_instant(tune, whole, quick_disk):
    root = quick_disk / "instants"
    for number in range(12):
        in_child(partial(tune, root), Fate(root), seconds=Random(number).uniform(0, 0.4))
    tune(root)
    assert everything(root) == whole[0]


def test_a_disk_that_is_full_from_any_point_on(tune, whole, quick_disk):
    points = in_child(partial(tune, quick_disk / "never-full"), FullDisk(quick_disk / "never-full")).passed
    for point in Random(3).sample(range(1, points + 1), 8):
        root = quick_disk / f"full-{point}"
        refused = in_child(partial(tune, root), FullDisk(root, point)).refused
        assert "No space left on device; free some space" in refused and "\n" not in refused, point
        tune(root)
        assert everything(root) == whole[0], point


def test_tensors_on_a_full_disk(tune, tmp_path, monkeypatch):
    from safetensors import SafetensorError

    def full(*arguments, **options):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(KeepsightError, match=r"state cannot be written: No space left on device; free some"):
        tune(tmp_path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: cut(root / "tune.json"), r"cannot read .*tune\.json"),
        (
            lambda root: (root / "tune.json").write_text(
                (root / "tune.json").read_text().replace('"lora_r": 2', '"lora_r": 4')
            ),
            r"tune\.json is damaged \(it does not fit its identity\)",
        ),
        (lambda root: (root / "epoch-1" / "projector.safetensors").unlink(), r"epoch-1 is not complete"),
        (lambda root: cut(root / "epoch-1" / "keepsight.json"), r"cannot read .*epoch-1/keepsight\.json"),
    ],
)
def test_a_damaged_run_is_named(tune, whole, quick_disk, tmp_path, damage, message):
    import shutil

    root = shutil.copytree(quick_disk / "whole", tmp_path / "run")
    damage(root)
    with pytest.raises(KeepsightError, match=message):
        tune(root)


@pytest.mark.parametrize("name", ["state.json", "state.safetensors"])
def test_a_damaged_state_is_named(tune, quick_disk, tmp_path, name):
    def stop(now):
        if now.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(tmp_path, progress=stop)
    (state,) = (tmp_path / "state").glob("step-*")
    cut(state / name)
    with pytest.raises(KeepsightError, match=rf"cannot read .*{state.name}/{name}"):
        tune(tmp_path)


def test_a_second_run_in_one_directory_is_refused(tune, whole, tmp_path):
    refused = []

    def again(now):
        with pytest.raises(KeepsightError) as failure:
            tune(tmp_path)
        refused.append(str(failure.value))

    tune(tmp_path, progress=again)
    assert all("is being written by process" in text for text in refused) and len(refused) == 4
    assert everything(tmp_path) == whole[0]
