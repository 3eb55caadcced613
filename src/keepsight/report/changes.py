"""What changed between two checkpoints on one task: class by class, and from which answer to which.

Computed once per pair of runs, for the panel of a cell as for the overviews of the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from xml.etree import ElementTree

from keepsight.report.comparisons import Audit
from keepsight.report.episodes import has_episodes
from keepsight.report.grid import firsts_of_methods, shade_of
from keepsight.report.lineage import lines
from keepsight.report.wording import count, percent, printable
from keepsight.scoring.tables import AnswerFlow, ClassChange, answer_flow, per_class
from keepsight.types import Run

__all__ = [
    "Changes",
    "Flow",
    "FlowRow",
    "Heat",
    "HeatRow",
    "Span",
    "Square",
    "Step",
    "flows",
    "has_classes",
    "heats",
    "merged",
]


@dataclass(frozen=True)
class FlowRow:
    """`n` samples went from answer `before` to answer `now`; `wide` is their share of the largest row."""

    before: str
    now: str
    n: int
    right: str  # whether the answer now is right: yes | no | some
    wide: float = 1.0

    def bar(self) -> str:
        """The count as a bar."""
        root = ElementTree.Element(
            "svg", {"viewBox": "0 0 100 9", "preserveAspectRatio": "none", "aria-hidden": "true"}
        )
        width = f"{max(2.0, 100 * self.wide):.0f}"
        ElementTree.SubElement(root, "rect", {"x": "0", "y": "0", "height": "9", "width": width})
        return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


@dataclass(frozen=True)
class Flow:
    """The commonest changed answers of one cell against the base."""

    title: str
    note: str
    row: int
    col: int
    rows: tuple[FlowRow, ...]


@dataclass(frozen=True)
class Step:
    """A checkpoint as the heading of a narrow column."""

    title: str
    hint: str
    first_of_method: bool


@dataclass(frozen=True)
class Span:
    """A method as the heading of its steps."""

    title: str
    span: int


@dataclass(frozen=True)
class Square:
    """One class at one checkpoint."""

    text: str
    hint: str
    shade: int
    first_of_method: bool


@dataclass(frozen=True)
class HeatRow:
    """One class through all checkpoints."""

    label: str
    n: int
    squares: tuple[Square, ...]


@dataclass(frozen=True)
class Heat:
    """The classes of one task, most forgotten first."""

    title: str
    col: int
    tuned: bool
    methods: tuple[Span, ...]  # empty when checkpoints have no common names
    steps: tuple[Step, ...]
    rows: tuple[HeatRow, ...]
    note: str


class Changes:
    """Flows and class changes of an audit, kept once computed."""

    def __init__(self, audit: Audit) -> None:
        self.audit = audit
        self.classes = cache(self._classes)
        self.flows = cache(self._flows)

    def _classes(self, row: int, reference: int, col: int) -> list[ClassChange]:
        """Classes of column `col` at `row` against `reference`, most forgotten first."""
        before, now = self.audit.run(reference, col), self.audit.run(row, col)
        if before is None or now is None or not has_classes(before):
            return []
        return sorted(per_class(before, now), key=lambda change: -change.difference)

    def _flows(self, row: int, reference: int, col: int) -> list[AnswerFlow]:
        """Flows of column `col` from `reference` to `row`, by true class."""
        before, now = self.audit.run(reference, col), self.audit.run(row, col)
        return [] if before is None or now is None else answer_flow(before, now)


def has_classes(run: Run) -> bool:
    """Whether targets are classes, shared by several samples. A caption is a target of its own."""
    targets = [record.sample.target for record in run.records]
    return not has_episodes(run) and bool(targets) and 2 * len(set(targets)) <= len(targets)


def merged(flows: Sequence[AnswerFlow], most: int) -> tuple[list[FlowRow], int]:
    """The commonest changes of answer over all true classes, and how many samples the rows left out hold."""
    tally: dict[tuple[str, str], list[int]] = {}
    for flow in flows:
        if flow.before != flow.after:
            entry = tally.setdefault((flow.before, flow.after), [0, 0])
            entry[0] += flow.count
            entry[1] += flow.right_after
    ranked = sorted(tally.items(), key=lambda item: (-item[1][0], item[0]))
    largest = ranked[0][1][0] if ranked else 1
    shown = [
        FlowRow(
            printable(before[:120]),
            printable(now[:120]),
            n,
            "yes" if right == n else "some" if right else "no",
            n / largest,
        )
        for (before, now), (n, right) in ranked[:most]
    ]
    return shown, sum(n for _, (n, _) in ranked[most:])


def flows(changes: Changes, most_cells: int = 12, most_rows: int = 5) -> list[Flow]:
    """The worst real drops at the last checkpoint of every method: what was said, what is said now."""
    audit = changes.audit
    last = {row for line in lines(audit.matrix.rows) for row in line.ends}
    drops = [
        (drop.difference, cell)
        for cell, drop in audit.base.items()
        if cell[0] in last
        and not has_episodes(audit.run(*cell))
        and audit.tuned.get(cell[0]) != cell[1]
        and drop.verdict == "forgotten"
    ]
    found = []
    for _, (row, col) in sorted(drops, key=lambda item: (-item[0], item[1]))[:most_cells]:
        rows, rest = merged(changes.flows(row, 0, col), most_rows)
        changed = sum(line.n for line in rows) + rest
        title = printable(f"{audit.rows[row]} on {audit.cols[col]}")
        note = f"{count(changed)} of {count(audit.base[row, col].n)} answers changed"
        found.append(Flow(title, note, row, col, tuple(rows)))
    return [flow for flow in found if flow.rows]


def heats(changes: Changes, most: int) -> list[Heat]:
    """Every task's classes through all checkpoints, for tasks whose samples have a class."""
    found = [_heat(changes, col, most) for col in range(len(changes.audit.cols))]
    return [heat for heat in found if heat is not None]


def _heat(changes: Changes, col: int, most: int) -> Heat | None:
    audit = changes.audit
    by_row = {
        row: {change.label: change for change in changes.classes(row, 0, col)}
        if (row, col) in audit.base
        else {}
        for row in range(1, len(audit.rows))
    }
    totals: dict[str, float] = {}
    for by_label in by_row.values():
        for label, change in by_label.items():
            totals[label] = totals.get(label, 0.0) + (change.difference if change.n else 0.0)
    if len(totals) < 2:
        return None
    labels = sorted(totals, key=lambda label: (-totals[label], label))
    methods, steps = _headings(audit)
    firsts = firsts_of_methods(audit)
    return Heat(
        printable(audit.cols[col]),
        col,
        set(audit.tuned.values()) == {col},
        methods,
        steps,
        tuple(_heat_row(by_row, label, firsts) for label in labels[:most]),
        f"The {most} most forgotten of {count(len(labels))} classes." if len(labels) > most else "",
    )


def _headings(audit: Audit) -> tuple[tuple[Span, ...], tuple[Step, ...]]:
    """Methods above their steps; only when every method's rows stand together."""
    ways = lines(audit.matrix.rows)
    together = all(way.rows == tuple(range(way.rows[0], way.rows[-1] + 1)) for way in ways)
    named = together and all(way.method for way in ways)
    titles = dict(enumerate(audit.rows))
    if named:
        titles.update({row: step for way in ways for row, step in zip(way.rows, way.steps)})
    firsts = firsts_of_methods(audit)
    steps = [
        Step(printable(titles[row]), printable(name), row in firsts)
        for row, name in enumerate(audit.matrix.rows)
    ]
    ordered = sorted(ways, key=lambda way: way.rows)
    spans = tuple(Span(printable(way.method), len(way.rows)) for way in ordered) if named else ()
    return spans, tuple(steps)


def _heat_row(by_row: dict[int, dict[str, ClassChange]], label: str, firsts: set[int]) -> HeatRow:
    known = [(row, by_label[label]) for row, by_label in by_row.items() if label in by_label]
    first = known[0][1]
    squares = [Square(percent(first.before, 0), f"base {percent(first.before)}, n {first.n}", 0, False)]
    for row, by_label in by_row.items():
        change = by_label.get(label)
        if change is None or not change.n:
            squares.append(Square("", "no result", 0, row in firsts))
            continue
        hint = f"n {change.n}, lost {change.lost}, gained {change.gained}: {change.verdict}"
        shade = shade_of(change.difference)
        squares.append(Square(percent(change.after, 0), hint, shade, row in firsts))
    return HeatRow(printable(label), first.n, tuple(squares))
