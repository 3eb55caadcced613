"""Why VLMs classify badly, asked of the embedded model (Zhang et al., arXiv:2405.18415): every finding beside our number.

    python -m recipes.vlm_classifier [--tiny] --output_path out/vlm_classifier

The set `things` is the weak one: single large objects whose words the model knows and whose pictures it was never taught. The
number of labels is varied on `letters`, which has 26. Writes claims.json, index.html (the claims), and beside it the whole
diagnoses `things/diagnosis.html` and `letters/diagnosis.html`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keepsight import models
from keepsight.data.labelled import label_text
from keepsight.diagnose import Study
from keepsight.diagnose.frequency import count_mentions, frequency, per_class_accuracy
from keepsight.diagnose.picture_questions import Table4, table4
from keepsight.evaluate import evaluate
from keepsight.explaining import explain
from keepsight.models.clip import ClipModel, ZeroShotClip
from keepsight.models.tiny import tiny_directory
from keepsight.report.claims import Claim, ClaimVerdict, verdict_on, write_claims
from keepsight.scoring.findings import Diagnosis, Finding
from keepsight.scoring.statistics import PairedDifference
from keepsight.store import Store
from keepsight.tasks.emt import emt
from keepsight.tune.config import SFTConfig
from keepsight.types import VLM, MetricValue
from recipes import command_line
from recipes.tiny_world.corpus import write_corpus

__all__ = ["claims_of", "study"]

TITLE = "Why VLMs are bad at image classification: the findings on the embedded model"
PAPER = "VLMClassifier (arXiv:2405.18415)"
WEAK, MANY = "things", "letters"
RULE = "one_label"
TUNING = SFTConfig(
    method="lora", learning_rate=2e-3, num_train_epochs=2, per_device_train_batch_size=32, lora_r=32, lora_alpha=64, lora_dropout=0.0,
    save_steps=0,
)  # fmt: skip
UNSEEN = ("scenes",)  # its classes are numbers, which every text is full of


@dataclass(frozen=True)
class Size:
    """How much is asked and learnt."""

    test: int
    validation: int
    train: int
    epochs: int
    mixed: int
    shares: tuple[float, ...]
    corpus: int  # rows per set
    small: bool


FULL = Size(200, 100, 500, 10, 500, (0.0, 0.25, 0.5, 1.0), 250, False)
TINY = Size(12, 8, 24, 1, 24, (0.0, 1.0), 5, True)


@dataclass(frozen=True)
class Found:
    """Everything that was measured."""

    things: Diagnosis
    letters: Diagnosis
    frequency: Finding
    questions: Table4


def study(output: Path, size: Size, say: Callable[[str], None] = print) -> Found:
    """Runs the whole study below `output`; run again it resumes."""
    ours: dict[str, Any] = {"limit": size.test, "n_validation": size.validation, "n_train": size.train}
    say(f"{WEAK}: prompt, labels, decoding, information, objective, mixture")
    things = explain(
        "tiny", WEAK, ("gap", "prompts", "label_sets", "decoding", "probe", "objective", "mixing"), output / WEAK,
        world="open", max_new_tokens_of_thought=64, recipe="small", epochs=size.epochs, shares=size.shares, total=size.mixed,
        config=TUNING, caption_prompt="Describe the image.", others=_others(size), **ours,
    )  # fmt: skip
    say(f"{MANY}: number of labels")
    letters = explain("tiny", MANY, ("gap", "label_sets"), output / MANY, **ours)
    say("class mentions in the model's own training texts")
    counted = _frequency(output / "frequency", size)
    say("questions that need the class")
    return Found(things, letters, counted, table4("tiny", output / "questions", small=size.small))


def _others(size: Size) -> tuple[Any, ...]:
    """What mixing must not cost."""
    return tuple(emt(name, n=size.test) for name in ("shapes", "letters", "scenes"))


def _frequency(output: Path, size: Size) -> Finding:
    """The mixture's texts against accuracy on the classes of all taught sets and of the weak one."""
    from keepsight.data.drawn import ALL_SETS

    sets = {name: drawn for name, drawn in ALL_SETS.items() if name not in UNSEEN}
    output.mkdir(parents=True, exist_ok=True)
    corpus = output / "corpus.jsonl"
    if not corpus.exists():
        write_corpus(corpus, size.corpus)
    labels = [label_text(label) for drawn in sets.values() for label in drawn.labels]
    asked = Study(models.load("tiny"), ALL_SETS[WEAK], Store(output))
    asking: dict[str, VLM] = {"tiny": asked.model, "encoder": ZeroShotClip(_clip())}
    accuracies: dict[str, dict[str, float]] = {who: {} for who in asking}
    for name in sets:
        task = emt(name, n=max(size.test // 2, 1))
        for who, model in asking.items():
            accuracies[who] |= per_class_accuracy(evaluate(model, task, asked.store))
    counts = count_mentions(corpus, labels, answers_only=True)
    return frequency(asked, counts=[counts], runs=accuracies)


def _clip() -> ClipModel:
    return ClipModel(tiny_directory("clip"), "tiny", dtype="float32")


# ---- claims -------------------------------------------------------------------------------------------------------


def claims_of(found: Found) -> list[Claim]:
    """The paper's findings in its order."""
    return [
        *_performance(found),
        *_inference(found),
        *_training(found),
        *_data(found),
        *_questions(found.questions),
    ]


def _performance(found: Found) -> list[Claim]:
    gap = found.things["gap"]
    return [
        _points(
            "The VLM classifies worse than a zero-shot CLIP with its own encoder", "section 2, Table 1",
            "65.8 and 33.7 points (Flowers102 10.2 against 76.0 %, Caltech101 62.1 against 95.8 %; LLaVA1.5-7B, CLIP-L)",
            _named(gap, f"closed world below CLIP ({RULE})"),
        ),
        _points(
            "The VLM does better when the labels are given than when they are not", "section 2.4, Table 1",
            "often (LLaVA1.5-7B: Flowers102 5.9 to 10.2 %, Caltech101 47.1 to 62.1 %)",
            _named(found.things["prompts"], f"labels above no labels ({RULE})"),
        ),
    ]  # fmt: skip


def _inference(found: Found) -> list[Claim]:
    prompts, decoding = found.things["prompts"], found.things["decoding"]
    sizes = found.letters["label_sets"]
    generated, ranked = _named(decoding, "generated"), _named(decoding, "sum (top-1)")
    guided = _named(decoding, f"{decoding.settings['chosen']} (top-1)")  # chosen on validation pictures
    return [
        _within(
            "Another prompt changes accuracy by no more than 3 points", "section 3.1, Table 2", "within 3 points (ImageNet)",
            prompts.deciding, 0.03,
        ),
        _points("The gap to CLIP narrows with fewer labels", "section 3.1, Figure 2", "46 points with 100 classes, 6 with 2", sizes.deciding),
        _ratio_claim(found.things["label_sets"]),
        _apart(
            "Ranking the labels by probability does better than generating", "section 3.1, Table 2",
            "+12.0 points (ImageNet, LLaVA1.5-7B, 22.8 to 34.8 %)", ranked, generated,
        ),
        _apart(
            "Classifier-free guidance improves the ranking further", "section 3.1, Table 2",
            "+12.3 points (ImageNet, LLaVA1.5-7B, 35.3 to 47.6 %)", guided, ranked,
        ),
    ]  # fmt: skip


def _training(found: Found) -> list[Claim]:
    probe, objective = found.things["probe"], found.things["objective"]
    generated = _named(found.things["decoding"], "generated")
    mean = _named(probe, "probe of the mean token")  # as in the published figure
    return [
        _within(
            "A probe of the VLM's last layer loses no more than 10 points on a probe of its encoder", "section 3.2, Table 3",
            "8.1 points (ImageNet, LLaVA1.5-7B 77.1 %, CLIP-L 85.2 %)", probe.deciding, 0.10,
        ),
        _apart(
            "The VLM's states know more than its answers say", "section 3.2, Table 3", "+54.3 points (ImageNet, 77.1 against 22.8 %)", mean,
            generated,
        ),
        _within(
            "Text generation learns classification as well as cross entropy on the encoder", "section 3.2, Table 3",
            "-0.5 points (ImageNet, 85.2 against 85.7 %)", objective.deciding, 0.05,
        ),
        _spikes_claim(objective),
    ]  # fmt: skip


def _ratio_claim(sizes: Finding) -> Claim:
    """The error ratio with two labels less the one with all; their intervals taken as independent."""
    two, every = (_named(sizes, f"error ratio, {which}") for which in ("2 labels", "all"))
    difference, low, high = _difference(two, every)
    return Claim(
        "The error ratio to CLIP is larger with fewer labels", f"{PAPER}, section 3.1, Figure 4",
        "7.3 times with 100 classes, 23.9 with 2 (ImageNet)", difference, (low, high), two.n, verdict_on((low, high)), "times",
    )  # fmt: skip


def _spikes_claim(objective: Finding) -> Claim:
    """Counted in one run each: there is no interval, so no verdict."""
    spikes = objective.settings["spikes"]
    more = len(spikes["projector + LoRA"]) - len(spikes["projector"])
    return Claim(
        "The loss spikes more with LoRA in the language model than with the projector alone", f"{PAPER}, section 3.2, Figure 5",
        "spikes with LoRA in every setting, none with the projector alone (shown)", more, (math.nan, math.nan), 1, "no_evidence", "spikes",
    )  # fmt: skip


def _data(found: Found) -> list[Claim]:
    mixing, spearman = found.things["mixing"], found.frequency.deciding
    above = _named(found.frequency, "spearman, tiny minus encoder")
    captions = next(each for each in mixing.figures if "caption" in each.name and "own way" in each.name)
    return [
        Claim(
            "Classes that the training texts name more often are answered better",
            f"{PAPER}, section 3.3, Figure 3, Table 9", "Spearman 0.76 (ImageNet, LLaVA1.5-7B)", spearman.value,
            (spearman.low, spearman.high), spearman.n, verdict_on((spearman.low, spearman.high)), "Spearman",
        ),
        Claim(
            "They are not so for the encoder, so that the VLM's correlation is the higher one",
            f"{PAPER}, section 3.3, Table 9", "Spearman 0.76 against -0.13 (ImageNet, LLaVA1.5-7B and CLIP-L)", above.value,
            (above.low, above.high), above.n, verdict_on((above.low, above.high)), "Spearman",
        ),
        _points(
            "Classification data mixed into instruction data teaches the weak classes", "section 4.3",
            "+61.6 points (ImageNet, 22.8 to 84.4 %)", mixing.deciding,
        ),
        _within(
            "Captions that name the class teach as well as labels", "appendix D, Table 10",
            "5.6, 5.0, 1.8 points less (Flowers102, StanfordCars, Caltech101)", captions, 0.06,
        ),
    ]  # fmt: skip


def _questions(found: Table4) -> list[Claim]:
    return [
        _change(
            "Classification and instruction data together improve answers that need the class", "section 4.3, Table 4",
            "+11.8 points (ImageWikiQA, 38.0 to 49.8 %)", found.differences["both"], -1,
        ),
        _change(
            "Classification data alone hurt them", "section 4.3, Table 4", "7.4 points lost (38.0 to 30.6 %)",
            found.differences["classification"], 1,
        ),
        _change(
            "Classification data alone hurt answers on sets that they do not show", "section 4.3, Table 4",
            "7.4 points lost over all questions (38.0 to 30.6 %)", found.differences["classification elsewhere"], 1,
        ),
    ]  # fmt: skip


# ---- one claim ----------------------------------------------------------------------------------------------------


def _named(finding: Finding, name: str) -> MetricValue:
    exact = [each for each in finding.figures if each.name == name]
    return (exact or [each for each in finding.figures if each.name.startswith(name)])[0]


def _points(claim: str, where: str, published: str, metric: MetricValue) -> Claim:
    """A claim that a difference is above zero."""
    interval = (100 * metric.low, 100 * metric.high)
    return _claim(claim, where, published, metric, interval, verdict_on(interval))


def _within(claim: str, where: str, published: str, metric: MetricValue, most: float) -> Claim:
    """A claim that a difference is no larger than `most`."""
    interval = (100 * metric.low, 100 * metric.high)
    verdict = verdict_on((-interval[1], -interval[0]), above=-100 * most)
    return _claim(claim, where, published, metric, interval, verdict)


def _claim(
    claim: str,
    where: str,
    published: str,
    metric: MetricValue,
    interval: tuple[float, float],
    verdict: ClaimVerdict,
) -> Claim:
    return Claim(
        claim, f"{PAPER}, {where}", published, 100 * metric.value, interval, metric.n, verdict, "points"
    )


def _apart(claim: str, where: str, published: str, better: MetricValue, worse: MetricValue) -> Claim:
    """A claim that one share lies above another; Newcombe's interval, which takes no notice of their pairing."""
    difference, low, high = _difference(better, worse)
    return _points(claim, where, published, MetricValue(claim, difference, low, high, better.n, better.total))


def _difference(one: MetricValue, other: MetricValue) -> tuple[float, float, float]:
    """Newcombe (1998): a difference's interval from those of two figures."""
    difference = one.value - other.value
    low = difference - math.hypot(one.value - one.low, other.high - other.value)
    high = difference + math.hypot(one.high - one.value, other.value - other.low)
    return difference, low, high


def _change(claim: str, where: str, published: str, change: PairedDifference, sign: int) -> Claim:
    """`change` is reference minus current; `sign` -1 claims a rise."""
    ends = sorted((sign * change.low, sign * change.high))
    return _points(
        claim,
        where,
        published,
        MetricValue(claim, 0.0 + sign * change.difference, ends[0], ends[1], change.n, change.n),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--tiny", action="store_true", help="few pictures and steps: shows that it runs, not that it holds"
    )
    parser.add_argument("--output_path", type=Path, default=Path("out/vlm_classifier"))
    options = parser.parse_args(arguments)
    found = study(options.output_path, TINY if options.tiny else FULL)
    pages: Mapping[str, str] = {f"The diagnosis of {name}": f"{name}/diagnosis.html" for name in (WEAK, MANY)}
    write_claims(claims_of(found), options.output_path, title=TITLE, links=pages)


if __name__ == "__main__":
    command_line(main)
