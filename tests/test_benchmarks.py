"""The benchmarks run and say what they should; how fast anything is, is none of the tests' business."""

import json
from pathlib import Path

import pytest

from benchmarks import (
    BENCHMARKS,
    Record,
    __main__,
    audit_again,
    audit_batched,
    bootstrap,
    checkpoints,
    env_resets,
    env_steps,
    env_vector,
    guidance_cost,
    harness_overhead,
    help_start,
    import_time,
    judge_refill,
    label_scoring,
    label_scoring_kv,
    moelora_step,
    probe_solver,
)
from keepsight.data.drawn import SETS

ROOT = Path(__file__).parents[1]


def test_one_file_and_one_line_per_benchmark():
    files = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - {
        "__init__",
        "__main__",
        "record",
        "checkpoints",
        "labels",
    }
    assert files == set(BENCHMARKS)


@pytest.fixture
def run(monkeypatch):
    def call(*argv: str) -> int:
        monkeypatch.setattr("sys.argv", ["benchmarks", *argv])
        return __main__.main()

    return call


def test_records_are_printed_and_written(run, monkeypatch, tmp_path, capsys):
    good, bad = Record("good", 12.5, 10, True, 3, "as told"), Record("bad", 1.0, 10, False, 3, "too slow")
    monkeypatch.setattr(__main__, "BENCHMARKS", {"good": lambda ref: good, "bad": lambda ref: bad})
    assert run("good") == 0 and capsys.readouterr().out == "ok   good: 12.5 (goal 10), as told\n"
    assert run("--json", str(tmp_path / "b.json")) == 1
    records = json.loads((tmp_path / "b.json").read_text())
    assert [record["name"] for record in records] == ["good", "bad"]
    assert list(records[0]) == ["name", "ratio", "goal", "ok", "n", "detail"]
    with pytest.raises(SystemExit):
        run("ugly")


def test_a_narrow_miss_can_be_seen(run, monkeypatch, capsys):
    ratios = {"wide": 1.3, "narrow": 1.1041, "same": 1.1}
    records = {name: Record(name, ratio, 1.1, False, 3, "-") for name, ratio in ratios.items()}
    monkeypatch.setattr(__main__, "BENCHMARKS", {name: lambda ref, r=r: r for name, r in records.items()})
    assert run() == 1
    shown = [line.split(": ")[1].split()[0] for line in capsys.readouterr().out.splitlines()]
    assert shown == ["1.3", "1.104", "1.1"]


def test_start_and_bootstrap(monkeypatch):
    monkeypatch.setattr(help_start, "RUNS", 1)
    monkeypatch.setattr(bootstrap, "SAMPLES", 300)
    monkeypatch.setattr(bootstrap, "RESAMPLES", 300)
    monkeypatch.setattr(harness_overhead, "PICTURES", 30)
    for record in (
        help_start.measure(),
        bootstrap.measure(),
        import_time.measure(),
        harness_overhead.measure(),
    ):
        assert record.ratio > 0 and record.n in (1, 30, 300)


def test_resets_of_an_environment(monkeypatch):
    for name, value in {"RESETS": 20, "TRIED": 1, "DRAWN": 2, "CARD_WIDTH": 60}.items():
        monkeypatch.setattr(env_resets, name, value)
    record = env_resets.measure()
    assert record.ratio > 0 and record.n == 20 and "s a hand" in record.detail


def test_ranking_of_labels(monkeypatch):
    """Both ways give the same log-probabilities, or the benchmark itself stops."""
    monkeypatch.setattr(guidance_cost, "RUNS", 1)
    for record in (label_scoring.measure("tiny", 12, 60), label_scoring_kv.measure("tiny", 12, 60)):
        assert record.ratio > 1 and record.n == 12
    assert guidance_cost.measure("tiny", 8).ratio > 0


def test_a_judge_behind_a_server(monkeypatch):
    monkeypatch.setattr(judge_refill, "QUESTIONS", 20)
    record = judge_refill.measure()
    assert record.n == 20 and "all answers the same" in record.detail


def test_environments_alone_and_together(monkeypatch):
    """Both painters give nearly the same frames and the same rewards, or the benchmark itself stops."""
    for module, name, value in ((env_steps, "STEPS", 40), (env_vector, "FRAMES", 40)):
        monkeypatch.setattr(module, name, value)
        monkeypatch.setattr(module, "RUNS", 1)
        record = module.measure()
        assert record.n == 40 and record.ratio > 0 and "points24 index" in record.detail


@pytest.mark.torch
def test_both_audits_on_a_random_model(tiny_llava, monkeypatch):
    monkeypatch.setattr(checkpoints, "SETS", {name: SETS[name] for name in ("letters", "colours")})
    monkeypatch.setattr(audit_batched, "PICTURES", 2)
    monkeypatch.setattr(audit_batched, "STARTS", 1)
    monkeypatch.setattr(audit_batched, "LIBRARIES", "import json")
    monkeypatch.setattr(audit_again, "PICTURES", 2)
    ref = f"hf:{tiny_llava}"
    batched, again = audit_batched.measure(ref), audit_again.measure(ref)
    assert batched.n == again.n == 4 * 2 * 2
    assert "all the same" in batched.detail and "0 model calls" in again.detail


@pytest.mark.torch
def test_two_ways_to_train_a_probe(tiny_llava, monkeypatch):
    monkeypatch.setattr(probe_solver, "DRAWN", {"letters": SETS["letters"]})
    for name, value in {"TRAIN": 40, "VALIDATION": 10, "TEST": 10, "REPEATS": 1, "EPOCHS": 2}.items():
        monkeypatch.setattr(probe_solver, name, value)
    record = probe_solver.measure(f"hf:{tiny_llava}")
    assert record.n == 2 and record.ratio > 0 and "for 40 pictures" in record.detail


@pytest.mark.torch
def test_steps_with_experts_and_without(monkeypatch):
    """The mixture and the loop over its experts give the same logits, or the benchmark itself stops."""
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    for name, value in {"SIZES": small, "BATCH": (2, 5), "RANK": 16, "REPEATS": 2, "LOOPED": 1}.items():
        monkeypatch.setattr(moelora_step, name, value)
    record = moelora_step.measure()
    assert record.n == 2 and record.ratio > 0 and "a loop over them" in record.detail
