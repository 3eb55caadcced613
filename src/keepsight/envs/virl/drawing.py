"""Street views of a drawn district: in each column of the picture the walls that its ray meets, the nearest first.

The camera looks level. A view is 90 degrees wide and as high, so that its picture plane at distance 1 reaches from -1 to 1.
Every wall stands on the ground and is higher than the camera, so that of a farther wall only what is above is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from keepsight.envs.base import Picture
from keepsight.envs.lettering import text_size, write
from keepsight.envs.virl.compass import Place
from keepsight.envs.virl.styles import Colour, Style

__all__ = ["House", "Scene", "looked"]

Floats = NDArray[np.float32]

EYE = 2.2  # metres above the road
FAR, HAZE = 160.0, 140.0  # metres: what is farther is not drawn; how fast colours fade
ROAD, PAVEMENT = 3.1, 5.6  # metres from the middle of a street
NEAR = 0.2  # metres before the camera
SIGN = (1.5, 4.8)  # metres above the ground, lower and upper edge
WINDOW, STOREY = 3.0, 3.2  # metres from window to window and floor to floor
SHARPNESS = (24, 48, 96, 192)  # heights of a sign's drawings, pixels


@dataclass(frozen=True)
class House:
    """A box on a rectangle; with a name, a sign over its front."""

    front: tuple[Place, Place]  # left and right end, as seen from the street
    depth: float
    height: float
    wall: Colour
    name: str = ""
    board: Colour = (0, 0, 0)
    letters: Colour = (0, 0, 0)

    @property
    def corners(self) -> tuple[Place, Place, Place, Place]:
        """Front left, front right, back right, back left."""
        a, b = self.front
        long = float(np.hypot(b[0] - a[0], b[1] - a[1]))
        x, y = -(b[1] - a[1]) / long * self.depth, (b[0] - a[0]) / long * self.depth
        return a, b, (b[0] + x, b[1] + y), (a[0] + x, a[1] + y)

    @property
    def centre(self) -> Place:
        """The middle of the ground."""
        a, _, c, _ = self.corners
        return (a[0] + c[0]) / 2, (a[1] + c[1]) / 2


@dataclass(frozen=True, eq=False)
class Scene:
    """What there is to draw. A wall is seen from the side where its start is on the left."""

    style: Style
    streets: Floats  # [s, 2, 2]: ends; east, north
    starts: Floats  # [w, 2]
    ends: Floats  # [w, 2]
    lengths: Floats  # [w]
    heights: Floats  # [w]
    colours: Floats  # [w, 3]; walls along one direction are lighter
    signs: dict[int, House]  # by wall
    has_sign: NDArray[np.bool_]  # [w]

    @classmethod
    def of(cls, style: Style, streets: Sequence[tuple[Place, Place]], houses: Sequence[House]) -> Scene:
        """The scene of these streets and houses."""
        corners = np.array([house.corners for house in houses], np.float32)  # [h, 4, 2]
        walls = np.stack([corners, np.roll(corners, -1, axis=1)], axis=2).reshape(-1, 2, 2)
        ways = walls[:, 1] - walls[:, 0]
        lengths = np.hypot(*ways.T)
        light = 0.82 + 0.18 * np.abs(ways[:, 0]) / lengths
        signs = {4 * i: house for i, house in enumerate(houses) if house.name}
        return cls(
            style,
            np.array(streets, np.float32),
            walls[:, 0],
            walls[:, 1],
            lengths,
            np.repeat(np.array([house.height for house in houses], np.float32), 4),
            np.repeat(np.array([house.wall for house in houses], np.float32), 4, axis=0) * light[:, None],
            signs,
            np.isin(np.arange(len(walls)), list(signs)),
        )


@dataclass(frozen=True, eq=False)
class _Hits:
    """Where the rays of columns meet walls, [n] each; of a column the nearest first."""

    columns: NDArray[np.intp]
    walls: NDArray[np.intp]
    shares: Floats  # of the wall's length
    depths: Floats  # metres before the camera


def looked(scene: Scene, place: Place, heading: float, size: int) -> Picture:
    """What is seen from `place` in the direction `heading`, uint8 [size, size, 3]."""
    turned = np.radians(heading)
    ahead = np.array([np.sin(turned), np.cos(turned)], np.float32)
    right = np.array([ahead[1], -ahead[0]], np.float32)
    plane = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1).astype(np.float32)  # right, or down
    here = np.array(place, np.float32)
    canvas = np.empty((size, size, 3), np.float32)
    _sky(canvas, scene.style, plane)
    hits = _hits(scene, here, ahead, right, plane)
    ground = _walls(canvas, scene, hits, plane)
    _ground(canvas, scene, here, ahead, right, plane, ground)
    return np.rint(canvas).clip(0, 255).astype(np.uint8)


def _sky(canvas: Floats, style: Style, plane: Floats) -> None:
    share = np.clip(-plane, 0, 1)[:, None, None] ** 0.7
    canvas[...] = (
        np.array(style.horizon, np.float32) * (1 - share) + np.array(style.zenith, np.float32) * share
    )


def _hazed(colours: Floats, depth: Floats, style: Style) -> Floats:
    """Colours [n, 3] at a distance [n]."""
    horizon = np.array(style.horizon, np.float32)
    return (colours - horizon) * np.exp(-depth / HAZE)[:, None] + horizon


def _hits(scene: Scene, place: Floats, ahead: Floats, right: Floats, plane: Floats) -> _Hits:
    a, b = scene.starts - place, scene.ends - place
    ax, az, bx, bz = a @ right, a @ ahead, b @ right, b @ ahead  # [w]
    facing = ax * bz - bx * az < 0  # its start is on the left
    seen = np.flatnonzero(facing & (np.maximum(az, bz) > NEAR) & (np.minimum(np.abs(az), np.abs(bz)) < FAR))
    ax, az, bx, bz = (each[seen, None] for each in (ax, az, bx, bz))
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = (plane * az - ax) / ((bx - ax) - plane * (bz - az))  # [w, size]
        depths = az + shares * (bz - az)
    walls, columns = np.nonzero((shares >= 0) & (shares <= 1) & (depths > NEAR) & (depths < FAR))
    order = np.lexsort((depths[walls, columns], columns))
    walls, columns = walls[order], columns[order]
    return _Hits(
        columns,
        seen[walls],
        shares[walls, columns].astype(np.float32),
        depths[walls, columns].astype(np.float32),
    )


def _walls(canvas: Floats, scene: Scene, hits: _Hits, plane: Floats) -> NDArray[np.intp]:
    """Draws what is seen of the walls; returns for each column the row where the ground before them begins, [size]."""
    size = len(plane)
    tops = (
        np.ceil(((EYE - scene.heights[hits.walls]) / hits.depths + 1) / 2 * size - 0.5)
        .clip(0, size)
        .astype(int)
    )
    ends = (np.floor((EYE / hits.depths + 1) / 2 * size - 0.5) + 1).clip(0, size).astype(int)
    first = np.searchsorted(hits.columns, np.arange(size))  # of each column
    rank = np.arange(len(hits.columns)) - first[hits.columns]
    skyline = np.full((int(rank.max(initial=0)) + 2, size), size)  # after so many walls
    skyline[rank + 1, hits.columns] = tops
    skyline = np.minimum.accumulate(skyline)
    ends = np.minimum(ends, skyline[rank, hits.columns])
    counts = np.maximum(ends - tops, 0)
    which = np.repeat(np.arange(len(counts)), counts)  # [p]: the hit that a pixel shows
    rows = tops[which] + np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    height = EYE - plane[rows] * hits.depths[which]  # metres above the ground
    colours = _painted(scene, hits, which, height, size)
    canvas[rows, hits.columns[which]] = _hazed(colours, hits.depths[which], scene.style)
    ground = np.full(size, int(np.searchsorted(plane, EYE / FAR)))
    ground[hits.columns[rank == 0]] = ends[rank == 0]
    return ground


def _painted(scene: Scene, hits: _Hits, which: NDArray[np.intp], height: Floats, size: int) -> Floats:
    """The colours [p, 3] of points of walls."""
    walls, shares = hits.walls[which], hits.shares[which]
    colours = scene.colours[walls]
    across, up = shares * scene.lengths[walls] / WINDOW % 1, height / STOREY % 1
    glass = (across > 0.28) & (across < 0.72) & (up > 0.3) & (up < 0.78)
    glass &= height < np.floor(scene.heights[walls] / STOREY) * STOREY
    low, high = SIGN
    signed = scene.has_sign[walls]
    colours[glass & ~signed] = scene.style.window
    for wall in np.unique(walls[signed]):
        board = np.flatnonzero((walls == wall) & (height >= low) & (height <= high))
        if board.size:
            scale = (high - low) / 2 / float(hits.depths[which[board]].min()) * size
            texture = _sign(scene.signs[int(wall)], _sharpness(scale), float(scene.lengths[wall]))
            y = ((high - height[board]) / (high - low) * len(texture)).clip(0, len(texture) - 1)
            x = (shares[board] * texture.shape[1]).clip(0, texture.shape[1] - 1)
            colours[board] = texture[y.astype(int), x.astype(int)]
    return colours


def _ground(
    canvas: Floats,
    scene: Scene,
    place: Floats,
    ahead: Floats,
    right: Floats,
    plane: Floats,
    begins: NDArray[np.intp],
) -> None:
    rows, columns = np.nonzero(np.arange(len(plane))[:, None] >= begins)
    depth = EYE / plane[rows]  # [p]
    aside = depth * plane[columns]
    east = place[0] + ahead[0] * depth + right[0] * aside
    north = place[1] + ahead[1] * depth + right[1] * aside
    level = (scene.streets - place) @ ahead  # [s, 2] metres before the camera
    before = scene.streets[(level.max(axis=1) > -PAVEMENT) & (level.min(axis=1) < FAR)]
    across, along, long = _nearest_street(east, north, before)
    style = scene.style
    kinds = (across < PAVEMENT).astype(np.uint8) + (across < ROAD)
    kinds[(across < 0.12) & (along % 5 < 2.5) & (along > 9) & (along < long - 9)] = 3
    colours = np.array([style.ground, style.pavement, style.road, style.marking], np.float32)[kinds]
    canvas[rows, columns] = _hazed(colours, depth, style)


def _nearest_street(east: Floats, north: Floats, streets: Floats) -> tuple[Floats, Floats, Floats]:
    """Of the nearest street to each of [p] spots: distance from it, metres along it, its length."""
    across = np.full(len(east), np.inf, np.float32)
    along, longs = np.zeros_like(across), np.zeros_like(across)
    for start, end in streets:
        long = float(np.hypot(*(end - start)))
        x, y = (end - start) / np.float32(long)
        at = ((east - start[0]) * x + (north - start[1]) * y).clip(0, long)
        away = np.square(east - (start[0] + at * x)) + np.square(north - (start[1] + at * y))
        nearer = away < across
        across[nearer], along[nearer], longs[nearer] = away[nearer], at[nearer], long
    return np.sqrt(across), along, longs


def _sharpness(scale: float) -> int:
    """Which of `SHARPNESS` a sign of so many pixels' height needs."""
    return min(SHARPNESS, key=lambda each: abs(each - scale))


@lru_cache(maxsize=1024)
def _sign(house: House, height: int, width: float) -> Picture:
    """A sign with one word in each line, uint8 [height, w, 3]; `width` is the wall's, in metres."""
    name, board, letters = house.name, house.board, house.letters
    wide = max(8, round(height * width / (SIGN[1] - SIGN[0])))
    picture = np.empty((height, wide, 3), np.uint8)
    picture[...] = letters
    rim = max(1, height // 32)
    picture[rim:-rim, rim:-rim] = board
    words = name.split() or [name]
    room = (height - 2 * rim) / len(words)
    size = max(4, int(room / 1.16))
    while size > 4 and max(text_size(word, size, bold=True)[0] for word in words) > wide - 4 * rim:
        size -= 1
    for i, word in enumerate(words):
        across, down = text_size(word, size, bold=True)
        top = rim + room * i + (room - down) / 2
        write(picture, word, ((wide - across) // 2, round(top)), size, letters, bold=True)
    picture.setflags(write=False)
    return picture
