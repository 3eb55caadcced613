"""Rows that cannot be learnt stop a fine-tune before it begins, or are left out, named and counted."""

import json

import pytest
from PIL import Image

from keepsight import verbs
from keepsight.types import KeepsightError

pytestmark = pytest.mark.torch


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Six rows in two forms: three can be learnt, of the others one is no JSON and two have broken pictures."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (20, 20), "red").save("a.png")
    Image.new("RGB", (20, 24), "blue").save("b.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    (tmp_path / "empty.png").touch()

    def llava(image):
        turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cat."}]
        return {"id": image, "image": image, "conversations": turns}

    part = [{"type": "image"}, {"type": "text", "text": "What?"}]
    said = [{"role": "user", "content": part}, {"role": "assistant", "content": "A dog."}]
    rows = [
        llava("a.png"),
        llava("cut.png"),
        {"messages": said, "images": ["b.png"]},
        llava("empty.png"),
        llava("b.png"),
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + '\n{"image": \n')
    return tmp_path


@pytest.fixture
def tune(tiny_llava):
    def call(output="out", **changes):
        settings = {"num_train_epochs": 1, "learning_rate": 0.01, "per_device_train_batch_size": 3}
        return verbs.fine_tune(f"hf:{tiny_llava}", "rows.jsonl", output, **{**settings, **changes})

    return call


@pytest.mark.parametrize("given", [True, 1, 3, 0.5, 0.2])
def test_bad_rows_stop_it_before_anything_is_learnt(data, tune, given):
    with pytest.raises(
        KeepsightError, match=r"3 of 6 rows cannot be learnt: rows\.jsonl, line 6: not JSON.*sample cut\.png"
    ):
        tune(fail_on_error=given)
    assert not (data / "out").exists()


@pytest.mark.parametrize("given", [False, None, 4, 0.6])
def test_allowed_bad_rows_are_left_out_named_and_counted(data, tune, given):
    tuned = tune(fail_on_error=given)
    assert len(tuned.left_out) == 3 and [p.name for p in tuned.checkpoints] == ["epoch-1"]
    rows = [json.loads(line) for line in (data / "out" / "left_out.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["cut.png", "empty.png", None]
    assert "the file is empty" in rows[1]["error"] and "line 6" in rows[2]["error"]
    assert json.loads((data / "out" / "tune.json").read_text())["samples"] == 3


def test_a_resumed_run_leaves_out_the_same_without_looking_again(data, tune, monkeypatch):
    first = tune(fail_on_error=False)
    monkeypatch.setattr("keepsight.tune.left_out.decode", None)  # would fail if it were called
    again = tune(fail_on_error=False)
    assert again.left_out == first.left_out and again.checkpoints == first.checkpoints


def test_on_the_command_line(data, tiny_llava, monkeypatch, capsys):
    from keepsight import cli

    argv = ["keepsight", "tune", f"hf:{tiny_llava}", "--data", "rows.jsonl", "--output_path", "out"]
    argv += ["--num_train_epochs", "1", "--per_device_train_batch_size", "3"]
    for more, code, word in (
        ([], 1, "3 of 6 rows cannot be learnt"),
        (["--fail_on_error", "false"], 3, "3 rows were not learnt, the first: rows.jsonl, line 6"),
    ):
        monkeypatch.setattr("sys.argv", [*argv, *more])
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert left.value.code == code and word in capsys.readouterr().err
