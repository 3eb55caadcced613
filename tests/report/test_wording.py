import math

import pytest

from keepsight.report.wording import (
    count,
    figure,
    interval,
    listed,
    p_value,
    percent,
    points,
    printable,
    span,
)


@pytest.mark.parametrize("share, text", [(0.1234, "12.3"), (1.0, "100.0"), (0.0, "0.0"), (math.nan, "–")])
def test_percent(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(
    "difference, text",
    [(0.8214, "+82.1"), (-0.05, "−5.0"), (0.00004, "0.0"), (-0.00004, "0.0"), (math.nan, "–")],
)
def test_points_have_a_sign_and_no_negative_zero(difference, text):
    assert points(difference) == text


@pytest.mark.parametrize(
    "p, text", [(0.0, "< 0.001"), (0.0009, "< 0.001"), (0.0342, "0.034"), (1.0, "1.000")]
)
def test_p_is_never_zero(p, text):
    assert p_value(p) == text


def test_others():
    assert figure(-1234.5, share=False) == "−1.23e+03"
    assert interval(0.0891, 0.1672) == "8.9–16.7"
    assert interval(math.nan, 1.0) == "–"
    assert span(-0.02, 0.131) == "−2.0 to +13.1"
    assert count(14700) == "14,700"
    assert [listed([]), listed(["a"]), listed(["a", "b"]), listed("abc")] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
    assert printable("a\x00b\ud800c\u202ed\ne") == "a�b�c�d\ne"
