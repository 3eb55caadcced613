"""Is it the prompt: the prompt is chosen on validation pictures, judged on test pictures."""

import pytest

from keepsight.diagnose.prompts import BASE, RANDOM, THOUGHT, VARIANTS, prompts
from keepsight.types import KeepsightError
from tests.diagnose.fake_study import figures, study


def right(sample):
    return sample.target[0]


def only(*marks, split=""):
    """Right where the prompt holds one of `marks`, on pictures of `split`."""
    return lambda s: right(s) if any(m in s.prompt for m in marks) and split in s.id else "a star"


def test_a_model_that_is_right_however_asked(tmp_path):
    finding = prompts(study(tmp_path, right, n=90))
    assert (finding.question, finding.title, finding.verdict) == ("prompts", "Is it the prompt?", "no")
    assert finding.deciding.value == 0.0 and finding.settings["chosen"] != BASE


def test_a_model_that_needs_one_wording(tmp_path):
    finding = prompts(study(tmp_path, only("main object depicted"), n=24))
    assert finding.verdict == "yes" and finding.deciding.value == 1.0
    assert finding.settings["chosen"] == "labels, depicted"
    assert (
        '"labels, depicted", is right on 100.0 % of the test pictures, the base prompt on 0.0 %'
        in finding.answer
    )


def test_a_prompt_that_is_good_on_test_pictures_alone_is_not_chosen(tmp_path):
    def answer(sample):
        good = "step by step" in sample.prompt if "train/" in sample.id else "Identify" in sample.prompt
        return right(sample) if good else "a star"

    finding = prompts(study(tmp_path, answer, n=90))
    assert finding.settings["chosen"] == THOUGHT and finding.deciding.value == 0.0
    assert finding.verdict == "no"
    assert "100.0 % right there, the base prompt 0.0 %" in finding.notes[0]


def test_a_model_that_no_prompt_helps_is_told_so(tmp_path):
    finding = prompts(study(tmp_path, lambda sample: "a star", n=90))
    assert (
        finding.verdict == "no"
        and finding.answer == "None of 8 prompts gets a single one of 90 pictures right."
    )


def test_an_echo_is_no_good_prompt(tmp_path):
    """By inclusion it would be perfect."""

    def answer(sample):
        return ", ".join(sample.choices) if "Identify" in sample.prompt else "a star"

    finding = prompts(study(tmp_path, answer, n=24))
    found = figures(finding)
    assert finding.deciding.value == 0.0
    assert (found["labels, identify (inclusion)"].value, found["labels, identify (one_label)"].value) == (
        1.0,
        0.0,
    )


def test_single_steps_and_every_prompt_are_reported(tmp_path):
    finding = prompts(study(tmp_path, only("step by step"), n=24))
    found = figures(finding)
    assert found[f"{THOUGHT} above {RANDOM} (one_label)"].value == 1.0
    assert found[f"{RANDOM} above {BASE} (one_label)"].value == 0.0
    assert all(f"{name} (one_label)" in found for name in VARIANTS) and len(found) == len(finding.figures)
    (plot,) = finding.plots
    assert plot.ticks == tuple(VARIANTS) and [line.name for line in plot.lines] == [
        "validation pictures",
        "test pictures",
    ]


def test_reasoning_without_a_conclusion_is_counted(tmp_path):
    def muses(sample):
        return "It has legs." if "step by step" in sample.prompt else right(sample)

    assert (
        "100.0 % of the chains of thought reach no conclusion"
        in prompts(study(tmp_path, muses, n=24)).notes[-1]
    )


def test_validation_and_test_pictures_are_not_the_same(tmp_path):
    seen = {}

    def answer(sample):
        seen.setdefault("train" if "train/" in sample.id else "test", set()).add(sample.media[0].sha256)
        return right(sample)

    first = study(tmp_path, answer, n=40, n_validation=20)
    finding = prompts(first)
    assert len(seen["train"]) == 20 and len(seen["test"]) == 40 and not seen["train"] & seen["test"]
    again = study(tmp_path, answer, n=40, n_validation=20)
    assert prompts(again) == finding and again.model.asked == 0 and first.model.asked == 8 * 60


def test_without_validation_pictures_nothing_is_chosen(tmp_path):
    with pytest.raises(KeepsightError, match="give n_validation"):
        prompts(study(tmp_path, right, n_validation=0))
