"""Stage 2, plain text: a small model trained on pictures alone never finds out how to compare a word with what it sees.

Its yes/no answers stay at chance. Matching and recall in text ("red moon, blue ring": is there a moon? what colour is the ring?)
are learned in a few minutes, after a plateau whose length differs by seed; so this comes first, behind a gate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
from torch import nn

from keepsight.data.drawn import SETS, Picture, Question
from keepsight.data.drawn.picture import pick
from keepsight.data.drawn.scenes import name_of
from recipes.tiny_world.packing import Packer, Turn, answers_loss, optimiser_of

__all__ = ["train_text"]


def text_turns(picture: Picture, rng: Random, count: int) -> tuple[str, list[Turn]]:
    """A scene as words, and turns that the words alone answer, a quarter of each kind: each answer is one token."""
    objects = list(picture.facts["objects"])
    order = sorted(objects, key=lambda _: rng.random())
    asked = [q for q in SETS["scenes"].questions(picture, rng) if q.kind == "yes/no" or (q.kind == "colour")]
    colours = [o["colour"] for o in objects]
    recall = [
        Question("kind", f"What is {o['colour']}?", o["kind"])
        for o in objects
        if colours.count(o["colour"]) == 1
    ]
    chosen = [
        pick(rng, pool)
        for pool in ([*asked[:2]], [*asked[2:4]], asked[4:] or asked[:2], recall or asked[:2])
        for _ in range(count // 4)
    ]
    return ", ".join(name_of(o) for o in order), [Turn(q.prompt, q.answer) for q in chosen]


def train_text(
    model: Any,
    packer: Packer,
    pictures: Sequence[Picture],
    *,
    steps: int,
    gate: float,
    seed: int,
    log: Callable[[str], None],
    lr: float = 2e-3,
) -> float:
    """Until `gate` of the presence questions on kinds are answered right (running mean), or `steps` are spent. Returns that share."""
    rng = Random(f"text/{seed}")
    parameters = [p for n, p in model.named_parameters() if "vision_tower" not in n and "projector" not in n]
    optimiser = optimiser_of(parameters, lr)
    running, started = np.array([0.5, 0.5, 0.0, 0.0]), time.process_time()  # kinds, pairs, colours, recall
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = lr * min(1.0, (step + 1) / 50)
        drawn = [text_turns(pick(rng, pictures), rng, 8) for _ in range(32)]
        batch = packer.pack(
            [packer.text_prefix(text) for text, _ in drawn], [turns for _, turns in drawn], ends=False
        )
        loss, labels, said = answers_loss(model, batch, None)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        right = (labels == said).float().view(len(drawn), 4, -1).mean((0, 2)).numpy()
        running = 0.97 * running + 0.03 * right
        if step % 50 == 49:
            log(
                f"text {step + 1}/{steps} loss {loss.item():.3f} kinds, pairs, colours, recall {running.round(3)} {time.process_time() - started:.0f}s"
            )
        if running[0] > gate:
            break
    return float(running[0])
