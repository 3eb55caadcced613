"""A recipe whose audit lost a cell says in one line which, why and what to do; an answer without a score is left out."""

import math
import re
from dataclasses import replace

import pytest

from keepsight.demo import emt_claims
from keepsight.report.claims import verdict_on
from keepsight.scoring.findings import Diagnosis, FailedQuestion
from keepsight.types import ResultMatrix
from recipes import coin, command_line, numberline, vlm_classifier
from tests.report.fake_audit import demo_audit
from tests.report.fake_episodes import episode_run, expert, played

WHY = "RuntimeError: out of memory"


def without(matrix, row, col):
    runs = {cell: run for cell, run in matrix.runs.items() if cell != (row, col)}
    return replace(
        matrix, runs=runs, meta={**matrix.meta, "failed": [{"row": row, "col": col, "error": WHY}]}
    )


def of_numberline():
    matrix = ResultMatrix(("tiny", "epoch-3"), (numberline.GAME, *numberline.OTHERS), {})
    numberline.claims_of(without(matrix, "tiny", numberline.GAME))


def of_emt():
    matrix = demo_audit(n=2)
    emt_claims(without(matrix, "lora/epoch-3", "emt:shapes"), "emt:digits")


def of_coin():
    matrix = ResultMatrix(("tiny", "1"), ("a",), {}, {"tuned_on": {"1": "a"}})
    coin.claims_of(dict.fromkeys(("sequential", "multitask"), without(matrix, "1", "a")))


def of_vlm_classifier():
    lost = Diagnosis("tiny", "0" * 64, "things", 6, (), (FailedQuestion("gap", "Is it bad at all?", WHY),))
    vlm_classifier.claims_of(vlm_classifier.Found(lost, lost, None, None))


@pytest.mark.parametrize(
    ("claims", "what"),
    [
        (of_numberline, "result of tiny on env:numberline"),
        (of_emt, "result of lora/epoch-3 on emt:shapes"),
        (of_coin, "result of 1 on a"),
        (of_vlm_classifier, "answer to gap about tiny on things"),
    ],
)
def test_what_failed_is_one_line(claims, what):
    with pytest.raises(SystemExit) as left:
        command_line(claims)
    wanted = f"keepsight: there is no {what}: {WHY}; run the (audit|diagnosis) again, it asks what is missing"
    assert re.fullmatch(wanted, left.value.code)


def test_an_episode_without_a_score_is_left_out():
    right = [played(expert, seed) for seed in range(8)]
    lost = replace(
        right[0], scores={**right[0].scores, "expert": replace(right[0].scores["expert"], value=math.nan)}
    )
    run = episode_run("tuned", numberline.GAME, [lost, *right[1:]])
    change = numberline._apart(run.scores("expert"), run.scores("random"), run)
    assert change.n == 7 and verdict_on((change.low, change.high)) == "holds"
