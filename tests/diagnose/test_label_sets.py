"""Is it the number of labels: the curve, the gap, the error ratio, and what is left out."""

import math

import pytest

from keepsight.diagnose.label_sets import label_sets
from keepsight.types import KeepsightError
from tests.diagnose.fake_study import Animals, figures, study

MANY = tuple(f"animal {chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(30))


def right(sample):
    return sample.target[0]


def lost_among(count):
    """Right only where fewer labels than `count` are offered, else the first one."""
    return lambda s: s.target[0] if len(s.choices) < count else next(c for c in s.choices if c != s.target[0])


def test_a_model_that_is_lost_among_many_labels(tmp_path):
    finding = label_sets(study(tmp_path, lost_among(10), pictures=Animals(MANY)))
    found = figures(finding)
    assert (finding.question, finding.title, finding.verdict) == (
        "label_sets",
        "Is it the number of labels?",
        "yes",
    )
    assert finding.deciding.name == "gap with all 30 labels above gap with 2 labels (one_label)"
    assert (finding.deciding.value, finding.deciding.n) == (1.0, 30)
    gaps = [
        found[f"below CLIP, {name} (one_label)"].value
        for name in ("2 labels", "5 labels", "20 labels", "all 30 labels")
    ]
    assert gaps == [0.0, 0.0, 1.0, 1.0]
    assert finding.settings["sizes"] == [2, 5, 20, 30] and "not asked: 100." in finding.notes[1]


def test_a_model_that_is_right_always(tmp_path):
    finding = label_sets(study(tmp_path, right, n=90))
    assert finding.verdict == "no" and finding.settings["sizes"] == [2, 5, 6]
    assert math.isnan(figures(finding)["error ratio, 2 labels"].value)
    assert "CLIP makes no error with 2 labels: there is no error ratio." in finding.notes


def test_a_model_that_is_right_never(tmp_path):
    finding = label_sets(study(tmp_path, lambda sample: "a star", n=90))
    assert finding.verdict == "no" and finding.answer.endswith("right on no picture, however few the labels.")
    assert any("below chance" in note for note in finding.notes)


def test_the_error_ratio(tmp_path):
    """Of 90 pictures the model errs on 60; CLIP on half of them less those that are the first label by right."""

    def answer(sample):
        return right(sample) if int(sample.id.rpartition("/")[2]) % 3 == 0 else "a star"

    finding = label_sets(study(tmp_path, answer, blind_every=2, n=90))
    ratio = figures(finding)["error ratio, all 6 labels"]
    wrong = sum(1 for i in range(90) if i % 2 == 1 and i % 6 != 0)
    assert ratio.value == pytest.approx(60 / wrong) and ratio.low < ratio.value < ratio.high and ratio.n == 90
    lines = {plot.title: plot for plot in finding.plots}
    assert lines["Errors for one error of CLIP"].lines[0].y[-1] == ratio.value
    assert not lines["Errors for one error of CLIP"].share


def test_the_models_of_a_study_get_the_same_candidates(tmp_path):
    seen = []

    def answer(sample):
        seen.append((sample.id, sample.choices))
        return right(sample)

    label_sets(study(tmp_path, answer, pictures=Animals(MANY)))
    first, seen = list(seen), []
    label_sets(study(tmp_path / "other", answer, pictures=Animals(MANY)))
    assert first and sorted(first) == sorted(seen)


def test_asking_again_asks_nothing(tmp_path):
    first = study(tmp_path, lambda sample: "a star")
    finding = label_sets(first)
    again = study(tmp_path, lambda sample: "a star")
    assert repr(label_sets(again)) == repr(finding) and again.model.asked == 0 and first.model.asked == 90


def test_without_a_clip_or_with_two_labels_there_is_no_verdict(tmp_path):
    alone = label_sets(study(tmp_path, right, clip=False))
    assert alone.verdict == "no_evidence" and alone.deciding.name == "model, 2 labels (one_label)"
    assert len(alone.plots) == 1 and "No CLIP was given" in alone.notes[-1]
    two = label_sets(study(tmp_path / "two", right, pictures=Animals(("ant", "bee"))))
    assert two.verdict == "no_evidence" and two.settings["sizes"] == [2] and "no curve" in two.answer


def test_impossible_sizes(tmp_path):
    with pytest.raises(KeepsightError, match="1 is no number of labels to choose from"):
        label_sets(study(tmp_path, right), sizes=(5, 1))


def test_a_ratio_that_nothing_bounds_has_no_upper_end(tmp_path):
    """CLIP errs once: infinity is no JSON number."""
    finding = label_sets(study(tmp_path, lambda sample: "a star", blind_every=29))
    ratio = figures(finding)["error ratio, all 6 labels"]
    assert ratio.value == 30.0 and ratio.low < 30 and math.isnan(ratio.high)
    assert any("too few errors with all 6 labels to bound" in note for note in finding.notes)
