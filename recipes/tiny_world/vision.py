"""Stage 1, the tower: a CLIP trained by contrast with captions, its patches taught beside it to answer for what they show.

Contrast alone spreads an object's identity over its patches, where a small language model cannot read it; naming each patch's
object directly stalls. What works is polling: words query the patch tokens through one layer of cross-attention and must say
whether the picture shows them. The polling head is thrown away afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from keepsight.data.drawn import SETS, SIDE, Picture
from keepsight.data.drawn.cards import RANKS
from keepsight.data.drawn.outlines import KINDS
from keepsight.data.drawn.palette import COLOURS
from recipes.tiny_world.world import SLOTS, Answers, Concept, World, concepts, set_of

__all__ = ["Polling", "augment_digits", "label_captions", "make_clip", "pixel_values", "train_clip"]

PATCH = 12
MEAN = STD = 0.5


def make_clip(tokenizer: Any, *, width: int = 128, layers: int = 4) -> Any:
    """A CLIPModel: ViT of 48 px / 12 px patches (16 patch tokens), a two-layer text tower, 64 joint dimensions."""
    from transformers import CLIPConfig, CLIPModel

    text = {
        "vocab_size": len(tokenizer), "hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4,
        "max_position_embeddings": 48, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": tokenizer.pad_token_id, "projection_dim": 64,
    }  # fmt: skip
    vision = {
        "hidden_size": width, "intermediate_size": 3 * width, "num_hidden_layers": layers, "num_attention_heads": 4,
        "image_size": SIDE, "patch_size": PATCH, "projection_dim": 64,
    }  # fmt: skip
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=64))
    nn.init.normal_(
        model.text_model.embeddings.token_embedding.weight, std=96**-0.5
    )  # the default 0.02 learns far slower
    return model


def pixel_values(pixels: np.ndarray) -> Tensor:
    """[b, 48, 48, 3] uint8 -> [b, 3, 48, 48] float in -1..1, as the shipped image processor does."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255).sub_(MEAN).div_(STD)


def augment_digits(images: Tensor, generator: torch.Generator) -> Tensor:
    """Small turns, scalings and shifts [b, 3, h, w]: there are only 1,437 handwritten digits to learn from."""
    n = len(images)
    angle, scale, dx, dy, shear = (2 * torch.rand(n, 5, generator=generator) - 1).unbind(1)
    angle, scale = 0.22 * angle, 1 + 0.14 * scale
    cos, sin = angle.cos() * scale, angle.sin() * scale
    theta = torch.stack([cos, -sin + 0.2 * shear, 0.14 * dx, sin, cos, 0.14 * dy], 1).view(n, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


class Polling(nn.Module):
    """Words and places ask the patches through one layer of cross-attention. Thrown away after training.

    A word bag asks whether the picture shows it (binary); five learned queries (the whole, four places) must name what is there.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        words = [*KINDS, *COLOURS, *RANKS, *(label for drawn in SETS.values() for label in drawn.labels)]
        self.ids = {word: i + 1 for i, word in enumerate(dict.fromkeys(words))}
        self.words = nn.Embedding(len(self.ids) + 1, width, padding_idx=0)
        self.places = nn.Parameter(torch.randn(5, width) * width**-0.5)
        nn.init.normal_(self.words.weight[1:], std=width**-0.5)
        self.norm, self.query_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.poll = nn.Sequential(
            nn.LayerNorm(2 * width), nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, 1)
        )
        self.label = nn.ModuleDict(
            {name: nn.Linear(width, len(drawn.labels)) for name, drawn in SETS.items()}
        )
        self.colour, self.rank = nn.Linear(width, len(COLOURS)), nn.Linear(width, len(RANKS))
        self.slots = nn.ModuleList(nn.Linear(width, len(options)) for options in SLOTS.values())

    def forward(self, patches: Tensor, bags: Tensor) -> tuple[Tensor, Tensor]:
        """patches [b, p, d], bags [b, q, 2] word ids (0 pads) -> poll logits [b, q], readings [b, 5, d]."""
        asked = self.words(bags).sum(2)  # [b, q, d]
        query = self.query_norm(torch.cat([self.places.expand(len(patches), -1, -1), asked], 1))
        patches = self.norm(patches)
        seen, _ = self.attention(query, patches, patches, need_weights=False)
        logits = self.poll(torch.cat([query[:, 5:], seen[:, 5:]], -1)).squeeze(-1)
        return logits, seen[:, :5]

    def read_loss(self, seen: Tensor, names: Sequence[str], answers: Answers, rows: Sequence[int]) -> Tensor:
        """Mean cross-entropy of the reading heads, every set's label head weighing the same per picture."""
        whole, label = seen[:, 0], torch.from_numpy(answers.label[rows])
        losses = []
        for name in dict.fromkeys(names):
            mine = [i for i, other in enumerate(names) if other == name]
            losses.append(F.cross_entropy(self.label[name](whole[mine]), label[mine], reduction="sum"))
        loss = torch.stack(losses).sum() / len(rows)
        for head, target in ((self.colour, answers.colour), (self.rank, answers.rank)):
            loss = loss + F.cross_entropy(head(whole), torch.from_numpy(target[rows]), reduction="sum") / len(
                rows
            )
        places = torch.from_numpy(answers.places[rows])  # [b, 4, 4]
        for k, head in enumerate(self.slots):
            loss = loss + F.cross_entropy(head(seen[:, 1:]).flatten(0, 1), places[:, :, k].flatten()) / 2
        return loss

    def batch(self, found: Sequence[Sequence[Concept]]) -> tuple[Tensor, Tensor, Tensor]:
        """Lists of concepts -> bags [b, q, 2], answers [b, q], weights [b, q] (0 on padding)."""
        most = max(map(len, found))
        bags = np.zeros((len(found), most, 2), np.int64)
        answers, weights = np.zeros((2, len(found), most), np.float32)
        for i, bag_list in enumerate(found):
            for j, (words, answer) in enumerate(bag_list):
                bags[i, j, : len(words)] = [self.ids[word] for word in words]
                answers[i, j], weights[i, j] = answer, 1
        return torch.from_numpy(bags), torch.from_numpy(answers), torch.from_numpy(weights)


def label_captions() -> list[str]:
    """The plainest caption of every class of every set, always among the texts a picture is contrasted with."""
    captions = []
    for drawn in SETS.values():
        for label in drawn.labels:
            facts = {"card": label, "colour": "red", "objects": [{"kind": label, "colour": "red"}]}
            captions.append(drawn.captions(Picture("", label, np.zeros(0, np.uint8), facts), Random(0))[0])
    return captions


def contrast(
    model: Any, images: Tensor, captions: Sequence[Sequence[str]], tokenizer: Any
) -> tuple[Tensor, Tensor]:
    """Symmetric InfoNCE with all captions of a picture as its positives, and every class's caption as a negative at least.

    Contrast within the batch alone is mostly between sets, which is easy, and leaves the classes of a set unlearned for long.

    Returns the loss and the patch tokens [b, p, d].
    """
    texts = list(dict.fromkeys([text for own in captions for text in own] + label_captions()))
    tokens = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")
    seen = model.vision_model(images)
    image = F.normalize(model.visual_projection(seen.pooler_output), dim=-1)
    text = F.normalize(model.text_projection(model.text_model(**tokens).pooler_output), dim=-1)
    logits = model.logit_scale.exp() * image @ text.T  # [b, t]
    place = {t: i for i, t in enumerate(texts)}
    own = torch.zeros_like(logits)
    for row, mine in enumerate(captions):
        own[row, [place[t] for t in mine]] = 1
    used = own.sum(0) > 0
    to_text = own / own.sum(1, keepdim=True) * logits.log_softmax(1)
    to_image = (own / own.sum(0, keepdim=True).clamp(min=1) * logits.log_softmax(0))[:, used]
    return -to_text.sum(1).mean() / 2 - to_image.sum(0).mean() / 2, seen.last_hidden_state[:, 1:]


def train_clip(
    model: Any,
    tokenizer: Any,
    world: World,
    polling: Polling,
    *,
    steps: int,
    batch: int = 112,
    lr: float = 2e-3,
    seed: int = 0,
    log: Callable[[str], None] = print,
    check: Callable[[], object] = lambda: None,
    check_every: int = 1000,
) -> None:
    """Contrast and polling together on one cosine."""
    parameters = [*model.parameters(), *polling.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, lr, total_steps=steps, pct_start=0.05, anneal_strategy="cos"
    )
    generator = torch.Generator().manual_seed(seed)
    rng = Random(seed)
    started, running = time.time(), np.full(3, np.nan)
    for step, rows in zip(range(steps), world.batches(batch, seed)):
        pictures = [world.pictures[i] for i in rows]
        images = pixel_values(world.pixels[rows])
        digits = [i for i, p in enumerate(pictures) if set_of(p) == "digits"]
        images[digits] = augment_digits(images[digits], generator)
        captions = [SETS[set_of(p)].captions(p, rng) for p in pictures]
        bags, answers, weights = polling.batch([concepts(p, rng)[:12] for p in pictures])
        loss_contrast, patches = contrast(model, images, captions, tokenizer)
        logits, seen = polling(patches, bags)
        loss_read = polling.read_loss(seen, [set_of(p) for p in pictures], world.answers, rows)
        losses = F.binary_cross_entropy_with_logits(logits, answers, reduction="none")
        loss_poll = ((losses * weights).sum(1) / weights.sum(1)).mean()
        loss = loss_contrast + loss_poll + loss_read
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=4.0)
        right = ((((logits > 0) == (answers > 0.5)).float() * weights).sum() / weights.sum()).item()
        now = np.array([loss_contrast.item(), loss_read.item(), right])
        running = np.where(np.isnan(running), now, 0.98 * running + 0.02 * now)
        if step % 100 == 99:
            log(
                f"clip {step + 1}/{steps} contrast {running[0]:.3f} read {running[1]:.3f} right {running[2]:.3f} {time.time() - started:.0f}s"
            )
        if step % check_every == check_every - 1:
            check()
