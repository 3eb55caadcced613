"""Which checkpoints belong to one method, and what rows and columns are called on the page.

Checkpoints carry no field for the method that made them: `lora/epoch-1` and `lora/epoch-2` are one line because
their names agree up to the step.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keepsight.types import ResultMatrix

__all__ = ["Line", "column_titles", "lines", "row_titles", "tuned_columns"]

_STEP = re.compile(
    r"^(?P<method>.*?)[/\\:_ -]*(?P<unit>epoch|step|stage|checkpoint|task)[-_ =]?(?P<number>\d+)$", re.I
)
_STAGE = re.compile(r"^(?P<number>\d+)-(?P<name>.+)$")  # as a sequence names its rows: 1-shapes, 2-digits


@dataclass(frozen=True)
class Line:
    """The checkpoints of one method in training order: row indices and what the axis calls them."""

    method: str
    rows: tuple[int, ...]
    steps: tuple[str, ...]
    sequential: bool = True  # False: separate checkpoints that only stand in one order

    @property
    def ends(self) -> tuple[int, ...]:
        """The rows that speak for the line: its last checkpoint, or each of several separate ones."""
        return self.rows[-1:] if self.sequential else self.rows


def lines(rows: Sequence[str]) -> list[Line]:
    """Groups every row but the first (the base). Names without a common prefix make one nameless line."""
    members: dict[str, list[tuple[int, str]]] = {}
    titles = row_titles(rows)
    if stages := _stages(titles[1:]):
        return [Line("", tuple(range(1, len(rows))), stages)]
    for index in range(1, len(rows)):
        method, step = _parts(titles[index])
        members.setdefault(method, []).append((index, step))
    if len(members) > 1 and all(len(steps) == 1 for steps in members.values()):
        return [Line("", tuple(range(1, len(rows))), tuple(titles[1:]), sequential=False)]
    return [Line(method, *_columns(steps)) for method, steps in members.items()]


def row_titles(rows: Sequence[str]) -> list[str]:
    """Row names without the directories that all checkpoints (not the base) share, if they stay distinct."""
    tuned = list(rows[1:])
    cut = _shared_prefix(tuned) if len(tuned) > 1 else 0
    titles = [rows[0], *(row[cut:] for row in tuned)] if rows else []
    return titles if len(set(titles)) == len(set(rows)) and all(titles) else list(rows)


def column_titles(cols: Sequence[str]) -> list[str]:
    """Column names without the commonest task name, if they stay distinct: "emt:digits" -> "digits"."""
    prefixes = Counter(col.partition(":")[0] for col in cols if col.partition(":")[2])
    common = f"{prefixes.most_common(1)[0][0]}:" if prefixes else ""
    titles = [col.removeprefix(common) for col in cols]
    return titles if len(set(titles)) == len(set(cols)) else list(cols)


def tuned_columns(matrix: ResultMatrix) -> dict[int, int]:
    """Row index -> index of the column that this checkpoint was tuned on, where the matrix knows it."""
    tuned = matrix.meta.get("tuned_on")
    if not isinstance(tuned, Mapping):
        return {}
    rows = {name: index for index, name in enumerate(matrix.rows)}
    cols = {name: index for index, name in enumerate(matrix.cols)}
    return {rows[row]: cols[col] for row, col in tuned.items() if row in rows and col in cols}


def _stages(titles: Sequence[str]) -> tuple[str, ...]:
    """The names behind the numbers, if the rows are counted from 1; else nothing."""
    found = [_STAGE.match(title) for title in titles]
    counted = [match and int(match["number"][:9]) for match in found] == list(range(1, len(titles) + 1))
    return tuple(match["name"] for match in found if match) if counted else ()


def _parts(name: str) -> tuple[str, str]:
    stepped = _STEP.match(name)
    if stepped and stepped["method"]:
        return stepped["method"], stepped["number"]
    if stepped:
        return "", name
    method, slash, step = name.rpartition("/")
    return (method, step) if slash and method else (name, name)


def _columns(steps: Sequence[tuple[int, str]]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    return tuple(index for index, _ in steps), tuple(step for _, step in steps)


def _shared_prefix(names: Sequence[str]) -> int:
    """Length of the leading directories that all names share, their last two parts (method, step) apart."""
    directories = [name.split("/")[:-2] for name in names]
    shared = 0
    for parts in zip(*directories):
        if len(set(parts)) > 1:
            break
        shared += len(parts[0]) + 1
    return shared
