"""A diagnosis on disk, on its page and in the terminal."""

import base64
import hashlib
import json
import math
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
from rich.cells import cell_len

from keepsight.report.diagnosis import DIAGNOSIS_PAGE, figure_text, write_diagnosis
from keepsight.report.diagnosis_text import diagnosis_text
from keepsight.report.findings_file import read_findings, write_findings
from keepsight.store import json_schema
from keepsight.types import KeepsightError, MetricValue
from tests.report.fake_diagnosis import diagnosis, evil_diagnosis
from tests.report.test_html import elements
from tests.report.test_page import LOWEST_CONTRAST, chromium, overflow, visit  # noqa: F401  (fixtures)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write_diagnosis(diagnosis(), tmp_path_factory.mktemp("diagnosis"))


@pytest.fixture(scope="module")
def evil_page(tmp_path_factory):
    return write_diagnosis(evil_diagnosis(), tmp_path_factory.mktemp("evil"))


# ---- findings.json ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [diagnosis(), evil_diagnosis()], ids=["plain", "evil"])
def test_what_is_read_is_what_was_written(made, tmp_path):
    path = write_findings(made, tmp_path)
    read = read_findings(tmp_path)
    assert repr(as_json(asdict(read))) == repr(as_json(asdict(made)))
    assert write_findings(read, tmp_path / "again").read_bytes() == path.read_bytes()
    assert read_findings(path).findings[0].deciding == made.findings[0].deciding


def as_json(value):
    """nan equals nan in text, tuples are lists."""
    if isinstance(value, dict):
        return {key: as_json(part) for key, part in value.items()}
    return [*map(as_json, value)] if isinstance(value, (list, tuple)) else value


def test_no_figure_is_null_and_settings_are_json(tmp_path):
    given = {
        "a": np.float32(0.5),
        "b": np.int64(3),
        "c": math.nan,
        "d": (1, None),
        "e": tmp_path,
        "f": {1: True},
    }
    finding = replace(diagnosis().findings[0], settings=given)
    figures = (MetricValue("x", np.float64("nan"), math.nan, math.nan, np.int64(0), 5), *finding.figures)
    path = write_findings(replace(diagnosis(), findings=(replace(finding, figures=figures),)), tmp_path)
    row = json.loads(path.read_text())["findings"][0]
    assert row["figures"][0]["value"] is None and row["figures"][0]["n"] == 0
    assert row["settings"] == {
        "a": 0.5,
        "b": 3,
        "c": None,
        "d": [1, None],
        "e": str(tmp_path),
        "f": {"1": True},
    }


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema_version": 99}, "schema_version 99; update keepsight"),
        ({"findings": [{"question": "gap"}]}, "findings.0.title: Field required"),
        ({"model": None}, "model: Input should be a valid string"),
        ({"spoon": 1}, "spoon: Extra inputs are not permitted"),
    ],
)
def test_a_damaged_file_is_named(change, told, tmp_path):
    path = write_findings(diagnosis(), tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(KeepsightError, match=r"findings\.json") as error:
        read_findings(tmp_path)
    assert told in str(error.value)


def test_series_of_unequal_length_are_named(tmp_path):
    path = write_findings(diagnosis(), tmp_path)
    data = json.loads(path.read_text())
    data["findings"][1]["plots"][0]["lines"][0]["low"].pop()
    path.write_text(json.dumps(data))
    with pytest.raises(KeepsightError, match="question prompts: series 'share right' has 4 values and 3"):
        read_findings(path)
    with pytest.raises(KeepsightError, match="No such file"):
        read_findings(tmp_path / "nowhere" / "findings.json")


def test_the_schema_is_exported():
    schema = json_schema()["findings.json"]
    assert {"findings", "failed", "model"} <= set(schema["properties"]) and "PlotRow" in schema["$defs"]


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.3, "0.300"), (-0.00919, "−0.009"), (0.00042, "0.00042"), (0.0, "0"), (1.0, "1"), (-62.0, "−62"), (3.4, "3.400"),
     (12.34, "12.3"), (1234567.0, "1,234,567"), (1234.5, "1,234"), (math.nan, "–"), (math.inf, "inf")],
)  # fmt: skip
def test_figures_are_written_in_their_own_unit(value, told):
    assert figure_text(MetricValue("x", value, math.nan, math.nan, 1, 1)) == told


# ---- the page ---------------------------------------------------------------------------------------------


def test_the_page_tells_every_answer(page):
    text, told = page.read_text(), diagnosis()
    for finding in told.findings:
        assert finding.title in text and finding.answer in text
        assert text.count(f'data-verdict="{finding.verdict}"') >= 2
    assert "Yes: gap and frequency; no: prompts and probe; no evidence: label sets; failed: objective" in text
    assert told.failed[0].error in text and "12 unparsed, 3 refused" in text and "0 of 300" in text
    assert "7 more figures" in text and text.count("decides</span>") == len(told.findings)
    names = [tag for tag, _ in elements(page).tags]
    assert (
        names.count("svg") == sum(len(finding.plots) for finding in told.findings) and "script" not in names
    )
    assert page.stat().st_size < 1_000_000 and page.name == DIAGNOSIS_PAGE


@pytest.mark.parametrize("name", ["page", "evil_page"])
def test_the_page_is_closed(name, request):
    found = elements(request.getfixturevalue(name))
    policy = next(attrs["content"] for _, attrs in found.tags if attrs.get("http-equiv"))
    digest = base64.b64encode(hashlib.sha256(found.inside["style"][0].encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    for tag, attrs in found.tags:
        assert tag not in ("script", "img", "iframe", "object") and "style" not in attrs
        assert not [key for key in attrs if key.startswith("on")]
        assert (attrs.get("href") or "#").startswith(("#", "data:")) and "src" not in attrs
    anchors = {attrs["href"][1:] for _, attrs in found.tags if (attrs.get("href") or "").startswith("#")}
    assert anchors <= {attrs.get("id") for _, attrs in found.tags}


def test_same_findings_give_the_same_bytes(page, tmp_path):
    assert write_diagnosis(read_findings(page.parent), tmp_path).read_bytes() == page.read_bytes()


def test_a_page_needs_no_torch(tmp_path):
    code = (
        "import sys; from tests.report.fake_diagnosis import diagnosis; from keepsight.report.diagnosis import write_diagnosis;"
        f"write_diagnosis(diagnosis(), {str(tmp_path)!r});"
        "assert not {'torch', 'transformers', 'sklearn', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_in_a_browser(visit, page, evil_page, scheme):  # noqa: F811
    for path, width in ((page, 1280), (evil_page, 390)) if scheme == "light" else ((page, 390),):
        shown = visit(path, width=width, scheme=scheme)
        assert overflow(shown) == 0
        assert shown.locator("svg.plot").count() == shown.locator("figure").count() > 5
        assert shown.evaluate(LOWEST_CONTRAST.replace(".card span", ".verdict, .questions p, td")) >= 4.5
        shown.locator("summary", has_text="more figures").first.click()
        shown.locator("summary", has_text="Settings").first.click()
        assert shown.locator("details pre").first.is_visible()
        assert shown.locator("details table").first.is_visible() and overflow(shown) == 0
    assert {
        shown.locator(f".{kind}").first.evaluate("e => getComputedStyle(e).fill")
        for kind in ("s0", "s1", "s2")
    } - {"none"}


@pytest.mark.browser
def test_no_text_of_a_plot_is_cut_off_or_covers_another(visit, page):  # noqa: F811
    for width in (1280, 390):
        shown = visit(page, width=width)
        assert shown.evaluate(OUTSIDE) == []
        assert shown.evaluate(COVERED) == []


# texts of plots that leave their picture
OUTSIDE = """() => [...document.querySelectorAll("svg.plot text")].filter((text) => {
  const [a, b] = [text.getBoundingClientRect(), text.ownerSVGElement.getBoundingClientRect()];
  return a.left < b.left - 1 || a.right > b.right + 1 || a.bottom > b.bottom + 1;
}).map((text) => text.firstChild.data)"""
# numbers and names at axes, and names of series, that lie on each other
COVERED = """() => [...document.querySelectorAll("svg.plot")].flatMap((svg) => {
  const texts = [...svg.querySelectorAll(".tick, .key, .axis, .name")].map((t) => [t.firstChild?.data, t.getBoundingClientRect()]);
  return texts.flatMap(([name, a], i) => texts.slice(i + 1).filter(([, b]) =>
    a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3).map(([other]) => `${name} ${other}`));
})"""


# ---- the terminal -----------------------------------------------------------------------------------------


def test_the_answers_in_a_terminal():
    lines = diagnosis_text(diagnosis()).splitlines()
    assert lines[:5] == [
        "What explains tiny on things?",
        "",
        "● yes: Is it worse than its own encoder?",
        "    CLIP is right 69 points more often (n 300).",
        "    difference to clip −0.690 [−0.730 to −0.650], n 300",
    ]
    assert "× failed: Is it the training objective? (objective)" in lines


@pytest.mark.parametrize("width", [30, 60, 100])
def test_no_line_is_wider_than_asked(width):
    for made in (diagnosis(), evil_diagnosis()):
        text = diagnosis_text(made, width)
        assert max(map(cell_len, text.splitlines())) <= width and "\x1b" not in text
