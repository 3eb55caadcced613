"""Tables over runs: leaks, answer flow, judge agreement, classes, failures."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepsight.scoring.judges.label_match import LabelMatch
from keepsight.scoring.tables import (
    NO_ANSWER,
    agreement_table,
    answer_flow,
    answer_of,
    cohen_kappa,
    failure_counts,
    leak_share,
    leak_table,
    per_class,
)
from keepsight.scoring.taxonomy import Taxonomy
from keepsight.types import MetricValue, Output, Record, Run, Sample, Score
from tests.scoring.conftest import make_run

NAN = math.nan
CIFAR10 = json.loads((Path(__file__).parent / "data" / "emt_examples.json").read_text())["labels"]["CIFAR-10"]


def judged(rows, labels, foreign=None):
    """A run of (truth, text) scored by the label judge and the taxonomy."""
    samples = [Sample(f"s{index}", "What is it?", target=(truth,)) for index, (truth, _) in enumerate(rows)]
    outputs = [Output(text or "", error=None if text is not None else "broken picture") for _, text in rows]
    scorers = LabelMatch(labels), Taxonomy(labels, foreign)
    columns = {scorer.name: scorer(samples, outputs) for scorer in scorers}
    records = [
        Record(sample, output, {name: column[index] for name, column in columns.items()})
        for index, (sample, output) in enumerate(zip(samples, outputs))
    ]
    metric = MetricValue("accuracy", NAN, NAN, NAN, 0, len(rows))
    return Run({"scorer": "label", "checkpoint": "m"}, tuple(records), (metric,))


# ---- leaks ----

# EMT Table 3: miniImagenet classes asked after tuning on CIFAR-10; counts that give the printed shares
TABLE_3 = [
    (
        "African_hunting_dog",
        {"dog": 82, "deer": 32, "bird": 8, "cat": 6, "horse": 4},
        ["dog: 62.12", "deer: 24.24", "bird: 6.06"],
    ),
    (
        "arctic_fox",
        {"dog": 50, "cat": 12, "deer": 3, "bird": 2, "horse": 1},
        ["dog: 73.53", "cat: 17.65", "deer: 4.41"],
    ),
    ("Tibetan_mastiff", {"dog": 114, "horse": 2}, ["dog: 98.28", "horse: 1.72"]),
]


def test_leak_table_gives_the_published_shares():
    rows = [
        (truth, f"The object is a(n) {answer}.")
        for truth, answers, _ in TABLE_3
        for answer, k in answers.items()
        for _ in range(k)
    ]
    table = leak_table(judged(rows, [truth for truth, _, _ in TABLE_3], {"CIFAR-10": CIFAR10}))
    assert [row.truth for row in table] == [truth for truth, _, _ in TABLE_3]
    for row, (_, answers, published) in zip(table, TABLE_3):
        assert [f"{a.answer}: {100 * a.share:.2f}" for a in row.answers] == published
        assert row.n == sum(answers.values())
        assert row.others == row.n - sum(a.count for a in row.answers)


def test_leak_table_lists_all_answers_on_request_and_none_as_none():
    run = judged(
        [("cat", "dog"), ("cat", "dog"), ("cat", "ape"), ("cat", ""), ("dog", "dog")], ["cat", "dog"]
    )
    cat, dog = leak_table(run, top=None)
    assert [(a.answer, a.count, a.share) for a in cat.answers] == [
        ("dog", 2, 0.5),
        (NO_ANSWER, 1, 0.25),
        ("ape", 1, 0.25),
    ]
    assert (cat.others, dog.n) == (0, 1)


def test_leak_share_counts_foreign_labels_that_are_not_own():
    rows = [
        ("cat", "a lion"),
        ("cat", "a cat"),
        ("cat", "a lion and a cat"),
        ("cat", "no lion"),
        ("dog", "a dog"),
        ("cat", None),
    ]
    share = leak_share(judged(rows, ["cat", "dog"]), ["lion", "dog"])
    assert (share.count, share.n, share.share) == (1, 5, 0.2)
    assert 0 < share.low < 0.2 < share.high < 1
    assert math.isnan(leak_share(judged([], ["cat", "dog"]), ["lion"]).share)


# ---- answers before and after ----


def test_answer_flow_says_what_became_of_each_answer():
    truths = ["cat", "cat", "cat", "dog", "dog"]
    before = judged(list(zip(truths, ["cat", "cat", "a dog", "dog", "dog"])), ["cat", "dog"])
    after = judged(
        list(zip(truths, ["8", "8", "cat", "dog", ""])), ["cat", "dog"], {"digits": list("0123456789")}
    )
    flows = answer_flow(before, after)
    assert [(f.truth, f.before, f.after, f.count, f.right_before, f.right_after) for f in flows] == [
        ("cat", "cat", "8", 2, 2, 0),
        ("cat", "dog", "cat", 1, 0, 1),
        ("dog", "dog", NO_ANSWER, 1, 1, 0),
        ("dog", "dog", "dog", 1, 1, 1),
    ]
    assert flows[0].sample_ids == ("s0", "s1")
    assert sum(flow.share for flow in flows) == pytest.approx(1)
    assert answer_flow(before, after, top=1) == flows[:1]


def test_answer_flow_leaves_out_what_one_run_did_not_ask():
    before, after = judged([("cat", "cat"), ("cat", "cat")], ["cat"]), judged([("cat", "cat")], ["cat"])
    (flow,) = answer_flow(before, after)
    assert (flow.count, flow.share) == (1, 1.0)


def test_the_answer_is_the_taxonomys_then_the_label_judges():
    sample = Sample("s", "p", target=("cat",))
    scores = {"llm": Score(1.0, "raw"), "label": Score(1.0, "cat"), "taxonomy": Score(1.0, None, "unparsed")}
    assert answer_of(Record(sample, Output(""), scores)) == NO_ANSWER
    del scores["taxonomy"]
    assert answer_of(Record(sample, Output(""), scores)) == "cat"
    del scores["label"]
    assert answer_of(Record(sample, Output(""), scores)) == "raw"
    assert answer_of(Record(sample, Output(""), {})) == NO_ANSWER


# ---- judges ----


def test_cohens_kappa_of_a_known_example():
    assert cohen_kappa(20, 5, 10, 15) == pytest.approx(0.4)
    assert cohen_kappa(45, 15, 25, 15) == pytest.approx(0.1304, abs=1e-4)
    assert cohen_kappa(25, 35, 5, 35) == pytest.approx(0.2593, abs=1e-4)


def test_kappa_without_any_variation_is_unknown():
    assert math.isnan(cohen_kappa(10, 0, 0, 0))
    assert math.isnan(cohen_kappa(0, 0, 0, 10))
    assert math.isnan(cohen_kappa(0, 0, 0, 0))
    assert cohen_kappa(10, 0, 0, 10) == 1
    assert cohen_kappa(0, 10, 10, 0) == -1


@given(st.tuples(*[st.integers(0, 30)] * 4))
def test_kappa_is_symmetric_and_bounded(counts):
    both, first, second, neither = counts
    kappa = cohen_kappa(both, first, second, neither)
    if not math.isnan(kappa):
        assert -1 <= kappa <= 1 + 1e-12
        assert cohen_kappa(both, second, first, neither) == pytest.approx(kappa)
        assert cohen_kappa(neither, first, second, both) == pytest.approx(kappa)


def test_agreement_names_the_disputed_records():
    llm = [Score(1.0), Score(0.0), Score(NAN, status="judge_failed"), Score(1.0), Score(0.0)]
    run = make_run([1, 1, 1, 0, 0], extra={"llm": llm})
    (table,) = agreement_table(run)
    assert (table.first, table.second, table.n, table.agree, table.unscored) == ("label", "llm", 4, 2, 1)
    assert (table.only_first, table.only_second, table.disagreements) == ((1,), (3,), (1, 3))
    assert table.share == 0.5
    assert table.kappa == pytest.approx(0)
    assert table.low < 0.5 < table.high


def test_agreement_compares_every_pair_of_judges_once():
    extra = {name: [Score(1.0)] for name in ("embedding", "llm")}
    tables = agreement_table(make_run([1.0], extra=extra))
    assert [(t.first, t.second) for t in tables] == [
        ("label", "embedding"),
        ("label", "llm"),
        ("embedding", "llm"),
    ]
    assert agreement_table(make_run([])) == []


# ---- classes ----


def test_per_class_pairs_and_corrects_class_by_class():
    targets = ["cat"] * 40 + ["dog"] * 40
    before = make_run([1] * 40 + [1] * 38 + [0] * 2, targets=targets)
    after = make_run([0] * 30 + [1] * 10 + [1] * 38 + [0] * 2, targets=targets)
    cat, dog = per_class(before, after)
    assert (cat.label, cat.n, cat.before, cat.after, cat.lost, cat.gained) == ("cat", 40, 1.0, 0.25, 30, 0)
    assert cat.verdict == "forgotten"
    assert (dog.difference, dog.verdict, dog.p) == (0.0, "no evidence", 1.0)
    assert dog.low < 0 < dog.high


def test_more_classes_need_stronger_evidence():
    def changes(classes):
        targets = [f"c{k}" for k in range(classes) for _ in range(20)]
        return per_class(
            make_run([1] * 20 * classes, targets=targets),
            make_run(([0] * 7 + [1] * 13) * classes, targets=targets),
        )

    assert {change.verdict for change in changes(2)} == {"forgotten"}
    assert {change.verdict for change in changes(9)} == {"no evidence"}
    assert changes(9)[0].p_adjusted == pytest.approx(9 * changes(9)[0].p)


def test_per_class_counts_what_cannot_be_paired():
    before = make_run([1, NAN, 1], ids=["a", "b", "c"], targets=["cat", "cat", "dog"])
    after = make_run([1, 1, 0], ids=["a", "b", "d"], targets=["cat", "cat", "owl"])
    changes = {change.label: (change.n, change.unpaired) for change in per_class(before, after)}
    assert changes == {"cat": (1, 1), "dog": (0, 1), "owl": (0, 1)}


# ---- failures ----


def test_failure_counts_list_every_category_and_flag():
    rows = [
        ("cat", "a cat"),
        ("cat", "a dog"),
        ("cat", "cat, dog"),
        ("cat", "8"),
        ("cat", ""),
        ("cat", "I'm sorry, I cannot identify it."),
        ("cat", None),
    ]
    counts = failure_counts(judged(rows, ["cat", "dog"], {"digits": list("0123456789")}))
    assert counts.n == 7
    assert counts.categories == {"correct": 1, "incorrect": 2, "intrinsic": 1, "extrinsic": 0, "no_answer": 2}
    assert counts.flags == {"contains_truth": 1, "leak:digits": 1, "multiple_labels": 1, "refusal": 1}
    assert counts.statuses == {"ok": 3, "unparsed": 2, "error": 1, "refused": 1}


def test_failure_counts_without_a_taxonomy():
    counts = failure_counts(make_run([1, 0]))
    assert set(counts.categories.values()) == {0}
    assert counts.statuses == {"ok": 2}
