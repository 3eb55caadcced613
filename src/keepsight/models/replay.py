"""Canned answers as a model: for tests of your own tasks and reports, and for answers made elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keepsight.data.json_rows import parsed, text_bytes
from keepsight.types import KeepsightError, Output, Sample, digest_of

__all__ = ["Replay"]


class Replay:
    """Answers from JSON lines `{"id": ..., "text": ...}` or from a mapping of sample id to text (or to such a row).

    A row may also hold `choice_logprobs`, and `request_digest`: then it answers only a sample that asks exactly that
    (`Sample.request_digest`). A sample without a row, or with another request, gets an Output with `error`.

    Attributes:
        calls: how many samples have been asked so far.
    """

    def __init__(self, answers: str | Path | Mapping[str, Any], name: str | None = None) -> None:
        if isinstance(answers, Mapping):
            self._rows = {key: _row(key, value) for key, value in answers.items()}
            self.name = name or "replay"
        else:
            self._rows = _read(Path(answers).expanduser())
            self.name = name or f"replay:{answers}"
        self.digest = digest_of(json.dumps(self._rows, sort_keys=True))  # -inf is no JSON by itself
        self.calls = 0

    def generate(
        self,
        samples: Sequence[Sample],
        *,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        batch_size: int | None = None,
    ) -> Iterator[tuple[int, Output]]:
        """Yields `(index, Output)` in order. The decoding settings change nothing: the answers are fixed."""
        for index, sample in enumerate(samples):
            self.calls += 1
            try:
                row = self._row_of(sample)
            except KeepsightError as error:
                yield index, Output(text="", error=str(error))
                continue
            yield index, Output(text=str(row["text"]), choice_logprobs=_logprobs(row), stop="eos")

    def choice_logprobs(
        self, samples: Sequence[Sample], *, reduction: str = "sum", batch_size: int | None = None
    ) -> Iterator[tuple[int, tuple[float, ...]]]:
        """Yields the rows' `choice_logprobs`.

        Raises:
            KeepsightError: a sample without a row, or a row without them.
        """
        for index, sample in enumerate(samples):
            self.calls += 1
            logprobs = _logprobs(self._row_of(sample))
            if logprobs is None:
                raise KeepsightError(f"{self.name}: the row of sample {sample.id} has no choice_logprobs")
            yield index, logprobs

    def _row_of(self, sample: Sample) -> Mapping[str, Any]:
        row = self._rows.get(sample.id)
        if row is None:
            raise KeepsightError(f"{self.name} has no answer for sample {sample.id}")
        if row.get("request_digest", sample.request_digest) != sample.request_digest:
            raise KeepsightError(f"{self.name}: the answer for sample {sample.id} belongs to another request")
        return row


def _row(key: str, value: Any) -> dict[str, Any]:
    row = dict(value) if isinstance(value, Mapping) else {"text": value}
    if not isinstance(row.get("text"), str):
        raise KeepsightError(f"replay: the answer for sample {key} has no text")
    try:
        _logprobs(row)
    except (TypeError, ValueError) as error:
        raise KeepsightError(f"replay: choice_logprobs of sample {key} are not a list of numbers") from error
    return {**row, "id": key}


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of a file of lines; one that is wrong spoils the file, because every line is somebody's answer."""
    try:
        lines = text_bytes(path).splitlines()
    except KeepsightError as error:
        raise KeepsightError(f"replay file {path}: {error}") from error
    rows: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = parsed(line)
            key = row.get("id") if isinstance(row, dict) else None
            if not isinstance(key, str):
                raise KeepsightError('not a row {"id": "...", "text": "..."}')
            if key in rows:
                raise KeepsightError(f"a second answer for sample {key}")
            rows[key] = _row(key, row)
        except KeepsightError as error:
            raise KeepsightError(f"replay file {path}, line {number}: {error}") from error
    return rows


def _logprobs(row: Mapping[str, Any]) -> tuple[float, ...] | None:
    values = row.get("choice_logprobs")
    if isinstance(values, str):
        raise TypeError
    return None if values is None else tuple(float(value) for value in values)
