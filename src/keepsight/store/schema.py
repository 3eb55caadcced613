"""What a run directory holds, field by field: the one place where the file format is written down.

`json_schema()` exports it as JSON Schema. Names kept from lm-eval, so that notebooks written for its sample logs read
ours: `doc_id`, `doc_hash`, `target`, `resps`, `filtered_resps`, `prompt_hash`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from keepsight.types import MediaKind, RunStatus, ScoreStatus

__all__ = [
    "SCHEMA_VERSION",
    "FailedRow",
    "FindingRow",
    "FindingsFile",
    "LineRow",
    "Manifest",
    "MatrixFile",
    "MediaRow",
    "MetricRow",
    "OutputRow",
    "PlotRow",
    "ReplyRow",
    "Results",
    "ScoreRow",
    "StepRow",
    "json_schema",
]

# 2: a manifest says how its model computes (`model`); 3: `history` and `steps` of a question, `weight` of a score; 4: its `bounds`
SCHEMA_VERSION = 4


class _Row(BaseModel):
    # Infinite log-probabilities are real (an impossible choice); JSON has no number for them, so they are strings.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class MediaRow(_Row):
    """A picture, sound or film by content: its bytes lie once in `media/`."""

    kind: MediaKind
    sha256: Annotated[str | None, Field(description="of the encoded bytes; null when they could not be read")]
    file: Annotated[
        str | None, Field(description="name below media/", pattern=r"^[0-9a-f]{64}\.[a-z0-9]+$")
    ] = None
    path: Annotated[str | None, Field(description="where the unreadable file was looked for")] = None


class StepRow(_Row):
    """One exchange of an episode: what was seen and said, and the reward."""

    doc_id: str
    prompt: str
    history: list[str] = []
    media: list[MediaRow] = []
    meta: dict[str, Any] = {}
    text: Annotated[str, Field(description="what the model said")]
    token_ids: list[int] | None = None
    token_logprobs: list[float] | None = None
    stop: str | None = None
    usage: dict[str, int] = {}
    reward: Annotated[float | None, Field(description="null = nothing could be rewarded")]
    answer: Annotated[str | None, Field(description="what was done")] = None
    status: ScoreStatus = "ok"
    explanation: Annotated[str, Field(description="the verifier's word")] = ""
    tags: list[str] = []


class OutputRow(_Row):
    """One line of outputs.jsonl: what was asked and what was said. The last line of a `doc_id` counts."""

    doc_id: Annotated[str, Field(description="the sample's id, unique within the task")]
    index: Annotated[int, Field(description="place of the sample in the task, from 0")]
    doc_hash: Annotated[str, Field(description="digest of everything that model and scorer see")]
    task: str
    task_version: str
    checkpoint: Annotated[str, Field(description="name of the model that was asked")]
    checkpoint_digest: str
    prompt: Annotated[str, Field(description="the user's turn, before the chat template")]
    prompt_hash: Annotated[str, Field(description="digest of prompt, choices and media: what the model sees")]
    request_hash: Annotated[
        str, Field(description="digest of checkpoint, prompt_hash and inference settings")
    ]
    media: list[MediaRow] = []
    image_sha256: Annotated[list[str], Field(description="content hashes of the pictures among `media`")] = []
    target: Annotated[str | list[str], Field(description="one accepted answer, or a list of them")]
    choices: list[str] = []
    group: str | None = None
    meta: dict[str, Any] = {}
    history: Annotated[list[str], Field(description="answer and reply in turn, after `prompt`")] = []
    resps: Annotated[list[list[str]], Field(description="[[raw text]]; [[]] when nothing was generated")]
    filtered_resps: Annotated[
        list[str], Field(description="[raw text]: parsing is the scorers' business", min_length=1)
    ]
    resp_hash: Annotated[
        str, Field(description="digest of the answer; a score names the answer it was given for")
    ]
    label_logprobs: Annotated[list[float] | None, Field(description="log p(choice), one per choice")] = None
    token_ids: list[int] | None = None
    token_logprobs: list[float] | None = None
    output_media: Annotated[list[MediaRow], Field(description="pictures the model made")] = []
    stop: Annotated[str | None, Field(description="eos | length | stop")] = None
    usage: dict[str, int] = {}
    steps: Annotated[list[StepRow], Field(description="the exchanges of an episode")] = []
    latency_s: Annotated[
        float, Field(description="seconds since the previous answer; their sum is the wait")
    ] = 0.0
    seed: int | None = None
    error: Annotated[str | None, Field(description="set means: nothing was generated, and why")] = None


class ScoreRow(_Row):
    """One line of scores.jsonl: one scorer's word on one answer. The last fitting line counts."""

    doc_id: str
    scorer: str
    scorer_version: str
    resp_hash: Annotated[str, Field(description="the answer that was scored, as in outputs.jsonl")]
    value: Annotated[float | None, Field(description="null = nothing could be scored")]
    answer: Annotated[str | None, Field(description="as parsed")] = None
    status: ScoreStatus = "ok"
    explanation: str = ""
    tags: list[str] = []
    weight: Annotated[float, Field(description="of how many things `value` is the mean")] = 1.0
    bounds: Annotated[
        tuple[float, float] | None, Field(description="between which `value` must lie; null = not told")
    ] = None


class ReplyRow(_Row):
    """One line of judge/*.jsonl: what a judge's model said to one request."""

    key: Annotated[str, Field(description="digest of the judge's model, the request and the settings")]
    text: Annotated[str, Field(description="the raw reply")]
    stop: Annotated[str | None, Field(description="eos | length | stop")] = None
    usage: dict[str, int] = {}


class MetricRow(_Row):
    """A figure with its denominator and interval; null where nothing was scored."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    n: Annotated[int, Field(description="scored samples")]
    total: Annotated[int, Field(description="samples asked")]
    level: float = 0.95
    not_ok: Annotated[dict[str, int], Field(description="status -> count, for every status but ok")] = {}


class Manifest(_Row):
    """manifest.json: which question this run answers, with what, and how far it got."""

    schema_version: int = SCHEMA_VERSION
    status: RunStatus
    error: str | None = None
    fingerprint: Annotated[
        str, Field(description="digest of checkpoint, task, samples and inference settings")
    ]
    checkpoint: str
    checkpoint_digest: str
    model: Annotated[
        dict[str, str] | None,
        Field(
            description="how the model computed, for people: class, image_processor, image_backend, dtype, device, "
            "attn_implementation; null where it does not say, and in schema 1"
        ),
    ] = None
    task: str
    task_version: str
    samples_digest: str
    n_samples: int
    inference: Annotated[dict[str, Any], Field(description="settings that can change an answer")]
    seeds: dict[str, int] = {}
    scorer: Annotated[str, Field(description="whose values the headline metric reads")]
    scorers: Annotated[dict[str, str], Field(description="name -> version of every scorer, headline first")]
    settings: Annotated[dict[str, Any], Field(description="settings that cannot: limit, batch size")] = {}
    labels: list[str] = []
    libraries: dict[str, str] = {}
    command: str = ""
    created: str
    updated: str


class Results(_Row):
    """results.json: the same bytes for the same answers and scores, whenever and however often they were made."""

    schema_version: int = SCHEMA_VERSION
    fingerprint: str
    checkpoint: str
    task: str
    metrics: Annotated[list[MetricRow], Field(description="headline first")]
    by_scorer: Annotated[dict[str, MetricRow], Field(description="the headline metric under every scorer")]
    n_errors: Annotated[int, Field(description="samples for which nothing was generated")]
    digest: Annotated[str, Field(description="digest of all answers and scores in sample order")]


class MatrixFile(_Row):
    """matrix.json: checkpoints by tasks. Inner lists follow `cols`; null marks a cell that failed."""

    schema_version: int = SCHEMA_VERSION
    rows: list[str]
    cols: list[str]
    values: list[list[float | None]]
    intervals: Annotated[list[list[list[float] | None]], Field(description="[low, high] per cell")]
    n: list[list[int | None]]
    metrics: Annotated[list[str | None], Field(description="name of the headline metric per column")]
    forgetting: Annotated[list[dict[str, Any]], Field(description="one drop per cell below the base row")]
    runs: Annotated[list[list[str | None]], Field(description="run directories, relative to this file")]
    failed: Annotated[list[dict[str, str]], Field(description="cells without a run: row, col, error")] = []
    meta: dict[str, Any] = {}


class LineRow(_Row):
    """One series of a plot; null is a gap."""

    name: str
    y: list[float | None]
    low: Annotated[list[float | None], Field(description="lower end of each y's interval, or empty")] = []
    high: Annotated[list[float | None], Field(description="upper end, or empty")] = []
    x: Annotated[list[float | None], Field(description="places on a numeric axis, or empty: the ticks")] = []


class PlotRow(_Row):
    """A plot as numbers."""

    title: str
    kind: Literal["lines", "bars", "points"]
    lines: list[LineRow]
    ticks: Annotated[list[str], Field(description="names on the horizontal axis")] = []
    x_label: str = ""
    y_label: str = ""
    share: Annotated[bool, Field(description="y is a share between 0 and 1")] = True
    log_x: bool = False


class FindingRow(_Row):
    """One question asked of a model, answered."""

    question: Annotated[str, Field(description="name, as in keepsight ls questions")]
    title: str
    verdict: Annotated[
        Literal["yes", "no", "no_evidence"], Field(description="whether it explains the weakness")
    ]
    answer: Annotated[str, Field(description="one sentence")]
    figures: Annotated[
        list[MetricRow], Field(description="metrics, the one that decides first", min_length=1)
    ]
    plots: list[PlotRow] = []
    notes: list[str] = []
    settings: Annotated[dict[str, Any], Field(description="everything needed to ask it again")] = {}


class FailedRow(_Row):
    """A question without an answer."""

    question: str
    title: str
    error: str


class FindingsFile(_Row):
    """findings.json: one model and one picture set, question by question."""

    schema_version: int = SCHEMA_VERSION
    model: Annotated[str, Field(description="name of the model")]
    checkpoint_digest: str
    pictures: Annotated[str, Field(description="name of the picture set")]
    labels: Annotated[int, Field(description="how many the set has")]
    findings: list[FindingRow]
    failed: list[FailedRow] = []
    settings: Annotated[dict[str, Any], Field(description="what all questions shared")] = {}


_FILES: dict[str, type[_Row]] = {
    "manifest.json": Manifest,
    "outputs.jsonl": OutputRow,
    "scores.jsonl": ScoreRow,
    "judge/*.jsonl": ReplyRow,
    "results.json": Results,
    "matrix.json": MatrixFile,
    "findings.json": FindingsFile,
}


def json_schema() -> dict[str, Any]:
    """File name -> JSON Schema of the file, or of one line of it for `.jsonl`."""
    return {name: row.model_json_schema() for name, row in _FILES.items()}
