"""The label-string judge."""

import json
import math
from pathlib import Path

import pytest

from keepsight.scoring.judges.label_match import LabelMatch
from keepsight.types import KeepsightError, Output, Sample

EMT = json.loads((Path(__file__).parents[1] / "data" / "emt_examples.json").read_text())
C10 = LabelMatch(EMT["labels"]["CIFAR-10"])


def judge(scorer, truth, text, error=None):
    return scorer([Sample("s", "p", target=(truth,))], [Output(text, error=error)])[0]


@pytest.mark.parametrize(
    "truth, text, value, answer, status, tags",
    [
        ("cat", "It is a cat.", 1, "cat", "ok", ()),
        ("cat", "It is a dog.", 0, "dog", "ok", ()),
        ("cat", "a cat and a dog", 1, "cat, dog", "ok", ("multiple_labels",)),
        ("cat", "cat cat", 1, "cat", "ok", ()),
        ("cat", "The cat is 8.", 1, "cat", "ok", ()),
        ("cat", "not a cat", 0, None, "unparsed", ("negated",)),
        ("cat", "not a dog but a cat", 1, "cat", "ok", ("negated",)),
        ("cat", "a category", 0, None, "unparsed", ()),
        ("cat", "", 0, None, "unparsed", ()),
        ("cat", "I'm sorry, I can't help with that.", math.nan, None, "refused", ()),
    ],
)
def test_an_answer_that_names_the_label_is_right(truth, text, value, answer, status, tags):
    score = judge(C10, truth, text)
    assert score.value == pytest.approx(value, nan_ok=True)
    assert (score.answer, score.status, score.tags) == (answer, status, tags)


def test_echoing_the_label_list_is_right_by_the_papers_rule_only():
    echo = ", ".join(EMT["labels"]["CIFAR-10"])
    assert judge(C10, "cat", echo).value == 1
    assert judge(LabelMatch(C10.matcher.labels, rule="only"), "cat", echo).value == 0
    assert judge(LabelMatch(C10.matcher.labels, rule="only"), "cat", "a cat").value == 1


def test_published_strings():
    """The judge agrees with the strict reading but for the echo and "The airplane is 8."."""
    differ = []
    for row in EMT["rows"]:
        score = judge(LabelMatch(EMT["labels"][row["dataset"]]), row["label"], row["output"])
        if score.value != float(bool(row["expected_correct"])):
            differ.append(row["id"])
    assert differ == [2, 5, 37]


def test_any_of_several_targets_is_right():
    assert C10([Sample("s", "p", target=("cat", "dog"))], [Output("a dog")])[0].value == 1


def test_no_target_unknown_target_and_unknown_rule_are_refused():
    with pytest.raises(KeepsightError, match="no target"):
        C10([Sample("s", "p")], [Output("a dog")])
    with pytest.raises(KeepsightError, match="unicorn"):
        judge(C10, "unicorn", "a dog")
    with pytest.raises(KeepsightError, match="exactly"):
        LabelMatch(["cat"], rule="exactly")


def test_version_follows_the_settings():
    made = [
        LabelMatch(["cat"]),
        LabelMatch(["dog"]),
        LabelMatch(["cat"], {"cat": ["kitty"]}),
        LabelMatch(["cat"], rule="only"),
    ]
    assert len({scorer.version for scorer in made}) == 4
