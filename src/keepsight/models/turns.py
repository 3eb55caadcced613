"""What a training sample adds to its prompt: the answer, or in a conversation every answer and question."""

from __future__ import annotations

from typing import Any

from keepsight.models.prompts import answer_ids, asked_messages, render_messages, text_message
from keepsight.types import KeepsightError, Sample

__all__ = ["Tokens", "learnt_tokens"]

Tokens = list[tuple[int, bool]]  # (token, whether it is learnt)


def learnt_tokens(processor: Any, text: str, sample: Sample) -> Tokens:
    """Tokens after the sample's rendered prompt `text`; each answer is learnt, with the token that ends its turn.

    `meta["turns"]` holds the exchanges after the first, `[[question, answer], ...]`.

    Raises:
        KeepsightError: no target, or a chat template that rewrites earlier turns when later ones follow.
    """
    if not sample.target:
        raise KeepsightError(f"sample {sample.id} has no target to learn")
    messages = asked_messages(processor, sample)
    first = len(messages) + 1  # before that the text was rendered whole
    tokens: Tokens = []
    for number, (question, answer) in enumerate([("", sample.target[0]), *sample.meta.get("turns", ())]):
        if number:
            messages.append(text_message("user", question))
            text = _extended(processor, sample, messages, text, tokens, first, answer_next=True)
        messages.append(text_message("assistant", answer))
        text = _extended(processor, sample, messages, text, tokens, first, answer_next=False)
    return tokens[: _last_learnt(tokens) + 1]  # nothing is learnt after the last turn's end


def _extended(
    processor: Any,
    sample: Sample,
    messages: list[dict[str, Any]],
    text: str,
    tokens: Tokens,
    first: int,
    *,
    answer_next: bool,
) -> str:
    """Adds to `tokens` what the newest message adds to `text`, and returns the longer text."""
    longer = render_messages(processor, messages, answer_next=answer_next)
    if len(messages) > first and not longer.startswith(text):
        raise KeepsightError(
            f"sample {sample.id}: the model's chat template rewrites earlier turns of a conversation; "
            "split it into rows of one exchange"
        )
    (added,) = answer_ids(processor, text, [longer])
    tokens += _question(added) if answer_next else _answer(added, processor.tokenizer.eos_token_id)
    return longer


def _question(ids: list[int]) -> Tokens:
    return [(token, False) for token in ids]


def _answer(ids: list[int], end: int) -> Tokens:
    """Learnt up to the end token, which is added where the template writes none."""
    if end not in ids:
        ids = [*ids, end]
    length = ids.index(end) + 1
    return [(token, at < length) for at, token in enumerate(ids)]


def _last_learnt(tokens: Tokens) -> int:
    return max(at for at, (_, learnt) in enumerate(tokens) if learnt)
