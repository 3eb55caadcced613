"""The result matrix as plain text for a terminal: narrow enough for any window, every figure with its n."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap

from rich.cells import cell_len, set_cell_size

from keepsight.report.comparisons import Audit, read_audit
from keepsight.report.continual import SequenceFigures, read_figures
from keepsight.report.curves import is_share
from keepsight.report.grid import headline
from keepsight.report.wording import MISSING, count, figure, points, printable, span
from keepsight.scoring.forgetting import Drop
from keepsight.types import ResultMatrix

__all__ = ["MatrixTable", "matrix_table", "read_table"]

WIDTH = 60  # a quarter of a wide screen, a whole narrow one
_NARROW = 7  # "100.0▼" and a blank
_WIDE = 11
_LONGEST_NAME = 20
MOST_DROPS = 8


@dataclass(frozen=True)
class MatrixTable:
    """The figures of a matrix and its real differences to the base; `text` draws them."""

    rows: tuple[str, ...]
    cols: tuple[str, ...]
    figures: tuple[tuple[str, ...], ...]  # per row, with the verdict's mark
    n: tuple[str, ...]  # per column
    drops: tuple[Drop, ...]  # real ones, largest first
    titles: tuple[tuple[str, str], ...]  # row and column title of every drop
    compared: int
    level: float
    incomparable: tuple[tuple[str, str, str], ...] = ()  # row title, column title, why
    sequence: SequenceFigures | None = None  # of a training in sequence

    def text(self, width: int = WIDTH) -> str:
        """The table in blocks of as many columns as fit into `width` cells, then the real differences."""
        name = min(max(map(cell_len, (*self.rows, "n"))), _LONGEST_NAME, max(8, width // 3))
        most = max(1, (width - name) // _NARROW)
        blocks = math.ceil(len(self.cols) / most)
        block = math.ceil(len(self.cols) / blocks)  # evenly filled blocks leave room for longer headings
        wanted = max(_WIDE, *(min(cell_len(col), _LONGEST_NAME) + 2 for col in self.cols))
        column = min(wanted, (width - name) // block)
        lines: list[str] = []
        rows = _distinct(self.rows, name, _cut)
        cols = _distinct(self.cols, column, lambda col, width: _cut_end(col, width - 1))
        for start in range(0, len(self.cols), block):
            part = slice(start, start + block)
            lines += [_line("", name, cols[part], column)]
            lines += [_line(row, name, cells[part], column) for row, cells in zip(rows, self.figures)]
            lines += [_line("n", name, self.n[part], column), ""]
        through = ["", *self.sequence.text(width)] if self.sequence else []
        return "\n".join(line.rstrip() for line in [*lines, *self._told(width), *through])

    def markdown(self) -> str:
        """The table in Markdown, with whole names."""
        head = ["", *map(_escaped, self.cols)]
        body = [[_escaped(row), *figures] for row, figures in zip(self.rows, self.figures)]
        rule = ["---", *["---:"] * len(self.cols)]
        return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *body, ["n", *self.n]])

    def _told(self, width: int) -> Iterator[str]:
        for row, col, why in self.incomparable:
            yield from wrap(f"not comparable: {row} on {col}: {why}", width)
        if not self.compared:
            yield from wrap("Nothing to compare with.", width)
            return
        base = _cut(self.rows[0], 20)
        yield from wrap(
            f"▼ forgotten ▲ improved against {base}: {len(self.drops)} of {self.compared}.", width
        )
        yield from wrap(f"{100 * self.level:.3g} % corrected interval (Holm); unmarked: no evidence.", width)
        for drop, (row, col) in list(zip(self.drops, self.titles))[:MOST_DROPS]:
            mark = "▼" if drop.verdict == "forgotten" else "▲"
            yield f"{mark} {_cut(f'{row} on {col}', width - 2)}"
            change = f"{points(-drop.difference)} [{span(-drop.high, -drop.low)}]"
            moved = f"{figure(drop.reference)} → {figure(drop.current)}, {change} n {count(drop.n)}"
            yield from wrap(moved, width, initial_indent="    ", subsequent_indent="    ")
        if len(self.drops) > MOST_DROPS:
            yield f"  and {len(self.drops) - MOST_DROPS} more"


def matrix_table(matrix: ResultMatrix, width: int = WIDTH) -> str:
    """The matrix for a terminal of `width` cells, every line at most that wide (from 40 cells up)."""
    return read_table(matrix).text(width)


def read_table(matrix: ResultMatrix, level: float = 0.95) -> MatrixTable:
    """The numbers behind `matrix_table`."""
    audit = read_audit(matrix, level)
    real = [(cell, drop) for cell, drop in audit.base.items() if drop.verdict != "no evidence"]
    real.sort(key=lambda item: -item[1].difference)
    return MatrixTable(
        rows=tuple(map(printable, audit.rows)),
        cols=tuple(map(printable, audit.cols)),
        figures=tuple(
            tuple(_figure(audit, row, col) for col in range(len(audit.cols)))
            for row in range(len(audit.rows))
        ),
        n=tuple(_scored(audit, col) for col in range(len(audit.cols))),
        drops=tuple(drop for _, drop in real),
        titles=tuple((printable(audit.rows[row]), printable(audit.cols[col])) for (row, col), _ in real),
        compared=len(audit.base),
        level=level,
        incomparable=tuple(
            (printable(audit.rows[row]), printable(audit.cols[col]), printable(why))
            for (row, col), why in audit.references[0].incomparable.items()
        ),
        sequence=read_figures(matrix, level),
    )


def _figure(audit: Audit, row: int, col: int) -> str:
    run = audit.run(row, col)
    if run is None:
        return "failed" if (row, col) in audit.failures() else MISSING
    found = headline(run)
    drop = audit.base.get((row, col))
    mark = {"forgotten": "▼", "improved": "▲"}.get(drop.verdict, " ") if drop else " "
    if math.isnan(found.value):
        return f"{MISSING} "
    return figure(found.value, share=is_share(audit.matrix, col)) + mark


def _scored(audit: Audit, col: int) -> str:
    """The number of scored samples in a column, as a range when rows differ."""
    found = [headline(run).n for row in range(len(audit.rows)) if (run := audit.run(row, col)) is not None]
    if not found:
        return f"{MISSING} "
    return f"{min(found)} " if min(found) == max(found) else f"≥{min(found)} "


def _line(name: str, width: int, cells: Sequence[str], column: int) -> str:
    return set_cell_size(_cut(name, width), width) + "".join(
        " " * (column - cell_len(cell)) + cell for cell in cells
    )


def _cut_end(text: str, width: int) -> str:
    """At most `width` cells, the beginning kept, with room for the mark that stands behind a figure."""
    text = " ".join(text.split())
    return f"{text} " if cell_len(text) < width else f"{set_cell_size(text, width - 1).rstrip()}…"


def _cut(text: str, width: int) -> str:
    """At most `width` cells, the end kept: names of checkpoints differ at their ends."""
    text = " ".join(text.split())
    if cell_len(text) <= width:
        return text
    tail = text
    while cell_len(tail) > width - 1:
        tail = tail[1:]
    return f"…{tail}"


def _distinct(names: Sequence[str], width: int, cut: Callable[[str, int], str]) -> list[str]:
    """`names` cut to `width` cells each; where that makes two of them the same, those lose their middle or are numbered."""
    short = [cut(name, width) for name in names]
    alike = {each for each in short if short.count(each) > 1}
    for i, name in enumerate(names):
        if short[i] in alike:
            others = {*short[:i], *short[i + 1 :]}
            free = (each for each in _without_middle(name, i, width) if each not in others)
            short[i] = next(free, short[i])
    return short


def _without_middle(name: str, number: int, width: int) -> Iterator[str]:
    """Shorter forms of a name, the evenest first; at last one that no other name can have."""
    name = " ".join(name.split())
    room = width - 3  # for the sign of what is left out, and what stands behind a column's title
    for head in sorted(range(1, room), key=lambda head: abs(head - room / 2)):
        yield f"{set_cell_size(name, head).rstrip()}…{_cut(name, room - head + 1).removeprefix('…')} "
    mark = f"…{number + 1} "
    yield set_cell_size(name, width - len(mark)).rstrip() + mark


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
