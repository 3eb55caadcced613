"""The audit in plain words: one sentence that names the worst, one line per method that bears it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keepsight.report.comparisons import Audit
from keepsight.report.episode_figures import told_figures
from keepsight.report.episodes import has_episodes
from keepsight.report.lineage import lines
from keepsight.report.wording import count, listed, percent, points, printable, span
from keepsight.scoring.forgetting import Drop

__all__ = ["Finding", "Part", "Verdict", "verdict"]

MOST_METHODS = 6  # lines; the matrix shows the others


@dataclass(frozen=True)
class Part:
    """A piece of a sentence; names are strong."""

    text: str
    strong: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", printable(self.text))


@dataclass(frozen=True)
class Finding:
    """One line below the headline."""

    kind: str  # forgotten | improved | no evidence
    parts: tuple[Part, ...]

    @property
    def sign(self) -> str:
        """The mark that stands before the line, as in the matrix."""
        return {"forgotten": "▼", "improved": "▲"}.get(self.kind, "○")


@dataclass(frozen=True)
class Verdict:
    """What the page says first."""

    headline: tuple[Part, ...]
    lines: tuple[Finding, ...]

    @property
    def text(self) -> str:
        """The headline as plain text."""
        return "".join(part.text for part in self.headline)


def verdict(audit: Audit) -> Verdict:
    """Speaks of the last checkpoint of every method, and of the worst drop of each."""
    ends = [row for line in lines(audit.matrix.rows) for row in line.ends]
    told = [row for row in ends if _others(audit, row)]
    told.sort(key=lambda row: _badness(_others(audit, row)), reverse=True)
    if not audit.base or not told:
        return Verdict(_nothing_compared(audit), tuple(_alone(audit)))
    findings = [finding for row in told[:MOST_METHODS] for finding in _findings(audit, row)]
    if len(told) > MOST_METHODS:
        rest = Part(f"{len(told) - MOST_METHODS} more checkpoints are in the matrix below.")
        findings.append(Finding("no evidence", (rest,)))
    return Verdict(_headline(audit, told), tuple(findings))


def _badness(drops: Sequence[Drop]) -> tuple[int, float]:
    """How many sets were forgotten, then how much was lost in all."""
    return sum(drop.verdict == "forgotten" for drop in drops), sum(drop.difference for drop in drops)


def _headline(audit: Audit, told: Sequence[int]) -> tuple[Part, ...]:
    parts: list[Part] = []
    for place, row in enumerate(told[:3]):
        drops = _others(audit, row)
        forgotten = [drop for drop in drops if drop.verdict == "forgotten"]
        others = _other_sets(audit, row, len(drops))
        parts.append(Part("; " if place else ""))
        parts.append(Part(audit.rows[row], strong=True))
        if forgotten:
            parts.append(Part(f" forgot {len(forgotten)} of {others}"))
        else:
            parts.append(Part(f" shows no evidence of forgetting on {others}"))
        if place == 0 and forgotten:
            worst = max(forgotten, key=lambda drop: drop.difference)
            parts += [
                Part(": the largest drop is "),
                Part(_title(audit, worst), strong=True),
                Part(f", {percent(worst.reference, 0)} → {percent(worst.current, 0)} %"),
            ]
        elif improved := sum(drop.verdict == "improved" for drop in drops):
            parts.append(Part(f" and improved on {improved}"))
    return (*parts, Part("."))


def _findings(audit: Audit, row: int) -> list[Finding]:
    drops = sorted(_others(audit, row), key=lambda drop: -drop.difference)
    forgotten = [drop for drop in drops if drop.verdict == "forgotten"]
    name = Part(audit.rows[row], strong=True)
    found = []
    if forgotten:
        rest = [drop for drop in drops if drop.verdict != "forgotten"]
        kept = (
            f" No evidence on {listed(_title(audit, drop) for drop in rest)}."
            if rest and len(rest) <= 8
            else ""
        )
        found.append(
            Finding(
                "forgotten",
                (name, Part(" lost most on "), *_drop_parts(audit, forgotten[0]), Part(f".{kept}")),
            )
        )
    elif drops and drops[0].difference > 0:
        parts = (
            name,
            Part(": the largest observed drop, "),
            *_drop_parts(audit, drops[0]),
            Part(", may be chance."),
        )
        found.append(Finding("no evidence", parts))
    improved = [drop for drop in drops if drop.verdict == "improved"]
    if improved:
        what = f" improved on {_other_sets(audit, row, len(improved))}, most on "
        found.append(Finding("improved", (name, Part(what), *_gain_parts(audit, improved[-1]), Part("."))))
    tuned = audit.base.get((row, audit.tuned.get(row, -1)))
    if tuned is not None:
        found.append(_tuned_finding(audit, row, tuned))
    return found


def _tuned_finding(audit: Audit, row: int, drop: Drop) -> Finding:
    moved = {"improved": "rose", "forgotten": "fell"}.get(drop.verdict, "shows no evidence of a change:")
    words = (
        f", the set it was tuned on, {moved} {percent(drop.reference)} → {percent(drop.current)}"
        f" ({_level(audit)} interval of the change {span(-drop.high, -drop.low)}, n\u00a0{count(drop.n)})."
    )
    kind = drop.verdict
    return Finding(
        kind,
        (Part(audit.rows[row], strong=True), Part(": "), Part(_title(audit, drop), strong=True), Part(words)),
    )


def _drop_parts(audit: Audit, drop: Drop) -> tuple[Part, ...]:
    words = (
        f", {percent(drop.reference)} → {percent(drop.current)}: {points(drop.difference).lstrip('+')} points lost"
        f" ({_level(audit)} corrected interval {span(drop.low, drop.high).replace('+', '')}, n\u00a0{count(drop.n)})"
    )
    return Part(_title(audit, drop), strong=True), Part(words)


def _gain_parts(audit: Audit, drop: Drop) -> tuple[Part, ...]:
    words = (
        f", {percent(drop.reference)} → {percent(drop.current)}: {points(-drop.difference)} points"
        f" ({_level(audit)} corrected interval {span(-drop.high, -drop.low)}, n\u00a0{count(drop.n)})"
    )
    return Part(_title(audit, drop), strong=True), Part(words)


def _nothing_compared(audit: Audit) -> tuple[Part, ...]:
    if not audit.matrix.runs:
        return (Part("This audit has no results: every cell failed."),)
    if len(audit.matrix.rows) < 2:
        name = Part(audit.rows[0], strong=True)
        if played := _played(audit):
            return (name, Part(" on "), *played[0], Part("."))
        return (
            Part("One checkpoint, "),
            name,
            Part(", and nothing to compare it with: add a tuned one to see what it forgot."),
        )
    return (Part("No checkpoint could be compared with "), Part(audit.rows[0], strong=True), Part("."))


def _alone(audit: Audit) -> list[Finding]:
    if len(audit.matrix.rows) < 2:
        return [Finding("no evidence", (*parts, Part("."))) for parts in _played(audit)[1:]]
    reason = audit.references[0].why_not
    return [Finding("no evidence", (Part(reason),))] if reason else []


def _played(audit: Audit) -> list[tuple[Part, ...]]:
    """What the first checkpoint makes of every environment, without the end of the sentence."""
    runs = {col: run for col in range(len(audit.cols)) if (run := audit.run(0, col)) is not None}
    return [
        (Part(audit.cols[col], strong=True), Part(f": {told_figures(run)}"))
        for col, run in runs.items()
        if has_episodes(run)
    ]


def _others(audit: Audit, row: int) -> list[Drop]:
    """A row's drops against the base on the sets that it was not tuned on."""
    return [drop for (r, c), drop in audit.base.items() if r == row and audit.tuned.get(row) != c and drop.n]


def _other_sets(audit: Audit, row: int, n: int) -> str:
    other = "other " if row in audit.tuned else ""
    return f"{n} {other}set" if n == 1 else f"{n} {other}sets"


def _title(audit: Audit, drop: Drop) -> str:
    return audit.cols[audit.matrix.cols.index(drop.col)]


def _level(audit: Audit) -> str:
    return f"{100 * audit.level:.3g}\u00a0%"
