"""The gate over runs on disk: what is compared with what, and the decision that follows."""

import json

import pytest

import keepsight as ks
from keepsight.gating import gate
from keepsight.store import Store
from keepsight.types import KeepsightError
from tests.fake_vlm import FakeVLM, make_task, samples


@pytest.fixture
def audited(tmp_path):
    """An audit of a base, a checkpoint as good and one that lost half, on two tasks of 200."""
    asked = samples(200)
    wrong = {f"s{i:03}": "mouse" for i in range(100)}
    models = [FakeVLM("base", "b"), FakeVLM("kept", "k"), FakeVLM("lost", "l", wrong)]
    chosen = [make_task(asked, name=name) for name in ("pets", "wild")]
    return ks.audit(models, chosen, tmp_path / "out", report=False), tmp_path / "out"


def outcomes(found):
    return {(cell.row, cell.col): cell.outcome for cell in found.cells}


def test_an_audit_is_held_to_its_base(audited):
    matrix, path = audited
    found = gate([path], 0.03)
    assert outcomes(found) == {
        ("kept", "pets"): "within",
        ("kept", "wild"): "within",
        ("lost", "pets"): "beyond",
        ("lost", "wild"): "beyond",
    }
    assert found.decision == "failed" and found == gate(matrix, 0.03) == gate([path / "matrix.json"], 0.03)
    cell = found.cells[-1]
    assert cell.forgotten == 0.5 and 0.03 < cell.low < 0.5 < cell.high and (cell.n, cell.unpaired) == (200, 0)
    json.dumps(found.as_dict(), allow_nan=False)


def test_runs_are_held_to_the_first_of_their_task(audited):
    matrix, _ = audited
    runs = [matrix[row, col].path for row in ("base", "kept") for col in matrix.cols]
    assert gate(runs, 0.03).decision == "passed"
    assert [cell.row for cell in gate(runs, 0.03).cells] == ["kept", "kept"]
    assert gate([matrix["base", "pets"], matrix["lost", "pets"]], 0.03).decision == "failed"
    turned = gate([matrix["lost", "pets"], matrix["base", "pets"]], 0.03)
    assert turned.decision == "passed" and turned.cells[0].forgotten == -0.5


def test_strict_asks_for_more_and_tasks_choose(audited):
    matrix, path = audited
    assert gate([path], 0.01, tasks=["pets"]).decision == "failed"
    kept = [matrix["base", "pets"], matrix["kept", "pets"]]
    assert outcomes(gate(kept, 0.01)) == {("kept", "pets"): "undecided"}
    assert gate(kept, 0.01).decision == "passed" and gate(kept, 0.01, strict=True).decision == "failed"
    assert gate(kept, 0.03, strict=True).decision == "passed"


def test_what_cannot_be_compared_is_too_little_data(tmp_path):
    store = tmp_path / "out"
    base, other, few = FakeVLM("base", "b"), FakeVLM("other", "o"), FakeVLM("few", "f")
    before = ks.evaluate_tasks(base, [make_task(samples(200), name="pets")], store)["base", "pets"]
    changed = make_task(samples(200, prompt="What else is it?"), name="pets")
    after = ks.evaluate_tasks(other, [changed], store)["other", "pets"]
    found = gate([before, after], 0.03)
    assert (
        found.decision == "too little data" and "another prompt in other than in base" in found.cells[0].why
    )
    assert found.cells[0].forgotten is None

    apart = [ks.Sample(f"t{i}", "?", target=("cat",)) for i in range(5)]
    elsewhere = ks.evaluate_tasks(few, [make_task(apart, name="pets")], store)["few", "pets"]
    assert "no scored sample in common" in gate([before, elsewhere], 0.03).cells[0].why
    assert gate([before, elsewhere], 0.03).cells[0].unpaired == 205

    broken = FakeVLM("stopped", "s", interrupt_after=5)
    with pytest.raises(KeyboardInterrupt):
        ks.evaluate_tasks(broken, [make_task(samples(200), name="pets")], store)
    (path,) = [p for p in Store(store).runs() if ks.load_run(p).manifest["status"] == "cancelled"]
    assert "is not finished (cancelled)" in gate([before, path], 0.03).cells[0].why


def test_a_cell_that_failed_is_named(tmp_path):
    broken = FakeVLM("broken", "x", answers={"s000": RuntimeError("no memory")})
    matrix = ks.audit([FakeVLM("base", "b"), broken], [make_task(name="pets")], tmp_path, report=False)
    found = gate(matrix, 0.1)
    assert found.decision == "too little data" and found.cells[0].why == "RuntimeError: no memory"


def test_wrong_gates_are_refused(audited):
    matrix, path = audited
    with pytest.raises(KeepsightError, match="task pets has one run"):
        gate([matrix["base", "pets"]], 0.1)
    with pytest.raises(KeepsightError, match="no run of task 'birds' is gated; there are pets, wild"):
        gate([path], 0.1, tasks=["birds"])
    with pytest.raises(KeepsightError, match="nothing to compare"):
        gate([], 0.1)
    for limit in (-1, 2, float("nan"), float("inf")):
        with pytest.raises(
            KeepsightError, match=f"max_forgetting is {limit}; give a share: 0.02 is 2 points"
        ):
            gate([path], limit)
    for name in (
        "x" * 300,
        str(path / ("x" * 300)),
    ):  # some Pythons raise where others say that nothing is there
        with pytest.raises(KeepsightError, match="File name too long"):
            gate([name], 0.1)
    with pytest.raises(KeepsightError, match="level is 95; give a probability"):
        gate([path], 0.1, level=95)
    with pytest.raises(KeepsightError, match=r"is no run but holds 6; give the ones you mean: .*, or all: "):
        gate([path / "runs"], 0.1)
