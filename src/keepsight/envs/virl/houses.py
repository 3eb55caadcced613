"""Houses of a drawn district: the shops of its plan, and rows along every street."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from keepsight.envs.virl.drawing import House, Scene
from keepsight.envs.virl.plan import CORNER, FRONT, Plan, Shop, front
from keepsight.envs.virl.streets import distance
from keepsight.envs.virl.styles import Style

__all__ = ["built"]

FREE = 22.0  # metres from a crossing without houses, which would hide the corner shops
APART = 9.0  # metres between the middles of two houses

Floats = NDArray[np.float64]


def built(plan: Plan, style: Style, rng: np.random.Generator) -> Scene:
    """The scene of a plan."""
    shops = (shop for kept in (plan.corner_shops, plan.shops) for each in kept.values() for shop in each)
    houses = [_shop_house(shop, style, rng) for shop in shops]
    return Scene.of(style, plan.lines, [*houses, *_rows(plan, style, rng)])


def _shop_house(shop: Shop, style: Style, rng: np.random.Generator) -> House:
    board, letters = style.boards[int(rng.integers(len(style.boards)))]
    wall = style.walls[int(rng.integers(len(style.walls)))]
    return House(shop.sign, 3.5, 5.0, wall, shop.name, board, letters)


def _rows(plan: Plan, style: Style, rng: np.random.Generator) -> Iterator[House]:
    """Rows of houses, none on another street, before a shop or inside another house."""
    lines = np.array(plan.lines)  # [s, 2, 2]
    crossings = np.array(plan.streets.places[: plan.crossings])  # [c, 2]
    middles = np.empty((0, 2))
    for i, (start, end) in enumerate(plan.lines):
        shops = plan.crossings + i in plan.shops
        others = np.delete(lines, i, axis=0)
        for side in (1, -1):
            for first, last in _lots(distance(start, end), shops, rng):
                ends = front(start, end, first, last, side)
                wall = style.walls[int(rng.integers(len(style.walls)))]
                house = House(ends, 8.0, float(rng.uniform(*style.heights)), wall)
                if _fits(house, others, crossings, middles):
                    middles = np.vstack([middles, house.centre])
                    yield house


def _lots(long: float, shops: bool, rng: np.random.Generator) -> Iterator[tuple[float, float]]:
    """First and last metre of the lots along a street that leave its middle free if there are shops."""
    along = FREE
    while (last := along + rng.uniform(8, 13)) < long - FREE:
        if not shops or last < long / 2 - 4 or along > long / 2 + 4:
            yield along, last
        along = last + rng.uniform(0, 2)


def _fits(house: House, streets: Floats, crossings: Floats, middles: Floats) -> bool:
    corners = np.array(house.corners)  # [4, 2]
    return bool(
        (np.hypot(*(middles - house.centre).T) >= APART).all()
        and (np.hypot(*(corners[:, None] - crossings).T) > CORNER + 6).all()
        and (_from_streets(corners, streets) > FRONT - 1).all()
    )


def _from_streets(places: Floats, streets: Floats) -> Floats:
    """The distances of [n, 2] places from [s, 2, 2] streets in metres, [n, s]."""
    start, way = streets[:, 0], streets[:, 1] - streets[:, 0]
    away = places[:, None] - start  # [n, s, 2]
    share = ((away * way).sum(axis=2) / np.square(way).sum(axis=1)).clip(0, 1)
    return np.asarray(np.linalg.norm(away - share[..., None] * way, axis=2))
