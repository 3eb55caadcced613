"""Ranking many labels in one packed pass, against the published code's loop: the prompt's cache, then token by token.

That loop hands the same cache to every label; a cache that grows would then hold the labels before. Here it is copied,
as it would have to be.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from benchmarks.label_scoring import largest_difference
from benchmarks.labels import LABELS, PREFIX, Asked
from benchmarks.record import Record
from keepsight.models.bases import on_device
from keepsight.models.prefix import Prefix, read_prefix
from keepsight.models.prompts import without_answers
from keepsight.models.ranking import WAYS, Answers

__all__ = ["measure"]

GOAL = 10


def measure(ref: str = "tiny", labels: int = LABELS, prefix: int = PREFIX) -> Record:
    """Both ways on one picture; log-probabilities must agree."""
    asked = Asked.of(ref, labels, prefix)
    ours, packed = asked.timed(WAYS["packed"])
    theirs, looped = asked.timed(_token_by_token)
    apart = largest_difference(packed, looped)
    detail = (
        f"{ours:.3f} s against {theirs:.1f} s for {labels} labels after {prefix} tokens; log-probabilities differ by at "
        f"most {apart:.1e}"
    )
    return Record("label_scoring_kv", theirs / ours, GOAL, theirs / ours >= GOAL, labels, detail)


def _token_by_token(module: Any, inputs: dict[str, Any], answers: Answers, pad: int) -> Any:
    import torch

    prefix = read_prefix(module, on_device(without_answers(module, inputs, pad), module))
    return torch.stack([_of_label(prefix, answer) for answer in answers])[None]


def _of_label(prefix: Prefix, answer: tuple[int, ...]) -> Any:
    """Sum over one label's tokens, each in a pass of its own."""
    import torch

    branch, mask = prefix.branch(), prefix.mask.long()
    total = prefix.next_logits.log_softmax(dim=-1)[0, answer[0]]
    for depth, (token, following) in enumerate(pairwise(answer)):
        mask = torch.cat([mask, mask.new_ones(1, 1)], dim=1)
        position = prefix.lengths[:, None] + prefix.shift + depth
        logits = prefix.logits_after(torch.tensor([[token]]).to(mask.device), mask, position, branch)
        total = total + logits[0, -1].float().log_softmax(dim=-1)[following]
    return total
