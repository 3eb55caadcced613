"""What classifier-free guidance costs on top of plain ranking: its context is asked once per label set."""

from __future__ import annotations

import statistics

from benchmarks.labels import Asked, seconds
from benchmarks.record import Record
from keepsight.data.drawn import SETS
from keepsight.inference import Guidance, RankChoices
from keepsight.types import Sample

__all__ = ["measure"]

PICTURES = 256
CHOICES = 100
RUNS = 5
GOAL = 1.05  # at most


def measure(ref: str = "tiny", pictures: int = PICTURES) -> Record:
    """Medians of alternating runs over the same pictures."""
    asked = Asked.of(ref, CHOICES)
    samples = [
        Sample(picture.id, "What is it?", (picture.media,), choices=asked.labels)
        for picture in SETS["shapes"].test(pictures)
    ]
    plain, guided = RankChoices(), RankChoices(guidance=Guidance(1.5))
    answered = [dict(rank(asked.model, samples)) for rank in (plain, guided)]  # also warms up
    assert all(len(outputs) == pictures for outputs in answered)
    times = [
        (
            seconds(lambda: list(plain(asked.model, samples)), 1)[0],
            seconds(lambda: list(guided(asked.model, samples)), 1)[0],
        )
        for _ in range(RUNS)
    ]
    without, with_guidance = (statistics.median(column) for column in zip(*times))
    ratio = with_guidance / without
    detail = (
        f"{with_guidance:.3f} s against {without:.3f} s for {pictures} pictures and {CHOICES} labels, medians of {RUNS} "
        "runs; at most"
    )
    return Record("guidance_cost", ratio, GOAL, ratio <= GOAL, pictures, detail)
