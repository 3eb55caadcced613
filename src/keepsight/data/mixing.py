"""Mixing sources of training samples: how much of each, which samples, in what order; with a table that says so.

Which samples a source gives follows from its own name and its samples' ids alone: another source, or a larger share, changes
nothing about the order in which they are taken, and a larger share holds the smaller one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from keepsight.types import KeepsightError, Sample

__all__ = ["MixRule", "MixedSource", "Mixture", "mix"]

MixRule = Literal["balanced", "temperature", "share"]


@dataclass(frozen=True)
class MixedSource:
    """One line of the table: what a source has, what the rule wanted of it, and what it gave."""

    name: str
    available: int
    wanted: int
    taken: int
    repeated: int = 0  # of those taken, how many are there again

    @property
    def exhausted(self) -> bool:
        """The rule wanted more than there is, and repeating was not asked for."""
        return self.taken < self.wanted


@dataclass(frozen=True)
class Mixture:
    """Samples in mixed order, and the table of where they come from."""

    samples: tuple[Sample, ...]
    sources: tuple[MixedSource, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """Where the mixture is not what was asked for."""
        return tuple(
            f"{one.name} has {one.available} samples, {one.wanted} were wanted: all of them are taken once"
            for one in self.sources
            if one.exhausted
        ) + tuple(
            f"{one.name}: {one.repeated} of {one.taken} are repetitions"
            for one in self.sources
            if one.repeated
        )


def mix(
    sources: Mapping[str, Sequence[Sample]],
    rule: MixRule = "balanced",
    *,
    total: int | None = None,
    shares: Mapping[str, float] | None = None,
    temperature: float = 1.0,
    seed: int = 0,
    repeat: bool = False,
) -> Mixture:
    """Draws without replacement until a source is exhausted; its table line then says so, unless it may `repeat`.

    Args:
        sources: name -> samples.
        rule: "balanced" takes equally many of each; "temperature" takes source i in proportion to n_i^(1/T): T = 1 as
            they come, a large T nearly balanced; "share" takes what `shares` say.
        total: samples wanted in all (default: as many as there can be before a source is exhausted).
        shares: name -> part of the total, of every source; they add up to 1.
        temperature: T, above 0.
        seed: decides which samples, and their order.
        repeat: go through an exhausted source again, in another order; the ids of repetitions end in `#2`, `#3`, ...

    Raises:
        KeepsightError: no sources, an empty one that is wanted, shares that do not fit, or a total below 1.
    """
    sizes = {name: len(samples) for name, samples in sources.items()}
    parts = _parts(sizes, rule, shares, temperature)
    if any(not sizes[name] for name, part in parts.items() if part > 0):
        empty = next(name for name, part in parts.items() if part > 0 and not sizes[name])
        raise KeepsightError(f"source {empty} has no samples; leave it out")
    if total is None:
        total = max(1, min(int(sizes[name] / part + 1e-9) for name, part in parts.items() if part > 0))
    if total < 1:
        raise KeepsightError(f"a mixture of {total} samples was asked for; ask for at least 1")
    wanted = _whole(parts, total)
    table, drawn = [], []
    for name, samples in sources.items():
        taken = _take(name, samples, wanted[name], seed, repeat)
        table.append(
            MixedSource(name, sizes[name], wanted[name], len(taken), max(0, len(taken) - sizes[name]))
        )
        drawn += [(_rank(seed, "order", name, sample.id), name, sample.id, sample) for sample in taken]
    drawn.sort(key=lambda one: one[:3])
    return Mixture(tuple(sample for *_, sample in drawn), tuple(table))


def _parts(
    sizes: Mapping[str, int], rule: str, shares: Mapping[str, float] | None, temperature: float
) -> dict[str, float]:
    """Name -> part of the total; they add up to 1."""
    if not sizes:
        raise KeepsightError("no sources to mix; name at least one")
    if (shares is not None) != (rule == "share"):
        raise KeepsightError("shares go with the rule share, and the rule share needs them")
    if rule == "share":
        assert shares is not None
        if set(shares) != set(sizes):
            raise KeepsightError(
                f"shares are of {', '.join(shares)}, sources are {', '.join(sizes)}; name all, once"
            )
        if any(not share >= 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-6:
            raise KeepsightError(f"shares {dict(shares)} do not add up to 1, or one is below 0")
        return dict(shares)
    if rule == "balanced":
        return {name: 1 / len(sizes) for name in sizes}
    if rule != "temperature":
        raise KeepsightError(f"rule {rule!r} is unknown; give balanced, temperature or share")
    if not temperature > 0:
        raise KeepsightError(f"temperature is {temperature}; give a number above 0")
    largest = max(sizes.values()) or 1
    weights = {name: (size / largest) ** (1 / temperature) for name, size in sizes.items()}
    return {name: weight / (sum(weights.values()) or 1) for name, weight in weights.items()}


def _whole(parts: Mapping[str, float], total: int) -> dict[str, int]:
    """Largest remainders: whole numbers that add up to the total."""
    exact = {name: part * total for name, part in parts.items()}
    whole = {name: int(value + 1e-9) for name, value in exact.items()}
    rest = sorted(exact, key=lambda name: (whole[name] - exact[name], name))
    for name in rest[: total - sum(whole.values())]:
        whole[name] += 1
    return whole


def _take(name: str, samples: Sequence[Sample], wanted: int, seed: int, repeat: bool) -> list[Sample]:
    taken: list[Sample] = []
    for turn in range(1, 1 + (-(-wanted // len(samples)) if repeat and samples else 1)):
        stream = f"mix/{turn}"
        order = sorted(samples, key=lambda sample: (_rank(seed, stream, name, sample.id), sample.id))
        again = f"#{turn}" if turn > 1 else ""
        taken += [replace(sample, id=sample.id + again) for sample in order[: wanted - len(taken)]]
    return taken


def _rank(seed: int, purpose: str, source: str, sample_id: str) -> float:
    return Random(f"{seed}/{purpose}/{source}/{sample_id}").random()
