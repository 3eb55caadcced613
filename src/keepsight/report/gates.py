"""Which expert works for which task: the gates of a mixture of adapters, as a small table of shares.

`meta["gates"]` is `{row: {task: {"layers": [name], "mean": [[share per expert] per layer], "entropy": [nats per layer]}}}`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keepsight.report.lineage import column_titles
from keepsight.report.wording import percent, points, printable
from keepsight.types import ResultMatrix

__all__ = ["GateRow", "Gates", "gates"]

_STEPS = (0.10, 0.25, 0.50, 1.00)  # a share that far from an even one, in even shares, gets the k-th shade


@dataclass(frozen=True)
class GateSquare:
    text: str
    hint: str
    shade: int


@dataclass(frozen=True)
class GateRow:
    """One task: the mean share of every expert over all gated layers, and how evenly they share (100 is even)."""

    title: str
    squares: tuple[GateSquare, ...]
    evenness: str


@dataclass(frozen=True)
class Gates:
    """The gates of the last checkpoint that has any."""

    title: str
    experts: tuple[str, ...]
    rows: tuple[GateRow, ...]
    note: str


def gates(matrix: ResultMatrix) -> Gates | None:
    """The table of the last checkpoint; None where the matrix has no gate statistics, or others than described above."""
    told = matrix.meta.get("gates")
    if not isinstance(told, Mapping) or not told:
        return None
    row = next((row for row in reversed(matrix.rows) if row in told), None)
    tasks = told.get(row)
    if not isinstance(tasks, Mapping) or not tasks:
        return None
    try:
        read = {str(task): _shares(value) for task, value in tasks.items()}
    except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError):
        return None
    sizes = {len(shares) for shares, _, _ in read.values()}
    if len(sizes) != 1 or 0 in sizes:
        return None
    (experts,) = sizes
    titles = column_titles(list(read))
    rows = [_row(title, *value) for title, value in zip(titles, read.values())]
    layers = max(layers for _, _, layers in read.values())
    return Gates(
        printable(str(row)), tuple(str(n + 1) for n in range(experts)), tuple(rows), _note(read, layers)
    )


def _shares(value: Any) -> tuple[list[float], float, int]:
    """Mean share of every expert over layers, mean evenness in [0, 1], number of layers."""
    layers = [[float(share) for share in layer] for layer in value["mean"]]
    experts = len(layers[0])
    if any(len(layer) != experts for layer in layers):
        raise ValueError
    shares = [math.fsum(layer[expert] for layer in layers) / len(layers) for expert in range(experts)]
    entropy = math.fsum(map(float, value["entropy"])) / len(value["entropy"])
    return shares, entropy / math.log(experts) if experts > 1 else 1.0, len(layers)


def _row(title: str, shares: list[float], evenness: float, layers: int) -> GateRow:
    even = 1 / len(shares)
    squares = tuple(
        GateSquare(
            percent(share),
            printable(
                f"expert {number + 1} on {title}: {percent(share)} %, {points(share - even)} against an even share"
            ),
            _shade(share / even - 1),
        )
        for number, share in enumerate(shares)
    )
    return GateRow(printable(title), squares, percent(evenness))


def _shade(excess: float) -> int:
    steps = sum(abs(excess) >= least for least in _STEPS)
    return steps if excess > 0 else -steps


def _note(read: Mapping[str, tuple[list[float], float, int]], layers: int) -> str:
    experts = len(next(iter(read.values()))[0])
    by_expert = [[shares[expert] for shares, _, _ in read.values()] for expert in range(experts)]
    widest = max(range(experts), key=lambda expert: max(by_expert[expert]) - min(by_expert[expert]))
    apart = max(by_expert[widest]) - min(by_expert[widest])
    return (
        f"Share of the gate in per cent, mean over tokens and {layers} gated layer{'s' if layers != 1 else ''}; an even share is"
        f" {percent(1 / experts)}. Between tasks the share of one expert differs by at most {percent(apart)} points"
        f" (expert {widest + 1}): the closer to 0, the less does the gate tell tasks apart. Evenness: entropy of the gate"
        " over that of an even one, in per cent."
    )
