"""Is it the training objective? Text generation against cross entropy, on the same pictures for the same steps.

The model is tuned to write the label's name (the projector alone; the projector and LoRA in the language model); a
linear head on the vision encoder is trained by cross entropy. If the tuned model names the class as often as the head,
the objective is not what keeps it from classifying.

Source: Zhang et al., "Why are Visually-Grounded Language Models Bad at Image Classification?" (arXiv:2405.18415),
section 3.2, appendix B.5, table 3 (right) and figure 5.

What differs from the paper and its code:
1. The checkpoint of the last epoch is asked; the paper reports the best epoch on its validation set, which is the set
   it tests on. Which of the two tunings decides is settled on validation pictures.
2. Training and evaluation ask the same question ("... in this photo?"); the code trains with "... in the photo?".
3. A second head is trained to convergence: what cross entropy gives when steps do not matter.
4. The head sees standardised features, so that its few steps are not spent on their scale.
5. A tuning whose loss hardly fell says nothing about the objective: the verdict is then "no evidence".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from keepsight.data.labelled import LabelledPicture, label_text
from keepsight.diagnose.effects import difference_of, guilty, percent, points
from keepsight.diagnose.seen import PROMPT, encoder_features, encoder_name, question, readable
from keepsight.diagnose.solvers import LinearHead, fit_adam, fit_lbfgs
from keepsight.diagnose.study import Study
from keepsight.evaluate import evaluate
from keepsight.inference import Generate
from keepsight.models import HFModel
from keepsight.models.checkpoint import read_checkpoint
from keepsight.scoring.findings import Finding, Line, Plot
from keepsight.scoring.judges.label_match import LabelMatch
from keepsight.scoring.metrics import accuracy
from keepsight.scoring.spikes import Spike, loss_spikes
from keepsight.tune.config import SFTConfig
from keepsight.tune.progress import TrainProgress, logged_losses
from keepsight.tune.sft import Diverged, sft
from keepsight.types import KeepsightError, MetricValue, Run, Sample, Score, Task, digest_of

__all__ = ["RECIPES", "Recipe", "objective"]

_MAX_NEW_TOKENS = 32
_FELL, _KNOWN = (
    0.5,
    0.1,
)  # a loss that ends above this share of its start, and above this, has not been fitted


@dataclass(frozen=True)
class Recipe:
    """How the two tunings and the head are trained. The head takes as many steps of the same batch as a tuning."""

    projector: SFTConfig
    lora: SFTConfig
    head_learning_rate: float = 1e-3  # of Adam


# Appendix B.5: batch 64, 50 epochs (1 for ImageNet), warm-up .03, projector 2e-5, LoRA rank 128, alpha 256, 2e-4. Its
# linear head: Adam at 1e-3, batch 512, 300 epochs, no weight decay. LLaVA-1.5's schedule is a cosine.
_PAPER: dict[str, Any] = {
    "num_train_epochs": 50, "per_device_train_batch_size": 64, "warmup_ratio": 0.03, "lr_scheduler_type": "cosine",
    "save_steps": 0,
}  # fmt: skip
# At which the embedded model learns a set of a few hundred pictures in minutes on a CPU.
_SMALL: dict[str, Any] = {**_PAPER, "num_train_epochs": 20, "per_device_train_batch_size": 32}
RECIPES: dict[str, Recipe] = {
    "paper": Recipe(
        SFTConfig(method="linear", learning_rate=2e-5, **_PAPER),
        SFTConfig(
            method="lora",
            learning_rate=2e-4,
            projector_learning_rate=2e-5,
            lora_r=128,
            lora_alpha=256,
            **_PAPER,
        ),
    ),
    "small": Recipe(
        SFTConfig(method="linear", learning_rate=2e-3, **_SMALL),
        SFTConfig(method="lora", learning_rate=2e-3, lora_r=32, lora_alpha=64, lora_dropout=0.0, **_SMALL),
        head_learning_rate=1e-2,
    ),
}


def objective(study: Study, *, recipe: str | Recipe = "auto", epochs: int | None = None) -> Finding:
    """Is it the training objective?

    Tunes the model twice by text generation, trains two linear heads, and asks all of them the test pictures.

    Args:
        recipe: "paper", "small", or settings of your own; "auto" is "small" for the embedded model, else "paper".
        epochs: instead of the recipe's.

    Raises:
        KeepsightError: a model that cannot be tuned, an unknown recipe, pictures that are missing.
    """
    settings = _recipe(_own_recipe(study) if recipe == "auto" else recipe, epochs)
    course = _Course.of(study, settings)
    tuned = {"projector": course.tuned(settings.projector), "projector + LoRA": course.tuned(settings.lora)}
    base = course.asked(course.model, "test")
    matched, converged = course.heads()
    best = max(tuned, key=lambda name: tuned[name].validation)
    decided = tuned[best]
    lost = course.against("head minus tuned model", matched, decided)
    figures = [
        lost,
        course.against("head to convergence minus tuned model", converged, decided),
        course.between("projector + LoRA minus projector", tuned["projector + LoRA"], tuned["projector"]),
        course.figure("accuracy before", base),
    ]
    for name, each in tuned.items():
        figures += [
            course.figure(f"accuracy, {name}", each.run),
            course.strict(f"strict accuracy, {name}", each.run),
        ]
    figures += [
        course.share("accuracy, linear head", matched),
        course.share("accuracy, linear head to convergence", converged),
    ]
    fitted = decided.fitted
    return Finding(
        question="objective",
        title="Is it the training objective?",
        verdict=guilty(lost.low, lost.high) if fitted else "no_evidence",
        answer=_answer(best, figures, lost, fitted),
        figures=tuple(figures),
        plots=(_bars([figure for figure in figures if "minus" not in figure.name]), _curves(tuned)),
        notes=course.notes(tuned),
        settings={
            "prompt": PROMPT,
            "recipe": asdict(settings),
            "encoder": encoder_name(study),
            "n": len(course.test),
            "n_train": len(course.train),
            "n_validation": len(course.validation),
            "seed": study.seed,
            "spikes": {name: [asdict(spike) for spike in each.spikes] for name, each in tuned.items()},
        },
    )


@dataclass(frozen=True)
class _Tuned:
    """One tuning: its losses and its answers (None where it diverged)."""

    losses: tuple[float, ...]
    run: Run | None
    validation: float  # accuracy; below 0 where there is none
    fault: str = ""

    @property
    def spikes(self) -> list[Spike]:
        return loss_spikes(self.losses)

    @property
    def fitted(self) -> bool:
        """Whether the loss of the last tenth lies well below that of the first."""
        part = max(1, len(self.losses) // 10)
        bound = max(_KNOWN, _FELL * median(self.losses[:part]))
        return self.run is not None and median(self.losses[-part:]) < bound


@dataclass(frozen=True)
class _Course:
    """The pictures, the model and the settings of one comparison."""

    study: Study
    recipe: Recipe
    model: HFModel
    train: list[LabelledPicture]
    validation: list[LabelledPicture]
    test: list[LabelledPicture]
    faults: list[str]

    @classmethod
    def of(cls, study: Study, recipe: Recipe) -> _Course:
        model = study.model
        if not isinstance(model, HFModel) or not model.source.shareable:
            raise KeepsightError(
                f"model {model.name} cannot be tuned in a copy; give its directory (hf:PATH) or tiny"
            )
        parts = [readable(part) for part in (study.train(), study.validation(), study.test())]
        (train, validation, test), faults = (
            [kept for kept, _ in parts],
            [f for _, more in parts for f in more],
        )
        if not (train and validation and test):
            raise KeepsightError(
                f"set {study.pictures.name}: pictures to train, to validate and to test are needed, there are "
                f"{len(train)}, {len(validation)} and {len(test)}; raise n_train, n_validation or n"
            )
        return cls(study, recipe, model, train, validation, test, faults)

    def tuned(self, config: SFTConfig) -> _Tuned:
        """The model tuned on the training pictures, and what it says of the others."""
        samples = [question(picture) for picture in self.train]
        about = [self.model.digest, [sample.digest() for sample in samples], asdict(config)]
        directory = self.study.work / "objective" / f"{config.method}-{digest_of(about)[:16]}"
        try:
            checkpoint = sft(self.model, samples, config, directory, progress=self._progress(config))[-1]
        except Diverged as error:
            return _Tuned((*logged_losses(directory), math.nan), None, -1.0, str(error))
        worn = self._worn(checkpoint)
        chosen = self.asked(worn, "validation").headline.value
        return _Tuned(tuple(logged_losses(directory)), self.asked(worn, "test"), chosen)

    def _progress(self, config: SFTConfig) -> Any:
        def told(now: TrainProgress) -> None:
            self.study.progress(f"tuning ({config.method})", now.step, now.total_steps)

        return told

    def _worn(self, checkpoint: Path) -> HFModel:
        model = self.model
        return HFModel(
            model.source,
            (*model.checkpoints, read_checkpoint(checkpoint)),
            name=f"{model.name}+adapter:{checkpoint}",
            device=model.device,
            batch_size=model.batch_size,
        )

    def asked(self, model: HFModel, part: str) -> Run:
        """The answers to one part of the pictures."""
        pictures = self.test if part == "test" else self.validation
        task = Task(
            name=f"objective:{self.study.pictures.name}-{part}",
            version="1",
            test=lambda: [question(picture) for picture in pictures],
            infer=Generate(max_new_tokens=_MAX_NEW_TOKENS),
            score=LabelMatch(self.study.labels),
            metrics=(accuracy,),
            labels=self.study.labels,
        )
        study = self.study
        return evaluate(model, task, study.store, batch_size=study.batch_size, progress=study.progress)

    def heads(self) -> tuple[list[float], list[float]]:
        """Which test pictures each head gets right: the one with a tuning's steps, and the one to convergence."""
        every = [*self.train, *self.validation, *self.test]
        features, labels = (
            encoder_features(self.study, every),
            [label_text(picture.label) for picture in every],
        )
        first, second = len(self.train), len(self.train) + len(self.validation)
        spread = features[:first].std(axis=0)
        standard = ((features - features[:first].mean(axis=0)) / np.where(spread > 0, spread, 1)).astype(
            np.float32
        )
        x, valid, test = np.split(standard, [first, second])
        y, valid_y, test_y = labels[:first], labels[first:second], labels[second:]
        config = self.recipe.projector
        matched = fit_adam(
            x,
            y,
            valid[:0],
            [],
            epochs=config.num_train_epochs,
            learning_rate=self.recipe.head_learning_rate,
            batch_size=config.per_device_train_batch_size * config.gradient_accumulation_steps,
            seed=self.study.seed,
        )
        return _right(matched, test, test_y), _right(fit_lbfgs(x, y, valid, valid_y), test, test_y)

    def against(self, name: str, head: Sequence[float], tuned: _Tuned) -> MetricValue:
        """A head minus a tuned model."""
        return self._difference(name, head, _values(tuned.run, len(self.test)))

    def between(self, name: str, one: _Tuned, other: _Tuned) -> MetricValue:
        """One tuned model minus another."""
        n = len(self.test)
        return self._difference(name, _values(one.run, n), _values(other.run, n))

    def _difference(self, name: str, reference: Sequence[float], current: Sequence[float]) -> MetricValue:
        kept = [at for at, pair in enumerate(zip(reference, current)) if not any(map(math.isnan, pair))]
        pairs = [reference[at] for at in kept], [current[at] for at in kept]
        shas = [self.test[at].media.sha256 for at in kept]
        return difference_of(name, *pairs, shas, len(reference) - len(kept))

    def figure(self, name: str, run: Run | None) -> MetricValue:
        """A run's accuracy."""
        if run is None:
            n = len(self.test)
            return MetricValue(name, math.nan, math.nan, math.nan, 0, n, not_ok={"error": n})
        return replace(run.headline, name=name)

    def strict(self, name: str, run: Run | None) -> MetricValue:
        """Share of answers that are the label and nothing else, but for case."""
        if run is None:
            return self.figure(name, run)
        same = [_says_just(record.output.text, record.sample) for record in run.records]
        scores = [
            replace(score, value=value) if score.scored else score for value, score in zip(same, run.scores())
        ]
        return replace(accuracy([record.sample for record in run.records], scores), name=name)

    def share(self, name: str, right: Sequence[float]) -> MetricValue:
        """A head's accuracy."""
        samples = [question(picture) for picture in self.test]
        return replace(accuracy(samples, [Score(value) for value in right]), name=name)

    def notes(self, tuned: Mapping[str, _Tuned]) -> tuple[str, ...]:
        """Spikes, divergence and lack of fit of each tuning; pictures that were left out."""
        notes = [f"{name}: {_course_of(each)}" for name, each in tuned.items()]
        if self.faults:
            notes.append(
                f"{len(self.faults)} pictures cannot be read and are left out; the first: {self.faults[0]}"
            )
        return tuple(notes)


def _own_recipe(study: Study) -> str:
    """At the paper's rates so small a model would learn nothing."""
    return "small" if study.model.name.partition("+")[0] == "tiny" else "paper"


def _recipe(recipe: str | Recipe, epochs: int | None) -> Recipe:
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            raise KeepsightError(f"recipe {recipe!r} is unknown; give auto, {' or '.join(RECIPES)}")
        recipe = RECIPES[recipe]
    if epochs is None:
        return recipe
    projector, lora = (replace(config, num_train_epochs=epochs) for config in (recipe.projector, recipe.lora))
    return replace(recipe, projector=projector, lora=lora)


def _right(head: LinearHead, features: Any, labels: Sequence[str]) -> list[float]:
    return [float(a == b) for a, b in zip(head.predict(features), labels, strict=True)]


def _values(run: Run | None, n: int) -> list[float]:
    return [math.nan] * n if run is None else [score.value for score in run.scores()]


def _says_just(text: str, sample: Sample) -> float:
    return float(text.strip().casefold() == sample.target[0].casefold())


def _course_of(tuned: _Tuned) -> str:
    """What became of the loss, in words."""
    if tuned.run is None:
        return f"diverged ({tuned.fault})"
    gone = sum(not spike.recovered for spike in tuned.spikes)
    told = f"{len(tuned.spikes)} loss spikes" + (f", {gone} without recovery" if gone else "")
    told += f" in {len(tuned.losses)} steps"
    return told if tuned.fitted else f"{told}; the loss hardly fell: raise the learning rate or epochs"


def _answer(best: str, figures: Sequence[MetricValue], lost: MetricValue, fitted: bool) -> str:
    by_name = {figure.name: figure for figure in figures}
    tuned, head = by_name[f"accuracy, {best}"], by_name["accuracy, linear head"]
    if not fitted:
        return (
            "Tuning by text generation was not fitted, so it says nothing about the objective; see the notes."
        )
    return (
        f"Tuned to write the label ({best}), the model names {percent(tuned.value)} of {tuned.n} test pictures; a linear "
        f"head on the encoder {percent(head.value)} after the same pictures and steps: {points(lost)} more."
    )


def _bars(figures: Sequence[MetricValue]) -> Plot:
    line = Line(
        "test pictures",
        tuple(figure.value for figure in figures),
        tuple(figure.low for figure in figures),
        tuple(figure.high for figure in figures),
    )
    ticks = tuple(figure.name for figure in figures)
    return Plot("After tuning and beside it", (line,), ticks, y_label="accuracy", kind="bars")


def _curves(tuned: Mapping[str, _Tuned]) -> Plot:
    lines = [
        Line(name, each.losses, x=tuple(float(step) for step in range(1, len(each.losses) + 1)))
        for name, each in tuned.items()
    ]
    return Plot("Training loss", tuple(lines), x_label="step", y_label="loss", share=False)
