"""Answers with a person's word on them, as JSON lines: what a judge is calibrated on.

A row is `{"question", "answer", "target", "correct"}`; `correct` is true, false, or null as long as nobody has looked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keepsight.types import KeepsightError, Output, Record, Sample, digest_of

__all__ = ["Labelled", "read_labelled", "write_unlabelled"]


@dataclass(frozen=True)
class Labelled:
    """The labelled rows of a file, and how many were not labelled."""

    samples: tuple[Sample, ...]
    outputs: tuple[Output, ...]
    labels: tuple[bool, ...]
    unlabelled: int


def read_labelled(path: str | Path) -> Labelled:
    """Reads the file. Raises KeepsightError for a row that is not of the form above, or when none is labelled."""
    rows = list(_rows(Path(path).expanduser()))
    labelled = [row for row in rows if row["correct"] is not None]
    if not labelled:
        raise KeepsightError(f'{path} holds no labelled answer; write true or false for "correct"')
    return Labelled(
        tuple(
            Sample(str(row.get("id", at)), row["question"], target=tuple(_targets(row)))
            for at, row in enumerate(labelled)
        ),
        tuple(Output(row["answer"]) for row in labelled),
        tuple(row["correct"] for row in labelled),
        len(rows) - len(labelled),
    )


def write_unlabelled(path: str | Path, records: Sequence[Record], n: int, seed: int = 0) -> int:
    """Writes a random sample of records for a person to label, and returns how many.

    Every answer is as likely to be drawn, equal ones included: shares in the sample are shares in the records. The
    judge's and the scorers' words are left out, so that they lead nobody.

    Raises KeepsightError when the file exists: labels are work.
    """
    path = Path(path).expanduser()
    answered = [record for record in records if record.output.error is None]
    order = {id(record): digest_of([seed, at, record.sample.id]) for at, record in enumerate(answered)}
    chosen = sorted(answered, key=lambda record: order[id(record)])[:n]
    rows = [
        {
            "id": record.sample.id,
            "question": record.sample.prompt,
            "answer": record.output.text,
            "target": list(record.sample.target),
            "correct": None,
        }
        for record in chosen
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    except FileExistsError as error:
        raise KeepsightError(f"{path} exists and may hold labels; give another name, or remove it") from error
    except OSError as error:
        raise KeepsightError(f"{path} cannot be written: {error.strerror}; give another name") from error
    return len(rows)


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise KeepsightError(f"labelled answers {path} cannot be read: {error}") from error
    return [_row(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def _row(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise KeepsightError(f"{path}, line {number}: not a JSON object; see docs/judges.md")
    texts = all(isinstance(row.get(name), str) for name in ("question", "answer"))
    targets = _targets(row)
    if not texts or not targets or not all(isinstance(target, str) for target in targets):
        raise KeepsightError(f'{path}, line {number}: needs the texts "question", "answer" and "target"')
    if "correct" not in row or not any(row["correct"] is word for word in (True, False, None)):
        raise KeepsightError(f'{path}, line {number}: "correct" is true, false or null (not labelled yet)')
    return row


def _targets(row: dict[str, Any]) -> list[Any]:
    target = row.get("target")
    return target if isinstance(target, list) else [] if target is None else [target]
