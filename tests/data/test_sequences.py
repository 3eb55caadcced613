"""Sequences as users write them down, well and badly."""

from pathlib import Path

import pytest

from keepsight.data.sequences import SequenceSpec, StageSpec, in_order, read_sequence
from keepsight.types import KeepsightError

GOOD = """
config: {num_train_epochs: 2}
task_args: {instruction: type2}
stages:
  - emt:shapes
  - name: mine
    data: rows.json
    task: emt:letters
    image_folder: pictures
    config: {learning_rate: 0.1}
  - data: rows.json
tasks: [emt:digits]
"""


def test_a_sequence_is_read_with_files_beside_it(tmp_path):
    (tmp_path / "rows.json").write_text("[]")
    (tmp_path / "s.yaml").write_text(GOOD)
    shared, args = {"num_train_epochs": 2}, {"instruction": "type2"}
    rows = tmp_path / "rows.json"
    assert read_sequence(tmp_path / "s.yaml") == SequenceSpec(
        (
            StageSpec("shapes", "emt:shapes", task_args=args, config=shared),
            StageSpec(
                "mine", "emt:letters", rows, tmp_path / "pictures", args, {**shared, "learning_rate": 0.1}
            ),
            StageSpec("rows", f"rows:{rows}", task_args=args, config=shared),
        ),
        ("emt:digits",),
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not a mapping"),
        ("[1, 2]", "is a list; put it under the key stages:"),
        ("stages: []", "stages must be a list with at least one stage"),
        ("stages: emt:shapes", "stages must be a list"),
        ("stages: [{}]", "stage 1 names neither data nor task"),
        ("stages: [emt:shapes, 7]", "stage 2 is not a mapping"),
        ("stages: [{task: x, epochs: 3}]", "stage 1: unknown key 'epochs'; known are name, task, data"),
        ("stages: [{data: gone.json}]", "stage 1: data: no file gone.json in"),
        ("stages: [emt:shapes]\nstage: 1", "unknown key 'stage'"),
        ("stages: [emt:shapes]\ntasks: emt:digits", "tasks must be a list of task names"),
        ("stages: [{task: a, config: 3}]", "stage 1: config is not a mapping"),
        ("stages: [!!python/object/apply:os.system ['true']]", "cannot be read as YAML"),
        ("stages: [emt:a]\nstages: [emt:b]", "the key 'stages' stands twice in the mapping of line 1"),
        (
            "stages:\n- task: a\n  config: {seed: 1, 'seed': 2}",
            "the key 'seed' stands twice in the mapping of line 3",
        ),
        ("stages: [", "cannot be read as YAML"),
        ("\x00", "cannot be read as YAML"),
    ],
)
def test_one_line_says_what_is_wrong(tmp_path, text, told):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(KeepsightError, match=r"s\.yaml") as caught:
        read_sequence(path)
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(KeepsightError, match="no such file; give a YAML file"):
        read_sequence(tmp_path / "gone.yaml")


def test_a_key_may_stand_beside_what_it_is_merged_with(tmp_path):
    (tmp_path / "s.yaml").write_text(
        "stages: [{task: a, config: &c {seed: 1, lora_r: 2}}, {task: b, config: &d {<<: *c, seed: 3}}]\n"
        "config: {<<: *d, lora_r: 4, save_steps: 5}"
    )
    assert [dict(stage.config) for stage in read_sequence(tmp_path / "s.yaml").stages] == [
        {"seed": 1, "lora_r": 2, "save_steps": 5}, {"seed": 3, "lora_r": 2, "save_steps": 5},
    ]  # fmt: skip


@pytest.mark.parametrize("by", ["a relative path", "an absolute path"])
def test_what_lies_beside_the_file_takes_no_known_name(tmp_path, monkeypatch, by):
    for folder in ("letters", "birds"):
        (tmp_path / folder).mkdir()
    (tmp_path / "s.yaml").write_text(
        "stages: [emt:letters, 'emt:./letters', emt:birds]\ntasks: [open:letters, emt:letters, emt:fish]"
    )
    monkeypatch.chdir(tmp_path)
    read = read_sequence("s.yaml" if by == "a relative path" else tmp_path / "s.yaml", {"emt:letters"})
    assert [stage.name for stage in read.stages] == ["letters", "letters", "birds"]
    known, folder, other = (stage.task for stage in read.stages)
    assert known == read.tasks[1] == "emt:letters" != folder
    for task, place in ((folder, "letters"), (other, "birds"), (read.tasks[0], "letters")):
        assert Path(task.partition(":")[2]).resolve() == (tmp_path / place).resolve()
    assert read.tasks[2] == "emt:fish"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-3", 0.002), ("-1.5E3", -1500.0), (".5e+1", 5.0), ("1.e2", 100.0), ("1.0e-5", 1e-5), ("3", 3),
        ("'2e-3'", "2e-3"), ("e3", "e3"), ("2e", "2e"), ("0x1e3", 0x1E3), ("1e3x", "1e3x"),
    ],
)  # fmt: skip
def test_a_number_may_have_an_exponent_alone(tmp_path, text, value):
    (tmp_path / "s.yaml").write_text(f"stages: [{{task: a, config: {{learning_rate: {text}}}}}]")
    read = read_sequence(tmp_path / "s.yaml").stages[0].config["learning_rate"]
    assert (read, type(read)) == (value, type(value))


SPEC = SequenceSpec(tuple(StageSpec(name, f"emt:{name}") for name in "abcdefgh"))


def names(spec):
    return "".join(stage.name for stage in spec.stages)


def test_orders():
    assert names(in_order(SPEC, "reverse")) == "hgfedcba"
    assert names(in_order(SPEC, "c, a")) == "ca"
    assert "".join(stage.name for stage in in_order(SPEC, "c, a").unlearnt) == "bdefgh"
    assert not in_order(SPEC, "reverse").unlearnt
    drawn = {names(in_order(SPEC, f"seed:{seed}")) for seed in range(5)}
    assert len(drawn) == 5 and all(sorted(order) == list("abcdefgh") for order in drawn)
    assert names(in_order(SPEC, "seed:1")) == names(in_order(SPEC, "seed:1"))


@pytest.mark.parametrize("order", ["", "x", "a,,b", "seed:", "seed:x", "Reverse"])
def test_orders_that_name_no_stage(order):
    with pytest.raises(KeepsightError, match="order names"):
        in_order(SPEC, order)
