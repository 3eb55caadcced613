"""A training in sequence made up for the report's tests: base and a checkpoint per stage on every task and one unseen one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from keepsight.types import Output, Record, ResultMatrix, Sample, Score
from tests.report.fake_audit import run_of

TASKS = ("choices", "reading", "classes", "attributes", "unanswerable", "boxes", "counts", "covers")


def fake_sequence(
    tasks: Sequence[str] = TASKS,
    *,
    done: int | None = None,
    n: int = 60,
    forgets: float = 0.25,
    learns: float = 0.9,
    unseen: bool = True,
    judge: str | None = "semantic",
    meta: Mapping[str, object] | None = None,
    seed: int = 0,
) -> ResultMatrix:
    """Answers that are right with a falling share; the judge forgives a third of the wrong ones.

    Args:
        done: stages that are over (default: all).
        forgets: the share lost with every later stage.
        judge: a scorer of the same answers that ignores their form.
    """
    stages = tasks[: len(tasks) if done is None else done]
    rows = ["tiny", *(f"{number}-{name}" for number, name in enumerate(stages, 1))]
    cols = [f"drawn:{name}" for name in tasks] + (["emt:shapes"] if unseen else [])
    runs = {
        (row, col): run_of(row, col, _records(at, place, len(tasks), n, forgets, learns, judge, seed, col))
        for at, row in enumerate(rows)
        for place, col in enumerate(cols)
    }
    told = {
        "tuned_on": dict(zip(rows[1:], cols)),
        "sequence": {"stages": list(tasks), "method": "replay", "trained": "lora"},
        **(meta or {}),
    }
    return ResultMatrix(tuple(rows), tuple(cols), runs, told)


def _records(
    at: int,
    place: int,
    tasks: int,
    n: int,
    forgets: float,
    learns: float,
    judge: str | None,
    seed: int,
    col: str,
) -> list[Record]:
    unseen = place >= tasks
    share = (
        0.6 - 0.02 * at if unseen else 0.15 if at <= place else max(0.1, learns - forgets * (at - place - 1))
    )
    records = []
    for index in range(n):
        sample = Sample(f"{col}/{index}", "What is it? Answer with one word.", target=("cat",))
        hard = Random(f"{seed}/{sample.id}").random()
        noise = Random(f"{at}/{seed}/{sample.id}").gauss(0, 0.04)
        right = hard + noise < share
        known = right or hard < 0.33 + 0.6 * share
        output = Output("cat" if right else "It is a cat." if known else "dog", stop="eos")
        scores = {"label": Score(float(right), "cat" if right else "dog")}
        scores["taxonomy"] = Score(float(right), None, "ok", "correct" if right else "incorrect")
        if judge:
            scores[judge] = Score(float(known), "cat" if known else "dog")
        records.append(Record(sample, output, scores))
    return records


def fake_gates(tasks: Sequence[str], experts: int = 8, layers: int = 3) -> dict[str, object]:
    """Gate statistics in which every task prefers one expert a little."""
    even = 1 / experts
    return {
        f"drawn:{task}": {
            "layers": [f"layers.{layer}.q_proj" for layer in range(layers)],
            "mean": [
                [
                    even + (0.4 * even if expert == place % experts else -0.4 * even / (experts - 1))
                    for expert in range(experts)
                ]
            ]
            * layers,
            "entropy": [1.9] * layers,
        }
        for place, task in enumerate(tasks)
    }
