"""Judges by name: further scorers over the same outputs of a task."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from keepsight.errors import UsageError
from keepsight.store import Store
from keepsight.types import VLM, Scorer, Task, TextEmbedder

__all__ = [
    "ASKING",
    "EMBEDDING_ARGS",
    "JUDGES",
    "JUDGE_ARGS",
    "NEED_LABELS",
    "Judges",
    "embedding_args",
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
    "general_knowledge": "another model's rating from 0 to 10, shielded; one model or several; needs --llm_judge",
    "semantic": "how much of the truth the answer says, whatever its form: rules, no model",
}
ASKING = ("llm", "verdict", "general_knowledge")  # the judges that ask a model
WITH_ARGS = ("verdict", "general_knowledge")  # those of them that have settings
OF_ANY_TASK = ("general_knowledge", "semantic")  # they compare with targets; the others read labels
JUDGE_ARGS = ("repeats", "temperature", "max_new_tokens", "top_p", "seed", "max_answer_chars")
EMBEDDING = (
    "embedding."  # in front of its settings: those without a name in front are of judges that ask a model
)
EMBEDDING_ARGS = ("margin", "normalise", "phrase")
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
            raise UsageError(
                f"unknown judge {unknown[0]!r}; choose from {', '.join(JUDGES)}, or give file.py:function"
            )
        asking = [name for name in names if name in ASKING]
        if asking and llm_judge is None:
            raise UsageError(
                f"the {asking[0]} judge needs a model to ask; give --llm_judge REF (llm_judge=... in Python)"
            )
        added = ["llm"] if llm_judge is not None and not asking else []
        self.names = (*names, *added)
        self._llm_judge = llm_judge
        self._embedder = embedder
        self._judge_args = dict(judge_args or {})
        self._embedding_args = embedding_args(self._judge_args)
        if self._embedding_args and "embedding" not in self.names:
            raise UsageError(
                f"judge_args {EMBEDDING}... are the embedding judge's, which was not asked for; add it to --judges"
            )
        if own_args(self._judge_args) and not set(WITH_ARGS) & set(self.names):
            raise UsageError(
                f"judge_args are of {' and '.join(WITH_ARGS)}, and neither was asked for; add one to --judges "
                f"(those of the embedding judge begin with {EMBEDDING})"
            )

    @cached_property
    def _embedding_model(self) -> TextEmbedder:
        from keepsight import models

        return models.load_embedder(self._embedder)

    @cached_property
    def _llms(self) -> list[VLM]:
        refs = self._llm_judge if isinstance(self._llm_judge, (list, tuple)) else [self._llm_judge]
        return [judging_model(ref, self._judge_args) for ref in refs]

    def build(self, name: str, labels: tuple[str, ...], store: Store) -> Scorer:
        """The judge of this name for a label set; one that asks a model looks into `store` first.

        `file.py:function` is called and returns one.
        """
        from keepsight.scoring.judges.embedding import EmbeddingJudge
        from keepsight.scoring.judges.label_match import LabelMatch
        from keepsight.scoring.semantic import Semantic
        from keepsight.scoring.taxonomy import Taxonomy

        if name in ASKING:
            return model_judge(name, self._llms, store, own_args(self._judge_args))
        if ".py:" in name:
            from keepsight.third_party import function_of_file

            return function_of_file(name, "judge")()
        builders: dict[str, Callable[[], Scorer]] = {
            "label": lambda: LabelMatch(labels),
            "taxonomy": lambda: Taxonomy(labels),
            "embedding": lambda: EmbeddingJudge(self._embedding_model, labels, **self._embedding_args),
            "semantic": Semantic,
        }
        return builders[name]()

    def of(self, task: Task, store: Store) -> Task:
        """The task with these judges and those of its own that have no name here.

        A task that is not scored by labels keeps its own, and gets those of these that read no labels.
        """
        if task.score.name != "label":
            known = {judge.name for judge in (task.score, *task.judges)}
            added = [name for name in self.names if name in OF_ANY_TASK and name not in known]
            return replace(
                task, judges=(*task.judges, *(self.build(name, task.labels, store) for name in added))
            )
        own = {judge.name: judge for judge in (*task.judges, task.score)}
        named = [own.get(name) or self.build(name, task.labels, store) for name in self.names]
        others = [judge for judge in task.judges if judge.name not in JUDGES]
        return replace(task, judges=(*named, *others))


def own_args(judge_args: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of judges that ask a model, without those of the server that its model may be behind."""
    from keepsight.models.api import served_arguments

    others = served_arguments()
    return {
        name: value
        for name, value in judge_args.items()
        if name not in others and not name.startswith(EMBEDDING)
    }


def embedding_args(judge_args: Mapping[str, Any]) -> dict[str, Any]:
    """The embedding judge's settings: those named `embedding.margin`, `embedding.normalise`, `embedding.phrase`.

    Several phrases are a list, or one text with `|` between them. Raises UsageError for another name or value.
    """
    found: dict[str, Any] = {}
    for name, value in judge_args.items():
        if not name.startswith(EMBEDDING):
            continue
        key = name.removeprefix(EMBEDDING)
        if key not in EMBEDDING_ARGS:
            choice = ", ".join(EMBEDDING + known for known in EMBEDDING_ARGS)
            raise UsageError(f"judge_args has no {name!r}; choose from {choice}")
        found[key] = value.split("|") if key == "phrase" and isinstance(value, str) else value
        if wanted := _misfit(key, found[key]):
            raise UsageError(f"judge_args {name}={value!r} is not {wanted}")
    return found


def _misfit(key: str, value: Any) -> str:
    """What a setting of the embedding judge should be and is not; empty if it fits."""
    if key == "margin":
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf
        return "" if fits else "a distance of at least 0, such as 0.1"
    if key == "normalise":
        return "" if isinstance(value, bool) else "true or false"
    texts = isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value)
    return "" if texts else "a phrase such as a photo of a {label}."


def judging_model(ref: Any, judge_args: Mapping[str, Any]) -> VLM:
    """The model that a judge asks; a served one takes its settings from among `judge_args`.

    Raises UsageError when there are such settings and the model is not served.
    """
    from keepsight import models

    served = {name: value for name, value in judge_args.items() if name in models.api.served_arguments()}
    model = models.load(ref, **served)
    if served and not isinstance(model, models.ServedModel):
        raise UsageError(
            f"judge_args {next(iter(served))} is for a served judge, and {model.name} is none (api:MODEL@BASE_URL)"
        )
    return model


def model_judge(name: str, models: Sequence[VLM], store: Store, judge_args: Mapping[str, Any]) -> Scorer:
    """The judge of this name that asks `models`, and remembers in `store` what was said.

    Raises UsageError for a name that is none of `ASKING`, for several models where the judge asks one, and for an argument
    that the judge does not have.
    """
    from keepsight.scoring.judges.general_knowledge import GeneralKnowledge
    from keepsight.scoring.judges.llm import LLMYesNo
    from keepsight.scoring.judges.verdict import VerdictJudge

    if name in ASKING and name != "general_knowledge" and len(models) != 1:
        raise UsageError(
            f"the {name} judge asks one model, and {len(models)} were given; general_knowledge asks several"
        )
    if name == "llm":  # the published judge: its settings are the paper's
        return LLMYesNo(models[0], replies=store.judge_replies)
    if name not in WITH_ARGS:
        raise UsageError(f"judge {name!r} asks no model; choose from {', '.join(ASKING)}")
    if unknown := sorted(set(judge_args) - set(JUDGE_ARGS)):
        raise UsageError(f"judge_args has no {unknown[0]!r}; choose from {', '.join(JUDGE_ARGS)}")
    wrong = [key for key, value in judge_args.items() if not _fits(key, value)]
    if wrong:
        raise UsageError(f"judge_args {wrong[0]}={judge_args[wrong[0]]!r} is no number that fits")
    if name == "general_knowledge":
        return GeneralKnowledge(models, replies=store.judge_replies, **judge_args)
    return VerdictJudge(models[0], replies=store.judge_replies, **judge_args)


def _fits(key: str, value: Any) -> bool:
    fractions = key in ("temperature", "top_p")
    return isinstance(value, (int, float) if fractions else int) and not isinstance(value, bool)


def most_requests(name: str, answers: int, judge_args: Mapping[str, Any], models: int = 1) -> int:
    """How often a judge's models are asked at most about so many answers: the verdict judge may repair every reply."""
    if name not in WITH_ARGS:
        return answers
    return answers * int(judge_args.get("repeats", 1)) * (2 if name == "verdict" else models)
