"""Stages 3 and 4, the mixture: every kind of question on every kind of picture, and a judge's questions in plain text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from keepsight.data.drawn import SETS, Picture
from keepsight.data.drawn.phrases import a, presence
from keepsight.data.drawn.picture import pick
from recipes.tiny_world.packing import Packer, Turn, answers_loss, optimiser_of
from recipes.tiny_world.world import SHARES, World, set_of

__all__ = [
    "BINDING_SHARES",
    "binding_turns",
    "caption_turns",
    "closed_prompt",
    "judge_turn",
    "picture_turns",
    "presence_turns",
    "train_mix",
]

# Of the last cosine: half scenes, and something of everything else, so that nothing is forgotten.
BINDING_SHARES = {
    **{name: share * 0.5 / (1 - SHARES["scenes"]) for name, share in SHARES.items()},
    "scenes": 0.5,
}


def closed_prompt(name: str) -> str:
    """The EMT prompt (arXiv:2309.10313, section 4) of a drawn set."""
    from keepsight.tasks.emt import closed_world_prompt

    return closed_world_prompt(SETS[name].noun, SETS[name].labels)


def label_question(picture: Picture, rng: Random) -> str:
    """The closed-world prompt as EMT writes it, now and then with some labels only or in another order, or with none."""
    from keepsight.tasks.emt import closed_world_prompt

    drawn = SETS[set_of(picture)]
    way = rng.random()
    if way < 0.65:
        return closed_prompt(drawn.name)
    if way < 0.75:
        return f"What is the {drawn.noun} in the image?"
    others = sorted((x for x in drawn.labels if x != picture.label), key=lambda _: rng.random())
    shown = [picture.label, *others[: 1 + int(rng.random() * len(others))]]
    return closed_world_prompt(drawn.noun, sorted(shown, key=lambda _: rng.random()))


def picture_turns(picture: Picture, rng: Random, packer: Packer, budget: int, closed: float) -> list[Turn]:
    """Turns on one picture, `budget` tokens or a little less: the rows of a batch come out about as long as each other.

    One is the closed-world question with probability `closed`, one of a scene's is mostly its caption (the longest answer to
    learn); the rest are half yes/no questions in balance, half others.
    """
    questions = SETS[set_of(picture)].questions(picture, rng)
    pools = (
        [q for q in questions if q.answer in ("Yes", "No")],
        [q for q in questions if q.answer not in ("Yes", "No")],
    )
    turns = [Turn(label_question(picture, rng), picture.label)] if rng.random() < closed else []
    if set_of(picture) == "scenes" and rng.random() < 0.6:
        turns += [Turn(q.prompt, q.answer) for q in questions if q.kind == "caption"]
    left = budget - sum(packer.length(turn) for turn in turns)
    for number in range(16):
        question = pick(rng, pools[number % 2])
        turn = Turn(question.prompt, question.answer)
        if turn not in turns:
            left -= packer.length(turn)
            if left < 0:
                break
            turns.append(turn)
    return turns


def binding_turns(picture: Picture, rng: Random, packer: Packer, budget: int) -> list[Turn]:
    """Mostly: whose colour is it? Presence of pairs, of which the absent ones are made of what is there on different objects.

    Such polls are the last thing the mixture learns, since few of its questions need them. Every other picture keeps its mixture.
    """
    pairs, crossed = _pairs(picture)
    if not crossed or rng.random() < 0.3:
        return picture_turns(picture, rng, packer, budget, 0.5)
    turns: list[Turn] = []
    for _ in range(4):
        turns += [_poll(pick(rng, pairs), True), _poll(pick(rng, crossed), False)]
    turns = sorted(set(turns), key=lambda turn: turn.question)
    return turns[: max(1, budget // packer.length(turns[0]))]


def presence_turns(picture: Picture, rng: Random) -> list[Turn]:
    """Polls for a gate: a kind and a pair that are there, a kind and a pair that are not; the pair is a crossed one if it can be."""
    drawn = [Turn(q.prompt, q.answer) for q in SETS["scenes"].questions(picture, rng)[:4]]
    _, crossed = _pairs(picture)
    return [*drawn[:3], _poll(pick(rng, crossed), False) if crossed else drawn[3]]


def _pairs(picture: Picture) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(colour, kind) of the objects, and those made of two different objects."""
    pairs = list(dict.fromkeys((o["colour"], o["kind"]) for o in picture.facts.get("objects", ())))
    return pairs, [(c, k) for c, _ in pairs for _, k in pairs if (c, k) not in pairs]


def _poll(pair: tuple[str, str], there: bool) -> Turn:
    question = presence(a(" ".join(pair)), there)
    return Turn(question.prompt, question.answer)


# The forms in which tuned models give their answers, for the judge's turns; the last names both and is right about neither.
ANSWER_FORMS = (
    "{x}",
    "{x}.",
    "The object is a(n) {x}.",
    "The number is {x}.",
    "The object in the image is {x}.",
    "a {x}",
    "The {label} is {x}.",
)


def judge_turn(rng: Random) -> Turn:
    """The yes/no judge's question (keepsight.scoring.judges.llm) on an answer, right half of the time. No picture belongs to it."""
    from keepsight.scoring.judges.llm import PROMPT

    labels = SETS[pick(rng, tuple(SETS))].labels
    label = pick(rng, labels)
    other = pick(
        rng,
        [x for x in (labels if rng.random() < 0.7 else SETS[pick(rng, tuple(SETS))].labels) if x != label],
    )
    right = rng.random() < 0.5
    form = pick(rng, ANSWER_FORMS[:-1] if right else ANSWER_FORMS)
    outputs = form.format(x=label if right else other, label=label)
    return Turn(f"USER: {PROMPT.format(label=label, outputs=outputs)}", "Yes" if right else "No")


def caption_turns(picture: Picture, rng: Random) -> list[Turn]:
    return [Turn("Describe the image.", SETS[set_of(picture)].captions(picture, rng)[1])]


def train_mix(
    model: Any,
    packer: Packer,
    world: World,
    features: Tensor,
    extra: Tensor,
    *,
    parameters: Sequence[nn.Parameter],
    turns: Callable[[Picture, Random], list[Turn]],
    seed: int,
    log: Callable[[str], None],
    steps: int,
    check: Callable[[], object] = lambda: None,
    checks: int = 6,
    lr: float = 2e-3,
    batch: int = 32,
    judged: int = 0,
    shares: Mapping[str, float] = SHARES,
) -> None:
    """One cosine over `steps`: `batch` pictures and `judged` judge questions a step.

    `extra` [k, m, 16, d] holds k varied encodings of the m digits, which are too few to be learned from as they are.
    """
    rng = Random(f"mix/{seed}")
    optimiser = optimiser_of(parameters, lr)
    first_digit = world.rows["digits"].start
    running: dict[str, float] = {}
    names = list(shares)
    for step in range(steps):
        rows = [
            pick(rng, world.rows[name]) for name in rng.choices(names, [shares[n] for n in names], k=batch)
        ]
        pictures = [world.pictures[i] for i in rows]
        seen = torch.stack([
            extra[int(rng.random() * len(extra)), i - first_digit] if i in world.rows["digits"] else features[i] for i in rows
        ])  # fmt: skip
        judging = [judge_turn(rng) for _ in range(judged)]
        packed = packer.pack(
            [packer.image_prefix] * batch + [(packer.bos,)] * judged,
            [turns(p, rng) for p in pictures] + [[turn] for turn in judging],
        )
        for group in optimiser.param_groups:
            group["lr"] = (
                lr * min(1.0, (step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * step / steps)))
            )
        loss, labels, said = answers_loss(model, packed, seen)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(list(parameters), 1.0)
        optimiser.step()
        _follow(running, packer, labels, said, loss)
        if step % 100 == 99:
            log(f"mix {step + 1}/{steps} " + " ".join(f"{k} {v:.3f}" for k, v in running.items()))
        if step + 1 < steps and (step + 1) * checks // steps > step * checks // steps:
            check()


def _follow(running: dict[str, float], packer: Packer, labels: Tensor, said: Tensor, loss: Tensor) -> None:
    polled = torch.isin(labels, torch.tensor([packer.encode(" Yes")[0], packer.encode(" No")[0]]))
    right = (labels == said).float()
    for name, value in (
        ("loss", loss.item()),
        ("yes/no", right[polled].mean().item()),
        ("rest", right[~polled].mean().item()),
    ):
        running[name] = 0.98 * running.get(name, value) + 0.02 * value
