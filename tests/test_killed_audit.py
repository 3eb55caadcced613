"""All at once: a random Qwen2.5-VL and its checkpoint, a judge behind a faulty server; killed, resumed, equal."""

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

import keepsight as ks
from tests.killing import Fate, started, wait_for
from tests.stub_server import Reply, StubServer, chat, failed, text_of

pytestmark = pytest.mark.torch

FAULTS = (
    failed(503),
    failed(429, retry_after="0.05"),
    failed(500),
    Reply(dropped=True),
    Reply(body=b'{"choices": [', sent=5),
    Reply(body=b"<html>"),
)
# Of each life: how many verdicts it is given before the server falls silent, and what it is killed at.
LIVES = ((0, "an answer"), (2, "silence"), (3, "an answer"), (2, "silence"))


class Judge:
    """Says what follows from the question. Of most questions the first try meets a fault."""

    def __init__(self) -> None:
        self.tries: dict[str, int] = {}
        self.paid: list[str] = []
        self.left = 10**6  # verdicts, before it falls silent
        self.life = 0
        self.silent = False

    def begin(self, left: int) -> None:
        """The next life; what was held for the one before is let go."""
        self.left, self.silent, self.life = left, False, self.life + 1

    def __call__(self, request) -> Reply:
        question, life = text_of(request), self.life
        self.tries[question] = self.tries.get(question, 0) + 1
        fault, verdict = Random(f"fault/{question}"), Random(f"verdict/{question}")  # whatever try it is
        if self.tries[question] == 1 and fault.random() < 0.6:
            return fault.choice(FAULTS)
        self.paid.append(question)
        self.left -= 1
        self.silent = self.left < 0
        told = {"reason": "compared", "verdict": verdict.choice(("correct", "incorrect"))}
        reply = chat(json.dumps(told))
        return replace(reply, when=lambda: self.life != life) if self.silent else reply


@pytest.fixture
def models(tmp_path) -> list[str]:
    """The base, and a LoRA checkpoint of it."""
    from keepsight.data.drawn import SETS
    from keepsight.data.llava import instruction_samples
    from keepsight.tune.sft import SFTConfig, sft
    from tests.tiny_families import make

    make("qwen2_5_vl", tmp_path / "base")
    samples = instruction_samples(SETS["shapes"], n=3)
    config = SFTConfig(num_train_epochs=1, per_device_train_batch_size=3, learning_rate=0.05, lora_r=4)
    (epoch,) = sft(ks.load(str(tmp_path / "base")), samples, config, tmp_path / "tuned")
    return [str(tmp_path / "base"), str(epoch)]


def audit(models: list[str], url: str, out: Path) -> None:
    judge = ks.load(f"api:stub@{url}", backoff=0.01, batch_size=1)  # one request under way
    tasks, judges = ["emt:shapes", "emt:letters"], ["label", "verdict"]
    ks.audit(models, tasks, out, judges=judges, llm_judge=judge, limit=6, batch_size=2, report=False)


def lines(out: Path, pattern: str) -> int:
    return sum(path.read_bytes().count(b"\n") for path in out.rglob(pattern))


def killed(child: tuple[int, int], judge: Judge, out: Path, at: str) -> bool:
    """Kills it at the next answer it writes, or when all it was told is written; beyond the silence it cannot go."""
    answers, verdicts = lines(out, "outputs.jsonl"), lines(out, "judge/*.jsonl") + judge.left
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        silent = judge.silent and lines(out, "judge/*.jsonl") >= verdicts
        if silent or (at == "an answer" and lines(out, "outputs.jsonl") > answers):
            break
        time.sleep(0.001)
    os.kill(child[0], signal.SIGKILL)
    return wait_for(child).killed


def figures(out: Path) -> dict[str, bytes]:
    found = [*out.glob("matrix.json"), *out.glob("runs/*/*/results.json")]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in found}


def test_an_audit_through_a_judge_on_a_faulty_server_is_killed_resumed_and_equal(models, tmp_path):
    judge, whole, out = Judge(), tmp_path / "whole", tmp_path / "out"
    with StubServer(judge) as server:

        def begun(at: Path) -> tuple[int, int]:
            return started(lambda: audit(models, server.base_url, at), Fate(at))

        assert not wait_for(begun(whole)).refused
        asked, wanted = set(judge.paid), figures(whole)
        assert len(wanted) == 5 and len(judge.paid) == len(asked) > 8
        assert len(server.requests) > len(asked) + 3, "there were faults"
        judge.tries, judge.paid, lost = {}, [], 0
        for verdicts, at in LIVES:
            judge.begin(verdicts)
            assert killed(begun(out), judge, out, at)
            lost += 1 + (at == "an answer")  # what was under way, and what had come and was not written yet
        assert 0 < lines(out, "judge/*.jsonl") < len(asked) and not figures(out).keys() >= wanted.keys()
        judge.begin(10**6)
        assert not wait_for(begun(out)).refused
        assert figures(out) == wanted and set(judge.paid) == asked
        assert len(judge.paid) - len(asked) <= lost
        sent = len(server.requests)
        assert not wait_for(begun(out)).refused
        assert len(server.requests) == sent and figures(out) == wanted
