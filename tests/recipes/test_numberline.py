"""The whole recipe, small: rows are learnt, episodes played, every claim gets its number; a second run trains nothing."""

import json

import pytest

from keepsight.tune import sft
from recipes import numberline

pytestmark = pytest.mark.torch


def test_small_it_runs_to_its_claims(tmp_path, monkeypatch, capsys):
    numberline.main(["--tiny", "--output_path", str(tmp_path)])
    rows = json.loads((tmp_path / "claims.json").read_text())
    assert len(rows) == 6 and [row["n"] for row in rows] == [4] * 6
    assert all(row["interval"][0] <= row["measured"] <= row["interval"][1] for row in rows)
    out = capsys.readouterr().out
    assert "env:numberline" in out and "emt:shapes" in out
    page = (tmp_path / "index.html").read_text()
    assert 'href="forgetting.html"' in page and (tmp_path / "forgetting.html").exists()

    def refuse(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(sft, "_optimizer", refuse)
    numberline.main(["--tiny", "--output_path", str(tmp_path)])
    assert json.loads((tmp_path / "claims.json").read_text()) == rows
