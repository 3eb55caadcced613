"""Judges by name: further scorers over the same outputs of a classification task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from keepsight.types import VLM, KeepsightError, Scorer, Task, TextEmbedder

__all__ = ["JUDGES", "Judges"]

JUDGES: Mapping[str, str] = {
    "label": "whole-word match of label names, the longest first; the headline score",
    "embedding": "the nearest label phrase in a text embedding",
    "taxonomy": "how an answer failed: incorrect, intrinsic or extrinsic hallucination, leaks",
    "llm": "another model's yes or no; needs --llm_judge",
}


class Judges:
    """The judges that were asked for. The models behind them are loaded once for all tasks, and only when needed."""

    def __init__(self, names: Sequence[str], llm_judge: Any, embedder: Any) -> None:
        if unknown := [name for name in names if name not in JUDGES]:
            raise KeepsightError(f"unknown judge {unknown[0]!r}; choose from {', '.join(JUDGES)}")
        if "llm" in names and llm_judge is None:
            raise KeepsightError(
                "the llm judge needs a model to ask; give --llm_judge REF (llm_judge=... in Python)"
            )
        added = ["llm"] if llm_judge is not None and "llm" not in names else []
        self.names = (*names, *added)
        self._llm_judge = llm_judge
        self._embedder = embedder

    @cached_property
    def _embedding_model(self) -> TextEmbedder:
        from keepsight import models

        return models.load_embedder(self._embedder)

    @cached_property
    def _llm(self) -> VLM:
        from keepsight import models

        return models.load(self._llm_judge)

    def build(self, name: str, labels: tuple[str, ...]) -> Scorer:
        """The judge of this name for a label set."""
        from keepsight.scoring.judges.embedding import EmbeddingJudge
        from keepsight.scoring.judges.label_match import LabelMatch
        from keepsight.scoring.judges.llm import LLMYesNo
        from keepsight.scoring.taxonomy import Taxonomy

        builders: dict[str, Callable[[], Scorer]] = {
            "label": lambda: LabelMatch(labels),
            "taxonomy": lambda: Taxonomy(labels),
            "embedding": lambda: EmbeddingJudge(self._embedding_model, labels),
            "llm": lambda: LLMYesNo(self._llm),
        }
        return builders[name]()

    def of(self, task: Task) -> Task:
        """The task with these judges and those of its own that have no name here; a task scored otherwise keeps its own."""
        if task.score.name != "label":
            return task
        own = {judge.name: judge for judge in (*task.judges, task.score)}
        named = [own.get(name) or self.build(name, task.labels) for name in self.names]
        others = [judge for judge in task.judges if judge.name not in JUDGES]
        return replace(task, judges=(*named, *others))
