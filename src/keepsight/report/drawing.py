"""Drawing with SVG elements: what every chart of a page is made of. All text is made printable on its way in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.etree import ElementTree

from keepsight.report.wording import printable

__all__ = ["Element", "Place", "add", "line", "new_svg", "polyline", "stretches", "text", "tip", "to_text"]

Element = ElementTree.Element
Place = tuple[float, float]


def new_svg(width: float, height: float, kind: str, title: str, described: str) -> Element:
    """An empty drawing, named and described for those who do not see it."""
    box = {"viewBox": f"0 0 {width:g} {height:g}", "width": f"{width:g}", "height": f"{height:g}"}
    root = ElementTree.Element("svg", {**box, "role": "img", "class": kind})
    add(root, "title").text = printable(title)
    add(root, "desc").text = printable(described)
    return root


def to_text(root: Element) -> str:
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def add(parent: Element, tag: str, kind: str = "", **attributes: float | str) -> Element:
    """A new element below `parent`; numbers are written to a tenth."""
    told = {name: value if isinstance(value, str) else f"{value:.1f}" for name, value in attributes.items()}
    return ElementTree.SubElement(parent, tag, {**told, **({"class": kind} if kind else {})})


def line(root: Element, start: Place, end: Place, kind: str) -> Element:
    return add(root, "line", kind, x1=start[0], y1=start[1], x2=end[0], y2=end[1])


def polyline(root: Element, places: Sequence[Place], kind: str) -> None:
    """A line through the known places; nothing where there are fewer than two."""
    known = [f"{x:.1f},{y:.1f}" for x, y in places if not math.isnan(y)]
    if len(known) > 1:
        add(root, "polyline", kind, points=" ".join(known))


def text(root: Element, place: Place, words: str, kind: str) -> Element:
    element = add(root, "text", kind, x=place[0], y=place[1])
    element.text = printable(words)
    return element


def tip(element: Element, words: str) -> None:
    """What is shown when the pointer rests on `element`."""
    add(element, "title").text = printable(words)


def stretches(known: Sequence[bool]) -> list[list[int]]:
    """Runs of neighbouring places that are known: [True, False, True, True] is [[0], [2, 3]]."""
    found: list[list[int]] = [[]]
    for index, there in enumerate(known):
        if there:
            found[-1].append(index)
        else:
            found.append([])
    return [stretch for stretch in found if stretch]
