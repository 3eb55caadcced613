"""The plan of a drawn district: crooked streets, and shops at corners and in the middle of streets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from keepsight.envs.virl.compass import Place, bearing
from keepsight.envs.virl.streets import Streets, distance
from keepsight.envs.virl.styles import Style

__all__ = ["CORNER", "FRONT", "Plan", "Shop", "front", "planned"]

SIDE = 6  # crossings along each side of the grid
BLOCKS, JITTER = (62.0, 100.0), 12.0  # metres: least and most between two rows; how far a crossing strays
FEWER, DIAGONALS = 9, 3  # streets taken away, streets across a block
FRONT = 7.5  # metres from the middle of a street to the houses
CORNER, CORNER_WIDTH = 10.0, 4.2  # metres: how far a corner shop stands from the crossing, how wide it is
CLEARANCE = 18.5  # degrees between a street and the edge of a corner shop, seen from the crossing
HALF = math.degrees(math.atan(CORNER_WIDTH / 2 / CORNER))
SHOP_WIDTH = 6.0  # metres, in the middle of a street


@dataclass(frozen=True)
class Shop:
    """A house with a sign over its whole front."""

    name: str
    sign: tuple[Place, Place]  # the front's ends, left and right as one sees it

    @property
    def sign_at(self) -> Place:
        """The middle of the front."""
        (ax, ay), (bx, by) = self.sign
        return (ax + bx) / 2, (ay + by) / 2


@dataclass(frozen=True)
class Plan:
    """Vertices 0 to crossings - 1 are crossings; each that follows is the middle of a street."""

    streets: Streets
    crossings: int
    quiet: tuple[int, ...]  # middles of streets without shops
    shops: Mapping[int, tuple[Shop, ...]]  # by middle of a street, one on each side
    corner_shops: Mapping[int, tuple[Shop, ...]]  # by crossing
    lines: tuple[
        tuple[Place, Place], ...
    ]  # streets from crossing to crossing; that of middle i is i - crossings


def planned(style: Style, rng: np.random.Generator) -> Plan:
    """Draws a plan."""
    places, edges = _grid(rng)
    middles = [_along(places[a], places[b], 0.5) for a, b in edges]
    halves = [(end, SIDE**2 + i) for i, edge in enumerate(edges) for end in edge]
    streets = Streets.of([*places, *middles], halves)
    names = _names(style, rng)
    with_shops = set(rng.permutation(len(edges))[: len(edges) // 2].tolist())
    corner_shops, shops = {}, {}
    for i, place in enumerate(places):
        ways = [bearing(place, streets.places[j]) for j in streets.neighbours[i]]
        corner_shops[i] = tuple(_corner_shops(place, ways, names, rng))
    lines = tuple((places[a], places[b]) for a, b in edges)
    for i in sorted(with_shops):
        shops[SIDE**2 + i] = tuple(_street_shops(lines[i], names))
    quiet = tuple(SIDE**2 + i for i in range(len(edges)) if i not in with_shops)
    return Plan(streets, SIDE**2, quiet, shops, corner_shops, lines)


def _grid(rng: np.random.Generator) -> tuple[list[Place], list[tuple[int, int]]]:
    """Crossings and streets of a crooked, turned grid."""
    angle = rng.random() * math.pi / 2
    cos, sin = math.cos(angle), math.sin(angle)
    rows, columns = np.cumsum(rng.uniform(*BLOCKS, (2, SIDE)), axis=1)
    places = []
    for row, column in product(range(SIDE), repeat=2):
        x, y = np.array([columns[column], rows[row]]) + rng.uniform(-JITTER, JITTER, 2)
        places.append((float(x * cos - y * sin), float(x * sin + y * cos)))
    edges = [(i, i + 1) for i in range(SIDE**2) if i % SIDE < SIDE - 1]
    edges += [(i, i + SIDE) for i in range(SIDE**2 - SIDE)]
    fewer = set(rng.permutation(len(edges))[:FEWER].tolist())
    cells = [i for i in range(SIDE**2 - SIDE) if i % SIDE < SIDE - 1]
    across = [cells[i] for i in rng.permutation(len(cells))[:DIAGONALS]]
    kept = [edge for i, edge in enumerate(edges) if i not in fewer]
    return places, kept + [(i, i + SIDE + 1) if rng.random() < 0.5 else (i + 1, i + SIDE) for i in across]


def _names(style: Style, rng: np.random.Generator) -> Iterator[str]:
    """Names of shops, none twice."""
    every = [" ".join(words) for words in product(*style.words)]
    return (every[i] for i in rng.permutation(len(every)))


def _along(start: Place, end: Place, share: float) -> Place:
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share


def _corner_shops(
    place: Place, ways: list[float], names: Iterator[str], rng: np.random.Generator
) -> Iterator[Shop]:
    """A shop in each wide gap between the streets that leave a crossing, two in a very wide one; all face the crossing."""
    ways = sorted(ways)
    for low, high in zip(ways, [*ways[1:], ways[0] + 360] if ways else []):
        first, last = low + CLEARANCE + HALF, high - CLEARANCE - HALF
        if first > last:
            continue
        shift = min(last - first, rng.uniform(0, 4))
        ends = [first + shift, last - shift]
        for towards in ends if last - first > 4 * HALF else [ends[int(rng.integers(2))]]:
            yield Shop(next(names), _facing(place, math.radians(towards)))


def _facing(place: Place, towards: float) -> tuple[Place, Place]:
    east, north = math.sin(towards), math.cos(towards)
    x, y = place[0] + CORNER * east, place[1] + CORNER * north
    half = CORNER_WIDTH / 2
    return (x - half * north, y + half * east), (x + half * north, y - half * east)


def _street_shops(line: tuple[Place, Place], names: Iterator[str]) -> Iterator[Shop]:
    """One on each side of a street's middle, face to face."""
    middle = distance(*line) / 2
    for side in (1, -1):
        yield Shop(next(names), front(*line, middle - SHOP_WIDTH / 2, middle + SHOP_WIDTH / 2, side))


def front(start: Place, end: Place, first: float, last: float, side: int) -> tuple[Place, Place]:
    """The ends of a house's front on the right (1) or left (-1) of a street, left and right as seen from the street.

    Args:
        first, last: metres along the street.
    """
    long = distance(start, end)
    east, north = (end[0] - start[0]) / long, (end[1] - start[1]) / long

    def at(along: float) -> Place:
        return start[0] + east * along + side * north * FRONT, start[1] + north * along - side * east * FRONT

    return (at(last), at(first)) if side > 0 else (at(first), at(last))
