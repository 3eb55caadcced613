"""What is read from another harness's log before it becomes a run: its samples, answers and scores."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keepsight.types import KeepsightError, Record

__all__ = ["ForeignRun", "field_of", "json_lines", "json_object", "text_of"]


@dataclass(frozen=True)
class ForeignRun:
    """One model on one task, as another harness logged it."""

    harness: str
    model: str
    model_digest: str  # of what the log says of the model, since its weights are not at hand
    task: str
    task_version: str
    source: Path  # the file with the samples
    settings: Mapping[str, Any]  # how the answers were made
    scorers: tuple[str, ...]  # headline first
    records: tuple[Record, ...]
    notes: tuple[str, ...] = ()  # what was left out, and why

    @property
    def name(self) -> str:
        """What the model is called in tables."""
        return self.model or self.source.parent.name or "unnamed"


def json_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds one object."""
    value = _parsed(_read(path), str(path))
    if not isinstance(value, dict):
        raise KeepsightError(f"{path} holds a JSON {type(value).__name__}, not an object; is it a log?")
    return value


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, object) of every line that is not empty."""
    for number, line in enumerate(_read(path).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        value = _parsed(line, place)
        if not isinstance(value, dict):
            raise KeepsightError(f"{place}: a JSON {type(value).__name__}, not an object")
        yield place, value


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise KeepsightError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise KeepsightError(
            f"{path} is not UTF-8 (byte {error.start}); it was not written by a harness"
        ) from error


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise KeepsightError(f"{place}: not JSON ({error}); was the file cut off?") from error


def text_of(value: Any) -> str:
    """A logged value as text: strings as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def field_of(name: str, places: Sequence[Mapping[str, Any]]) -> str | None:
    """The first of `places` that has a field `name`, as text; None where none has."""
    return next((text_of(place[name]) for place in places if place.get(name) is not None), None)
