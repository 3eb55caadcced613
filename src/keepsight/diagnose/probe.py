"""Is the information lost on the way from the vision encoder to the language model's last layer?

A linear classifier is trained on frozen features. If it does as well on the language model's states as on the vision
encoder's output, what is needed for the answer is still there, and the answer fails to use it.

Source: Zhang et al., "Why are Visually-Grounded Language Models Bad at Image Classification?" (arXiv:2405.18415),
section 3.2, appendix B.4, tables 3 (left) and 8.

What differs from the paper and its code:
1. The regularisation is chosen on validation pictures; the code reports the best of 500 epochs on the test pictures.
2. The solver is L-BFGS to convergence; `solver="adam"` is the paper's recipe (with the epoch chosen on validation).
3. Neither the last token nor the mean sees padding.
4. Whether the last token or the mean decides is settled on validation pictures; the paper shows both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from keepsight.data.labelled import LabelledPicture, label_text
from keepsight.diagnose.effects import difference_of, guilty, percent, points
from keepsight.diagnose.feature_cache import Array
from keepsight.diagnose.seen import (
    PROMPT,
    encoder_features,
    encoder_name,
    question,
    readable,
    require_states,
    state_features,
    token_counts,
    tower_features,
)
from keepsight.diagnose.solvers import SOLVERS
from keepsight.diagnose.study import Study
from keepsight.models import HFModel
from keepsight.models.features import Place, Position
from keepsight.scoring.findings import Finding, Line, Plot
from keepsight.scoring.metrics import accuracy
from keepsight.types import KeepsightError, MetricValue, Run, Score

__all__ = ["probe"]

_LAYERS = 9  # curves have at most so many points
_POSITIONS = 8  # spread over the prompt; the last three tokens come besides, as in table 8
_ENDS: tuple[Position, ...] = ("last", "mean")


def probe(
    study: Study,
    *,
    solver: str = "lbfgs",
    layers: Sequence[int] | None = None,
    positions: Sequence[int] | None = None,
    answered: Run | None = None,
) -> Finding:
    """Is the information lost on the way?

    Probes the model's states and its vision encoder on the same pictures.

    Args:
        solver: "lbfgs" or "adam" (see `diagnose.solvers`).
        layers: of the per-layer curve (default: at most nine, the input and the last among them).
        positions: token numbers of the per-position curve at the last layer (default: eight that all prompts have,
            and the last three).
        answered: the model's own answers to the same pictures, to set beside what its states know.

    Raises:
        KeepsightError: a model whose inside cannot be read, an unknown solver, too few pictures.
    """
    if solver not in SOLVERS:
        raise KeepsightError(f"solver {solver!r} is unknown; give {' or '.join(SOLVERS)}")
    about = _Pictures.of(study, solver)
    last = require_states(study).layers
    chosen = list(layers) if layers is not None else _spread(last + 1, _LAYERS)
    numbers = list(positions) if positions is not None else _positions(token_counts(study, about.every))
    places: list[Place] = [(last, end) for end in _ENDS]
    places += [(layer, end) for layer in chosen for end in _ENDS] + [(last, at) for at in numbers]
    places = list(dict.fromkeys(places))
    features = state_features(study, about.every, places)  # [n, p, d]
    heads = {place: about.probed(_place_name(*place), features[:, at]) for at, place in enumerate(places)}
    encoder = about.probed("probe of the encoder", encoder_features(study, about.every))
    ends = [heads[last, end] for end in _ENDS]
    best = max(ends, key=lambda head: head.validation)
    lost = difference_of("encoder minus probe", encoder.right, best.right, about.clusters, len(about.faults))
    verdict = guilty(lost.low, lost.high)
    figures = [lost, *(about.figure(head) for head in (*ends, encoder))]
    if study.clip is not None and isinstance(study.model, HFModel):  # without a CLIP it is the encoder
        own = about.probed("probe of the model's own tower", tower_features(study, about.every))
        figures.append(about.figure(own))
    figures += about.against(answered, best)
    return Finding(
        question="probe",
        title="Is the information lost on the way?",
        verdict=verdict,
        answer=_answer(best, encoder, lost, encoder_name(study)),
        figures=tuple(figures),
        plots=(
            _layer_plot(about, chosen, heads, encoder),
            _position_plot(about, numbers, heads, last),
        ),
        notes=_notes(about, best, solver),
        settings={
            "prompt": PROMPT,
            "solver": solver,
            "layers": chosen,
            "positions": numbers,
            "encoder": encoder_name(study),
            "n": len(about.test),
            "n_train": len(about.train),
            "n_validation": len(about.validation),
            "seed": study.seed,
            "chosen": {head.name: head.about for head in (*ends, encoder)},
        },
    )


@dataclass(frozen=True)
class _Probed:
    """A trained probe: how it was chosen, and which test pictures it gets right."""

    name: str
    about: str
    validation: float
    right: tuple[float, ...]

    @property
    def share(self) -> float:
        return math.fsum(self.right) / len(self.right)


@dataclass(frozen=True)
class _Pictures:
    """The three parts of a study's pictures, those that can be read, and how they are probed."""

    solver: str
    seed: int
    train: list[LabelledPicture]
    validation: list[LabelledPicture]
    test: list[LabelledPicture]
    faults: list[str]  # test pictures that cannot be read
    left_out: list[str]  # others

    @classmethod
    def of(cls, study: Study, solver: str) -> _Pictures:
        (train, broken), (validation, more) = readable(study.train()), readable(study.validation())
        test, faults = readable(study.test())
        if not (train and validation and test):
            raise KeepsightError(
                f"set {study.pictures.name}: probing needs pictures to train, to validate and to test, there are "
                f"{len(train)}, {len(validation)} and {len(test)}; raise n_train, n_validation or n"
            )
        return cls(solver, study.seed, train, validation, test, faults, broken + more)

    @cached_property
    def every(self) -> list[LabelledPicture]:
        return [*self.train, *self.validation, *self.test]

    @cached_property
    def labels(self) -> list[str]:
        return [label_text(picture.label) for picture in self.every]

    @cached_property
    def clusters(self) -> list[str]:
        return [picture.media.sha256 for picture in self.test]

    def probed(self, name: str, features: Array) -> _Probed:
        """A probe trained on the training part, its settings chosen on the validation part, asked once on the test part."""
        first, second = len(self.train), len(self.train) + len(self.validation)
        x, valid, test = np.split(np.ascontiguousarray(features), [first, second])
        y, valid_y, test_y = self.labels[:first], self.labels[first:second], self.labels[second:]
        head = SOLVERS[self.solver](x, y, valid, valid_y, seed=self.seed)
        right = tuple(float(a == b) for a, b in zip(head.predict(test), test_y))
        return _Probed(name, head.about, head.accuracy(valid, valid_y), right)

    def figure(self, probed: _Probed) -> MetricValue:
        """Its accuracy on the test pictures; those that cannot be read are counted."""
        samples = [question(picture) for picture in self.test]
        found = accuracy(samples, [Score(value) for value in probed.right])
        total, not_ok = found.total + len(self.faults), {"error": len(self.faults)} if self.faults else {}
        return replace(found, name=probed.name, total=total, not_ok=not_ok)

    def against(self, answered: Run | None, best: _Probed) -> list[MetricValue]:
        """What the model says of the same pictures, and how much more its states know."""
        if answered is None:
            return []
        said = {
            record.sample.media[0].sha256: score.value
            for record, score in zip(answered.records, answered.scores(), strict=True)
            if record.sample.media and score.scored
        }
        pairs = [
            (at, picture.media.sha256) for at, picture in enumerate(self.test) if picture.media.sha256 in said
        ]
        known, told = [best.right[at] for at, _ in pairs], [said[sha] for _, sha in pairs]
        unpaired = len(self.test) + len(self.faults) - len(pairs)
        return [difference_of("probe minus answers", known, told, [sha for _, sha in pairs], unpaired)]


def _spread(count: int, most: int) -> list[int]:
    """At most `most` numbers from 0 to count - 1, both ends among them."""
    return sorted({round(at * (count - 1) / max(1, min(most, count) - 1)) for at in range(min(most, count))})


def _positions(counts: Sequence[int]) -> list[int]:
    """Token numbers that every prompt has: spread from the first on, and the last three (seed table 8)."""
    shortest = min(counts)
    ends = [-at for at in (3, 2, 1) if at < shortest]
    return [*_spread(max(1, shortest - len(ends)), _POSITIONS), *ends]


def _place_name(layer: int, position: Position) -> str:
    named = {"last": "the last token", "mean": "the mean token"}
    return f"probe of {named.get(str(position), f'token {position}')}"


def _answer(best: _Probed, encoder: _Probed, lost: MetricValue, encoder_is: str) -> str:
    return (
        f"A linear probe reads the class off {best.name.removeprefix('probe of ')} of the last layer for "
        f"{percent(best.share)} of {lost.n} pictures, and off {encoder_is} for {percent(encoder.share)}: "
        f"{points(lost)} are lost on the way."
    )


def _layer_plot(
    about: _Pictures, layers: Sequence[int], heads: dict[Place, _Probed], encoder: _Probed
) -> Plot:
    lines = [_line(f"{end} token", [about.figure(heads[layer, end]) for layer in layers]) for end in _ENDS]
    level = _line("encoder", [about.figure(encoder)] * len(layers))
    ticks = tuple(str(layer) for layer in layers)
    return Plot("What a probe reads at each layer", (*lines, level), ticks, "layer (0: input)", "accuracy")


def _position_plot(about: _Pictures, numbers: Sequence[int], heads: dict[Place, _Probed], last: int) -> Plot:
    places: list[Place] = [*((last, at) for at in numbers), (last, "mean")]
    line = _line("last layer", [about.figure(heads[place]) for place in places])
    ticks = tuple(str(position) for _, position in places)
    return Plot("What a probe reads at each token", (line,), ticks, "token", "accuracy")


def _line(name: str, figures: Sequence[MetricValue]) -> Line:
    y, low, high = zip(*((figure.value, figure.low, figure.high) for figure in figures))
    return Line(name, y, low, high)


def _notes(about: _Pictures, best: _Probed, solver: str) -> tuple[str, ...]:
    train, test = set(about.labels[: len(about.train)]), set(about.labels[-len(about.test) :])
    notes = [f"{best.name.removeprefix('probe of ')} decides, because it does better on validation pictures"]
    if solver == "adam":
        notes.append(
            "the best epoch is chosen on validation pictures; the published code takes the best on the test"
        )
    if unseen := sorted(test - train):
        notes.append(f"no training picture shows {', '.join(unseen)}: their test pictures count as wrong")
    for what, faults in (("test", about.faults), ("training", about.left_out)):
        if faults:
            notes.append(
                f"{len(faults)} {what} pictures cannot be read and are left out; the first: {faults[0]}"
            )
    return tuple(notes)
