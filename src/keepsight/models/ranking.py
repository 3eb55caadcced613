"""log p(choice | prompt, pictures): prompt and choice in one padded batch, the choice's tokens read off."""

from __future__ import annotations

from typing import Any

from keepsight.models.prompts import answer_ids, render
from keepsight.types import KeepsightError, Sample

__all__ = ["choice_ids", "logprob_of_answers"]


def choice_ids(
    processor: Any, prompt_text: str, sample: Sample, choice: str, end: frozenset[int]
) -> list[int]:
    """The choice's tokens after the prompt, without those that end the turn.

    Raises:
        KeepsightError: the choice has no tokens of its own.
    """
    ids = answer_ids(processor, prompt_text, render(processor, sample, choice).rstrip())
    stop = next((at for at, token in enumerate(ids) if token in end), len(ids))
    if stop == 0:
        raise KeepsightError(f"sample {sample.id}: choice {choice!r} has no tokens")
    return ids[:stop]


def logprob_of_answers(module: Any, inputs: dict[str, Any], reduction: str) -> list[float]:
    """Sum or mean of the answers' token log-probabilities, one per row.

    Args:
        inputs: right-padded, with `answer_mask` [b, s] (see `prompts.with_answers`).
    """
    inputs = dict(inputs)
    target = inputs.pop("answer_mask")[:, 1:]  # [b, s-1]: the token at t is predicted at t-1
    logits = module(**inputs).logits[:, :-1][target].float()  # [n, v]: the answers' positions alone
    chosen = inputs["input_ids"][:, 1:][target]  # [n]
    logprobs = logits.log_softmax(dim=-1).gather(1, chosen[:, None]).squeeze(1)  # [n]
    rows = logprobs.split(target.sum(dim=1).tolist())
    return [float(row.mean() if reduction == "mean" else row.sum()) for row in rows]
