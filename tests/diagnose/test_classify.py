"""Is it bad at all: models whose answer is known get the verdict they deserve, by every rule."""

import pytest

from keepsight.diagnose import QUESTIONS
from keepsight.diagnose.classify import RULES, gap
from tests.diagnose.fake_study import figures, study

DECIDES = "closed world below CLIP (one_label)"


def right(sample):
    return f"It is a {sample.target[0]}."


def test_a_model_that_is_right_is_not_bad(tmp_path):
    finding = gap(study(tmp_path, right, n=90))
    assert (finding.question, finding.title, finding.verdict) == ("gap", "Is it bad at all?", "no")
    assert finding.deciding.name == DECIDES and finding.deciding.value == 0.0 and finding.deciding.n == 90
    assert QUESTIONS["gap"] is gap


def test_a_model_that_is_right_on_nothing_is_told_so(tmp_path):
    finding = gap(study(tmp_path, lambda sample: "a star", n=90))
    assert finding.verdict == "yes" and finding.deciding.value == 1.0 and finding.deciding.low > 0.9
    assert finding.answer.startswith("Given the labels it is right on none of 90 pictures, CLIP on 100.0 %")
    assert any(
        '100.0 % of the closed world answers name no label; the commonest: "a star" (90).' in n
        for n in finding.notes
    )


def test_a_model_above_clip_is_not_bad(tmp_path):
    finding = gap(study(tmp_path, right, blind_every=2, n=90))
    assert finding.verdict == "no" and finding.deciding.value < 0 and "no gap:" in finding.answer


def test_an_echo_of_the_label_list_is_found_out(tmp_path):
    """Right on every picture by the published rule, and caught."""
    pictures = study(tmp_path, right).pictures
    finding = gap(study(tmp_path, lambda sample: ", ".join(pictures.labels)))
    found = figures(finding)
    assert finding.verdict == "yes" and finding.deciding.value == 1.0
    shares = {rule: found[f"closed world ({rule})"].value for rule in RULES}
    assert shares == {"inclusion": 1.0, "whole_word": 1.0, "one_label": 0.0, "strict": 0.0}
    assert found["closed world multiple_labels_share"].value == 1.0
    told = "would score 100.0 % under inclusion, 100.0 % under whole_word, 0.0 % under one_label, 0.0 % under strict"
    assert (
        told in finding.notes[0]
        and "100.0 % of the closed-world answers name several labels" in finding.notes[0]
    )
    assert "The published rule, inclusion, counts 100.0 %" in finding.notes[1]


def test_all_rules_stand_side_by_side_for_every_asked(tmp_path):
    finding = gap(study(tmp_path, right))
    found = figures(finding)
    names = {f"{who} ({rule})" for who in ("open world", "closed world", "CLIP") for rule in RULES}
    assert names <= set(found) and found["closed world (strict)"].value == 0.0  # a sentence is no label
    (plot,) = finding.plots
    assert plot.ticks == ("open world", "closed world", "CLIP") and [
        line.name for line in plot.lines
    ] == list(RULES)
    assert all(len(line.y) == len(line.low) == len(line.high) == 3 for line in plot.lines)
    assert len(found) == len(finding.figures), "no figure stands twice"


def test_refusals_are_neither_right_nor_wrong(tmp_path):
    def declines(sample):
        return "I'm sorry, I cannot identify the image." if sample.id.endswith("0") else right(sample)

    finding = gap(study(tmp_path, declines))
    assert (
        finding.deciding.n == 27
        and finding.deciding.total == 30
        and finding.deciding.not_ok == {"unpaired": 3}
    )
    assert any("10.0 % of the closed world answers decline" in note for note in finding.notes)


def test_without_a_clip_there_is_no_verdict(tmp_path):
    finding = gap(study(tmp_path, right, clip=False))
    assert finding.verdict == "no_evidence" and finding.deciding.name == "closed world (one_label)"
    assert "No CLIP was given" in finding.notes[-1] and finding.answer == (
        "Given the labels it is right on 100.0 % of 30 pictures."
    )


def test_asking_again_asks_nothing(tmp_path):
    first = study(tmp_path, right)
    finding = gap(first)
    again = study(tmp_path, right)
    assert first.model.asked == 60 and gap(again) == finding and again.model.asked == 0
    assert finding.settings["pictures"] == "animals" and finding.settings["clip"] == "fake clip"


@pytest.mark.torch
def test_tiny_does_not_know_things(tmp_path):
    from keepsight.data.drawn import ALL_SETS
    from keepsight.diagnose import Study
    from keepsight.models import load
    from keepsight.models.clip import ClipModel
    from keepsight.models.tiny import tiny_directory
    from keepsight.store import Store

    clip = ClipModel(tiny_directory("clip"), "tiny", dtype="float32")
    finding = gap(Study(load("tiny"), ALL_SETS["things"], Store(tmp_path), n=24, clip=clip))
    assert finding.verdict == "yes" and finding.deciding.low > 0.1
    assert figures(finding)["closed world (one_label)"].value < 0.1
