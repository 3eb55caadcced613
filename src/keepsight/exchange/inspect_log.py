"""Inspect's evaluation logs (version 2 of the format, as JSON), read and written.

Format: inspect_ai.log.EvalLog, https://inspect.aisi.org.uk/eval-logs.html. `.eval` files are archives of the same;
`inspect log convert --to json` makes JSON of them. A score that could not be given is the constant NaN, as Inspect itself
writes it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keepsight.exchange.foreign import ForeignRun, field_of, json_object, text_of
from keepsight.types import KeepsightError, MetricValue, Output, Record, Run, Sample, Score, digest_of

__all__ = ["inspect_json", "is_inspect", "read_inspect"]

_GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}  # correct, partial, incorrect, no answer
_STOPS = {"eos": "stop", "stop": "stop", "length": "max_tokens"}


def is_inspect(path: Path) -> bool:
    """Whether a file's name is that of a log of Inspect's."""
    return path.suffix == ".eval" or (
        path.suffix == ".json" and os.path.isfile(path) and _looks_like_one(path)
    )


def _looks_like_one(path: Path) -> bool:
    try:
        log = json_object(path)
    except KeepsightError:
        return False
    return isinstance(log.get("eval"), dict) and "version" in log


def read_inspect(path: Path, metric: str | None = None, group: str | None = None) -> ForeignRun:
    """Reads one log.

    Args:
        metric: the headline scorer (default: the first that has a number or grade per sample).
        group: a field of the samples' metadata that samples on one picture share.

    Raises:
        KeepsightError: an archive, a damaged log, or no scorer with a number or grade per sample.
    """
    if path.suffix == ".eval":
        raise KeepsightError(f"{path} is an archive; `inspect log convert --to json` makes JSON of it")
    log = json_object(path)
    about, samples = log["eval"], log.get("samples") or []
    if not samples:
        raise KeepsightError(f"{path} holds no samples; run Inspect with --log-samples")
    epochs = len({sample.get("epoch", 1) for sample in samples}) > 1
    scorers, notes = _scorers(samples)
    if not scorers or (metric is not None and metric not in scorers):
        raise KeepsightError(
            f"{path} has no usable scorer{f' {metric!r}' if metric else ''}; it has {', '.join(scorers) or 'none'}"
        )
    headline = metric or scorers[0]
    ordered = (headline, *(name for name in scorers if name != headline))
    return ForeignRun(
        harness="inspect",
        model=str(about.get("model", "")),
        model_digest=digest_of(["imported", hashlib.sha256(path.read_bytes()).hexdigest()]),
        task=str(about.get("task", path.stem)),
        task_version=str(about.get("task_version", "")),
        source=path,
        settings={"kind": "imported", "harness": "inspect", **_generation(about)},
        scorers=ordered,
        records=tuple(_record(path, sample, ordered, epochs, group) for sample in samples),
        notes=tuple(notes),
    )


def _generation(about: Mapping[str, Any]) -> dict[str, Any]:
    config = about.get("model_generate_config")
    return {"generation_kwargs": config} if isinstance(config, dict) and config else {}


def _scorers(samples: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    names = dict.fromkeys(name for sample in samples for name in sample.get("scores") or {})
    usable = [
        name
        for name in names
        if any(_value((sample.get("scores") or {}).get(name, {})) is not None for sample in samples)
    ]
    return usable, [
        f"{name} has no number per sample and was left out" for name in names if name not in usable
    ]


def _value(score: Mapping[str, Any]) -> float | None:
    value = score.get("value")
    if isinstance(value, str):
        return _GRADES.get(value)
    if isinstance(value, bool) or (isinstance(value, (int, float)) and math.isfinite(value)):
        return float(value)
    return None


def _record(
    path: Path, sample: Mapping[str, Any], scorers: tuple[str, ...], epochs: bool, group: str | None
) -> Record:
    if "id" not in sample:
        raise KeepsightError(f"{path}: a sample has no id; this is not a log of Inspect's")
    name = str(sample["id"])
    cluster = name if epochs else None  # the epochs of one sample are not independent
    if group is not None:
        cluster = field_of(group, [sample.get("metadata") or {}])
        if cluster is None:
            raise KeepsightError(f"{path}: sample {name} has no field {group!r} to group by")
    target = sample.get("target") or ()
    asked = Sample(
        id=f"{name}/{sample.get('epoch', 1)}" if epochs else name,
        prompt=_prompt(sample.get("input", "")),
        target=(target,) if isinstance(target, str) else tuple(map(str, target)),
        choices=tuple(map(str, sample.get("choices") or ())),
        group=cluster,
    )
    return Record(asked, _output(sample), {scorer: _score(sample, scorer) for scorer in scorers})


def _prompt(given: Any) -> str:
    """The text of the user's turns."""
    if isinstance(given, str):
        return given
    return "\n".join(_content(turn.get("content", "")) for turn in given if turn.get("role") == "user")


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content if part.get("type") == "text")


def _output(sample: Mapping[str, Any]) -> Output:
    if sample.get("error"):
        told = sample["error"]
        return Output("", error=str(told.get("message", told)) if isinstance(told, dict) else str(told))
    choices = (sample.get("output") or {}).get("choices") or []
    if not choices:
        return Output("", error="the log has no answer")
    return Output(_content(choices[0].get("message", {}).get("content", "")))


def _score(sample: Mapping[str, Any], scorer: str) -> Score:
    given = (sample.get("scores") or {}).get(scorer, {})
    value = _value(given)
    if value is None:
        return Score(math.nan, status="error", explanation="the log has no number for this sample")
    answer = given.get("answer")
    return Score(
        value, None if answer is None else text_of(answer), explanation=str(given.get("explanation") or "")
    )


def inspect_json(run: Run) -> bytes:
    """A run as one of Inspect's logs. Pictures are named by their hash: Inspect's viewer then shows the text alone."""
    manifest = run.manifest
    status = str(manifest["status"])
    log = {
        "version": 2,
        "status": status,
        "eval": {
            "eval_id": manifest["fingerprint"][:22],
            "run_id": manifest["checkpoint_digest"][:22],
            "created": manifest["created"],
            "task": manifest["task"],
            "task_id": manifest["fingerprint"][:22],
            "task_version": manifest["task_version"],
            "dataset": {
                "name": manifest["task"],
                "samples": len(run.records),
                "sample_ids": [record.sample.id for record in run.records],
            },
            "model": manifest["checkpoint"],
            "config": {},
            "packages": dict(manifest["libraries"]),
            "metadata": {
                "fingerprint": manifest["fingerprint"],
                "checkpoint_digest": manifest["checkpoint_digest"],
                "inference": dict(manifest["inference"]),
            },
        },
        "plan": {"steps": [{"solver": str(manifest["inference"].get("kind", "generate"))}]},
        "results": _results(run),
        "stats": {"started_at": manifest["created"], "completed_at": manifest["updated"]},
        "samples": [_sample(run, record) for record in run.records],
    }
    return json.dumps(log, ensure_ascii=False, indent=1).encode() + b"\n"


def _results(run: Run) -> dict[str, Any]:
    scored = sum(metric.n for metric in run.metrics[:1])
    score = {
        "name": run.scorer,
        "scorer": run.scorer,
        "scored_samples": scored,
        "unscored_samples": len(run.records) - scored,
        "metrics": {metric.name: _metric(metric) for metric in run.metrics},
    }
    answered = sum(record.output.error is None for record in run.records)
    return {"total_samples": len(run.records), "completed_samples": answered, "scores": [score]}


def _metric(metric: MetricValue) -> dict[str, Any]:
    about = {
        "low": metric.low,
        "high": metric.high,
        "level": metric.level,
        "n": metric.n,
        "total": metric.total,
    }
    return {"name": metric.name, "value": metric.value, "metadata": about}


def _sample(run: Run, record: Record) -> dict[str, Any]:
    sample, output = record.sample, record.output
    failed = output.error is not None
    asked = {"role": "user", "content": sample.prompt}
    said = {"role": "assistant", "content": output.text, "source": "generate"}
    answer = {"message": said, "stop_reason": _STOPS.get(output.stop or "", "unknown")}
    return {
        "id": sample.id,
        "epoch": 1,
        "input": [asked],
        "choices": list(sample.choices) or None,
        "target": sample.target[0] if len(sample.target) == 1 else list(sample.target),
        "messages": [asked] if failed else [asked, said],
        "output": {"model": run.manifest["checkpoint"], "choices": [] if failed else [answer]},
        "scores": {
            name: {
                "value": score.value,
                "answer": score.answer,
                "explanation": score.explanation or None,
                "metadata": {"status": score.status, "tags": list(score.tags)},
            }
            for name, score in record.scores.items()
        },
        "metadata": {**dict(sample.meta), "group": sample.group, "image_sha256": _hashes(record)},
        **({"error": {"message": output.error, "traceback": "", "traceback_ansi": ""}} if failed else {}),
    }


def _hashes(record: Record) -> list[str | None]:
    """Of the pictures; None for one that cannot be read."""
    found: list[str | None] = []
    for medium in record.sample.media:
        try:
            found.append(medium.sha256)
        except KeepsightError:
            found.append(None)
    return found
