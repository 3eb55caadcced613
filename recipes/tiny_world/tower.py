"""Runs stage 1 behind its gate and measures it: reading heads, polls, and zero-shot classification by CLIP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from keepsight.data.drawn import SETS, Picture
from recipes.tiny_world.settings import Settings
from recipes.tiny_world.vision import Polling, label_captions, make_clip, pixel_values, train_clip
from recipes.tiny_world.world import Answers, World

__all__ = ["build_clip", "check_tower", "validation"]


def validation(count: int) -> dict[str, list[Picture]]:
    """Pictures for the gates: drawn from training streams of another seed, so that no gate looks at a test picture.

    Digits are few: theirs are training digits, seen without their augmentation.
    """
    return {
        name: drawn.train(min(count, 300) if drawn.size else count, 0 if drawn.size else 10_001)
        for name, drawn in SETS.items()
    }


@torch.no_grad()
def check_tower(
    model: Any, polling: Polling, tokenizer: Any, pictures: dict[str, list[Picture]]
) -> dict[str, float]:
    """Accuracies: `<set>` (label read from patches), `<set>/clip` (zero-shot), `kind` and the other slots of scenes."""
    model.eval()
    result: dict[str, float] = {}
    texts = iter(label_captions())
    for name, drawn in SETS.items():
        shown, answers = pictures[name], Answers.of(pictures[name])
        seen = model.vision_model(pixel_values(np.stack([p.pixels for p in shown])))
        _, read = polling(seen.last_hidden_state[:, 1:], torch.zeros(len(shown), 1, 2, dtype=torch.long))
        result[name] = float((polling.label[name](read[:, 0]).argmax(-1).numpy() == answers.label).mean())
        tokens = tokenizer([next(texts) for _ in drawn.labels], return_tensors="pt", padding=True)
        text = model.text_projection(model.text_model(**tokens).pooler_output)
        logits = model.visual_projection(seen.pooler_output) @ (text / text.norm(dim=-1, keepdim=True)).T
        result[f"{name}/clip"] = float((logits.argmax(-1).numpy() == answers.label).mean())
        if name == "cards":
            result["rank"] = float((polling.rank(read[:, 0]).argmax(-1).numpy() == answers.rank).mean())
        if name == "scenes":
            for k, (slot, head) in enumerate(zip(("kind", "colour", "size", "facing"), polling.slots)):
                target = answers.places[:, :, k]
                right = head(read[:, 1:]).argmax(-1).numpy() == target
                result[slot] = float(right[target >= 0].mean())
    model.train()
    return result


def build_clip(
    tokenizer: Any, world: World, settings: Settings, output: Path, log: Callable[[str], None]
) -> None:
    """Trains until the gate opens (or the rounds are spent, which is said) and saves CLIP and polling head."""
    from safetensors.torch import save_file

    torch.manual_seed(settings.seed)
    model = make_clip(tokenizer)
    polling = Polling(model.config.vision_config.hidden_size)
    pictures = validation(settings.check)

    def check() -> dict[str, float]:
        found = check_tower(model, polling, tokenizer, pictures)
        log("tower " + " ".join(f"{k} {v:.3f}" for k, v in found.items()))
        return found

    steps, lr = settings.clip_steps, 2e-3
    for round_ in range(settings.clip_rounds):
        train_clip(
            model,
            tokenizer,
            world,
            polling,
            steps=steps,
            lr=lr,
            seed=settings.seed + round_,
            log=log,
            check=check,
        )
        found = check()
        worst = min(found[name] for name in (*SETS, "kind"))
        log(f"tower gate: worst {worst:.3f}, asked {settings.clip_gate}")
        if worst >= settings.clip_gate:
            break
        steps, lr = max(1, steps // 2), lr / 2
    model.save_pretrained(output / "clip")
    tokenizer.save_pretrained(output / "clip")
    save_file(polling.state_dict(), output / "polling.safetensors")
