"""Samples, outputs, scores and metrics as rows of the file format, and back again, exactly."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from keepsight.errors import redacted
from keepsight.store.media import media_of, media_row
from keepsight.store.schema import Manifest, MetricRow, OutputRow, ScoreRow, StepRow
from keepsight.types import KeepsightError, MetricValue, Output, Record, Sample, Score, digest_of

__all__ = [
    "REWARD",
    "Identity",
    "fingerprint_of",
    "is_final",
    "metric_of",
    "metric_row",
    "output_of",
    "output_row",
    "row_fault",
    "sample_hash",
    "sample_of",
    "score_of",
    "score_row",
]


def sample_hash(sample: Sample) -> str:
    """`sample.digest()`; a sample whose picture cannot be read is identified by that fault."""
    try:
        return sample.digest()
    except KeepsightError as error:
        return digest_of(["unreadable", sample.id, str(error)])


def _prompt_hash(sample: Sample) -> str:
    try:
        return sample.request_digest
    except KeepsightError as error:
        return digest_of(["unreadable", sample.prompt, str(error)])


@dataclass(frozen=True)
class Identity:
    """What a run is an answer to. Two runs with one fingerprint must have the same outputs.

    The scorers are left out: the same outputs can be scored again without being generated again.
    """

    checkpoint: str  # a name for people; only the digest counts
    checkpoint_digest: str
    task: str
    task_version: str
    sample_hashes: tuple[str, ...]
    inference: Mapping[str, Any]

    @cached_property
    def samples_digest(self) -> str:
        return digest_of(list(self.sample_hashes))

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint_of(self, dict(self.inference))

    def request_hash(self, prompt_hash: str) -> str:
        """Key of one answer: nothing that could change it is left out, and nothing else is in."""
        return digest_of([self.checkpoint_digest, prompt_hash, dict(self.inference)])

    def request_of(self, sample: Sample) -> str:
        """`request_hash` of what the model sees of `sample`."""
        return self.request_hash(_prompt_hash(sample))


def fingerprint_of(run: Identity | Manifest, inference: Mapping[str, Any]) -> str:
    """Digest of everything that can move an answer of `run`; a manifest that somebody edited has another one."""
    return digest_of([run.checkpoint_digest, run.task, run.task_version, run.samples_digest, inference])


def _clean(text: str) -> str:
    # A lone surrogate (an API can return one) has no UTF-8 form and would make the row unwritable.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _resp_hash(output: Output) -> str:
    logprobs = [repr(float(value)) for value in output.choice_logprobs or ()]  # as they are read back
    media = [medium.sha256 for medium in output.media]
    said = [_clean(output.text), logprobs, media, output.error and _clean(output.error)]
    return digest_of([*said, list(map(_step_digest, output.steps))] if output.steps else said)


def _step_digest(step: Record) -> str:
    """Everything of an exchange that scorers read."""
    (score,) = step.scores.values()
    told = [score.answer, score.status, score.explanation, *score.tags]
    return digest_of(
        [
            [step.sample.id, step.sample.request_digest, _plain(step.sample.meta)],
            [_clean(step.output.text), repr(float(score.value))],
            [None if word is None else _clean(word) for word in told],
        ]
    )


def _plain(meta: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back."""
    return dict(json.loads(json.dumps(dict(meta), default=str)))


def output_row(
    root: Path, identity: Identity, index: int, sample: Sample, output: Output, *, latency_s: float = 0.0
) -> OutputRow:
    """Writes the media of sample and output to the store and describes both in one row."""
    media = [media_row(root, medium) for medium in sample.media]
    prompt_hash = _prompt_hash(sample)
    return OutputRow(
        doc_id=sample.id,
        index=index,
        doc_hash=identity.sample_hashes[index],
        task=identity.task,
        task_version=identity.task_version,
        checkpoint=identity.checkpoint,
        checkpoint_digest=identity.checkpoint_digest,
        prompt=sample.prompt,
        prompt_hash=prompt_hash,
        request_hash=identity.request_hash(prompt_hash),
        media=media,
        image_sha256=[row.sha256 for row in media if row.kind == "image" and row.sha256],
        target=sample.target[0] if len(sample.target) == 1 else list(sample.target),
        choices=list(sample.choices),
        group=sample.group,
        meta=_plain(sample.meta),
        history=[_clean(turn) for turn in sample.history],
        resps=[[] if output.error is not None else [_clean(output.text)]],
        filtered_resps=[_clean(output.text)],
        resp_hash=_resp_hash(output),
        label_logprobs=_listed(output.choice_logprobs),
        token_ids=_listed(output.token_ids),
        token_logprobs=_listed(output.token_logprobs),
        output_media=[media_row(root, medium) for medium in output.media],
        stop=output.stop,
        usage=dict(output.usage),
        steps=[_step_row(root, step) for step in output.steps],
        latency_s=round(latency_s, 6),
        seed=identity.inference.get("seed"),
        error=None if output.error is None else redacted(_clean(output.error)),
    )


def _listed(values: Sequence[Any] | None) -> list[Any] | None:
    return None if values is None else list(values)


def _tupled(values: Sequence[Any] | None) -> tuple[Any, ...] | None:
    return None if values is None else tuple(values)


def sample_of(root: Path, row: OutputRow) -> Sample:
    """The sample that `row` was asked with; its media are read from the store when asked for."""
    return Sample(
        id=row.doc_id,
        prompt=row.prompt,
        media=tuple(media_of(root, medium) for medium in row.media),
        target=(row.target,) if isinstance(row.target, str) else tuple(row.target),
        choices=tuple(row.choices),
        group=row.group,
        meta=row.meta,
        history=tuple(row.history),
    )


def output_of(root: Path, row: OutputRow) -> Output:
    """The answer that `row` holds."""
    return Output(
        text=row.filtered_resps[0],
        choice_logprobs=_tupled(row.label_logprobs),
        token_ids=_tupled(row.token_ids),
        token_logprobs=_tupled(row.token_logprobs),
        media=tuple(media_of(root, medium) for medium in row.output_media),
        stop=row.stop,
        usage=row.usage,
        error=row.error,
        steps=tuple(_step_of(root, row.doc_id, step) for step in row.steps),
    )


REWARD = "reward"  # the scorer's name in an episode's steps


def _step_row(root: Path, step: Record) -> StepRow:
    sample, output, score = step.sample, step.output, step.scores[REWARD]
    return StepRow(
        doc_id=sample.id,
        prompt=sample.prompt,
        history=[_clean(turn) for turn in sample.history],
        media=[media_row(root, medium) for medium in sample.media],
        meta=_plain(sample.meta),
        text=_clean(output.text),
        token_ids=_listed(output.token_ids),
        token_logprobs=_listed(output.token_logprobs),
        stop=output.stop,
        usage=dict(output.usage),
        reward=_or_null(score.value),
        answer=None if score.answer is None else _clean(score.answer),
        status=score.status,
        explanation=_clean(score.explanation),
        tags=list(score.tags),
    )


def _step_of(root: Path, episode: str, row: StepRow) -> Record:
    sample = Sample(
        id=row.doc_id,
        prompt=row.prompt,
        media=tuple(media_of(root, medium) for medium in row.media),
        group=episode,
        meta=row.meta,
        history=tuple(row.history),
    )
    output = Output(
        row.text,
        token_ids=_tupled(row.token_ids),
        token_logprobs=_tupled(row.token_logprobs),
        stop=row.stop,
        usage=row.usage,
    )
    value = math.nan if row.reward is None else row.reward
    return Record(
        sample, output, {REWARD: Score(value, row.answer, row.status, row.explanation, tuple(row.tags))}
    )


def row_fault(root: Path, row: OutputRow) -> str | None:
    """What in `row` is not as it was written, or None: somebody edited it, or the disk did."""
    if row.resp_hash != _resp_hash(output_of(root, row)) or row.resps != _resps(row):
        return "the answer does not fit its resp_hash"
    readable = all(medium.sha256 and Path(medium.file or "").stem == medium.sha256 for medium in row.media)
    if (
        readable and row.doc_hash != sample_of(root, row).digest()
    ):  # else its hash holds the machine's own words
        return "the question does not fit its doc_hash"
    return None


def _resps(row: OutputRow) -> list[list[str]]:
    return [[]] if row.error is not None else [row.filtered_resps]


def score_row(row: OutputRow, scorer: str, version: str, score: Score) -> ScoreRow:
    """One scorer's word on the answer in `row`."""
    return ScoreRow(
        doc_id=row.doc_id,
        scorer=scorer,
        scorer_version=version,
        resp_hash=row.resp_hash,
        value=_or_null(score.value),
        answer=None if score.answer is None else _clean(score.answer),
        status=score.status,
        explanation=_clean(score.explanation if score.status == "ok" else redacted(score.explanation)),
        tags=list(score.tags),
        weight=score.weight,
        bounds=score.bounds,
    )


def score_of(row: ScoreRow) -> Score:
    """The score that `row` holds."""
    value = math.nan if row.value is None else row.value
    return Score(value, row.answer, row.status, row.explanation, tuple(row.tags), row.weight, row.bounds)


def is_final(score: Score) -> bool:
    """Whether asking the judge again is of no use: only a judge that did not reply at all may do better."""
    return not (score.status == "judge_failed" and "no_reply" in score.tags)


def metric_row(metric: MetricValue) -> MetricRow:
    """`metric` with null for nan."""
    return MetricRow(
        name=metric.name,
        value=_or_null(metric.value),
        low=_or_null(metric.low),
        high=_or_null(metric.high),
        n=metric.n,
        total=metric.total,
        level=metric.level,
        not_ok=dict(metric.not_ok),
    )


def metric_of(row: MetricRow) -> MetricValue:
    """The figure that `row` holds."""
    value, low, high = (math.nan if part is None else part for part in (row.value, row.low, row.high))
    return MetricValue(row.name, value, low, high, row.n, row.total, row.level, row.not_ok)


def _or_null(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
