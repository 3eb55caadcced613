"""The EMT recipe and the demo: the files that are promised, and claims whose verdicts follow from a matrix."""

import json
import math

import pytest

from keepsight.demo import emt_claims
from keepsight.report.claims import Claim, read_claims, verdict_on, write_claims
from keepsight.types import MetricValue, Output, Record, ResultMatrix, Run, Sample, Score

ROWS = ("tiny", "linear/epoch-1", "linear/epoch-3", "lora/epoch-1", "lora/epoch-3")
COLS = ("emt:things", "emt:digits", "emt:shapes")


def run(row: str, col: str, right: int, leaks: int, n: int = 100) -> Run:
    records = []
    for i in range(n):
        value = float(i < right)
        tags = ("leak:things",) if i >= n - leaks else ()
        scores = {
            "label": Score(value),
            "embedding": Score(float(i < right + 10)),
            "taxonomy": Score(value, tags=tags),
        }
        records.append(Record(Sample(f"{col}/{i}", "?"), Output("x"), scores))
    metric = MetricValue("accuracy", right / n, 0, 1, n, n)
    return Run({"scorer": "label", "task": col, "checkpoint": row}, tuple(records), (metric,))


def matrix(tuned: dict[str, int], others: dict[str, int], leaks: dict[str, int]) -> ResultMatrix:
    runs = {
        (row, col): run(
            row, col, (tuned if col == COLS[0] else others)[row], 0 if col == COLS[0] else leaks[row]
        )
        for row in ROWS
        for col in COLS
    }
    return ResultMatrix(ROWS, COLS, runs)


def verdicts(tuned, others, leaks) -> list[str]:
    made = matrix(dict(zip(ROWS, tuned)), dict(zip(ROWS, others)), dict(zip(ROWS, leaks)))
    return [claim.verdict for claim in emt_claims(made, COLS[0])]


def test_a_matrix_that_forgets_as_the_paper_says():
    assert verdicts([10, 60, 90, 80, 95], [80, 85, 60, 30, 10], [0, 0, 0, 40, 80]) == ["holds"] * 8


def test_a_matrix_that_does_the_opposite():
    found = verdicts([90, 60, 40, 50, 30], [60, 50, 80, 80, 90], [30, 5, 5, 5, 5])
    assert found == ["does_not_hold"] * 7 + ["holds"]  # both columns still have the judges differ


def test_a_matrix_in_which_nothing_happens():
    assert verdicts([50] * 5, [50] * 5, [0] * 5) == ["no_evidence"] * 7 + ["holds"]


def test_the_measured_figure_has_the_sign_of_its_claim():
    claims = emt_claims(
        matrix(dict.fromkeys(ROWS, 50), dict(zip(ROWS, [80, 80, 60, 40, 30])), dict.fromkeys(ROWS, 0)),
        COLS[0],
    )
    assert (
        claims[2].measured == pytest.approx(50)
        and claims[2].interval[0] < 50 < claims[2].interval[1]
        and claims[2].n == 200
    )


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((0.1, 0.2), "holds"),
        ((-0.2, -0.1), "does_not_hold"),
        ((-0.1, 0.1), "no_evidence"),
        ((0.0, 0.1), "no_evidence"),
        ((math.nan, math.nan), "no_evidence"),
    ],
)
def test_a_verdict_follows_from_the_interval(interval, verdict):
    assert verdict_on(interval) == verdict


def test_claims_survive_writing_and_reading(tmp_path):
    claims = [
        Claim('<script>alert("x")</script>', "source | of", "1", 0.5, (0.4, 0.6), 10, "holds"),
        Claim("nothing measured", "s", "2", math.nan, (math.nan, math.nan), 0, "no_evidence", "points"),
    ]
    path = write_claims(claims, tmp_path, title="A <title>")
    assert read_claims(path)[0] == claims[0] and math.isnan(read_claims(path)[1].measured)
    page = (tmp_path / "index.html").read_text()
    assert (
        "<script>" not in page and "&lt;script&gt;" in page and "http" not in page.replace("http-equiv", "")
    )


@pytest.mark.torch
def test_the_recipe_writes_what_it_promises(tmp_path):
    from recipes.emt import main

    main(["--tiny", "--output_path", str(tmp_path)])
    for name in ("matrix.json", "claims.json", "index.html", "forgetting.html"):
        assert (tmp_path / name).stat().st_size > 500
    made = json.loads((tmp_path / "matrix.json").read_text())
    assert len(made["rows"]) == 3 and len(made["cols"]) == 8 and len(made["values"][0]) == 8
    assert {"rows", "cols", "values", "intervals", "n", "forgetting"} <= set(made)
    assert len(json.loads((tmp_path / "claims.json").read_text())) == 8
