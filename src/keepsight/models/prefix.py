"""A prompt read once: its keys and values, the prediction after it, and what a continuation needs to know of it.

transformers' caches grow where they are used; a *branch* grows by itself and leaves the prompt's tensors alone.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Prefix", "read_prefix"]


@dataclass(frozen=True)
class Prefix:
    """A batch of prompts of lengths `lengths` [b] in `width` columns, padded on the right."""

    module: Any
    cache: Any
    mask: Any  # bool [b, s]
    lengths: Any  # [b]
    next_logits: Any  # float32 [b, v]: of the first token after the prompt
    shift: Any  # [b, 1]: what M-RoPE adds to a place to get its position; 0 elsewhere

    @property
    def width(self) -> int:
        return int(self.mask.shape[1])

    def row(self, at: int) -> Prefix:
        """One prompt alone, without its padding columns' batch mates."""
        import torch

        branch = self.branch()
        branch.batch_select_indices(torch.tensor([at], device=self.mask.device))
        picked = {
            name: getattr(self, name)[at : at + 1] for name in ("mask", "lengths", "next_logits", "shift")
        }
        return Prefix(self.module, branch, **picked)

    def branch(self, repeats: int = 1) -> Any:
        """A cache that starts with the prompt's keys and values, every row `repeats` times."""
        branch = copy.copy(self.cache)
        branch.layers = [copy.copy(layer) for layer in self.cache.layers]
        if repeats > 1:
            branch.batch_repeat_interleave(repeats)
        return branch

    def logits_after(self, input_ids: Any, attention_mask: Any, position_ids: Any, branch: Any) -> Any:
        """Logits at each of `input_ids` [b, m], which follow the prompt as mask and positions say: [b, m, v]."""
        if _rotating_in_sections(self.module):
            position_ids = position_ids.unsqueeze(0).expand(3, -1, -1)
        return self.module(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=True,
            **{_cache_argument(self.module): branch},
        ).logits


def read_prefix(module: Any, inputs: Mapping[str, Any]) -> Prefix:
    """One forward pass over right-padded prompts."""
    import torch

    mask = inputs["attention_mask"].bool()  # [b, s]
    lengths = mask.sum(dim=1)  # [b]
    kept = int(mask.shape[1] - lengths.min()) + 1  # the last token of the shortest prompt and all after it
    _forget_shift(module)
    lean = {"logits_to_keep": kept} if "logits_to_keep" in _parameters(module) else {}
    said = module(**inputs, use_cache=True, **lean)
    first = said.logits.shape[1] - mask.shape[1]  # column of the first logits kept, counted from 0 backwards
    last = lengths - 1 + first  # [b]
    logits = said.logits[torch.arange(len(last), device=last.device), last].float()
    cache = getattr(said, "cache", None)
    cache = cache if cache is not None else said.past_key_values
    return Prefix(module, cache, mask, lengths, logits, _shift(module, lengths))


def _rotating_in_sections(module: Any) -> list[Any]:
    """The parts that keep M-RoPE's shift: positions are three numbers there (time, row, column), all alike for text."""
    return [part for part in (module, getattr(module, "model", None)) if hasattr(part, "rope_deltas")]


def _forget_shift(module: Any) -> None:
    """A prompt without pictures leaves the shift of the prompt before it standing."""
    for part in _rotating_in_sections(module):
        part.rope_deltas = None


def _shift(module: Any, lengths: Any) -> Any:
    import torch

    known = [part.rope_deltas for part in _rotating_in_sections(module) if part.rope_deltas is not None]
    return known[0].reshape(-1, 1).to(lengths) if known else torch.zeros_like(lengths)[:, None]


def _cache_argument(module: Any) -> str:
    """`cache` since transformers 5.24, `past_key_values` before."""
    return "cache" if "cache" in _parameters(module) else "past_key_values"


def _parameters(module: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(module.forward).parameters
