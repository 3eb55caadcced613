"""A training in sequence on the page and in the terminal: there when the matrix is one, and nowhere else."""

import re
from dataclasses import replace

import pytest
from rich.cells import cell_len

from keepsight.report import matrix_table, write_html
from keepsight.report.comparisons import read_audit
from keepsight.report.continual import NAMES, figure_cell, read_figures
from keepsight.report.gates import gates
from keepsight.report.lineage import lines
from keepsight.report.sequence import sequence_verdict, sequence_view
from keepsight.scoring.continual import average_of_row, continual_metrics
from keepsight.scoring.format_loss import overall_loss
from keepsight.types import MetricValue, ResultMatrix
from tests.report.fake_audit import EVIL, evil_audit
from tests.report.fake_sequence import fake_gates, fake_sequence

THREE = ("choices", "reading", "boxes")


@pytest.fixture(scope="module")
def matrix():
    return fake_sequence(THREE, n=40, meta={"gates": {"3-boxes": fake_gates(THREE, experts=4)}})


@pytest.fixture(scope="module")
def section(matrix, tmp_path_factory):
    """The section's text, tags taken out."""
    html = write_html(matrix, tmp_path_factory.mktemp("sequence") / "page.html").read_text(encoding="utf-8")
    (inside,) = re.findall(r'<section id="sequence".*?</section>', html, re.DOTALL)
    return " ".join(re.sub(r"<(style|title|desc).*?</\1>|<[^>]*>", " ", inside, flags=re.DOTALL).split())


def test_the_table_has_every_figure_of_both_scorers(matrix, section):
    found = [continual_metrics(matrix, scorer=scorer) for scorer in (None, "semantic")]
    assert "lora+replay: 3 stages." in section
    assert "Instruction following General knowledge" in section
    for title, name, sign in (
        ("Average at the end (ACC)", "average_accuracy", ""),
        ("Mean over stages (MAA)", "mean_average_accuracy", ""),
        ("Backward transfer (BWT), formula", "backward_transfer", "+"),
        ("Backward transfer (BWT), CoIN's tables", "backward_transfer_coin_tables", "+"),
        ("Maximal forgetting", "maximal_forgetting", "+"),
        ("Unseen tasks", "unseen", "+"),
    ):
        told = [f"{100 * each[name].value:{sign}.1f}".replace("-", "−") for each in found]
        pattern = rf"{re.escape(title.replace(chr(39), '&#39;'))} {re.escape(told[0])} \S+( to \S+)? {found[0][name].n} {re.escape(told[1])} "
        assert re.search(pattern, section), (title, told)
    n = {each["average_accuracy"].n for each in found}
    assert n == {120} and found[0]["unseen"].n == 40


def test_the_triangle_tells_since_when(matrix):
    view = sequence_view(read_audit(matrix), read_figures(matrix))
    assert view.tasks == ("choices", "reading", "boxes", "emt:shapes") and view.first_unseen == 3
    assert [[square.kind for square in row.squares] for row in view.triangle] == [
        ["before", "before", "before", "unseen"],
        ["learnt", "before", "before", "unseen"],
        ["since", "learnt", "before", "unseen"],
        ["since", "since", "learnt", "unseen"],
    ]
    forgotten = view.triangle[3].squares[0]
    assert forgotten.shade < -1 and "points" not in forgotten.text and "since it was learnt" in forgotten.hint
    assert "forgotten" in forgotten.hint and forgotten.place == (3, 0)
    assert view.triangle[0].squares[0].shade == 0, "what is not yet learnt cannot be forgotten"


def test_lost_form_beside_lost_knowledge(matrix, section):
    view = sequence_view(read_audit(matrix), read_figures(matrix))
    assert [row.title for row in view.losses] == [
        "choices",
        "reading",
        "all of these",
    ]  # what the last stage teaches lost nothing
    found = overall_loss(matrix, knowledge="semantic")
    shares = [100 * part.value for part in (found.lost, *found.parts)]
    assert [cell.text for cell in view.losses[-1].cells] == [f"{share:.1f}" for share in shares]
    assert shares[0] == pytest.approx(sum(shares[1:])) and shares[1] > 0 and found.n == 80
    assert (
        "Form or knowledge Answers that were right when" in section
        and "by semantic the truth is still said" in section
    )
    for left in (fake_sequence(THREE, n=20, judge=None), fake_sequence(THREE, n=20, done=1)):
        assert not sequence_view(read_audit(left), read_figures(left)).losses


def test_one_curve_per_task_with_its_stage_and_its_judge(matrix, section):
    view = sequence_view(read_audit(matrix), read_figures(matrix))
    assert [(chart.title, chart.learnt) for chart in view.charts] == [
        *((name, True) for name in THREE),
        ("emt:shapes", False),
    ]
    for chart in view.charts:
        assert chart.svg.count('class="dot"') == 4 and chart.svg.count('class="ghost"') == 1
        assert chart.svg.count('class="learnt"') == chart.learnt
    assert "Grey: general knowledge." in section and "Step by step" not in section


def test_the_page_says_first_what_was_forgotten_since_learning(matrix):
    found = sequence_verdict(read_figures(matrix), 0.95)
    bwt = continual_metrics(matrix)["backward_transfer"]
    assert found.text.startswith(
        f"After 3 stages, lora+replay lost {-100 * bwt.value:.1f} points per earlier task"
    )
    assert f"interval {-100 * bwt.high:.1f} to {-100 * bwt.low:.1f}): most on choices, " in found.text
    assert [line.kind for line in found.lines][:2] == ["no evidence", "forgotten"]
    kept = sequence_verdict(
        read_figures(fake_sequence(THREE, n=40, forgets=0, unseen=False, judge=None)), 0.95
    )
    assert "shows no evidence of a change on earlier tasks" in kept.text and len(kept.lines) == 1


def test_the_terminal_prints_it(matrix):
    text = matrix_table(matrix)
    acc = continual_metrics(matrix)["average_accuracy"]
    assert "3 stages by lora+replay, 95 % intervals:" in text
    assert f"ACC               {100 * acc.value:.1f} [{100 * acc.low:.1f}–{100 * acc.high:.1f}] n 120" in text
    assert all(word in text for word in ("BWT 1/(T−1)", "BWT 1/T (CoIN)", "General knowledge:", "unseen"))
    for width in (40, 60, 100):
        assert max(map(cell_len, matrix_table(matrix, width).splitlines())) <= width


def test_an_ordinary_audit_has_none_of_it(demo, demo_page):
    html = demo_page.read_text(encoding="utf-8")
    assert "Through the sequence" not in html and 'href="#sequence"' not in html and ".triangle" not in html
    assert "stages" not in matrix_table(demo) and read_figures(demo) is None


def test_an_unfinished_sequence_says_how_far_it_is(tmp_path):
    matrix = fake_sequence(THREE, done=2, n=30, judge=None)
    found = read_figures(matrix)
    assert found.done == "2 of 3 stages"
    assert found.by_scorer[0].metrics.unseen == ("drawn:boxes", "emt:shapes"), "not learnt yet"
    assert "2 of 3 stages by lora+replay" in matrix_table(matrix)


def without(matrix, *cells):
    runs = {cell: run for cell, run in matrix.runs.items() if cell not in cells}
    return ResultMatrix(matrix.rows, matrix.cols, runs, matrix.meta)


def test_what_is_no_sequence_has_its_reason_on_the_page(tmp_path):
    broken = without(fake_sequence(THREE, n=20), ("3-boxes", "drawn:choices"))
    html = write_html(broken, tmp_path / "a.html").read_text(encoding="utf-8")
    assert "No figures of this sequence: there is no result of 3-boxes on drawn:choices" in html
    assert "Step by step" in html and "forgot" in html, "the ordinary sections stay"
    assert "No figures of the sequence by lora+replay" in matrix_table(broken)
    early = without(fake_sequence(THREE, n=20), ("tiny", "drawn:boxes"), ("1-choices", "drawn:boxes"))
    html = write_html(early, tmp_path / "b.html").read_text(encoding="utf-8")
    assert 'data-kind="none"' in html and "No figures" not in html


def test_multi_task_training_is_no_failure(tmp_path):
    whole = fake_sequence(THREE, n=20)
    runs = {("tiny", col): whole["tiny", col] for col in whole.cols}
    runs |= {("1-all", col): whole["3-boxes", col] for col in whole.cols}
    joint = ResultMatrix(
        ("tiny", "1-all"), whole.cols, runs, {"sequence": {"stages": list(THREE), "method": "multitask"}}
    )
    figures = read_figures(joint)
    assert "learnt all at once" in figures.by_scorer[0].metrics.why_not["backward_transfer"]
    html = write_html(joint, tmp_path / "joint.html").read_text(encoding="utf-8")
    assert "3 tasks learnt all at once" in html and "there is no BWT" in html and "No figures" not in html
    assert html.count('<td data-kind="learnt"') == 3, "every task by the one row"
    for name, row in (("zero_shot", "tiny"), ("average_accuracy", "1-all")):
        mean = average_of_row(joint, row, whole.cols[:3])
        shown = figure_cell(name, mean, share=True)
        told = f"{NAMES[name].short:<15} {shown.text:>6} [{shown.ends}] n {shown.n}"
        assert told in matrix_table(joint) and shown.ends in html


def test_a_judge_that_has_not_read_all_is_left_out():
    matrix = fake_sequence(THREE, n=10, judge="general_knowledge")
    run = matrix["tiny", "drawn:boxes"]
    first = replace(run.records[0], scores={"label": run.records[0].scores["label"]})
    runs = {**matrix.runs, ("tiny", "drawn:boxes"): replace(run, records=(first, *run.records[1:]))}
    part = ResultMatrix(matrix.rows, matrix.cols, runs, matrix.meta)
    assert [each.title for each in read_figures(matrix).by_scorer] == [
        "Instruction following",
        "General knowledge",
    ]
    assert [each.title for each in read_figures(part).by_scorer] == ["Instruction following"]


@pytest.mark.parametrize(
    ("name", "ends", "verdict"),
    [
        ("backward_transfer", (-0.3, -0.1), "forgotten"),
        ("backward_transfer", (-0.3, 0.0), "no evidence"),
        ("backward_transfer", (0.1, 0.3), "improved"),
        ("maximal_forgetting", (0.1, 0.3), "forgotten"),
        ("maximal_forgetting", (-0.3, -0.1), "improved"),
        ("average_accuracy", (0.1, 0.3), ""),
    ],
)
def test_colour_follows_the_interval(name, ends, verdict):
    cell = figure_cell(name, MetricValue(name, sum(ends) / 2, *ends, 9, 10), share=True)
    assert cell.verdict == verdict and cell.n == "9/10"


def test_scores_beyond_one_are_not_written_in_per_cent():
    value = MetricValue("x", -1.25, -2.0, -0.5, 9, 9)
    cell = figure_cell("backward_transfer", value, share=False)
    assert (cell.text, cell.ends) == ("−1.25", "−2 to −0.5")
    assert (
        figure_cell("average_accuracy", replace(value, value=6.2, low=5.8, high=6.6), share=False).text
        == "6.2"
    )


def test_rows_that_are_counted_are_one_line_of_stages():
    (line,) = lines(["base", "1-choices", "2-reading", "3-boxes"])
    assert (line.rows, line.steps, line.ends) == ((1, 2, 3), ("choices", "reading", "boxes"), (3,))
    assert len(lines(["base", "1-a", "3-b"])[0].ends) == 2, "not counted from 1: separate checkpoints"


# ---- gates ----


def test_gates_are_a_table_of_experts_and_tasks(matrix, section):
    found = gates(matrix)
    assert found.title == "3-boxes" and found.experts == ("1", "2", "3", "4")
    assert [row.title for row in found.rows] == list(THREE)
    assert [[square.text for square in row.squares] for row in found.rows][1] == [
        "21.7",
        "35.0",
        "21.7",
        "21.7",
    ]
    assert found.rows[1].squares[1].shade == 2 and found.rows[1].squares[0].shade == -1
    assert "expert 1 differs" not in found.note and "at most 13.3 points" in found.note
    assert "Which expert works for which task" in section and "an even share is 25.0" in section


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {},
        "gates",
        {"3-boxes": None},
        {"elsewhere": fake_gates(THREE)},
        {"3-boxes": {"drawn:boxes": {}}},
        {"3-boxes": {"drawn:boxes": {"mean": [], "entropy": []}}},
        {"3-boxes": {"drawn:boxes": {"mean": [[]], "entropy": [1]}}},
        {"3-boxes": {"drawn:boxes": {"mean": [[0.5, 0.5], [1]], "entropy": [1, 1]}}},
        {"3-boxes": {"drawn:boxes": {"mean": [["x", 1]], "entropy": [1]}}},
        {"3-boxes": {**fake_gates(["a"], 4), **fake_gates(["b"], 8)}},
    ],
)
def test_gates_of_another_shape_are_not_shown(told):
    assert gates(ResultMatrix(("tiny", "3-boxes"), (), {}, {"gates": told})) is None


def test_strangers_names_stay_text(tmp_path):
    evil = evil_audit()
    told = {
        "sequence": {"stages": [EVIL], "method": EVIL},
        "tuned_on": dict(zip(evil.rows[1:], evil.cols)),
        "gates": {evil.rows[1]: {EVIL: {"layers": [EVIL], "mean": [[0.5, 0.5]], "entropy": [0.6]}}},
    }
    rows = evil.rows[:4]
    runs = {(row, col): run for (row, col), run in evil.runs.items() if row in rows}
    html = write_html(ResultMatrix(rows, evil.cols, runs, told), tmp_path / "evil.html").read_text(
        encoding="utf-8"
    )
    assert "Which expert" in html and html.count("<script") == 2 and "<img src=x" not in html
