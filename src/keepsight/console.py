"""What the command line shows besides the result matrix: a progress bar with the time left, and narrow tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from textwrap import wrap
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from keepsight.report.wording import count, figure, interval, p_value, points, printable, span

if TYPE_CHECKING:
    from keepsight.evaluate import Progress
    from keepsight.report.claims import Claim
    from keepsight.types import ResultMatrix, Run
    from keepsight.verbs import Comparison, Planned

__all__ = [
    "claim_lines",
    "comparison_lines",
    "figures_table",
    "plan_table",
    "progress_bar",
    "scorers_table",
    "summary_lines",
]


VERDICT_WORDS = {"holds": "holds", "does_not_hold": "does not hold", "no_evidence": "no evidence"}


def claim_lines(claims: Sequence[Claim], width: int) -> list[str]:
    """Each published finding and what was measured, wrapped to `width` columns."""
    lines = []
    for claim in claims:
        low, high = claim.interval
        found = f"{claim.measured:+.1f} {claim.unit} [{low:+.1f}, {high:+.1f}], n {claim.n}: {VERDICT_WORDS[claim.verdict]}"
        for text, indent in ((claim.claim, "- "), (found, "  ")):
            lines += wrap(text, max(width, 20), initial_indent=indent, subsequent_indent="  ")
    return lines


@contextmanager
def progress_bar() -> Iterator[Progress | None]:
    """A callback that draws one bar on a terminal's stderr; None where there is no terminal to draw on."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console, transient=True, expand=True) as bars:
        bar = bars.add_task("", total=None)

        def show(what: str, done: int, total: int) -> None:
            bars.update(bar, description=_short(what, 24), completed=done, total=total)

        yield show


def _short(text: str, width: int) -> str:
    """The end of a long name: it tells more than the beginning."""
    return text if len(text) <= width else "…" + text[1 - width :]


def _table(*titles: str) -> Table:
    """A table without a frame; the first column is to the left and folds, the others are to the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column(titles[0], overflow="fold")
    for title in titles[1:]:
        table.add_column(title, justify="right", overflow="fold")
    return table


def figures_table(matrix: ResultMatrix) -> Table:
    """Every metric of every run: value in per cent, its interval, and how many of the samples were scored."""
    table = _table("task", "metric", "%", "interval", "n")
    for col in matrix.cols:
        for row in matrix.rows:
            for metric in matrix.runs[row, col].metrics if (row, col) in matrix.runs else ():
                n = count(metric.n) if metric.n == metric.total else f"{metric.n}/{metric.total}"
                cells = (metric.name, figure(metric.value), interval(metric.low, metric.high), n)
                table.add_row(Text(printable(col)), *map(Text, cells))
    return table


def scorers_table(runs: Sequence[Run]) -> Table:
    """What every scorer of a run makes of the same answers."""
    from keepsight.scoring.metrics import accuracy

    table = _table("task", "judge", "%", "interval", "n")
    for run in runs:
        samples = [record.sample for record in run.records]
        for name in run.manifest["scorers"]:
            found = accuracy(samples, run.scores(name))
            cells = (name, figure(found.value), interval(found.low, found.high), f"{found.n}/{found.total}")
            table.add_row(Text(printable(run.manifest["task"])), *map(Text, cells))
    return table


def plan_table(plan: Sequence[Planned]) -> Table:
    """How much would be asked, and how long that may take judging by what was asked before."""
    table = _table("checkpoint", "task", "to ask", "of", "time")
    for cell in plan:
        seconds = "unknown" if cell.seconds is None else _duration(cell.seconds)
        table.add_row(*map(Text, (cell.row, cell.col, count(cell.asked), count(cell.total), seconds)))
    known = [cell.seconds for cell in plan if cell.seconds is not None]
    total = _duration(sum(known)) if len(known) == len(plan) else "unknown"
    table.add_row("all", "", count(sum(c.asked for c in plan)), count(sum(c.total for c in plan)), total)
    return table


def _duration(seconds: float) -> str:
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def summary_lines(matrix: ResultMatrix) -> list[str]:
    """What could not be scored, and which cells failed."""
    lines = []
    unscored = list(_unscored(matrix))
    if unscored:
        lines.append(f"not scored: {count(len(unscored))} answers, the first {unscored[0]}")
    lines += [
        f"failed: {cell['row']} on {cell['col']}: {cell['error']}" for cell in matrix.meta.get("failed", ())
    ]
    return [printable(line) for line in lines]


def _unscored(matrix: ResultMatrix) -> Iterator[str]:
    """Sample and reason of every answer without a value."""
    for run in matrix.runs.values():
        for record in run.records:
            score = record.scores[run.scorer]
            if not score.scored:
                yield f"{record.sample.id}: {score.explanation or score.status}"


def comparison_lines(comparison: Comparison, top: int = 10) -> Sequence[Table | str]:
    """The paired difference in words, and a table of the answers that changed most."""
    drop = comparison.drop
    words = [
        f"{drop.col}: {figure(drop.reference)} → {figure(drop.current)} %, n {count(drop.n)}",
        f"lost {points(drop.difference).lstrip('+')} points ({span(drop.low, drop.high)}), p {p_value(drop.p)}: {drop.verdict}",
    ]
    changed = [flow for flow in comparison.flow if flow.before != flow.after]
    if not changed:
        return [*words, "no answer changed"]
    table = _table("truth", "said before", "says now", "times")
    for flow in sorted(changed, key=lambda flow: -flow.count)[:top]:
        cells = (flow.truth, flow.before, flow.after, str(flow.count))
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return [*words, "", table]
