"""Objects named in a caption."""

import math

import pytest

from keepsight.scoring.recall import ObjectRecall
from keepsight.types import KeepsightError, Output, Sample

RECALL = ObjectRecall(["circle", "star", "key", "fish", "mug", "house"], {"mug": ["cup"]})


def score(present, text):
    return RECALL([Sample("s", "Describe.", target=tuple(present))], [Output(text)])[0]


@pytest.mark.parametrize(
    "present, text, value, answer, tags",
    [
        (["circle", "star"], "A red circle left of a blue star.", 1, "circle, star", ()),
        (["circle", "star"], "Two circles.", 0.5, "circle", ("missed:star",)),
        (["circle"], "a circle and a key", 1, "circle, key", ("hallucinated:key",)),
        (
            ["circle"],
            "a key, a key and a fish",
            0,
            "key, fish",
            ("hallucinated:key", "hallucinated:fish", "missed:circle"),
        ),
        (["circle", "key"], "There is no key, only a circle.", 0.5, "circle", ("missed:key",)),
        (["circle"], "There is no key, only a circle.", 1, "circle", ()),
        (["mug"], "a cup of tea", 1, "mug", ()),
        (["star"], "starfish and keyboards", 0, None, ("missed:star",)),
        (["star", "star"], "a star", 1, "star", ()),
        (["Star"], "STARS!", 1, "star", ()),
    ],
)
def test_the_share_of_present_kinds_that_are_named(present, text, value, answer, tags):
    result = score(present, text)
    assert (result.value, result.answer, result.tags) == (value, answer, tags)
    assert result.status == ("ok" if answer else "unparsed")


def test_silence_names_nothing():
    result = score(["circle", "star"], "")
    assert (result.value, result.status, result.tags) == (0, "unparsed", ("missed:circle", "missed:star"))


def test_an_empty_scene_has_no_recall_but_can_be_made_up():
    result = score([], "a fish")
    assert math.isnan(result.value)
    assert result.tags == ("hallucinated:fish",)


def test_an_unknown_kind_is_refused():
    with pytest.raises(KeepsightError, match="unicorn"):
        score(["unicorn"], "a fish")


def test_a_failed_output_is_an_error():
    failed = RECALL([Sample("s", "p", target=("star",))], [Output("", error="broken")])[0]
    assert (failed.status, failed.explanation) == ("error", "broken")
