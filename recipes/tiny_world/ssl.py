"""Stage 5, a second pair of eyes: a small Dinov2 trained by SimCLR on the same pictures, without a word of text.

Two views of each picture (place, colour, noise; no mirror, since directions carry meaning) must find each other among all others in
the batch (Chen et al., arXiv:2002.05709, equation 1). What language never asks for, such as exact layout, is kept better here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from keepsight.data.drawn import SIDE
from recipes.tiny_world.vision import PATCH, pixel_values
from recipes.tiny_world.world import World

__all__ = ["build_ssl", "make_encoder", "view"]

TEMPERATURE = 0.2


def make_encoder() -> Any:
    """A Dinov2Model: ViT of width 96, four layers, 16 patches."""
    from transformers import Dinov2Config, Dinov2Model

    return Dinov2Model(
        Dinov2Config(
            hidden_size=96,
            num_hidden_layers=4,
            num_attention_heads=4,
            mlp_ratio=3,
            image_size=SIDE,
            patch_size=PATCH,
        )
    )


def view(images: Tensor, generator: torch.Generator) -> Tensor:
    """A random view of each picture [b, 3, h, w]: turned, shifted and scaled, its colours mixed anew, noise added.

    Four in five get other colours altogether, light and dark often swapped: while colour tells pictures apart, form is not learned.
    """
    n = len(images)
    r = 2 * torch.rand(n, 8, generator=generator) - 1
    angle, scale = 0.15 * r[:, 0], 1 + 0.2 * r[:, 1]
    cos, sin = angle.cos() * scale, angle.sin() * scale
    theta = torch.stack([cos, -sin, 0.2 * r[:, 2], sin, cos, 0.2 * r[:, 3]], 1).view(n, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    mixed = torch.einsum("nij,njhw->nihw", _colour_mixes(n, generator), moved)
    gain, lift = 1 + 0.4 * r[:, 4:7, None, None], 0.3 * r[:, 7, None, None, None]
    return mixed * gain + lift + 0.05 * torch.randn(images.shape, generator=generator)


def _colour_mixes(n: int, generator: torch.Generator) -> Tensor:
    """[n, 3, 3]: new channels from old, half of them negative; the identity for one picture in five."""
    weights = torch.rand(n, 3, 3, generator=generator)
    sign = torch.where(torch.rand(n, 1, 1, generator=generator) < 0.5, -1.5, 1.5)
    as_it_is = torch.rand(n, 1, 1, generator=generator) < 0.2
    return torch.where(as_it_is, torch.eye(3), sign * weights / weights.sum(2, keepdim=True))


def contrast(first: Tensor, second: Tensor) -> Tensor:
    """NT-Xent over the 2b views [b, d] + [b, d]."""
    both = F.normalize(torch.cat([first, second]), dim=-1)
    logits = both @ both.T / TEMPERATURE
    logits.fill_diagonal_(float("-inf"))
    b = len(first)
    return F.cross_entropy(logits, torch.cat([torch.arange(b) + b, torch.arange(b)]))


def build_ssl(
    world: World, *, steps: int, seed: int, output: Path, log: Callable[[str], None], lr: float = 2e-3
) -> None:
    """Trains the encoder (its projection head is thrown away) and saves it with its image processor's settings."""
    torch.manual_seed(seed)
    encoder = make_encoder()
    head = nn.Sequential(nn.Linear(96, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 64))
    parameters = [*encoder.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(seed)
    started = time.process_time()
    for step, rows in zip(range(steps), world.batches(160, seed)):
        images = pixel_values(world.pixels[np.array(rows)])
        first, second = (head(encoder(view(images, generator)).pooler_output) for _ in range(2))
        loss = contrast(first, second)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        if step % 50 == 49:
            log(f"ssl {step + 1}/{steps} loss {loss.item():.3f} {time.process_time() - started:.0f}s")
    encoder.save_pretrained(output / "ssl")
