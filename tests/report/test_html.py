"""The file itself: one page, small, closed to the network, the same bytes every time, whatever is in the matrix."""

import base64
import hashlib
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from keepsight.report import write_html
from keepsight.types import KeepsightError, ResultMatrix, Score
from tests.report.fake_audit import EVIL, EVIL_ROWS, demo_audit, run_of, small_audit

RIGHT = ["The object is a(n) cat.", "dog", "A ship."]
GONE = ["The number is 3."] * 30


class Elements(HTMLParser):
    """Every start tag with its attributes, and the text inside script and style elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": [], "title": [], "h1": []}
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in self.inside:
            self.inside[tag].append("")
            self._open.append(tag)

    def handle_endtag(self, tag):
        if self._open and self._open[-1] == tag:
            self._open.pop()

    def handle_data(self, data):
        if self._open:
            self.inside[self._open[-1]][-1] += data

    @property
    def data(self):
        return json.loads(self.inside["script"][0])


def elements(path):
    return Elements(path.read_text(encoding="utf-8"))


def test_demo_page_is_small_and_complete(tmp_path):
    path = write_html(demo_audit(n=300), tmp_path / "deep" / "forgetting.html")
    assert path.stat().st_size < 5_000_000
    page = elements(path)
    assert "lora/epoch-3 forgot 6 of 6 other sets" in page.inside["h1"][0].replace("\n", " ")
    assert sum(tag == "td" and "cell" in (attrs.get("class") or "") for tag, attrs in page.tags) == 49
    assert sum(tag == "svg" and attrs.get("class") == "curve" for tag, attrs in page.tags) == 14
    assert len(page.data["samples"]["2"]) >= 24


def test_policy_allows_only_our_own_script_and_style(demo_page):
    page = elements(demo_page)
    policy = next(attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv"))
    for kind, text in (("script", page.inside["script"][1]), ("style", page.inside["style"][0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    names = [tag for tag, _ in page.tags]
    assert names.index("meta") < names.index("style"), "the policy comes before what it rules"


@pytest.mark.parametrize("name", ["demo_page", "evil_page"])
def test_nothing_is_fetched_or_linked_outside(name, request):
    page = elements(request.getfixturevalue(name))
    for tag, attrs in page.tags:
        assert not [key for key in attrs if key.startswith("on")], (tag, attrs)
        assert "style" not in attrs, "the policy forbids style attributes"
        for key in ("src", "href", "action", "data", "poster", "srcset", "xlink:href"):
            value = attrs.get(key)
            assert value is None or value.startswith(("#", "data:")), (tag, key, value)
    assert not re.search(r"url\(|@import|https?://", page.inside["style"][0])
    assert not re.search(
        r"fetch\(|XMLHttpRequest|import\(|innerHTML|eval\(|document\.write", page.inside["script"][1]
    )


def test_strangers_text_is_only_text(evil_page):
    page = elements(evil_page)
    assert len(page.inside["script"]) == 2
    assert not [tag for tag, _ in page.tags if tag in ("img", "textarea", "iframe", "object")]
    assert {name for name, _ in page.tags if name == "svg"}, "our own drawings are there"
    assert EVIL in page.data["texts"][1] or EVIL in json.dumps(page.data["samples"]), "and the text is whole"
    assert page.data["rows"][1]["name"] == EVIL_ROWS[1]
    assert "</script" not in page.inside["script"][0] and "<!--" not in page.inside["script"][0]


def test_same_audit_gives_the_same_bytes(demo, demo_page, tmp_path):
    assert write_html(demo, tmp_path / "again.html").read_bytes() == demo_page.read_bytes()
    assert not list(tmp_path.glob(".*")), "nothing half-written is left"


def test_torch_stays_out(tmp_path):
    code = (
        "import sys; from tests.report.fake_audit import demo_audit; from keepsight.report import matrix_table;"
        f"m = demo_audit(12); m.report({str(tmp_path / 'p.html')!r}); matrix_table(m);"
        "heavy = {'torch', 'transformers', 'peft', 'datasets', 'sklearn', 'matplotlib'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- matrices that are not like the demo's -----------------------------------------------------------------------


def silent(matrix: ResultMatrix) -> ResultMatrix:
    """The same audit with nothing scored."""
    word = Score(math.nan, status="judge_failed", explanation="503")
    runs = {
        (row, col): run_of(row, col, [replace(r, scores=dict.fromkeys(r.scores, word)) for r in run.records])
        for (row, col), run in matrix.runs.items()
    }
    return replace(matrix, runs=runs)


PAIR = {("base", "x"): RIGHT * 10, ("lora/epoch-1", "x"): GONE}
FAILED = {"failed": [{"row": "lora/epoch-1", "col": "y", "error": "projector.safetensors is missing"}]}
ODD = {
    "one cell": (small_audit({("base", "x"): RIGHT * 10}), "nothing to compare it with"),
    "one column": (small_audit(PAIR), "forgot 1 of 1 set: the largest drop is x, 100 → 0 %"),
    "failed cells": (small_audit(PAIR, cols=("x", "y"), meta=FAILED), "projector.safetensors is missing"),
    "no cell": (small_audit({}, rows=("base", "a"), cols=("x",)), "every cell failed"),
    "no sample": (small_audit({("a", "x"): [], ("b", "x"): []}), "No checkpoint could be compared with a"),
    "nothing scored": (silent(small_audit(PAIR)), "60 of 60 answers could not be scored"),
    "nothing changed": (
        small_audit({("base", "x"): RIGHT * 10, ("a", "x"): RIGHT * 10, ("b", "x"): RIGHT * 10}),
        "a shows no evidence of forgetting on 1 set; b shows no evidence",
    ),
    "separate models": (
        small_audit({("base", "x"): RIGHT * 10, ("a", "x"): RIGHT * 10, ("b", "x"): GONE}),
        "b forgot 1 of 1 set: the largest drop is x, 100 → 0 %; a shows no evidence",
    ),
    "base failed": (small_audit({("a", "x"): GONE}, rows=("base", "a")), "No checkpoint could be compared"),
    "different questions": (
        replace(
            small_audit(PAIR),
            runs={**small_audit(PAIR).runs, ("base", "x"): small_audit(PAIR, prompt="?")["base", "x"]},
        ),
        "has another prompt",
    ),
    "strange meta": (
        small_audit(PAIR, meta={"tuned_on": {"gone": "x", "base": "never"}, "failed": "no list"}),
        "forgot 1",
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_matrix(name, tmp_path):
    matrix, words = ODD[name]
    page = elements(write_html(matrix, tmp_path / "odd.html"))
    assert words in plain(tmp_path / "odd.html")
    assert set(page.data["cells"]) == {
        f"{r}.{c}" for r in range(len(matrix.rows)) for c in range(len(matrix.cols))
    }


def plain(path) -> str:
    """The page's text without markup, blanks as one."""
    body = re.sub(r"<(script|style).*?</\1>", "", path.read_text(encoding="utf-8"), flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", "", body).split())


def test_many_classes(tmp_path):
    labels = [f"class number {place}" for place in range(400)]
    cells = {
        ("base", "big"): labels * 2,
        ("lora", "big"): [*labels[:200], *["class number 7"] * 200, *labels],
    }
    path = write_html(small_audit(cells, labels, prompt=", ".join(labels)), tmp_path / "big.html")
    assert path.stat().st_size < 1_000_000
    assert "The 30 most forgotten of 400 classes." in plain(path)


def test_large_matrix_stays_a_page(tmp_path):
    rows = ("base", *(f"{method}/epoch-{epoch}" for method in ("a", "b") for epoch in range(1, 7)))
    cells = {
        (row, f"task-{col}"): RIGHT * 4 if row == "base" else GONE[:12] for row in rows for col in range(16)
    }
    path = write_html(small_audit(cells), tmp_path / "large.html")
    assert path.stat().st_size < 2_000_000


@pytest.mark.parametrize("rows, cols", [((), ("x",)), (("a",), ())])
def test_empty_matrix_is_refused(rows, cols, tmp_path):
    with pytest.raises(KeepsightError, match="no row or no column"):
        write_html(ResultMatrix(rows, cols, {}), tmp_path / "none.html")


def test_path_that_cannot_be_written(demo, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KeepsightError, match=r"page\.html cannot be written: (File exists|Not a directory)"):
        write_html(small_audit(PAIR), tmp_path / "file" / "page.html")


def test_links_to_runs_are_relative_and_stay_near_the_page(tmp_path):
    matrix = small_audit(PAIR)
    near, far = tmp_path / "out" / "runs" / "base" / "x", tmp_path / "elsewhere"
    runs = {("base", "x"): replace(matrix["base", "x"], path=near)}
    runs["lora/epoch-1", "x"] = replace(matrix["lora/epoch-1", "x"], path=far)
    data = elements(write_html(replace(matrix, runs=runs), tmp_path / "out" / "page.html")).data
    assert data["cells"]["0.0"]["path"] == "runs/base/x"
    assert data["cells"]["1.0"]["path"] == ""
    assert str(tmp_path) not in (tmp_path / "out" / "page.html").read_text()
