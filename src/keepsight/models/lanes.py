"""A small model on several cores: batches go side by side, each in a thread of its own.

A matrix product of a few hundred rows is too small to be shared out between cores; whole batches are not. Each thread
asks a twin of the module, which has the same tensors but attributes of its own: some families note on the module
itself how far a prompt has been read.
"""

from __future__ import annotations

import copy
import ctypes
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import Any, TypeVar

__all__ = ["Lanes", "lanes_for"]

Work = TypeVar("Work")
Result = TypeVar("Result")

_SMALL = 50_000_000  # parameters; the products of a larger model keep all cores busy one at a time


class Lanes:
    """A module and its twins, asked side by side. They are as the module was when they were made."""

    def __init__(self, module: Any, count: int = 1, common: Sequence[object] = ()) -> None:
        """`common`: objects on the module that its twins use too instead of a copy (they must bear threads)."""
        self.modules = (module, *(_twin(module, common) for _ in range(count - 1)))

    def __len__(self) -> int:
        return len(self.modules)

    def map(self, run: Callable[[Any, Work], Result], works: Sequence[Work]) -> list[Result]:
        """`run(module, work)` for at most as many works as there are lanes; returns when every one has ended.

        Raises:
            Exception: what the first of them to fail raised.
        """
        if len(works) == 1:
            return [run(self.modules[0], works[0])]
        futures = [
            _threads(len(self)).submit(_asked, run, module, work) for module, work in zip(self.modules, works)
        ]
        wait(futures)  # also after a failure: the caller may ask again with less, and a lane must be free
        return [future.result() for future in futures]


def lanes_for(module: Any, device: str, common: Sequence[object] = ()) -> Lanes:
    """As many lanes as torch has threads for a small model on the CPU, one for any other."""
    import torch

    small = sum(parameter.numel() for parameter in module.parameters()) <= _SMALL
    return Lanes(module, torch.get_num_threads() if small and device == "cpu" else 1, common)


def _twin(module: Any, common: Sequence[object]) -> Any:
    kept: dict[int, Any] = {id(thing): thing for thing in (*module.parameters(), *module.buffers(), *common)}
    return copy.deepcopy(module, kept).eval()


def _asked(run: Callable[[Any, Work], Result], module: Any, work: Work) -> Result:
    import torch

    with torch.inference_mode():  # torch keeps this per thread
        return run(module, work)


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    """Threads that each compute on one core; the caller keeps all of its own."""
    import torch

    _keep_freed_memory()
    pool = ThreadPoolExecutor(count, "keepsight-lane", lambda: torch.set_num_threads(1))
    before = torch.get_num_threads()
    wait([pool.submit(torch.get_num_threads) for _ in range(count)])
    torch.set_num_threads(before)  # what a thread sets is also what threads to come start from
    return pool


def _keep_freed_memory() -> None:
    """Tells glibc to keep what was freed: giving a thread's memory back and faulting it in again costs a fifth of the time.

    Elsewhere than with glibc nothing happens.
    """
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # mallopt(3)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for option, bytes_ in ((mmap_threshold, 32 << 20), (trim_threshold, 1 << 30), (top_pad, 64 << 20)):
        mallopt(option, bytes_)
