"""Is more forgotten than a limit allows? Each comparison of a family gets one of four outcomes.

| outcome | the corrected interval of what was forgotten |
|---|---|
| beyond | lies above the limit: shown |
| within | lies at or below the limit: ruled out |
| undecided | contains the limit |
| too little data | contains the limit, and would have even if everything right before had been lost; or nothing to compare |

The intervals are simultaneous: all stand at 1 - alpha / m, and when r comparisons are found beyond the limit, the others
are taken again at 1 - alpha / (m - r), until no more are found (Holm's procedure, for a limit other than zero). So the
probability that anything is called beyond, although nothing is, is alpha at most, however many tasks are gated (up to
what Tango's interval, an approximation, is off in its tail).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from keepsight.scoring.forgetting import Pairing, resamples_for
from keepsight.scoring.statistics import PairedDifference, paired_difference
from keepsight.types import KeepsightError

__all__ = ["Held", "Outcome", "hold_to"]

Outcome = Literal["beyond", "within", "undecided", "too little data"]


@dataclass(frozen=True)
class Held:
    """One comparison held to a limit; `found` has the interval at the comparison's own level."""

    outcome: Outcome
    found: PairedDifference


def hold_to(limit: float, pairings: Sequence[Pairing], level: float = 0.95) -> list[Held]:
    """Holds every comparison to `limit`, in the order given.

    Args:
        limit: how much may be forgotten, a share (0.02: two points).
        pairings: reference and current scores on the same samples.
        level: probability that nothing is called beyond if nothing is.

    Raises:
        KeepsightError: a limit that is no share, or a level that is no probability.
    """
    if not 0 <= limit <= 1:
        raise KeepsightError(f"max_forgetting is {limit}; give a share: 0.02 is 2 points")
    if not 0 < level < 1:
        raise KeepsightError(f"level is {level}; give a probability between 0 and 1, such as 0.95")
    draws = resamples_for(len(pairings), level)
    beyond: dict[int, PairedDifference] = {}
    while True:
        left = [i for i in range(len(pairings)) if i not in beyond]
        own_level = 1 - (1 - level) / max(1, len(left))
        found = {i: _difference(pairings[i], own_level, draws) for i in left}
        now = {i: result for i, result in found.items() if result.low > limit}
        if not now:
            break
        beyond |= now
    held = {i: Held("beyond", result) for i, result in beyond.items()}
    held |= {i: Held(_outcome(limit, pairings[i], result, draws), result) for i, result in found.items()}
    return [held[i] for i in range(len(pairings))]


def _outcome(limit: float, pairing: Pairing, found: PairedDifference, draws: int) -> Outcome:
    """Of a comparison that is not beyond the limit."""
    if found.high <= limit:
        return "within"
    worst = Pairing(
        pairing.ids, pairing.reference, (0.0,) * len(pairing.ids), pairing.clusters, 0, pairing.bounds
    )
    return "undecided" if _difference(worst, found.level, draws).low > limit else "too little data"


def _difference(pairing: Pairing, level: float, draws: int) -> PairedDifference:
    return paired_difference(
        pairing.reference,
        pairing.current,
        pairing.clusters,
        level,
        bounds=pairing.bounds,
        n_resamples=draws,
    )
