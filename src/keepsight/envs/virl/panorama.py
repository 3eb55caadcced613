"""Street views from a folder of panoramas: `{id}.jpg`, equirectangular, `{id}.metadata.json`, and where each was taken.

`rotation` in the metadata says in degrees how far right of the panorama's left edge north lies.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keepsight.data.confine import confined
from keepsight.data.digests import file_digest
from keepsight.data.json_rows import read_json
from keepsight.data.pictures import decode
from keepsight.envs.base import Picture
from keepsight.envs.virl.compass import Place
from keepsight.envs.virl.pickled import MAPPING
from keepsight.errors import KeepsightError
from keepsight.types import Media

__all__ = ["Panoramas", "cropped", "metres"]

RADIUS = 20.0  # metres: a place is shown by a panorama that was taken no farther away
ENDINGS = (".jpg", ".metadata.json")  # of a panorama's picture, and of what is known of it
EARTH = 6_371_008.8  # metres, mean radius
MOST_KEPT = 8  # panoramas in memory; one of 8192 x 4096 pixels has 100 MB


def metres(start: Place, end: Place) -> float:
    """The distance of two (latitude, longitude) in degrees, on a sphere."""
    a, b = (tuple(math.radians(each) for each in place) for place in (start, end))
    half = (
        math.sin((b[0] - a[0]) / 2) ** 2 + math.cos(a[0]) * math.cos(b[0]) * math.sin((b[1] - a[1]) / 2) ** 2
    )
    return 2 * EARTH * math.asin(math.sqrt(min(half, 1.0)))


@dataclass(frozen=True, eq=False)
class Panoramas:
    """The panoramas of a folder."""

    folder: Path
    places: NDArray[np.float64] = field(repr=False)  # [n, 2]: latitude, longitude
    names: tuple[str, ...] = field(repr=False)

    @classmethod
    def read(cls, folder: Path) -> Panoramas:
        """Reads which panorama was taken where: `gps_pano_mapping.json` in the folder or beside it.

        Raises:
            KeepsightError: there is none, only the pickle, or it is no list of [latitude, longitude, id].
        """
        source = next(
            (place / MAPPING for place in (folder, folder.parent) if os.path.isfile(place / MAPPING)), None
        )
        if source is None:
            raise KeepsightError(
                f"no {MAPPING} in {folder} or beside it; make it of gps_pano_mapping.pkl with "
                "keepsight.envs.virl.pickled.convert_mapping"
            )
        rows = read_json(source)
        if not isinstance(rows, list) or not rows or not all(_is_row(row) for row in rows):
            raise KeepsightError(
                f"{source} is no list of [latitude, longitude, id]; convert the pickle again"
            )
        return cls(folder, np.array([row[:2] for row in rows], np.float64), tuple(row[2] for row in rows))

    def nearest(self, place: Place) -> tuple[Place, str] | None:
        """Where the nearest panorama was taken, and its id; None where none is within 20 m."""
        shrink = np.array([1.0, math.cos(math.radians(place[0]))])
        away = np.square((self.places - place) * shrink).sum(axis=1)
        best = int(away.argmin())
        there = (float(self.places[best, 0]), float(self.places[best, 1]))
        return (there, self.names[best]) if metres(place, there) <= RADIUS else None

    def view(self, place: Place, heading: float, size: int) -> Picture:
        """The view from a place, 90 degrees wide: uint8 [size, size, 3].

        Raises:
            KeepsightError: no panorama near, or its files cannot be read.
        """
        found = self.nearest(place)
        if found is None:
            raise KeepsightError(
                f"no panorama within {RADIUS:g} m of {place} in {self.folder}; leave the route out"
            )
        picture, about = (confined(self.folder, f"{found[1]}{ending}") for ending in ENDINGS)
        rotation = _rotation(about, file_digest(about))
        return cropped(_panorama(picture, file_digest(picture)), heading + rotation, size)

    def files(self) -> tuple[Path, ...]:
        """Those of the panoramas, in the mapping's order; what is not there is left out."""
        paths = (self.folder / f"{name}{ending}" for name in dict.fromkeys(self.names) for ending in ENDINGS)
        return tuple(path for path in paths if os.path.isfile(path))


def _is_row(row: object) -> bool:
    return (
        isinstance(row, list)
        and len(row) == 3
        and all(type(each) in (int, float) for each in row[:2])
        and abs(row[0]) <= 90
        and abs(row[1]) <= 180
        and isinstance(row[2], str)
    )


# Of both the digest tells a file that was changed from what was read of it before.
@lru_cache(maxsize=MOST_KEPT)
def _panorama(path: Path, digest: str) -> Picture:
    picture = np.asarray(decode(Media(path=path)))
    if picture.shape[1] != 2 * picture.shape[0]:
        height, width = picture.shape[:2]
        raise KeepsightError(
            f"panorama {path} is {width} x {height}; an equirectangular one is twice as wide as high"
        )
    return picture


@lru_cache(maxsize=4096)
def _rotation(path: Path, digest: str) -> float:
    value = read_json(path)
    rotation = value.get("rotation") if isinstance(value, dict) else None
    if isinstance(rotation, bool) or not isinstance(rotation, (int, float)) or not math.isfinite(rotation):
        raise KeepsightError(f"{path} has no number `rotation`; fetch the panorama again")
    return float(rotation)


def cropped(panorama: Picture, heading: float, size: int) -> Picture:
    """A level perspective view, 90 degrees wide and high, of an equirectangular panorama.

    Args:
        panorama: uint8 [h, 2h, 3].
        heading: degrees right of the panorama's left edge where the view's middle lies.

    Returns:
        uint8 [size, size, 3], between the pixels by straight lines.
    """
    plane = (np.arange(size) + 0.5) / size * 2 - 1
    right, down = np.meshgrid(plane, plane)
    height, width = panorama.shape[:2]
    x = ((np.degrees(np.arctan(right)) + heading) / 360) % 1 * width - 0.5
    y = (np.arctan2(down, np.hypot(1, right)) / math.pi + 0.5) * height - 0.5
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    u, v = (x - left)[..., None], (y - top)[..., None]
    rows = np.clip([top, top + 1], 0, height - 1)
    columns = np.array([left, left + 1]) % width
    upper, lower = ((1 - u) * panorama[row, columns[0]] + u * panorama[row, columns[1]] for row in rows)
    return np.rint((1 - v) * upper + v * lower).astype(np.uint8)
