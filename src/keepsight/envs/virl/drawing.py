"""Street views of a drawn district: one column of rays after another, each wall where it is nearest.

The camera looks level. A view is 90 degrees wide and as high, so that its picture plane at distance 1 reaches from -1 to 1.
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
    heights: Floats  # [w]
    colours: Floats  # [w, 3]
    signs: dict[int, House]  # by wall

    @classmethod
    def of(cls, style: Style, streets: Sequence[tuple[Place, Place]], houses: Sequence[House]) -> Scene:
        """The scene of these streets and houses."""
        corners = np.array([house.corners for house in houses], np.float32)  # [h, 4, 2]
        walls = np.stack([corners, np.roll(corners, -1, axis=1)], axis=2).reshape(-1, 2, 2)
        return cls(
            style,
            np.array(streets, np.float32),
            walls[:, 0],
            walls[:, 1],
            np.repeat(np.array([house.height for house in houses], np.float32), 4),
            np.repeat(np.array([house.wall for house in houses], np.float32), 4, axis=0),
            {4 * i: house for i, house in enumerate(houses) if house.name},
        )


def looked(scene: Scene, place: Place, heading: float, size: int) -> Picture:
    """What is seen from `place` in the direction `heading`, uint8 [size, size, 3]."""
    turned = np.radians(heading)
    ahead = np.array([np.sin(turned), np.cos(turned)], np.float32)
    right = np.array([ahead[1], -ahead[0]], np.float32)
    plane = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1).astype(np.float32)  # right, or down
    canvas = np.empty((size, size, 3), np.float32)
    _sky(canvas, scene.style, plane)
    _ground(canvas, scene, np.array(place, np.float32), ahead, right, plane)
    _walls(canvas, scene, np.array(place, np.float32), ahead, right, plane)
    return np.rint(canvas).clip(0, 255).astype(np.uint8)


def _sky(canvas: Floats, style: Style, plane: Floats) -> None:
    share = np.clip(-plane, 0, 1)[:, None, None] ** 0.7
    canvas[...] = (
        np.array(style.horizon, np.float32) * (1 - share) + np.array(style.zenith, np.float32) * share
    )


def _hazed(colours: Floats, depth: Floats, style: Style) -> Floats:
    """Colours [..., 3] at a distance [...]."""
    share = np.exp(-depth / HAZE)[..., None]
    return colours * share + np.array(style.horizon, np.float32) * (1 - share)


def _ground(canvas: Floats, scene: Scene, place: Floats, ahead: Floats, right: Floats, plane: Floats) -> None:
    rows = np.flatnonzero(plane > EYE / FAR)
    depth = EYE / plane[rows]  # [r]
    spots = place + depth[:, None, None] * (ahead + plane[:, None] * right)  # [r, size, 2]
    style = scene.style
    colours = np.empty((*spots.shape[:2], 3), np.float32)
    colours[...] = style.ground
    level = (scene.streets - place) @ ahead  # [s, 2] metres before the camera
    before = scene.streets[(level.max(axis=1) > -PAVEMENT) & (level.min(axis=1) < FAR)]
    across, along, long = _nearest_street(spots, before)
    colours[across < PAVEMENT] = style.pavement
    colours[across < ROAD] = style.road
    dashes = (across < 0.12) & (along % 5 < 2.5) & (along > 9) & (along < long - 9)
    colours[dashes] = style.marking
    canvas[rows] = _hazed(colours, depth[:, None], style)


def _nearest_street(spots: Floats, streets: Floats) -> tuple[Floats, Floats, Floats]:
    """Of the nearest street to each of [r, c] spots: distance from it, metres along it, its length."""
    across = np.full(spots.shape[:2], np.inf, np.float32)
    along, longs = np.zeros_like(across), np.zeros_like(across)
    east, north = np.ascontiguousarray(spots[..., 0]), np.ascontiguousarray(spots[..., 1])
    for start, end in streets:
        long = float(np.hypot(*(end - start)))
        x, y = (end - start) / np.float32(long)
        at = ((east - start[0]) * x + (north - start[1]) * y).clip(0, long)
        away = np.square(east - (start[0] + at * x)) + np.square(north - (start[1] + at * y))
        nearer = away < across
        across[nearer], along[nearer], longs[nearer] = away[nearer], at[nearer], long
    return np.sqrt(across), along, longs


def _walls(canvas: Floats, scene: Scene, place: Floats, ahead: Floats, right: Floats, plane: Floats) -> None:
    a, b = scene.starts - place, scene.ends - place
    ax, az, bx, bz = a @ right, a @ ahead, b @ right, b @ ahead  # [w]
    facing = ax * bz - bx * az < 0  # its start is on the left
    seen = np.flatnonzero(facing & (np.maximum(az, bz) > NEAR) & (np.minimum(np.abs(az), np.abs(bz)) < FAR))
    nearest = np.full(canvas.shape[:2], np.inf, np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (plane * az[seen, None] - ax[seen, None]) / (
            (bx - ax)[seen, None] - plane * (bz - az)[seen, None]
        )  # [w, size]: where along the wall a column meets it
        depth = az[seen, None] + share * (bz - az)[seen, None]
    met = (share >= 0) & (share <= 1) & (depth > NEAR) & (depth < FAR)
    for i in np.argsort(
        np.where(met, depth, np.inf).min(axis=1, initial=np.inf)
    ):  # the nearest hide the others
        columns = np.flatnonzero(met[i])
        if columns.size:
            _wall(canvas, nearest, scene, int(seen[i]), columns, share[i, columns], depth[i, columns], plane)


def _wall(
    canvas: Floats,
    nearest: Floats,
    scene: Scene,
    wall: int,
    columns: NDArray[np.intp],
    share: Floats,
    depth: Floats,
    plane: Floats,
) -> None:
    height = EYE - plane[:, None] * depth  # [size, c] metres above the ground
    rows = np.flatnonzero((height.max(axis=1) >= 0) & (height.min(axis=1) <= scene.heights[wall]))
    if rows.size == 0:
        return
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    height, before = height[part[0]], nearest[part]
    if before.shape[1] != columns.size:
        return  # a wall seen edge on
    drawn = (height >= 0) & (height <= scene.heights[wall]) & (depth < before)
    if not drawn.any():
        return
    before[drawn] = np.broadcast_to(depth, drawn.shape)[drawn]
    colours = _painted(scene, wall, height, share, depth)
    canvas[part][drawn] = _hazed(colours, np.broadcast_to(depth, drawn.shape), scene.style)[drawn]


def _painted(scene: Scene, wall: int, height: Floats, share: Floats, depth: Floats) -> Floats:
    """The colours of a wall [r, c, 3] at these heights [r, c] and shares of its length [c]."""
    way = scene.ends[wall] - scene.starts[wall]
    long = float(np.hypot(*way))
    light = 0.82 + 0.18 * abs(float(way[0])) / long
    colours = np.empty((*height.shape, 3), np.float32)
    colours[...] = scene.colours[wall] * light
    house = scene.signs.get(wall)
    if house is None:
        across, up = share * long / WINDOW % 1, height / STOREY % 1
        glass = (across > 0.28) & (across < 0.72) & (up > 0.3) & (up < 0.78)
        colours[glass & (height < scene.heights[wall] - 0.8)] = scene.style.window
        return colours
    low, high = SIGN
    board = (height >= low) & (height <= high)
    scale = (
        (high - low) * height.shape[1] / max(float(np.ptp(share)) * long, 0.1)
    )  # pixels of its height, about
    texture = _sign(
        house.name, house.board, house.letters, min(SHARPNESS, key=lambda s: abs(s - scale)), long
    )
    y = np.clip((high - height) / (high - low) * len(texture), 0, len(texture) - 1).astype(int)
    x = np.broadcast_to(np.clip(share * texture.shape[1], 0, texture.shape[1] - 1).astype(int), y.shape)
    colours[board] = texture[y[board], x[board]]
    return colours


@lru_cache(maxsize=1024)
def _sign(name: str, board: Colour, letters: Colour, height: int, width: float) -> Picture:
    """A sign with one word in each line, uint8 [height, w, 3]; `width` is the wall's, in metres."""
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
