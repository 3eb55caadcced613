"""A checkpoint is asked the samples of a task; each output gets scores; a run keeps all of them.

Everything here can be killed and run again: what was finished is read back, only the rest is asked. A finished run
makes no model call and does not even load weights, because a model's `name` and `digest` are known without them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

from keepsight.errors import UsageError, redacted
from keepsight.ranks import ALONE, RankFailed, RankLost, Ranks, deal
from keepsight.scoring.forgetting import forgetting
from keepsight.scoring.metrics import mean_score
from keepsight.store import Identity, RunWriter, Store, StoreError, is_final, sample_hash, write_matrix
from keepsight.types import (
    VLM,
    Described,
    KeepsightError,
    Metric,
    MetricValue,
    Output,
    ResultMatrix,
    Run,
    Sample,
    Score,
    Scorer,
    Task,
)

__all__ = [
    "Limit",
    "Progress",
    "allowed_errors",
    "audit",
    "evaluate",
    "evaluate_all",
    "rescore",
    "rescored",
    "select",
    "unanswered",
]

Limit = int | float | str | None
# (what is being done, finished so far, of how many); called from the evaluating thread.
Progress = Callable[[str, int, int], None]

_SCORED_AT_ONCE = 256  # a judge that asks a model keeps at least its finished chunks when killed


def select(samples: Sequence[Sample], limit: Limit) -> list[Sample]:
    """The part of `samples` that `limit` names.

    Args:
        samples: a task's samples, in order.
        limit: None for all; a number for the first so many; a share (0 < share <= 1 with a decimal point) for the
            first part; "10-20" for the tenth to the twentieth, counted from 1, both included.

    Raises:
        UsageError: the limit is none of these.
        KeepsightError: it names no sample.
    """
    chosen = list(samples)[_slice(limit, len(samples))]
    if not chosen:
        raise KeepsightError(f"limit {limit!r} leaves nothing of {len(samples)} samples; use a larger one")
    return chosen


def _slice(limit: Limit, n: int) -> slice:
    if limit is None:
        return slice(None)
    if isinstance(limit, str):
        first, dash, last = limit.partition("-")
        try:
            if not dash:
                return _slice(float(limit) if "." in limit else int(limit), n)
            if 1 <= int(first) <= int(last):
                return slice(int(first) - 1, int(last))
        except ValueError:
            pass
    elif isinstance(limit, float) and 0 < limit <= 1:
        return slice(math.ceil(n * limit))
    elif isinstance(limit, int) and limit >= 1 and limit is not True:
        return slice(limit)
    raise UsageError(f"limit {limit!r} is not a number (10), a share (0.1) or a range (10-20)")


def evaluate(
    model: VLM,
    task: Task,
    store: Store,
    *,
    limit: Limit = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
    fail_on_error: bool | float | None = None,
    ranks: Ranks = ALONE,
) -> Run:
    """Asks `model` what it has not answered yet, lets every scorer of the task score, and returns the run.

    Args:
        model: only `name` and `digest` are read when everything is answered already.
        task: its headline scorer and its judges all score the same outputs.
        store: where the run lies; running again resumes it.
        limit: see `select`.
        batch_size: passed to the model; never changes an answer.
        progress: called as `(what, done, total)`.
        fail_on_error: stop when so many samples failed: True at the first, a share (below 1) of the samples, or a
            count. By default no failed sample stops the others; each is recorded, and asked again by the next call.
        ranks: the processes that share the work (`keepsight.ranks.join`); all of them call this, each asks its part,
            the first one scores, and each gets the run. `progress` is then told of the first one's part.

    Raises:
        KeepsightError: too many samples failed; another process writes this run; sample ids repeat; one of the ranks
            failed, which is named.
    """
    questions = _Questions.of(task, limit)
    return _Cell(model, questions, store, batch_size, progress or _silent, fail_on_error, ranks).run()


@dataclass(frozen=True)
class _Questions:
    """The chosen samples of a task and what they are; made once for all models of an audit."""

    task: Task
    limit: Limit
    samples: tuple[Sample, ...]
    hashes: tuple[str, ...]

    @classmethod
    def of(cls, task: Task, limit: Limit) -> _Questions:
        there = task.test()
        if not there:
            raise KeepsightError(f"task {task.name} has no samples; there is nothing to ask")
        samples = tuple(select(there, limit))
        seen: set[str] = set()
        for sample in samples:
            if sample.id in seen:
                raise KeepsightError(
                    f"task {task.name} has two samples with id {sample.id!r}; ids must be unique"
                )
            seen.add(sample.id)
        return cls(task, limit, samples, tuple(sample_hash(sample) for sample in samples))

    def asked_of(self, model: VLM) -> Identity:
        """What a run of these questions on `model` is."""
        return Identity(
            checkpoint=model.name,
            checkpoint_digest=model.digest,
            task=self.task.name,
            task_version=self.task.version,
            sample_hashes=self.hashes,
            inference=dict(self.task.infer.settings),
        )


@dataclass
class _Cell:
    """One model's answers to one task's questions in the making, by one rank or by several.

    The first rank opens the run and says what is left to ask, each asks its part, the first one merges and scores.
    """

    model: VLM
    questions: _Questions
    store: Store
    batch_size: int | None
    report: Progress
    fail_on_error: bool | float | None
    ranks: Ranks
    finished: Run | None = None  # of the first rank, if there is nothing to do
    writer: RunWriter | None = None  # of the first rank, if there is

    def run(self) -> Run:
        """The finished run, in every rank."""
        ranks, samples = self.ranks, self.questions.samples
        self._require_same_question()
        with ExitStack() as closing:
            path, pending = ranks.first(partial(self._open, closing))
            if pending is not None:
                shares = deal([samples[place] for place in pending], ranks.size)
                places = [[pending[i] for i in share] for share in shares]
                outcomes = ranks.outcomes(partial(self._answer, self.store.root / path, places))
                # Before a failure is raised: what the other ranks answered stays.
                merged = ranks.first(self._merge)
                self._require_complete(ranks.settle(outcomes), merged)
                ranks.first(self._score)
        return self.finished or self.store.load_run(self.store.root / path)

    @cached_property
    def identity(self) -> Identity:
        return self.questions.asked_of(self.model)

    @cached_property
    def allowed(self) -> float:
        return allowed_errors(self.fail_on_error, len(self.questions.samples))

    def _require_same_question(self) -> None:
        """Answers to different questions, or of different weights, must not be mixed."""
        told = self.ranks.all(lambda: [self.identity.checkpoint_digest, self.identity.fingerprint])
        for rank, (checkpoint, fingerprint) in enumerate(told):
            if fingerprint != told[0][1]:
                what = "another model" if checkpoint != told[0][0] else "other samples"
                raise KeepsightError(
                    f"{self.questions.task.name}: rank {rank} has {what} than rank 0; give all the same files"
                )

    def _open(self, closing: ExitStack) -> tuple[str, list[int] | None]:
        """The run's directory below the store, and the places that are left to ask; None if it is finished."""
        task, samples = self.questions.task, self.questions.samples
        done = self.store.find_run(self.identity)
        if done is not None and _nothing_left(done, task):
            self.finished = done
            self.report(task.name, len(samples), len(samples))
            return self._below_store(done.path), None
        versions = {scorer.name: scorer.version for scorer in _scorers(task)}
        settings = {"limit": self.questions.limit, "batch_size": self.batch_size}
        self.writer = closing.enter_context(
            self.store.open_run(self.identity, versions, settings, task.labels)
        )
        return self._below_store(self.writer.path), _take_over(samples, self.writer)

    def _below_store(self, path: Path | None) -> str:
        assert path is not None
        return path.relative_to(self.store.root).as_posix()

    def _answer(self, path: Path, places: Sequence[Sequence[int]]) -> dict[str, int]:
        """Asks this rank's part; returns how many were answered, and how many of these with an error."""
        own = places[self.ranks.rank]
        if self.writer is not None:
            return self._generate(own, sum(map(len, places)), self.writer)
        with self.store.open_part(self.identity, path, self.ranks.rank) as writer:
            return self._generate(own, len(own), writer)

    def _generate(self, places: Sequence[int], pending: int, writer: _TakesOutputs) -> dict[str, int]:
        """Asks the samples at `places`, a part of the `pending` ones; progress is told as if all went at this pace."""
        task, samples = self.questions.task, self.questions.samples
        answered, errors = 0, 0
        self.report(task.name, len(samples) - pending, len(samples))
        asked = [samples[place] for place in places]
        for i, output, seconds in _answers(self.model, task, asked, self.batch_size):
            if output.error is None and answered == errors:
                self._describe()
            writer.add_output(places[i], asked[i], output, latency_s=seconds)
            answered += 1
            self.report(task.name, len(samples) - pending + pending * answered // len(places), len(samples))
            errors += output.error is not None
            if errors > self.allowed:
                raise KeepsightError(
                    f"{task.name}: {errors} failed, the last was {asked[i].id}: {output.error}"
                )
        return {"answered": answered, "errors": errors}

    def _describe(self) -> None:
        """What this rank's model can say of itself once it has answered; the first rank's word counts."""
        if self.writer is not None and isinstance(self.model, Described) and (about := self.model.about()):
            self.writer.describe_model({name: str(value) for name, value in about.items()})

    def _merge(self) -> dict[int, int]:
        """Rank -> answers that were found, of every rank but the first."""
        assert self.writer is not None
        return self.writer.merge_parts() if self.ranks.size > 1 else {}

    def _require_complete(self, told: Sequence[Mapping[str, int]], merged: Mapping[int, int]) -> None:
        for rank, tally in enumerate(told[1:], start=1):
            if merged.get(rank, 0) < tally["answered"]:
                raise KeepsightError(
                    f"rank {rank} answered {tally['answered']} samples and rank 0 finds {merged.get(rank, 0)} of them; "
                    "all ranks need one output path that they share"
                )
        if (errors := sum(tally["errors"] for tally in told)) > self.allowed:
            raise KeepsightError(f"{self.questions.task.name}: {errors} samples failed; see outputs.jsonl")

    def _score(self) -> None:
        assert self.writer is not None
        task, samples = self.questions.task, self.questions.samples
        for scorer in _scorers(task):
            _score(scorer, samples, self.writer, partial(self.report, f"{task.name} {scorer.name}"))
        _finish(self.writer, samples, task)


class _TakesOutputs(Protocol):
    """Where answers go: the run's writer, or one rank's journal."""

    def add_output(self, index: int, sample: Sample, output: Output, *, latency_s: float = 0.0) -> None: ...


def unanswered(model: VLM, task: Task, store: Store, *, limit: Limit = None) -> list[Sample]:
    """The samples that `evaluate` would ask now; loads no weights and writes nothing."""
    questions = _Questions.of(task, limit)
    identity = questions.asked_of(model)
    known = store.answers(identity)
    return [sample for sample in questions.samples if (sample.id, identity.request_of(sample)) not in known]


def _silent(what: str, done: int, total: int) -> None:
    return None


def _scorers(task: Task) -> tuple[Scorer, ...]:
    """Headline first. A judge that is also the headline scorer scores once."""
    return (task.score, *(judge for judge in task.judges if judge.name != task.score.name))


def _to_score(run: Run, task: Task) -> list[Scorer]:
    """The task's scorers whose word on the run is missing, or of another version."""
    versions = run.manifest["scorers"]
    return [scorer for scorer in _scorers(task) if versions.get(scorer.name) != scorer.version]


def _nothing_left(run: Run, task: Task) -> bool:
    if run.scorer != task.score.name or _to_score(run, task):
        return False
    names = [scorer.name for scorer in _scorers(task)]
    if any(
        record.output.error is not None or not record.scores.keys() >= set(names) for record in run.records
    ):
        return False
    if any(not is_final(record.scores[name]) for record in run.records for name in names):
        return False
    # A metric that was repaired since must not hide behind the old figure. repr, because nan is not equal to itself.
    samples = [record.sample for record in run.records]
    return repr(run.metrics) == repr(_measure(task.metrics, samples, run.scores()))


def _measure(
    metrics: Sequence[Metric], samples: Sequence[Sample], scores: Sequence[Score]
) -> tuple[MetricValue, ...]:
    return tuple(metric(samples, scores) for metric in metrics)


def allowed_errors(fail_on_error: bool | float | None, n: int) -> float:
    """How many of `n` samples may fail before the run stops; see `evaluate`."""
    if fail_on_error is None or fail_on_error is False:
        return math.inf
    if fail_on_error is True:
        return 0
    if not fail_on_error > 0:
        raise KeepsightError(
            f"fail_on_error is {fail_on_error}; give True, a share between 0 and 1, or a count"
        )
    return math.ceil(fail_on_error * n) - 1 if fail_on_error < 1 else int(fail_on_error) - 1


def _take_over(samples: Sequence[Sample], writer: RunWriter) -> list[int]:
    """Places of the samples without an answer, after copying what other runs of this checkpoint answered."""
    pending = [i for i, sample in enumerate(samples) if writer.answered(sample) is None]
    if not pending:
        return []
    earlier = writer.store.answers(writer.identity)
    left = []
    for i in pending:
        output = earlier.get((samples[i].id, writer.identity.request_of(samples[i])))
        if output is None:
            left.append(i)
        else:
            writer.add_output(i, samples[i], output)
    return left


def _answers(
    model: VLM, task: Task, samples: Sequence[Sample], batch_size: int | None
) -> Iterable[tuple[int, Output, float]]:
    """(place, output, seconds since the previous one), each place once. A sample is never dropped in silence."""
    readable = []
    for i, sample in enumerate(samples):
        fault = _unreadable(sample)
        if fault is None:
            readable.append(i)
        else:
            yield i, Output("", error=fault), 0.0
    if not readable:  # asking nothing could still load weights
        return
    missing = set(readable)
    before = time.perf_counter()
    for i, output in task.infer(model, [samples[i] for i in readable], batch_size=batch_size):
        now = time.perf_counter()
        if readable[i] not in missing:
            raise KeepsightError(
                f"{model.name} answered sample {samples[readable[i]].id} twice; its generate is broken"
            )
        missing.remove(readable[i])
        yield readable[i], output, now - before
        before = now
    for i in sorted(missing):
        yield i, Output("", error=f"{model.name} gave no answer"), 0.0


def _unreadable(sample: Sample) -> str | None:
    try:
        tuple(medium.sha256 for medium in sample.media)
    except KeepsightError as error:
        return str(error)
    return None


def _score(
    scorer: Scorer, samples: Sequence[Sample], writer: RunWriter, report: Callable[[int, int], None]
) -> None:
    """Scores what `scorer` has not scored yet. Nothing was generated means: unscored, whoever scores."""
    left = [sample for sample in samples if not writer.is_scored(sample, scorer.name)]
    for start in range(0, len(left), _SCORED_AT_ONCE):
        report(len(samples) - len(left) + start, len(samples))
        chunk = left[start : start + _SCORED_AT_ONCE]
        outputs = [writer.output(sample) for sample in chunk]
        writer.add_scores(scorer.name, _scores(scorer, chunk, outputs))


def _scores(scorer: Scorer, samples: Sequence[Sample], outputs: Sequence[Output]) -> dict[str, Score]:
    scores = {
        sample.id: Score(math.nan, status="error", explanation=output.error)
        for sample, output in zip(samples, outputs)
        if output.error is not None
    }
    answered = [(sample, output) for sample, output in zip(samples, outputs) if output.error is None]
    if answered:
        given = scorer([sample for sample, _ in answered], [output for _, output in answered])
        if len(given) != len(answered):
            raise KeepsightError(f"scorer {scorer.name} gave {len(given)} scores for {len(answered)} outputs")
        scores |= {sample.id: score for (sample, _), score in zip(answered, given)}
    return scores


def _finish(writer: RunWriter, samples: Sequence[Sample], task: Task) -> None:
    scores = {scorer.name: writer.scores(samples, scorer.name) for scorer in _scorers(task)}
    # The headline metric is made for the headline's values; a judge beside it may give shares (a rating, an overlap).
    by_scorer = {
        name: (task.metrics[0] if name == task.score.name else mean_score)(samples, given)
        for name, given in scores.items()
    }
    writer.finish(_measure(task.metrics, samples, scores[task.score.name]), by_scorer)


def rescore(run: Run, scorer: Scorer, store: Store, *, metrics: Sequence[Metric] = (mean_score,)) -> Run:
    """Adds one scorer's word on the outputs of a finished run; nothing is generated.

    Args:
        run: a finished run of `store`.
        scorer: one the run does not have, or a new version of one it has.
        store: where the run lies.
        metrics: headline first; they replace the run's metrics only when `scorer` has the headline scorer's name.

    Raises:
        KeepsightError: the run is not finished, or another process writes it.
    """
    samples = [record.sample for record in run.records]
    with store.reopen_run(run, scorer.name, scorer.version) as writer:
        _score(scorer, samples, writer, partial(_silent, scorer.name))
        scores = {name: writer.scores(samples, name) for name in writer.scorers}
        own = scorer.name == run.scorer
        headline = _measure(metrics, samples, scores[run.scorer]) if own else writer.earlier_metrics()
        writer.finish(headline, {name: metrics[0](samples, given) for name, given in scores.items()})
    assert run.path is not None
    return store.load_run(run.path)


def rescored(run: Run, task: Task, store: Store, *, ranks: Ranks = ALONE) -> Run:
    """A finished run with the word of all the task's scorers as they are now; nothing is generated.

    For runs whose model cannot be asked any more: `evaluate` does the same for those whose model can.
    """
    for scorer in _to_score(run, task):
        path = ranks.first(partial(_rescored_path, run, scorer, store, task.metrics))
        run = store.load_run(Path(path))
    return run


def _rescored_path(run: Run, scorer: Scorer, store: Store, metrics: Sequence[Metric]) -> str:
    return str(rescore(run, scorer, store, metrics=metrics).path)


def audit(
    models: Sequence[VLM],
    tasks: Sequence[Task],
    store: Store,
    *,
    rows: Sequence[str] | None = None,
    meta: Mapping[str, Any] | None = None,
    limit: Limit = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
    fail_on_error: bool | float | None = None,
    ranks: Ranks = ALONE,
) -> ResultMatrix:
    """`evaluate_all`, then `matrix.json` in the store: the figures, and what was forgotten since the first row.

    No file is written when every cell failed: it would take the place of one that says something.
    """
    matrix = evaluate_all(
        models,
        tasks,
        store,
        rows=rows,
        meta=meta,
        limit=limit,
        batch_size=batch_size,
        progress=progress,
        fail_on_error=fail_on_error,
        ranks=ranks,
    )
    ranks.first(lambda: str(write_matrix(matrix, forgetting(matrix), store.root)) if matrix.runs else None)
    return matrix


def evaluate_all(
    models: Sequence[VLM],
    tasks: Sequence[Task],
    store: Store,
    *,
    rows: Sequence[str] | None = None,
    meta: Mapping[str, Any] | None = None,
    limit: Limit = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
    fail_on_error: bool | float | None = None,
    ranks: Ranks = ALONE,
) -> ResultMatrix:
    """Every model on every task, all tasks of a model before the next.

    A cell that fails does not lose the others: it is left out and named in `meta["failed"]` ({row, col, error}).

    Args:
        models: base first, then checkpoints in training order.
        tasks: the columns.
        store: running again with the same store resumes.
        rows: names of the rows, unique; by default the models' names.
        meta: kept with the matrix, e.g. `{"tuned_on": {row: col}}`.
        limit, batch_size, fail_on_error, ranks: as for `evaluate`, per cell.
        progress: called as `(what, done, total)` over the samples of all cells.

    Raises:
        KeepsightError: no model or task, two of one name, or a task that cannot make its samples.
    """
    rows = tuple(rows or (model.name for model in models))
    cols = tuple(task.name for task in tasks)
    _check_names("checkpoints", rows)
    _check_names("tasks", cols)
    asked = [_Questions.of(task, limit) for task in tasks]
    runs: dict[tuple[str, str], Run] = {}
    failed: list[dict[str, str]] = []
    before, total = 0, len(rows) * sum(len(questions.samples) for questions in asked)
    for row, model in zip(rows, models):
        for col, questions in zip(cols, asked):
            report = _shifted(progress or _silent, row, col, before, total)
            try:
                cell = _Cell(model, questions, store, batch_size, report, fail_on_error, ranks)
                runs[row, col] = cell.run()
            except RankLost:  # the other cells would wait for it, too
                raise
            except StoreError:  # nor could the other cells be kept; asking on would cost for nothing
                raise
            except Exception as error:  # whatever it is, it must not cost the other cells
                if isinstance(error, RankFailed) and error.kind == StoreError.__name__:
                    raise
                failed.append({"row": row, "col": col, "error": _one_line(error)})
            before += len(questions.samples)
    return ResultMatrix(rows, cols, runs, {**(meta or {}), **({"failed": failed} if failed else {})})


def _check_names(what: str, names: Sequence[str]) -> None:
    if not names:
        raise KeepsightError(f"no {what} given; keepsight audit --help shows how to name them")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise KeepsightError(f"two {what} are named {twice[0]!r}; give each its own name")


def _shifted(report: Progress, row: str, col: str, before: int, total: int) -> Progress:
    """A cell's progress as progress of the whole audit; scoring counts as done."""

    def shifted(what: str, done: int, size: int) -> None:
        generating = what == col
        report(f"{row} {what}", before + (done if generating else size), total)

    return shifted


def _one_line(error: Exception) -> str:
    text = redacted(" ".join(str(error).split()))
    return text if isinstance(error, KeepsightError) else f"{type(error).__name__}: {text}"
