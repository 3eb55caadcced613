"""docs/contracts.md names exactly the fields that the code writes; what the documents point at is there."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from benchmarks.record import Record as BenchmarkRecord
from keepsight.gating import Gated
from keepsight.report.claims import Claim
from keepsight.scoring.forgetting import Drop
from keepsight.store import schema
from keepsight.tune.progress import TrainProgress

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "contracts.md"
# The tables of the page whose head is "field | meaning", in order.
DESCRIBED = [
    schema.Manifest,
    schema.OutputRow,
    schema.MediaRow,
    schema.StepRow,
    schema.ScoreRow,
    schema.ReplyRow,
    schema.Results,
    schema.MetricRow,
    schema.MatrixFile,
    Drop,
    schema.FindingsFile,
    schema.FindingRow,
    schema.PlotRow,
    schema.LineRow,
    schema.FailedRow,
    Claim,
    {"format", "method", "base", "base_digest", "trained", "epoch", "step", "data_digest", "config"},
    TrainProgress,
    {"id", "text", "choice_logprobs", "request_digest"},
    Gated,
    {"scorer", "level", "reference", "runs", "differences", "matched"},
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


# `scoring/labels.py: LabelMatcher`, `data/llava.py: QUESTION, ANSWER`
PLACE = re.compile(r"`((?:\w+/)*\w+\.py)(?:: ([^`]+))?`")


def missing_places(text: str) -> list[str]:
    """Files and names of the package (or recipes) that a page points at and that are not there."""
    missing = []
    for file, listed in PLACE.findall(text):
        path = ROOT / file if file.startswith("recipes/") else ROOT / "src" / "keepsight" / file
        source = path.read_text() if path.is_file() else ""
        wanted = [name.strip() for name in listed.split(",") if name.strip()]
        gone = [
            name
            for name in wanted
            if not re.search(rf"^\s*(def|class) {name}\b|^{name}\b", source, re.MULTILINE)
        ]
        missing += [file] if not source else [f"{file}: {name}" for name in gone]
    return missing


def test_the_places_in_the_code_exist():
    assert missing_places((ROOT / "docs" / "differences.md").read_text()) == []
    assert missing_places("`nowhere.py` `types.py: Task, Tusk`") == ["nowhere.py", "types.py: Tusk"]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name
)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link
