"""Is a judge to be trusted? Attacks on it, and its verdicts beside a person's: verbs of their own, because they judge judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keepsight.errors import UsageError
from keepsight.judging import WITH_ARGS, embedding_args, judging_model, model_judge, own_args
from keepsight.scoring.judges.general_knowledge import as_verdicts
from keepsight.store import Store, is_final, load_runs
from keepsight.types import KeepsightError, MetricValue, Output, Run, Sample, Score, Scorer

if TYPE_CHECKING:
    from keepsight.scoring.calibration import Calibration, Estimate
    from keepsight.scoring.judges.attack import AttackReport

__all__ = ["Calibrated", "Corrected", "attack_judge", "calibrate_judge", "sample_answers"]

OUTPUT_PATH = "keepsight-out"


@dataclass(frozen=True)
class _Deciding:
    """A judge whose graded scores count as verdicts: a half or more is correct."""

    judge: Scorer

    @property
    def name(self) -> str:
        return self.judge.name

    @property
    def version(self) -> str:
        return self.judge.version

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        return as_verdicts(self.judge(samples, outputs))


@dataclass(frozen=True)
class Corrected:
    """A run's accuracy by the judge, and what it points to given how the judge errs (None: nothing can be said)."""

    run: Run
    judged: MetricValue
    corrected: Estimate | None


@dataclass(frozen=True)
class Calibrated:
    """A judge beside a person, how many rows nobody had labelled, and the runs corrected by it.

    `silent` names the labelled answers that got no reply, each with the reason: asking again may help.
    """

    judge: Scorer
    calibration: Calibration
    unlabelled: int
    runs: tuple[Corrected, ...]
    silent: tuple[str, ...] = ()


def attack_judge(
    ref: Any,
    output_path: str | Path = OUTPUT_PATH,
    *,
    judge: str = "verdict",
    judge_args: Mapping[str, Any] | None = None,
) -> AttackReport:
    """Lets a judge read wrong answers that try to be called correct; see `keepsight.scoring.judges.attack`.

    Args:
        ref: the model that the judge asks: whatever `keepsight.models.load` takes.
        output_path: where its replies are remembered; running again asks nothing.
        judge: `verdict`, `llm` or `general_knowledge`, whose rating of 5 or more calls an answer correct.
        judge_args: settings of the verdict and the general-knowledge judge.
    """
    from keepsight.scoring.judges.attack import attacked

    return attacked(_judge(ref, judge, Store(output_path), judge_args))


def calibrate_judge(
    ref: Any,
    labelled: str | Path,
    runs: Sequence[Run | str | Path] = (),
    output_path: str | Path = OUTPUT_PATH,
    *,
    judge: str = "verdict",
    judge_args: Mapping[str, Any] | None = None,
) -> Calibrated:
    """Compares a judge with a person, and corrects the accuracies that the same judge gave to `runs`.

    Args:
        labelled: JSON lines of `{"question", "answer", "target", "correct"}`; `sample_answers` begins such a file.
        runs: finished runs that this judge, in this version, has scored; an audit's directory stands for all of its.
        ref, output_path, judge, judge_args: as for `attack_judge`.

    Raises:
        KeepsightError: a bad row, no label, no reply, no verdict, or a run that this judge has not scored.
    """
    from keepsight.data.judged import read_labelled
    from keepsight.scoring.calibration import calibrate

    asked = _judge(ref, judge, Store(output_path), judge_args)
    rows = read_labelled(labelled)
    judged = [_scored_by(asked, run) for run in load_runs(runs)]  # before the judge is asked and paid
    scores = asked(rows.samples, rows.outputs)
    silent = [(s.id, score.explanation) for s, score in zip(rows.samples, scores) if not is_final(score)]
    if len(silent) == len(scores):
        raise KeepsightError(f"the judge replied to none of {len(scores)} labelled answers: {silent[0][1]}")
    found = calibrate(rows.samples, scores, rows.labels)
    corrected = tuple(_corrected(run, asked, found) for run in judged)
    return Calibrated(asked, found, rows.unlabelled, corrected, tuple(map(": ".join, silent)))


def sample_answers(runs: Sequence[Run | str | Path], path: str | Path, n: int = 100, seed: int = 0) -> int:
    """Writes a random sample of the answers of finished runs for a person to label; returns how many.

    Raises KeepsightError when `path` exists.
    """
    from keepsight.data.judged import write_unlabelled

    records = [record for run in load_runs(runs) for record in run.records]
    return write_unlabelled(path, records, n, seed)


def _judge(ref: Any, name: str, store: Store, judge_args: Mapping[str, Any] | None) -> Scorer:
    own = own_args(judge_args or {})
    if idle := embedding_args(judge_args or {}):
        raise UsageError(
            f"judge_args embedding.{next(iter(idle))} is the embedding judge's, which asks no model; leave it out"
        )
    if name == "llm" and own:
        raise UsageError(f"judge_args are of {' and '.join(WITH_ARGS)}; the llm judge asks as the paper did")
    refs = ref if isinstance(ref, (list, tuple)) else [ref]
    return _Deciding(model_judge(name, [judging_model(one, judge_args or {}) for one in refs], store, own))


def _scored_by(judge: Scorer, run: Run) -> Run:
    scored_by = run.manifest["scorers"].get(judge.name)
    if scored_by != judge.version:
        other = f", but by version {scored_by}" if scored_by else ""
        raise KeepsightError(
            f"run {run.path} was not scored by judge {judge.name} {judge.version}{other};"
            " score it with the same model and settings first (keepsight score)"
        )
    return run


def _corrected(run: Run, judge: Scorer, calibration: Calibration) -> Corrected:
    from keepsight.scoring.calibration import corrected_accuracy
    from keepsight.scoring.metrics import accuracy, effective_size

    samples, scores = [record.sample for record in run.records], as_verdicts(run.scores(judge.name))
    judged = accuracy(samples, scores)
    kept = [(score.value, sample.cluster) for sample, score in zip(samples, scores) if score.scored]
    effective = effective_size([value for value, _ in kept], [name for _, name in kept]) if kept else 0.0
    return Corrected(run, judged, corrected_accuracy(judged, calibration, effective))
