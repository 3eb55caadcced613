"""How long and how large: the full recipe, and `--tiny`, which only shows that every stage runs."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FULL", "TINY", "Settings"]


@dataclass(frozen=True)
class Settings:
    """One row of choices for the whole recipe. Gates are checked on pictures no stage trains on."""

    per_set: int = 6000  # pictures drawn per set (three times as many scenes)
    clip_steps: int = 7000
    clip_gate: float = 0.93  # every set's label and every object's kind, read from the patches
    clip_rounds: int = 2  # a further round at half the length while the gate is shut
    ssl_steps: int = 2500
    text_steps: int = 1500
    text_gate: float = 0.95  # presence questions about words in a text
    text_rounds: int = 3  # plateaus differ by seed: a stalled one starts again with the next
    digit_views: int = 12  # varied encodings of each handwritten digit
    align_steps: int = 150
    mix_steps: int = 5700  # of one long cosine
    binding_steps: int = 1800  # a last, slower cosine on which colour belongs to which object
    binding_lr: float = 1e-3
    mix_gate: float = 0.85
    check: int = 300  # held-out pictures per set at a gate
    seed: int = 0


FULL = Settings()
TINY = Settings(
    per_set=16, clip_steps=2, clip_gate=0.0, clip_rounds=1, text_rounds=1, digit_views=1, ssl_steps=2, text_steps=2, text_gate=0.0, align_steps=1, mix_steps=2, binding_steps=2, mix_gate=0.0, check=2,
)  # fmt: skip
