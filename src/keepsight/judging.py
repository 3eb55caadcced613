"""Judges by name: further scorers over the same outputs of a classification task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from keepsight.store import Store
from keepsight.types import VLM, KeepsightError, Scorer, Task, TextEmbedder

__all__ = [
    "ASKING",
    "JUDGES",
    "JUDGE_ARGS",
    "NEED_LABELS",
    "Judges",
    "judging_model",
    "model_judge",
    "most_requests",
    "own_args",
]

JUDGES: Mapping[str, str] = {
    "label": "whole-word match of label names, the longest first; the headline score",
    "embedding": "the nearest label phrase in a text embedding",
    "taxonomy": "how an answer failed: incorrect, intrinsic or extrinsic hallucination, leaks",
    "llm": "another model's yes or no to EMT's own prompt, unshielded; needs --llm_judge",
    "verdict": "another model's verdict in JSON, shielded from what the answer says; needs --llm_judge",
}
ASKING = ("llm", "verdict")  # the judges that ask a model
JUDGE_ARGS = ("repeats", "temperature", "max_new_tokens", "top_p", "seed", "max_answer_chars")
NEED_LABELS = ("label", "embedding", "taxonomy")


class Judges:
    """The judges that were asked for. The models behind them are loaded once for all tasks, and only when needed.

    A model to ask without a judge that asks it adds `llm`.
    """

    def __init__(
        self,
        names: Sequence[str],
        llm_judge: Any,
        embedder: Any,
        judge_args: Mapping[str, Any] | None = None,
    ) -> None:
        if unknown := [name for name in names if name not in JUDGES and ".py:" not in name]:
            raise KeepsightError(
                f"unknown judge {unknown[0]!r}; choose from {', '.join(JUDGES)}, or give file.py:function"
            )
        asking = [name for name in names if name in ASKING]
        if asking and llm_judge is None:
            raise KeepsightError(
                f"the {asking[0]} judge needs a model to ask; give --llm_judge REF (llm_judge=... in Python)"
            )
        added = ["llm"] if llm_judge is not None and not asking else []
        self.names = (*names, *added)
        self._llm_judge = llm_judge
        self._embedder = embedder
        self._judge_args = dict(judge_args or {})
        if own_args(self._judge_args) and "verdict" not in self.names:
            raise KeepsightError(
                "judge_args are the verdict judge's, which was not asked for; add it to --judges"
            )

    @cached_property
    def _embedding_model(self) -> TextEmbedder:
        from keepsight import models

        return models.load_embedder(self._embedder)

    @cached_property
    def _llm(self) -> VLM:
        return judging_model(self._llm_judge, self._judge_args)

    def build(self, name: str, labels: tuple[str, ...], store: Store) -> Scorer:
        """The judge of this name for a label set; one that asks a model looks into `store` first.

        `file.py:function` is called and returns one.
        """
        from keepsight.scoring.judges.embedding import EmbeddingJudge
        from keepsight.scoring.judges.label_match import LabelMatch
        from keepsight.scoring.taxonomy import Taxonomy

        if name in ASKING:
            return model_judge(name, self._llm, store, own_args(self._judge_args))
        if ".py:" in name:
            from keepsight.tasks import function_of_file

            return function_of_file(name, "judge")()
        builders: dict[str, Callable[[], Scorer]] = {
            "label": lambda: LabelMatch(labels),
            "taxonomy": lambda: Taxonomy(labels),
            "embedding": lambda: EmbeddingJudge(self._embedding_model, labels),
        }
        return builders[name]()

    def of(self, task: Task, store: Store) -> Task:
        """The task with these judges and those of its own that have no name here; a task scored otherwise keeps its own."""
        if task.score.name != "label":
            return task
        own = {judge.name: judge for judge in (*task.judges, task.score)}
        named = [own.get(name) or self.build(name, task.labels, store) for name in self.names]
        others = [judge for judge in task.judges if judge.name not in JUDGES]
        return replace(task, judges=(*named, *others))


def own_args(judge_args: Mapping[str, Any]) -> dict[str, Any]:
    """The judge's own settings, without those of the server that its model may be behind."""
    from keepsight.models.api import served_arguments

    return {name: value for name, value in judge_args.items() if name not in served_arguments()}


def judging_model(ref: Any, judge_args: Mapping[str, Any]) -> VLM:
    """The model that a judge asks; a served one takes its settings from among `judge_args`.

    Raises KeepsightError when there are such settings and the model is not served.
    """
    from keepsight import models

    own = own_args(judge_args)
    served = {name: value for name, value in judge_args.items() if name not in own}
    model = models.load(ref, **served)
    if served and not isinstance(model, models.ServedModel):
        raise KeepsightError(
            f"judge_args {next(iter(served))} is for a served judge, and {model.name} is none (api:MODEL@BASE_URL)"
        )
    return model


def model_judge(name: str, model: VLM, store: Store, judge_args: Mapping[str, Any]) -> Scorer:
    """The judge of this name that asks `model`, and remembers in `store` what was said.

    Raises KeepsightError for a name that is none of `ASKING`, and for an argument that the judge does not have.
    """
    from keepsight.scoring.judges.llm import LLMYesNo
    from keepsight.scoring.judges.verdict import VerdictJudge

    if name == "llm":  # the published judge: its settings are the paper's
        return LLMYesNo(model, replies=store.judge_replies)
    if name != "verdict":
        raise KeepsightError(f"judge {name!r} asks no model; choose from {', '.join(ASKING)}")
    if unknown := sorted(set(judge_args) - set(JUDGE_ARGS)):
        raise KeepsightError(f"judge_args has no {unknown[0]!r}; choose from {', '.join(JUDGE_ARGS)}")
    wrong = [key for key, value in judge_args.items() if not _fits(key, value)]
    if wrong:
        raise KeepsightError(f"judge_args {wrong[0]}={judge_args[wrong[0]]!r} is no number that fits")
    return VerdictJudge(model, replies=store.judge_replies, **judge_args)


def _fits(key: str, value: Any) -> bool:
    fractions = key in ("temperature", "top_p")
    return isinstance(value, (int, float) if fractions else int) and not isinstance(value, bool)


def most_requests(name: str, answers: int, judge_args: Mapping[str, Any]) -> int:
    """How often a judge's model is asked at most about so many answers: the verdict judge may repair every reply."""
    return answers * 2 * int(judge_args.get("repeats", 1)) if name == "verdict" else answers
