"""Wording shared by the sets: presence questions, lists and articles."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from keepsight.data.drawn.picture import Question, pick

__all__ = ["a", "listing", "presence", "presence_pair", "sentence"]


def a(noun: str) -> str:
    """The noun with its article: an arrow, a moon."""
    return f"an {noun}" if noun[0].lower() in "aeiou" else f"a {noun}"


def listing(items: Sequence[str]) -> str:
    """`x`, `x and y`, `x, y and z`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def presence(thing: str, there: bool) -> Question:
    """The polling question of POPE (arXiv:2305.10355, section 5.1), article chosen by sound."""
    return Question("yes/no", f"Is there {thing} in the image?", "Yes" if there else "No")


def presence_pair(
    rng: Random, labels: Sequence[str], label: str, form: str = "{}", article: bool = True
) -> list[Question]:
    """One presence question whose answer is yes and one whose answer is no, in that order."""
    other = pick(rng, [x for x in labels if x != label])
    things = [form.format(x) for x in (label, other)]
    return [presence(a(thing) if article else thing, there) for thing, there in zip(things, (True, False))]
