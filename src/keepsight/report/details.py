"""Everything the page's script reads: the figures of every cell, every comparison, the gallery, as JSON values.

Numbers travel as numbers and text as text; the script only writes text nodes, so nothing here needs escaping but
the end of the script element (see `page.py`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keepsight.report.changes import Changes, has_classes, merged
from keepsight.report.comparisons import Audit
from keepsight.report.curves import is_share
from keepsight.report.episode_figures import episode_figures
from keepsight.report.episodes import has_episodes
from keepsight.report.failures import KINDS
from keepsight.report.gallery import Caps, Gallery, headline_values
from keepsight.report.grid import SHADES
from keepsight.report.wording import printable
from keepsight.scoring.forgetting import Drop
from keepsight.scoring.tables import ClassChange, failure_counts, leak_table
from keepsight.types import MetricValue, Run

__all__ = ["page_data"]


def page_data(audit: Audit, changes: Changes, gallery: Gallery, caps: Caps, page: Path) -> dict[str, Any]:
    """The JSON of one page. `page` is where it will lie: links to run directories are relative to it."""
    cells = [(row, col) for row in range(len(audit.rows)) for col in range(len(audit.cols))]
    failed = audit.failures()
    return {
        "rows": [
            {"name": printable(n), "title": printable(t)} for n, t in zip(audit.matrix.rows, audit.rows)
        ],
        "cols": [
            {"name": printable(name), "title": printable(title), "share": is_share(audit.matrix, col)}
            for col, (name, title) in enumerate(zip(audit.matrix.cols, audit.cols))
        ],
        "tuned": audit.tuned,
        "level": audit.level,
        "shades": SHADES,
        "kinds": {kind.key: {"title": kind.title, "meaning": kind.meaning} for kind in KINDS},
        "references": {r.key: {"label": r.label, "why_not": printable(r.why_not)} for r in audit.references},
        "cells": {
            f"{row}.{col}": _cell(run, caps, page)
            if (run := audit.run(row, col))
            else _missing(failed.get((row, col)))
            for row, col in cells
        },
        "drops": {
            reference.key: {
                f"{row}.{col}": _drop(audit, drop) for (row, col), drop in reference.drops.items()
            }
            for reference in audit.references
        },
        "changes": {
            f"{row}.{col}.{other}": _change(changes, row, other, col, caps)
            for row, col in cells
            for other in audit.reference_rows(row, col)
        },
        "lost_by_any": {
            reference.key: _lost_by_any(audit, reference.drops) for reference in audit.references
        },
        "caps": {"lost": caps.lost, "gained": caps.gained, "disputed": caps.disputed},
        "samples": gallery.samples,
        "texts": gallery.texts,
        "pictures": gallery.album.uris,
        "picture_notes": {place: printable(note) for place, note in enumerate(gallery.album.notes) if note},
    }


def _cell(run: Run, caps: Caps, page: Path) -> dict[str, Any]:
    counts, played = failure_counts(run), has_episodes(run)
    leaks = leak_table(run, top=3) if has_classes(run) else []
    manifest = run.manifest
    facts = {
        "status": manifest.get("status"),
        "checkpoint": str(manifest.get("checkpoint_digest", ""))[:12],
        "samples": str(manifest.get("samples_digest", ""))[:12],
        "task_version": manifest.get("task_version"),
        "scorer": manifest.get("scorer"),
    }
    return {
        "metrics": [_metric(metric) for metric in run.metrics],
        "n": counts.n,
        "categories": {kind: n for kind, n in counts.categories.items() if n},
        "flags": {printable(flag): n for flag, n in sorted(counts.flags.items(), key=lambda item: -item[1])},
        "statuses": {status: n for status, n in counts.statuses.items() if status != "ok"},
        "leaks": [
            {
                "truth": printable(row.truth[:120]),
                "n": row.n,
                "answers": [[printable(a.answer[:120]), a.count] for a in row.answers],
                "others": row.others,
            }
            for row in leaks[: caps.rows * 2]
        ],
        "figures": [[each.name, each.value, each.ends, each.n] for each in episode_figures(run)]
        if played
        else [],
        "leaks_left": max(0, len(leaks) - caps.rows * 2),
        "facts": {name: printable(str(value)) for name, value in facts.items() if value},
        "path": _link(run.path, page),
    }


def _missing(error: str | None) -> dict[str, Any]:
    return {"missing": printable(error or "this cell has no run")}


def _metric(metric: MetricValue) -> dict[str, Any]:
    return {
        "name": printable(metric.name),
        "value": _number(metric.value),
        "low": _number(metric.low),
        "high": _number(metric.high),
        "n": metric.n,
        "total": metric.total,
        "not_ok": dict(metric.not_ok),
    }


def _drop(audit: Audit, drop: Drop) -> dict[str, Any]:
    return {
        "from": audit.matrix.rows.index(drop.reference_row),
        "before": _number(drop.reference),
        "now": _number(drop.current),
        "difference": _number(drop.difference),
        "low": _number(drop.low),
        "high": _number(drop.high),
        "p": _number(drop.p, 6),
        "adjusted": _number(drop.p_adjusted, 6),
        "n": drop.n,
        "lost": drop.lost,
        "gained": drop.gained,
        "unpaired": drop.unpaired,
        "method": drop.method,
        "level": round(drop.level, 6),
        "verdict": drop.verdict,
    }


def _change(changes: Changes, row: int, other: int, col: int, caps: Caps) -> dict[str, Any]:
    shown, left = merged(changes.flows(row, other, col), caps.rows)
    classes = changes.classes(row, other, col)
    return {
        "flow": [[line.before, line.now, line.n, line.right] for line in shown],
        "flow_left": left,
        "classes": [_class(change) for change in classes[: caps.rows * 2]],
        "classes_left": max(0, len(classes) - caps.rows * 2),
    }


def _class(change: ClassChange) -> list[Any]:
    return [
        printable(change.label[:120]),
        change.n,
        _number(change.before),
        _number(change.after),
        change.lost,
        change.gained,
        change.verdict,
    ]


def _lost_by_any(audit: Audit, drops: Mapping[tuple[int, int], Drop]) -> list[int]:
    """Per column, how many pictures at least one checkpoint lost against its reference."""
    values = {cell: headline_values(run) for cell in _cells(audit) if (run := audit.run(*cell)) is not None}
    lost: list[set[str]] = [set() for _ in audit.cols]
    for (row, col), drop in drops.items():
        before = values[audit.matrix.rows.index(drop.reference_row), col]
        lost[col].update(key for key, value in values[row, col].items() if before.get(key, math.nan) > value)
    return [len(keys) for keys in lost]


def _cells(audit: Audit) -> list[tuple[int, int]]:
    return [(row, col) for row in range(len(audit.rows)) for col in range(len(audit.cols))]


def _number(value: float, digits: int = 4) -> float | None:
    return round(value, digits) if math.isfinite(value) else None


def _link(path: Path | None, page: Path) -> str:
    """A run directory as seen from the page; "" when it lies elsewhere, since the page may travel."""
    if path is None:
        return ""
    relative = os.path.relpath(path.resolve(), page.resolve().parent)
    return "" if relative.startswith("..") else Path(relative).as_posix()
