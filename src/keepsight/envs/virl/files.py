"""V-IRL's `route_infos.json`: [[route, ...], n], as published for V-IRL and by "SFT Memorizes, RL Generalizes"."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keepsight.data.json_rows import read_json
from keepsight.envs.base import Picture
from keepsight.envs.virl.compass import DIRECTIONS, RELATIONS, Place, direction
from keepsight.envs.virl.panorama import Panoramas, metres
from keepsight.envs.virl.route import Landmark, Milestone, Route
from keepsight.errors import KeepsightError

__all__ = ["RouteFile", "milestone_blocks", "read_routes"]

MOST_MILESTONES = 1000
MOST_CHARACTERS = 2_000  # of a line of milestone_info
_LINE = re.compile(r"^[\"'](?P<key>[^\"']+)[\"']\s*:\s*[\"']?(?P<value>.*?)[\"']?\s*,?$")
_HEADING = re.compile(r"(?P<degrees>-?\d{1,4})\s*(?:\((?P<word>[a-z]+)\))?")
_PLACED = re.compile(r"(?P<destination>The destination )?(?P<name>.+) is on your (?P<relation>[a-z ]+)")
_NONE = re.compile(r"no landmarks? nearby", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class RouteFile:
    """A `World` of routes from a file."""

    routes: tuple[Route, ...] = field(repr=False)
    panoramas: Panoramas | None = None  # None: without pictures

    @classmethod
    def read(cls, path: Path, street_views: Path | None = None) -> RouteFile:
        """The routes of a file, with the panoramas of a folder where pictures are wanted.

        Raises:
            KeepsightError: a file that cannot be read, or a route that is not whole; the message names it.
        """
        return cls(read_routes(path), Panoramas.read(street_views) if street_views else None)

    @property
    def spacing(self) -> float:
        """As in the published environment."""
        return 8.0

    @property
    def most_milestones(self) -> int:
        """Of any route."""
        return max(len(route.milestones) for route in self.routes)

    def picture_files(self) -> tuple[Path, ...]:
        """Of the panoramas, if there are any."""
        return self.panoramas.files() if self.panoramas else ()

    def __len__(self) -> int:
        return len(self.routes)

    def route(self, number: int) -> Route:
        """A route, 0 <= number < len."""
        return self.routes[number]

    def metres(self, start: Place, end: Place) -> float:
        """The distance of two (latitude, longitude)."""
        return metres(start, end)

    def located(self, place: Place) -> Place | None:
        """Where the nearest panorama was taken; without pictures the place itself."""
        if self.panoramas is None:
            return place
        found = self.panoramas.nearest(place)
        return found[0] if found else None

    def view(self, number: int, place: Place, heading: float, size: int) -> Picture:
        """What is seen from a place, uint8 [size, size, 3]."""
        if self.panoramas is None:
            raise KeepsightError("these routes have no street views; give the folder of their panoramas")
        return self.panoramas.view(place, heading, size)


def read_routes(path: Path) -> tuple[Route, ...]:
    """The routes of a `route_infos.json`: [[route, ...], n], a list of routes, or one route.

    A route without `init_heading` starts facing north.

    Raises:
        KeepsightError: the file cannot be read, holds none, or a route lacks something; the message names it.
    """
    value = read_json(path)
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], list):
        value = value[0]
    rows = [value] if isinstance(value, dict) else value
    if not isinstance(rows, list) or not rows:
        raise KeepsightError(f"{path} holds no routes; give a route_infos.json of V-IRL")
    return tuple(_named(path, i, row) for i, row in enumerate(rows))


def _named(path: Path, number: int, row: Any) -> Route:
    try:
        return _route(f"{path.stem}-{number}", row)
    except KeepsightError as error:
        raise KeepsightError(f"cannot read route {number} of {path}: {error}") from error


def _route(name: str, row: Any) -> Route:
    start = _place(_at(row, "start_place", "relocated_geocode"))
    places = _at(row, "route_results", "geocode_list")
    blocks = milestone_blocks(_at(row, "milestone_info"))
    if not isinstance(places, list) or len(places) != len(blocks):
        found = len(places) if isinstance(places, list) else "no"
        raise KeepsightError(
            f"geocode_list has {found} places and milestone_info {len(blocks)} blocks; they must be as many"
        )
    last = len(blocks) - 1
    milestones = (_milestone(place, block, i == last) for i, (place, block) in enumerate(zip(places, blocks)))
    heading = row.get("init_heading", 0)
    if type(heading) not in (int, float) or not math.isfinite(heading):
        raise KeepsightError(f"init_heading is {heading!r:.60}, not a number")
    return Route(name, start, round(heading) % 360, tuple(milestones))


def _at(value: Any, *keys: str) -> Any:
    for i, key in enumerate(keys):
        if not isinstance(value, dict) or key not in value:
            raise KeepsightError(f"it has no {'.'.join(keys[: i + 1])}")
        value = value[key]
    return value


def _place(value: Any) -> Place:
    if (
        isinstance(value, list)
        and len(value) == 2
        and all(type(each) in (int, float) for each in value)
        and abs(value[0]) <= 90
        and abs(value[1]) <= 180
    ):
        return float(value[0]), float(value[1])
    raise KeepsightError(f"{value!r:.60} is no place; it should be [latitude, longitude] in degrees")


def milestone_blocks(text: Any) -> list[dict[str, str]]:
    """The blocks of `milestone_info`: one key and value a line in braces, each line with a comma at its end.

    Raises:
        KeepsightError: no text, no block, a line that is none, or more than 1000 blocks.
    """
    if not isinstance(text, str):
        raise KeepsightError(f"milestone_info is a {type(text).__name__}, not a text")
    blocks: list[dict[str, str]] = []
    inside = False
    for line in filter(None, map(str.strip, text.splitlines())):
        if line in ("{", "}", "},"):
            if inside == (line == "{"):
                raise KeepsightError("milestone_info has braces that do not match")
            inside = line == "{"
            blocks += [{}] if inside else []
        elif inside and len(line) <= MOST_CHARACTERS and (match := _LINE.match(line)):
            blocks[-1][match["key"]] = match["value"]
        else:
            raise KeepsightError(f"milestone_info has the line {line!r:.60}, which is no key and value")
        if len(blocks) > MOST_MILESTONES:
            raise KeepsightError(f"milestone_info has more than {MOST_MILESTONES} blocks")
    if inside or not blocks:
        raise KeepsightError("milestone_info has no whole block")
    return blocks


def _milestone(place: Any, block: Mapping[str, str], last: bool) -> Milestone:
    text = block.get("to_next_intersection_heading", "")
    heading = _HEADING.fullmatch(text.strip())
    degrees = int(heading["degrees"]) if heading else 999
    if heading is None or not -360 <= degrees <= 360:
        raise KeepsightError(
            f"to_next_intersection_heading is {text!r:.60}; it should be as in '298 (northwest)'"
        )
    facing = heading["word"] or direction(degrees)
    if facing not in DIRECTIONS:
        raise KeepsightError(f"to_next_intersection_heading says {facing!r:.60}, which is no direction")
    return Milestone(_place(place), degrees % 360, facing, _landmark(block.get("landmarks", ""), last))


def _landmark(text: str, last: bool) -> Landmark | None:
    text = text.strip().rstrip(".")
    if (not text or _NONE.fullmatch(text)) and not last:
        return None
    placed = _PLACED.fullmatch(text)
    if placed is None or placed["relation"] not in RELATIONS:
        raise KeepsightError(f"landmarks is {text!r:.60}; it should be as in 'Aritzia is on your left front'")
    return Landmark(placed["name"], placed["relation"], destination=last)
