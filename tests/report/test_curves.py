import math
from itertools import pairwise
from xml.etree import ElementTree

from keepsight.report.curves import Curve, CurvePoint, curves, is_share
from tests.report.fake_audit import EVIL_ROWS, evil_audit, small_audit


def curve(values, **changes):
    points = tuple(
        CurvePoint(row, str(row), value, value - 0.1, value + 0.1, 50) for row, value in enumerate(values)
    )
    fields = {"title": "cards", "method": "lora", "col": 2, "tuned": False, "points": points, "others": (),
              "share": True, "bottom": 0.0, "top": 1.0}  # fmt: skip
    return Curve(**{**fields, **changes})


def parts(drawn, tag, kind=None):
    root = ElementTree.fromstring(drawn)
    return [part for part in root.iter(tag) if kind is None or part.get("class") == kind]


def test_one_chart_per_method_and_set_tuned_first(demo):
    found = curves(demo)
    assert [line.method for line, _ in found] == ["linear", "lora"]
    for _, charts in found:
        assert charts[0].title == "digits" and charts[0].tuned
        assert [chart.tuned for chart in charts].count(True) == 1 and len(charts) == 7
        assert all(len(chart.points) == 4 and len(chart.others) == 1 for chart in charts)


def test_dots_lead_to_cells_and_higher_is_higher():
    dots = parts(curve([0.9, 0.5, 0.1]).svg(), "circle")
    heights = [float(dot.get("cy")) for dot in dots]
    assert heights == sorted(heights)
    assert [(dot.get("data-row"), dot.get("data-col")) for dot in dots] == [
        ("0", "2"),
        ("1", "2"),
        ("2", "2"),
    ]


def test_chart_says_in_words_what_it_shows():
    drawn = curve([0.9, 0.5]).svg()
    assert parts(drawn, "title")[0].text == "cards under lora"
    assert parts(drawn, "desc")[0].text == "0 90.0 (80.0–100.0, n 50); 1 50.0 (40.0–60.0, n 50)"


def test_gaps_break_the_band_and_are_marked():
    drawn = curve([0.9, math.nan, 0.5, 0.4]).svg()
    assert len(parts(drawn, "circle")) == 3
    assert [text.text for text in parts(drawn, "text", "gone middle")] == ["×"]
    assert len(parts(drawn, "polygon", "band")) == 1 and len(parts(drawn, "line", "whisker")) == 1
    assert "nan" not in drawn.replace("n\u00a0", "")
    assert "nan" not in curve([math.nan, math.nan]).svg()


def test_labels_do_not_touch():
    steps = [CurvePoint(row, f"checkpoint-{row}00", 0.5, 0.4, 0.6, 9) for row in range(40)]
    texts = parts(curve([], points=tuple(steps)).svg(), "text", "tick middle")
    places = [(float(text.get("x")), len(text.text) * 5) for text in texts]
    assert all(b - a >= (wa + wb) / 2 for (a, wa), (b, wb) in pairwise(places))


def test_strange_names_stay_text():
    for _, charts in curves(evil_audit()):
        for chart in charts:
            root = ElementTree.fromstring(chart.svg())
            assert {part.tag for part in root.iter()} <= {
                "svg", "title", "desc", "line", "polyline", "polygon", "circle", "text"}  # fmt: skip
    assert EVIL_ROWS


def test_figures_that_are_no_shares_have_their_own_axis():
    matrix = small_audit({("base", "x"): ["cat"] * 4, ("a", "x"): ["cat"] * 4})
    run = matrix["a", "x"]
    object.__setattr__(run.metrics[0], "value", 7.5)
    object.__setattr__(run.metrics[0], "high", 9.0)
    assert not is_share(matrix, 0)
    chart = curves(matrix)[0][1][0]
    assert chart.top == 9.0 and "7.5" in chart.described


def test_one_checkpoint_has_no_curve():
    assert curves(small_audit({("base", "x"): ["cat"]})) == []
