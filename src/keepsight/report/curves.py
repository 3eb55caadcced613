"""One small chart per task and method: the headline figure from the base through every checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass

from keepsight.report import drawing
from keepsight.report.lineage import Line, column_titles, lines, row_titles, tuned_columns
from keepsight.report.wording import figure, interval, printable
from keepsight.types import MetricValue, ResultMatrix

__all__ = ["Curve", "CurvePoint", "curves", "is_share"]

WIDTH, HEIGHT = 176, 104
_LEFT, _RIGHT, _TOP, _BOTTOM = 22.0, 40.0, 8.0, 18.0


@dataclass(frozen=True)
class CurvePoint:
    """One checkpoint's figure. `row` is -1 where the axis has a place but the audit has no result."""

    row: int
    step: str
    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Curve:
    """One task under one method. `others` are the same task's values under the other methods."""

    title: str
    method: str
    col: int
    tuned: bool
    points: tuple[CurvePoint, ...]  # the base first
    others: tuple[tuple[float, ...], ...]
    share: bool
    bottom: float
    top: float
    learnt: int | None = None  # the point at which a sequence learns the task

    @property
    def described(self) -> str:
        """The chart in words."""
        told = [
            f"{point.step} {figure(point.value, share=self.share)}"
            f" ({interval(point.low, point.high, share=self.share)}, n {point.n})"
            for point in self.points
        ]
        return printable("; ".join(told))

    def svg(self) -> str:
        """The chart as an SVG element: band, line, dots that carry their cell, the base as a dashed line."""
        name = f"{self.title} under {self.method}" if self.method else self.title
        root = drawing.new_svg(WIDTH, HEIGHT, "curve", name, self.described)
        self._draw_grid(root)
        for values in self.others:
            drawing.polyline(root, [self._place(index, value) for index, value in enumerate(values)], "ghost")
        self._draw_band(root)
        drawing.polyline(
            root, [self._place(index, point.value) for index, point in enumerate(self.points)], "line"
        )
        for index, point in enumerate(self.points):
            self._draw_point(root, index, point)
        self._write_last(root)
        return drawing.to_text(root)

    def _place(self, index: int, value: float) -> tuple[float, float]:
        steps = max(1, max([len(self.points), *map(len, self.others)]) - 1)
        room = self.top - self.bottom or 1.0
        x = _LEFT + (WIDTH - _LEFT - _RIGHT) * index / steps
        y = HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * (value - self.bottom) / room
        return round(x, 1), round(y, 1) if not math.isnan(y) else math.nan

    def _draw_grid(self, root: drawing.Element) -> None:
        for value in (self.bottom, (self.bottom + self.top) / 2, self.top):
            _, y = self._place(0, value)
            drawing.line(root, (_LEFT, y), (WIDTH - _RIGHT, y), "grid")
            words = f"{100 * value:.0f}" if self.share else f"{value:.2g}"
            drawing.text(root, (_LEFT - 4, y + 3), words, "tick end")
        base = self.points[0].value
        if not math.isnan(base):
            _, y = self._place(0, base)
            drawing.line(root, (_LEFT, y), (WIDTH - _RIGHT, y), "level")
        if self.learnt is not None:
            x, _ = self._place(self.learnt, self.top)
            drawing.line(root, (x, _TOP), (x, HEIGHT - _BOTTOM), "learnt")

    def _draw_band(self, root: drawing.Element) -> None:
        known = [not (math.isnan(point.low) or math.isnan(point.high)) for point in self.points]
        for stretch in drawing.stretches(known):
            upper = [self._place(index, self.points[index].high) for index in stretch]
            lower = [self._place(index, self.points[index].low) for index in reversed(stretch)]
            if len(stretch) == 1:  # a band of one point is a bar
                drawing.line(root, upper[0], lower[0], "whisker")
            else:
                drawing.add(root, "polygon", "band", points=" ".join(f"{x},{y}" for x, y in upper + lower))

    def _write_last(self, root: drawing.Element) -> None:
        """The last known value beside its dot."""
        known = [(index, point) for index, point in enumerate(self.points) if not math.isnan(point.value)]
        if known:
            x, y = self._place(known[-1][0], known[-1][1].value)
            drawing.text(root, (x + 6, y + 3.5), figure(known[-1][1].value, share=self.share), "final")

    def _draw_point(self, root: drawing.Element, index: int, point: CurvePoint) -> None:
        x, y = self._place(index, point.value)
        room = _label_room(len(self.points))
        if index % room.every == 0:
            fits = len(point.step) <= room.letters
            drawing.text(
                root,
                (x, HEIGHT - 5),
                point.step if fits else f"{point.step[: room.letters - 1]}…",
                "tick middle",
            )
        if math.isnan(y):
            drawing.text(root, (x, HEIGHT - _BOTTOM - 2), "×", "gone middle")
            return
        dot = drawing.add(root, "circle", "dot", cx=x, cy=y, r="3")
        if point.row >= 0:
            dot.set("data-row", str(point.row))
            dot.set("data-col", str(self.col))
        value, ends = figure(point.value, share=self.share), interval(point.low, point.high, share=self.share)
        drawing.tip(dot, f"{point.step}: {value} ({ends}), n {point.n}")


@dataclass(frozen=True)
class _Room:
    every: int  # which steps are labelled
    letters: int  # of one label


def _label_room(steps: int) -> _Room:
    """Which steps of the axis get a label, and how long it may be, so that no two touch."""
    apart = (WIDTH - _LEFT - _RIGHT) / max(1, steps - 1)
    every = math.ceil(28 / apart)  # pixels; "base" and a gap
    return _Room(every, max(4, int(every * apart / 5.6)))


def curves(matrix: ResultMatrix) -> list[tuple[Line, list[Curve]]]:
    """Every method's charts, tuned tasks first. Empty when there is only one checkpoint."""
    rows = row_titles(matrix.rows)
    titles = column_titles(matrix.cols)
    tuned = tuned_columns(matrix)
    drawn = []
    methods = lines(matrix.rows)
    for method in methods:
        charts = []
        for col, title in enumerate(titles):
            points = _points(matrix, col, method, rows[0])
            others = tuple(
                tuple(point.value for point in _points(matrix, col, other, rows[0]))
                for other in methods
                if other is not method
            )
            share = is_share(matrix, col)
            bottom, top = (0.0, 1.0) if share else _range(matrix, col)
            is_tuned = any(tuned.get(row) == col for row in method.rows)
            charts.append(Curve(title, method.method, col, is_tuned, points, others, share, bottom, top))
        drawn.append((method, sorted(charts, key=lambda chart: not chart.tuned)))
    return drawn


def is_share(matrix: ResultMatrix, col: int) -> bool:
    """Whether the column's headline figures are shares of 1, to be written in per cent."""
    figures = [
        matrix.runs[row, matrix.cols[col]].headline
        for row in matrix.rows
        if (row, matrix.cols[col]) in matrix.runs
    ]
    return all(math.isnan(f.value) or (0 <= f.value <= 1 and f.low >= 0 and f.high <= 1) for f in figures)


def _points(matrix: ResultMatrix, col: int, line: Line, base: str) -> tuple[CurvePoint, ...]:
    names = [(0, "base" if len(base) > 6 else base), *zip(line.rows, line.steps)]
    return tuple(_point(matrix, row, col, step) for row, step in names)


def _point(matrix: ResultMatrix, row: int, col: int, step: str) -> CurvePoint:
    run = matrix.runs.get((matrix.rows[row], matrix.cols[col]))
    value = run.headline if run else MetricValue("", math.nan, math.nan, math.nan, 0, 0)
    return CurvePoint(row if run else -1, step, value.value, value.low, value.high, value.n)


def _range(matrix: ResultMatrix, col: int) -> tuple[float, float]:
    ends = [
        end
        for row in matrix.rows
        if (row, matrix.cols[col]) in matrix.runs
        for end in (lambda figure: (figure.low, figure.high, figure.value))(
            matrix.runs[row, matrix.cols[col]].headline
        )
        if math.isfinite(end)
    ]
    return (min(ends), max(ends)) if ends else (0.0, 1.0)
