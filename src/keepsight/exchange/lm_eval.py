"""Sample logs of lm-evaluation-harness and of lmms-eval, which writes them in nearly the same form.

Formats: lm_eval/loggers/evaluation_tracker.py and lm_eval/evaluator.py of EleutherAI/lm-evaluation-harness,
lmms_eval/loggers/evaluation_tracker.py of EvolvingLMMs-Lab/lmms-eval.

| | lm-eval | lmms-eval |
|---|---|---|
| figures | `results_DATE.json` | `DATE_results.json` |
| samples | `samples_TASK_DATE.jsonl` | `DATE_samples_TASK.jsonl` |
| the prompt | `arguments.gen_args_0.arg_0` | `input` |
| the raw answer | `resps` | `resps`; missing where the filter left it as it was |
| a score | a number under the metric's name | the same, or an object with a number under `score` |

`doc_hash` is not used to tell questions apart: both harnesses write a picture of the document into it as its address in
memory, so that it changes from run to run.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keepsight.exchange.foreign import ForeignRun, field_of, json_lines, json_object, text_of
from keepsight.types import KeepsightError, Output, Record, Sample, Score, digest_of

__all__ = ["find_logs", "read_lm_eval"]

_LM_EVAL_SAMPLES = re.compile(r"samples_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT[\d.-]+)\.jsonl")
_LMMS_SAMPLES = re.compile(r"(?P<date>\d{8}_\d{6})_samples_(?P<task>.+)\.jsonl")
_RESULTS = re.compile(r"results_(?P<lm>\d{4}-\d\d-\d\dT[\d.-]+)\.json|(?P<lmms>\d{8}_\d{6})_results\.json")
# What a line holds besides metrics.
_NOT_METRICS = frozenset(
    [
        "doc_id",
        "doc",
        "target",
        "arguments",
        "input",
        "resps",
        "filtered_resps",
        "filter",
        "metrics",
        "doc_hash",
        "prompt_hash",
        "target_hash",
        "token_counts",
        "task",
        "split",
        "input_text",
        "image_paths",
    ]
)


@dataclass(frozen=True)
class Log:
    """One samples file and the results file that was written with it, if it is there."""

    samples: Path
    task: str
    results: Path | None
    harness: str


def find_logs(path: Path) -> list[Log]:
    """The sample logs that `path` names: a samples file, a results file (its samples), or a directory of one evaluation.

    Raises:
        KeepsightError: none there, or two of one task, of which one would have to be guessed.
    """
    if os.path.isdir(path):
        candidates = sorted(path.rglob("*.jsonl"))
    elif (date := _results_date(path)) is not None:
        candidates = [file for file in sorted(path.parent.glob("*.jsonl")) if date in file.name]
    else:
        candidates = [path]
    logs = [log for log in map(_log_of, candidates) if log is not None]
    tasks = [log.task for log in logs]
    twice = sorted({task for task in tasks if tasks.count(task) > 1})
    if twice:
        files = ", ".join(log.samples.name for log in logs if log.task == twice[0])
        raise KeepsightError(
            f"{path} holds several logs of {twice[0]} ({files}); give the results file of one"
        )
    return sorted(logs, key=lambda log: log.task)


def _results_date(path: Path) -> str | None:
    match = _RESULTS.fullmatch(path.name)
    return match and (match["lm"] or match["lmms"])


def _log_of(path: Path) -> Log | None:
    for pattern, harness, results in (
        (_LM_EVAL_SAMPLES, "lm-eval", "results_{date}.json"),
        (_LMMS_SAMPLES, "lmms-eval", "{date}_results.json"),
    ):
        if match := pattern.fullmatch(path.name):
            beside = path.with_name(results.format(date=match["date"]))
            return Log(path, match["task"], beside if os.path.isfile(beside) else None, harness)
    return None


def read_lm_eval(log: Log, metric: str | None = None, group: str | None = None) -> ForeignRun:
    """Reads one log.

    Args:
        metric: the headline; `exact_match,strict-match` names a filter, too. Default: the first that has a number per
            sample of which more is better.
        group: a field of the logged document that samples on one picture share; they are then one cluster.

    Raises:
        KeepsightError: damaged lines, no metric with a number per sample, two answers under one id.
    """
    results = json_object(log.results) if log.results else {}
    lines = list(json_lines(log.samples))
    if not lines:
        raise KeepsightError(f"{log.samples} is empty; run the harness with --log_samples")
    lower = _lower_is_better(results, log.task)
    found = _Metrics.of([row for _, row in lines], lower)
    headline = found.headline(metric, log.samples)
    records = _records(lines, (headline, *(name for name in found.usable if name != headline)), group)
    return ForeignRun(
        harness=log.harness,
        model=str(results.get("model_name") or ""),
        model_digest=_model_digest(log),
        task=log.task,
        task_version=str(results.get("versions", {}).get(log.task, "")),
        source=log.samples,
        settings={"kind": "imported", "harness": log.harness, **_generation(results, log.task)},
        scorers=(headline, *(name for name in found.usable if name != headline)),
        records=tuple(records),
        notes=(*found.notes, *_otherwise_aggregated(results, log.task, headline, records)),
    )


def _model_digest(log: Log) -> str:
    """The model's weights are not at hand: one evaluation stands for one state of the model."""
    file = log.results or log.samples
    return digest_of(["imported", hashlib.sha256(file.read_bytes()).hexdigest()])


def _generation(results: Mapping[str, Any], task: str) -> dict[str, Any]:
    settings = results.get("configs", {}).get(task, {}).get("generation_kwargs")
    return {"generation_kwargs": settings} if isinstance(settings, dict) else {}


def _lower_is_better(results: Mapping[str, Any], task: str) -> set[str]:
    told = results.get("higher_is_better", {}).get(task, {})
    return {name for name, higher in told.items() if higher is False} if isinstance(told, dict) else set()


@dataclass(frozen=True)
class _Metrics:
    """Which metrics of a log can be used, in the order in which the log has them."""

    usable: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], lower: set[str]) -> _Metrics:
        names = dict.fromkeys((name, _scorer_name(name, row)) for row in rows for name in _metric_names(row))
        usable, notes = [], []
        for name, scorer in names:
            values = [_number(row.get(name)) for row in rows if _scorer_name(name, row) == scorer]
            if all(value is None for value in values):
                notes.append(f"{scorer} has no number per sample and was left out")
            elif name in lower:
                notes.append(f"{scorer} is better when it is lower and was left out")
            else:
                usable.append(scorer)
        return cls(tuple(usable), tuple(notes))

    def headline(self, wanted: str | None, source: Path) -> str:
        if wanted is not None and wanted not in self.usable:
            raise KeepsightError(
                f"{source} has no usable metric {wanted!r}; it has {', '.join(self.usable) or 'none'}"
            )
        if not self.usable:
            told = "; ".join(self.notes) or "it logs no metric"
            raise KeepsightError(f"{source} has no score per sample ({told}); nothing can be compared")
        return wanted or self.usable[0]


def _metric_names(row: Mapping[str, Any]) -> list[str]:
    listed = row.get("metrics")
    return (
        [str(name) for name in listed]
        if isinstance(listed, list)
        else [n for n in row if n not in _NOT_METRICS]
    )


def _scorer_name(metric: str, row: Mapping[str, Any]) -> str:
    """`metric,filter` as in the results file; the filter that does nothing is left out."""
    return metric if row.get("filter", "none") == "none" else f"{metric},{row['filter']}"


def _number(value: Any) -> float | None:
    """A per-sample score: a number or truth value, or an object that has one under `score`; None for all else."""
    if isinstance(value, Mapping):
        value = value.get("score")
    if isinstance(value, bool) or (isinstance(value, (int, float)) and math.isfinite(value)):
        return float(value)
    return None


def _records(
    lines: Sequence[tuple[str, dict[str, Any]]], scorers: Sequence[str], group: str | None
) -> list[Record]:
    """One record per document; lines of several filters are one record with several scores."""
    by_id: dict[str, Record] = {}
    for place, row in lines:
        if "doc_id" not in row:
            raise KeepsightError(f"{place}: no doc_id; this is not a sample log of lm-eval or lmms-eval")
        sample = _sample(place, row, group)
        scores = {name: score for name, score in _scores(row) if name in scorers}
        before = by_id.get(sample.id)
        if before is not None and (set(scores) & set(before.scores) or before.sample != sample):
            raise KeepsightError(f"{place}: doc_id {sample.id} comes twice")
        by_id[sample.id] = Record(
            sample, _output(row, sample), {**(before.scores if before else {}), **scores}
        )
    nothing = Score(math.nan, status="error", explanation="the log has no number for this sample")
    return [
        Record(record.sample, record.output, {name: record.scores.get(name, nothing) for name in scorers})
        for record in by_id.values()
    ]


def _sample(place: str, row: Mapping[str, Any], group: str | None) -> Sample:
    requests = _requests(row)
    choices = tuple(request[1] for request in requests if len(request) > 1) if len(requests) > 1 else ()
    return Sample(
        id=str(row["doc_id"]),
        prompt=requests[0][0] if requests and requests[0] else "",
        target=(text_of(row["target"]),) if row.get("target") not in (None, "") else (),
        choices=choices if len(choices) == len(requests) else (),
        group=None if group is None else _group(place, row, group),
    )


def _group(place: str, row: Mapping[str, Any], name: str) -> str:
    doc = row.get("doc")
    logged = [value for value in row.values() if isinstance(value, Mapping)]
    found = field_of(name, [doc if isinstance(doc, Mapping) else {}, row, *logged])
    if found is None:
        raise KeepsightError(f"{place}: no field {name!r} to group by; lmms-eval does not log the document")
    return found


def _requests(row: Mapping[str, Any]) -> list[list[str]]:
    """The texts of every request: prompt and, of a ranked choice, its continuation."""
    arguments = row.get("arguments", row.get("input", row.get("input_text")))
    if isinstance(arguments, Mapping):
        parts = [arguments[key] for key in sorted(arguments, key=_place)]
        return [
            [text_of(part[key]) for key in sorted(part, key=_place) if isinstance(part[key], str)]
            for part in parts
        ]
    if isinstance(arguments, list) and arguments and all(isinstance(part, list) for part in arguments):
        return [[text for text in part if isinstance(text, str)] for part in arguments]
    if isinstance(arguments, list):
        return [[text for text in arguments[:1] if isinstance(text, str)]]
    return [[text_of(arguments)]] if arguments is not None else []


def _place(key: str) -> int:
    """gen_args_10 comes after gen_args_9."""
    return int(key.rpartition("_")[2]) if key.rpartition("_")[2].isdigit() else 0


def _output(row: Mapping[str, Any], sample: Sample) -> Output:
    """The raw answer; of ranked choices the likeliest, with all log-probabilities."""
    said = row.get("resps") or row.get("filtered_resps") or []
    if sample.choices:
        logprobs = [_logprob(part) for part in said]
        if len(logprobs) == len(sample.choices) and all(value is not None for value in logprobs):
            known = tuple(value for value in logprobs if value is not None)
            return Output(sample.choices[known.index(max(known))], choice_logprobs=known)
    first = next(_leaves(said), None)
    return Output("", error="the log has no answer") if first is None else Output(first)


def _logprob(part: Any) -> float | None:
    """[["-1.25", "False"]] or ["-1.25", "False"]: lm-eval writes numbers as text."""
    first = next(_leaves(part), None)
    try:
        return None if first is None else float(first)
    except ValueError:
        return None


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for part in value:
            yield from _leaves(part)
    elif value is not None:
        yield text_of(value)


def _scores(row: Mapping[str, Any]) -> Iterator[tuple[str, Score]]:
    answer = next(_leaves(row.get("filtered_resps") or []), None)
    for name in _metric_names(row):
        value = _number(row.get(name))
        if value is not None:
            yield _scorer_name(name, row), Score(value, answer)


def _otherwise_aggregated(
    results: Mapping[str, Any], task: str, headline: str, records: Sequence[Record]
) -> Iterator[str]:
    """Says so where the harness's own figure is not the mean over samples (an F1, say): verdicts rest on the mean."""
    own = results.get("results", {}).get(task, {})
    figure = own.get(headline if "," in headline else f"{headline},none")
    values = [record.scores[headline].value for record in records if record.scores[headline].scored]
    mean = math.fsum(values) / len(values)
    if isinstance(figure, (int, float)) and abs(figure - mean) > 1e-6:
        yield f"{headline}: the log reports {figure:.4g}, the mean over samples is {mean:.4g}"
