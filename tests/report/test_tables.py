"""What the page tells of failures, changes and judges: the sums fit the runs."""

from keepsight.report.changes import Changes, flows, has_classes, heats, merged
from keepsight.report.comparisons import read_audit
from keepsight.report.details import page_data
from keepsight.report.failures import failures
from keepsight.report.gallery import Caps, build_gallery
from keepsight.report.grid import rows, scale, shade_of
from keepsight.report.judging import judges
from tests.report.fake_audit import small_audit


def test_failure_bars_hold_every_answer(demo):
    found = failures(read_audit(demo))
    assert found.apart and [bar.n for bar in found.rows] == [360] * 7
    for bar, row in zip(found.rows, demo.rows):
        records = [r for col in demo.cols[1:] for r in demo[row, col].records]
        unread = sum(not record.scores["taxonomy"].scored for record in records)
        assert sum(bar.counts) == bar.n - unread
    assert found.rows[0].leaked == 0 < found.rows[3].leaked < found.rows[6].leaked
    assert "interval" in found.rows[6].leak.hint


def test_flow_counts_are_the_changed_answers(demo):
    changes = Changes(read_audit(demo))
    every = changes.flows(6, 0, 2)
    shown, left = merged(every, 3)
    assert sum(row.n for row in shown) + left == sum(
        flow.count for flow in every if flow.before != flow.after
    )
    assert shown[0].n >= shown[1].n >= shown[2].n and shown[0].wide == 1.0
    worst = flows(changes)
    assert worst[0].title == "lora/epoch-3 on cards" and all(flow.row in (3, 6) for flow in worst)


def test_class_squares(demo):
    heat = next(heat for heat in heats(Changes(read_audit(demo)), most=24) if heat.title == "cards")
    assert [row.label for row in heat.rows] and len(heat.rows) == 4
    assert [step.title for step in heat.steps] == ["base", "1", "2", "3", "1", "2", "3"]
    assert [(span.title, span.span) for span in heat.methods] == [("linear", 3), ("lora", 3)]
    assert all(len(row.squares) == 7 and row.n == 15 for row in heat.rows)


def test_targets_of_their_own_are_no_classes():
    captions = [f"caption {place}" for place in range(30)]
    matrix = small_audit({("base", "x"): captions, ("a", "x"): ["?"] * 30}, captions)
    assert not has_classes(matrix["base", "x"])
    assert Changes(read_audit(matrix)).classes(1, 0, 0) == []
    assert has_classes(small_audit({("base", "x"): ["cat", "dog", "ship"] * 2})["base", "x"])


def test_judges_are_compared_over_the_other_sets(demo):
    found = judges(read_audit(demo))
    assert found.names == ("label", "embedding", "llm") and len(found.pairs) == 3
    assert found.rows[0].shares[0].hint == "327 of 358, 95 % interval 88.0–93.8; 2 not scored"
    base, worst = found.rows[0].pairs[0], found.rows[6].pairs[0]
    assert float(base.text) > float(worst.text) and worst.soft.startswith("κ 0.")
    assert len(found.disputed) == 12 and len({case.text for case in found.disputed}) == 12
    assert all(len({word.right for word in case.words if word.right}) == 2 for case in found.disputed)


def test_one_judge_needs_no_section(demo):
    assert judges(read_audit(small_audit({}, rows=("base",), cols=("x",)))) is None


def test_shades():
    assert [shade_of(d) for d in (0.5, 0.2, 0.06, 0.02, 0.001, -0.02, -0.5)] == [-4, -3, -2, -1, 0, 1, 4]
    assert [shade_of(d, "no evidence") for d in (0.5, -0.5, 0.0)] == [-1, 1, 0], (
        "faint where it may be chance"
    )
    assert shade_of(float("nan")) == 0
    assert [step.label for step in scale()][:4] == ["40+", "15–40", "5–15", "1–5"]


def test_mark_is_filled_only_with_evidence(demo):
    audit = read_audit(demo)
    cells = [cell for row in rows(audit)[1:] for cell in row.cells]
    assert {cell.change[0] for cell in cells if cell.verdict == "forgotten"} == {"▼"}
    assert {cell.change[0] for cell in cells if cell.verdict == "no evidence"} <= {"▽", "△", "="}
    assert all(cell.verdict in cell.told for cell in cells)


def test_cells_carry_all_metrics_and_counts(demo, tmp_path):
    audit = read_audit(demo)
    gallery = build_gallery(demo, {}, Caps())
    data = page_data(audit, Changes(audit), gallery, Caps(), tmp_path / "page.html")
    for (row, col), run in demo.runs.items():
        cell = data["cells"][f"{demo.rows.index(row)}.{demo.cols.index(col)}"]
        assert [metric["n"] for metric in cell["metrics"]] == [metric.n for metric in run.metrics]
        assert sum(cell["categories"].values()) <= cell["n"] == len(run.records)
        assert sum(leak["n"] for leak in cell["leaks"]) == cell["n"]
    drop = data["drops"]["base"]["6.2"]
    assert drop["lost"] - drop["gained"] == round(drop["difference"] * drop["n"])
    assert data["lost_by_any"]["base"][2] >= drop["lost"]


def test_sets_without_taxonomy_or_judges_stay_out_of_those_tables():
    cells = {("base", "emt:x"): ["cat", "dog", "ship"] * 4, ("base", "yesno:y"): ["yes", "no", "no"] * 4}
    cells |= {("a", "emt:x"): ["cat", "3", "3"] * 4, ("a", "yesno:y"): ["yes", "yes", "no"] * 4}
    matrix = small_audit(cells)
    for row in matrix.rows:
        for record in matrix[row, "yesno:y"].records:
            del record.scores["taxonomy"], record.scores["embedding"], record.scores["llm"]
    audit = read_audit(matrix)
    assert [bar.n for bar in failures(audit).rows] == [12, 12]
    assert sum(failures(audit).rows[0].counts) == 12
    assert judges(audit).names == ("label", "embedding", "llm")
    assert "12 of 12" in judges(audit).rows[0].shares[0].hint
    assert {case.set for case in judges(audit).disputed} <= {"emt:x", "x"}
