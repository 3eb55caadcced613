"""The words of keepsight: samples, outputs, scores, tasks, runs and the result matrix.

A *checkpoint* is asked the *samples* of a *task*; each *output* gets *scores*; a *run* keeps all of them; runs arranged
by checkpoint and task make a *result matrix*. Standard library only: everything may import this module.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from keepsight.errors import KeepsightError
from keepsight.limits import limit

__all__ = [
    "VLM",
    "Contrasts",
    "Described",
    "Embeds",
    "Inference",
    "KeepsightError",
    "Media",
    "MediaKind",
    "Metric",
    "MetricValue",
    "Output",
    "RanksChoices",
    "Record",
    "ResultMatrix",
    "Run",
    "RunStatus",
    "Sample",
    "Score",
    "ScoreStatus",
    "Scorer",
    "TakesSchema",
    "Task",
    "TextEmbedder",
    "Trainable",
    "digest_of",
]

MediaKind = Literal["image", "audio", "video"]
ScoreStatus = Literal["ok", "unparsed", "refused", "judge_failed", "error"]
RunStatus = Literal["started", "success", "error", "cancelled"]


def digest_of(value: Any) -> str:
    """SHA-256 (64 hex digits) of `value` written as canonical JSON (sorted keys, no blanks, UTF-8)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, eq=False)
class Media:
    """One picture, sound or film: held in memory (`data`) or read from `path` when asked for.

    Two media are equal when their bytes are.
    """

    kind: MediaKind = "image"
    data: bytes | None = field(default=None, repr=False)
    path: Path | None = None

    def __post_init__(self) -> None:
        if (self.data is None) == (self.path is None):
            raise KeepsightError("a Media needs either data or path, and not both")

    @property
    def where(self) -> str:
        """How messages name it: by its path, or by the start of its digest when it only lives in memory."""
        if self.path is None:
            return f"(in memory, sha256 {self.sha256[:12]})"
        return os.fsencode(self.path).decode("utf-8", "backslashreplace")

    def read(self) -> bytes:
        """The encoded bytes (PNG, JPEG, ...).

        Raises:
            KeepsightError: the file cannot be read, is no regular file (a pipe would keep its reader waiting), or is
                larger than `limit("MAX_BYTES")`.
        """
        if self.data is not None:
            return self.data
        assert self.path is not None
        try:
            return _bytes_of(self.path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise KeepsightError(f"cannot read {self.kind} {self.path}: {reason}") from error

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the encoded bytes, 64 hex digits."""
        return hashlib.sha256(self.read()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Media) and (self.kind, self.sha256) == (other.kind, other.sha256)

    def __hash__(self) -> int:
        return hash((self.kind, self.sha256))


def _bytes_of(path: Path) -> bytes:
    """A regular file's bytes."""
    status, most = path.stat(), limit("MAX_BYTES")
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a regular file")
    if status.st_size > most:
        raise ValueError(f"larger than {most:,} bytes; shrink it, or set KEEPSIGHT_MAX_BYTES")
    with path.open("rb") as file:
        data = file.read(status.st_size + 1)
    if len(data) > status.st_size:  # some files of the system have no size and no end
        raise ValueError("it grew while it was read")
    return data


@dataclass(frozen=True)
class Sample:
    """One question: what the model sees (`prompt`, `media`) and what the scorer needs besides.

    The prompt is the user's turn as plain text; pictures come before the text unless `<image>` marks their places. In a
    dialogue it is the first turn: `history` holds what followed, the model's answer and the user's reply in turn.
    """

    id: str
    prompt: str
    media: tuple[Media, ...] = ()
    target: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    group: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[str, ...] = ()  # (answer, reply, answer, reply, ...) after `prompt`: of even length

    def __post_init__(self) -> None:
        if len(self.history) % 2:
            raise KeepsightError(
                f"sample {self.id}: its history has {len(self.history)} turns; give an answer and a reply in turn"
            )

    @property
    def cluster(self) -> str:
        """Samples of one cluster are not independent: the group if given, else the first picture, else the id.

        A sample whose picture cannot be read stands alone.
        """
        if self.group is not None:
            return self.group
        try:
            return self.media[0].sha256 if self.media else self.id
        except KeepsightError:
            return self.id

    @cached_property
    def request_digest(self) -> str:
        """Digest of what the *model* sees: prompt, history, choices and media bytes. The id is not identity."""
        seen: list[Any] = [self.prompt, list(self.choices), [[m.kind, m.sha256] for m in self.media]]
        return digest_of([*seen, list(self.history)] if self.history else seen)

    def digest(self) -> str:
        """Digest of everything that model and scorer see, image bytes included."""
        meta = json.loads(json.dumps(dict(self.meta), sort_keys=True, default=str))
        return digest_of([self.id, self.request_digest, list(self.target), self.group, meta])


@dataclass(frozen=True)
class Output:
    """What a model gave back for one sample. `error` set means: nothing was generated, and why.

    An episode's Output holds its `steps`, a Record each: what was seen, what was said, and the reward as a Score. Their
    `group` is the episode's id, and `text` is the last thing said.
    """

    text: str
    choice_logprobs: tuple[float, ...] | None = None
    token_ids: tuple[int, ...] | None = None
    token_logprobs: tuple[float, ...] | None = None
    media: tuple[Media, ...] = ()
    stop: str | None = None  # "eos" | "length" | "stop"
    usage: Mapping[str, int] = field(default_factory=dict)
    error: str | None = None
    steps: tuple[Record, ...] = ()


@dataclass(frozen=True)
class Score:
    """What one scorer says of one output. `value` is nan exactly when nothing could be scored.

    `status` says how the answer was read: an unreadable answer (`unparsed`) still has a value if the scorer's rule
    gives it one (an EMT label match counts it as not correct); a refusal, a failed judge and a failed generation are
    kept apart from both right and wrong.
    """

    value: float
    answer: str | None = None
    status: ScoreStatus = "ok"
    explanation: str = ""
    tags: tuple[str, ...] = ()
    weight: float = 1.0  # of how many things `value` is the mean: the steps of an episode
    bounds: tuple[float, float] | None = None  # between which `value` must lie, where that is told

    @property
    def scored(self) -> bool:
        return not math.isnan(self.value)


@dataclass(frozen=True)
class MetricValue:
    """A figure with its honesty: `n` scored samples of `total`, interval at `level`, and what was not scored."""

    name: str
    value: float
    low: float
    high: float
    n: int
    total: int
    level: float = 0.95
    not_ok: Mapping[str, int] = field(default_factory=dict)  # status -> count, for every status but "ok"


class Scorer(Protocol):
    """Scores a batch, so that a judge can ask its model in batches. `name` and `version` enter the run's identity."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]: ...


Metric = Callable[[Sequence[Sample], Sequence[Score]], MetricValue]


@runtime_checkable
class VLM(Protocol):
    """A model that can be asked. `digest` covers weights, processor, chat template, dtype and image backend."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...

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
        """Yields `(index into samples, Output)` in the order answers become ready, each index once."""
        ...


@runtime_checkable
class Described(Protocol):
    """A model that can say, for people, how it computes. Nothing of it enters an identity: `digest` does."""

    def about(self) -> Mapping[str, Any]:
        """Class, image processor and backend, dtype, device, attention implementation; empty before it is loaded."""
        ...


@runtime_checkable
class RanksChoices(Protocol):
    """A model that gives log p(choice | prompt, media) for every choice of a sample."""

    def choice_logprobs(
        self, samples: Sequence[Sample], *, reduction: str = "sum", batch_size: int | None = None
    ) -> Iterator[tuple[int, tuple[float, ...]]]: ...


@runtime_checkable
class TakesSchema(Protocol):
    """A model whose replies can be held to a JSON Schema: a server's `response_format`, a constrained decoder.

    Judges use it where it is there. They check every reply all the same.
    """

    def with_schema(self, schema: Mapping[str, Any]) -> VLM:
        """The same model, held to `schema`. Its `digest` is another one, because its replies are."""
        ...


@runtime_checkable
class TextEmbedder(Protocol):
    """Turns texts into rows of a float array [n, d]; `digest` identifies the weights."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...

    def embed_texts(self, texts: Sequence[str]) -> Any: ...


@runtime_checkable
class Embeds(Protocol):
    """Turns pictures into rows of a float array [n, d]."""

    def embed_images(self, media: Sequence[Media]) -> Any: ...


@runtime_checkable
class Contrasts(Embeds, TextEmbedder, Protocol):
    """A CLIP: pictures and texts in one space."""


@runtime_checkable
class Trainable(Protocol):
    """A model that tune/ can train: the torch module, its processor and the batch it learns from."""

    @property
    def module(self) -> Any: ...

    @property
    def processor(self) -> Any: ...

    def training_batch(self, samples: Sequence[Sample]) -> Mapping[str, Any]:
        """Padded tensors with `labels` [b, s]; only the target's tokens (and the end token) are not -100."""
        ...


class Inference(Protocol):
    """How a question becomes an Output. `settings` enters the run's identity."""

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def __call__(
        self, model: VLM, samples: Sequence[Sample], *, batch_size: int | None = None
    ) -> Iterator[tuple[int, Output]]: ...


@dataclass(frozen=True)
class Task:
    """A benchmark as a value. `train` and `test` are functions, so that nothing is read before it is needed."""

    name: str
    version: str
    test: Callable[[], Sequence[Sample]]
    infer: Inference
    score: Scorer
    metrics: tuple[Metric, ...]  # the first is the headline
    train: Callable[[], Sequence[Sample]] | None = None
    labels: tuple[str, ...] = ()  # the closed label set, if the task has one
    judges: tuple[Scorer, ...] = ()  # further scorers over the same outputs
    description: str = ""


@dataclass(frozen=True)
class Record:
    """One sample, what was said, and every scorer's word on it."""

    sample: Sample
    output: Output
    scores: Mapping[str, Score] = field(default_factory=dict)


def _told(metric: MetricValue) -> str:
    return f"{metric.name} {metric.value:.3g}, n {metric.n}"


def _visible(text: str) -> str:
    """Names as one line that a terminal does not take for commands."""
    return "".join(c if c.isprintable() else "�" for c in text)


@dataclass(frozen=True)
class Run:
    """One checkpoint on one task: the manifest, the records in sample order, the metrics (headline first)."""

    manifest: Mapping[str, Any]
    records: tuple[Record, ...]
    metrics: tuple[MetricValue, ...]
    path: Path | None = None

    def __repr__(self) -> str:
        told = (
            _told(self.metrics[0])
            if self.metrics
            else f"{len(self.records)} answers, {self.manifest['status']}"
        )
        return _visible(f"Run({self.manifest['checkpoint']} on {self.manifest['task']}: {told})")

    @property
    def headline(self) -> MetricValue:
        return self.metrics[0]

    @property
    def scorer(self) -> str:
        """Name of the scorer whose values the headline metric reads."""
        return str(self.manifest["scorer"])

    def scores(self, scorer: str | None = None) -> list[Score]:
        """One scorer's scores in sample order (default: the headline scorer's)."""
        name = scorer or self.scorer
        return [record.scores[name] for record in self.records]


@dataclass(frozen=True)
class ResultMatrix:
    """Rows are checkpoints in training order (base first), columns are tasks, a Run per cell."""

    rows: tuple[str, ...]
    cols: tuple[str, ...]
    runs: Mapping[tuple[str, str], Run]
    meta: Mapping[str, Any] = field(default_factory=dict)  # e.g. {"tuned_on": {"<row>": "<col>"}}

    def __repr__(self) -> str:
        """A row per checkpoint, a column per task; in the cells the headline's value and how many samples it rests on."""
        lines = [["", *self.cols]]
        for row in self.rows:
            runs = [self.runs.get((row, col)) for col in self.cols]
            lines.append([row, *(_told(run.metrics[0]) if run and run.metrics else "-" for run in runs)])
        lines = [list(map(_visible, line)) for line in lines]
        widths = [max(map(len, column)) for column in zip(*lines)]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)

    def __getitem__(self, cell: tuple[str, str]) -> Run:
        """The run of a (row, col). Raises KeepsightError when there is none; if the cell failed, with the cause."""
        if cell in self.runs:
            return self.runs[cell]
        row, col = cell
        failed = {(each["row"], each["col"]): f": {each['error']}" for each in self.meta.get("failed", ())}
        known = row in self.rows and col in self.cols
        cure = (
            "run the audit again, it asks what is missing"
            if known
            else f"rows are {', '.join(self.rows)}, columns {', '.join(self.cols)}"
        )
        raise KeepsightError(f"there is no result of {row} on {col}{failed.get(cell, '')}; {cure}")

    def forgetting(
        self, against: Literal["base", "own", "best"] = "base", *, level: float = 0.95
    ) -> list[Any]:
        """A `scoring.forgetting.Drop` per cell below the reference. See that module for the statistics."""
        from keepsight.scoring.forgetting import forgetting

        return forgetting(self, against=against, level=level)

    def report(self, path: str | Path) -> Path:
        """Writes the self-contained HTML page and returns its path."""
        from keepsight.report import write_html

        return write_html(self, path)
