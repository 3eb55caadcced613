"""docs/contracts.md names exactly the fields that the code writes."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from benchmarks.record import Record as BenchmarkRecord
from keepsight.report.claims import Claim
from keepsight.scoring.forgetting import Drop
from keepsight.store import schema
from keepsight.tune.progress import TrainProgress

PAGE = Path(__file__).parents[1] / "docs" / "contracts.md"
# The tables of the page whose head is "field | meaning", in order.
DESCRIBED = [
    schema.Manifest,
    schema.OutputRow,
    schema.MediaRow,
    schema.ScoreRow,
    schema.Results,
    schema.MetricRow,
    schema.MatrixFile,
    Drop,
    Claim,
    {"format", "method", "base", "base_digest", "trained", "epoch", "step", "data_digest", "config"},
    TrainProgress,
    {"id", "text", "choice_logprobs", "request_digest"},
    BenchmarkRecord,
]


def tables(text: str) -> list[set[str]]:
    """The names in the first column of every table of fields."""
    found = re.findall(r"^\| field \| meaning \|\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [
        {name for row in rows.splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[1])}
        for rows in found
    ]


def names(described) -> set[str]:
    if isinstance(described, set):
        return described
    model = getattr(described, "model_fields", None)
    return set(model) if model is not None else {field.name for field in fields(described)}


def test_every_table_has_its_type():
    assert len(tables(PAGE.read_text())) == len(DESCRIBED)


@pytest.mark.parametrize("place", range(len(DESCRIBED)))
def test_a_table_names_every_field_and_no_other(place):
    assert tables(PAGE.read_text())[place] == names(DESCRIBED[place])


@pytest.mark.torch
def test_a_checkpoint_holds_what_the_page_says(tmp_path, tiny_llava):
    import json

    from keepsight.models import load, save_checkpoint

    settings = {"epoch": 1, "step": 2, "config": {}, "data_digest": "d"}
    made = save_checkpoint(load(f"hf:{tiny_llava}"), tmp_path / "epoch-1", method="linear", **settings)
    (described,) = (names for names in tables(PAGE.read_text()) if "base_digest" in names)
    assert set(json.loads((made / "keepsight.json").read_text())) == described
