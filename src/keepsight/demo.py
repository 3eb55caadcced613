"""`keepsight demo`: tune the embedded model on one set, audit every epoch on all sets, and hold EMT's findings against the result.

Source: Zhai et al., arXiv:2309.10313, sections 4.2, 5.2, 5.3, 7 and tables 3 to 11. Nothing here expects an outcome: each finding
gets its number, its interval and the verdict that follows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keepsight.data.drawn import ALL_SETS
from keepsight.report.claims import Claim, verdict_on, write_claims
from keepsight.scoring.forgetting import pair_runs
from keepsight.scoring.statistics import PairedDifference, paired_difference
from keepsight.store import require_place
from keepsight.store.files import writing
from keepsight.types import Record, ResultMatrix, Run

if TYPE_CHECKING:
    from keepsight.evaluate import Progress
    from keepsight.tune.progress import OnProgress

__all__ = ["DEMO_TUNING", "TITLE", "TUNED_SET", "audit_demo", "demo", "emt_claims", "tune_demo"]

TITLE = "EMT's findings on the embedded model"

TUNED_SET = "things"  # the embedded model was never taught it
METHODS = ("linear", "lora")
# A learning rate at which three epochs on 1,500 pictures visibly cost something, the same for both methods.
DEMO_TUNING: dict[str, Any] = {
    "learning_rate": 1e-3, "num_train_epochs": 3, "per_device_train_batch_size": 32, "lora_r": 32, "lora_alpha": 64, "lora_dropout": 0.0,
    "save_steps": 0,
}  # fmt: skip


def demo(
    output_path: str | Path = "keepsight-demo",
    *,
    n: int = 120,
    n_train: int | None = None,
    tuned: str = TUNED_SET,
    tuning: Mapping[str, Any] | None = None,
) -> ResultMatrix:
    """Tunes `tiny` on one drawn set (linear and LoRA), audits base and epochs on every set, writes the page and the claims.

    Args:
        output_path: gets `forgetting.html`, `matrix.json`, `claims.json`, and the checkpoints below `tuned/`.
        n: held-out pictures asked of each set.
        n_train: pictures tuned on (default: the whole training split).
        tuned: the drawn set to tune on.
        tuning: fields of SFTConfig that replace `DEMO_TUNING`'s.
    """
    tune_demo(output_path, n=n_train, tuned=tuned, tuning=tuning)
    return audit_demo(output_path, n=n, tuned=tuned)


def tune_demo(
    output_path: str | Path,
    *,
    n: int | None = None,
    tuned: str = TUNED_SET,
    tuning: Mapping[str, Any] | None = None,
    progress: OnProgress | None = None,
) -> list[Path]:
    """The first half: LLaVA JSON of the set, and the directories of both methods' checkpoints.

    Every other row asks with the list of labels: what EMT's short question alone teaches so small a model carries over to the
    closed-world prompt only partly (docs/log.md).
    """
    from keepsight.data.llava import QUESTION, write_llava_json
    from keepsight.tasks.emt import closed_world_prompt
    from keepsight.verbs import fine_tune

    require_place(Path(output_path))
    output, drawn = Path(output_path) / "tuned", ALL_SETS[tuned]
    questions = (QUESTION.format(noun=drawn.noun), closed_world_prompt(drawn.noun, drawn.labels))
    data = output / "data" / "train.json"
    if not os.path.exists(data):
        with writing(data.parent):
            write_llava_json(drawn, data.parent, n=n, questions=questions)
    for method in METHODS:
        settings = {**DEMO_TUNING, **(tuning or {}), "method": method}
        fine_tune("tiny", data, output / method, progress=progress, **settings)
    return [output / method for method in METHODS]


def audit_demo(
    output_path: str | Path, *, n: int = 120, tuned: str = TUNED_SET, progress: Progress | None = None
) -> ResultMatrix:
    """The second half: the audit of base and checkpoints, its page, and EMT's findings."""
    from keepsight.verbs import audit

    output = Path(output_path)
    matrix = audit(
        ["tiny", *(output / "tuned" / method for method in METHODS)], [f"emt:{name}" for name in ALL_SETS], output,
        judges=("label", "embedding", "taxonomy", "llm"), llm_judge="tiny", limit=n, tuned_on=f"emt:{tuned}", progress=progress,
    )  # fmt: skip
    write_claims(emt_claims(matrix, f"emt:{tuned}"), output, title=TITLE, page=False)
    return matrix


def emt_claims(matrix: ResultMatrix, tuned: str) -> list[Claim]:
    """EMT's findings, measured on a matrix whose rows are a base, `linear/epoch-k` and `lora/epoch-k`."""
    base = matrix.rows[0]
    linear, lora = (([row for row in matrix.rows if f"{method}/epoch-" in row]) for method in METHODS)
    others = [col for col in matrix.cols if col != tuned]
    return [
        _difference(
            "Three epochs of LoRA tuning raise accuracy on the tuned set", "section 5.2, Figure 5, Table 11",
            "+42.8 points (LLaVA-7b on MNIST, 56.96 to 99.71)", _change(matrix, base, lora[-1], [tuned]),
        ),
        _difference(
            "Three epochs of linear tuning raise accuracy on the tuned set",
            "section 5.2, Figure 5, Table 10",
            "+41.1 points (LLaVA-7b on MNIST, 56.96 to 98.03)",
            _change(matrix, base, linear[-1], [tuned]),
        ),
        _difference(
            "Three epochs of LoRA tuning cost accuracy on the other sets", "section 5.2, Table 11",
            "-49.7, -33.0, -13.1 points (LLaVA-7b tuned on MNIST; CIFAR-10, CIFAR-100, miniImagenet)", _change(matrix, lora[-1], base, others),
        ),
        _difference(
            "Three epochs of linear tuning cost accuracy on the other sets", "section 5.3, Table 10",
            "-47.5, -24.6, -8.0 points (LLaVA-7b tuned on MNIST)", _change(matrix, linear[-1], base, others),
        ),
        _difference(
            "LoRA tuning forgets more than linear tuning, after as many epochs", "section 5.3, Figures 6 and 7",
            "2.2, 8.4, 5.1 points more (LLaVA-7b tuned on MNIST, three epochs)", _change(matrix, lora[-1], linear[-1], others),
        ),
        _difference(
            "The first epoch of linear tuning improves the other sets", "section 5.3, Figure 6",
            "true of tuning on CIFAR-10, CIFAR-100 and miniImagenet, not on MNIST", _change(matrix, base, linear[0], others),
        ),
        _leak_claim(matrix, base, lora[-1], tuned, others),
        _judge_claim(matrix, lora[-1], others),
    ]  # fmt: skip


def _difference(claim: str, where: str, published: str, change: PairedDifference) -> Claim:
    """A claim that something rose: `change` is current minus reference, in shares; written in points."""
    interval = (-100 * change.high, -100 * change.low)
    return Claim(
        claim,
        f"EMT (arXiv:2309.10313), {where}",
        published,
        0.0 - 100 * change.difference,  # not -0.0
        interval,
        change.n,
        verdict_on(interval),
        "points",
    )


def _change(matrix: ResultMatrix, reference: str, current: str, cols: Sequence[str]) -> PairedDifference:
    """Reference minus current over all samples of the columns, paired by sample."""
    pairings = [pair_runs(matrix[reference, col], matrix[current, col]) for col in cols]
    before = [value for pairing in pairings for value in pairing.reference]
    after = [value for pairing in pairings for value in pairing.current]
    clusters = [(col, cluster) for col, pairing in zip(cols, pairings) for cluster in pairing.clusters]
    return paired_difference(before, after, clusters)


def _leak_claim(matrix: ResultMatrix, base: str, row: str, tuned: str, others: Sequence[str]) -> Claim:
    tag = f"leak:{tuned.removeprefix('emt:')}"

    def leaks(name: str) -> list[float]:
        return [
            float(tag in record.scores["taxonomy"].tags)
            for record in _records(matrix[name, col] for col in others)
        ]

    change = paired_difference(leaks(base), leaks(row))
    return _difference(
        "After tuning, answers on other sets name labels of the tuned set", "section 5.2, Appendix D.2",
        'shown by examples ("The airplane is 8.")', change,
    )  # fmt: skip


def _judge_claim(matrix: ResultMatrix, row: str, others: Sequence[str]) -> Claim:
    """How far the text-embedding judge's accuracy lies above the label judge's, over the same answers."""
    pairs = [
        (r.scores["label"].value, r.scores["embedding"].value)
        for r in _records(matrix[row, col] for col in others)
    ]
    values = np.array([pair for pair in pairs if not np.isnan(pair).any()]).reshape(-1, 2)
    change = paired_difference(values[:, 0].tolist(), values[:, 1].tolist())
    return _difference(
        "The judge decides how much was forgotten: text embeddings call more answers right", "Appendix D.4, Tables 9 to 11",
        "54.9, 40.9, 28.0 points more than the LLM judge (LLaVA-7b LoRA-tuned on MNIST)", change,
    )  # fmt: skip


def _records(runs: Iterable[Run]) -> list[Record]:
    return [record for run in runs for record in run.records]
