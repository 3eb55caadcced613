"""Continual figures: every published matrix recomputed, formulas against each other, intervals that cover, errors that name."""

import json
import math
import time
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepsight.scoring.continual import (
    METRICS,
    average_accuracy,
    average_of_row,
    backward_transfer,
    continual_difference,
    continual_metrics,
    forward_transfer,
    interval_of,
    learning_accuracy,
    maximal_forgetting,
    mean_average_accuracy,
)
from keepsight.scoring.statistics import tango, wilson
from keepsight.types import KeepsightError, Score
from tests.scoring.conftest import make_matrix, make_run

COIN = json.loads((Path(__file__).parent / "coin_tables.json").read_text())
MATRICES = {name: [[float(cell) for cell in row] for row in rows] for name, rows in COIN["matrices"].items()}


def printed(value: float) -> str:
    """Two digits as CoIN rounds: exact halves away from zero (all of its ties but one)."""
    return str(Decimal(repr(round(value, 9))).quantize(Decimal("0.01"), ROUND_HALF_UP))


# The only last digits that do not follow, (matrix, figure) -> what is printed.
OTHERWISE = {
    ("7", "BWT"): "-32.62",  # exactly -32.625: this half goes to the even digit
    ("19", "BWT"): "-19.89",  # -19.89625: cut off instead of rounded
}


@pytest.mark.parametrize("line", COIN["printed"], ids=lambda line: f"table {line['table']}, {line['label']}")
def test_published_figures_are_recomputed(line):
    matrix = MATRICES[line["matrix"]]
    found = {
        "ACC": average_accuracy(matrix),
        "MAA": mean_average_accuracy(matrix),
        "BWT": backward_transfer(matrix, "coin_tables"),
    }
    for name, value in found.items():
        published = str(Decimal(line[name]).quantize(Decimal("0.01")))
        assert published == OTHERWISE.get((line["matrix"], name), printed(value))
        assert (line["matrix"], name) not in OTHERWISE or printed(value) != published
    assert printed(backward_transfer(matrix)) != published, "the formula's T - 1 gives no printed BWT"
    wrong = [
        place
        for place in range(8)
        if float(line["learnt"][place]) != matrix[place][place]
        or float(line["final"][place]) != matrix[-1][place]
    ]
    assert wrong == ([7] if line["label"] == "Type1 0.2" else []), (
        "Table 4 prints OCR-VQA of its pair's other line"
    )


def test_all_32_matrices_have_their_figures():
    assert sorted(MATRICES, key=int) == [str(number) for number in range(7, 39)]
    assert {line["matrix"] for line in COIN["printed"]} == {str(n) for n in [*range(7, 29)]}
    for rows in MATRICES.values():
        cells = [(i, j, rows[i][j]) for i in range(8) for j in range(i + 1)]
        since = [rows[7][j] - rows[j][j] for j in range(7)]
        assert average_accuracy(rows) == pytest.approx(sum(rows[7]) / 8)
        assert backward_transfer(rows) == pytest.approx(sum(since) / 7)
        assert backward_transfer(rows, "coin_tables") == pytest.approx(sum(since) / 8)
        assert mean_average_accuracy(rows) == pytest.approx(sum(x / (i + 1) for i, _, x in cells) / 8)
        assert learning_accuracy(rows) == pytest.approx(sum(rows[i][i] for i in range(8)) / 8)
        best = [max(x for i, k, x in cells if k == j and i < 7) - rows[7][j] for j in range(7)]
        assert maximal_forgetting(rows) == pytest.approx(sum(best) / 7)
    assert MATRICES["35"] == MATRICES["36"], "published so: 40 % of the data repeats the table of 20 %"


@pytest.mark.parametrize(
    "line", COIN["baselines"], ids=lambda line: f"table {line['table']}, {line['label']}"
)
def test_published_baselines_are_plain_means(line):
    assert printed(math.fsum(map(float, line["values"])) / 8) == str(
        Decimal(line["mean"]).quantize(Decimal("0.01"))
    )


# ---- formulas ----

scores = st.floats(0, 100, allow_nan=False)


@st.composite
def triangles(draw, least=1):
    size = draw(st.integers(least, 6))
    return [draw(st.lists(scores, min_size=row, max_size=row)) for row in range(1, size + 1)]


@given(triangles(2))
def test_formulas_hold_together(rows):
    size = len(rows)
    assert backward_transfer(rows) * (size - 1) == pytest.approx(
        backward_transfer(rows, "coin_tables") * size
    )
    assert maximal_forgetting(rows) >= -backward_transfer(rows) - 1e-9
    after = [rows[-1][:-1], [rows[place][place] for place in range(size - 1)]]
    mean = [math.fsum(each) / (size - 1) for each in after]
    assert backward_transfer(rows) == pytest.approx(mean[0] - mean[1], abs=1e-9)
    for figure in (average_accuracy, mean_average_accuracy, learning_accuracy):
        assert min(map(min, rows)) - 1e-9 <= figure(rows) <= max(map(max, rows)) + 1e-9


@given(st.lists(scores, min_size=2, max_size=6))
def test_nothing_changes_after_learning(learnt):
    rows = [learnt[: stage + 1] for stage in range(len(learnt))]
    assert backward_transfer(rows) == maximal_forgetting(rows) == 0
    assert average_accuracy(rows) == pytest.approx(learning_accuracy(rows))


@given(scores, st.integers(1, 6))
def test_constant_scores_have_one_average(value, size):
    rows = [[value] * (stage + 1) for stage in range(size)]
    assert average_accuracy(rows) == pytest.approx(mean_average_accuracy(rows)) == pytest.approx(value)


@settings(max_examples=40)
@given(triangles(2), st.data())
def test_what_stands_above_the_diagonal_matters_to_forward_transfer_only(rows, data):
    size = len(rows)
    above = [[data.draw(scores | st.just(math.nan)) for _ in range(size)] for _ in range(size)]
    full = [[*row, *above[place][len(row) :]] for place, row in enumerate(rows)]
    for figure in (
        average_accuracy,
        backward_transfer,
        mean_average_accuracy,
        maximal_forgetting,
        learning_accuracy,
    ):
        assert figure(full) == figure(rows)
        assert figure(np.array(full)) == figure(rows)


def test_forward_transfer_of_a_known_case():
    rows = [[9, 3, 1], [0, 9, 5], [0, 0, 9]]
    assert forward_transfer(rows, [1, 1, 1]) == ((3 - 1) + (5 - 1)) / 2
    assert math.isnan(forward_transfer([[9]], [1]))
    with pytest.raises(KeepsightError, match="just before"):
        forward_transfer([[9], [0, 9]], [1, 1])
    with pytest.raises(KeepsightError, match="2 tasks need as many scores of the base, not 1"):
        forward_transfer([[9], [0, 9]], [1])


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([], "T rows"),
        ([[1], [1]], "at least i"),
        ([[1, 2, 3], [1, 2]], "at most T"),
        ([[1], [math.nan, 2]], "stage 2 on task 1 is missing"),
        ([[1, 0], [1, math.inf]], "stage 2 on task 2 is missing"),
    ],
)
def test_a_broken_triangle_is_named(rows, told):
    with pytest.raises(KeepsightError, match=told):
        average_accuracy(rows)


def test_a_single_task_has_nothing_to_forget():
    assert math.isnan(backward_transfer([[5]])) and math.isnan(maximal_forgetting([[5]]))
    assert average_accuracy([[5]]) == mean_average_accuracy([[5]]) == learning_accuracy([[5]]) == 5
    with pytest.raises(KeepsightError, match='"formula" or "coin_tables"'):
        backward_transfer([[5]], "table")


# ---- result matrices ----


def sequence(shares, *, n=40, unseen=0, seed=0, clusters=None, skip=(), order=None, extra=None, names="t{}"):
    """A matrix with the given share right per cell: `shares` [1 + T][T + unseen], base first; `skip` cells are missing."""
    rng = np.random.default_rng(seed)
    stages = len(shares) - 1
    rows = ["base", *(f"stage-{stage}" for stage in range(1, stages + 1))]
    cols = [names.format(col) for col in range(stages + unseen)]
    hard = {col: rng.random(n) for col in cols}
    cells = {
        (row, col): make_run(
            (hard[col] < shares[at][place]).astype(float),
            ids=[f"{col}/{i}" for i in range(n)],
            clusters=clusters,
            checkpoint=row,
            extra=extra,
        )
        for at, row in enumerate(rows)
        for place, col in enumerate(cols)
        if (row, col) not in skip
    }
    order = order or cols[:stages]
    return make_matrix(cells, {"tuned_on": dict(zip(rows[1:], order))})


FORGETS = [[0.2, 0.1, 0.3, 0.8], [0.9, 0.2, 0.3, 0.7], [0.5, 0.9, 0.4, 0.6], [0.3, 0.6, 0.9, 0.4]]


def test_figures_of_a_matrix_are_those_of_its_means():
    found = continual_metrics(sequence(FORGETS, unseen=1), n_resamples=200)
    assert found.tasks == ("t0", "t1", "t2") and found.unseen == ("t3",)
    rows, base = [row[:3] for row in found.means[1:]], found.means[0]
    expected = {
        "zero_shot": sum(base[:3]) / 3,
        "average_accuracy": average_accuracy(rows),
        "backward_transfer": backward_transfer(rows),
        "backward_transfer_coin_tables": backward_transfer(rows, "coin_tables"),
        "mean_average_accuracy": mean_average_accuracy(rows),
        "forward_transfer": forward_transfer(rows, base[:3]),
        "maximal_forgetting": maximal_forgetting(rows),
        "learning_accuracy": learning_accuracy(rows),
        "unseen": found.means[3][3] - base[3],
    }
    assert {name: figure.value for name, figure in found.figures.items()} == pytest.approx(expected)
    assert set(METRICS) == set(expected) and found.why_not == {}
    assert {name: figure.n for name, figure in found.figures.items()} == {
        **dict.fromkeys(METRICS, 120),
        **dict.fromkeys(("backward_transfer", "backward_transfer_coin_tables"), 80),
        **dict.fromkeys(("forward_transfer", "maximal_forgetting"), 80),
        "unseen": 40,
    }


@settings(max_examples=25)
@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=3, max_size=3), st.integers(0, 9))
def test_an_interval_holds_its_figure(shares, seed):
    matrix = sequence(shares, unseen=1, n=8, seed=seed)
    found = continual_metrics(matrix, n_resamples=60)
    other = continual_difference(matrix, sequence(shares[::-1], unseen=1, n=8, seed=seed), n_resamples=60)
    for figure in [*found.figures.values(), *other.figures.values()]:
        assert figure.low <= figure.value <= figure.high
    assert found["maximal_forgetting"].value >= -found["backward_transfer"].value - 1e-12


@pytest.mark.parametrize("order", [1, -1])
def test_an_interval_ends_where_no_score_can_go(order):
    """All that was learnt is lost, of few samples; backwards: all comes late."""
    lost = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    late = [[1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0]]
    pair = [sequence(shares, n=5) for shares in (lost, late)[::order]]
    found = continual_metrics(pair[0], n_resamples=100)
    assert found["backward_transfer"].value == -order and found["learning_accuracy"].value == (order == 1)
    paired = continual_difference(*pair, n_resamples=100)
    for name in METRICS[:-1]:
        score = name.endswith("accuracy")
        most = 2 / 3 if name.endswith("tables") else 1
        assert -(0 if score else most) <= found[name].low <= found[name].high <= most
        assert (
            -most * (1 if score else 2) <= paired[name].low <= paired[name].high <= most * (1 if score else 2)
        )
    reached = found["backward_transfer"], paired["backward_transfer"]
    assert [figure.low if order == 1 else figure.high for figure in reached] == [-order, -2 * order]


def test_an_interval_is_widened_to_a_figure_that_noise_flatters():
    draws = np.linspace(0.6, 0.7, 1001)  # every draw's best of several is better than the best of all
    assert interval_of(0.5, draws, 0.95) == (0.5, pytest.approx(0.6975, abs=1e-3))
    assert interval_of(0.8, draws, 0.95) == (pytest.approx(0.6025, abs=1e-3), 0.8)
    unknown = np.where(np.arange(1001) < 30, np.nan, draws)
    assert all(math.isnan(end) for end in interval_of(0.65, unknown, 0.95))
    assert interval_of(0.65, np.where(np.arange(1001) < 20, np.nan, draws), 0.95)[0] > 0.6


def backwards(matrix):
    """The same matrix, its samples and cells in the other order."""
    runs = {
        cell: make_run(
            [record.scores["label"].value for record in reversed(run.records)],
            ids=[record.sample.id for record in reversed(run.records)],
        )
        for cell, run in reversed(list(matrix.runs.items()))
    }
    return type(matrix)(matrix.rows, matrix.cols[::-1], runs, matrix.meta)


def test_nothing_depends_on_names_or_on_the_order_of_samples():
    matrix = sequence(FORGETS, unseen=1)
    same = [matrix, sequence(FORGETS, unseen=1, names="task {}"), backwards(matrix)]
    figures = [continual_metrics(each, n_resamples=300).figures for each in same]
    assert figures[0] == figures[1] == figures[2]
    assert continual_metrics(matrix, n_resamples=300, seed=1).figures != figures[0]
    paired = continual_difference(matrix, backwards(matrix), n_resamples=300)
    assert all(unchanged(figure) for figure in paired.figures.values())


def test_columns_are_drawn_apart():
    """Two tasks with the same scores tell more than one."""
    runs = sequence([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]], n=100).runs
    both = make_matrix(
        {
            (row, col): make_run([r.scores["label"].value for r in runs[row, "t0"].records])
            for row, col in runs
        },
        {"tuned_on": {"stage-1": "t0", "stage-2": "t1"}},
    )
    found = continual_metrics(both, n_resamples=1000)["average_accuracy"]
    alone = average_of_row(both, "base", ["t0"], n_resamples=1000)
    assert found.value == alone.value and (alone.n, alone.total) == (100, 100)
    assert (found.high - found.low) / (alone.high - alone.low) == pytest.approx(2**-0.5, abs=0.1)


def test_no_change_in_any_draw_leaves_what_so_few_samples_cannot_exclude():
    matrix = sequence([[0.1, 0.1, 0.5], [0.7, 0.1, 0.5], [0.7, 0.6, 0.5]], unseen=1)
    found = continual_metrics(matrix, n_resamples=500)
    for name in ("backward_transfer", "maximal_forgetting", "unseen"):
        assert found[name].n == 40 and unchanged(found[name])
    same = continual_difference(matrix, matrix, n_resamples=500)
    assert all(unchanged(figure) for figure in same.figures.values())
    right = continual_metrics(sequence([[0, 0], [1, 0], [1, 1]]), n_resamples=100)
    for name in ("average_accuracy", "mean_average_accuracy", "learning_accuracy"):
        assert (right[name].low, right[name].high) == pytest.approx(wilson(80, 80))


def unchanged(figure):
    """No draw changes anything: the interval is that of as many pairs without a change."""
    return figure.value == 0 and (figure.low, figure.high) == pytest.approx(tango(0, 0, figure.n))


def test_a_paired_difference_is_narrower_than_two_figures():
    kept = [[0.2, 0.1, 0.3, 0.8], [0.9, 0.2, 0.3, 0.75], [0.6, 0.9, 0.4, 0.7], [0.4, 0.7, 0.9, 0.5]]
    first, second = sequence(kept, unseen=1), sequence(FORGETS, unseen=1)
    found = continual_difference(first, second)
    alone = [continual_metrics(matrix) for matrix in (first, second)]
    for name in ("average_accuracy", "backward_transfer", "unseen"):
        assert found[name].value == pytest.approx(alone[0][name].value - alone[1][name].value)
        width = found[name].high - found[name].low
        apart = math.hypot(*(each[name].high - each[name].low for each in alone))
        assert width < 0.7 * apart
    assert found["backward_transfer"].low > 0 and found["backward_transfer"].n == 80
    assert found.means[3][3] == pytest.approx(alone[0].means[3][3] - alone[1].means[3][3])
    swapped = continual_difference(second, first)
    assert swapped["average_accuracy"].value == -found["average_accuracy"].value


def test_methods_may_learn_in_another_order():
    first = sequence(FORGETS)
    second = sequence(FORGETS, order=["t2", "t0", "t1"])
    found = continual_difference(first, second, n_resamples=200)
    one, other = (continual_metrics(each, n_resamples=200) for each in (first, second))
    assert other.tasks == ("t2", "t0", "t1")
    assert found["mean_average_accuracy"].value == pytest.approx(
        one["mean_average_accuracy"].value - other["mean_average_accuracy"].value
    )
    assert found["average_accuracy"].value == 0 and found.means[3] == (0, 0, 0)


def test_clusters_are_drawn_whole():
    shares = [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]
    runs = sequence(shares).runs
    twelve = [str(index // 12) for index in range(48)]
    repeated = make_matrix(
        {
            (row, col): make_run(
                [run.records[i // 12].scores["label"].value for i in range(48)], clusters=twelve
            )
            for (row, col), run in runs.items()
        },
        {"tuned_on": {"stage-1": "t0", "stage-2": "t1"}},
    )
    alone = make_matrix(
        {
            cell: make_run([r.scores["label"].value for r in run.records])
            for cell, run in repeated.runs.items()
        },
        repeated.meta,
    )
    wide, narrow = (
        continual_metrics(each, n_resamples=500)["average_accuracy"] for each in (repeated, alone)
    )
    assert wide.value == narrow.value and wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_unscored_answers_are_left_out_and_counted():
    matrix = sequence(FORGETS, unseen=1)
    run = matrix["stage-3", "t0"]
    gone = [
        Score(math.nan, status="judge_failed") if i < 5 else record.scores["label"]
        for i, record in enumerate(run.records)
    ]
    broken = make_run([0] * 40, ids=[r.sample.id for r in run.records], extra={"label": gone})
    found = continual_metrics(
        type(matrix)(matrix.rows, matrix.cols, {**matrix.runs, ("stage-3", "t0"): broken}, matrix.meta)
    )
    figure = found["average_accuracy"]
    assert (figure.n, figure.total, figure.not_ok) == (115, 120, {"judge_failed": 5})
    assert found["learning_accuracy"].n == 120 and found["learning_accuracy"].not_ok == {}
    assert found.means[3][0] == pytest.approx(np.mean([score.value for score in gone[5:]]))


def test_a_judge_reads_the_same_sequence():
    judged = [Score(float(index % 11)) for index in range(40)]
    matrix = sequence(FORGETS, extra={"general_knowledge": judged})
    found = continual_metrics(matrix, scorer="general_knowledge", n_resamples=100)
    assert found["average_accuracy"].value == pytest.approx(np.mean([score.value for score in judged]))
    assert found["backward_transfer"].value == 0
    with pytest.raises(KeepsightError, match="sample t0/0 of t0 has no score of semantic"):
        continual_metrics(matrix, scorer="semantic")


def test_cells_of_tasks_to_come_may_be_missing():
    early = {("stage-1", "t2"), ("base", "t0")}  # not even forward transfer reads these
    found = continual_metrics(sequence(FORGETS, unseen=1, skip=early), n_resamples=50)
    assert found.why_not == {"zero_shot": "there is no result of base on t0"}
    assert math.isnan(found.means[1][2]) and math.isnan(found.means[0][0])
    found = continual_metrics(sequence(FORGETS, unseen=1, skip={("stage-1", "t1")}), n_resamples=50)
    assert found.why_not == {"forward_transfer": "there is no result of stage-1 on t1"}


def test_one_row_alone():
    matrix = sequence(FORGETS, unseen=1)
    zero_shot = average_of_row(matrix, "base", ["t0", "t1", "t2"], n_resamples=200)
    means = continual_metrics(matrix, n_resamples=50).means[0]
    assert zero_shot.value == pytest.approx(np.mean(means[:3]))
    assert zero_shot.low < zero_shot.value < zero_shot.high and zero_shot.n == 120
    figure = continual_metrics(matrix, n_resamples=2000)["zero_shot"]
    again = average_of_row(matrix, "base", ["t0", "t1", "t2"], n_resamples=2000)
    assert ends(figure) == pytest.approx(ends(again), abs=0.01)  # other draws
    with pytest.raises(KeepsightError, match="no result of base on t9"):
        average_of_row(matrix, "base", ["t0", "t9"])


def ends(figure):
    return figure.low, figure.value, figure.high


def joint_of(matrix, stages=3):
    """Multi-task training with the last stage's answers."""
    end = matrix.rows[-1]
    runs = {("base", col): matrix["base", col] for col in matrix.cols}
    runs |= {("all", col): matrix[end, col] for col in matrix.cols}
    return make_matrix(runs, {"sequence": {"stages": [str(stage) for stage in range(stages)]}})


def test_multi_task_training_has_what_needs_no_stages():
    whole = sequence(FORGETS, unseen=1)
    joint, alone = (continual_metrics(each, n_resamples=2000) for each in (joint_of(whole), whole))
    assert joint.tasks == ("t0", "t1", "t2") and joint.unseen == ("t3",)
    assert set(joint.figures) == {"zero_shot", "average_accuracy", "unseen"}
    for name, figure in joint.figures.items():
        assert ends(figure) == pytest.approx(ends(alone[name]), abs=0.02) and figure.n == alone[name].n
    assert all("learnt all at once" in why for why in joint.why_not.values())
    other = sequence([FORGETS[0], FORGETS[1], FORGETS[2], [0.5, 0.9, 0.8, 0.4]], unseen=1)
    for first, second, sign in ((joint_of(other), whole, 1), (whole, joint_of(other), -1)):
        found = continual_difference(first, second, n_resamples=100)
        wanted = continual_difference(other, whole, n_resamples=100)["average_accuracy"].value
        assert found["average_accuracy"].value == pytest.approx(sign * wanted)
        assert set(found.figures) == set(joint.figures) and len(found.rows) == len(found.means) == 2
        assert found.rows == (first.rows[0], first.rows[-1])
    with pytest.raises(KeepsightError, match=r"have other tasks \(t2\)"):
        continual_difference(joint_of(whole, stages=2), whole)


def test_what_cannot_be_said_has_its_reason():
    found = continual_metrics(sequence([[0.2], [0.9]]), n_resamples=50)
    scores = {"zero_shot", "average_accuracy", "mean_average_accuracy", "learning_accuracy"}
    assert set(found.figures) == scores
    assert "single stage" in found.why_not["backward_transfer"]
    assert found.why_not["unseen"] == "every audited task was trained on"
    with pytest.raises(KeepsightError, match="no backward_transfer: there is a single stage"):
        found["backward_transfer"]
    with pytest.raises(KeepsightError, match="no forgettin: choose from zero_shot, average_accuracy"):
        found["forgettin"]


def test_a_cell_that_failed_is_named_with_its_cause():
    matrix = with_meta(KNOWN, skip={("stage-3", "t1")})
    matrix.meta["failed"] = [{"row": "stage-3", "col": "t1", "error": "no picture"}]
    with pytest.raises(KeepsightError, match="no result of stage-3 on t1: no picture; run the audit again"):
        continual_metrics(matrix)


def with_meta(tuned_on, **more):
    matrix = sequence(FORGETS, unseen=1, **more)
    return type(matrix)(matrix.rows, matrix.cols, matrix.runs, {"tuned_on": tuned_on})


KNOWN = {"stage-1": "t0", "stage-2": "t1", "stage-3": "t2"}


@pytest.mark.parametrize(
    ("matrix", "told"),
    [
        (lambda: with_meta({**KNOWN, "stage-2": None}), "the task that stage-2 learnt is not known"),
        (lambda: with_meta({}), "the task that stage-1 learnt is not known"),
        (lambda: with_meta({**KNOWN, "stage-2": "other"}), "stage-2 learnt other, which is no column"),
        (lambda: with_meta({**KNOWN, "stage-3": "t0"}), "t0 is learnt twice, by stage-1 and stage-3"),
        (lambda: with_meta({**KNOWN, "base": "t3"}), "the first row, base, was tuned on t3"),
        (lambda: with_meta(KNOWN, skip={("stage-3", "t1")}), "there is no result of stage-3 on t1"),
        (lambda: with_meta(KNOWN, skip={("base", "t3")}), "there is no result of base on t3"),
        (lambda: make_matrix({("base", "t0"): make_run([1])}), "the base and at least one stage"),
    ],
)
def test_what_is_no_sequence_says_why(matrix, told):
    with pytest.raises(KeepsightError, match=told):
        continual_metrics(matrix())


def test_runs_that_cannot_be_compared_are_refused():
    matrix = sequence(FORGETS)
    fewer = {**matrix.runs, ("stage-3", "t0"): make_run([1] * 39, ids=[f"t0/{i}" for i in range(39)])}
    with pytest.raises(KeepsightError, match="sample t0/39 of t0 was not asked everywhere"):
        continual_metrics(type(matrix)(matrix.rows, matrix.cols, fewer, matrix.meta))
    with pytest.raises(KeepsightError, match="was not asked everywhere"):
        continual_difference(matrix, sequence(FORGETS, n=39))
    with pytest.raises(KeepsightError, match="have other tasks"):
        continual_difference(matrix, sequence(FORGETS, unseen=1))
    other = {
        **matrix.runs,
        ("stage-1", "t0"): make_run([1] * 40, ids=[f"t0/{i}" for i in range(40)], scorer="x"),
    }
    with pytest.raises(KeepsightError, match="scored by label and x"):
        continual_metrics(type(matrix)(matrix.rows, matrix.cols, other, matrix.meta))
    silent = {
        **matrix.runs,
        ("stage-1", "t0"): make_run([math.nan] * 40, ids=[f"t0/{i}" for i in range(40)]),
    }
    with pytest.raises(KeepsightError, match="no answer of stage-1 on t0 was scored"):
        continual_metrics(type(matrix)(matrix.rows, matrix.cols, silent, matrix.meta))


@pytest.mark.parametrize("shares", [[0.9, 0.5, 0.8, 0.3, 0.6, 0.9], [0.99, 0.97, 0.99, 0.96, 0.98, 0.98]])
def test_intervals_cover(shares):
    """60 sequences drawn from known shares, in the middle and near the edge: 95 % of the intervals hold the truth."""
    a11, a21, a22, a31, a32, a33 = shares
    truth = backward_transfer([[a11], [a21, a22], [a31, a32, a33]])
    cells = [[0.1, 0.1, 0.1], [a11, 0.1, 0.1], [a21, a22, 0.1], [a31, a32, a33]]
    held = 0
    for seed in range(60):
        figure = continual_metrics(sequence(cells, seed=seed), n_resamples=200)["backward_transfer"]
        held += figure.low <= truth <= figure.high
    assert held >= 52


def test_ten_thousand_draws_of_a_benchmark_take_well_under_a_second():
    shares = [[0.9 - 0.05 * abs(row - col) for col in range(9)] for row in range(9)]
    matrix = sequence(shares, n=200, unseen=1)
    start = time.process_time()
    continual_metrics(matrix)
    assert time.process_time() - start < 1.0, "measured 0.25 s; room for a slow machine"
