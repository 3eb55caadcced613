"""What is known of questions before they are asked: their titles, how often they ask the model, which of them train.

A question that is not in `COSTS` only asks, nobody knows how much.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from keepsight.diagnose import QUESTIONS

__all__ = ["COSTS", "Cost", "Sizes", "cost_of", "question_titles"]


@dataclass(frozen=True)
class Sizes:
    """How many pictures and labels a study has."""

    test: int
    validation: int
    train: int
    labels: int


@dataclass(frozen=True)
class Cost:
    """`requests` counts the pictures that the model is shown, at most; `work` says in words what is done."""

    work: str
    requests: Callable[[Sizes], int] | None = None
    trains: bool = False  # asked only when named
    reads_corpus: bool = False  # asked when a corpus is given, or when named


COSTS: Mapping[str, Cost] = {
    "gap": Cost("asks with and without the labels", lambda of: 2 * of.test),
    "prompts": Cost("asks in eight ways", lambda of: 8 * (of.test + of.validation)),
    "label_sets": Cost(
        "asks with 2, 5, 20, 100 and all labels",
        lambda of: of.test * (1 + sum(size < of.labels for size in (2, 5, 20, 100))),
    ),
    "decoding": Cost("answers once, ranks the labels twice", lambda of: 3 * of.test + 2 * of.validation + 4),
    "probe": Cost("reads hidden states, fits linear probes", lambda of: of.test + of.validation + of.train),
    "frequency": Cost("reads the corpora, asks once", lambda of: of.test, reads_corpus=True),
    "too_little": Cost("reads the corpora", lambda of: 0, reads_corpus=True),
    "objective": Cost("trains by text and by a head", trains=True),
    "mixing": Cost("trains once per mixing ratio", trains=True),
}


def cost_of(question: str) -> Cost:
    return COSTS.get(question, Cost("asks"))


def question_titles() -> dict[str, str]:
    """Name of every question -> the first line of its docstring."""
    return {name: (inspect.getdoc(ask) or "").partition("\n")[0] for name, ask in QUESTIONS.items()}
