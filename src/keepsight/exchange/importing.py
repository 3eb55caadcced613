"""Logs of other harnesses as run directories: they can then be compared, gated, shown and scored like our own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keepsight.exchange.foreign import ForeignRun
from keepsight.exchange.inspect_log import is_inspect, read_inspect
from keepsight.exchange.lm_eval import find_logs, read_lm_eval
from keepsight.scoring.forgetting import forgetting
from keepsight.scoring.metrics import mean_score
from keepsight.store import Identity, Store, sample_hash, write_matrix
from keepsight.types import KeepsightError, ResultMatrix, Run

__all__ = ["Imported", "import_logs"]


@dataclass(frozen=True)
class Imported:
    """The runs as a matrix, and what of the logs was left out."""

    matrix: ResultMatrix
    notes: tuple[str, ...]


def import_logs(
    paths: Sequence[str | Path],
    output_path: str | Path = "keepsight-out",
    *,
    names: Sequence[str] = (),
    metric: str | None = None,
    group: str | None = None,
) -> Imported:
    """Makes runs of sample logs and writes `matrix.json`; nothing is asked and nothing is scored. Repeatable.

    Args:
        paths: one per model, base first: the directory of an evaluation by lm-eval or lmms-eval (with --log_samples), its
            results file, one samples file, or a log of Inspect's as JSON (or a directory of such logs of one model).
        output_path: where the runs go.
        names: what the models are called, one per path (default: as the logs call them).
        metric: the score that differences are taken of; default: the first in the log. `exact_match,strict-match`
            names lm-eval's filter, too.
        group: a field of the logged document that samples on one picture share. Without it every sample counts as
            independent of all others, because the logs hold no pictures.

    Raises:
        KeepsightError: no log, damaged lines, no number per sample, or another number of names than of paths.
    """
    if names and len(names) != len(paths):
        raise KeepsightError(f"{len(names)} names for {len(paths)} logs; give one name per log, or none")
    logs = [_logs_of(Path(path), metric, group) for path in paths]
    rows = list(names) or _unique([found[0].name for found in logs])
    store = Store(output_path)
    runs = {(row, log.task): _as_run(log, row, store) for row, found in zip(rows, logs) for log in found}
    cols = tuple(dict.fromkeys(col for _, col in runs))
    failed = [
        {"row": row, "col": col, "error": "no log of this task"}
        for row in rows
        for col in cols
        if (row, col) not in runs
    ]
    matrix = ResultMatrix(tuple(rows), cols, runs, {"failed": failed} if failed else {})
    write_matrix(matrix, forgetting(matrix), store.root)
    notes = [
        f"{row}, {log.task}: {note}" for row, found in zip(rows, logs) for log in found for note in log.notes
    ]
    return Imported(matrix, tuple(notes))


def _logs_of(path: Path, metric: str | None, group: str | None) -> list[ForeignRun]:
    """All logs of one model."""
    if not os.path.exists(path):
        raise KeepsightError(f"no log at {path}")
    if is_inspect(path):
        return [read_inspect(path, metric, group)]
    found = [read_lm_eval(log, metric, group) for log in find_logs(path)]
    if not found and os.path.isdir(path):
        found = [
            read_inspect(file, metric, group) for file in sorted(path.rglob("*.json")) if is_inspect(file)
        ]
    if not found:
        raise KeepsightError(
            f"{path} holds no sample log (samples_TASK_DATE.jsonl, DATE_samples_TASK.jsonl, or Inspect's JSON); "
            "run the harness with --log_samples"
        )
    tasks = [log.task for log in found]
    if twice := sorted({task for task in tasks if tasks.count(task) > 1}):
        raise KeepsightError(f"{path} holds several logs of {twice[0]}; give the file of one")
    return found


def _unique(names: Sequence[str]) -> list[str]:
    """Two states of one model often have one name in their logs."""
    return [
        f"{name}#{list(names[: i + 1]).count(name)}" if list(names).count(name) > 1 else name
        for i, name in enumerate(names)
    ]


def _as_run(log: ForeignRun, row: str, store: Store) -> Run:
    """The run of a log; one that was imported before is read back."""
    identity = Identity(
        checkpoint=row,
        checkpoint_digest=log.model_digest,
        task=log.task,
        task_version=log.task_version,
        sample_hashes=tuple(sample_hash(record.sample) for record in log.records),
        inference=log.settings,
    )
    # The version tells scores of another harness, or of another version of the task, apart.
    versions = dict.fromkeys(log.scorers, f"{log.harness}-{log.task_version}")
    done = store.find_run(identity)
    if done is not None and done.manifest["scorers"] == versions and done.scorer == log.scorers[0]:
        return done
    samples = [record.sample for record in log.records]
    with store.open_run(identity, versions, {"source": log.source.name}) as writer:
        for index, record in enumerate(log.records):
            writer.add_output(index, record.sample, record.output)
        by_scorer = {}
        for name in log.scorers:
            scores = {record.sample.id: record.scores[name] for record in log.records}
            writer.add_scores(name, scores)
            by_scorer[name] = mean_score(samples, list(scores.values()))
        writer.finish([by_scorer[log.scorers[0]]], by_scorer)
    return store.load_run(writer.path)
