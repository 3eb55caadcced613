"""Verdicts on drops: pairing by id, the choice of the reference, correction over the family."""

import dataclasses
import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepsight.scoring.forgetting import Drop, forgetting, incomparable_cells, pair_runs, verdict_of
from keepsight.scoring.statistics import holm, mcnemar_exact, tango
from keepsight.types import KeepsightError, Media, Score
from tests.scoring.conftest import make_matrix, make_run

NAN = math.nan


def values(right, wrong):
    return [1.0] * right + [0.0] * wrong


def cells(**columns):
    """{(row, col): run} from col={row: values}."""
    return {
        (row, col): make_run(v, checkpoint=row) for col, rows in columns.items() for row, v in rows.items()
    }


def by_cell(drops):
    return {(drop.row, drop.col): drop for drop in drops}


def test_a_real_drop_is_forgotten_and_a_small_one_is_not():
    matrix = make_matrix(
        cells(
            a={"base": values(90, 10), "tuned": values(40, 60)},
            b={"base": values(90, 10), "tuned": values(88, 12)},
        )
    )
    drops = by_cell(matrix.forgetting())
    lost = drops["tuned", "a"]
    assert (lost.reference_row, lost.reference, lost.current, lost.n) == ("base", 0.9, 0.4, 100)
    assert lost.difference == pytest.approx(0.5)
    assert (lost.lost, lost.gained, lost.unpaired, lost.method) == (50, 0, 0, "mcnemar")
    assert lost.verdict == "forgotten"
    assert 0 < lost.low < 0.5 < lost.high < 1
    assert drops["tuned", "b"].verdict == "no evidence"
    assert drops["tuned", "b"].difference == pytest.approx(0.02)


def test_a_gain_is_improved():
    matrix = make_matrix(cells(a={"base": values(10, 90), "tuned": values(90, 10)}))
    (drop,) = forgetting(matrix)
    assert (drop.verdict, drop.difference) == ("improved", pytest.approx(-0.8))
    assert drop.high < 0


def test_only_samples_scored_in_both_are_compared():
    before = make_run([1, 1, 1, NAN, 0], ids=["a", "b", "c", "d", "gone"])
    after = make_run([0, NAN, 1, 1, 0], ids=["a", "b", "c", "d", "new"])
    (drop,) = forgetting(make_matrix({("base", "t"): before, ("x", "t"): after}))
    assert (drop.n, drop.reference, drop.current, drop.lost) == (2, 1.0, 0.5, 1)
    assert drop.unpaired == 4  # b, d, gone, new


def test_pairs_are_joined_by_id_not_by_place():
    before = make_run([1, 0, 0], ids=["a", "b", "c"])
    after = make_run([0, 0, 1], ids=["c", "b", "a"])
    pairing = pair_runs(before, after)
    assert (pairing.ids, pairing.reference, pairing.current) == (("a", "b", "c"), (1, 0, 0), (1, 0, 0))


def test_nothing_in_common_is_no_evidence():
    matrix = make_matrix({("base", "t"): make_run([1.0], ids=["a"]), ("x", "t"): make_run([0.0], ids=["b"])})
    (drop,) = forgetting(matrix)
    assert (drop.n, drop.unpaired, drop.p, drop.verdict) == (0, 2, 1.0, "no evidence")
    assert math.isnan(drop.difference)


def test_a_repeated_id_is_refused():
    with pytest.raises(KeepsightError, match="sample id a comes twice in the run x"):
        pair_runs(make_run([1.0], ids=["a"]), make_run([1.0, 0.0], ids=["a", "a"], checkpoint="x"))


def test_one_id_for_two_questions_is_refused():
    before, after = make_run([1.0], targets=["cat"]), make_run([1.0], targets=["dog"], checkpoint="x")
    with pytest.raises(KeepsightError, match="sample s0 has another target in x than in m"):
        pair_runs(before, after)


def with_samples(run, **change):
    records = [dataclasses.replace(r, sample=dataclasses.replace(r.sample, **change)) for r in run.records]
    return dataclasses.replace(run, records=tuple(records))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda run: with_samples(run, target=("dog",)), "another target in x than in base"),
        (lambda run: with_samples(run, prompt="And now?"), "another prompt in x than in base"),
        (lambda run: with_samples(run, media=(Media(data=b"other"),)), "another picture in x than in base"),
        (lambda run: make_run(values(60, 40), scorer="llm", checkpoint="x"), "scored by label and llm"),
        (
            lambda run: dataclasses.replace(run, manifest={**run.manifest, "scorers": {"label": "2"}}),
            r"different versions of label \(1, 2\)",
        ),
        (
            lambda run: dataclasses.replace(run, manifest={**run.manifest, "task_version": "2"}),
            "versions 1 and 2 of the task",
        ),
        (lambda run: dataclasses.replace(run, records=run.records * 2), "comes twice in the run x"),
    ],
)
def test_a_cell_that_asked_something_else_is_marked_and_costs_no_other_cell(change, why):
    rule = {"scorers": {"label": "1"}, "task_version": "1"}

    def run(right, checkpoint):
        made = make_run(values(right, 100 - right), checkpoint=checkpoint)
        return dataclasses.replace(made, manifest={**made.manifest, **rule})

    cells_there = {("base", "a"): run(90, "base"), ("x", "a"): change(run(60, "x"))}
    cells_there |= {("base", "b"): run(90, "base"), ("x", "b"): run(60, "x")}
    marked, kept = forgetting(make_matrix(cells_there))
    assert (marked.row, marked.col, marked.verdict, marked.n) == ("x", "a", "not comparable", 0)
    assert re.search(why, marked.why) and math.isnan(marked.difference) and math.isnan(marked.low)
    alone = {cell: its for cell, its in cells_there.items() if cell[1] == "b"}
    assert [kept] == forgetting(make_matrix(alone))  # no part of the family
    assert incomparable_cells(make_matrix(cells_there)) == {("x", "a"): marked.why}


def test_an_unreadable_picture_is_left_out_not_compared():
    runs = [make_run([NAN, 1.0], checkpoint=name) for name in ("base", "x")]
    for run in runs:
        object.__setattr__(run.records[0].sample, "media", (Media(path=Path("nowhere.png")),))
    (drop,) = forgetting(make_matrix({("base", "t"): runs[0], ("x", "t"): runs[1]}))
    assert (drop.n, drop.unpaired) == (1, 1)


def test_samples_of_one_picture_are_one_cluster():
    clusters = [f"picture {index // 5}" for index in range(60)]
    runs = [make_run(v, clusters=clusters) for v in (values(60, 0), values(40, 20))]
    (drop,) = forgetting(make_matrix({("base", "t"): runs[0], ("x", "t"): runs[1]}))
    assert (drop.method, drop.n, drop.lost) == ("sign flip", 60, 20)
    assert drop.p == pytest.approx(2 / 2**4, abs=0.01)  # four pictures changed, not twenty samples
    assert drop.verdict == "no evidence"


def test_values_other_than_0_and_1_are_bootstrapped():
    before = make_run([0.5 + 0.01 * (index % 7) for index in range(80)])
    after = make_run([0.3 + 0.01 * (index % 11) for index in range(80)])
    (drop,) = forgetting(make_matrix({("base", "t"): before, ("x", "t"): after}))
    assert (drop.method, drop.verdict) == ("bootstrap", "forgotten")


# ---- the family ----


def family(count, lost=8, n=60):
    return cells(
        **{f"t{index:02}": {"base": values(n, 0), "tuned": values(n - lost, lost)} for index in range(count)}
    )


def test_the_same_drop_needs_more_in_a_larger_family():
    assert {drop.verdict for drop in forgetting(make_matrix(family(2)))} == {"forgotten"}
    assert {drop.verdict for drop in forgetting(make_matrix(family(20)))} == {"no evidence"}


def test_adjusted_p_values_are_holms_over_all_comparisons():
    matrix = make_matrix(
        cells(**{f"t{k}": {"base": values(50, 0), "x": values(50 - k, k)} for k in range(11)})
    )
    drops = forgetting(matrix)
    assert [drop.p for drop in drops] == pytest.approx([mcnemar_exact(k, 0) for k in range(11)])
    assert [drop.p_adjusted for drop in drops] == pytest.approx(holm([drop.p for drop in drops]))
    assert [drop.verdict for drop in drops] == ["no evidence"] * 9 + ["forgotten"] * 2
    assert [drop.level for drop in drops] == pytest.approx(
        [1 - 0.05 / m for m in (9, 9, 9, 9, 9, 9, 9, 9, 9, 10, 11)]  # the two strongest survive
    )


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.integers(0, 25), min_size=3, max_size=3), min_size=1, max_size=4),
    st.sampled_from([0.8, 0.95, 0.99]),
)
def test_verdict_interval_and_adjusted_p_tell_one_story(losses, level):
    rows = {f"r{index}": row for index, row in enumerate(losses)}
    columns = {
        f"t{col}": {"base": values(25, 15)}
        | {name: values(25 - row[col], 15 + row[col]) for name, row in rows.items()}
        for col in range(3)
    }
    for drop in forgetting(make_matrix(cells(**columns)), level=level):
        assert drop.verdict == verdict_of(drop.low, drop.high)
        assert (drop.verdict != "no evidence") == (drop.p_adjusted < 1 - level)
        assert drop.low <= drop.difference <= drop.high
        assert drop.difference == pytest.approx(drop.reference - drop.current)
        assert drop.p <= drop.p_adjusted


def test_the_order_of_rows_and_columns_does_not_matter():
    whole = cells(
        a={"base": values(50, 10), "x": values(35, 25), "y": values(48, 12)},
        b={"base": values(30, 30), "x": values(30, 30), "y": values(10, 50)},
    )
    turned = dict(reversed(whole.items()))
    turned = {("base", col): whole["base", col] for col in ("b", "a")} | turned
    first, second = by_cell(forgetting(make_matrix(whole))), by_cell(forgetting(make_matrix(turned)))
    assert first == second


# ---- references ----


def test_base_is_the_first_row_and_has_no_drop_itself():
    matrix = make_matrix(cells(a={"base": values(5, 5), "x": values(5, 5), "y": values(4, 6)}))
    assert [(drop.row, drop.reference_row) for drop in forgetting(matrix)] == [("x", "base"), ("y", "base")]


def test_own_is_the_last_row_tuned_on_the_column():
    rows = {name: values(9, 1) for name in ("base", "a1", "a2", "b1", "c1", "a3", "d1")}
    tuned_on = {"a1": "a", "a2": "a", "b1": "b", "c1": "c", "a3": "a"}
    matrix = make_matrix(cells(a=rows, b=rows), {"tuned_on": tuned_on})
    assert [(d.row, d.col, d.reference_row) for d in forgetting(matrix, "own")] == [
        ("b1", "a", "a2"),
        ("c1", "a", "a2"),
        ("c1", "b", "b1"),
        ("a3", "b", "b1"),
        ("d1", "a", "a3"),
        ("d1", "b", "b1"),
    ]


def test_own_without_knowing_what_was_tuned_on_is_refused():
    with pytest.raises(KeepsightError, match="tuned_on"):
        forgetting(make_matrix(cells(a={"base": values(1, 1)})), "own")


def test_best_is_the_best_row_so_far():
    scores = {"base": values(50, 50), "x": values(80, 20), "y": values(60, 40), "z": values(90, 10)}
    drops = forgetting(make_matrix(cells(a=scores)), "best")
    assert [(drop.row, drop.reference_row) for drop in drops] == [("y", "x")]
    assert drops[0].against == "best"
    assert drops[0].verdict == "forgotten"


def test_best_of_equals_is_the_earlier():
    drops = forgetting(make_matrix(cells(a={"base": values(5, 5), "x": values(5, 5)})), "best")
    assert [(drop.row, drop.reference_row) for drop in drops] == [("x", "base")]


def test_best_ignores_rows_without_any_score():
    drops = forgetting(
        make_matrix(cells(a={"base": [NAN] * 10, "x": values(5, 5), "y": values(4, 6)})), "best"
    )
    assert [(drop.row, drop.reference_row) for drop in drops] == [("y", "x")]


def test_an_unknown_reference_is_refused():
    with pytest.raises(KeepsightError, match='"base", "own" or "best"'):
        forgetting(make_matrix(cells(a={"base": values(1, 1)})), "first")


def test_missing_cells_are_left_out():
    whole = cells(a={"base": values(5, 5), "x": values(5, 5)}, b={"base": values(5, 5), "x": values(5, 5)})
    del whole["x", "a"]
    matrix = dataclasses.replace(make_matrix(whole), rows=("base", "x"), cols=("a", "b"))
    assert [(drop.row, drop.col) for drop in forgetting(matrix)] == [("x", "b")]
    del whole["base", "b"]
    assert forgetting(matrix) == []


def test_a_drop_is_plain_data():
    (drop,) = forgetting(make_matrix(cells(a={"base": values(9, 1), "x": values(1, 9)})))
    assert Drop(**dataclasses.asdict(drop)) == drop
    assert all(type(value) in (str, int, float) for value in dataclasses.asdict(drop).values())


@pytest.mark.parametrize(("bounds", "span"), [((0.0, 1.0), 1), ((-1.0, 3.0), 4), (None, 0)])
def test_graded_scores_that_stay_the_same_are_not_certain_where_their_bounds_are_told(bounds, span):
    graded = {"graded": [Score(0.3, bounds=bounds)] * 20}
    run = make_run([0] * 20, extra=graded, scorer="label")
    run = dataclasses.replace(run, manifest={**run.manifest, "scorer": "graded"})
    (drop,) = forgetting(make_matrix({("base", "a"): run, ("tuned", "a"): run}))
    assert pair_runs(run, run).bounds == bounds and drop.difference == 0
    assert (drop.low, drop.high) == pytest.approx([span * end for end in tango(0, 0, 20)])
