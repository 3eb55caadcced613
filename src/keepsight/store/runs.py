"""Runs on disk: `<root>/runs/<checkpoint>-<digest>/<task>-<fingerprint>/`, media in `<root>/media/`.

A run directory holds manifest.json, outputs.jsonl, scores.jsonl and results.json (see schema.py). Generating and
scoring are two files, so that answers are made once and scored as often as wanted.
"""

from __future__ import annotations

import gc
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import cache, cached_property
from pathlib import Path
from types import TracebackType
from typing import Any
from weakref import WeakValueDictionary

from keepsight.errors import redacted
from keepsight.store.files import Journal, Lock, StoreError, read_document, read_rows, replace_file
from keepsight.store.media import put_media
from keepsight.store.parts import PartWriter, part_files, read_part
from keepsight.store.replies import JudgeReplies
from keepsight.store.rows import (
    Identity,
    fingerprint_of,
    is_final,
    metric_of,
    metric_row,
    output_of,
    output_row,
    row_fault,
    sample_hash,
    sample_of,
    score_of,
    score_row,
)
from keepsight.store.schema import SCHEMA_VERSION, Manifest, OutputRow, Results, ScoreRow
from keepsight.types import (
    KeepsightError,
    Media,
    MetricValue,
    Output,
    Record,
    Run,
    RunStatus,
    Sample,
    Score,
    digest_of,
)

__all__ = ["RunWriter", "Store", "load_run", "load_runs"]

_MOST_NAMED = 8  # runs in a message
_FILES = ("manifest.json", "outputs.jsonl", "scores.jsonl", "results.json")
_LIBRARIES = ("keepsight", "torch", "transformers", "tokenizers", "accelerate", "peft", "numpy", "pillow")


def _slug(name: str) -> str:
    """A readable part of a directory name: the end of a long name tells more than its beginning."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", name)[-40:].strip("-.") or "unnamed"


class Store:
    """All runs below one directory."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    @cached_property
    def judge_replies(self) -> JudgeReplies:
        """What judges said of answers in this store."""
        return JudgeReplies(self.root)

    def run_dir(self, identity: Identity) -> Path:
        """Where the run of this identity lies. A checkpoint keeps its directory when it is given another name."""
        short = identity.checkpoint_digest[:8]
        runs = self.root / "runs"
        known = sorted(runs.glob(f"*-{short}")) if os.path.isdir(runs) else []
        checkpoint = known[0] if known else runs / f"{_slug(identity.checkpoint)}-{short}"
        return checkpoint / f"{_slug(identity.task)}-{identity.fingerprint[:8]}"

    def open_run(
        self,
        identity: Identity,
        scorers: Mapping[str, str],
        settings: Mapping[str, Any],
        labels: Sequence[str] = (),
    ) -> RunWriter:
        """Opens the run for writing, new or where it was left.

        Args:
            identity: what the run answers.
            scorers: name -> version of the scorers that will be used, the headline scorer first.
            settings: what is worth recording but cannot change an answer (limit, batch size).
            labels: the task's closed label set, if it has one.

        Raises:
            KeepsightError: another process is writing it, or a file in it is damaged.
        """
        now = _now()
        manifest = Manifest(
            status="started",
            fingerprint=identity.fingerprint,
            checkpoint=identity.checkpoint,
            checkpoint_digest=identity.checkpoint_digest,
            task=identity.task,
            task_version=identity.task_version,
            samples_digest=identity.samples_digest,
            n_samples=len(identity.sample_hashes),
            inference=dict(identity.inference),
            seeds={"generate": seed} if isinstance(seed := identity.inference.get("seed"), int) else {},
            scorer=next(iter(scorers)),
            scorers=dict(scorers),
            settings=dict(settings),
            labels=list(labels),
            libraries=_library_versions(),
            command=_command(),
            created=now,
            updated=now,
        )
        return RunWriter(self, identity, self.run_dir(identity), manifest)

    def reopen_run(self, run: Run, scorer: str, version: str) -> RunWriter:
        """Opens a finished run to add one scorer's scores, or those of a new version of one it has.

        It stays finished as it was until `finish`: scoring that fails or is killed takes nothing away. A kill within
        `finish` is made good too.

        Raises:
            KeepsightError: the run is not finished, or not in this store.
        """
        manifest = Manifest.model_validate(run.manifest)
        complete = {
            name: known
            for name, known in manifest.scorers.items()
            if all(name in record.scores for record in run.records)
        }
        answered = len(run.records) == manifest.n_samples and manifest.scorer in {*complete, scorer}
        if run.path is None or not answered or not os.path.exists(run.path / "results.json"):
            raise KeepsightError(
                f"run {run.path} is not finished ({manifest.status}); finish it before scoring it"
            )
        identity = Identity(
            checkpoint=manifest.checkpoint,
            checkpoint_digest=manifest.checkpoint_digest,
            task=manifest.task,
            task_version=manifest.task_version,
            sample_hashes=tuple(sample_hash(record.sample) for record in run.records),
            inference=manifest.inference,
        )
        scorers = manifest.model_copy(update={"scorers": {**complete, scorer: version}})
        return RunWriter(self, identity, run.path, scorers, finished=True)

    def open_part(self, identity: Identity, path: Path, rank: int) -> PartWriter:
        """Opens a journal for the answers of one rank in a run directory that another process writes.

        Raises:
            KeepsightError: the directory is not there.
        """
        return PartWriter(self.root, identity, path, rank)

    def answers(self, identity: Identity) -> dict[tuple[str, str], Output]:
        """(sample id, request) -> answer, from all runs of this checkpoint on this task: other limits, other labels.

        Not of another version of the task: it may ask in another way, which no request shows.
        The id is part of the key because sampled decoding draws one random stream per sample id.
        """
        found: dict[tuple[str, str], Output] = {}
        for path in sorted(self.run_dir(identity).parent.glob(f"{_slug(identity.task)}-*")):
            rows = [
                row
                for row in _answered_rows(path)
                if row.error is None and row.task_version == identity.task_version
            ]
            found |= {(row.doc_id, row.request_hash): output_of(self.root, row) for row in rows}
        return found

    def seconds_per_answer(self, task: str) -> float | None:
        """How long an answer took so far: on this task if it was ever asked here, else on any; None if nothing was."""
        seconds: dict[bool, list[float]] = {True: [], False: []}
        for path in self.runs():
            for row in read_rows(path / "outputs.jsonl", OutputRow):
                seconds[row.task == task].append(row.latency_s)
        known = seconds[True] or seconds[False]
        return sum(known) / len(known) if known else None

    def find_run(self, identity: Identity) -> Run | None:
        """The finished run of this identity, or None."""
        path = self.run_dir(identity)
        if not os.path.exists(path / "manifest.json"):
            return None
        run = _loaded(path)
        done = run.manifest["status"] == "success" and run.manifest["fingerprint"] == identity.fingerprint
        return run if done and not _gap(run) else None

    def load_run(self, path: str | Path) -> Run:
        """See `keepsight.store.load_run`."""
        return load_run(path)

    def runs(self) -> list[Path]:
        """The run directories, sorted."""
        if not os.path.isdir(self.root):
            return []
        return sorted(path.parent for path in self.root.glob("runs/*/*/manifest.json"))

    def put_media(self, media: Media) -> Path:
        """Stores the bytes once by content and returns where they lie."""
        return self.root / "media" / put_media(self.root, media)


class RunWriter:
    """The one writer of a run directory, used as a context manager.

    Leaving it without `finish` marks the run: cancelled after an interrupt, error after any other exception. Whatever
    was added stays and is found by the next writer. A run that was `finished` before is left so.
    """

    def __init__(
        self, store: Store, identity: Identity, path: Path, manifest: Manifest, *, finished: bool = False
    ) -> None:
        self.store = store
        self.identity = identity
        self.path = path
        self._manifest = manifest
        self._finished = finished

    def __enter__(self) -> RunWriter:
        self._lock = Lock(self.path)
        try:
            self._open()
        except BaseException:
            self._lock.release()
            raise
        return self

    def _open(self) -> None:
        before = self.path / "manifest.json"
        if os.path.exists(before):
            known = read_document(before, Manifest)
            if known.fingerprint != self._manifest.fingerprint:
                raise KeepsightError(f"{self.path} holds another run; remove it or use another --output_path")
            kept = {"created": known.created, "model": known.model}
            self._manifest = self._manifest.model_copy(update=kept)
        self._outputs = Journal(self.path / "outputs.jsonl")
        self._scores = Journal(self.path / "scores.jsonl")
        self._rows = _last_rows(self.path)
        self.merge_parts()
        self._score_rows = _fitting_scores(self.path, self._rows, self._manifest.scorers)
        if not self._finished:
            self._set_status("started")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._close(error)
        except StoreError:  # a full disk must not hide what went wrong first
            if error is None:
                raise
        finally:  # nor keep the next writer out
            self._lock.release()

    def _close(self, error: BaseException | None) -> None:
        try:
            self._outputs.close()
        finally:
            self._scores.close()
        if self._finished:
            return
        if isinstance(error, KeyboardInterrupt):
            self._set_status("cancelled", "interrupted")
        elif error is not None:
            self._set_status("error", redacted(f"{type(error).__name__}: {error}"))

    def _set_status(self, status: RunStatus, error: str | None = None) -> None:
        self._manifest = self._manifest.model_copy(
            update={"status": status, "error": error, "updated": _now()}
        )
        data = self._manifest.model_dump_json(indent=1).encode() + b"\n"
        replace_file(self.path / "manifest.json", data, durable=status != "started")

    def describe_model(self, about: Mapping[str, str]) -> None:
        """Keeps how the model computes, before its first answer; a run that is resumed elsewhere keeps the last word."""
        if dict(about) != self._manifest.model:
            self._manifest = self._manifest.model_copy(update={"model": dict(about)})
            self._set_status("started")

    @property
    def scorers(self) -> tuple[str, ...]:
        """Names of the scorers that `finish` speaks of."""
        return tuple(self._manifest.scorers)

    def earlier_metrics(self) -> tuple[MetricValue, ...]:
        """What results.json says of a run that was finished before."""
        return tuple(metric_of(row) for row in read_document(self.path / "results.json", Results).metrics)

    def answered(self, sample: Sample) -> Output | None:
        """The answer, if it is there; an error is not an answer."""
        row = self._rows.get(sample.id)
        return None if row is None or row.error is not None else output_of(self.store.root, row)

    def add_output(self, index: int, sample: Sample, output: Output, *, latency_s: float = 0.0) -> None:
        """Appends an answer. `index` is the sample's place in the identity's samples."""
        row = output_row(self.store.root, self.identity, index, sample, output, latency_s=latency_s)
        self._outputs.append(row)
        self._rows[sample.id] = row

    def merge_parts(self) -> dict[int, int]:
        """Takes over what other ranks left in journals of their own, and removes these; returns rank -> its answers.

        Killed between the two, the next writer finds a row twice and takes it once.
        """
        parts = {rank: (file, read_part(file)) for rank, file in part_files(self.path).items()}
        for _, rows in parts.values():
            for row in rows.values():
                known = self._rows.get(row.doc_id)
                if known is None or (known.error is not None and known != row):
                    self._outputs.append(row)
                    self._rows[row.doc_id] = row
        self._outputs.sync()
        for file, _ in parts.values():
            file.unlink(missing_ok=True)
        return {rank: len(rows) for rank, (_, rows) in parts.items()}

    def output(self, sample: Sample) -> Output:
        """The last thing known of this sample, be it an error."""
        return output_of(self.store.root, self._rows[sample.id])

    def is_scored(self, sample: Sample, scorer: str) -> bool:
        """Whether `scorer`, in its present version, said its last word on the present answer."""
        row = self._score_rows.get((sample.id, scorer))
        fits = row is not None and row.resp_hash == self._rows[sample.id].resp_hash
        return row is not None and fits and is_final(score_of(row))

    def scores(self, samples: Sequence[Sample], scorer: str) -> list[Score]:
        """The last scores that `scorer` gave to `samples`, all of which it has scored."""
        return [score_of(self._score_rows[sample.id, scorer]) for sample in samples]

    def add_scores(self, scorer: str, scores: Mapping[str, Score]) -> None:
        """Appends scores by sample id."""
        version = self._manifest.scorers[scorer]
        for doc_id, score in scores.items():
            row = score_row(self._rows[doc_id], scorer, version, score)
            self._scores.append(row)
            self._score_rows[doc_id, scorer] = row

    def finish(self, metrics: Sequence[MetricValue], by_scorer: Mapping[str, MetricValue]) -> None:
        """Writes results.json and marks the run a success."""
        results = Results(
            fingerprint=self.identity.fingerprint,
            checkpoint=self.identity.checkpoint,
            task=self.identity.task,
            metrics=[metric_row(metric) for metric in metrics],
            by_scorer={name: metric_row(metric) for name, metric in by_scorer.items()},
            n_errors=sum(row.error is not None for row in self._rows.values()),
            digest=_digest(self._rows, self._score_rows, self._manifest.scorers),
        )
        self._outputs.sync()  # a success on the disk must not be there before what it speaks of
        self._scores.sync()
        if self._finished:
            self._set_status("started")  # the old figures with the new scorers would look like damage
        replace_file(self.path / "results.json", results.model_dump_json(indent=1).encode() + b"\n")
        self._set_status("success")


def _digest(
    rows: Mapping[str, OutputRow],
    score_rows: Mapping[tuple[str, str], ScoreRow],
    scorers: Mapping[str, str],
) -> str:
    """Digest of all answers and scores in sample order; a run of an earlier schema keeps its own."""

    def scores_of(row: OutputRow) -> list[Any]:
        return [_digested(score_rows[row.doc_id, name]) for name in scorers]

    ordered = sorted(rows.values(), key=lambda row: row.index)
    return digest_of([[row.doc_hash, row.resp_hash, scores_of(row)] for row in ordered])


def _digested(row: ScoreRow) -> dict[str, Any]:
    """Weight and bounds count where they say something: earlier schemas had none."""
    told = row.model_dump(mode="json")
    if row.weight == 1.0:
        del told["weight"]
    if row.bounds is None:
        del told["bounds"]
    return told


def load_run(path: str | Path) -> Run:
    """Reads a run directory: samples, outputs and scores as they were, in sample order.

    Of a run that was not finished, the answered samples are returned, without metrics. A run that is still in use and
    has not changed on the disk is not read again: an audit at every epoch comes back to the runs of the epochs before.
    Raises KeepsightError when the directory is not a run, a file in it is damaged, or a finished run lacks something.
    """
    if len(held := runs_at(path)) != 1 or held[0] != Path(path):
        raise KeepsightError(_several(Path(path), held))
    run = _loaded(Path(path))
    if run.manifest["status"] == "success" and (gap := _gap(run)):
        raise KeepsightError(f"{path}: {gap}; run the same command again to complete it")
    return run


def runs_at(path: str | Path) -> list[Path]:
    """The run directories that a path stands for: all of an audit's directory, or of its `runs`; else the path itself."""
    path = Path(path)
    root = path.parent if path.name == "runs" else path
    return Store(root).runs() or [path]


def load_runs(given: Iterable[Run | str | Path]) -> list[Run]:
    """Runs as they are, run directories, and directories of audits, each of which stands for all of its runs."""
    runs: list[Run] = []
    for each in given:
        runs += [each] if isinstance(each, Run) else map(load_run, runs_at(each))
    return runs


def _several(path: Path, held: Sequence[Path]) -> str:
    more = f" and {len(held) - _MOST_NAMED} more" if len(held) > _MOST_NAMED else ""
    names = " ".join(map(str, held[:_MOST_NAMED]))
    whole = (
        f", or all: {path.parent}"
        if path.name == "runs" and os.path.exists(path.parent / "matrix.json")
        else ""
    )
    return f"{path} is no run but holds {len(held)}; give the ones you mean: {names}{more}{whole}"


def _gap(run: Run) -> str:
    """What a finished run lacks, "" if nothing."""
    asked, names = run.manifest["n_samples"], set(run.manifest["scorers"])
    if len(run.records) != asked:
        return f"outputs.jsonl holds {len(run.records)} of {asked} samples"
    for record in run.records:
        if missing := sorted(names - record.scores.keys()):
            return f"scores.jsonl has no score of {missing[0]} for sample {record.sample.id}"
    return "" if run.metrics else "results.json holds no metric"


def _loaded(path: Path) -> Run:
    key = _state_of(path)
    run = _in_use.get(key)
    if run is None:
        try:
            run = _in_use[key] = _read_run(path)
        except KeepsightError:
            if key == _state_of(path):
                raise
            return _loaded(path)  # somebody was just finishing it: half of it was read before, half after
    return run


_in_use: WeakValueDictionary[tuple[Any, ...], Run] = WeakValueDictionary()


def _state_of(path: Path) -> tuple[Any, ...]:
    return (str(path), os.path.realpath(path), *(_stamp(path / name) for name in _FILES))


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Changes when the file does: appending changes the size, replacing the inode, editing the time."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read_run(path: Path) -> Run:
    manifest = read_document(path / "manifest.json", Manifest)
    if len(path.resolve().parents) < 3 or manifest.scorer not in manifest.scorers:
        raise KeepsightError(
            f"{path} is no run directory: it must lie in OUTPUT_PATH/runs/CHECKPOINT and name its scorer"
        )
    if manifest.schema_version > SCHEMA_VERSION:
        raise KeepsightError(
            f"{path} was written by a newer keepsight (schema {manifest.schema_version}); upgrade"
        )
    if manifest.fingerprint != fingerprint_of(manifest, manifest.inference):
        raise _damaged(path, "manifest.json does not fit its fingerprint")
    with _collector_paused():
        rows = _last_rows(path)
        score_rows = _fitting_scores(path, rows, manifest.scorers)
        records = _records(path, rows, score_rows)
    if manifest.status != "success":
        return Run(manifest.model_dump(), records, (), path)
    results = read_document(path / "results.json", Results)
    run = Run(manifest.model_dump(), records, tuple(metric_of(row) for row in results.metrics), path)
    same = results.fingerprint == manifest.fingerprint
    if not same or not (_gap(run) or results.digest == _digest(rows, score_rows, manifest.scorers)):
        raise _damaged(path, "answers or scores are not those of results.json")
    return run


def _records(
    path: Path, rows: Mapping[str, OutputRow], score_rows: Mapping[tuple[str, str], ScoreRow]
) -> tuple[Record, ...]:
    root = path.resolve().parents[2]
    scores: dict[str, dict[str, Score]] = {doc_id: {} for doc_id in rows}
    for (doc_id, scorer), row in score_rows.items():
        scores[doc_id][scorer] = score_of(row)
    return tuple(
        Record(sample_of(root, row), output_of(root, row), scores[row.doc_id])
        for row in sorted(rows.values(), key=lambda row: row.index)
    )


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Nothing that is read here can be garbage, and each full collection would walk all of torch to find that out."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _last_rows(path: Path) -> dict[str, OutputRow]:
    """doc_id -> the row that counts. Raises KeepsightError when one is not as it was written."""
    rows = {row.doc_id: row for row in read_rows(path / "outputs.jsonl", OutputRow)}
    root = path.resolve().parents[2]
    for row in rows.values():
        if fault := row_fault(root, row):
            raise _damaged(path, f"outputs.jsonl, sample {row.doc_id}: {fault}")
    return rows


def _damaged(path: Path, what: str) -> KeepsightError:
    return KeepsightError(f"{path} is damaged ({what}); restore it, or remove that directory and run again")


def _answered_rows(path: Path) -> Iterator[OutputRow]:
    """The rows that count, and those that are not merged yet because the run was killed."""
    for part in part_files(path).values():
        yield from read_part(part).values()
    yield from _last_rows(path).values()


def _fitting_scores(
    path: Path, rows: Mapping[str, OutputRow], scorers: Mapping[str, str]
) -> dict[tuple[str, str], ScoreRow]:
    """The last score per sample and scorer that was given by the scorer's present version to the present answer."""

    def fitting() -> Iterator[ScoreRow]:
        for score in read_rows(path / "scores.jsonl", ScoreRow):
            row = rows.get(score.doc_id)
            if row and row.resp_hash == score.resp_hash and scorers.get(score.scorer) == score.scorer_version:
                yield score

    return {(score.doc_id, score.scorer): score for score in fitting()}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@cache
def _library_versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str] = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a machine that only reads runs need not have torch
            continue
    return found


def _command() -> str:
    """The command line of this process, with keys blotted out."""
    program = Path(sys.argv[0] or "python").name
    return redacted(shlex.join([program, *sys.argv[1:]]))
