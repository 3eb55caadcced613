"""log p(choice | prompt, pictures) from a server that gives the log-probabilities of a prompt's own tokens.

The chat protocol has no such request. vLLM adds three fields that make one: `continue_final_message` lets the prompt end
inside the assistant's turn, `prompt_logprobs` gives log p of every prompt token, `return_token_ids` the tokens. A choice
is asked as the start of the answer; its tokens are those after the tokens of the bare question, which is asked, too.
Other servers ignore the fields or refuse them, and are refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from keepsight.models.api.asking import Failure, Question
from keepsight.models.api.budget import Usage
from keepsight.models.api.chat import Unusable, is_number, request_body
from keepsight.models.api.options import ServedOptions
from keepsight.types import KeepsightError, Sample

__all__ = ["Ranking", "ScoredPrompt", "ranked"]


@dataclass(frozen=True)
class ScoredPrompt:
    """Tokens of a prompt and, where they were asked for, their log-probabilities. None: the server does not tell."""

    token_ids: tuple[int, ...] | None
    logprobs: tuple[float, ...] | None


@dataclass(frozen=True)
class Ranking:
    """How a choice becomes a question."""

    model: str
    options: ServedOptions
    reduction: str

    def question(self, sample: Sample, choice: str | None, expected: Usage) -> Question[ScoredPrompt]:
        """Asks for the tokens of the sample's prompt, followed by `choice` if there is one."""
        body = partial(self._body, sample, choice)
        return Question(body, _scored_prompt, expected, slow=bool(sample.media))

    def _body(self, sample: Sample, choice: str | None) -> dict[str, Any]:
        settings: dict[str, Any] = {"max_tokens": 1, "temperature": 0.0, "return_token_ids": True}
        if choice is not None:
            settings |= {"prompt_logprobs": 1, "add_generation_prompt": False, "continue_final_message": True}
        body = request_body(self.model, sample, settings, replace(self.options, logprobs=False))
        if choice is not None:
            body["messages"] = [*body["messages"], {"role": "assistant", "content": choice}]
        return body

    def score(self, prompt: ScoredPrompt, whole: ScoredPrompt) -> float | None:
        """log p of what `whole` adds to `prompt`; nan where the two do not fit, None where the server does not tell."""
        if prompt.token_ids is None or whole.token_ids is None or whole.logprobs is None:
            return None
        start = len(prompt.token_ids)
        added = whole.logprobs[start:]
        # A template that closes or rewrites the turn, or a tokenizer that merges over the seam.
        if whole.token_ids[:start] != prompt.token_ids or not added:
            return math.nan
        return sum(added) / len(added) if self.reduction == "mean" else sum(added)


def _scored_prompt(reply: Mapping[str, Any]) -> ScoredPrompt:
    if not isinstance(reply.get("choices"), list):
        raise Unusable("a reply without choices")
    ids, entries = reply.get("prompt_token_ids"), reply.get("prompt_logprobs")
    if not isinstance(ids, list):
        return ScoredPrompt(None, None)
    if not isinstance(entries, list):
        return ScoredPrompt(tuple(ids), None)
    if len(entries) != len(ids):
        raise Unusable("a reply with log-probabilities for another number of tokens than it has")
    return ScoredPrompt(tuple(ids), tuple(_logprob(token, entry) for token, entry in zip(ids, entries)))


def _logprob(token: int, entry: Any) -> float:
    """log p of `token`; the first token of a prompt has none."""
    found = entry.get(str(token)) if isinstance(entry, dict) else None
    value = found.get("logprob") if isinstance(found, dict) else None
    return float(value) if is_number(value) else math.nan


def ranked(
    answers: Iterable[tuple[int, ScoredPrompt | Failure]],
    samples: Sequence[Sample],
    ranking: Ranking,
    name: str,
) -> Iterator[tuple[int, tuple[float, ...]]]:
    """Puts the answers of a sample together as soon as all are there.

    Raises:
        KeepsightError: the server does not tell log-probabilities.
    """
    places = [(index, at) for index, sample in enumerate(samples) for at in range(1 + len(sample.choices))]
    found: dict[int, dict[int, ScoredPrompt | Failure]] = {}
    for place, answer in answers:
        index, at = places[place]
        mine = found.setdefault(index, {})
        mine[at] = answer
        if len(mine) == 1 + len(samples[index].choices):
            yield index, _logprobs_of(found.pop(index), ranking, name)


def _logprobs_of(
    answers: Mapping[int, ScoredPrompt | Failure], ranking: Ranking, name: str
) -> tuple[float, ...]:
    prompt, *choices = (answers[at] for at in range(len(answers)))
    scores = [
        math.nan
        if isinstance(prompt, Failure) or isinstance(choice, Failure)
        else ranking.score(prompt, choice)
        for choice in choices
    ]
    if None in scores:
        raise KeepsightError(
            f"model {name} cannot rank choices: its server gives no log-probabilities of a prompt's tokens "
            "(vLLM does); ask it to generate instead"
        )
    return tuple(math.nan if score is None else score for score in scores)
