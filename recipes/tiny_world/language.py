"""Stages 2 to 4 as the recipe runs them: the language model before pictures, then with them; the tower is frozen throughout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from keepsight.data.drawn import SETS, Picture
from recipes.tiny_world.mixture import (
    BINDING_SHARES,
    binding_turns,
    caption_turns,
    closed_prompt,
    picture_turns,
    presence_turns,
    train_mix,
)
from recipes.tiny_world.packing import Packer
from recipes.tiny_world.settings import Settings
from recipes.tiny_world.text import train_text
from recipes.tiny_world.vision import augment_digits, pixel_values
from recipes.tiny_world.world import World

__all__ = ["build_binding", "build_llava", "build_text", "encode", "make_llava"]

WIDTH = 128


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
    features, extra = _encode_all(model, world, settings, log)
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

    check = _logged_check(model, processor, settings, log)
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
        steps=settings.mix_steps,
    )
    check()
    _save(model, processor, output / "mixed")


def build_binding(
    processor: Any, world: World, settings: Settings, output: Path, log: Callable[[str], None]
) -> None:
    """A short last cosine on polls that need a colour and a kind to belong together; saves the LLaVA that is packed."""
    from transformers import LlavaForConditionalGeneration

    torch.manual_seed(settings.seed)
    model = LlavaForConditionalGeneration.from_pretrained(output / "mixed")
    model.model.vision_tower.requires_grad_(False)
    packer = Packer(processor.tokenizer)
    features, extra = _encode_all(model, world, settings, log)
    check = _logged_check(model, processor, settings, log)
    train_mix(
        model,
        packer,
        world,
        features,
        extra,
        parameters=list(all_parameters(model)),
        turns=lambda picture, rng: binding_turns(picture, rng, packer, 105),
        seed=settings.seed + 1,
        log=log,
        check=check,
        checks=3,
        judged=8,
        steps=settings.binding_steps,
        lr=settings.binding_lr,
        shares=BINDING_SHARES,
    )
    worst = min(value for name, value in check().items() if name != "yes ratio")
    log(f"language gate: worst {worst:.3f}, asked {settings.mix_gate}")
    _save(model, processor, output / "llava")


def _encode_all(
    model: Any, world: World, settings: Settings, log: Callable[[str], None]
) -> tuple[Tensor, Tensor]:
    """Features of every picture [n, 16, d], and of `digit_views` variants of every digit [k, m, 16, d]."""
    digits = world.rows["digits"]
    generator = torch.Generator().manual_seed(settings.seed)
    views = [
        encode(model, world.pixels[digits.start : digits.stop], generator)
        for _ in range(settings.digit_views)
    ]
    log(f"encoded {len(world.pictures)} pictures and {settings.digit_views} views of each digit")
    return encode(model, world.pixels), torch.stack(views)


def _logged_check(
    model: Any, processor: Any, settings: Settings, log: Callable[[str], None]
) -> Callable[[], dict[str, float]]:
    def check() -> dict[str, float]:
        found = check_language(model, processor, settings.check)
        log("language " + " ".join(f"{k} {v:.3f}" for k, v in found.items()))
        return found

    return check


def _save(model: Any, processor: Any, directory: Path) -> None:
    tokenizer = processor.tokenizer
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(directory)
    processor.save_pretrained(directory)


def all_parameters(model: Any) -> Iterator[nn.Parameter]:
    """Everything but the frozen tower."""
    return (p for n, p in model.named_parameters() if "vision_tower" not in n)


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
    polls = [(p, turn) for p in shown["scenes"] for turn in presence_turns(p, rng)]
    samples = [Sample(f"{i}", turn.question, (p.media,), (turn.answer,)) for i, (p, turn) in enumerate(polls)]
    outputs = [output for _, output in sorted(asked.generate(samples, max_new_tokens=3, batch_size=100))]
    said = [output.text.strip() for output in outputs]
    found["yes/no"] = float(np.mean([text == turn.answer for text, (_, turn) in zip(said, polls)]))
    found["yes ratio"] = said.count("Yes") / len(said)
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
