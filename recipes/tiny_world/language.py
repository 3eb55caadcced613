"""Stage 3, the language model: what a word asks of a text first, then of a picture, then every kind of question.

1. A small model trained on pictures alone never finds out how to compare a question's word with what it sees: yes/no stays at
   chance. Matching and recall in plain text ("red moon, blue ring": is there a moon? what colour is the ring?) is learned in
   about a minute, after a plateau whose length differs by seed; so it comes first, behind a gate.
2. All turns of one picture share its prefix: a block mask lets each turn see the prefix and itself only, with positions as if it
   stood alone. That is exactly the single-turn prompt, at a fraction of the cost.
3. The tower is frozen throughout, so each picture is encoded once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from keepsight.data.drawn import SETS, Picture, Question
from keepsight.data.drawn.picture import pick
from keepsight.data.drawn.scenes import name_of
from recipes.tiny_world.settings import Settings
from recipes.tiny_world.vision import augment_digits, pixel_values
from recipes.tiny_world.world import SHARES, World, set_of

__all__ = [
    "Packer",
    "Turn",
    "all_parameters",
    "encode",
    "make_llava",
    "picture_turns",
    "train_mix",
    "train_text",
]

WIDTH = 128
ANSWER = " ASSISTANT:"


def make_llava(clip: Any, tokenizer: Any, seed: int) -> Any:
    """A LlavaForConditionalGeneration round the CLIP's tower. Weights start at about 1/sqrt(width): the default learns far slower."""
    from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    torch.manual_seed(seed)
    text = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=3 * WIDTH, num_hidden_layers=4, num_attention_heads=4,
        max_position_embeddings=512, initializer_range=0.09, tie_word_embeddings=True, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=clip.config.vision_config, text_config=text, image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1, vision_feature_select_strategy="default", image_seq_length=16, tie_word_embeddings=True,
    )  # fmt: skip
    config.initializer_range = 0.09
    model = LlavaForConditionalGeneration(config)
    model.model.vision_tower.load_state_dict(clip.vision_model.state_dict())
    model.model.vision_tower.requires_grad_(False)
    return model


@torch.no_grad()
def encode(model: Any, pixels: np.ndarray, generator: torch.Generator | None = None) -> Tensor:
    """Patch features [n, 16, d] of the frozen tower; with a generator the pictures are varied as handwritten digits are."""
    parts = []
    for start in range(0, len(pixels), 256):
        images = pixel_values(pixels[start : start + 256])
        images = augment_digits(images, generator) if generator else images
        parts.append(model.model.vision_tower(images, output_hidden_states=True).hidden_states[-1][:, 1:])
    return torch.cat(parts)


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


# --- text only -------------------------------------------------------------------------------------------------------------


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


# --- pictures --------------------------------------------------------------------------------------------------------------


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
    check: Callable[[], object] = lambda: None,
    checks: int = 6,
    lr: float = 2e-3,
    batch: int = 32,
    judged: int = 0,
    minutes: float = 0.0,
    steps: int | None = None,
) -> None:
    """One cosine over `minutes` of processor time (or exactly `steps`): `batch` pictures and `judged` judge questions a step.

    `extra` [k, m, 16, d] holds k varied encodings of the m digits, which are too few to be learned from as they are.
    """
    rng = Random(f"mix/{seed}")
    optimiser = optimiser_of(parameters, lr)
    started, done, last = time.process_time(), 0.0, 0
    first_digit = world.rows["digits"].start
    running: dict[str, float] = {}
    names = list(SHARES)
    step = 0
    while done < 1:
        rows = [
            pick(rng, world.rows[name]) for name in rng.choices(names, [SHARES[n] for n in names], k=batch)
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
            group["lr"] = lr * min(1.0, (step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * done)))
        loss, labels, said = answers_loss(model, packed, seen)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(list(parameters), 1.0)
        optimiser.step()
        step += 1
        done = step / steps if steps else (time.process_time() - started) / (60 * minutes)
        _follow(running, packer, labels, said, loss)
        if step % 100 == 0:
            log(f"mix {done:.0%} step {step} " + " ".join(f"{k} {v:.3f}" for k, v in running.items()))
        if int(done * checks) > last:
            last = int(done * checks)
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


def all_parameters(model: Any) -> Iterator[nn.Parameter]:
    """Everything but the frozen tower."""
    return (p for n, p in model.named_parameters() if "vision_tower" not in n)


# --- the whole stage -------------------------------------------------------------------------------------------------------


def build_text(
    clip: Any,
    tokenizer: Any,
    scenes: Sequence[Picture],
    settings: Settings,
    output: Path,
    log: Callable[[str], None],
) -> None:
    """Text matching behind its gate; saves the language model's weights. The tower is not looked at."""
    from safetensors.torch import save_file

    packer, best = Packer(tokenizer), 0.0
    for seed in range(settings.seed, settings.seed + settings.text_rounds):
        model = make_llava(clip, tokenizer, seed)
        reached = train_text(
            model, packer, scenes, steps=settings.text_steps, gate=settings.text_gate, seed=seed, log=log
        )
        log(f"text gate: seed {seed} {reached:.3f}, asked {settings.text_gate}")
        if reached >= best:
            best = reached
            save_file(model.model.language_model.state_dict(), output / "text.safetensors")
        if reached >= settings.text_gate:
            return


def build_llava(
    clip: Any,
    tokenizer: Any,
    processor: Any,
    world: World,
    settings: Settings,
    output: Path,
    log: Callable[[str], None],
) -> None:
    """From the text-matching weights: projector alignment, then the mixture; saves an ordinary LLaVA directory."""
    from safetensors.torch import load_file

    packer = Packer(tokenizer)
    model = make_llava(clip, tokenizer, settings.seed)
    model.model.language_model.load_state_dict(load_file(output / "text.safetensors"))
    assert model.lm_head.weight is model.get_input_embeddings().weight
    features = encode(model, world.pixels)
    digits = world.rows["digits"]
    generator = torch.Generator().manual_seed(settings.seed)
    extra = torch.stack(
        [
            encode(model, world.pixels[digits.start : digits.stop], generator)
            for _ in range(settings.digit_views)
        ]
    )
    log(f"encoded {len(features)} pictures and {settings.digit_views} views of each digit")
    train_mix(
        model,
        packer,
        world,
        features,
        extra,
        parameters=list(model.model.multi_modal_projector.parameters()),
        turns=caption_turns,
        seed=settings.seed,
        log=log,
        steps=settings.align_steps,
    )

    def check() -> dict[str, float]:
        found = check_language(model, processor, settings.check)
        log("language " + " ".join(f"{k} {v:.3f}" for k, v in found.items()))
        return found

    train_mix(
        model,
        packer,
        world,
        features,
        extra,
        parameters=list(all_parameters(model)),
        turns=lambda picture, rng: picture_turns(picture, rng, packer, 105, 0.5),
        seed=settings.seed,
        log=log,
        check=check,
        judged=8,
        minutes=settings.mix_minutes,
    )
    found = check()
    log(f"language gate: worst {min(found.values()):.3f}, asked {settings.mix_gate}")
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = (
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
    )
    model.save_pretrained(output / "llava")
    processor.save_pretrained(output / "llava")


def caption_turns(picture: Picture, rng: Random) -> list[Turn]:
    return [Turn("Describe the image.", SETS[set_of(picture)].captions(picture, rng)[1])]


def check_language(model: Any, processor: Any, count: int) -> dict[str, float]:
    """Validation accuracies through the same code a user's audit runs, on pictures neither trained nor tested on."""
    from keepsight.models import load
    from keepsight.scoring.judges.label_match import LabelMatch
    from keepsight.types import Sample
    from recipes.tiny_world.tower import validation

    model.eval()
    asked = load((model, processor))
    found: dict[str, float] = {}
    shown = validation(count)
    for name, drawn in SETS.items():
        samples = [
            Sample(p.id, closed_prompt(name), (p.media,), (p.label,), drawn.labels) for p in shown[name]
        ]
        outputs = [output for _, output in sorted(asked.generate(samples, max_new_tokens=8, batch_size=100))]
        found[name] = float(np.mean([s.value for s in LabelMatch(drawn.labels)(samples, outputs)]))
    rng = Random("check")
    polls = [(p, q) for p in shown["scenes"] for q in SETS["scenes"].questions(p, rng)[:4]]
    samples = [Sample(f"{i}", q.prompt, (p.media,), (q.answer,)) for i, (p, q) in enumerate(polls)]
    outputs = [output for _, output in sorted(asked.generate(samples, max_new_tokens=3, batch_size=100))]
    found["yes/no"] = float(
        np.mean([output.text.strip() == q.answer for output, (_, q) in zip(outputs, polls)])
    )
    samples = [Sample(p.id, "Describe the image.", (p.media,)) for p in shown["scenes"]]
    named = [
        set(output.text.replace(",", " ").split())
        for _, output in sorted(asked.generate(samples, max_new_tokens=24, batch_size=100))
    ]
    found["recall"] = float(
        np.mean([o["kind"] in words for words, p in zip(named, shown["scenes"]) for o in p.facts["objects"]])
    )
    model.train()
    return found
