"""Running many samples in batches of like length, with smaller batches when memory runs out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar

__all__ = ["free_memory", "in_batches", "out_of_memory"]

Result = TypeVar("Result")


def in_batches(
    indices: Sequence[int],
    size: int,
    run: Callable[[list[int]], Sequence[Result]],
    failed: Callable[[str], Result],
    kind: Callable[[int], Hashable] = lambda index: None,
) -> Iterator[tuple[int, Result]]:
    """Yields `(index, result)` batch by batch, in the order given; a batch holds indices of one `kind`.

    When memory runs out the batch is halved and stays halved; a single sample that does not fit gets `failed(reason)`.
    """
    waiting = deque(indices)
    while waiting:
        batch = [waiting.popleft()]
        while waiting and len(batch) < size and kind(waiting[0]) == kind(batch[0]):
            batch.append(waiting.popleft())
        results = _unless_out_of_memory(run, batch)
        if results is not None:
            yield from zip(batch, results)
        elif len(batch) == 1:
            yield batch[0], failed("out of memory with this sample alone; use a smaller dtype or model")
        else:
            size = len(batch) // 2
            waiting.extendleft(reversed(batch))


def _unless_out_of_memory(
    run: Callable[[list[int]], Sequence[Result]], batch: list[int]
) -> Sequence[Result] | None:
    try:
        return run(batch)
    except Exception as error:
        if not out_of_memory(error):
            raise
    free_memory()  # after the except clause: the traceback would keep the batch's tensors alive
    return None


def out_of_memory(error: Exception) -> bool:
    """Whether `error` is an accelerator's or the CPU allocator's way of saying that memory ran out."""
    import torch

    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )


def free_memory() -> None:
    """Collects what nobody refers to any more and gives cached accelerator memory back."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
