"""The plots of a finding as SVG: lines, bars and points with their intervals, several series told apart without colour.

`scoring.findings.Plot` holds the numbers; nothing here computes any.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from keepsight.report import drawing
from keepsight.report.drawing import Element, Place
from keepsight.report.scales import Scale, log_scale, round_scale
from keepsight.report.wording import figure, printable
from keepsight.scoring.findings import Line, Plot

__all__ = ["described", "plot_svg"]

WIDTH = 400.0
_LEFT, _RIGHT = 40.0, 22.0
_HEIGHT = 190.0  # of the part inside the axes
_LETTER = 6.2  # width of one at this size of type, in a wide face
_STYLES = 6  # as many colours and marks as the page's style knows
_MOST_WHISKERS = 14  # more points of one line have a band instead
_MOST_MARKS = 60  # more points of one line have no marks
_MOST_TOLD = 60  # values in the description; a screen reader reads all of it


def plot_svg(plot: Plot) -> str:
    """The plot as an SVG element, 400 units wide."""
    root = drawing.new_svg(WIDTH, 1, f"plot {plot.kind}", plot.title, described(plot))
    top = _draw_legend(root, plot)
    height = _draw_bars(root, plot, top) if plot.kind == "bars" else _draw_over_axis(root, plot, top)
    root.set("viewBox", f"0 0 {WIDTH:g} {height:g}")
    root.set("height", f"{height:g}")
    return drawing.to_text(root)


def described(plot: Plot) -> str:
    """The plot in words: every value with its place and interval, or, of very many, how far they reach."""
    return printable("; ".join(_line_described(plot, line) for line in plot.lines) or "no figure")


def _line_described(plot: Plot, line: Line) -> str:
    known = [index for index, value in enumerate(line.y) if math.isfinite(value)]
    if not known:
        return f"{line.name}: no figure"
    if len(known) * len(plot.lines) > _MOST_TOLD:
        lowest, highest = (
            _figure_text(end(line.y[index] for index in known), plot.share) for end in (min, max)
        )
        return f"{line.name}: {len(known)} values between {lowest} and {highest}"
    return f"{line.name}: " + ", ".join(_value_described(plot, line, index) for index in known)


def _value_described(plot: Plot, line: Line, index: int) -> str:
    value = f"{_place_name(plot, line, index)} {_figure_text(line.y[index], plot.share)}"
    low, high = _ends(line, index)
    if math.isnan(low):
        return value
    return f"{value} ({_figure_text(low, plot.share)} to {_figure_text(high, plot.share)})"


def _place_name(plot: Plot, line: Line, index: int) -> str:
    """What the value is of: its tick, or its number on the axis, or both."""
    named = plot.ticks[index] if len(plot.ticks) == len(line.y) else ""
    if not line.x:
        return named or str(index + 1)
    at = f"{line.x[index]:.4g}"
    return f"{named} at {at}" if named and named != at else at


def _ends(line: Line, index: int) -> tuple[float, float]:
    """The interval of a value, nan where there is none."""
    if not line.low or not line.high or not math.isfinite(line.y[index]):
        return math.nan, math.nan
    low, high = line.low[index], line.high[index]
    return (low, high) if math.isfinite(low) and math.isfinite(high) else (math.nan, math.nan)


# ---- legend ---------------------------------------------------------------------------------------------


def _draw_legend(root: Element, plot: Plot) -> float:
    """Names of several series with their marks, in as many rows as they need; returns where the plot may begin."""
    if len(plot.lines) < 2:
        return 6.0
    x, y = 4.0, 12.0
    for number, line in enumerate(plot.lines):
        name = _cut(line.name, 48)
        width = 34 + _LETTER * len(name)
        if x > 4 and x + width > WIDTH:
            x, y = 4.0, y + 17
        if plot.kind == "lines":
            drawing.line(root, (x, y - 4), (x + 20, y - 4), f"{_style(number)} stroke")
        _draw_mark(root, (x + 10, y - 4), number)
        drawing.text(root, (x + 25, y), name, "key")
        x += width + 6
    return y + 12


def _style(number: int) -> str:
    """Classes of a series: colour and mark repeat after six, but then with another dash."""
    return f"s{number % _STYLES} d{(number + number // _STYLES) % 4}"


def _draw_mark(root: Element, place: Place, number: int, size: float = 3.6) -> Element:
    """The mark of a series: circle, square, triangle, diamond, hollow circle, cross."""
    x, y = place
    kind, colour = number % _STYLES, f"{_style(number)} mark"
    if kind in (0, 4):
        return drawing.add(root, "circle", colour + (" hollow" if kind else ""), cx=x, cy=y, r=size)
    if kind == 1:
        return drawing.add(root, "rect", colour, x=x - size, y=y - size, width=2 * size, height=2 * size)
    corners = {
        2: [(0, -1.2), (1.15, 0.9), (-1.15, 0.9)],
        3: [(0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)],
        5: [(-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4),
            (0.4, 1.2), (-0.4, 1.2), (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4)],
    }[kind]  # fmt: skip
    points = " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in corners)
    return drawing.add(root, "polygon", colour, points=points)


# ---- lines and points -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Axes:
    """Where numbers lie inside the frame of a plot."""

    plot: Plot
    x: Scale
    y: Scale
    top: float
    steps: int  # ticks on the horizontal axis; 0: numbers

    @property
    def bottom(self) -> float:
        return self.top + _HEIGHT

    def across(self, share: float) -> float:
        inset = 12.0 if self.steps else 0.0
        return _LEFT + inset + (WIDTH - _LEFT - _RIGHT - 2 * inset) * share

    def tick(self, index: int) -> float:
        """Where a name stands below the frame."""
        return self.across(index / (self.steps - 1) if self.steps > 1 else 0.5)

    def place(self, line: Line, index: int, value: float, number: int) -> Place:
        """Where a value of series `number` lies; few series over few names stand a little beside each other."""
        y = self.bottom - _HEIGHT * self.y(value)
        if not self.steps:
            return self.across(self.x(line.x[index] if line.x else index + 1)), y
        room = (self.tick(1) - self.tick(0) if self.steps > 1 else 100.0) / 2 / len(self.plot.lines)
        apart = min(7.0, room) if self.steps <= _MOST_WHISKERS else 0.0
        return self.tick(index) + apart * (number - (len(self.plot.lines) - 1) / 2), y


def _draw_over_axis(root: Element, plot: Plot, top: float) -> float:
    if label := _unit(plot):
        drawing.text(root, (4, top + 8), label, "axis")
        top += 14
    axes = _axes(plot, top + 6)
    _draw_frame(root, axes)
    for number, line in enumerate(plot.lines):
        if plot.kind == "lines":
            _draw_line(root, axes, line, number)
    for number, line in enumerate(plot.lines):
        _draw_points(root, axes, line, number)
    if not any(math.isfinite(value) for line in plot.lines for value in line.y):
        drawing.text(root, (WIDTH / 2, axes.top + _HEIGHT / 2), "no figure", "axis middle")
    if plot.x_label:
        drawing.text(root, ((_LEFT + WIDTH) / 2, axes.bottom + 32), plot.x_label, "axis middle")
    return axes.bottom + (38 if plot.x_label else 24)


def _unit(plot: Plot) -> str:
    """What the values are, with their unit."""
    return ", ".join(filter(None, (plot.y_label, "%" if plot.share and "%" not in plot.y_label else "")))


def _axes(plot: Plot, top: float) -> _Axes:
    numeric = any(line.x for line in plot.lines)
    steps = 0 if numeric else max([len(plot.ticks), *(len(line.y) for line in plot.lines)])
    places = [value for line in plot.lines for value in line.x]
    x = log_scale(places) if plot.log_x else round_scale(places, about=5)
    return _Axes(plot, x, round_scale(_values(plot), zero=plot.share), top, steps)


def _values(plot: Plot) -> Iterator[float]:
    """All that the vertical axis has to hold."""
    for line in plot.lines:
        yield from chain(line.y, *(_ends(line, index) for index in range(len(line.y))))


def _draw_frame(root: Element, axes: _Axes) -> None:
    """Grid lines with their numbers, and names or numbers below."""
    for value in axes.y.ticks:
        y = axes.bottom - _HEIGHT * axes.y(value)
        drawing.line(root, (_LEFT, y), (WIDTH - _RIGHT, y), "zero" if value == 0 else "grid")
        drawing.text(root, (_LEFT - 5, y + 3.5), _tick(value, axes.plot.share), "tick end")
    if axes.steps:
        _draw_ticks(root, axes)
        return
    for value in axes.x.ticks:
        x = axes.across(axes.x(value))
        drawing.line(root, (x, axes.bottom), (x, axes.bottom + 4), "grid")
        drawing.text(root, (x, axes.bottom + 16), _tick(value, share=False), "tick middle")


def _draw_ticks(root: Element, axes: _Axes) -> None:
    """As many of the names below the frame as fit without touching."""
    apart = axes.across(1 / max(1, axes.steps - 1)) - axes.across(0)
    names = _names(axes.plot, axes.steps)
    longest = min(max(map(len, names), default=0), 12)
    every = max(1, math.ceil((_LETTER * longest + 6) / apart))
    room = every * apart
    # a name longer than the margin is moved inwards, towards its neighbour
    letters = max(3, int(min(room - 5, max(2 * _RIGHT, room / 2 + _RIGHT)) / _LETTER))
    for index in range(0, axes.steps, every):
        words = _cut(names[index], letters)
        half = _LETTER * len(words) / 2
        x = min(max(axes.tick(index), half), WIDTH - half)  # long names at the ends stay in the picture
        drawing.tip(drawing.text(root, (x, axes.bottom + 16), words, "tick middle"), names[index])


def _figure_text(value: float, share: bool) -> str:
    return figure(value, share=share).replace("-", "−")


def _tick(value: float, share: bool) -> str:
    if share:
        return f"{100 * value:.3g}".replace("-", "−")
    if value and not 1e-3 <= abs(value) < 1e6:
        digits, _, power = f"{value:.3g}".replace("e+0", "e").replace("e+", "e").partition("e")
        return f"{digits}e{int(power)}".replace("-", "−") if power else digits.replace("-", "−")
    return (f"{value:,.0f}" if value == round(value) else f"{value:,.4g}").replace("-", "−")


def _draw_line(root: Element, axes: _Axes, line: Line, number: int) -> None:
    """The series as a line that breaks where a value is missing, with a band if it has many values."""
    indices = sorted(range(len(line.y)), key=lambda index: line.x[index] if line.x else index)
    if len(line.y) > _MOST_WHISKERS:
        ends = [not math.isnan(_ends(line, index)[0]) for index in indices]
        for stretch in drawing.stretches(ends):
            upper = [axes.place(line, indices[i], _ends(line, indices[i])[1], number) for i in stretch]
            lower = [axes.place(line, indices[i], _ends(line, indices[i])[0], number) for i in stretch]
            corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*upper, *reversed(lower)])
            drawing.add(root, "polygon", f"{_style(number)} band", points=corners)
    for stretch in drawing.stretches([math.isfinite(line.y[index]) for index in indices]):
        places = [axes.place(line, indices[i], line.y[indices[i]], number) for i in stretch]
        drawing.polyline(root, places, f"{_style(number)} stroke")


def _draw_points(root: Element, axes: _Axes, line: Line, number: int) -> None:
    """A mark per value, with its interval as a whisker unless the line has a band."""
    crowded = len(line.y) > _MOST_WHISKERS and axes.plot.kind == "lines"
    named = f"{line.name}: " if len(axes.plot.lines) > 1 else ""
    for index, value in enumerate(line.y):
        if not math.isfinite(value):
            if axes.steps:  # over an axis of names a missing value is seen to be missing
                x, _ = axes.place(line, index, 0, number)
                drawing.text(root, (x, axes.bottom - 4), "×", f"{_style(number)} gone middle")
            continue
        low, high = _ends(line, index)
        if not math.isnan(low) and not crowded:
            ends = [axes.place(line, index, end, number) for end in (low, high)]
            drawing.line(root, ends[0], ends[1], f"{_style(number)} whisker")
        if not crowded or len(line.y) <= _MOST_MARKS:
            mark = _draw_mark(root, axes.place(line, index, value, number), number, 2.2 if crowded else 3.6)
            drawing.tip(mark, named + _value_described(axes.plot, line, index))


# ---- bars -----------------------------------------------------------------------------------------------

_BAR, _NAME = 14.0, 15.0
_BESIDE = 18  # letters of a name that still stands beside its bars, not above them
_FIGURE = 46.0  # room for the value behind its bar


@dataclass(frozen=True)
class _Rows:
    """Bars that lie, so that long names can be read: a group per tick, in it a bar per series."""

    plot: Plot
    names: tuple[str, ...]
    scale: Scale
    top: float

    @property
    def beside(self) -> bool:
        return max(map(len, self.names), default=0) <= _BESIDE

    @property
    def left(self) -> float:
        return 14 + _LETTER * max(map(len, self.names), default=0) if self.beside else 16.0

    @property
    def group(self) -> float:
        return _BAR * len(self.plot.lines) + (7 if self.beside else _NAME + 6)

    @property
    def bottom(self) -> float:
        return self.top + self.group * len(self.names) + 2

    def across(self, value: float) -> float:
        return self.left + (WIDTH - self.left - _FIGURE) * self.scale(value)


def _draw_bars(root: Element, plot: Plot, top: float) -> float:
    names = _names(plot, max([len(plot.ticks), *(len(line.y) for line in plot.lines)]))
    rows = _Rows(plot, names, round_scale(_values(plot), zero=True), top)
    for value in rows.scale.ticks:
        x = rows.across(value)
        drawing.line(root, (x, top), (x, rows.bottom), "zero" if value == 0 else "grid")
        drawing.text(root, (x, rows.bottom + 13), _tick(value, plot.share), "tick middle")
    for index in range(len(names)):
        y = _draw_name(root, rows, index)
        for number, line in enumerate(plot.lines):
            if index < len(line.y):
                _draw_bar(root, rows, line, index, number, y + _BAR * (number + 0.5))
    label = _unit(plot)
    drawing.text(root, (WIDTH - _FIGURE, rows.bottom + 28), label, "axis end")
    return rows.bottom + (34 if label else 20)


def _draw_name(root: Element, rows: _Rows, index: int) -> float:
    """Writes the name of a group and says where its bars begin."""
    y = rows.top + rows.group * index + 4
    name = rows.names[index]
    if rows.beside:
        drawing.text(root, (rows.left - 7, y + _BAR * len(rows.plot.lines) / 2 + 3.5), name, "name end")
        return y
    shown = drawing.text(root, (rows.left, y + 9), _cut(name, int(WIDTH / _LETTER) - 3), "name")
    drawing.tip(shown, name)
    return y + _NAME


def _draw_bar(root: Element, rows: _Rows, line: Line, index: int, number: int, y: float) -> None:
    value, (low, high) = line.y[index], _ends(line, index)
    zero = rows.across(0.0)
    if not math.isfinite(value):
        drawing.text(root, (zero + 4, y + 3.5), "×", f"{_style(number)} gone")
        return
    x = rows.across(value)
    bar = drawing.add(
        root,
        "rect",
        f"{_style(number)} bar",
        x=min(zero, x),
        y=y - 4.5,
        width=max(abs(x - zero), 0.5),
        height=9,
    )
    named = f"{line.name}: " if len(rows.plot.lines) > 1 else ""
    drawing.tip(bar, named + _value_described(rows.plot, line, index))
    if not math.isnan(low):
        drawing.line(root, (rows.across(low), y), (rows.across(high), y), f"{_style(number)} whisker")
    if len(rows.plot.lines) > 1:
        _draw_mark(root, (x, y), number, 3.2)
    end = max(x, zero, zero if math.isnan(high) else rows.across(high))
    drawing.text(root, (end + 6, y + 3.5), _figure_text(value, rows.plot.share), "value")


def _names(plot: Plot, steps: int) -> tuple[str, ...]:
    """The ticks, numbers from 1 on where there are more places than ticks."""
    return (*plot.ticks, *(str(place + 1) for place in range(len(plot.ticks), steps)))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"
