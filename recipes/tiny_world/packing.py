"""All turns of one picture in one row: they share its prefix, and a block mask keeps them from seeing each other.

Each turn sees the prefix and itself only, with positions as if it stood alone: exactly the single-turn prompt, at a fraction of
the cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Packer", "Turn", "answers_loss", "optimiser_of"]

ANSWER = " ASSISTANT:"


@dataclass(frozen=True)
class Turn:
    """A question and its answer as the chat template writes them."""

    question: str
    answer: str


class Packer:
    """Packs pictures (or texts) and their turns into one masked batch."""

    def __init__(self, tokenizer: Any, image_tokens: int = 16) -> None:
        self.encode = lru_cache(maxsize=200_000)(
            lambda text: tuple(tokenizer(text, add_special_tokens=False).input_ids)
        )
        self.bos, self.eos = tokenizer.bos_token_id, tokenizer.eos_token_id
        image = tokenizer.convert_tokens_to_ids("<image>")
        self.image_prefix = (self.bos, *self.encode("USER: "), *[image] * image_tokens, *self.encode("\n"))

    def length(self, turn: Turn) -> int:
        return len(self.encode(turn.question + ANSWER)) + len(self.encode(f" {turn.answer}")) + 1

    def text_prefix(self, text: str) -> tuple[int, ...]:
        return (self.bos, *self.encode(f"USER: {text}"), *self.encode("\n"))

    def pack(
        self, prefixes: Sequence[tuple[int, ...]], turns: Sequence[Sequence[Turn]], ends: bool = True
    ) -> dict[str, Tensor]:
        """ids, positions, labels [b, s] and mask [b, 1, s, s]; only answers (and `</s>` if `ends`) have labels."""
        rows = [self._row(prefix, mine, ends) for prefix, mine in zip(prefixes, turns)]
        length = max(len(row[0]) for row in rows)
        ids, positions, labels, blocks = np.zeros((4, len(rows), length), np.int64)
        labels[:] = -100
        blocks[:] = -1
        for i, row in enumerate(rows):
            for target, values in zip((ids, positions, labels, blocks), row):
                target[i, : len(values)] = values
        block = torch.from_numpy(blocks)
        same = block[:, :, None] == block[:, None, :]
        mask = (same | (block == 0)[:, None, :]) & torch.ones(length, length, dtype=torch.bool).tril()
        return {
            "ids": torch.from_numpy(ids),
            "positions": torch.from_numpy(positions),
            "labels": torch.from_numpy(labels),
            "mask": mask[:, None],
        }

    def _row(
        self, prefix: tuple[int, ...], turns: Sequence[Turn], ends: bool
    ) -> tuple[list[int], list[int], list[int], list[int]]:
        ids, labels = list(prefix), [-100] * len(prefix)
        positions, blocks = list(range(len(prefix))), [0] * len(prefix)
        for number, turn in enumerate(turns, 1):
            question, answer = self.encode(turn.question + ANSWER), self.encode(f" {turn.answer}")
            end = (self.eos,) if ends else ()
            block = (*question, *answer, *end)
            ids += block
            labels += [-100] * (len(question) - 1) + [
                *answer,
                *end,
                -100,
            ]  # each position learns the next token
            positions += range(len(prefix), len(prefix) + len(block))
            blocks += [number] * len(block)
        return ids, positions, labels, blocks


def answers_loss(
    model: Any, batch: dict[str, Tensor], features: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean cross-entropy over the labelled positions; also their labels [k] and predictions [k]. Labels are already shifted."""
    embeds = model.get_input_embeddings()(batch["ids"])
    if features is not None:
        image = model.model.multi_modal_projector(features)
        embeds = embeds.masked_scatter(
            (batch["ids"] == model.config.image_token_id)[..., None], image.to(embeds.dtype)
        )
    hidden = model.model.language_model(
        inputs_embeds=embeds, attention_mask=batch["mask"], position_ids=batch["positions"], use_cache=False
    ).last_hidden_state
    chosen = batch["labels"] >= 0
    logits, labels = model.lm_head(hidden[chosen]), batch["labels"][chosen]
    return F.cross_entropy(logits, labels), labels, logits.argmax(-1)


def optimiser_of(parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.AdamW:
    return torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.98), weight_decay=0.01)
