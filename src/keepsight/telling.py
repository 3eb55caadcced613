"""What the verbs say at the end: the figures, what is missing, and the exit code that tells a script."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from keepsight.options import FAILED, GATE_FAILED, PARTIAL
from keepsight.ranks import launched

if TYPE_CHECKING:
    from keepsight.types import ResultMatrix

__all__ = ["leave", "print_audit", "say", "warn"]


def print_audit(matrix: ResultMatrix, page: Path) -> None:
    from keepsight.console import episode_lines, repeat_lines
    from keepsight.report import matrix_table

    typer.echo(matrix_table(matrix))
    for line in (*episode_lines(matrix), *repeat_lines(list(matrix.runs.values()))):
        typer.echo(line)
    if matrix.runs:  # an audit without an answer leaves the earlier page
        typer.echo(f"\nwritten: {page}")


def leave(matrix: ResultMatrix, gate_failed: bool = False) -> None:
    """Says what is missing and leaves with the code that tells a script."""
    from keepsight.console import summary_lines

    if not launched().is_first:  # the first rank speaks for all
        return
    missing = summary_lines(matrix)
    for line in missing:
        warn(line)
    if not matrix.runs:
        raise typer.Exit(FAILED)
    if gate_failed:
        raise typer.Exit(GATE_FAILED)
    if missing:
        raise typer.Exit(PARTIAL)


def say(line: str, *, err: bool = False) -> None:
    """One line, whatever it quotes: names and answers may hold what a terminal would take for commands."""
    from keepsight.report.wording import printable

    typer.echo(printable(" ".join(line.split())), err=err)


def warn(line: str) -> None:
    rank = launched()
    say(f"keepsight ({rank}): {line}" if rank.size > 1 else f"keepsight: {line}", err=True)
