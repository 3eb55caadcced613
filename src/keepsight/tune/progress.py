"""What a training loop tells while it runs: rows of train_log.jsonl and a line on the console."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keepsight.ranks import launched
from keepsight.store.files import replace_file, writing

__all__ = ["Clock", "OnProgress", "Shown", "TrainLog", "TrainProgress", "console_progress", "logged_losses"]


@dataclass(frozen=True)
class TrainProgress:
    """The loop after one optimiser step. Rates are means since the loop (re)started; tokens count whole sequences."""

    step: int
    total_steps: int
    epoch: int
    epochs: int
    loss: float  # mean over the step's answer tokens
    learning_rate: float
    grad_norm: float
    samples_per_second: float
    tokens_per_second: float
    seconds_left: float


_SECONDS_BETWEEN_LINES = 30.0
_WIDTH = 40  # of a question's name beside the bar

OnProgress = Callable[[TrainProgress], None]


@dataclass(frozen=True)
class Shown:
    """What draws: the steps, and the questions `(what, done, total)` of the audits between them (None: not shown)."""

    learning: OnProgress
    asking: Callable[[str, int, int], None] | None = None


def logged_losses(directory: Path) -> list[float]:
    """The losses that a tuning run in this directory has logged, step by step; empty where there is no log."""
    path = directory / "train_log.jsonl"
    return [float(row["loss"]) for row in _rows(path)] if os.path.exists(path) else []


class TrainLog:
    """`train_log.jsonl`: a row per logged step, appended. Rows after the step that a run resumes from are cut off."""

    def __init__(self, path: Path, resumed_step: int) -> None:
        self._path = path
        kept = [row for row in _rows(path) if row["step"] <= resumed_step] if os.path.exists(path) else []
        replace_file(path, "".join(json.dumps(row) + "\n" for row in kept).encode())

    def append(self, row: dict[str, Any]) -> None:
        """Adds one row."""
        with writing(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def _rows(path: Path) -> list[dict[str, Any]]:
    rows = []
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):  # the last line of a killed run
            break
        if not isinstance(row, dict) or type(row.get("step")) is not int:
            break
        rows.append(row)
    return rows


class Clock:
    """Counts samples and tokens over the time spent in steps: audits between them do not count."""

    def __init__(self) -> None:
        self._began = 0.0
        self._seconds = 0.0
        self._samples = 0
        self._tokens = 0
        self._steps = 0

    def begin(self) -> None:
        """A step begins."""
        self._began = time.monotonic()

    def end(self, samples: int, tokens: int) -> None:
        """It ends, having learnt from so many."""
        self._seconds += time.monotonic() - self._began
        self._samples += samples
        self._tokens += tokens
        self._steps += 1

    def rates(self, steps_left: int) -> dict[str, float]:
        """Samples and tokens per second so far, and how long the remaining steps will take at this pace."""
        seconds = max(self._seconds, 1e-9)
        return {
            "samples_per_second": self._samples / seconds,
            "tokens_per_second": self._tokens / seconds,
            "seconds_left": steps_left * seconds / max(1, self._steps),
        }


@contextmanager
def console_progress() -> Iterator[Shown]:
    """One bar on a terminal's stderr: loss, throughput and time left, or what is asked; elsewhere (a log file) a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True, quiet=not launched().is_first)
    if not console.is_terminal or console.quiet:
        yield Shown(_Lines(console))
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(None),
        TextColumn("{task.fields[figures]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True, expand=True) as bars:
        bar = bars.add_task("tuning", total=None, figures="")

        def learning(now: TrainProgress) -> None:
            bars.update(
                bar, completed=now.step, total=now.total_steps, description="tuning", figures=_figures(now)
            )

        def asking(what: str, done: int, total: int) -> None:
            name = "".join(
                mark if mark.isprintable() else " " for mark in what
            )  # a task may be a file's name
            name = name if len(name) <= _WIDTH else "…" + name[1 - _WIDTH :]  # the end tells more
            bars.update(bar, completed=done, total=total, description=name, figures=f"{done}/{total}")

        yield Shown(learning, asking)


class _Lines:
    """Prints the first step, the last one, and one every half minute between them."""

    def __init__(self, console: Any) -> None:
        self._console = console
        self._next = 0.0

    def __call__(self, now: TrainProgress) -> None:
        if now.step == now.total_steps or time.monotonic() >= self._next:
            self._next = time.monotonic() + _SECONDS_BETWEEN_LINES
            self._console.print(f"tuning {_figures(now)}", highlight=False, soft_wrap=True)


def _figures(now: TrainProgress) -> str:
    left = f"{int(now.seconds_left) // 60}:{int(now.seconds_left) % 60:02d}"
    return (
        f"epoch {now.epoch}/{now.epochs}, step {now.step}/{now.total_steps}, loss {now.loss:.3f}, "
        f"{now.samples_per_second:.1f} samples/s, {left} left"
    )
