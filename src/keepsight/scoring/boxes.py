"""Boxes in answers: read from text, compared by the share that two of them have in common, moved between two frames.

A box is two opposite corners `(x1, y1, x2, y2)` as shares of a frame's width and height, 0 at the left and the top. The
frame is the picture itself ("picture") or the square that it is padded to, centred, as LLaVA's training pads it
("padded"). How an answer counts (shares, per cent, thousandths, pixels) is declared, never guessed from its numbers.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import ClassVar, Literal

from keepsight.scoring.answered import SHARE, score_each, version_of
from keepsight.scoring.refusal import declines
from keepsight.types import KeepsightError, Output, Sample, Score

__all__ = [
    "FRAMES",
    "UNITS",
    "Box",
    "BoxAccuracy",
    "BoxOverlap",
    "BoxReading",
    "box_text",
    "intersection_over_union",
    "read_box",
    "to_padded",
    "to_picture",
]

Box = tuple[float, float, float, float]
Frame = Literal["picture", "padded"]
Unit = Literal["share", "percent", "thousand", "pixel"]
FRAMES = ("picture", "padded")
# What the far edge of the frame is called; of pixels the frame's own size.
UNITS: dict[str, float | None] = {"share": 1.0, "percent": 100.0, "thousand": 1000.0, "pixel": None}

_OVERSHOOT = 0.05  # of the frame: a corner that lies a little outside is moved to the edge
_PRECISION = 3  # decimals printed: a thousandth of the picture is below any annotator's care

_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_EXPONENT = re.compile(r"(?<![\d.])(?:\d+(?:\.\d*)?|\.\d+)[eE][-+]?\d{1,3}(?!\w)")
# Blanks, commas, quotes and the like match nothing and only separate.
_TOKEN = re.compile(
    r"(?P<number>(?:(?<![\w.])[-+])?(?:\d+(?:\.\d*)?|\.\d+))"
    r"|(?P<bracket>[()\[\]])"
    r"|(?P<corner>(?:top|upper|bottom|lower)[-_ ]?(?:left|right)(?:[-_ ]?corner)?(?:\b|_?(?=[xy]\b)))"
    r"|(?P<name>(?:[xy](?:_?[012](?!\.\d)|[-_ ]?(?:min|max|start|end|cent(?:er|re))|c)?"
    r"|(?:min|max|start|end|cent(?:er|re))[-_ ]?[xy]|c[xy]|left|top|right|bottom|width|height|[wh])\b)"
    r"|(?P<link>(?:and|at|is|the|to)\b|-+>?|→)"
    r"|(?P<apart>[^\W\d_]\w*|(?!\*\*)[^\s,;:=<>{}|/\"'%`*])",
    re.IGNORECASE,
)
_DASHES = dict.fromkeys(map(ord, "‐‑‒–−"), "-")
# Name without its separators -> axis and edge; of an edge with a digit the other one on its axis tells which it is.
_EDGES = {
    **dict.fromkeys(("min", "start"), "near"),
    **dict.fromkeys(("max", "end"), "far"),
    **dict.fromkeys(("c", "center", "centre"), "centre"),
    **{digit: digit for digit in "012"},
    "": "",
}
_NAMES = {
    name: (axis, edge)
    for axis in "xy"
    for word, edge in _EDGES.items()
    for name in (axis + word, word + axis)
} | {
    "left": ("x", "near"),
    "top": ("y", "near"),
    "right": ("x", "far"),
    "bottom": ("y", "far"),
    **dict.fromkeys(("w", "width"), ("x", "size")),
    **dict.fromkeys(("h", "height"), ("y", "size")),
}
_TWO_EDGES = (("near", "far"), ("0", "1"), ("1", "2"))
_GOES_ON = re.compile(r"\.\d|_")  # "0.1.2" is no number


@dataclass(frozen=True)
class BoxReading:
    """The box that was read, and what had to be mended; or none, and why."""

    box: Box | None
    tags: tuple[str, ...] = ()
    why: str = ""


def read_box(text: str, unit: Unit = "share", size: Sequence[int] | None = None) -> BoxReading:
    """The one box that an answer gives, as shares of the frame.

    Four numbers with nothing but separators, brackets, tags and coordinates' names between them: `[0.1, 0.2, 0.3, 0.4]`,
    `<box>(1,2),(3,4)</box>`, `top=.2 left=.1 bottom=.4 right=.3`. Names say which number is which, in any order; of a plain
    x and y with width and height these are the upper left corner's. Swapped corners are put in order and a corner at most
    5 % of the frame outside is moved to its edge; tags say so. Several different boxes are no answer, and neither are
    names that make no two corners or numbers that do not fit the unit.

    Args:
        unit: what the answer's numbers count.
        size: width and height of the frame in pixels, needed for `unit="pixel"`.

    Raises:
        KeepsightError: an unknown unit, or pixels without a size.
    """
    full = _full(unit, size)
    found = list(dict.fromkeys(_boxes(text)))
    if len(found) != 1:
        return BoxReading(None, why=f"{len(found)} boxes" if found else "no box of four numbers")
    shares = [number / edge for number, edge in zip(found[0], full * 2)]
    if not all(-_OVERSHOOT <= share <= 1 + _OVERSHOOT for share in shares):
        return BoxReading(None, why=f"a corner outside the picture, counted in {unit}")
    return _in_order([min(1.0, max(0.0, share)) for share in shares], shares)


def box_text(box: Sequence[float], decimals: int = _PRECISION) -> str:
    """`[0.12, 0.3, 0.564, 0.781]`: the form in which CoIN's rows write a box."""
    return f"[{', '.join(repr(round(float(number), decimals) + 0.0) for number in box)}]"  # no -0.0


def intersection_over_union(one: Sequence[float], other: Sequence[float]) -> float:
    """The area that two boxes share over the area that they cover; 0 where neither covers anything."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    covered = _area(one) + _area(other) - shared
    return min(1.0, shared / covered) if covered > 0 else 0.0


def to_padded(box: Sequence[float], size: Sequence[int]) -> Box:
    """A box of the picture as a box of the square that the picture is centred in. `size` is (width, height)."""
    (across, left), (down, top) = _fit(size)
    x1, y1, x2, y2 = box
    return (x1 * across + left, y1 * down + top, x2 * across + left, y2 * down + top)


def to_picture(box: Sequence[float], size: Sequence[int]) -> Box:
    """The inverse of `to_padded`; what lies in the padding comes out below 0 or above 1."""
    (across, left), (down, top) = _fit(size)
    x1, y1, x2, y2 = box
    return ((x1 - left) / across, (y1 - top) / down, (x2 - left) / across, (y2 - top) / down)


class BoxOverlap:
    """Value: intersection over union of the answer's box and the true one, 0..1; no readable box: "unparsed", 0.

    The true box is `meta["box"]`, or the target read as a box, in the frame that the question asks about.

    Args:
        unit: what the answer's numbers count; "pixel" needs `meta["size"]`, the frame's width and height.
    """

    name = "iou"
    bounds: ClassVar[tuple[float, float] | None] = SHARE

    def __init__(self, unit: Unit = "share") -> None:
        _full(unit, (1, 1))
        self.unit = unit
        self.version = version_of("2", unit)

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """Scores each answer; see the class. Raises KeepsightError for a sample without a true box."""
        return score_each(samples, outputs, self._score, self.bounds)

    def _score(self, sample: Sample, text: str) -> Score:
        truth = self._truth(sample)
        reading = read_box(text, self.unit, sample.meta.get("size"))
        if reading.box is None:
            status: Literal["refused", "unparsed"] = "refused" if declines(text) else "unparsed"
            return Score(0.0, status=status, explanation=reading.why)
        overlap = intersection_over_union(reading.box, truth)
        return Score(self._value(overlap), box_text(reading.box), "ok", f"IoU {overlap:.3f}", reading.tags)

    def _truth(self, sample: Sample) -> Box:
        given = sample.meta.get("box")
        told = sample.target[0] if sample.target else ""
        box = read_box(told, self.unit, sample.meta.get("size")).box if given is None else tuple(given)
        if box is None or len(box) != 4 or not _area(box) > 0:
            raise KeepsightError(
                f"sample {sample.id} has no true box ({told[:60]!r}); give two corners, [x1, y1, x2, y2]"
            )
        return box

    def _value(self, overlap: float) -> float:
        return overlap


class BoxAccuracy(BoxOverlap):
    """Value 1 if intersection over union is *above* a half (CoIN, section 4.1.3), else 0; see `BoxOverlap`."""

    name = "box_accuracy"
    bounds = None

    def _value(self, overlap: float) -> float:
        return float(overlap > 0.5)


def _full(unit: str, size: Sequence[int] | None) -> tuple[float, float]:
    if unit not in UNITS:
        raise KeepsightError(f"unit is {unit!r}; boxes are counted in {', '.join(UNITS)}")
    edge = UNITS[unit]
    if edge is not None:
        return edge, edge
    if size is None or len(size) != 2 or min(size) < 1:
        raise KeepsightError(f"boxes in pixels need the picture's width and height, not {size!r}")
    return float(size[0]), float(size[1])


def _boxes(text: str) -> list[Box]:
    """Every run of numbers that makes boxes."""
    plain = unicodedata.normalize("NFKC", _THOUGHT.sub("", text)).translate(_DASHES)
    return [box for run in _runs(_exponents_kept(plain)) for box in _grouped(run)]


def _exponents_kept(text: str) -> str:
    """`1e-3` written out, because what begins with a letter is taken for a word."""
    return _EXPONENT.sub(lambda found: f"{float(found[0]):.12f}", text)


_Name = tuple[str, str]  # axis, edge


@dataclass(frozen=True)
class _Number:
    """A number, and the coordinates' names since the number before it."""

    value: float
    names: tuple[_Name, ...]


def _runs(text: str) -> list[list[list[_Number]]]:
    """Numbers that follow each other, grouped by brackets: `(1,2),(3,4)` is a run of two groups.

    A word ends a run. One that links ("to") does so only between bare numbers: `(1,2) to (3,4)` goes on, `1 to 2` does not.
    """
    runs: list[list[list[_Number]]] = []
    names: list[_Name] = []
    seen = {"apart"}  # kinds of token since the last number
    for token in _TOKEN.finditer(text):
        kind = str(token.lastgroup)
        if kind != "number":
            names = [] if kind == "apart" else [*names, *_named(token["name"])]
            seen.add(kind)
            continue
        value = math.nan if _GOES_ON.match(text, token.end()) else float(token[0])
        number = _Number(value, tuple(names))
        if "apart" in seen or seen == {"link"}:
            runs.append([[number]])
        elif "bracket" in seen:
            runs[-1].append([number])
        else:
            runs[-1][-1].append(number)
        names, seen = [], set()
    return runs


def _named(token: str | None) -> list[_Name]:
    return [_NAMES[re.sub("[-_ ]", "", token.lower())]] if token else []


def _grouped(run: Sequence[Sequence[_Number]]) -> list[Box]:
    """The groups of four numbers, and pairs of groups of two where these come in even numbers."""
    found: list[Sequence[_Number]] = []
    for size, same in groupby(run, len):
        groups = list(same)
        if size == 4:
            found += groups
        elif size == 2 and len(groups) % 2 == 0:
            found += [[*one, *other] for one, other in zip(groups[::2], groups[1::2])]
    boxes = [_box_of(four) for four in found if all(math.isfinite(number.value) for number in four)]
    return [box for box in boxes if box is not None]


def _box_of(four: Sequence[_Number]) -> Box | None:
    """Two corners by their names, or in their order where there are none; None where the names leave it open."""
    x1, y1, x2, y2 = (number.value for number in four)
    labels = [label for label in _labels(four) if label is not None]
    if len(labels) == 4:
        return _by_name(labels, (x1, y1, x2, y2))
    named_later = any(number.names for number in four[1:])
    return None if named_later else (x1, y1, x2, y2)  # "the one on the left: [...]" names no coordinate


def _labels(four: Sequence[_Number]) -> list[_Name | None]:
    """The name of each number, if any: it stands before it, or before several as their list (`[y, x] = [2, 1]`)."""
    labels: list[_Name | None] = []
    for at, number in enumerate(four):
        if number.names or at == 0:
            alone = 1 + sum(1 for _ in takewhile(lambda other: not other.names, four[at + 1 :]))
            names = number.names[-alone:]
            labels += [*names, *[None] * (alone - len(names))]
    return labels


def _by_name(labels: Sequence[_Name], values: Sequence[float]) -> Box | None:
    axes: dict[str, list[tuple[str, float]]] = {"x": [], "y": []}
    for (axis, edge), value in zip(labels, values):
        axes[axis].append((edge, value))
    x, y = _span(axes["x"]), _span(axes["y"])
    return None if x is None or y is None else (x[0], y[0], x[1], y[1])


def _span(told: Sequence[tuple[str, float]]) -> tuple[float, float] | None:
    """Both ends of an axis from its two edges, or from the near one (or the centre) and the size. A plain x is the near one."""
    edges = dict(told)
    if [edge for edge, _ in told] == ["", ""]:
        return told[0][1], told[1][1]
    for near, far in _TWO_EDGES:
        if edges.keys() == {near, far}:
            return edges[near], edges[far]
    size = edges.pop("size", -1.0)
    if size < 0 or len(told) != 2 or len(edges) != 1:
        return None
    ((edge, value),) = edges.items()
    start = value - size / 2 if edge == "centre" else value
    return None if edge == "far" or edge == "2" else (start, start + size)


def _in_order(inside: Sequence[float], given: Sequence[float]) -> BoxReading:
    x1, y1, x2, y2 = inside
    tags = [
        *(["moved_to_edge"] if list(inside) != list(given) else []),
        *(["corners_swapped"] if x1 > x2 or y1 > y2 else []),
    ]
    return BoxReading((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), tuple(tags))


def _area(box: Sequence[float]) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _fit(size: Sequence[int]) -> tuple[tuple[float, float], tuple[float, float]]:
    """(share of the square's side that the picture covers, share before it), across and down."""
    width, height = size
    side = max(width, height)
    return (width / side, (side - width) / 2 / side), (height / side, (side - height) / 2 / side)
