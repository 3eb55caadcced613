"""One undisturbed audit that the disturbed ones must equal."""

import os
import tempfile
from pathlib import Path

import pytest

from tests.killing import Fate, in_child
from tests.store.audited import SAMPLES, Diary, everything, kept, run_audit


@pytest.fixture(scope="session")
def quick_disk():
    """A folder where syncing costs nothing: what is killed here is a process, not the power."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def whole(quick_disk):
    """An audit that nobody disturbed: all its files, all its questions, and how many points it passes."""
    diary = Diary(quick_disk / "diary-whole")
    run_audit(quick_disk / "whole", diary)
    asked = diary.take()
    assert asked == kept(quick_disk / "whole") and sum(asked.values()) == 2 * 2 * SAMPLES * 3
    points = in_child(lambda: run_audit(quick_disk / "counted", diary), Fate(quick_disk)).passed
    assert everything(quick_disk / "counted") == everything(quick_disk / "whole")
    return everything(quick_disk / "whole"), asked, points
