"""Runs built by hand: values in, Run out."""

import pytest
from hypothesis import settings

from keepsight.types import MetricValue, Output, Record, ResultMatrix, Run, Sample, Score

# A busy machine is no failure; tests of speed measure CPU time themselves.
settings.register_profile("scoring", deadline=None)
settings.load_profile("scoring")


def make_run(
    values, *, ids=None, clusters=None, targets=None, answers=None, scorer="label", checkpoint="m", extra=None
):
    """A run with one 0/1 (or real, or nan) value per sample under `scorer`, and `extra` {scorer: [Score]} besides."""
    records = []
    for index, value in enumerate(values):
        target = targets[index] if targets else "cat"
        sample = Sample(
            id=ids[index] if ids else f"s{index}",
            prompt="What is it?",
            target=(target,),
            group=clusters[index] if clusters else None,
        )
        answer = answers[index] if answers else None
        scores = {scorer: Score(float(value), answer)}
        scores.update({name: column[index] for name, column in (extra or {}).items()})
        records.append(Record(sample, Output(answer or ""), scores))
    metric = MetricValue("accuracy", 0.5, 0.0, 1.0, len(values), len(values))
    return Run({"scorer": scorer, "checkpoint": checkpoint}, tuple(records), (metric,))


def make_matrix(cells, meta=None):
    """`cells`: {(row, col): Run}, rows and columns in order of first appearance."""
    rows = tuple(dict.fromkeys(row for row, _ in cells))
    cols = tuple(dict.fromkeys(col for _, col in cells))
    return ResultMatrix(rows, cols, cells, meta or {})


@pytest.fixture
def run_of():
    return make_run


@pytest.fixture
def matrix_of():
    return make_matrix
