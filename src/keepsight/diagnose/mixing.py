"""What fixes it, and what does the fix cost? Classification data mixed into instruction data of a fixed size, share by share.

Source: Zhang et al., arXiv:2405.18415, section 4 (classification data mixed into LLaVA's instruction data) and appendix D, Table 10
(classification or caption text).

1. There, one mixture was trained; here several shares of the same total are, so that gain and forgetting make a curve.
2. Gain and forgetting are paired with the base, sample by sample, and corrected over all shares together (Holm).
3. Every point is kept: checkpoints below `study.work`, answers in `study.store`; running again trains and asks nothing twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from keepsight.data.class_texts import (
    CAPTION_PROMPT,
    CLASSIFICATION_PROMPT,
    caption_samples,
    classification_samples,
)
from keepsight.data.drawn import SETS
from keepsight.data.drawn.instructions import drawn_instructions
from keepsight.data.drawn.picture import DrawnSet
from keepsight.data.labelled import label_text
from keepsight.data.mixing import Mixture, mix
from keepsight.diagnose.study import Study
from keepsight.evaluate import evaluate
from keepsight.inference import Generate
from keepsight.models import HFModel, load
from keepsight.models.checkpoint import read_checkpoint
from keepsight.scoring.findings import Finding, FindingVerdict, Line, Plot, verdict_of
from keepsight.scoring.forgetting import Pairing, correct, pair_runs
from keepsight.scoring.judges.label_match import LabelMatch
from keepsight.scoring.metrics import accuracy, unparsed_share
from keepsight.scoring.statistics import PairedDifference, paired_difference
from keepsight.scoring.tradeoff import knee
from keepsight.tasks.emt import MAX_NEW_TOKENS, closed_world_prompt, emt
from keepsight.tune.config import SFTConfig
from keepsight.tune.progress import TrainProgress
from keepsight.tune.sft import sft
from keepsight.types import KeepsightError, MetricValue, Run, Sample, Task, digest_of

__all__ = ["SHARES", "mixing"]

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
_MANY_LABELS = 100  # a list of more labels does not belong in a question to train on


@dataclass(frozen=True)
class _Point:
    """One share: what was trained on, and what came of it."""

    share: float
    mixture: Mixture
    weak: Run
    others: tuple[Run, ...]
    gain: PairedDifference | None = None  # base minus tuned on the weak set: negative is gained
    cost: PairedDifference | None = None  # base minus tuned on the other sets: positive is lost


def mixing(
    study: Study,
    *,
    instructions: Sequence[Sample] = (),
    others: Sequence[Task] = (),
    shares: Sequence[float] = SHARES,
    total: int | None = None,
    config: SFTConfig | None = None,
    questions: Sequence[str] = (),
    ablation_share: float | None = 0.5,
    caption_prompt: str = CAPTION_PROMPT,
    captions: Mapping[str, str] | None = None,
) -> Finding:
    """What fixes it, and what does the fix cost?

    Tunes one copy of the model per share and measures both sides of the bargain on held-out pictures.

    Args:
        study: its pictures are the weak set: `train()` teaches, `test()` decides.
        instructions: what the model is otherwise taught (default, for a drawn set: questions on the seven taught ones).
        others: what must not be forgotten (default, for a drawn set: the closed-world tasks of the seven taught ones).
        shares: parts of the total that are classification data.
        total: samples of every mixture (default: as many as the smaller side has).
        config: how each copy is tuned (default: LoRA with SFTConfig's settings).
        questions: asked in turn by the classification data (default: the seed's, and the closed-world one where its list of
            labels is not too long).
        ablation_share: also tune with captions instead of labels at this share; None leaves it out.
        caption_prompt, captions: see `data.class_texts.caption_samples`.

    Raises:
        KeepsightError: a model that cannot be tuned, shares outside [0, 1], or nothing to mix with.
    """
    shares, config = _checked(study, shares, ablation_share), config or SFTConfig(method="lora")
    taught = list(instructions) or _drawn_instructions(study)
    kept = tuple(others) or _drawn_tasks(study)
    labels = classification_samples(study.pictures, study.train(), questions or _questions(study))
    size = total if total is not None else min(len(labels), len(taught))
    sweep = _Sweep(study, taught, size, config, (emt(study.pictures, n=study.n, seed=study.seed), *kept))
    base = [evaluate(study.model, task, study.store, batch_size=study.batch_size) for task in sweep.tasks]
    points = _compared(base, [sweep.point(share, labels) for share in shares])
    costs = [point.cost.difference for point in points if point.cost]
    gains = [-point.gain.difference for point in points if point.gain]
    at = knee(costs, gains)
    chosen = points[at if at is not None else max(range(len(points)), key=lambda i: (gains[i], -i))]
    figures = [
        figure for point in (chosen, *(p for p in points if p is not chosen)) for figure in _figures(point)
    ]
    notes = [f"share {p.share:g}: {note}." for p in points for note in p.mixture.notes]
    if ablation_share is not None:
        captioned = caption_samples(
            study.pictures, study.train(), caption_prompt, captions=captions, seed=study.seed
        )
        figures += sweep.ablation(ablation_share, labels, captioned, caption_prompt)
    return Finding(
        "mixing",
        "What fixes it, and what does the fix cost?",
        _verdict(figures[0]),
        _answer(chosen, at is not None),
        tuple(figures),
        _plots(points, at),
        (*notes, *_notes(at, points)),
        {
            "shares": list(shares),
            "total": size,
            "config": asdict(config),
            "others": [task.name for task in kept],
            "ablation_share": ablation_share,
            "knee": None if at is None else shares[at],
        },
    )


# ---- one point ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sweep:
    """What all points have in common. The first task asks the weak set."""

    study: Study
    instructions: Sequence[Sample]
    total: int
    config: SFTConfig
    tasks: tuple[Task, ...]

    def point(self, share: float, taught: Sequence[Sample]) -> _Point:
        mixture = self._mixture(share, taught)
        model = self._tuned(mixture, f"share {share:g}")
        weak, *others = (self._asked(model, task) for task in self.tasks)
        return _Point(share, mixture, weak, tuple(others))

    def ablation(
        self, share: float, labels: Sequence[Sample], captions: Sequence[Sample], prompt: str
    ) -> list[MetricValue]:
        """Labels against captions as the text to learn, on the weak set; and whether captions are written with the label."""
        by_label = self._tuned(self._mixture(share, labels), f"share {share:g}")
        by_caption = self._tuned(self._mixture(share, captions), f"captions, share {share:g}")
        first, second = (self._asked(model, self.tasks[0]) for model in (by_label, by_caption))
        written = self._asked(by_caption, _caption_task(self.study, prompt))
        each = _values(first), _values(written)
        both = sorted(set(each[0]) & set(each[1]))
        own = paired_difference([each[0][key] for key in both], [each[1][key] for key in both])
        pairing = pair_runs(first, second)
        asked = paired_difference(pairing.reference, pairing.current, pairing.clusters, bounds=pairing.bounds)
        at = f"at share {share:g}"
        return [
            _metric(f"labels minus captions {at}, asked for the label", asked),
            _metric(f"labels minus captions {at}, each asked its own way", own),
            replace(written.headline, name=f"captions that name the label {at}"),
        ]

    def _mixture(self, share: float, taught: Sequence[Sample]) -> Mixture:
        """Both sides keep their order of being taken over all shares, so a larger share holds the smaller one."""
        return mix(
            {"classification": taught, "instructions": self.instructions},
            "share",
            shares={"classification": share, "instructions": 1 - share},
            total=self.total,
            seed=self.study.seed,
        )

    def _tuned(self, mixture: Mixture, what: str) -> HFModel:
        model = self.study.model
        assert isinstance(model, HFModel)
        key = digest_of(
            [model.weights_digest, asdict(self.config), [sample.digest() for sample in mixture.samples]]
        )
        directory = self.study.work / "mixing" / key[:16]
        epochs = sft(
            model,
            mixture.samples,
            self.config,
            directory,
            progress=partial(_told, self.study.progress, f"tuning, {what}"),
        )
        return _wearing(model, epochs[-1])

    def _asked(self, model: HFModel, task: Task) -> Run:
        return evaluate(
            model, task, self.study.store, batch_size=self.study.batch_size, progress=self.study.progress
        )


def _wearing(model: HFModel, directory: Path) -> HFModel:
    """The model with a checkpoint on, or the whole model that the checkpoint is."""
    checkpoint, name = read_checkpoint(directory), f"{model.name}+adapter:{directory}"
    if checkpoint.is_whole_model:
        whole = load(name, device=model.device, batch_size=model.batch_size)
        assert isinstance(whole, HFModel)
        return whole
    worn = (*model.checkpoints, checkpoint)
    return HFModel(model.source, worn, name=name, device=model.device, batch_size=model.batch_size)


def _told(report: Callable[[str, int, int], None], what: str, now: TrainProgress) -> None:
    report(what, now.step, now.total_steps)


def _caption_task(study: Study, prompt: str) -> Task:
    """The same pictures, asked for a caption: does it name the label? (appendix D's measure, with whole words)"""
    pictures, labels = study.pictures, study.labels

    def test() -> list[Sample]:
        shown = [(picture, label_text(picture.label)) for picture in study.test()]
        return [
            Sample(f"{pictures.name}/{p.id}" if not p.id.startswith(f"{pictures.name}/") else p.id, prompt, (p.media,), (label,),
                   meta={"set": pictures.name, "label": label})
            for p, label in shown
        ]  # fmt: skip

    return Task(
        f"caption:{pictures.name}",
        "1",
        test,
        Generate(max_new_tokens=MAX_NEW_TOKENS),
        LabelMatch(labels),
        (accuracy, unparsed_share),
        labels=labels,
        description="Does a caption name the label?",
    )


# ---- what is asked and taught by default --------------------------------------------------------------------------


def _checked(study: Study, shares: Sequence[float], ablation: float | None) -> tuple[float, ...]:
    if not isinstance(study.model, HFModel) or not study.model.source.shareable:
        raise KeepsightError(
            f"model {study.model.name} cannot be tuned once per share; give a model that is loaded from a ref"
        )
    asked = [*shares, *([] if ablation is None else [ablation])]
    if not shares or any(not 0 <= share <= 1 for share in asked):
        raise KeepsightError(f"shares {asked} are not all between 0 and 1; 0.25 means a quarter")
    return tuple(sorted(set(shares)))


def _questions(study: Study) -> tuple[str, ...]:
    if len(study.labels) > _MANY_LABELS:
        return (CLASSIFICATION_PROMPT,)
    return (CLASSIFICATION_PROMPT, closed_world_prompt(study.pictures.noun, study.labels))


def _drawn_instructions(study: Study) -> list[Sample]:
    if not isinstance(study.pictures, DrawnSet):
        raise KeepsightError(
            f"set {study.pictures.name}: nothing to mix it with; give the instruction data that the model learns from (--instructions FILE)"
        )
    each = -(-len(study.train()) // len(SETS))
    return drawn_instructions(each, label_prompt=_label_prompt, seed=study.seed)


def _label_prompt(drawn: DrawnSet) -> str:
    return closed_world_prompt(drawn.noun, drawn.labels)


def _drawn_tasks(study: Study) -> tuple[Task, ...]:
    if not isinstance(study.pictures, DrawnSet):
        raise KeepsightError(
            f"set {study.pictures.name}: nothing that could be forgotten; give the tasks that must stay as they are (--others TASKS)"
        )
    return tuple(emt(name, n=study.n, seed=study.seed) for name in SETS if name != study.pictures.name)


# ---- what is said of it -------------------------------------------------------------------------------------------


def _compared(base: Sequence[Run], points: Sequence[_Point]) -> list[_Point]:
    """The points with their gains and costs, corrected as one family."""
    pairings = [pair_runs(base[0], point.weak) for point in points]
    pairings += [_pooled(base[1:], point.others) for point in points]
    results = [result for result, _ in correct(pairings)]
    return [
        _Point(point.share, point.mixture, point.weak, point.others, results[i], results[len(points) + i])
        for i, point in enumerate(points)
    ]


def _pooled(before: Sequence[Run], after: Sequence[Run]) -> Pairing:
    """All samples of all other tasks as one pairing."""
    parts = [pair_runs(reference, current) for reference, current in zip(before, after, strict=True)]
    return Pairing(
        tuple(key for part in parts for key in part.ids),
        tuple(value for part in parts for value in part.reference),
        tuple(value for part in parts for value in part.current),
        tuple(cluster for part in parts for cluster in part.clusters),
        sum(part.unpaired for part in parts),
    )


def _values(run: Run) -> dict[str, float]:
    scores = zip(run.records, run.scores(), strict=True)
    return {record.sample.id: score.value for record, score in scores if score.scored}


def _metric(name: str, result: PairedDifference, sign: int = 1) -> MetricValue:
    value, ends = sign * result.difference, sorted((sign * result.low, sign * result.high))
    return MetricValue(name, value + 0.0, ends[0] + 0.0, ends[1] + 0.0, result.n, result.n, result.level)


def _figures(point: _Point) -> tuple[MetricValue, MetricValue]:
    assert point.gain is not None and point.cost is not None
    return (
        _metric(f"gain at share {point.share:g}", point.gain, -1),
        _metric(f"forgetting at share {point.share:g}", point.cost),
    )


def _verdict(gain: MetricValue) -> FindingVerdict:
    """Data fixes it only if something was gained."""
    return "no" if gain.high < 0 else verdict_of(gain.low, gain.high)


def _answer(chosen: _Point, is_knee: bool) -> str:
    gain, cost = _figures(chosen)
    said = "The knee lies" if is_knee else "There is no knee; most is gained"
    return (
        f"{said} at a share of {chosen.share:.0%}: {_points(gain)} on the weak set, "
        f"{_points(cost)} forgotten on the others."
    )


def _points(figure: MetricValue) -> str:
    if math.isnan(figure.value):
        return "nothing measured"
    low, value, high = (100 * number for number in (figure.low, figure.value, figure.high))
    return f"{value:+.1f} points [{low:+.1f}, {high:+.1f}] (n {figure.n})"


def _notes(at: int | None, points: Sequence[_Point]) -> list[str]:
    notes = [
        "The point was chosen by the same pictures that measure it; intervals are corrected over all shares (Holm), "
        "the estimate at the chosen point is still a little flattered."
    ]
    if len(points) < 3:
        notes.append("A knee needs at least three shares.")
    elif at is None:
        notes.append(
            "The curve has no knee: no share lies above the line from the smallest to the largest one."
        )
    return notes


def _plots(points: Sequence[_Point], at: int | None) -> tuple[Plot, ...]:
    gains, costs = zip(*(_figures(point) for point in points))
    ticks = tuple(f"{point.share:.0%}" for point in points)
    x, y = (tuple(figure.value for figure in figures) for figures in (costs, gains))
    curve = [
        Line(f"share {tick}", (y[i],), (gains[i].low,), (gains[i].high,), (x[i],))
        for i, tick in enumerate(ticks)
    ]
    if at is not None:
        curve.append(Line(f"knee ({ticks[at]})", (y[at],), x=(x[at],)))
    return (
        Plot("What it brings and what it costs", tuple(curve), (), "forgotten on the other sets (share)", "gained on the weak set", "points"),
        Plot(
            "Gain and forgetting by share of classification data",
            tuple(_line(name, figures) for name, figures in (("gained", gains), ("forgotten", costs))),
            ticks,
            "share of classification data",
            "share of answers",
        ),
    )  # fmt: skip


def _line(name: str, figures: Sequence[MetricValue]) -> Line:
    values, lows, highs = zip(*((figure.value, figure.low, figure.high) for figure in figures))
    return Line(name, values, lows, highs)
