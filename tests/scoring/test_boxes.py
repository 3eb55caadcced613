"""Boxes: ugly strings, the properties of the overlap, and the two frames."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepsight.scoring.boxes import (
    BoxAccuracy,
    BoxOverlap,
    box_text,
    intersection_over_union,
    read_box,
    to_padded,
    to_picture,
)
from keepsight.types import KeepsightError, Output, Sample

TRUE = (0.1, 0.2, 0.3, 0.4)

# One box, written in many ways; shares of the picture.
READ = [
    "[0.1, 0.2, 0.3, 0.4]",
    " [0.1,0.2,0.3,0.4].",
    "[.1, .2, .3, .4]",
    "0.1, 0.2, 0.3, 0.4",
    "0.1 0.2 0.3 0.4.",
    "(0.1, 0.2, 0.3, 0.4)",
    "(0.1, 0.2), (0.3, 0.4)",
    "[[0.1, 0.2], [0.3, 0.4]]",
    "[[0.1, 0.2, 0.3, 0.4]]",
    "<box>0.1, 0.2, 0.3, 0.4</box>",
    "<box>[[0.1, 0.2, 0.3, 0.4]]</box>",
    "<ref>the left man</ref><box>(0.1,0.2),(0.3,0.4)</box>",
    "<|box_start|>(0.1,0.2),(0.3,0.4)<|box_end|>",
    "{<0.1><0.2><0.3><0.4>}",
    '{"bbox_2d": [0.1, 0.2, 0.3, 0.4], "label": "dog"}',
    '```json\n[{"bbox_2d": [0.1, 0.2, 0.3, 0.4]}]\n```',
    "x1=0.1, y1=0.2, x2=0.3, y2=0.4",
    '{"x_min": 0.1, "y_min": 0.2, "x_max": 0.3, "y_max": 0.4}',
    "left: 0.1 top: 0.2 right: 0.3 bottom: 0.4",
    "The man in black is at [0.1, 0.2, 0.3, 0.4], I think.",
    "There are 3 dogs; the one meant is [0.1, 0.2, 0.3, 0.4].",
    "Box 1: [0.1, 0.2, 0.3, 0.4]",
    "[0.1, 0.2, 0.3, 0.4] 0.95",
    "[0.1, 0.2, 0.3, 0.4] [0.1, 0.2, 0.3, 0.4]",
    "[1e-1, 2e-1, 3E-1, 0.4]",
    "［0.1，0.2，0.3，0.4］",
    "[+0.1, 0.2, 0.3, 0.4]",
    "0.1\n0.2\n0.3\n0.4",
    "<think>[0.5, 0.5, 0.6, 0.6]? No.</think>[0.1, 0.2, 0.3, 0.4]",
    "(0.1, 0.2) to (0.3, 0.4)",
    "from (0.1, 0.2) to (0.3, 0.4)",
    "(0.1, 0.2) - (0.3, 0.4)",
    "(0.1, 0.2) – (0.3, 0.4)",
    "(0.1, 0.2) -> (0.3, 0.4)",
    "(0.1, 0.2) → (0.3, 0.4)",
    "The man on the left: [0.1, 0.2, 0.3, 0.4]",
    "the left man, bottom right: (0.1, 0.2), (0.3, 0.4)",
]
# The same box again: names say which number is which.
NAMED = [
    "top: 0.2, left: 0.1, bottom: 0.4, right: 0.3",
    "ymin=0.2 xmin=0.1 ymax=0.4 xmax=0.3",
    "right 0.3, left 0.1, top 0.2, bottom 0.4",
    "x1=0.1, x2=0.3, y1=0.2, y2=0.4",
    "x_1 = 0.1, x_2 = 0.3, y_1 = 0.2, y_2 = 0.4",
    "x₁=0.1, x₂=0.3, y₁=0.2, y₂=0.4",
    "x0: 0.1, x1: 0.3, y0: 0.2, y1: 0.4",
    "x1 is 0.1, x2 is 0.3, y1 is 0.2 and y2 is 0.4.",
    "- **x1:** 0.1\n- **x2:** 0.3\n- **y1:** 0.2\n- **y2:** 0.4",
    "The man on the left: y1=0.2, x1=0.1, y2=0.4, x2=0.3",
    "min x 0.1, max x 0.3, min y 0.2, max y 0.4",
    '{"xMin": 0.1, "xMax": 0.3, "yMin": 0.2, "yMax": 0.4}',
    '{"x_start": 0.1, "x_end": 0.3, "y_start": 0.2, "y_end": 0.4}',
    '{"x": 0.1, "y": 0.2, "width": 0.2, "height": 0.2}',
    '{"height": 0.2, "width": 0.2, "y": 0.2, "x": 0.1}',
    '{"left": 0.1, "top": 0.2, "w": 0.2, "h": 0.2}',
    "x1: 0.1, y1: 0.2, w: 0.2, h: 0.2",
    "cx=0.2, cy=0.3, w=0.2, h=0.2",
    '{"center_x": 0.2, "center_y": 0.3, "width": 0.2, "height": 0.2}',
    '{"x_centre": 0.2, "y_centre": 0.3, "width": 0.2, "height": 0.2}',
    "[x, y, w, h] = [0.1, 0.2, 0.2, 0.2]",
    "[ymin, xmin, ymax, xmax] = [0.2, 0.1, 0.4, 0.3]",
    "(top, left, bottom, right) is (0.2, 0.1, 0.4, 0.3)",
    "(y1, x1) = (0.2, 0.1), (y2, x2) = (0.4, 0.3)",
    "(y: 0.2, x: 0.1), (y: 0.4, x: 0.3)",
    "top-left (0.1, 0.2), bottom-right (0.3, 0.4)",
    "Top left: 0.1, 0.2; bottom right: 0.3, 0.4",
    "bottom right (0.3, 0.4), top left (0.1, 0.2)",
    "upper-right (0.3, 0.2), lower-left (0.1, 0.4)",
    "The top-left corner is at (0.1, 0.2) and the bottom-right corner is at (0.3, 0.4).",
    "- **Top-left corner:** (0.1, 0.2)\n- **Bottom-right corner:** (0.3, 0.4)",
    '{"top_left": [0.1, 0.2], "bottom_right": [0.3, 0.4]}',
    '{"topLeft": {"x": 0.1, "y": 0.2}, "bottomRight": {"x": 0.3, "y": 0.4}}',
    '{"top_left": {"y": 0.2, "x": 0.1}, "bottom_right": {"y": 0.4, "x": 0.3}}',
    '{"top_left_x": 0.1, "bottom_right_x": 0.3, "top_left_y": 0.2, "bottom_right_y": 0.4}',
]
UNREAD = [
    "",
    " ",
    "the left man",
    "[]",
    "[0.1, 0.2, 0.3]",
    "[0.1, 0.2, 0.3, 0.4, 0.5]",
    "0.1, 0.2, 0.3, 0.4, 0.5",
    "[0.1, 0.2, 0.3, nan]",
    "[nan, nan, nan, nan]",
    "[0.1, 0.2, inf, 0.4]",
    "[1e999, 0.2, 0.3, 0.4]",
    "[0.1, 0.2, 0.3, 1e999]",
    "[0.1.2, 0.3, 0.4]",
    "[0.1.2, 0.3, 0.4, 0.5]",
    "0.1-0.2-0.3-0.4",
    "[0.1, 0.2, 0.3, 0.4] or [0.5, 0.5, 0.6, 0.6]",
    "(0.1, 0.2), (0.3, 0.4), (0.5, 0.6)",
    "3 dogs, 2 cats, 1 bird and 4 men",
    "[12, 34, 56, 78]",
    "[0.1, 0.2, 0.3, 400]",
    "12%, 20%, 30%, 40%",
    "[0.1, 0.2, 0.3, __import__('os')]",
    "[-0.2, 0.2, 0.3, 0.4]",
    "0.1 to 0.2 and 0.3 to 0.4",
    "0.1-0.02-0.03-0.04",
    "x: 0.1 to 0.3, y: 0.2 to 0.4",
    "x: 0.1-0.3, y: 0.2-0.4",
    "x=[0.1, 0.3], y=[0.2, 0.4]",
    "left: (0.1, 0.2), right: (0.3, 0.4)",
    "x1=0.1, 0.2, x2=0.3, 0.4",
    "x1=0.1, x2=0.3, y1=0.2, x1=0.4",
    "x1=0.1, x2=0.3, left=0.2, top=0.4",
    "x=0.1, y=0.2, x2=0.3, y2=0.4",
    "x=0.1, y=0.2, w=-0.2, h=0.4",
    "w=0.1, h=0.2, width=0.3, height=0.4",
    "right=0.5, bottom=0.5, width=0.3, height=0.4",
    "0.1 left, 0.2 top, 0.3 right, 0.4 bottom",
    "x0.1, y0.2, x0.3, y0.4",
    "(0.1, 0.2) to (0.3, 0.4) to (0.5, 0.6)",
    "(0.1, 0.2) or (0.3, 0.4)",
    "top-left (0.1, 0.2), bottom-right unknown",
]


@pytest.mark.parametrize("text", [*READ, *NAMED])
def test_a_box_is_read(text):
    assert read_box(text).box == pytest.approx(TRUE)


@pytest.mark.parametrize("text", UNREAD)
def test_no_box_is_made_up(text):
    reading = read_box(text)
    assert reading.box is None and reading.why


def test_what_was_mended_is_told():
    assert read_box("[0.3, 0.4, 0.1, 0.2]").tags == ("corners_swapped",)
    assert read_box("[0.3, 0.4, 0.1, 0.2]").box == TRUE
    outside = read_box("[-0.04, 0, 0.5, 1.05]")
    assert outside.box == (0, 0, 0.5, 1) and outside.tags == ("moved_to_edge",)
    assert read_box("[0, 0, 1, 1]").tags == ()
    assert read_box("bottom=0.4, right=0.3, top=0.2, left=0.1").tags == ()
    assert read_box("[−0.01, 0.2, 0.3, 0.4]").box == (0, 0.2, 0.3, 0.4)
    assert read_box("[−0.01, 0.2, 0.3, 0.4]").tags == ("moved_to_edge",)


@pytest.mark.parametrize(
    ("text", "unit", "size"),
    [
        ("{<10><20><30><40>}", "percent", None),
        ("10%, 20%, 30%, 40%", "percent", None),
        ("<box>(100,200),(300,400)</box>", "thousand", None),
        ("[64, 96, 192, 192]", "pixel", (640, 480)),
        ("[64.0, 96.0, 192.0, 192.0]", "pixel", [640, 480]),
        ('{"x": 64, "y": 96, "width": 128, "height": 96}', "pixel", (640, 480)),
        ("640 x 480 pixels: top 96, left 64, bottom 192, right 192", "pixel", (640, 480)),
    ],
)
def test_the_unit_is_declared(text, unit, size):
    assert read_box(text, unit, size).box == pytest.approx(TRUE)


def test_a_small_box_of_another_unit_is_not_taken_for_shares():
    """[0, 0, 1, 1] is the whole picture in shares and a speck in thousandths: only the declaration knows."""
    assert read_box("[0, 0, 1, 1]").box == (0, 0, 1, 1)
    assert read_box("[0, 0, 1, 1]", "thousand").box == (0, 0, 0.001, 0.001)


@pytest.mark.parametrize(
    ("unit", "size", "message"),
    [
        ("inch", None, "unit is 'inch'; boxes are counted in share, percent"),
        ("pixel", None, "need the picture's width"),
    ],
)
def test_units_that_there_are_not(unit, size, message):
    with pytest.raises(KeepsightError, match=message):
        read_box("[0, 0, 1, 1]", unit, size)


shares = st.floats(0, 1)


@st.composite
def boxes(draw, least=0.0):
    x1, y1 = draw(st.floats(0, 1 - least)), draw(st.floats(0, 1 - least))
    return (x1, y1, draw(st.floats(x1 + least, 1)), draw(st.floats(y1 + least, 1)))


@given(boxes(), boxes())
def test_the_overlap_is_symmetric_and_a_share(one, other):
    overlap = intersection_over_union(one, other)
    assert 0 <= overlap <= 1 and overlap == intersection_over_union(other, one)


@given(boxes(0.01))
def test_a_box_overlaps_itself_wholly(box):
    assert intersection_over_union(box, box) == pytest.approx(1)


def brute_overlap(one, other, cells=20):
    """By counting the cells of a grid, for corners that lie on it."""
    inside = [
        [all((b[0] <= (x + 0.5) / cells < b[2], b[1] <= (y + 0.5) / cells < b[3])) for b in (one, other)]
        for x in range(cells)
        for y in range(cells)
    ]
    both, either = sum(all(cell) for cell in inside), sum(any(cell) for cell in inside)
    return both / either if either else 0.0


corner = st.integers(0, 20).map(lambda step: step / 20)


@given(
    *[
        st.tuples(corner, corner, corner, corner).map(
            lambda b: (*map(min, b[:2], b[2:]), *map(max, b[:2], b[2:]))
        )
    ]
    * 2
)
def test_the_overlap_is_the_share_of_counted_cells(one, other):
    assert intersection_over_union(one, other) == pytest.approx(brute_overlap(one, other))


@given(boxes(0.02), st.integers(3, 8))
def test_a_perfect_box_is_right_however_precisely_it_is_printed(box, decimals):
    sample = Sample("a", "?", target=(box_text(box),), meta={"box": box})
    (score,) = BoxAccuracy()([sample], [Output(box_text(box, decimals))])
    assert score.value == 1 and score.status == "ok"


sides = st.integers(1, 4000)


@given(boxes(0.01), boxes(0.01), st.tuples(sides, sides))
def test_the_frames_are_inverse_and_change_no_overlap(one, other, size):
    padded = [to_padded(box, size) for box in (one, other)]
    assert all(0 <= side <= 1 for box in padded for side in box)
    assert to_picture(padded[0], size) == pytest.approx(one, abs=1e-6)
    if intersection_over_union(one, other) > 1e-6:
        assert intersection_over_union(*padded) == pytest.approx(
            intersection_over_union(one, other), rel=1e-3
        )


def test_the_padded_frame_is_coins():
    """x, y, w, h = 8, 6, 24, 30 in a picture of 80 x 60: half the missing 20 pixels lie above."""
    shares = (8 / 80, 6 / 60, 32 / 80, 36 / 60)
    assert to_padded(shares, (80, 60)) == pytest.approx((8 / 80, 16 / 80, 32 / 80, 46 / 80))
    assert to_padded(shares, (60, 60)) == shares
    turned = (6 / 60, 8 / 80, 36 / 60, 32 / 80)
    assert to_padded(turned, (60, 80)) == pytest.approx((16 / 80, 8 / 80, 46 / 80, 32 / 80))


def test_half_is_not_above_a_half():
    sample = Sample("a", "?", target=("[0, 0, 1, 1]",))
    said = [
        "[0, 0, 1, 0.5]",
        "[0, 0, 1, 0.51]",
        "",
        "I'm sorry, I cannot see the image.",
        "[0.2, 0.2, 0.2, 0.9]",
    ]
    right = BoxAccuracy()([sample] * 5, [Output(text) for text in said])
    assert [s.value for s in right] == [0, 1, 0, 0, 0]
    assert [s.status for s in right] == ["ok", "ok", "unparsed", "refused", "ok"]
    overlap = BoxOverlap()([sample] * 2, [Output(text) for text in said[:2]])
    assert [s.value for s in overlap] == [0.5, 0.51] and overlap[0].explanation == "IoU 0.500"
    (failed,) = BoxAccuracy()([sample], [Output("", error="no picture")])
    assert failed.status == "error" and math.isnan(failed.value)


@pytest.mark.parametrize(
    "sample",
    [Sample("q", "?"), Sample("q", "?", target=("a dog",)), Sample("q", "?", meta={"box": (0, 0, 0, 1)})],
)
def test_a_sample_without_a_true_box(sample):
    with pytest.raises(KeepsightError, match="sample q has no true box"):
        BoxAccuracy()([sample], [Output("[0, 0, 1, 1]")])


def test_the_version_knows_the_unit():
    assert BoxAccuracy("percent").version != BoxAccuracy().version
    thousand = Sample("a", "?", target=("<box>(100,200),(300,400)</box>",))
    assert BoxAccuracy("thousand")([thousand], [Output("[100, 200, 300, 400]")])[0].value == 1


def test_no_minus_zero_is_printed():
    assert box_text((-1e-9, 0.12, 0.3, 1.0)) == "[0.0, 0.12, 0.3, 1.0]"


def test_a_long_answer_is_read_in_its_length():
    started = time.process_time()
    for unit in (
        "[",
        "0.1, ",
        "1e9",
        "(1,2),",
        "x1 = ",
        "<think>",
        "0.1 0.2 0.3 0.4; ",
        "a1b2",
        "1.1.1",
        "9" * 50 + " ",
        "to the ",
        "top-left ",
        "x_min y: ",
        "(1,2) to ",
    ):
        read_box(unit * (40_000 // len(unit)))
    assert time.process_time() - started < 3
