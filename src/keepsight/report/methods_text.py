"""Several ways to tune on one sequence as plain text for a terminal: the figures, the differences, forgetting at one score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap

from rich.cells import cell_len, set_cell_size

from keepsight.report.continual import NAMES, FigureCell, figure_cell
from keepsight.report.methods import ZERO_SHOT, Entry, Study, verdict_of
from keepsight.report.wording import MISSING, figure, printable
from keepsight.scoring.continual import ContinualMetrics
from keepsight.scoring.matched import MatchedForgetting

__all__ = ["study_lines"]

COLUMNS = (
    "zero_shot",
    "average_accuracy",
    "backward_transfer",
    "mean_average_accuracy",
    "forward_transfer",
    "maximal_forgetting",
    "unseen",
)
_LONGEST_NAME = 24
_MARKS = {"better": "▲", "worse": "▼", "no evidence": " ", "": ""}


def study_lines(study: Study, width: int) -> list[str]:
    """Lines of at most `width` cells (from 40 up): one table of figures, one of differences, then what is matched."""
    level = f"{100 * study.level:.3g} %"
    scores = "Scores in per cent, changes in points" if study.share else "Scores and changes"
    lines = wrap(f"{printable(study.title)}. {scores}, {level} intervals below.", width)
    runs = [entry for entry in study.entries if entry.method != ZERO_SHOT]
    lines += ["", *_table(study, runs, study.figures, width, change=False)]
    others = [entry for entry in study.entries if entry is not study.reference]
    title = f"Minus {printable(study.reference.title)}, same drawn samples. ▲ better ▼ worse, unmarked: no evidence."
    lines += [*wrap(title, width), "", *_table(study, others, study.differences, width, change=True)]
    return [*lines, *_matched(study, width)]


def _table(
    study: Study,
    entries: Sequence[Entry],
    found: Mapping[str, ContinualMetrics | str],
    width: int,
    *,
    change: bool,
) -> Iterator[str]:
    """Two lines per entry, figures over their intervals, in blocks of as many columns as fit; then the samples."""
    told = {entry.title: _cells(study, found[entry.title], change) for entry in entries}
    shown = [name for name in COLUMNS[change:] if any(name in cells for cells in told.values())]
    names = [(printable(entry.method), f"  {printable(entry.setting)}") for entry in entries]
    first = min(max(cell_len(part) for both in names for part in both), _LONGEST_NAME, width // 3)
    for block in _blocks(shown, told, width - first):
        yield _line("", first, {name: NAMES[name].short for name in block}, block)
        for (method, setting), cells in zip(names, told.values()):
            if not block.keys() & cells.keys():
                continue
            yield _line(method, first, {name: cell.text for name, cell in cells.items()}, block)
            yield _line(setting, first, {name: cell.ends for name, cell in cells.items()}, block)
        yield _line("n", first, {name: _n(name, told) for name in block}, block)
        yield ""
    for entry in entries:
        if isinstance(why := found[entry.title], str):
            yield from wrap(printable(f"{entry.title}: {why}"), width)


def _cells(study: Study, found: ContinualMetrics | str, change: bool) -> dict[str, FigureCell]:
    if isinstance(found, str):
        return {}
    cells = {}
    for name, value in found.figures.items():
        cell = figure_cell(name, value, share=study.share, change=change or None)
        mark = _MARKS[verdict_of(name, value, study.share)] if change else ""
        cells[name] = FigureCell(cell.text + mark, cell.ends.replace(" to ", "…"), cell.n)
    return cells


def _blocks(
    names: Sequence[str], told: Mapping[str, Mapping[str, FigureCell]], room: int
) -> Iterator[dict[str, int]]:
    """Name -> width of its column."""
    block: dict[str, int] = {}
    for name in names:
        cells = [each[name] for each in told.values() if name in each]
        texts = [NAMES[name].short, *(text for cell in cells for text in (cell.text, cell.ends))]
        column = 2 + max(map(cell_len, texts))
        if block and sum(block.values()) + column > room:
            yield block
            block = {}
        block[name] = column
    if block:
        yield block


def _line(title: str, first: int, texts: Mapping[str, str], block: Mapping[str, int]) -> str:
    cells = (texts.get(name, MISSING if title.strip() else "") for name in block)
    body = "".join(" " * (column - cell_len(text)) + text for text, column in zip(cells, block.values()))
    return (set_cell_size(title, first) + body).rstrip()


def _n(name: str, told: Mapping[str, Mapping[str, FigureCell]]) -> str:
    """The samples that figures rest on; where runs differ, all that there are."""
    return "/".join(dict.fromkeys(cells[name].n for cells in told.values() if name in cells))


def _matched(study: Study, width: int) -> Iterator[str]:
    if not study.matched:
        yield from wrap(
            "Forgetting at one new-task score needs a method with several settings: give more runs of one"
            " (rates, epochs).",
            width,
        )
        return
    yield from wrap(
        f"Points lost per earlier task at one new-task score, against {printable(study.reference.method)}:",
        width,
    )
    for method, found in study.matched.items():
        yield from wrap(printable(f"{method}: {_told(found, study.share)}"), width, subsequent_indent="  ")


def _told(found: MatchedForgetting | str, share: bool) -> str:
    if isinstance(found, str):
        return found
    if found.at is None or found.first is None or found.second is None or found.difference is None:
        return f"no score that both reach: {found.why_not}"
    own, other, both = (
        figure_cell("maximal_forgetting", each, share=share)
        for each in (found.first, found.second, found.difference)
    )
    verdict = verdict_of("maximal_forgetting", found.difference, share)
    return (
        f"at {figure(found.at, share=share)}, {own.text} against {other.text}: {both.text} [{both.ends}],"
        f" n {both.n}: {verdict}"
    )
