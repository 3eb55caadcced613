"""The log survives a kill; the console line shows loss, throughput and time left."""

import json
from dataclasses import replace

from keepsight.tune.progress import Clock, TrainLog, TrainProgress, console_progress

NOW = TrainProgress(
    step=3, total_steps=10, epoch=1, epochs=2, loss=1.25, learning_rate=1e-3, grad_norm=0.5,
    samples_per_second=80.0, tokens_per_second=4000.0, seconds_left=75.0,
)  # fmt: skip


def test_rows_after_the_resumed_step_and_torn_ones_go(tmp_path):
    path = tmp_path / "train_log.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in (1, 2, 3)) + '{"step": 4, "lo')
    log = TrainLog(path, resumed_step=2)
    log.append({"step": 3, "loss": 1.0})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]


def test_a_new_log_is_empty(tmp_path):
    TrainLog(tmp_path / "train_log.jsonl", resumed_step=0)
    assert (tmp_path / "train_log.jsonl").read_text() == ""


def test_time_between_steps_does_not_count(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    clock = Clock()
    for _ in range(3):
        clock.begin()
        now[0] += 2.0
        clock.end(samples=8, tokens=100)
        now[0] += 50.0  # an audit
    assert clock.rates(steps_left=4) == {
        "samples_per_second": 4.0,
        "tokens_per_second": 50.0,
        "seconds_left": 8.0,
    }


def test_a_log_file_gets_few_lines_and_the_last_one(capsys):
    with console_progress() as shown:
        for step in range(1, 11):
            shown.learning(replace(NOW, step=step))
    assert shown.asking is None
    told = capsys.readouterr()
    assert told.out == "" and told.err.splitlines() == [
        f"tuning epoch 1/2, step {step}/10, loss 1.250, 80.0 samples/s, 1:15 left" for step in (1, 10)
    ]


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("TERM", "xterm")
    with console_progress() as shown:
        shown.learning(NOW)
    assert "step 3/10" in capsys.readouterr().err
    with console_progress() as shown:
        shown.learning(NOW)
        assert shown.asking is not None
        shown.asking("a checkpoint somewhere rows:let\x1b[31m[bold]ters", 7, 60)
    told = capsys.readouterr().err
    assert "…point somewhere rows:let [31m[bold]ters" in told and "7/60" in told
