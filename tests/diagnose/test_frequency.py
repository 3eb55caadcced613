"""Is it the data? Counts joined with accuracies, controls beside them, and what a corpus will teach too little."""

import json
import math

import pytest

from keepsight.data.drawn import ALL_SETS
from keepsight.diagnose.frequency import count_corpora, count_mentions, frequency, per_class_accuracy
from keepsight.diagnose.study import Study
from keepsight.diagnose.too_little import mentions_needed, taught_too_little, too_little
from keepsight.evaluate import evaluate
from keepsight.scoring.mentions import MentionCounts
from keepsight.store import Store
from keepsight.tasks.emt import emt
from keepsight.types import KeepsightError
from tests.fake_vlm import FakeVLM

WORDS = [f"animal{a}{b}" for a in "abcdefgh" for b in "xyzuv"]  # 40 classes


def study_of(tmp_path, **given):
    return Study(FakeVLM(), ALL_SETS["things"], Store(tmp_path), n=24, **given)


def counts(sentences, name="corpus"):
    return MentionCounts(name, sentences, sentences, sum(sentences.values()) + 5, 7)


RISING = counts({word: i * i for i, word in enumerate(WORDS)})
GOOD = {word: i / 40 for i, word in enumerate(WORDS)}
FLAT = {word: (i * 17 % 40) / 40 for i, word in enumerate(WORDS)}


def figure(finding, name):
    return next(one for one in finding.figures if one.name == name)


def test_a_relation_is_found_and_the_control_is_compared(tmp_path):
    finding = frequency(
        study_of(tmp_path), counts=[RISING], runs={"model": GOOD, "encoder": FLAT}, n_resamples=300
    )
    assert (
        finding.verdict == "yes" and finding.deciding.value == pytest.approx(1) and finding.deciding.n == 40
    )
    assert "Spearman 1.00" in finding.answer
    assert abs(figure(finding, "spearman of encoder").value) < 0.4
    assert figure(finding, "spearman, model minus encoder").low > 0
    assert any("control correlates less" in note for note in finding.notes)
    assert figure(finding, "pearson").value < figure(finding, "pearson").high <= 1
    binned, scattered = finding.plots
    assert binned.ticks[0] == "0-9 (n 4)" and binned.ticks[-1] == "1,000-9,999 (n 8)"
    assert binned.lines[0].y[0] == pytest.approx(1.5 / 40)
    assert scattered.lines[0].x == tuple(float(i * i) for i in range(40)) and scattered.log_x


def test_without_a_relation_the_data_is_acquitted_or_it_cannot_be_told(tmp_path):
    falling = {word: 1 - value for word, value in GOOD.items()}
    told = frequency(study_of(tmp_path), counts=[RISING], runs={"model": falling}, n_resamples=300)
    assert told.verdict == "no" and "no better" in told.answer
    few = {word: GOOD[word] for word in WORDS[:4]}
    assert (
        frequency(study_of(tmp_path), counts=[RISING], runs={"model": few}, n_resamples=300).verdict
        == "no_evidence"
    )


def test_equal_accuracies_are_no_evidence(tmp_path):
    finding = frequency(study_of(tmp_path), counts=[RISING], runs={"model": dict.fromkeys(WORDS, 0.0)})
    assert finding.verdict == "no_evidence" and math.isnan(finding.deciding.value)
    assert "cannot be told" in finding.answer
    assert any("40 of 40 classes have one accuracy" in note for note in finding.notes)


def test_stages_are_counted_apart_and_together(tmp_path):
    half = counts({word: i * i if i % 2 else 0 for i, word in enumerate(WORDS)}, "first")
    rest = counts({word: 0 if i % 2 else i * i for i, word in enumerate(WORDS)}, "second")
    finding = frequency(study_of(tmp_path), counts=[half, rest], runs={"model": GOOD}, n_resamples=300)
    assert finding.deciding.value == pytest.approx(1) and finding.settings["mentions"] == dict(
        RISING.sentences
    )
    assert figure(finding, "spearman (first)").value < 0.9 and figure(finding, "pearson (second)").n == 40


def test_from_a_file_to_a_finding(tmp_path):
    labels = ALL_SETS["things"].labels
    rows = [f"A {label}." for i, label in enumerate(labels) for _ in range(i)]
    (tmp_path / "stage.jsonl").write_text("\n".join(json.dumps({"caption": row}) for row in [*rows, 3]))
    study = study_of(tmp_path / "out", corpora={"stage": tmp_path / "stage.jsonl"})
    finding = frequency(study)
    assert finding.settings["mentions"] == {label: i for i, label in enumerate(labels)}
    assert finding.settings["runs"] == ["fake"] and finding.verdict == "no_evidence"  # it is always right
    assert any("1 rows could not be read (stage.jsonl, line 16" in note for note in finding.notes)
    assert any(note == f"Never named: {labels[0]} (1)." for note in finding.notes)
    assert len(study.model.asked) == 24
    frequency(study)
    assert len(study.model.asked) == 24, "asked again"


def test_accuracy_per_class_leaves_out_what_was_not_scored(tmp_path):
    task = emt("things", n=24)
    first, second, third = task.test()[:3]
    model = FakeVLM(answers={first.id: "nothing at all"}, broken=frozenset([second.id]))
    run = evaluate(model, task, Store(tmp_path))
    found = per_class_accuracy(run)
    of = [sample.target[0] for sample in task.test() if sample.id != second.id]
    assert found[first.target[0]] == pytest.approx(1 - 1 / of.count(first.target[0]))
    assert all(value == 1 for label, value in found.items() if label != first.target[0])
    assert third.target[0] in found


def test_what_cannot_be_joined_is_refused_or_named(tmp_path):
    study = study_of(tmp_path)
    with pytest.raises(KeepsightError, match="no corpus is given"):
        frequency(study)
    with pytest.raises(KeepsightError, match="no label has both"):
        frequency(study, counts=[RISING], runs={"model": {"horse": 1.0}})
    some = {**GOOD, "horse": 1.0}
    notes = frequency(study, counts=[RISING], runs={"model": some}, n_resamples=100).notes
    assert any("Left out" in note and "horse (1)" in note for note in notes)
    (tmp_path / "bad.jsonl").write_text("{\n{\n")
    with pytest.raises(KeepsightError, match="no row can be read"):
        count_mentions(tmp_path / "bad.jsonl", ["fish"])


# ---- before training ----------------------------------------------------------------------------------------------


def test_classes_below_the_threshold_are_listed_rarest_first():
    finding = taught_too_little(RISING)
    assert finding.verdict == "yes" and finding.settings["classes"] == {WORDS[i]: i * i for i in range(4)}
    assert (finding.deciding.value, finding.deciding.n) == (0.1, 40)
    assert finding.answer.startswith(
        f"4 of 40 classes are named in fewer than 10 sentences: {WORDS[0]} (0), {WORDS[1]} (1)"
    )
    assert taught_too_little(RISING, WORDS[5:]).verdict == "no"
    assert list(taught_too_little(RISING, threshold=5).settings["classes"]) == WORDS[:3]


def test_the_threshold_can_be_read_off_a_model():
    finding = taught_too_little(RISING, accuracies=GOOD)  # half right from the twentieth class on
    assert finding.settings["threshold"] == 400 and finding.settings["fitted"]
    assert len(finding.settings["classes"]) == 20
    needed = mentions_needed(RISING, GOOD)
    assert needed.low <= 400 <= needed.high and needed.high < 1600 and needed.n == 40
    hopeless = taught_too_little(RISING, accuracies=dict.fromkeys(WORDS, 0.1))
    assert hopeless.settings["threshold"] == 10 and any(
        "nowhere good enough" in note for note in hopeless.notes
    )
    assert math.isnan(hopeless.figures[1].value)


def test_a_label_that_was_not_counted_is_refused():
    with pytest.raises(KeepsightError, match="'horse' was not counted"):
        taught_too_little(RISING, ["horse"])
    with pytest.raises(KeepsightError, match="no label is given"):
        taught_too_little(RISING, [])


def test_as_a_question_it_reads_the_corpora_and_asks_the_model_nothing(tmp_path):
    labels = ALL_SETS["things"].labels
    for name, times in (("first", 9), ("second", 1)):
        rows = [f"A {label}." for label in labels[1:] for _ in range(times)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps({"caption": row}) for row in rows))
    study = study_of(
        tmp_path / "out", corpora={name: tmp_path / f"{name}.jsonl" for name in ("first", "second")}
    )
    finding = too_little(study)
    assert finding.settings["classes"] == {labels[0]: 0} and finding.settings["corpora"] == [
        "first",
        "second",
    ]
    assert (finding.question, finding.verdict, finding.deciding.n) == ("too_little", "yes", len(labels))
    assert len(too_little(study, threshold=11).settings["classes"]) == len(labels)
    assert study.model.asked == []
    with pytest.raises(KeepsightError, match="threshold is 0; give"):
        too_little(study, threshold=0)
    with pytest.raises(KeepsightError, match="no corpus is given"):
        too_little(study_of(tmp_path))


def test_a_study_reads_a_corpus_once_as_long_as_it_stays_the_same(tmp_path):
    corpus, read = tmp_path / "first.jsonl", []
    corpus.write_text(json.dumps({"caption": "A fish.", "prompt": "A cup?"}))
    study = study_of(tmp_path / "out", corpora={"first": corpus}, progress=lambda *told: read.append(told))
    again = [count_corpora(study), count_corpora(study), count_corpora(study)]
    assert again[0] == again[1] == again[2] and again[0][0].sentences["fish"] == 1
    assert len(read) == 1, "the last word on a file of a few bytes is the only one"
    (answers,) = count_corpora(study, answers_only=True)
    assert answers.sentences["cup"] == 0 and len(read) == 2, "counted otherwise"
    corpus.write_text(json.dumps({"caption": "A fish and a cup. A fish."}))
    (changed,) = count_corpora(study)
    assert changed.sentences["fish"] == 2 and len(read) == 3, "another corpus now"
