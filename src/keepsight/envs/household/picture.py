"""A schematic picture of a scene: the receptacle in front, what lies in it, what is carried. It is not a rendered scene.

ALFWorld's own pictures come from the simulator AI2-THOR, which the text engine does without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from keepsight.envs.base import Picture
from keepsight.envs.household.facts import House, Scene
from keepsight.envs.household.wording import visible
from keepsight.envs.lettering import text_size, write

__all__ = ["SIZE", "View", "drawn", "view"]

SIZE = (300, 300)
_MARGIN, _FOOT = 6, 46  # pixels: around everything; below the receptacles
_WALL, _INK, _GREY = (236, 233, 226), (20, 20, 20), (110, 110, 110)
_OPEN, _SHUT, _HAND = (255, 255, 255), (150, 121, 92), (255, 246, 214)
_STATES = {"clean": "clean", "heat": "hot", "cool": "cool"}
_LABEL = "schematic, not a rendered scene"
_SHADES = (
    (198, 226, 233),
    (214, 232, 200),
    (245, 218, 200),
    (228, 212, 240),
    (250, 232, 180),
    (216, 216, 216),
)


@dataclass(frozen=True)
class View:
    """What is drawn. `holders`: (name, "open", "closed" or "", labels of what is seen in it)."""

    holders: tuple[tuple[str, str, tuple[str, ...]], ...]
    carried: str = ""
    around: tuple[str, ...] = ()  # what stands in the room, where the player stands before nothing


def view(house: House, scene: Scene) -> View:
    """What is to be drawn of a scene; nothing that the player cannot see."""
    here = sorted(holder for holder, place in house.place.items() if place == scene.at)
    seen = visible(house, scene)
    holders = tuple(
        (
            each,
            ("open" if each in scene.opened else "closed") if each in house.openable else "",
            tuple(_label(scene, thing) for thing, holder in seen if holder == each),
        )
        for each in here
    )
    carried = _label(scene, scene.carried) if scene.carried else ""
    return View(holders, carried, () if here else tuple(sorted(house.place, key=_in_order)))


@lru_cache(maxsize=2048)
def drawn(what: View) -> Picture:
    """The picture, uint8 [300, 300, 3], which cannot be written to."""
    canvas = np.full((*SIZE, 3), _WALL, np.uint8)
    bottom = SIZE[0] - _FOOT
    if what.holders:
        height = bottom // len(what.holders)
        for i, holder in enumerate(what.holders):
            _draw_holder(canvas, holder, (i * height + _MARGIN, (i + 1) * height))
    else:
        write(canvas, "in the middle of the room", (_MARGIN, _MARGIN), 15, _INK, bold=True)
        _draw_labels(canvas, what.around, (_MARGIN + 24, bottom), plain=True)
    _box(canvas, (_MARGIN, bottom + 4), (SIZE[1] - _MARGIN, bottom + 26), _HAND)
    write(canvas, f"carrying: {what.carried or 'nothing'}", (_MARGIN + 5, bottom + 7), 13, _INK)
    write(canvas, _LABEL, (_MARGIN, SIZE[0] - 17), 11, _GREY)
    canvas.setflags(write=False)
    return canvas


def _draw_holder(canvas: Picture, holder: tuple[str, str, tuple[str, ...]], rows: tuple[int, int]) -> None:
    name, state, labels = holder
    top, bottom = rows
    write(canvas, name + (f" ({state})" if state else ""), (_MARGIN, top), 15, _INK, bold=True)
    _box(canvas, (_MARGIN, top + 20), (SIZE[1] - _MARGIN, bottom), _SHUT if state == "closed" else _OPEN)
    if state == "closed":
        _write_centred(canvas, "closed", (top + 20, bottom), (255, 255, 255))
    elif labels:
        _draw_labels(canvas, labels, (top + 24, bottom - 2), plain=False)
    else:
        _write_centred(canvas, "nothing", (top + 20, bottom), _GREY)


def _draw_labels(canvas: Picture, labels: Sequence[str], rows: tuple[int, int], *, plain: bool) -> None:
    """Labels in boxes, in as few columns as hold them; the last box counts those for which there is no room."""
    top, bottom = rows
    columns = next(n for n in (1, 2, 3) if n == 3 or len(labels) * 22 <= n * (bottom - top))
    size = {1: 14, 2: 12, 3: 10}[columns]
    width, height = (SIZE[1] - 3 * _MARGIN) // columns, size + 8
    room = max(1, (bottom - top) // height) * columns
    shown = labels if len(labels) <= room else [*labels[: room - 1], f"and {len(labels) - room + 1} more"]
    for i, label in enumerate(shown):
        row, column = divmod(i, columns)
        left, upper = _MARGIN + 4 + column * width, top + row * height
        _box(canvas, (left, upper), (left + width - 3, upper + height - 2), _OPEN if plain else _shade(label))
        write(canvas, _fitted(label, size, width - 9), (left + 3, upper + 2), size, _INK)


def _label(scene: Scene, thing: str) -> str:
    states = [_STATES[verb] for verb, each in sorted(scene.treated) if each == thing]
    states += ["on"] if thing in scene.lit else []
    return f"{thing} ({', '.join(states)})" if states else thing


def _fitted(label: str, size: int, width: int) -> str:
    """`label`, or its beginning with a point for each letter that is missing at most two."""
    while text_size(label, size)[0] > width and len(label) > 3:
        label = label.rstrip(".")[:-1] + ".."
    return label


def _shade(label: str) -> tuple[int, int, int]:
    return _SHADES[sum(map(ord, label.partition(" ")[0])) % len(_SHADES)]


def _box(
    canvas: Picture, upper_left: tuple[int, int], lower_right: tuple[int, int], colour: tuple[int, ...]
) -> None:
    (left, top), (right, bottom) = upper_left, lower_right
    canvas[top:bottom, left:right] = _GREY
    canvas[top + 1 : bottom - 1, left + 1 : right - 1] = colour


def _write_centred(canvas: Picture, text: str, rows: tuple[int, int], colour: tuple[int, int, int]) -> None:
    width, height = text_size(text, 15)
    at = ((SIZE[1] - width) // 2, (sum(rows) - height) // 2)
    write(canvas, text, at, 15, colour)


def _in_order(name: str) -> tuple[str, int]:
    kind, _, number = name.rpartition(" ")
    return kind, int(number) if number.isdecimal() else 0
