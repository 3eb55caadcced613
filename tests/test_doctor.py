"""Each fault, simulated, is found and named with its cure; none of the checks needs torch."""

import errno
import importlib.metadata
import json
import os
import subprocess
import sys
from collections import namedtuple

import pytest

from keepsight import cli, doctor


@pytest.fixture
def sound(monkeypatch):
    """Nothing of this machine shows through."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(doctor, "_free_memory", lambda: 64 << 30)
    monkeypatch.setattr(doctor, "_device", lambda: doctor.Check("device", "ok", "cpu"))  # it imports torch
    monkeypatch.setattr(doctor, "_torchvision", lambda: doctor.Check("torchvision", "ok", "not installed"))
    return monkeypatch


def found(name: str, place="."):
    (check,) = [check for check in doctor.checks(place) if check.name == name]
    return check


def versions(**changed):
    """importlib.metadata.version with some answers changed; None is not installed."""
    real = importlib.metadata.version

    def version(name):
        if name in changed and changed[name] is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return changed.get(name) or real(name)

    return version


def raising(error):
    def call(*arguments, **options):
        raise error

    return call


def test_a_sound_installation(sound, tmp_path):
    result = doctor.checks(tmp_path / "not" / "yet")
    assert [check for check in result if check.level == "bad"] == [] and not list(tmp_path.iterdir())
    assert all((check.cure == "") == (check.level == "ok") for check in result)


FAULTS = {
    "torch": (
        lambda patch: patch.setattr(importlib.metadata, "version", versions(torch=None)),
        ("bad", "not installed", "pip install 'torch>=2.6'"),
    ),
    "pillow": (
        lambda patch: patch.setattr(importlib.metadata, "version", versions(pillow="9.0")),
        ("bad", "9.0 does not fit >=10.3", "pip install 'pillow>=10.3'"),
    ),
    "extra plot": (
        lambda patch: patch.setattr(importlib.metadata, "version", versions(matplotlib=None)),
        ("note", "matplotlib missing", "pip install 'keepsight[plot]'"),
    ),
    "keepsight": (
        lambda patch: patch.setattr(importlib.metadata, "version", versions(keepsight=None)),
        ("bad", "only its source", "pip install -e ."),
    ),
    "memory": (
        lambda patch: patch.setattr(doctor, "_free_memory", lambda: 1 << 30),
        ("note", "1.0 GiB free", "smaller model"),
    ),
    "threads": (
        lambda patch: (patch.setenv("OMP_NUM_THREADS", "8"), patch.setattr(doctor, "_cores", lambda: 2)),
        ("note", "8 threads on the 2 cores", "export OMP_NUM_THREADS=2"),
    ),
    "fonts": (
        lambda patch: patch.setattr("keepsight.data.drawn.outlines.glyph", raising(OSError("no outlines"))),
        ("bad", "the outlines cannot be read (OSError: no outlines)", "--force-reinstall"),
    ),
    "write access": (
        lambda patch: patch.setattr("os.fsync", raising(OSError(errno.EROFS, os.strerror(errno.EROFS)))),
        ("bad", "Read-only file system", "another --output_path"),
    ),
    "disk space": (
        lambda patch: patch.setattr("shutil.disk_usage", lambda place: namedtuple("Usage", "free")(1 << 20)),
        ("bad", "0.0 GiB free", "free some space"),
    ),
    "hub": (
        lambda patch: patch.setenv("HF_HUB_OFFLINE", "1"),
        ("note", "offline; ", "unset HF_HUB_OFFLINE"),
    ),
    "model tiny": (
        lambda patch: patch.setattr("keepsight.models.load", raising(ValueError("weights\nlost"))),
        ("bad", "ValueError: weights", "--force-reinstall"),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_with_its_cure(sound, name):
    break_it, (level, detail, cure) = FAULTS[name]
    break_it(sound)
    check = found(name)
    assert check.level == level and detail in check.detail and cure in check.cure
    assert "\n" not in check.detail + check.cure


def test_a_disk_without_locks(sound, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    sound.setattr(fcntl, "flock", raising(OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))))
    check = found("write access", tmp_path)
    assert (check.level, check.cure) == ("bad", "this disk has no locks; use an --output_path on another one")


def test_a_place_that_no_file_can_have_is_looked_for_above(sound, tmp_path):
    assert found("write access", tmp_path / ("x" * 300)).detail == str(tmp_path)


def test_a_source_tree_that_was_never_installed(sound):
    sound.setattr(
        importlib.metadata, "requires", raising(importlib.metadata.PackageNotFoundError("keepsight"))
    )
    assert "pillow" not in [check.name for check in doctor.checks()]


class Card:
    """torch with a card, without one, or broken."""

    __version__ = "2.13.0"

    def __init__(self, cards=0):
        self.cuda = self
        self.backends = self
        self.mps = namedtuple("Mps", "is_available")(lambda: False)
        self.cards = cards

    def is_available(self):
        return self.cards > 0

    def device_count(self):
        return self.cards

    def get_device_name(self, index):
        return "Some Card"

    def mem_get_info(self, index):
        return 10 << 30, 80 << 30


@pytest.mark.parametrize(
    ("torch", "driver", "level", "detail"),
    [
        (Card(), None, "ok", "cpu"),
        (Card(2), "nvidia-smi", "ok", "2 x Some Card, 10.0 GiB of 80.0 GiB free on the first"),
        (Card(), "nvidia-smi", "note", "torch 2.13.0 does not see its card"),
        (
            OSError("libcudart.so: cannot open\nmore"),
            None,
            "bad",
            "broken (OSError: libcudart.so: cannot open)",
        ),
        (None, None, "note", "unknown without torch"),
    ],
)
def test_devices(monkeypatch, torch, driver, level, detail):
    monkeypatch.setattr("shutil.which", lambda name: driver)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: torch)
    importing = raising(torch) if isinstance(torch, OSError) else lambda name: torch
    monkeypatch.setattr("importlib.import_module", importing)
    check = doctor._device()
    assert check.level == level and detail in check.detail and bool(check.cure) == (level != "ok")


@pytest.mark.parametrize(
    ("module", "level", "detail"),
    [
        (None, "ok", "not needed"),
        (namedtuple("Module", "__version__", rename=True)("0.28"), "bad", "broken (AttributeError)"),
        (RuntimeError("operator torchvision::nms does not exist"), "bad", "broken (RuntimeError)"),
        (Card(), "ok", "2.13.0"),
    ],
)
def test_torchvision(monkeypatch, module, level, detail):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: module)
    importing = raising(module) if isinstance(module, Exception) else lambda name: module
    monkeypatch.setattr("importlib.import_module", importing)
    check = doctor._torchvision()
    assert (
        check.level == level
        and detail in check.detail
        and ("pip uninstall" in check.cure) == (level == "bad")
    )


def said(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["keepsight", "doctor", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return left.value.code or 0, capsys.readouterr().out


def test_the_command(sound, capsys, tmp_path):
    code, out = said(sound, capsys, "--output_path", str(tmp_path))
    assert code == 0 and f"ok   write access: {tmp_path}\n" in out
    sound.setattr(doctor, "_free_memory", lambda: 1)
    sound.setattr(importlib.metadata, "version", versions(torch=None))
    code, out = said(sound, capsys)
    assert code == 1 and "BAD  torch: not installed; pip install 'torch>=2.6'\n" in out
    assert "note memory: 0.0 GiB free; close other programs" in out
    code, out = said(sound, capsys, "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 1 and rows["torch"] == {
        "name": "torch",
        "level": "bad",
        "detail": "not installed",
        "cure": "pip install 'torch>=2.6'",
    }


def test_it_runs_where_torch_is_missing():
    code = (
        "import sys; sys.modules['torch'] = sys.modules['torchvision'] = None\n"
        "from keepsight.doctor import checks\n"
        "print([check.detail for check in checks() if check.name in ('device', 'torchvision')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("['not installed (not needed)', 'unknown without torch")
