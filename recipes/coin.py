"""Continual instruction tuning of the embedded model: CoIN's findings (Chen et al., arXiv:2403.08350), and the controls beside them.

    python -m recipes.coin [--tiny] [--jobs 2] [--repeats 2] --output_path out/coin

Eight drawn tasks of CoIN's kinds in CoIN's order. Every arm (a method, an order, a seed) learns the same rows in the same
batches for two epochs from the same model, and says what it varies. Epochs are matched, not steps: replay adds kept rows to
every stage (752 steps for 640), as `sequential, 3 epochs` (960) shows to matter or not; a share of the data takes that share of
the steps. Writes claims.json, index.html (all
arms in one table, and the claims), and a page per arm below arms/. Run again it resumes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from math import hypot
from multiprocessing import get_context
from pathlib import Path
from statistics import stdev
from typing import Any

from keepsight.data.sequences import SequenceSpec
from keepsight.report.claims import Claim, verdict_on, write_claims
from keepsight.report.methods_page import write_methods_page
from keepsight.scoring.continual import continual_difference, continual_metrics
from keepsight.scoring.format_loss import overall_loss
from keepsight.scoring.matched import matched_forgetting
from keepsight.scoring.statistics import PairedDifference, paired_difference
from keepsight.sequencing import sequence_of, tune_sequence
from keepsight.store import load_matrix
from keepsight.types import MetricValue, ResultMatrix, Run
from recipes import command_line

__all__ = ["Arm", "arms", "claims_of", "over_repeats", "study"]

TITLE = "Continual instruction tuning: CoIN's findings on the embedded model"
PAPER = "CoIN (arXiv:2403.08350)"
OURS = "a control of ours"
KNOWLEDGE = "semantic"  # the scorer that ignores format; it stands in for CoIN's judge
RATE = 2e-3
TUNING: dict[str, Any] = {
    "learning_rate": RATE, "num_train_epochs": 2, "per_device_train_batch_size": 8, "lora_r": 32, "lora_alpha": 64, "lora_dropout": 0.0,
    "save_steps": 0,
}  # fmt: skip
EXPERTS = 8
REPEATS = 2  # runs of the four main arms; every second one in the reverse order, each with its own seed and order of the rows


@dataclass(frozen=True)
class Size:
    """How much is learnt and asked in every task."""

    rows: int
    asked: int
    tasks: tuple[str, ...] | None = None  # names of stages; all eight by default
    arms: tuple[str, ...] | None = None  # all by default


FULL = Size(320, 60)
TINY = Size(
    16,
    6,
    ("choices", "attributes"),
    ("sequential", "moelora", "low_alpha", "replay", "multitask", "sequential, Type2"),
)


@dataclass(frozen=True)
class Arm:
    """One sequence: what it is called, its method, and what differs from the other arms."""

    name: str
    method: str
    method_args: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    task_args: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    order: str | None = None


def arms(repeats: int = REPEATS) -> dict[str, Arm]:
    """All arms by name, the main ones `repeats` times."""
    main = [
        Arm("sequential", "lora"),
        Arm("moelora", "moelora"),
        Arm("low_alpha", "low_alpha", {"divisor": EXPERTS}),
        Arm("replay", "replay", {"share": 0.05}),
    ]
    others = [
        Arm(name, name) for name in ("multitask", "ewc", "lwf", "l2sp", "olora", "agem", "wise_ft", "ties", "dare", "routed")
    ]  # fmt: skip
    again = [
        replace(arm, name=arm.name + _ending(seed), seed=seed, order="reverse" if seed % 2 else None)
        for seed in range(1, repeats)
        for arm in main
    ]
    experts = [Arm(f"moelora, {n} experts", "moelora", config={"num_experts": n}) for n in (2, 4)]
    rates = [
        Arm("sequential, rate / 4", "lora", config={"learning_rate": RATE / 4}),
        Arm("moelora, rate * 4", "moelora", config={"learning_rate": RATE * 4}),
    ]
    longer = [Arm("sequential, 3 epochs", "lora", config={"num_train_epochs": 3})]
    volumes = [Arm(f"sequential, volume {part}", "lora", task_args={"volume": part}) for part in (0.25, 0.5)]
    wordings = [
        Arm("sequential, Type2", "lora", task_args={"instruction": "type2"}),
        Arm("sequential, Type2, volume 0.25", "lora", task_args={"instruction": "type2", "volume": 0.25}),
    ]
    return {arm.name: arm for arm in (*main, *others, *again, *experts, *rates, *longer, *volumes, *wordings)}


def _ending(seed: int) -> str:
    """What a repeat's name has behind its arm's."""
    order = ", order reverse" if seed % 2 else ""
    return f"{order}, seed {seed}" if seed > 1 else order


def study(
    output: Path, size: Size, *, jobs: int = 1, repeats: int = REPEATS, say: Callable[[str], None] = print
) -> dict[str, ResultMatrix]:
    """Runs all arms below `output`, `jobs` at once; name -> matrix."""
    known = arms(repeats)
    chosen = [known[name] for name in size.arms or known]
    run = partial(_run, output=output, size=size)
    if jobs == 1:
        for arm in chosen:
            run(arm)
            say(arm.name)
    else:
        # One thread per process: on few cores two half-busy sequences finish sooner than one after the other.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            for arm, _ in zip(chosen, pool.map(run, chosen)):
                say(arm.name)
    return {arm.name: load_matrix(_folder(output, arm)) for arm in chosen}


def _run(arm: Arm, output: Path, size: Size) -> None:
    sequence = sequence_of("coin_drawn")
    if size.tasks is not None:
        sequence = SequenceSpec(tuple(stage for stage in sequence.stages if stage.name in size.tasks))
    tune_sequence(
        "tiny",
        sequence,
        _folder(output, arm),
        method=arm.method,
        method_args=arm.method_args,
        order=arm.order,
        task_args={"rows": size.rows, **arm.task_args},
        judges=(),
        limit=size.asked,
        device="cpu",
        keep="all" if arm.method == "routed" else "last",
        **{**TUNING, "num_experts": EXPERTS, **arm.config, "seed": arm.seed},
    )


def _folder(output: Path, arm: Arm) -> Path:
    name = arm.name.replace(", ", "-").replace(" / ", "_by_").replace(" * ", "_times_").replace(" ", "_")
    return output / "arms" / name.replace(":", "")


# ---- claims -------------------------------------------------------------------------------------------------------


def claims_of(found: Mapping[str, ResultMatrix]) -> list[Claim]:
    """The paper's findings in its order, then what the controls say of them."""
    return [*_forgetting(found), *_methods(found), *_factors(found), *_controls(found)]


def _forgetting(found: Mapping[str, ResultMatrix]) -> list[Claim]:
    plain, joint = found["sequential"], found["multitask"]
    tasks, base, end = plain.cols, plain.rows[0], plain.rows[-1]
    return [
        _negative(
            "Sequential tuning forgets", "section 5.2, Table 2", "BWT -32.6 points (LLaVA-7B, Type1)",
            continual_metrics(plain)["backward_transfer"],
        ),
        _paired(
            "Tuning on all tasks at once ends better than one after the other", "section 5.2, Table 2",
            "57.2 against 28.7 % (Type1)", (joint, joint.rows[-1]), (plain, end), tasks,
        ),
        _paired(
            "Sequential tuning learns each task better than tuning on all at once", "section 5.2, Table 2",
            "61.4 against 57.2 % (Type1, each task just after it was learnt)",
            (plain, None), (joint, joint.rows[-1]), tasks,
        ),
        _paired(
            "Before tuning the model knows more than it says in the wanted form", "section 5.2, Tables 2 and 3",
            "64.1 (general knowledge) against 7.1 (instruction following)", (plain, base), (plain, base), tasks,
            scorers=(KNOWLEDGE, None),
        ),
        _claim(
            "General knowledge is forgotten less than instruction following", "section 5.2, Tables 2 and 3",
            "+20.9 points (BWT -11.8 against -32.6)", continual_difference(_known(plain), plain)["backward_transfer"],
        ),
        _loss(plain),
        *_gap(plain),
    ]  # fmt: skip


def _known(matrix: ResultMatrix) -> ResultMatrix:
    """The matrix with the scores of general knowledge in the place of those of instruction following."""
    return replace(matrix, runs={cell: _scored_by(run, KNOWLEDGE) for cell, run in matrix.runs.items()})


def _scored_by(run: Run, scorer: str) -> Run:
    records = [
        replace(record, scores={**record.scores, run.scorer: record.scores[scorer]}) for record in run.records
    ]
    return replace(run, records=tuple(records))


OTHER_KINDS = (
    "classes",
    "boxes",
)  # CoIN's ImageNet and REC, the paper's examples; the rest is question answering


def _gap(plain: ResultMatrix) -> list[Claim]:
    """What is lost of the tasks of another kind, less what is lost of the others; of tasks with something learnt after them."""
    tasks = [plain.meta["tuned_on"][row] for row in plain.rows[1:-1]]
    others = [task for task in tasks if task.removeprefix("coin_drawn:") in OTHER_KINDS]
    alike = [task for task in tasks if task not in others]
    if not others or not alike:
        return []
    far, near = (_pairs((plain, None), (plain, plain.rows[-1]), group) for group in (others, alike))
    # The two groups share no sample: an end of the difference is as far off as both groups' ends together, in squares.
    difference = far.difference - near.difference
    low = difference - hypot(far.difference - far.low, near.high - near.difference)
    high = difference + hypot(far.high - far.difference, near.difference - near.low)
    n = far.n + near.n
    return [
        _claim(
            "Tasks of another kind (classification, boxes) are forgotten more than other data sets of one kind", "section 5.2, Table 2",
            "+29.2 points (58.1 on ImageNet and REC, 29.0 on the five others)", MetricValue("difference", difference, low, high, n, n),
        )
    ]  # fmt: skip


def _loss(plain: ResultMatrix) -> Claim:
    """Of the answers that were right when their task was learnt and are not at the end: lost in form, or in knowledge?"""
    lost = overall_loss(plain, knowledge=KNOWLEDGE)
    share, low, high = (100 * value for value in lost.format_share)
    return Claim(
        "More answers are lost by their form than by what is known", f"{PAPER}, section 5.2, Tables 2 and 3",
        "BWT -32.6 (instruction following) against -11.8 points (general knowledge)", share, (low, high), lost.n,
        verdict_on((low, high), above=50.0), "% of the lost answers lost their form alone",
    )  # fmt: skip


def _methods(found: Mapping[str, ResultMatrix]) -> list[Claim]:
    published = {
        "average_accuracy": "+8.4 points (28.7 to 37.1 %)",
        "backward_transfer": "+6.7 points (-32.6 to -25.9)",
        "mean_average_accuracy": "+9.8 points (33.0 to 42.8 %)",
    }
    claims = [
        _repeated(f"MoELoRA improves the {name.replace('_', ' ')} of LoRA", "section 5.2, Table 2", said, found, "moelora", "sequential", name)
        for name, said in published.items()
    ]  # fmt: skip
    return [
        *claims,
        _repeated(
            "MoELoRA keeps more general knowledge than LoRA", "section 5.2, Table 3", "ACC +3.4 points (62.0 to 65.4)", found,
            "moelora", "sequential", "average_accuracy", scorer=KNOWLEDGE,
        ),
    ]  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """A claim that one arm has more of a figure than another."""

    claim: str
    where: str
    published: str
    more: str
    less: str
    figure: str
    scorer: str | None = None


def _expert_comparisons() -> list[Comparison]:
    """Tables 5 and 6, figure by figure: 2 experts against 1, 4 against 2, 8 against 4."""
    arms = ("sequential", "moelora, 2 experts", "moelora, 4 experts", "moelora")
    published = {
        ("mean_average_accuracy", None): (2.8, 4.5, 2.5),
        ("average_accuracy", None): (4.7, 3.5, 0.2),
        ("backward_transfer", None): (4.6, 1.5, 0.7),
        ("average_accuracy", KNOWLEDGE): (2.0, 1.3, 0.1),
    }
    return [
        Comparison(
            f"{2 * fewer} experts do better than {fewer}: a higher {name.replace('_', ' ')}{' of general knowledge' if scorer else ''}",
            f"section 5.3.2, Table {6 if scorer else 5}", f"+{said} points", more, less, name, scorer,
        )
        for (name, scorer), differences in published.items()
        for fewer, said, less, more in zip((1, 2, 4), differences, arms, arms[1:])
    ]  # fmt: skip


COMPARED = (
    Comparison(
        "Type2 instructions are harder than Type1: a lower average accuracy", "section 5.2, Table 2", "-2.2 points (28.7 to 26.5 %)",
        "sequential", "sequential, Type2", "average_accuracy",
    ),
    Comparison(
        "Type2 ends with less general knowledge than Type1", "section 5.2, Table 3", "ACC -0.4 points (62.0 to 61.6)",
        "sequential", "sequential, Type2", "average_accuracy", KNOWLEDGE,
    ),
    Comparison(
        "With little data Type2 is better: a higher MAA at a quarter of the data", "section 5.3.1, Table 4", "+0.9 points (30.3 to 31.1 %, a tenth)",
        "sequential, Type2, volume 0.25", "sequential, volume 0.25", "mean_average_accuracy",
    ),
    Comparison(
        "Type2 forgets less general knowledge than Type1, at a quarter of the data", "section 5.3.1, Tables 29 to 38", "said of the tables",
        "sequential, Type2, volume 0.25", "sequential, volume 0.25", "backward_transfer", KNOWLEDGE,
    ),
    Comparison(
        "With more data the MAA grows at first: half above a quarter", "section 5.3.1, Table 4", "+2.9 points (30.3 to 33.2 %, a tenth to 0.4)",
        "sequential, volume 0.5", "sequential, volume 0.25", "mean_average_accuracy",
    ),
    Comparison(
        "With more data still the MAA declines: half above all", "section 5.3.1, Table 4", "+3.2 points (33.2 to 30.0 %, 0.4 to 0.8)",
        "sequential, volume 0.5", "sequential", "mean_average_accuracy",
    ),
    Comparison(
        "More data, more forgetting: BWT is lower with all data than with a quarter", "section 5.3.1, Table 4",
        "-16.5 points (-16.2 to -32.6, a tenth to all)", "sequential, volume 0.25", "sequential", "backward_transfer",
    ),
    Comparison(
        "More data learns each task better", "section 5.3.1, Table 4", "+14.3 points (47.1 to 61.4 %, a tenth to all)",
        "sequential", "sequential, volume 0.25", "learning_accuracy",
    ),
    *_expert_comparisons(),
    Comparison(
        "Replaying 5 % does better than half as many steps again without: a higher average accuracy", OURS, "not asked",
        "replay", "sequential, 3 epochs", "average_accuracy",
    ),
)  # fmt: skip


def _factors(found: Mapping[str, ResultMatrix]) -> list[Claim]:
    """Wording, data volume, experts, steps; those whose arms were run."""
    return [_compared(each, found) for each in COMPARED if each.more in found and each.less in found]


def _compared(asked: Comparison, found: Mapping[str, ResultMatrix]) -> Claim:
    more, less = _as_type1(found[asked.more]), _as_type1(found[asked.less])
    value = continual_difference(more, less, scorer=asked.scorer)[asked.figure]
    return _claim(asked.claim, asked.where, asked.published, value)


def _as_type1(matrix: ResultMatrix) -> ResultMatrix:
    """The matrix with its columns called as in the other wording and its prompts left out: pictures and answers are paired."""
    called = {col: col.removesuffix("-type2") for col in matrix.cols}
    return ResultMatrix(
        matrix.rows,
        tuple(called.values()),
        {(row, called[col]): _unworded(run) for (row, col), run in matrix.runs.items()},
        {**matrix.meta, "tuned_on": {row: called[col] for row, col in matrix.meta["tuned_on"].items()}},
    )


def _unworded(run: Run) -> Run:
    records = [replace(record, sample=replace(record.sample, prompt="", meta={})) for record in run.records]
    return replace(run, records=tuple(records))


def _controls(found: Mapping[str, ResultMatrix]) -> list[Claim]:
    """What the paper does not ask: is it the experts, or the smaller step?"""
    rates = [found[name] for name in found if name.startswith("sequential, rate") or name == "sequential"]
    experts = [found[name] for name in found if name.startswith("moelora, rate") or name == "moelora"]
    matched = matched_forgetting(rates, experts)
    claims = [
        _repeated(
            "MoELoRA does better than LoRA with alpha / N: a higher average accuracy", OURS, "not asked", found, "moelora", "low_alpha",
            "average_accuracy",
        ),
        _repeated(
            "MoELoRA does better than replaying 5 % of the earlier rows: a higher average accuracy", OURS, "not asked", found, "moelora",
            "replay", "average_accuracy",
        ),
    ]  # fmt: skip
    if matched.difference is not None:
        at = f"learnt to {100 * (matched.at or 0):.1f} %"
        claims.append(
            _claim(
                f"Having learnt as much ({at}), MoELoRA forgets less than LoRA",
                OURS,
                "not asked",
                matched.difference,
            )
        )
    return claims


def _repeated(
    claim: str, where: str, published: str, found: Mapping[str, ResultMatrix], first: str, second: str, name: str,
    scorer: str | None = None,
) -> Claim:  # fmt: skip
    """Of the mean over all repeats."""
    endings = [_ending(seed) for seed in range(len(found))]
    pairs = [
        (found[first + end], found[second + end])
        for end in endings
        if first + end in found and second + end in found
    ]
    values = [continual_difference(*pair, scorer=scorer)[name] for pair in pairs]
    runs = f"{len(values)} runs in two orders" if len(values) > 1 else "one run"
    return _claim(f"{claim} ({runs})", where, published, over_repeats(values))


def over_repeats(values: Sequence[MetricValue]) -> MetricValue:
    """The mean of one figure over runs that asked the same pictures, and how far it is known.

    Two runs say nothing of their spread: the interval spans both of theirs, so that a verdict is that of each. From
    three on it is Student's, of the runs, with what the pictures leave open added in squares: they are the same in all
    runs, so that more runs do not lessen it.
    """
    mean = sum(value.value for value in values) / len(values)
    if len(values) < 3:
        low, high = min(value.low for value in values), max(value.high for value in values)
        return replace(values[0], value=mean, low=low, high=high)
    from scipy.stats import t

    runs = float(t.ppf(0.975, len(values) - 1)) * stdev(value.value for value in values) / len(values) ** 0.5
    pictures = sum((value.high - value.low) / 2 for value in values) / len(values)
    half = hypot(runs, pictures)
    return replace(values[0], value=mean, low=mean - half, high=mean + half)


def _claim(claim: str, where: str, published: str, value: MetricValue, above: float = 0.0) -> Claim:
    """Of a difference that the claim says is positive; in points."""
    interval = 100 * value.low, 100 * value.high
    source = where if where == OURS else f"{PAPER}, {where}"
    return Claim(
        claim, source, published, 100 * value.value, interval, value.n, verdict_on(interval, above), "points"
    )


def _negative(claim: str, where: str, published: str, value: MetricValue) -> Claim:
    """Of a figure that the claim says is below zero."""
    told = _claim(claim, where, published, value)
    return replace(told, verdict=verdict_on((-told.interval[1], -told.interval[0])))


Side = tuple[
    ResultMatrix, str | None
]  # a matrix and its row; None: of each column the row that has just learnt it


def _paired(
    claim: str, where: str, published: str, better: Side, worse: Side, tasks: Sequence[str],
    scorers: tuple[str | None, str | None] = (None, None),
) -> Claim:  # fmt: skip
    """First less second over all samples of the tasks, paired by sample; tasks weigh by their samples."""
    told = _pairs(better, worse, tasks, scorers)
    value = MetricValue("difference", told.difference, told.low, told.high, told.n, told.n)
    return _claim(claim, where, published, value)


def _pairs(
    better: Side, worse: Side, tasks: Sequence[str], scorers: tuple[str | None, str | None] = (None, None)
) -> PairedDifference:
    first, second = (_values(*side, tasks, scorer) for side, scorer in zip((better, worse), scorers))
    both = sorted(first.keys() & second.keys())
    return paired_difference(
        [first[key] for key in both], [second[key] for key in both], [key[:2] for key in both]
    )


def _values(
    matrix: ResultMatrix, row: str | None, tasks: Sequence[str], scorer: str | None
) -> dict[tuple[str, str, str], float]:
    """(task, cluster, id) -> score."""
    learnt = {col: name for name, col in matrix.meta["tuned_on"].items()}
    runs = {task: matrix[row or learnt[task], task] for task in tasks}
    return {
        (task, record.sample.cluster, record.sample.id): score.value
        for task, run in runs.items()
        for record, score in zip(run.records, run.scores(scorer), strict=True)
        if score.scored
    }


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--tiny", action="store_true", help="two tasks, few rows, a few arms: a check that it all runs"
    )
    parser.add_argument("--jobs", type=int, default=2, help="sequences at once")
    parser.add_argument(
        "--repeats",
        type=int,
        default=REPEATS,
        help="runs of the four main arms, each with its own seed, in turn in both orders",
    )
    parser.add_argument("--output_path", default="out/coin")
    asked = parser.parse_args(argv)
    output = Path(asked.output_path)
    size, jobs = (TINY, 1) if asked.tiny else (FULL, asked.jobs)
    found = study(output, size, jobs=jobs, repeats=asked.repeats)
    claims = claims_of(found)
    write_claims(claims, output, title=TITLE, page=False)
    print(f"written: {write_methods_page(_by_method(found), claims, output / 'index.html', title=TITLE)}")


def _by_method(found: Mapping[str, ResultMatrix]) -> dict[str, ResultMatrix | Mapping[str, ResultMatrix]]:
    """The arms of the page. A method's learning rates are its settings; experts, volumes, wordings and orders stand for themselves."""
    known = arms(len(found))
    shown: dict[str, ResultMatrix | Mapping[str, ResultMatrix]] = {}
    for name in found:
        if ", rate" not in name:
            rates = {
                f"rate {known[other].config.get('learning_rate', RATE):g}": _as_type1(found[other])
                for other in found
                if other == name or other.startswith(f"{name}, rate")
            }
            shown[name] = rates if len(rates) > 1 else _as_type1(found[name])
    return shown


if __name__ == "__main__":
    command_line(main)
