"""Several processes give what one gives: answers, figures and weights; a failure in one of them is named and costs nothing."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import keepsight
from keepsight.evaluate import evaluate, evaluate_all
from keepsight.ranks import ALONE, RankFailed, RankLost, Ranks, deal, join, launched
from keepsight.store import Store, load_matrix
from keepsight.types import KeepsightError, Media, Sample
from tests import rank_checks
from tests.fake_vlm import FakeVLM, make_task, samples

ROOT = Path(__file__).parents[1]
LAUNCH = Path(keepsight.__file__).parent / "launch"
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
}


def picture(i: int) -> Media:
    return Media(data=bytes([i]))


questions = st.lists(
    st.builds(
        lambda prompt, pictures: Sample("x", "?" * prompt, tuple(map(picture, pictures))),
        st.integers(0, 5000),
        st.lists(st.integers(0, 6), max_size=2),
    ),
    max_size=40,
)


@given(questions, st.integers(1, 5))
def test_every_sample_is_dealt_once_and_no_rank_has_much_more_than_its_part(given_samples, size):
    shares = deal(given_samples, size)
    assert len(shares) == size and sorted(place for share in shares for place in share) == list(
        range(len(given_samples))
    )
    assert all(share == sorted(share) for share in shares)
    work = [
        sum(1 + len(given_samples[i].prompt) + 2000 * len(given_samples[i].media) for i in share)
        for share in shares
    ]
    largest_sample = max((1 + len(s.prompt) + 2000 * len(s.media) for s in given_samples), default=0)
    assert max(work) <= 2 * sum(work) / size + largest_sample


def test_questions_about_one_picture_stay_together_and_one_picture_for_all_is_dealt_out():
    by_picture = [Sample(str(i), "?", (picture(i % 5),)) for i in range(20)]
    for share in deal(by_picture, 2):
        pictures = {i % 5 for i in share}
        assert sorted(share) == [i for i in range(20) if i % 5 in pictures]
    one = [Sample(str(i), "?", (picture(0),)) for i in range(9)]
    assert sorted(map(len, deal(one, 2))) == [4, 5]
    unreadable = [Sample(str(i), "?", (Media(path=Path("nowhere")),)) for i in range(4)]
    assert [len(share) for share in deal(unreadable, 2)] == [2, 2]


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, ALONE),
        ({"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}, Ranks(1, 4, 1)),
        ({"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}, Ranks(5, 8, 1)),
        ({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}, ALONE),
        ({"RANK": "3", "WORLD_SIZE": "4"}, ALONE),  # a cluster's own variables, no launcher's
    ],
)
def test_the_launchers_variables_say_who_a_process_is(variables, found, monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launched() == found


def test_one_process_meets_nobody():
    assert join() == ALONE and ALONE.gather("x") == ["x"] and ALONE.first(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):  # as it is, not wrapped
        ALONE.all(lambda: 1 / 0)


def test_a_verb_that_is_not_shared_says_so(monkeypatch, capsys):
    from keepsight import cli

    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["keepsight", "score", "run"])
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    with pytest.raises(SystemExit):
        cli.main()
    assert "keepsight (rank 1 of 2): only audit, eval, tune run in several" in capsys.readouterr().err


@pytest.mark.torch
@pytest.mark.parametrize("name", ["ddp", "fsdp2", "deepspeed_zero2", "deepspeed_zero3"])
def test_accelerate_reads_the_launch_configurations(name):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(LAUNCH / f"{name}.yaml"))
    assert config.num_processes == 2 and config.to_dict()["mixed_precision"]
    if name.startswith("deepspeed"):
        assert config.deepspeed_config["zero_stage"] == int(name[-1])
    known = {
        "use_deepspeed": name.startswith("deepspeed"),
        "use_fsdp": name == "fsdp2",
        "multi_gpu": name == "ddp",
    }
    parsed, _, _ = validated(["--config_file", str(LAUNCH / f"{name}.yaml"), "-m", "keepsight.cli", "audit"])
    assert {flag: bool(getattr(parsed, flag)) for flag in known} == known


def validated(words: list[str]):
    """What `accelerate launch` makes of a command line; nothing is started."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    return _validate_launch_command(launch_command_parser().parse_args(words))


@pytest.mark.torch
def test_the_launch_commands_of_the_page_on_scaling_are_understood():
    """torchrun's and accelerate's own parsers; the keepsight command behind them by tests/test_docs.py."""
    from torch.distributed.run import parse_args

    from tests.test_docs import blocks, unknown_words

    found = blocks((ROOT / "docs" / "scaling.md").read_text(), "scaling.md")
    lines = [line for block in found if block.language == "bash" for line in block.lines]
    launched_by = {"torchrun": 0, "accelerate": 0}
    for line in lines:
        words = shlex.split(line.replace("$LAUNCH", str(LAUNCH)))
        if words[0] not in launched_by:
            continue
        launched_by[words[0]] += 1
        parsed = parse_args(words[1:]) if words[0] == "torchrun" else validated(words[2:])[0]
        assert parsed.module and parsed.training_script == "keepsight.cli"
        assert unknown_words(shlex.join(["keepsight", *parsed.training_script_args])) == [], line
    assert launched_by["torchrun"] >= 3 and launched_by["accelerate"] >= 2


class Two:
    """Two processes have done all of rank_checks; `base` is the model they were given."""

    def __init__(self, base: Path, out: Path) -> None:
        self.base, self.out = base, out
        command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2"]
        command += ["--config_file", str(LAUNCH / "fsdp2.yaml"), "--main_process_port", str(free_port())]
        done = subprocess.run(
            [*command, rank_checks.__file__, str(base), str(out)],
            env=ENVIRONMENT, cwd=ROOT, timeout=280, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
        self.seen = json.loads((out / "seen.json").read_text())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    from tests.tiny_llava import make_tiny_llava

    out = tmp_path_factory.mktemp("two")
    return Two(make_tiny_llava(out / "base", hidden=16), out)


def tensors(directory: Path):
    from safetensors.torch import load_file

    files = sorted(directory.glob("*.safetensors"))
    return {f"{file.name}/{name}": value for file in files for name, value in load_file(file).items()}


def assert_close(one: Path, other: Path, tolerance: float) -> None:
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys() and first
    assert max(float((value - second[name]).abs().max()) for name, value in first.items()) <= tolerance


def logged(directory: Path, *names: str) -> list[float]:
    log = (directory / "train_log.jsonl").read_text().splitlines()
    return [json.loads(row)[name] for row in log for name in names]


@pytest.mark.torch
def test_each_process_knows_itself_and_takes_its_part_of_the_cores(two):
    assert [seen["launched"] for seen in two.seen] == [[0, 2], [1, 2]]
    assert all(seen["threads"] == 1 for seen in two.seen)


@pytest.mark.torch
def test_every_process_leaves_the_group_before_its_interpreter_ends(two):
    """Else gloo's threads abort a process that has done everything, now and then."""
    assert [(two.out / f"group-at-exit-{rank}").read_text() for rank in (0, 1)] == ["False", "False"]


@pytest.mark.torch
def test_an_audit_by_two_equals_one(two, tmp_path):
    """The same bytes of matrix.json; answers, scores and results the same; log-probabilities up to rounding."""
    from keepsight.verbs import audit

    refs = [str(two.base), str(two.out / "ddp" / "epoch-1")]
    alone = audit(refs, output_path=tmp_path, device="cpu", **rank_checks.AUDITED)
    shared = load_matrix(two.out / "audit")
    assert alone.rows == shared.rows and alone.runs.keys() == shared.runs.keys() and len(alone.runs) == 2
    for cell, run in alone.runs.items():
        assert len(run.records) == 9
        for mine, theirs in zip(run.records, shared[cell].records):
            assert mine.sample == theirs.sample and mine.scores == theirs.scores
            assert mine.output.token_ids == theirs.output.token_ids and mine.output.text == theirs.output.text
            assert mine.output.token_logprobs == pytest.approx(theirs.output.token_logprobs, abs=1e-4)
        assert (run.path / "results.json").read_bytes() == (shared[cell].path / "results.json").read_bytes()
        assert sorted(path.name for path in shared[cell].path.iterdir()) == sorted(
            path.name for path in run.path.iterdir()
        )
    assert (tmp_path / "matrix.json").read_bytes() == (two.out / "audit" / "matrix.json").read_bytes()
    assert (two.out / "audit" / "forgetting.html").exists()


@pytest.mark.torch
def test_every_rank_gets_the_matrix_and_encodes_each_picture_once_for_all_checkpoints(two):
    first, second = two.seen
    assert first["headlines"] == second["headlines"]
    assert first["encoded"] + second["encoded"] == 9 and min(first["encoded"], second["encoded"]) == 4
    assert first["progress"][-1] == 18 and first["progress"] == sorted(first["progress"])


@pytest.mark.torch
def test_a_rank_that_fails_is_named_by_all_and_costs_nothing(two):
    first, second = (seen["failure"] for seen in two.seen)
    assert first["error"] == second["error"] == "rank 1 of 2: RuntimeError: boom"
    assert sorted(first["asked"] + second["asked"]) == sorted(sample.id for sample in samples(11))
    assert first["asked_again"] + second["asked_again"] == [first["fatal"]]
    alone = FakeVLM()
    run = evaluate(alone, make_task(samples(11)), Store(two.out / "failed"))
    assert alone.asked == [first["fatal"]] and run.headline.n == 11
    fresh = evaluate(FakeVLM(), make_task(samples(11)), Store(two.out / "fresh"))
    both = Store(two.out / "resumed-by-two").runs()
    assert {(path / "results.json").read_bytes() for path in (run.path, fresh.path, *both)} == {
        (fresh.path / "results.json").read_bytes()
    }


@pytest.mark.torch
def test_ranks_with_other_samples_and_too_many_errors_in_all_are_refused_by_all(two):
    assert {seen["different"] for seen in two.seen} == {
        "emt:pets: rank 1 has other samples than rank 0; give all the same files"
    }
    assert {seen["errors"][0] for seen in two.seen} == {"emt:pets: 2 samples failed; see outputs.jsonl"}


@pytest.mark.torch
@pytest.mark.parametrize(
    ("shared", "method", "rate"),
    [
        ("ddp", "lora", 1e-2),
        ("ddp-moelora", "moelora", 1e-2),
        ("fsdp-moelora", "moelora", 1e-2),
        ("fsdp-full", "full", 1e-3),
    ],
)
def test_two_processes_learn_what_one_does_with_twice_the_batch(two, tmp_path, shared, method, rate):
    """DDP and FSDP2; two samples per process and step, by accumulation or in one pass."""
    from keepsight.models import load
    from keepsight.tune.sft import sft

    config = rank_checks.settings(method=method, learning_rate=rate, per_device_train_batch_size=4)
    (alone,) = sft(load(str(two.base), device="cpu"), rank_checks.rows(), config, tmp_path)
    together = two.out / shared / "epoch-1"
    assert logged(tmp_path, "loss", "grad_norm") == pytest.approx(
        logged(two.out / shared, "loss", "grad_norm"), rel=1e-4
    )  # AdamW itself would not notice doubled gradients
    assert_close(alone, together, 2e-5)
    assert {path.name for path in alone.iterdir()} == {path.name for path in together.iterdir()}
    model = load(f"{two.base}+adapter:{together}", device="cpu")  # complete, or this refuses
    assert type(model.module).__name__ == "LlavaForConditionalGeneration"


@pytest.mark.torch
@pytest.mark.parametrize("shared", ["ddp", "fsdp"])
def test_continual_methods_of_two_processes_learn_what_those_of_one_do(two, tmp_path, shared):
    whole, method = {"per_device_train_batch_size": 4}, rank_checks.together(*rank_checks.HOLDING)
    for alone in rank_checks.two_stages(str(two.base), tmp_path, whole, method):
        together = two.out / f"{shared}-methods" / "stages" / alone.directory.name
        assert logged(alone.directory, "loss", "grad_norm") == pytest.approx(
            logged(together, "loss", "grad_norm"), rel=1e-3
        )
        assert_close(alone.checkpoint, together / "epoch-1", 2e-5)
        assert_close(alone.directory, together, 1e-2)  # importances are squares


@pytest.mark.torch
@pytest.mark.parametrize("name", rank_checks.HOLDING)
def test_each_of_these_methods_changes_what_is_learnt(two, tmp_path, name):
    """Else those of two processes could not but learn what those of one do."""
    from keepsight.tune.methods import METHODS

    whole = {"per_device_train_batch_size": 4}
    plain, held = (
        tensors(rank_checks.two_stages(str(two.base), tmp_path / one, whole, METHODS[one]())[-1].checkpoint)
        for one in ("sequential", name)
    )
    assert max(float((value - held[key]).abs().max()) for key, value in plain.items()) > 1e-3


@pytest.mark.torch
def test_a_process_under_fsdp_keeps_its_part_of_a_teacher(two):
    assert all(seen["teacher_in_parts"] for seen in two.seen)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["ddp", "fsdp-moelora"])
def test_a_stopped_run_of_two_goes_on_to_the_same_bits(two, name):
    whole, resumed = two.out / name, two.out / f"{name}-resumed"
    assert_close(whole / "epoch-1", resumed / "epoch-1", 0.0)
    assert logged(whole, "step", "loss") == logged(resumed, "step", "loss")
    assert not (resumed / "state").exists() and not list(resumed.glob("*.partial"))


@pytest.mark.torch
def test_a_sequence_by_two_equals_one(two, tmp_path):
    alone = rank_checks.a_sequence(str(two.base), tmp_path, "sequence", per_device_train_batch_size=4)
    assert [seen["sequence"] for seen in two.seen] == [alone, alone]
    assert alone == [["base", "1-shapes", "2-letters"], [False, True]]
    last = Path("sequence/stages/02-letters/epoch-1")
    assert_close(tmp_path / last, two.out / last, 5e-5)
    one, both = (load_matrix(root / "sequence") for root in (tmp_path, two.out))
    assert one.runs.keys() == both.runs.keys() and len(one.runs) == 6
    assert one.meta == both.meta


@pytest.mark.torch
def test_the_first_process_prints_and_leaves_with_the_code(two):
    first, second = (seen["printed"] for seen in two.seen)
    assert "emt:shapes" in first[0] and "not scored: 4 answers" in first[1] and first[2] == 3
    assert second == ["", "", 0]


@pytest.mark.torch
def test_every_process_hears_of_an_epoch_and_fsdp_without_accelerators_is_refused(two):
    assert all(seen["told"] == ["epoch-1", 1] for seen in two.seen)
    assert all("accelerate offers FSDP on accelerators only" in seen["fsdp_on_cpu"] for seen in two.seen)


SLOW = """
import sys
from keepsight.evaluate import evaluate, evaluate_all
from keepsight.ranks import join
from keepsight.store import Store
from tests.fake_vlm import FakeVLM, make_task, samples
evaluate(FakeVLM(seconds=0.02), make_task(samples(200)), Store(sys.argv[1]), ranks=join(cpu=True))
"""


def on_disk(root: Path, name: str = "outputs*.jsonl") -> int:
    return sum(path.read_bytes().count(b"\n") for path in root.glob(f"runs/*/*/{name}"))


@pytest.mark.torch
def test_killing_one_of_two_ends_the_other_and_one_alone_goes_on(tmp_path):
    variables = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    variables["MASTER_PORT"] = str(free_port())
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SLOW, str(tmp_path)],
            env={**ENVIRONMENT, **variables, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    deadline = time.monotonic() + 100
    while on_disk(tmp_path, "outputs.rank-1.jsonl") < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    processes[1].send_signal(signal.SIGKILL)
    _, said = processes[0].communicate(timeout=100)
    processes[1].communicate()
    assert processes[0].returncode == 1 and "rank 0 of 2: another process ended" in said
    assert RankLost.__name__ in said
    kept = on_disk(tmp_path)
    assert kept >= 100 + 5 and on_disk(tmp_path, "outputs.rank-1.jsonl") >= 5
    model = FakeVLM()
    run = evaluate(model, make_task(samples(200)), Store(tmp_path))
    assert len(model.asked) == 200 - kept and run.headline.n == 200
    assert not list(run.path.glob("outputs.rank-*"))


def test_ranks_that_do_not_share_a_file_system_are_told(tmp_path):
    from tests.store.test_round_trip import identity_of

    task = make_task(samples(3))
    with pytest.raises(KeepsightError, match="all ranks need one output path that they share"):
        Store(tmp_path).open_part(identity_of(task.test()), tmp_path / "runs" / "x", 1)


def test_a_rank_that_cannot_write_ends_the_audit_and_another_failure_only_its_cell(tmp_path):
    tasks = [make_task(name="emt:one"), make_task(name="emt:two")]
    ordinary = FakeVLM(answers={"s000": RankFailed("rank 1 of 2: boom", "RuntimeError")})
    assert len(evaluate_all([ordinary], tasks, Store(tmp_path / "a")).meta["failed"]) == 2
    full = FakeVLM(answers={"s000": RankFailed("rank 1 of 2: disk full", "StoreError")})
    with pytest.raises(RankFailed, match="disk full"):
        evaluate_all([full], tasks, Store(tmp_path / "b"))
