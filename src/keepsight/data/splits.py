"""Which pictures are for training and which for testing, whatever the data set calls its parts."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping

from keepsight.data.labelled import Rows
from keepsight.types import KeepsightError

__all__ = ["HELD_OUT", "SPLIT_NAMES", "settle"]

# The name a data set gives a part -> what it is. "all" stands for pictures without any split.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
HELD_OUT = 0.2  # of each class, when the data set has no split of its own


def settle(name: str, parts: Mapping[str, Rows]) -> tuple[dict[str, Rows], list[str]]:
    """Training and test rows out of parts named train, val, test and all, and notes on any choice made here."""
    filled = {part: rows for part, rows in parts.items() if rows.ids}
    if not filled:
        raise KeepsightError(
            f"set {name}: no labelled pictures found; expected one folder (or label) per class"
        )
    if "test" in filled:
        return _known(filled, "test")
    if "val" in filled:
        splits, notes = _known(filled, "val")
        return splits, [*notes, "There is no test split: the validation split is asked."]
    undivided = filled.get("all") or filled["train"]
    train, test = _divided(undivided)
    note = f"No test split: {len(test.ids)} of {len(undivided.ids)} pictures are held out, chosen by name digest."
    return {"train": train, "test": test}, [note]


def _known(parts: Mapping[str, Rows], test: str) -> tuple[dict[str, Rows], list[str]]:
    splits = {"test": parts[test]}
    if "train" in parts:
        splits["train"] = parts["train"]
    unused = [f"{len(rows.ids)} {name} pictures are not used." for name, rows in parts.items()
              if name not in ("train", test)]  # fmt: skip
    return splits, unused


def _divided(rows: Rows) -> tuple[Rows, Rows]:
    """Holds out a fifth of each class, at least one picture where there are two; the same ones on every machine."""
    by_label: dict[str, list[int]] = defaultdict(list)
    for i, label in enumerate(rows.labels):
        by_label[label].append(i)
    held_out: set[int] = set()
    for members in by_label.values():
        ranked = sorted(members, key=lambda i: hashlib.sha256(rows.ids[i].encode()).digest())
        count = max(1, round(HELD_OUT * len(ranked))) if len(ranked) > 1 else 0
        held_out.update(ranked[:count])
    kept = [i for i in range(len(rows.ids)) if i not in held_out]
    return rows.part(kept), rows.part(sorted(held_out))
