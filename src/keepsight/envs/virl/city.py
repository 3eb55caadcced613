"""Drawn cities: streets, shops with signs, and a thousand routes in each, the same at every time.

A city is fifty districts. A district is a crooked grid of streets drawn from the city's name and its own number; its routes
are shortest ways that turn at every intersection they come to.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from keepsight.envs.base import Picture
from keepsight.envs.virl.compass import Place, bearing, direction, relation, wrapped
from keepsight.envs.virl.drawing import Scene, looked
from keepsight.envs.virl.houses import built
from keepsight.envs.virl.plan import Plan, Shop, planned
from keepsight.envs.virl.route import Landmark, Milestone, Route
from keepsight.envs.virl.streets import distance, way
from keepsight.envs.virl.styles import STYLES

__all__ = ["CITIES", "City", "District", "district", "scene"]

CITIES = tuple(STYLES)
DISTRICTS, ROUTES = 50, 20
LEGS = (3, 6)  # least and most streets of a route
BEND = 20.0  # degrees: less is no turn
FIRST_TURN = 10.0  # degrees: the start faces at least so far away from the first street
EDGE = 1.5  # degrees between a sign and the border of a view
CERTAIN = 3.0  # degrees between a landmark's bearing and the border of two words for it


@dataclass(frozen=True)
class District:
    """A plan and routes in it."""

    plan: Plan
    routes: tuple[Route, ...]


@dataclass(frozen=True)
class City:
    """A `World` of drawn routes."""

    name: str

    @property
    def spacing(self) -> float:
        """Wide, so that streets of unlike length have unlike many points: counting steps must not replace looking."""
        return 16.0

    @property
    def most_milestones(self) -> int:
        """Of any route."""
        return LEGS[1]

    def picture_files(self) -> tuple[Path, ...]:
        """None: views are drawn."""
        return ()

    def __len__(self) -> int:
        return DISTRICTS * ROUTES

    def route(self, number: int) -> Route:
        """A route, 0 <= number < 1000."""
        return district(self.name, number // ROUTES).routes[number % ROUTES]

    def metres(self, start: Place, end: Place) -> float:
        """The distance of two places."""
        return distance(start, end)

    def located(self, place: Place) -> Place:
        """The place itself: everywhere has a picture."""
        return place

    def view(self, number: int, place: Place, heading: float, size: int) -> Picture:
        """What is seen from a place of a route, read-only uint8 [size, size, 3]."""
        return _view(self.name, number // ROUTES, place, heading, size)


@lru_cache(maxsize=256)
def _view(city: str, number: int, place: Place, heading: float, size: int) -> Picture:
    picture = looked(scene(city, number), place, heading, size)
    picture.setflags(write=False)
    return picture


@lru_cache(maxsize=DISTRICTS * 4)
def district(city: str, number: int) -> District:
    """District `number` of a city; always the same."""
    for attempt in range(100):
        rng = np.random.default_rng([zlib.crc32(city.encode()), number, attempt])
        plan = planned(STYLES[city], rng)
        found = list(_routes(city, number, plan, rng))
        if len(found) >= ROUTES:
            chosen = rng.permutation(len(found))[:ROUTES]
            return District(plan, tuple(found[i] for i in chosen))
    raise AssertionError("a hundred plans without enough routes")


@lru_cache(maxsize=64)
def scene(city: str, number: int) -> Scene:
    """What stands in a district; always the same."""
    rng = np.random.default_rng([zlib.crc32(city.encode()), number])
    return built(district(city, number).plan, STYLES[city], rng)


def _routes(city: str, number: int, plan: Plan, rng: np.random.Generator) -> Iterator[Route]:
    """The shortest ways from quiet streets to shops that turn at each intersection."""
    for start in plan.quiet:
        before = plan.streets.shortest_from(start)
        for end in plan.shops:
            path = way(before, end)
            corners = [start, *(i for i in path[1:-1] if i < plan.crossings), end]
            if path[0] == start and LEGS[0] <= len(corners) - 1 <= LEGS[1] and _turns(plan, corners):
                name = f"{city}-{number}-{start}-{end}"
                yield _route(name, plan, corners, rng)


def _turns(plan: Plan, corners: list[int]) -> bool:
    """Whether each corner is an intersection of three streets or more, and the way on has another word than the way there."""
    return all(_is_turn(a, b, BEND) for a, b in pairwise(_headings(plan, corners))) and all(
        len(plan.streets.neighbours[i]) >= 3 for i in corners[1:-1]
    )


def _headings(plan: Plan, corners: list[int]) -> list[int]:
    places = [plan.streets.places[i] for i in corners]
    return [round(bearing(a, b)) % 360 for a, b in pairwise(places)]


def _is_turn(before: int, after: int, least: float) -> bool:
    """Whether it is one, and said as one: to face the word that is faced already is no instruction."""
    return abs(wrapped(after - before)) >= least and direction(before) != direction(after)


def _route(name: str, plan: Plan, corners: list[int], rng: np.random.Generator) -> Route:
    places = [plan.streets.places[i] for i in corners]
    headings = _headings(plan, corners)
    landmarks = [_landmark(plan, corner, heading, rng) for corner, heading in zip(corners[1:-1], headings)]
    shop = plan.shops[corners[-1]][int(rng.integers(len(plan.shops[corners[-1]])))]
    landmarks.append(Landmark(shop.name, _side(headings[-1], places[-1], shop), destination=True))
    milestones = (
        Milestone(place, heading, direction(heading), landmark)
        for place, heading, landmark in zip(places[1:], headings, landmarks)
    )
    starts = [heading for heading in range(360) if _is_turn(heading, headings[0], FIRST_TURN)]
    return Route(name, places[0], starts[int(rng.integers(len(starts)))], tuple(milestones))


def _side(heading: float, place: Place, shop: Shop) -> str:
    return relation(heading, bearing(place, shop.sign_at))


def _landmark(plan: Plan, corner: int, heading: float, rng: np.random.Generator) -> Landmark | None:
    """One of the shops at a corner whose sign is wholly in one view and surely on one side; often there is none."""
    place = plan.streets.places[corner]
    clear = [shop for shop in plan.corner_shops.get(corner, ()) if _is_clear(heading, place, shop)]
    if not clear:
        return None
    shop = clear[int(rng.integers(len(clear)))]
    return Landmark(shop.name, _side(heading, place, shop))


def _is_clear(heading: float, place: Place, shop: Shop) -> bool:
    at = wrapped(bearing(place, shop.sign_at) - heading) % 360
    half = max(abs(wrapped(bearing(place, end) - heading - at)) for end in shop.sign)
    to_view = abs((at % 90) - 45)  # from the border of two views
    to_word = abs(at % 45 - 22.5)  # from the border of two words
    return to_view > half + EDGE and to_word > CERTAIN
