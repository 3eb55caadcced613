"""Asking a judge's model: each request once, whoever needs the reply, and never again if the reply is remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Protocol

from keepsight.types import VLM, Output, Sample, digest_of

__all__ = ["Asking", "Remembered", "Replies", "ask"]


class Replies(Protocol):
    """What judges have said so far, by request. `store.JudgeReplies` keeps it on disk."""

    def recall(self, key: str) -> Output | None:
        """The reply to this request, if there was one."""
        ...

    def keep(self, key: str, reply: Output) -> None:
        """Remembers a reply as it comes."""
        ...


class Remembered:
    """Replies that are remembered as long as this object lives."""

    def __init__(self) -> None:
        self._replies: dict[str, Output] = {}

    def recall(self, key: str) -> Output | None:
        return self._replies.get(key)

    def keep(self, key: str, reply: Output) -> None:
        self._replies[key] = reply


@dataclass(frozen=True)
class Asking:
    """How a judge's model is asked: everything besides model and prompt that can change a reply."""

    temperature: float
    max_new_tokens: int
    top_p: float
    seed: int


def ask(
    model: VLM,
    questions: Sequence[Sample],
    asking: Asking,
    replies: Replies,
    batch_size: int | None = None,
) -> list[Output]:
    """One reply per question, in their order; equal questions are asked once.

    A reply with `error` means that none came. It is not remembered, so that the next call asks again.

    Args:
        questions: their ids must follow from their texts, or equal questions have two random streams.
        replies: searched first; every new reply is kept the moment it comes.
    """
    keys = [_key(model, question, asking) for question in questions]
    known = {key: replies.recall(key) for key in keys}
    open_questions = {
        key: question for key, question in zip(keys, questions, strict=True) if known[key] is None
    }
    waiting = list(open_questions)
    if waiting:
        answers = model.generate(
            list(open_questions.values()),
            max_new_tokens=asking.max_new_tokens,
            temperature=asking.temperature,
            top_p=asking.top_p,
            seed=asking.seed,
            batch_size=batch_size,
        )
        for index, reply in answers:
            if reply.error is None:
                replies.keep(waiting[index], reply)
            known[waiting[index]] = reply
    silent = Output("", error=f"{model.name} gave no reply")
    return [known[key] or silent for key in keys]


def _key(model: VLM, question: Sample, asking: Asking) -> str:
    return digest_of([model.digest, question.id, question.request_digest, astuple(asking)])
