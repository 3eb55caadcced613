"""A route: where it turns, its instruction, and the points of its rail (dissertation, appendix D.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keepsight.envs.virl.compass import Place, turn
from keepsight.errors import KeepsightError

__all__ = ["FORWARD", "STOP", "Landmark", "Milestone", "Point", "Route", "instruction", "rail"]

FORWARD, STOP = "forward()", "stop()"


@dataclass(frozen=True)
class Landmark:
    """A named thing and the side on which it lies of someone who arrives."""

    name: str
    relation: str  # of compass.RELATIONS
    destination: bool = False

    def told(self, whose: str = "your") -> str:
        """In V-IRL's words."""
        return f"{'The destination ' * self.destination}{self.name} is on {whose} {self.relation}"


@dataclass(frozen=True)
class Milestone:
    """An intersection where the route turns, or its end."""

    place: Place
    heading: int  # of the street that leads here, whole degrees
    facing: str  # the same as a word of the compass
    landmark: Landmark | None


@dataclass(frozen=True)
class Route:
    """From a start to a destination. The last milestone is the destination."""

    name: str
    start: Place
    heading: int  # at the start, before the first turn
    milestones: tuple[Milestone, ...]


@dataclass(frozen=True)
class Point:
    """A point of the rail: what is right here, and what the oracle sees."""

    place: Place
    heading: int  # on arrival
    absolute: str  # the right action where directions are words of the compass
    relative: str  # ... where they are turns
    sentence: int  # which sentence of the instruction is to be followed, from 0
    landmark: Landmark | None = None
    intersection: bool = False


def instruction(route: Route) -> tuple[str, ...]:
    """The sentences, two for each milestone, in the words of figure D.3."""
    sentences: list[str] = []
    before = route.heading
    for milestone in route.milestones:
        start = "Turn" if sentences else "First, turn"
        sentences.append(f"{start} {turn(before, milestone.heading)} to face {milestone.facing}.")
        sentences.append(_onwards(milestone.landmark))
        before = milestone.heading
    return tuple(sentences)


def _onwards(landmark: Landmark | None) -> str:
    if landmark is None:
        return "Move forward until you reach the next intersection."
    if landmark.destination:
        return f"Move forward until the destination {landmark.name} is on your {landmark.relation}."
    return f"Move forward until you reach the next intersection where {landmark.told()}."


def rail(
    route: Route,
    most_straight: int,
    spacing: float,
    metres: Callable[[Place, Place], float],
    located: Callable[[Place], Place | None],
) -> tuple[Point, ...]:
    """The points where an action is asked for: at the start, at most `most_straight` on each street, at each milestone.

    Args:
        spacing: metres between two points of a street at least.
        metres: the distance of two places.
        located: where the picture near a place was taken; None where there is none. A point on a street without one is
            left out.

    Raises:
        KeepsightError: a start or milestone without a picture.
    """
    points: list[Point] = []
    here = _must(route, route.start, located)
    heading, landmark = route.heading, None
    for number, milestone in enumerate(route.milestones):
        sentence, there = 2 * number, _must(route, milestone.place, located)
        actions = (
            f"turn_direction({milestone.facing})",
            f"turn_direction({turn(heading, milestone.heading)})",
        )
        points.append(Point(here, heading, *actions, sentence, landmark, intersection=number > 0))
        points.extend(
            Point(place, milestone.heading, FORWARD, FORWARD, sentence + 1)
            for place in _between(here, there, most_straight, spacing, metres, located)
        )
        here, heading, landmark = there, milestone.heading, milestone.landmark
    return (*points, Point(here, heading, STOP, STOP, 2 * len(route.milestones) - 1, landmark))


def _must(route: Route, place: Place, located: Callable[[Place], Place | None]) -> Place:
    found = located(place)
    if found is None:
        raise KeepsightError(
            f"route {route.name} has no street view near {place}; leave the route out of its file"
        )
    return found


def _between(
    start: Place,
    end: Place,
    most: int,
    spacing: float,
    metres: Callable[[Place, Place], float],
    located: Callable[[Place], Place | None],
) -> list[Place]:
    """At most `most` places on the way, evenly spaced before they are located, none nearer than `spacing` to another."""
    count = min(most, int(metres(start, end) / spacing) - 1)
    kept, last = [], start
    for i in range(1, count + 1):
        share = i / (count + 1)
        place = located((start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share))
        if place is None or min(metres(place, last), metres(place, end)) < spacing * 0.99:  # rounding
            continue
        kept.append(place)
        last = place
    return kept
