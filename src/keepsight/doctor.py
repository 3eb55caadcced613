"""Is this installation able to work? One check per way in which installations have been seen to fail."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from dataclasses import dataclass

__all__ = ["Check", "checks"]


@dataclass(frozen=True)
class Check:
    """What was looked at, whether it is well, and what was found or how to mend it."""

    name: str
    ok: bool
    detail: str


def checks() -> list[Check]:
    """All checks, in the order in which to mend what is bad."""
    return [_python(), *_requirements(), _torchvision(), _device(), _tiny()]


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    return Check("python", sys.version_info >= (3, 10), found)


def _requirements() -> list[Check]:
    from packaging.requirements import Requirement

    required = [Requirement(line) for line in importlib.metadata.requires("keepsight") or ()]
    return [_requirement(each.name, str(each.specifier)) for each in required if each.marker is None]


def _requirement(name: str, specifier: str) -> Check:
    from packaging.specifiers import SpecifierSet

    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, False, f"not installed; pip install '{name}{specifier}'")
    ok = SpecifierSet(specifier).contains(found, prereleases=True)
    return Check(name, ok, found if ok else f"{found} is too old; pip install '{name}{specifier}'")


def _torchvision() -> Check:
    """A torchvision that does not fit torch breaks the import of every transformers model."""
    if importlib.util.find_spec("torchvision") is None:
        return Check("torchvision", True, "not installed (not needed)")
    try:
        version = importlib.import_module("torchvision").__version__
    except Exception as error:
        return Check("torchvision", False, f"broken ({type(error).__name__}); pip uninstall torchvision")
    return Check("torchvision", True, version)


def _device() -> Check:
    from keepsight.models.bases import default_device

    return Check("device", True, default_device())


def _tiny() -> Check:
    from keepsight import models
    from keepsight.types import KeepsightError

    try:
        digest = models.load("tiny").digest
    except KeepsightError as error:
        return Check("model tiny", False, str(error))
    return Check("model tiny", True, f"digest {digest[:12]}")
