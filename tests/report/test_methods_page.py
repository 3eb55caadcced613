"""Several methods on one page: every figure with its interval, differences on the same samples, claims with verdicts."""

import re

import pytest

from keepsight.report.claims import Claim
from keepsight.report.methods_page import write_methods_page
from keepsight.scoring.continual import average_of_row, continual_difference, continual_metrics
from keepsight.types import KeepsightError, ResultMatrix
from tests.report.fake_audit import EVIL
from tests.report.fake_sequence import fake_sequence

THREE = ("choices", "reading", "boxes")
CLAIMS = [
    Claim(
        "MoELoRA forgets less",
        "CoIN, Table 2",
        "−25.91 against −32.62",
        6.1,
        (3.2, 9.5),
        420,
        "holds",
        "points",
    ),
    Claim(EVIL, "nobody", "–", float("nan"), (float("nan"), float("nan")), 0, "no_evidence"),
]


def multitask():
    whole = fake_sequence(THREE, n=30, forgets=0)
    runs = {("tiny", col): whole["tiny", col] for col in whole.cols}
    runs |= {("1-all", col): whole["3-boxes", col] for col in whole.cols}
    told = {"sequence": {"method": "multitask", "stages": list(THREE)}, "tuned_on": {}}
    return ResultMatrix(("tiny", "1-all"), whole.cols, runs, told)


@pytest.fixture(scope="module")
def methods():
    return {
        "multi-task": multitask(),
        "lora": {
            "high rate": fake_sequence(THREE, n=30, forgets=0.3),
            "low rate": fake_sequence(THREE, n=30, forgets=0.1, learns=0.5),
        },
        "replay": fake_sequence(THREE, n=30, forgets=0.05, learns=0.8),
        "other tasks": fake_sequence(THREE[:2], n=30),
        "broken": ResultMatrix(("tiny", "a", "b"), (), {}),
    }


@pytest.fixture(scope="module")
def html(methods, tmp_path_factory):
    path = write_methods_page(
        methods, CLAIMS, tmp_path_factory.mktemp("m") / "deep" / "m.html", n_resamples=500
    )
    return path.read_text(encoding="utf-8")


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<(style|desc).*?</\1>|<[^>]*>", " ", html, flags=re.DOTALL).split())


def test_every_method_has_its_row(methods, html):
    text = text_of(html)
    lora = continual_metrics(methods["lora"]["high rate"], n_resamples=500)
    acc, bwt = lora["average_accuracy"], lora["backward_transfer"]
    assert (
        f"lora, high rate reference {100 * acc.value:.1f} {100 * acc.low:.1f}–{100 * acc.high:.1f} n 90"
        in text
    )
    assert f"{100 * bwt.value:.1f}".replace("-", "−") in text
    zero = average_of_row(methods["replay"], "tiny", lora.tasks, n_resamples=500)
    assert (
        f"zero-shot the base {100 * zero.value:.1f} {100 * zero.low:.1f}–{100 * zero.high:.1f} n 90" in text
    )
    joint = average_of_row(methods["multi-task"], "1-all", lora.tasks, n_resamples=500)
    assert f"multi-task all tasks at once {100 * joint.value:.1f} " in text
    assert "broken the task that a learnt is not known" in text
    assert text.count("Instruction following") == 2, "link and heading"
    assert text.index("Instruction following") < text.rindex("General knowledge")


def test_differences_are_paired(methods, html):
    found = continual_difference(methods["replay"], methods["lora"]["high rate"], n_resamples=500)
    bwt = found["backward_transfer"]
    told = f"{100 * bwt.value:+.1f} {100 * bwt.low:+.1f} to {100 * bwt.high:+.1f} "
    text = text_of(html)
    after = text[text.index("Minus lora, high rate") :]
    assert told in after and "other tasks 2-reading and 3-boxes have other tasks" in after.replace(
        "3-boxes and 2-reading", "2-reading and 3-boxes"
    )


def test_n_stands_once_where_all_cells_have_the_same(methods, tmp_path):
    same = {name: methods[name] for name in ("lora", "replay")}
    page = write_methods_page(same, [], tmp_path / "m.html", n_resamples=50).read_text(encoding="utf-8")
    heads = [text_of(head) for head in re.findall(r"<thead>.*?</thead>", page, re.DOTALL)[:2]]
    assert all(head.count("n 90") == 3 and head.count("n 60") >= 3 for head in heads)
    assert "n 90" not in text_of(re.search(r"<tbody>.*?</tbody>", page, re.DOTALL).group())


@pytest.mark.parametrize("unseen", [True, False])
def test_a_figure_that_no_method_has_is_no_column(tmp_path, unseen):
    given = {"lora": fake_sequence(THREE, n=30, unseen=unseen)}
    page = write_methods_page(given, [], tmp_path / "m.html", n_resamples=50).read_text(encoding="utf-8")
    assert ("Unseen tasks n 30" in text_of(page)) == ("Mean change against the base" in page) == unseen


def test_matched_where_a_method_has_several_settings(html, methods, tmp_path):
    text = text_of(html)
    assert "Forgetting at a matched new-task score, against lora" in text
    single = {name: methods[name] for name in ("replay",)} | {"lora": methods["lora"]["high rate"]}
    page = write_methods_page(single, [], tmp_path / "m.html", n_resamples=50).read_text(encoding="utf-8")
    assert "a matched" not in page and "Claims" not in page and "Minus replay" in text_of(page)
    page = write_methods_page(single, [], tmp_path / "m.html", reference="lora", n_resamples=50)
    assert "Minus lora" in text_of(page.read_text(encoding="utf-8"))


def test_methods_without_a_common_score_are_named_together(methods, tmp_path):
    """`high` learns more than the two settings of `lora`, so that it shares no score with them."""
    low = {f"{share}": fake_sequence(THREE, n=30, learns=share) for share in (0.3, 0.5)}
    given = {"lora": low, "high": fake_sequence(THREE, n=30, learns=0.9), "as much": low["0.5"]}
    page = write_methods_page(given, [], tmp_path / "m.html", n_resamples=50).read_text(encoding="utf-8")
    learnt = [
        f"{100 * continual_metrics(each, n_resamples=50)['learning_accuracy'].value:.1f}"
        for each in (given["high"], *low.values())
    ]
    told = f"No score that both reach: high ({learnt[0]}). lora learnt to {learnt[1]}–{learnt[2]}."
    assert told in text_of(page) and "which leaves out" not in page
    table = text_of(re.search(r'class="figures through matched">.*?</table>', page, re.DOTALL).group())
    assert f"as much {learnt[2]} " in table and "high" not in table


def test_the_plot_joins_settings(html):
    plot = re.search(r"<svg.*?</svg>", html, re.DOTALL).group()
    assert plot.count("polyline") == 2, "opened and closed: one line, of the method with two settings"
    assert "lora: " in plot and "replay: " in plot and "multi-task" not in plot


def test_claims_and_safety(html):
    text = text_of(html)
    assert "MoELoRA forgets less CoIN, Table 2 −25.91 against −32.62 6.1 points 3.2 to 9.5 420 holds" in text
    assert "<script" not in html and "default-src &#39;none&#39;" in html and "unsafe" not in html
    assert "&lt;/script&gt;" in html


def test_no_sequence_no_page(methods, tmp_path):
    with pytest.raises(KeepsightError, match="no method learnt its tasks in sequence"):
        write_methods_page({"multi-task": methods["multi-task"]}, [], tmp_path / "m.html")
    with pytest.raises(KeepsightError, match="'ewc' is none of the sequences"):
        write_methods_page(methods, [], tmp_path / "m.html", reference="ewc")
