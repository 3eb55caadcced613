"""The whole study, small: every finding of the paper gets its number, and a second run trains and asks nothing."""

import json
import math

import pytest

from recipes import vlm_classifier

pytestmark = pytest.mark.torch


def test_every_finding_gets_its_number(tmp_path, monkeypatch):
    vlm_classifier.main(["--tiny", "--output_path", str(tmp_path)])
    rows = json.loads((tmp_path / "claims.json").read_text())
    assert len({row["claim"] for row in rows}) == len(rows) == 18
    for row in rows:
        assert "arXiv:2405.18415" in row["source"] and row["published"] and row["n"] > 0
        assert row["verdict"] in ("holds", "does_not_hold", "no_evidence")
        low, high = row["interval"]
        assert low is None or high is None or low <= row["measured"] <= high
    page = (tmp_path / "index.html").read_text()
    assert all(f'href="{name}/diagnosis.html"' in page for name in ("things", "letters"))
    assert "Is it the decoding?" in (tmp_path / "things" / "diagnosis.html").read_text()

    def refuse(*_, **__):
        raise AssertionError("asked or trained again")

    from keepsight.models import hf
    from keepsight.tune import sft

    monkeypatch.setattr(hf.HFModel, "generate", refuse)
    monkeypatch.setattr(hf.HFModel, "choice_logprobs", refuse)
    monkeypatch.setattr(sft, "_optimizer", refuse)
    vlm_classifier.main(["--tiny", "--output_path", str(tmp_path)])
    assert json.loads((tmp_path / "claims.json").read_text()) == rows


def test_what_is_below_a_limit_holds_and_what_is_above_does_not():
    from keepsight.types import MetricValue

    def verdict(low, high):
        return vlm_classifier._within("c", "w", "p", MetricValue("m", low, low, high, 9, 9), 0.05).verdict

    assert [verdict(-0.2, 0.04), verdict(0.06, 0.2), verdict(0.04, 0.06)] == [
        "holds",
        "does_not_hold",
        "no_evidence",
    ]
    assert verdict(math.nan, math.nan) == "no_evidence"
