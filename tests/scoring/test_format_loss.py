"""Lost form beside lost knowledge, sample by sample."""

import math

import pytest

from keepsight.scoring.forgetting import NotComparable
from keepsight.scoring.format_loss import format_loss, format_losses, overall_loss
from keepsight.scoring.statistics import bootstrap_ratio, paired_difference, wilson
from keepsight.types import Score
from tests.scoring.conftest import make_matrix, make_run

BEFORE = {"following": [1, 1, 1, 1, 1, 0, 0, 1], "knowledge": [1, 1, 1, 1, 0.2, 1, 0, 1]}
AFTER = {"following": [1, 0, 0, 0, 0, 1, 0, 0], "knowledge": [1, 1, 0.5, 0.25, 1, 1, 1, 0]}


def run(values, **settings):
    scores = {"semantic": [Score(float(value)) for value in values["knowledge"]]}
    return make_run(values["following"], scorer="same_text", extra=scores, **settings)


def test_every_lost_answer_lost_one_thing():
    found = format_loss(run(BEFORE), run(AFTER))
    assert found.n == 8 and found.unpaired == 0
    assert found.lost.value == 5 / 8  # samples 1, 2, 3, 4, 7
    assert found.format.value == 2 / 8  # 1 and 2 are still said, 2 by a half
    assert found.knowledge.value == 2 / 8  # 3 and 7
    assert found.unclear.value == 1 / 8  # 4: the judge did not see the truth when it was there
    assert found.gained.value == 1 / 8  # 5
    assert sum(part.value for part in found.parts) == found.lost.value
    assert [part.name for part in found.parts] == ["format", "knowledge", "unclear"]


def test_differences_and_intervals_are_the_shared_ones():
    found = format_loss(run(BEFORE), run(AFTER))
    ids = [f"s{i}" for i in range(8)]
    assert found.instruction_following == paired_difference(BEFORE["following"], AFTER["following"], ids)
    assert found.general_knowledge == paired_difference(BEFORE["knowledge"], AFTER["knowledge"], ids)
    assert (found.format.low, found.format.high) == wilson(2, 8)
    lost, kept = [0, 1, 1, 1, 1, 0, 0, 1], [0, 1, 1, 0, 0, 0, 0, 0]
    assert found.format_share == bootstrap_ratio(kept, lost, ids) and found.format_share[0] == 2 / 5


def test_samples_of_one_picture_tell_less():
    clusters = list("qppppqqp")  # all of one picture are lost, none of the other
    alone, together = (format_loss(run(BEFORE, clusters=c), run(AFTER, clusters=c)) for c in (None, clusters))
    assert together.lost.value == alone.lost.value
    assert together.lost.high - together.lost.low > alone.lost.high - alone.lost.low
    assert together.instruction_following.clusters == 2


def test_nothing_lost_has_no_share_of_it():
    found = format_loss(run(BEFORE), run(BEFORE))
    assert found.lost.value == found.format.value == 0 and all(map(math.isnan, found.format_share))
    assert found.lost.high > 0  # eight samples do not show that nothing is ever lost


def test_votes_count_as_right_from_a_half_on():
    before, after = (
        {"following": [0.6, 0.5, 0.4], "knowledge": [1] * 3},
        {"following": [0.3] * 3, "knowledge": [1] * 3},
    )
    assert format_loss(run(before), run(after)).lost.value == pytest.approx(2 / 3)


def test_what_one_of_the_scorers_could_not_score_is_left_out_and_counted():
    failed = {**AFTER, "knowledge": [math.nan, *AFTER["knowledge"][1:]]}
    found = format_loss(run(BEFORE), run(failed))
    assert (found.n, found.unpaired) == (7, 1)
    nothing = {**AFTER, "knowledge": [math.nan] * 8}
    with pytest.raises(NotComparable, match="no sample has scores by same_text and semantic in both runs"):
        format_loss(run(BEFORE), run(nothing))


def test_runs_that_a_judge_has_not_scored_cannot_be_compared():
    with pytest.raises(NotComparable, match="keepsight score --judges general_knowledge"):
        format_loss(run(BEFORE), run(AFTER), knowledge="general_knowledge")


def test_a_matrix_cell_by_cell():
    cells = {(row, "t"): run(values) for row, values in (("base", BEFORE), ("one", BEFORE), ("two", AFTER))}
    cells["one", "u"] = cells["two", "u"] = make_run([1, 0], scorer="same_text")
    matrix = make_matrix(cells, {"tuned_on": {"one": "t", "two": "u"}})
    (cell,) = format_losses(matrix)
    assert (cell.row, cell.col, cell.reference_row, cell.loss.format.value) == ("two", "t", "one", 0.25)
    against_base = format_losses(matrix, "base")
    assert [(cell.row, cell.col) for cell in against_base] == [("one", "t"), ("two", "t")]
    (unscored,) = [cell for cell in format_losses(matrix, "best") if cell.col == "u"]
    assert unscored.loss is None and "no sample has scores" in unscored.why


def test_all_tasks_of_a_row_together():
    cells = {
        (row, col): run(values) for row, values in (("one", BEFORE), ("two", AFTER)) for col in ("t", "u")
    }
    cells["two", "u"] = run(BEFORE)
    matrix = make_matrix(cells, {"tuned_on": {"one": "t"}})
    found = overall_loss(matrix)
    (cell,) = format_losses(matrix)
    assert found == overall_loss(matrix, "two") and found.n == 8
    assert [part.value for part in found.parts] == [part.value for part in cell.loss.parts]
    both = overall_loss(matrix, against="base")  # u lost nothing
    assert (both.n, both.lost.value, both.format.value) == (16, 5 / 16, 2 / 16)
    assert both.instruction_following.clusters == 16  # one id in two tasks is two samples
    with pytest.raises(NotComparable, match="no task of one has an earlier result"):
        overall_loss(matrix, "one")
