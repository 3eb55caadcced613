"""Several processes over one piece of work: who this one is, who asks what, and how they wait for each other.

A launcher (torchrun, accelerate launch) starts the processes and tells each of them in variables who it is; accelerate
brings them together. What they tell each other here goes through a gloo group of its own, in which waiting has no
limit that matters: one process may score for hours while the others wait. In a single process nothing of this is
imported.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from keepsight.errors import KeepsightError, redacted

if TYPE_CHECKING:
    from keepsight.types import Sample

__all__ = ["ALONE", "Outcome", "RankFailed", "RankLost", "Ranks", "deal", "join", "launched"]

_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE")  # one alone may be a cluster's, not a launcher's
_LONG = timedelta(days=365)
_PICTURE = (
    2_000  # characters of text that take a model as long as a picture: LLaVA-1.5 reads one as 576 tokens
)


class RankLost(KeepsightError):
    """Another process ended without a word; nothing can be done together any more."""


class RankFailed(KeepsightError):
    """What failed in one process, told in all; `kind` names the class of its error."""

    def __init__(self, message: object = "", kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Outcome:
    """What became of one process's part: its value, or why there is none."""

    value: Any = None
    error: str | None = None
    kind: str = ""  # class of the error


@dataclass(frozen=True)
class Ranks:
    """This process among those that work together. Every method waits for all of them, so all must call it."""

    rank: int = 0
    size: int = 1
    local: int = 0  # place among the processes of this machine

    @property
    def is_first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.size}"

    def gather(self, value: Any) -> list[Any]:
        """Everyone's `value` (plain text and numbers) in rank order.

        Raises:
            RankLost: a process is gone.
        """
        if self.size == 1:
            return [value]
        import torch

        values: list[Any] = [None] * self.size
        try:
            torch.distributed.all_gather_object(values, value, group=_control_group())
        except RuntimeError as error:
            raise RankLost(
                f"{self}: another process ended; its own message says why, and the same command goes on"
            ) from error
        return values

    def wait(self) -> None:
        """Returns when everyone is here."""
        self.gather(None)

    def outcomes(self, work: Callable[[], Any]) -> list[Outcome]:
        """What became of everyone's `work`, in rank order; a failure is an outcome, too."""
        try:
            own = {"value": work()}
        except RankLost:
            raise
        except Exception as error:
            if self.size == 1:
                raise
            own = {"error": _one_line(error), "kind": type(error).__name__}
        return [Outcome(**told) for told in self.gather(own)]

    def settle(self, outcomes: Sequence[Outcome]) -> list[Any]:
        """The values.

        Raises:
            RankFailed: in every process, what failed in one of them, and in which.
        """
        for rank, outcome in enumerate(outcomes):
            if outcome.error is not None:
                raise RankFailed(f"rank {rank} of {self.size}: {outcome.error}", outcome.kind)
        return [outcome.value for outcome in outcomes]

    def all(self, work: Callable[[], Any]) -> list[Any]:
        """Everyone's result of `work`; what fails in one process fails in all."""
        return self.settle(self.outcomes(work))

    def first(self, work: Callable[[], Any]) -> Any:
        """The first process's result of `work`, which nobody else does; its failure is everyone's."""
        return self.all(work if self.is_first else lambda: None)[0]


ALONE = Ranks()


def launched() -> Ranks:
    """Who this process is, by its launcher's variables; nobody is met and nothing imported."""
    if any(name not in os.environ for name in _VARIABLES):
        return ALONE
    rank, local, size = (int(os.environ[name]) for name in _VARIABLES)
    return Ranks(rank, size, local) if size > 1 else ALONE


def join(*, cpu: bool = False) -> Ranks:
    """`launched()`, after meeting the others. All processes must come; later calls cost nothing.

    Args:
        cpu: compute on the CPU although there are accelerators. Only the first call of a process decides.
    """
    ranks = launched()
    if ranks.size > 1:
        _meet(cpu)
        _control_group()
    return ranks


@cache
def _meet(cpu: bool) -> None:
    from accelerate import PartialState

    PartialState(cpu=cpu)
    atexit.register(_leave)
    _share_cores()


def _leave() -> None:
    """Ends gloo's threads while there is an interpreter: they may hold the last tensors, whose end needs one.

    Without it a process that has done everything is now and then aborted in leaving (torch issue 190489). NCCL's group
    has no such threads, and who leaves it waits for processes that failed elsewhere.
    """
    from torch import distributed

    if distributed.is_initialized():
        computes_by_gloo = distributed.get_backend() == "gloo"
        distributed.destroy_process_group(None if computes_by_gloo else _control_group())


@cache
def _control_group() -> Any:
    """Beside the group that computes: that one may be NCCL's, where waiting ends after minutes and keeps a device busy."""
    import torch

    return torch.distributed.new_group(backend="gloo", timeout=_LONG)


def _share_cores() -> None:
    """No process takes more threads than its part of this machine's cores."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    own = max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    torch.set_num_threads(min(torch.get_num_threads(), own))


def deal(samples: Sequence[Sample], size: int) -> list[list[int]]:
    """Places of the samples that each rank asks, in order: every place once, about as much work for each.

    A model sorts what it is given by length, so a run of neighbours would give one rank all the long ones. Samples
    about the same picture stay together, and who gets them depends on the samples alone: the next checkpoint finds the
    picture where it was encoded.
    """
    if size == 1:
        return [list(range(len(samples)))]
    work = [_work(sample) for sample in samples]
    groups: dict[tuple[str, ...], list[int]] = {}
    for place, sample in enumerate(samples):
        groups.setdefault(_pictures(sample) or (f"place {place}",), []).append(place)
    fair = sum(work) / size
    parts = [part for group in groups.values() for part in _cut(group, work, fair)]
    shares: list[list[int]] = [[] for _ in range(size)]
    loads = [0] * size
    for part in sorted(parts, key=lambda part: -sum(work[place] for place in part)):
        lightest = loads.index(min(loads))
        shares[lightest] += part
        loads[lightest] += sum(work[place] for place in part)
    return [sorted(share) for share in shares]


def _cut(group: list[int], work: Sequence[int], fair: float) -> list[list[int]]:
    """A group that alone is more than a rank's part is dealt out sample by sample."""
    return [[place] for place in group] if sum(work[place] for place in group) > fair else [group]


def _work(sample: Sample) -> int:
    return 1 + len(sample.prompt) + sum(map(len, sample.choices)) + _PICTURE * len(sample.media)


def _pictures(sample: Sample) -> tuple[str, ...]:
    try:
        return tuple(medium.sha256 for medium in sample.media)
    except KeepsightError:  # unreadable: nothing to be encoded
        return ()


def _one_line(error: Exception) -> str:
    text = redacted(" ".join(str(error).split()))
    return text if isinstance(error, KeepsightError) else f"{type(error).__name__}: {text}"
