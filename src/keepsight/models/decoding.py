"""Choosing tokens: greedy or sampled, one random stream per sample, with the log-probability of each choice.

The choice is made inside a logits processor, so that every model keeps its own generation loop, cache and position
rules: the processor leaves exactly one finite score per row and the loop's argmax can only take that one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from keepsight.types import KeepsightError

__all__ = ["Choice", "Decoding", "Vocabulary", "at_rest", "generation_settings"]


@dataclass(frozen=True)
class Decoding:
    """How answers are decoded. `temperature` 0 is greedy."""

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Vocabulary:
    """Which tokens end an answer, which pad, and which a model must never say."""

    end: frozenset[int]
    pad: int
    forbidden: tuple[int, ...]

    @classmethod
    def of(cls, module: Any, processor: Any) -> Vocabulary:
        """Reads the ids from generation config, tokenizer and config (every `image_token_id`-like entry).

        Raises:
            KeepsightError: no token ends an answer.
        """
        tokenizer = processor.tokenizer
        end = {*_ids(module.generation_config.eos_token_id), *_ids(tokenizer.eos_token_id)}
        if not end:
            raise KeepsightError(
                f"{type(module).__name__}: neither tokenizer nor generation config has an eos token"
            )
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(end)
        marks = {
            value
            for name, value in {**module.config.to_dict(), **vars(processor)}.items()
            if name.endswith(("_token_id", "_token_index"))
            and name.startswith(("image", "video", "vision", "audio"))
        }
        forbidden = {*marks, pad, *_ids(tokenizer.bos_token_id)} - end
        return cls(frozenset(end), pad, tuple(sorted(token for token in forbidden if isinstance(token, int))))


@dataclass
class Choice:
    """A logits processor that chooses the next token of every row and remembers its log-probability.

    Log-probabilities are those of the model's distribution over the tokens it may say, at temperature 1 whatever the
    temperature of the choice. A row whose logits are not numbers ends at once and is listed in `broken`.
    """

    decoding: Decoding
    vocabulary: Vocabulary
    sample_ids: Sequence[str]
    logprobs: list[Any] = field(default_factory=list)  # one [b] tensor per step
    broken: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._streams = [Random(f"{self.decoding.seed}/{name}") for name in self.sample_ids]

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        import torch

        logits = scores.float()  # [b, v]
        logits[:, self._forbidden(logits.shape[1])] = -torch.inf
        failed = logits.isnan().any(dim=-1) | (logits.amax(dim=-1) == -torch.inf)  # [b]
        if failed.any():
            self.broken.update(failed.nonzero().flatten().tolist())
            logits[failed] = 0.0
        logprobs = logits.log_softmax(dim=-1)
        chosen = self._choose(logprobs)  # [b, 1]
        chosen[failed] = min(self.vocabulary.end)
        self.logprobs.append(logprobs.gather(1, chosen).squeeze(1))
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen, 0.0)

    def _forbidden(self, width: int) -> list[int]:
        """A family may have marks beyond what its head can say at all (Llama 3.2's image token)."""
        return [token for token in self.vocabulary.forbidden if token < width]

    def _choose(self, logprobs: Any) -> Any:
        import torch

        if self.decoding.temperature == 0.0:
            return logprobs.argmax(dim=-1, keepdim=True)
        heated = (logprobs / self.decoding.temperature).softmax(dim=-1)
        sorted_p, order = heated.sort(dim=-1, descending=True, stable=True)
        before = sorted_p.cumsum(dim=-1) - sorted_p
        sorted_p = sorted_p.masked_fill(before >= self.decoding.top_p, 0.0)  # the first token always stays
        cumulative = sorted_p.cumsum(dim=-1)
        points = torch.tensor([[stream.random()] for stream in self._streams], device=logprobs.device)
        rank = torch.searchsorted(cumulative, points.to(cumulative) * cumulative[:, -1:], right=True)
        rank = rank.clamp(max=(sorted_p > 0).sum(dim=-1, keepdim=True) - 1)
        return order.gather(1, rank)


@contextmanager
def generation_settings(module: Any, decoding: Decoding, vocabulary: Vocabulary) -> Iterator[Any]:
    """Our settings alone: whatever generation_config.json asks for (sampling, repetition penalty) is set aside.

    `generate` fills every setting left open from the module's own config, so that one is swapped for the time being;
    that of a language model inside, too, which in some families (BLIP-2) is the one that generates.
    """
    from transformers import GenerationConfig

    own = [(part, part.generation_config) for part in module.modules() if "generation_config" in vars(part)]
    ours = GenerationConfig(
        max_new_tokens=decoding.max_new_tokens,
        do_sample=False,
        num_beams=1,
        use_cache=True,
        eos_token_id=sorted(vocabulary.end),
        pad_token_id=vocabulary.pad,
    )
    for part, _ in own:
        part.generation_config = ours
    try:
        yield ours
    finally:
        for part, config in own:
            part.generation_config = config


@contextmanager
def at_rest(module: Any) -> Iterator[None]:
    """The module as it answers: no dropout, no gradients; put back exactly as it was, even in mid-training.

    Parameters do not require gradients meanwhile: torch folds a matmul differently for one that does, and an answer's
    last bit must not depend on who trained before.
    """
    import torch

    parts = list(module.modules())  # walked once: an audit comes here for every batch
    training = [part for part in parts if part.training]
    learning = [p for part in parts for p in part._parameters.values() if p is not None and p.requires_grad]
    for part in training:
        part.training = False
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        with torch.inference_mode():
            yield
    finally:
        for part in training:
            part.training = True
        for parameter in learning:
            parameter.requires_grad_(True)


def _ids(value: int | Sequence[int] | None) -> list[int]:
    if value is None:
        return []
    return [value] if isinstance(value, int) else list(value)
