"""Table 4 in small: three fine-tunes of one model, all asked the same, resumed without asking or learning again."""

import math

import pytest

from keepsight.diagnose.picture_questions import ROWS, table4
from keepsight.models import load
from keepsight.types import KeepsightError

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("table4")


@pytest.fixture(scope="module")
def found(directory):
    return table4(load("tiny", device="cpu"), directory, small=True)


def test_every_figure_has_its_n_and_interval(found):
    for figures in (found.asked, found.elsewhere, found.recognised, found.unparsed, found.by_name):
        assert tuple(figures) == ROWS
        assert all(f.n == f.total > 0 and f.low <= f.value <= f.high for f in figures.values())
    assert [baseline.value for baseline in found.baselines] == [0.25, 0.25]
    assert found.asked["base"].n == 16 and found.elsewhere["base"].n == 12 and found.by_name["base"].n == 30


def test_differences_are_paired_and_signed(found):
    assert set(found.differences) == {
        f"{row}{where}" for row in ("both", "classification") for where in ("", " elsewhere")
    }
    lost = found.differences["classification elsewhere"]
    expected = found.elsewhere["instruction"].value - found.elsewhere["classification"].value
    assert math.isclose(lost.difference, expected, abs_tol=1e-9) and lost.n == 12 and lost.level > 0.95


def test_the_rows_are_different_models(found):
    digests = {row: found.runs[row, "asked"].manifest["checkpoint_digest"] for row in ROWS}
    assert len(set(digests.values())) == 4


def test_running_again_learns_and_asks_nothing(found, directory, monkeypatch):
    monkeypatch.setattr("keepsight.models.HFModel.generate", None)
    monkeypatch.setattr("keepsight.models.HFModel.training_batch", None)
    again = table4(load("tiny", device="cpu"), directory, small=True)
    assert again.asked == found.asked and again.differences == found.differences


def test_a_model_without_weights(tmp_path):
    class Asked:
        name, digest = "served", "1" * 64

    with pytest.raises(KeepsightError, match="model served cannot be tuned"):
        table4(Asked(), tmp_path)
