"""A street graph and shortest ways through it."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from keepsight.envs.virl.compass import Place

__all__ = ["Streets", "distance", "way"]


def distance(start: Place, end: Place) -> float:
    """In metres, of places (east, north) in metres."""
    return math.hypot(end[0] - start[0], end[1] - start[1])


@dataclass(frozen=True)
class Streets:
    """Vertices by number and straight streets between them, open both ways."""

    places: tuple[Place, ...]
    neighbours: Mapping[int, tuple[int, ...]]

    @classmethod
    def of(cls, places: Iterable[Place], pairs: Iterable[tuple[int, int]]) -> Streets:
        """The graph of these streets."""
        kept = tuple(places)
        near: dict[int, list[int]] = {i: [] for i in range(len(kept))}
        for a, b in pairs:
            near[a].append(b)
            near[b].append(a)
        return cls(kept, {i: tuple(sorted(others)) for i, others in near.items()})

    def shortest_from(self, start: int) -> dict[int, int]:
        """The vertex before each on a shortest way from `start` (Dijkstra); vertices out of reach have none."""
        cost, before = {start: 0.0}, {}
        done: set[int] = set()
        queue = [(0.0, start)]
        while queue:
            so_far, here = heapq.heappop(queue)
            if here in done:
                continue
            done.add(here)
            for there in self.neighbours[here]:
                total = so_far + distance(self.places[here], self.places[there])
                if total < cost.get(there, math.inf):
                    cost[there], before[there] = total, here
                    heapq.heappush(queue, (total, there))
        return before


def way(before: Mapping[int, int], end: int) -> tuple[int, ...]:
    """The vertices from the start of `before` to `end`, both included."""
    path = [end]
    while path[-1] in before:
        path.append(before[path[-1]])
    return tuple(reversed(path))
