"""Samples that cannot be learnt: found before the first step, named, counted, and left out only if that was allowed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keepsight.data.json_rows import rows_of
from keepsight.data.pictures import decode
from keepsight.evaluate import allowed_errors
from keepsight.store.files import replace_file
from keepsight.types import KeepsightError, Sample

__all__ = ["LEFT_OUT", "usable_samples"]

LEFT_OUT = "left_out.jsonl"
_SHOWN = 3  # faults named in one error


def usable_samples(
    samples: Sequence[Sample],
    bad_rows: Sequence[str],
    directory: Path,
    fail_on_error: bool | float | None,
) -> tuple[list[Sample], list[str]]:
    """The samples whose pictures can be decoded, and a line on each of the others.

    What is left out is written to `left_out.jsonl`. A run that is resumed leaves out what it left out when it began,
    without decoding everything again.

    Args:
        samples: what the data's good rows say.
        bad_rows: a line on every row that is no sample.
        directory: of the tuning run.
        fail_on_error: as for `keepsight.evaluate.evaluate`, over all rows.

    Raises:
        KeepsightError: too many cannot be used; the first few are named.
    """
    record = directory / LEFT_OUT
    begun = os.path.exists(directory / "tune.json")
    faults = _recorded(record) if begun else _unreadable(samples)
    told = [
        *bad_rows,
        *(f"sample {samples[at].id}: {why}" for at, why in faults.items() if at < len(samples)),
    ]
    total = len(samples) + len(bad_rows)
    if len(told) > allowed_errors(fail_on_error, total):
        more = f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
        raise KeepsightError(
            f"{len(told)} of {total} rows cannot be learnt: {'; '.join(told[:_SHOWN])}{more}; mend them, or leave them "
            "out with --fail_on_error false (or a share, or a count)"
        )
    if told and not begun:
        lines = [{"sample": at, "id": samples[at].id, "error": why} for at, why in faults.items()]
        lines += [{"sample": None, "id": None, "error": row} for row in bad_rows]
        replace_file(record, "".join(json.dumps(line) + "\n" for line in lines).encode())
    return [sample for at, sample in enumerate(samples) if at not in faults], told


def _unreadable(samples: Sequence[Sample]) -> dict[int, str]:
    """Place -> what is wrong with the first broken picture; a picture that many rows share is decoded once."""
    known: dict[Any, str] = {}
    found: dict[int, str] = {}
    for at, sample in enumerate(samples):
        for media in sample.media:
            key = media.path or id(media)
            if key not in known:
                known[key] = _fault(media)
            if known[key]:
                found.setdefault(at, known[key])
    return found


def _fault(media: Any) -> str:
    try:
        decode(media)
    except KeepsightError as error:
        return str(error)
    return ""


def _recorded(record: Path) -> dict[int, str]:
    if not os.path.isfile(record):
        return {}
    rows = [row for _, row in rows_of(record)]
    if not all(isinstance(row, Mapping) and type(row.get("sample")) in (int, type(None)) for row in rows):
        raise KeepsightError(f"{record} is damaged; use another --output_path")
    return {row["sample"]: str(row.get("error")) for row in rows if row.get("sample") is not None}
