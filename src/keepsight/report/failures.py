"""How answers fail: one bar per checkpoint over the kinds of the taxonomy, and the share of foreign labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from keepsight.report.comparisons import Audit
from keepsight.report.grid import firsts_of_methods
from keepsight.report.wording import count, interval, percent, printable
from keepsight.scoring.statistics import wilson
from keepsight.scoring.tables import failure_counts
from keepsight.types import Record

__all__ = ["KINDS", "FailureBar", "Failures", "Kind", "Told", "failures", "leaks"]


@dataclass(frozen=True)
class Kind:
    """A kind of answer in the taxonomy."""

    key: str
    title: str
    meaning: str


KINDS = (
    Kind("correct", "Correct", "names the true class, and only that"),
    Kind("incorrect", "Incorrect", "names one other class, or something outside the label set"),
    Kind(
        "intrinsic",
        "Intrinsic",
        "intrinsic hallucination: contradicts itself or the question, or names several classes",
    ),
    Kind(
        "extrinsic",
        "Extrinsic",
        "extrinsic hallucination: a description that cannot be checked, without a class",
    ),
    Kind("no_answer", "No answer", "empty, or nothing that answers"),
)


@dataclass(frozen=True)
class Told:
    """A figure and what hovering over it adds."""

    text: str
    hint: str = ""
    soft: str = ""


@dataclass(frozen=True)
class FailureBar:
    """One checkpoint's answers by kind, in the order of `KINDS`; those with a foreign label; all out of `n`."""

    title: str
    first_of_method: bool
    counts: tuple[int, ...]
    leaked: int
    n: int

    @property
    def shares(self) -> list[Told]:
        """Each kind in per cent with its interval."""
        return [_share(part, self.n) for part in self.counts]

    @property
    def leak(self) -> Told:
        """The share of answers that name another audited set's label."""
        return _share(self.leaked, self.n)

    def svg(self) -> str:
        """The bar: one stretch per kind; what no scorer could read is left empty."""
        root = ElementTree.Element(
            "svg", {"viewBox": "0 0 1000 15", "preserveAspectRatio": "none", "class": "stack", "role": "img"}
        )
        told = ", ".join(f"{kind.title.lower()} {part}" for kind, part in zip(KINDS, self.counts) if part)
        ElementTree.SubElement(root, "title").text = printable(f"{self.title}: {told} of {self.n}")
        start = 0.0
        for kind, part in zip(KINDS, self.counts):
            width = 1000 * part / self.n if self.n else 0.0
            if part:
                place = {"x": f"{start:.1f}", "y": "0", "height": "15", "width": f"{max(1.0, width - 2):.1f}"}
                ElementTree.SubElement(root, "rect", {**place, "data-kind": kind.key})
            start += width
        return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


@dataclass(frozen=True)
class Failures:
    """The bars of all checkpoints. `apart`: sets that any checkpoint was tuned on are left out."""

    kinds: tuple[Kind, ...]
    rows: tuple[FailureBar, ...]
    apart: bool
    note: str


def failures(audit: Audit) -> Failures | None:
    """Counts every checkpoint's answers by kind. None when no run was read by the taxonomy."""
    cols = _compared_columns(audit)
    firsts = firsts_of_methods(audit)
    bars = []
    for row, title in enumerate(audit.rows):
        runs = [run for run in (audit.run(row, col) for col in cols) if run is not None]
        records = [record for run in runs for record in run.records if "taxonomy" in record.scores]
        if not records:
            continue
        categories: Counter[str] = Counter()
        for run in runs:
            categories.update(failure_counts(run).categories)
        parts = tuple(categories[kind.key] for kind in KINDS)
        leaked = sum(bool(leaks(record)) for record in records)
        bars.append(FailureBar(title, row in firsts, parts, leaked, len(records)))
    if not bars:
        return None
    return Failures(KINDS, tuple(bars), len(cols) < len(audit.cols), _note(bars))


def leaks(record: Record) -> list[str]:
    """The sets whose labels an answer wrongly names, from the taxonomy's `leak:<set>` flags."""
    score = record.scores.get("taxonomy")
    return [tag.removeprefix("leak:") for tag in score.tags if tag.startswith("leak:")] if score else []


def _compared_columns(audit: Audit) -> Sequence[int]:
    tuned = set(audit.tuned.values())
    cols = [col for col in range(len(audit.cols)) if col not in tuned]
    return cols or range(len(audit.cols))


def _share(part: int, n: int) -> Told:
    if not n:
        return Told("–")
    low, high = wilson(part, n)
    return Told(percent(part / n), f"{count(part)} of {count(n)}, 95 % interval {interval(low, high)}")


def _note(bars: Sequence[FailureBar]) -> str:
    unread = sum(bar.n - sum(bar.counts) for bar in bars)
    left = (
        f" {count(unread)} answers could not be read or were never generated: the gap at the end of a bar."
        if unread
        else ""
    )
    return f"Shares of all answers in per cent; hover for counts and 95 % Wilson intervals.{left}"
