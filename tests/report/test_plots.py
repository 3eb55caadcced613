"""Plots as SVG: what is known is drawn where it belongs, what is not leaves a gap, names never run into each other."""

import math
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from keepsight.report.plots import WIDTH, described, plot_svg
from keepsight.report.scales import log_scale, round_scale
from keepsight.scoring.findings import Line, Plot
from tests.report import fake_diagnosis

NAN = math.nan
ALL = [plot for finding in fake_diagnosis.evil_diagnosis().findings for plot in finding.plots]


def parts(plot, tag, kind=None):
    root = ElementTree.fromstring(plot_svg(plot))
    return [part for part in root.iter(tag) if kind is None or kind in (part.get("class") or "").split()]


def numbers(plot):
    """Every coordinate of a drawing."""
    for part in ElementTree.fromstring(plot_svg(plot)).iter():
        for name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height"):
            if part.get(name) and part.tag != "svg":
                yield name, float(part.get(name))
        for pair in (part.get("points") or "").split():
            yield from zip("xy", map(float, pair.split(",")))


@pytest.mark.parametrize("plot", ALL, ids=lambda plot: plot.title[:20])
def test_everything_lies_inside_the_picture(plot):
    root = ElementTree.fromstring(plot_svg(plot))
    height = float(root.get("height"))
    assert root.get("viewBox") == f"0 0 400 {root.get('height')}"
    for name, value in numbers(plot):
        most = height if "y" in name or name == "height" else WIDTH
        assert math.isfinite(value) and -1 <= value <= most + 1, (name, value)
    assert {part.tag for part in root.iter()} <= {
        "svg", "title", "desc", "line", "polyline", "polygon", "circle", "rect", "text"}  # fmt: skip
    assert root.find("title").text and root.find("desc").text


def test_a_gap_breaks_the_line_and_is_marked():
    plot = Plot("t", (Line("a", (0.1, 0.2, NAN, 0.4, 0.5)),), tuple("abcde"))
    assert len(parts(plot, "polyline")) == 2 and len(parts(plot, "circle")) == 4
    assert [part.text for part in parts(plot, "text", "gone")] == ["×"]
    assert "nan" not in plot_svg(plot)
    whole = replace(plot, lines=(Line("a", (0.1, 0.2, 0.3, 0.4, 0.5)),))
    assert len(parts(whole, "polyline")) == 1 and not parts(whole, "text", "gone")


def test_higher_is_higher_and_whiskers_end_where_the_interval_ends():
    plot = Plot("t", (Line("a", (0.0, 1.0), (0.0, 0.5), (0.5, 1.0)),), ("a", "b"))
    first, second = parts(plot, "circle")
    assert float(first.get("cy")) > float(second.get("cy"))
    low, high = parts(plot, "line", "whisker")
    middle = (float(first.get("cy")) + float(second.get("cy"))) / 2
    assert float(low.get("y2")) == pytest.approx(middle, abs=0.1) == float(high.get("y1"))


def test_many_values_have_a_band_and_few_have_whiskers():
    few, many = (
        Plot("t", (Line("a", (0.5,) * n, (0.4,) * n, (0.6,) * n),), tuple(map(str, range(n))))
        for n in (5, 40)
    )
    assert len(parts(few, "line", "whisker")) == 5 and not parts(few, "polygon", "band")
    assert len(parts(many, "polygon", "band")) == 1 and not parts(many, "line", "whisker")


def test_a_missing_value_has_no_interval():
    values = [0.5] * 20
    values[9] = NAN
    plot = Plot("t", (Line("a", tuple(values), (0.4,) * 20, (0.6,) * 20),), tuple(map(str, range(20))))
    assert len(parts(plot, "polygon", "band")) == 2
    few = Plot("t", (Line("a", (0.5, NAN), (0.4, 0.0), (0.6, 1.0)),), ("a", "b"))
    assert len(parts(few, "line", "whisker")) == 1


@pytest.mark.parametrize("kind", ["lines", "bars", "points"])
def test_series_are_told_apart_without_colour(kind):
    lines = tuple(
        Line(f"series {i}", (0.1 * i, 0.1 * i + 0.05), x=(1, 2) if kind == "points" else ()) for i in range(8)
    )
    plot = Plot("t", lines, ("a", "b") if kind != "points" else (), kind=kind)
    root = ElementTree.fromstring(plot_svg(plot))
    looks = []
    for number in range(8):
        marks = [
            p
            for p in root.iter()
            if "mark" in (p.get("class") or "").split() and f"s{number % 6}" in p.get("class")
        ]
        strokes = {
            p.get("class").split()[1] for p in root.iter("polyline") if f"s{number % 6} " in p.get("class")
        }
        looks.append(
            (marks[0].tag, "hollow" in marks[0].get("class"), len((marks[0].get("points") or "").split()))
        )
        assert kind != "lines" or len(strokes) == (2 if number % 6 < 2 else 1), (
            "a colour that repeats has another dash"
        )
    assert len(set(looks)) == 6
    assert [t.text for t in parts(plot, "text", "key")] == [line.name for line in lines]


@pytest.mark.parametrize("count", [2, 5, 33, 200])
@pytest.mark.parametrize("length", [1, 8, 40])
def test_names_below_do_not_touch(count, length):
    plot = Plot("t", (Line("a", (0.5,) * count),), tuple(f"{i}{'x' * length}"[:length] for i in range(count)))
    texts = parts(plot, "text", "tick")
    names = [(float(t.get("x")), 6.2 * len(t.text)) for t in texts if "middle" in t.get("class")]
    assert len(names) >= 2
    assert all(b - a >= (wa + wb) / 2 for (a, wa), (b, wb) in pairwise(names))


def test_bars_of_differences_go_both_ways_from_zero():
    plot = Plot("t", (Line("a", (0.2, -0.2)),), ("gain", "loss"), kind="bars")
    up, down = parts(plot, "rect", "bar")
    zero = float(parts(plot, "line", "zero")[0].get("x1"))
    assert float(up.get("x")) == zero
    assert float(down.get("x")) + float(down.get("width")) == pytest.approx(zero, abs=0.11)
    assert [t.text for t in parts(plot, "text", "value")] == ["20.0", "−20.0"]


def test_long_names_stand_above_their_bars():
    name = "What is the main object depicted in this photograph?"
    (shown,) = parts(Plot("t", (Line("a", (0.2,)),), (name,), kind="bars"), "text", "name")
    (bar,) = parts(Plot("t", (Line("a", (0.2,)),), (name,), kind="bars"), "rect", "bar")
    assert shown.text == name and float(shown.get("y")) < float(bar.get("y"))


def test_zero_lies_at_the_left_edge_of_a_logarithmic_axis():
    scale = log_scale((0, 3, 5000))
    assert scale.ticks == (0.0, 1.0, 10.0, 100.0, 1000.0, 10000.0)
    assert scale(0) == 0.0 < scale(1) < scale(10) < scale(5000) < scale(10000) == 1.0
    assert scale(100) - scale(10) == pytest.approx(scale(1000) - scale(100))
    assert log_scale((2, 50))(1) == 0.0 and log_scale(()).ticks == (1.0, 10.0)


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ((0.0, 1.0), (0, 0.25, 0.5, 0.75, 1.0)),
        ((3.4, 24.8), (0, 10, 20, 30)),
        ((-0.12, 0.07), (-0.15, -0.1, -0.05, 0, 0.05, 0.1)),
        ((0.3, 0.3), (0, 0.1, 0.2, 0.3)),
        ((100.0,), (0, 25, 50, 75, 100)),
        ((-2.0,), (-2, -1.5, -1, -0.5, 0)),
        ((0.0, 0.0), (0, 0.25, 0.5, 0.75, 1.0)),
        ((), (0, 0.25, 0.5, 0.75, 1.0)),
        ((NAN, math.inf, 2.0, 4.0), (2, 2.5, 3, 3.5, 4)),
    ],
)
def test_axes_begin_and_end_at_round_numbers(values, ticks):
    scale = round_scale(values)
    assert scale.ticks == pytest.approx(ticks)
    assert all(-1e-9 <= scale(value) <= 1 + 1e-9 for value in values if math.isfinite(value))


def test_the_plot_in_words():
    line = Line("model", (0.5, NAN, -0.25), (0.4, NAN, NAN), (0.6, NAN, NAN))
    assert described(Plot("t", (line,), ("a", "b", "c"))) == "model: a 50.0 (40.0 to 60.0), c −25.0"
    assert described(Plot("t", (Line("m", (3.0,), x=(10.0,)),), ("dog",), share=False)) == "m: dog at 10 3"
    assert described(Plot("t", (Line("m", (0.0, *(0.5,) * 99)),))) == "m: 100 values between 0.0 and 50.0"
    assert (
        described(Plot("t", (Line("m", (NAN,)),))) == "m: no figure"
        and described(Plot("t", ())) == "no figure"
    )
