"""Is this installation able to work? One check per way in which installations have been seen to fail, each with its cure.

Nothing is downloaded and no weights are loaded. Torch is imported only where it is installed.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["Check", "checks"]

_GIB = 1 << 30
_LITTLE_MEMORY = 4 * _GIB  # less holds no model beyond a few hundred million parameters
_LITTLE_SPACE = _GIB
_NO_SPACE = 64 << 20  # less does not hold one checkpoint of the smallest model
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


@dataclass(frozen=True)
class Check:
    """What was looked at, how it is, and how to mend it.

    `level` is "ok", "note" (works, but you may want to know) or "bad" (something will fail).
    """

    name: str
    level: Literal["ok", "note", "bad"]
    detail: str
    cure: str = ""


def checks(output_path: str | Path = ".") -> list[Check]:
    """All checks, in the order in which to mend what is bad.

    Args:
        output_path: where results are meant to be written; it need not exist.
    """
    place = _existing(Path(output_path))
    return [
        _python(),
        _keepsight(),
        *_requirements(),
        *_extras(),
        _torchvision(),
        _device(),
        _memory(),
        _threads(),
        _fonts(),
        _writable(place),
        _space(place),
        _hub(),
        _tiny(),
    ]


def _existing(path: Path) -> Path:
    """The nearest folder above `path` that is there."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if os.path.isdir(folder))


def _python() -> Check:
    return Check("python", "ok", ".".join(map(str, sys.version_info[:3])))


def _keepsight() -> Check:
    try:
        return Check("keepsight", "ok", importlib.metadata.version("keepsight"))
    except importlib.metadata.PackageNotFoundError:
        cure = "pip install -e . in its folder"
        return Check("keepsight", "bad", "not installed, only its source is on the path", cure)


def _declared() -> Iterator[Requirement]:
    from packaging.requirements import Requirement

    try:
        lines = importlib.metadata.requires("keepsight") or ()
    except importlib.metadata.PackageNotFoundError:
        return
    yield from map(Requirement, lines)


def _requirements() -> list[Check]:
    return [_requirement(each) for each in _declared() if each.marker is None]


def _requirement(required: Requirement) -> Check:
    name, cure = required.name, f"pip install '{required.name}{required.specifier}'"
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "bad", "not installed", cure)
    if not required.specifier.contains(found, prereleases=True):
        return Check(name, "bad", f"{found} does not fit {required.specifier}", cure)
    return Check(name, "ok", found)


def _extras() -> list[Check]:
    """One check per extra for users; dev is for those who work on keepsight itself."""
    optional = [each for each in _declared() if each.marker]
    names = dict.fromkeys(
        re.findall(r"extra == ['\"]([\w-]+)", " ".join(str(each.marker) for each in optional))
    )
    return [_extra(name, optional) for name in names if name != "dev"]


def _extra(extra: str, optional: Sequence[Requirement]) -> Check:
    mine = [each for each in optional if each.marker and each.marker.evaluate({"extra": extra})]
    bad = [each.name for each in mine if _requirement(each).level != "ok"]
    name = f"extra {extra}"
    if bad:
        return Check(
            name, "note", f"{', '.join(bad)} missing or too old", f"pip install 'keepsight[{extra}]'"
        )
    return Check(name, "ok", ", ".join(each.name for each in mine))


def _torchvision() -> Check:
    """A torchvision that does not fit torch breaks the import of every transformers model."""
    if importlib.util.find_spec("torchvision") is None:
        return Check("torchvision", "ok", "not installed (not needed)")
    try:
        version = importlib.import_module("torchvision").__version__
    except Exception as error:
        cure = "pip uninstall torchvision, or install the release that belongs to your torch"
        return Check("torchvision", "bad", f"broken ({type(error).__name__})", cure)
    return Check("torchvision", "ok", version)


def _device() -> Check:
    if importlib.util.find_spec("torch") is None:
        return Check(
            "device", "note", "unknown without torch; results can be read and reported", "pip install torch"
        )
    try:
        torch: Any = importlib.import_module("torch")
    except Exception as error:
        return Check(
            "device", "bad", f"torch is broken ({_first_line(error)})", "pip install --force-reinstall torch"
        )
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        free, total = torch.cuda.mem_get_info(0)
        return Check(
            "device",
            "ok",
            f"{count} x {torch.cuda.get_device_name(0)}, {_gib(free)} of {_gib(total)} free on the first",
        )
    if torch.backends.mps.is_available():
        return Check("device", "ok", "mps")
    if shutil.which("nvidia-smi"):
        detail = f"cpu, though there is an NVIDIA driver: torch {torch.__version__} does not see its card"
        return Check("device", "note", detail, "install the build of torch for your CUDA version")
    return Check("device", "ok", "cpu")


def _memory() -> Check:
    free = _free_memory()
    if free is None:
        return Check("memory", "ok", "unknown on this system")
    level: Literal["ok", "note"] = "note" if free < _LITTLE_MEMORY else "ok"
    return Check(
        "memory",
        level,
        f"{_gib(free)} free",
        "close other programs, or use a smaller model" * (level == "note"),
    )


def _free_memory() -> int | None:
    """Bytes that a new program can have, as Linux tells them."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    sizes = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(sizes[0]) * 1024 if sizes else None


def _threads() -> Check:
    """More threads than cores make small models many times slower; a container's share of the cores is often small."""
    cores, wanted = _cores(), os.environ.get("OMP_NUM_THREADS", "")
    threads = int(wanted) if wanted.isdigit() else os.cpu_count() or 1
    if threads > cores:
        detail = f"{threads} threads on the {cores} cores this process may use"
        return Check("threads", "note", detail, f"export OMP_NUM_THREADS={cores}")
    return Check("threads", "ok", f"{threads} on {cores} cores")


def _cores() -> int:
    """Cores that this process may use: its affinity, and its container's quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def _fonts() -> Check:
    """Letters and digits are drawn from outlines in the package, so no font of the system can move a pixel."""
    try:
        from keepsight.data.drawn.outlines import FONTS, glyph

        drawn = [glyph(font, "A") for font in FONTS]
    except Exception as error:
        cure = "pip install --force-reinstall --no-deps keepsight"
        return Check("fonts", "bad", f"the outlines cannot be read ({_first_line(error)})", cure)
    return Check("fonts", "ok", f"{len(drawn)} in the package; none of the system is needed")


def _writable(place: Path) -> Check:
    """Results need a folder that takes new files, and a disk that has locks."""
    from keepsight.store import StoreError
    from keepsight.store.files import Lock, replace_file, writing

    try:
        with writing(place), tempfile.TemporaryDirectory(prefix=".keepsight-doctor-", dir=place) as folder:
            lock = Lock(Path(folder))
            replace_file(Path(folder) / "file", b"1")
            lock.release()
    except StoreError as error:
        fault, _, cure = str(error).partition("; ")
        return Check("write access", "bad", fault, cure)
    return Check("write access", "ok", str(place))


def _space(place: Path) -> Check:
    free = shutil.disk_usage(place).free
    level: Literal["ok", "note", "bad"] = (
        "bad" if free < _NO_SPACE else "note" if free < _LITTLE_SPACE else "ok"
    )
    cure = "" if level == "ok" else "free some space, or give --output_path on another disk"
    return Check("disk space", level, f"{_gib(free)} free in {place}", cure)


def _hub() -> Check:
    """What the settings say; the hub itself is not called."""
    said = [name for name in _OFFLINE if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")]
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError:
        return Check("hub", "bad", "huggingface_hub is not installed", "pip install transformers")
    cached = len(list(Path(HF_HUB_CACHE).glob("models--*")))
    where = f"{cached} models in {HF_HUB_CACHE}"
    if said:
        return Check("hub", "note", f"offline; {where}", f"unset {' '.join(said)} to download others")
    return Check("hub", "ok", f"online; {where}")


def _tiny() -> Check:
    from keepsight import models

    try:
        digest = models.load("tiny").digest
    except Exception as error:
        cure = "pip install --force-reinstall --no-deps keepsight"
        return Check("model tiny", "bad", _first_line(error), cure)
    return Check("model tiny", "ok", f"digest {digest[:12]}")


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
