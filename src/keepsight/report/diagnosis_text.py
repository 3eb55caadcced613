"""A diagnosis as plain text for a terminal: every verdict with its sentence and the figure that decides."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from keepsight.report.diagnosis import VERDICTS, figure_text, plain_interval
from keepsight.report.wording import count, printable
from keepsight.scoring.findings import Diagnosis

__all__ = ["diagnosis_text"]

WIDTH = 60  # a quarter of a wide screen, a whole narrow one


def diagnosis_text(diagnosis: Diagnosis, width: int = WIDTH) -> str:
    """The answers, no line wider than `width` (from 30 up)."""
    return "\n".join(_lines(diagnosis, width))


def _lines(diagnosis: Diagnosis, width: int) -> Iterator[str]:
    yield from wrap(printable(f"What explains {diagnosis.model} on {diagnosis.pictures}?"), width)
    for finding in diagnosis.findings:
        sign, words = VERDICTS[finding.verdict]
        yield ""
        yield from wrap(printable(f"{sign} {words}: {finding.title}"), width, subsequent_indent="  ")
        yield from _indented(finding.answer, width)
        decides = finding.deciding
        n = (
            count(decides.n)
            if decides.n == decides.total
            else f"{count(decides.n)} of {count(decides.total)}"
        )
        name = decides.name.replace("_", " ")
        told = f"{name} {figure_text(decides)} [{plain_interval(decides)}], n {n}"
        yield from _indented(told, width)
    for failed in diagnosis.failed:
        sign, words = VERDICTS["failed"]
        yield ""
        yield from wrap(
            printable(f"{sign} {words}: {failed.title} ({failed.question})"), width, subsequent_indent="  "
        )
        yield from _indented(failed.error, width)


def _indented(text: str, width: int) -> list[str]:
    return wrap(printable(text), width, initial_indent="    ", subsequent_indent="    ")
