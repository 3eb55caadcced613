"""What an environment needs of a set of routes, be they drawn or read from files."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from keepsight.envs.base import Picture
from keepsight.envs.virl.compass import Place
from keepsight.envs.virl.route import Route

__all__ = ["World"]


class World(Protocol):
    """Routes by number and what is seen along them."""

    @property
    def spacing(self) -> float:
        """Metres between two points of a street at least."""
        ...

    @property
    def most_milestones(self) -> int:
        """Of any route."""
        ...

    def picture_files(self) -> tuple[Path, ...]:
        """What the views are made of."""
        ...

    def __len__(self) -> int:
        """How many routes there are."""
        ...

    def route(self, number: int) -> Route:
        """A route, 0 <= number < len."""
        ...

    def metres(self, start: Place, end: Place) -> float:
        """The distance of two places."""
        ...

    def located(self, place: Place) -> Place | None:
        """Where the picture near a place was taken; None where there is none."""
        ...

    def view(self, number: int, place: Place, heading: float, size: int) -> Picture:
        """What is seen from a place of a route in the direction `heading`, 90 degrees wide: uint8 [size, size, 3]."""
        ...
