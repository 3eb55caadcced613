"""How figures are written: proportions in per cent, differences in points, p values to three places.

Every function gives plain text, with a real minus sign and a dash for "no figure".
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

__all__ = [
    "MISSING",
    "count",
    "figure",
    "interval",
    "listed",
    "p_value",
    "percent",
    "points",
    "printable",
    "span",
]

MISSING = "–"
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, the 8-bit ones included
    "\ud800-\udfff"  # halves of characters
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks that turn the direction of text
    r"\u2028\u2029\ufeff\U000e0000-\U000e007f]"  # separators, byte order mark, invisible tags
)


def percent(share: float, digits: int = 1) -> str:
    """A share of 1 as per cent without its sign: 0.1234 -> "12.3"."""
    return MISSING if math.isnan(share) else f"{100 * share:.{digits}f}"


def figure(value: float, *, share: bool = True) -> str:
    """A metric's value: per cent when it is a share of 1, else the number to three significant digits."""
    if math.isnan(value):
        return MISSING
    return percent(value) if share else f"{value:.3g}".replace("-", "−")


def interval(low: float, high: float, *, share: bool = True) -> str:
    """The two ends of an interval: "8.9–16.7"."""
    if math.isnan(low) or math.isnan(high):
        return MISSING
    return f"{figure(low, share=share)}–{figure(high, share=share)}"


def points(difference: float) -> str:
    """A signed difference of two shares in percentage points: -0.821 -> "−82.1"."""
    if math.isnan(difference):
        return MISSING
    text = f"{100 * difference:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def span(low: float, high: float) -> str:
    """An interval of a difference in points: "+74.1 to +88.2"."""
    return MISSING if math.isnan(low) or math.isnan(high) else f"{points(low)} to {points(high)}"


def p_value(p: float) -> str:
    """A probability of a test: never written as zero."""
    if math.isnan(p):
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def count(n: int) -> str:
    """A count with thousands apart: 14700 -> "14,700"."""
    return f"{n:,}"


def listed(names: Iterable[str]) -> str:
    """Names in a sentence: "a", "a and b", "a, b and c"."""
    words = list(names)
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1] if words else ""


def printable(text: str) -> str:
    """Text that only says what it shows: no control characters but tab and newline, no half characters, nothing that
    turns the direction of what follows or cannot be seen."""
    return _CONTROL.sub("�", text.replace("\r\n", "\n"))
