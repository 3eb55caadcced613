"""A served model through the verbs and the command line: estimates, resuming, nothing paid twice, mixed audits."""

import base64
import json
import math
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from keepsight import cli, tasks, verbs
from keepsight.envs import make
from keepsight.envs.rollout import Frames
from keepsight.evaluate import evaluate
from keepsight.inference import Generate
from keepsight.models import load
from keepsight.scoring.judges.llm import LLMYesNo
from keepsight.store import Store, load_matrix, load_run
from keepsight.types import Output, Sample
from tests.fake_vlm import make_task
from tests.stub_server import Reply, StubServer, chat, failed, text_of


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Runs the command in this process and returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    for name in ("KEEPSIGHT_API_KEY", "KEEPSIGHT_KEY_FILE", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    def call(*argv: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["keepsight", *argv])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def stub():
    with StubServer(lambda request: chat("The object is a(n) star.", usage=(100, 10))) as server:
        yield server


TASK = ("--tasks", "emt:shapes", "--judges", "label", "--output_path", "out")
PRICES = "--model_args=prompt_price=2,completion_price=10,image_tokens=100"


def test_an_estimate_comes_before_the_first_question(run, stub):
    argv = ("eval", "--model", f"api:stub@{stub.base_url}", *TASK, "--limit", "5", PRICES)
    code, out, err = run(*argv, "--dry_run")
    assert code == 0 and not stub.requests
    asked = tasks.get("emt:shapes").test()[:5]
    tokens = sum(math.ceil(len(sample.prompt) / 4) + 100 for sample in asked)
    money = (2 * tokens + 10 * 5 * 32) / 1e6
    assert f"5 requests, about {tokens + 5 * 32:,} tokens, about {money:.4g} at the prices given" in out
    code, out, err = run(*argv)
    assert code == 0 and len(stub.requests) == 5 and "served models: 5 requests" in err
    code, out, err = run(*argv)
    assert code == 0 and len(stub.requests) == 5 and "served models: 0 requests, about 0 tokens" in err
    _, out, _ = run(*argv[:-1], "--dry_run")
    assert "at prices that were not given" in out


def test_two_checkpoints_behind_one_address_are_told_apart_by_what_the_server_says(run, stub):
    ref = f"api:stub@{stub.base_url}"
    run("eval", "--model", ref, *TASK, "--limit", "4")
    stub.models = {"data": [{"id": "stub", "root": "weights/epoch-2"}]}
    run("eval", "--model", ref, *TASK, "--limit", "4")
    assert len(stub.requests) == 8


def test_an_audit_of_a_served_model_and_a_local_one(run, stub, tmp_path):
    (tmp_path / "r.jsonl").write_text('{"id": "none", "text": "A"}\n')
    argv = ("audit", f"api:stub@{stub.base_url}", "replay:r.jsonl", *TASK, "--limit", "4")
    code, _, _ = run(*argv, "--model_args", "max_requests=50,image_backend=pil")
    matrix = load_matrix(tmp_path / "out")
    assert code == 3 and matrix.rows == ("stub", "r.jsonl") and matrix["stub", "emt:shapes"].headline.n == 4
    rows = [json.loads(line) for line in (matrix["stub", "emt:shapes"].path / "outputs.jsonl").open()]
    assert all(row["usage"] == {"prompt_tokens": 100, "completion_tokens": 10} for row in rows)
    code, _, err = run("eval", "--model", "replay:r.jsonl", *TASK, "--model_args", "max_requests=50")
    assert code == 2 and "max_requests is for served models, and there is none" in err


def test_one_limit_for_all_models_of_a_command_and_the_rest_is_asked_later(run, stub):
    refs = [f"api:stub@{stub.base_url}", f"api:other@{stub.base_url}"]
    argv = ("audit", *refs, *TASK, "--limit", "6")
    code, _, err = run(*argv, "--model_args", "max_requests=8")
    assert code == 3 and len(stub.requests) == 8 and "the budget is used up (max_requests=8)" in err
    code, _, _ = run(*argv)
    assert code == 0 and len(stub.requests) == 12


def test_a_served_model_plays_an_environment(run, stub, tmp_path):
    stub.answer = lambda request: chat('{"action": "+"}', usage=(100, 10))
    played = ("--tasks", "env:numberline", "--task_args", "n=6,thoughts=false", "--output_path", "out")
    argv = ("eval", f"api:stub@{stub.base_url}", *played)
    code, out, _ = run(*argv, "--dry_run")
    assert (
        code == 0 and not stub.requests and "at most 60 requests" in out and "every answer and episode" in out
    )
    code, out, _ = run(*argv)
    (path,) = (line.partition(": ")[2] for line in out.splitlines() if line.startswith("env:numberline: "))
    rows = [json.loads(line) for line in (tmp_path / path / "outputs.jsonl").open()]
    facts = [(row["meta"]["facts"], row["steps"][-1]["tags"]) for row in rows]
    assert all(("solved" in tags) == (fact["current"] < fact["target"]) for fact, tags in facts)
    assert len(stub.requests) == sum(len(row["steps"]) for row in rows) > 6 and code == 0
    assert all(row["usage"]["prompt_tokens"] == 100 * len(row["steps"]) for row in rows)
    parts = stub.requests[0].body["messages"][0]["content"]
    assert any(part["type"] == "image_url" for part in parts)
    assert all(word in out for word in ("success rate", "step accuracy", "best play", "random play"))
    asked = len(stub.requests)
    assert run(*argv)[0] == 0 and len(stub.requests) == asked
    code, out, _ = run("report", "out")
    page = (tmp_path / "out" / "forgetting.html").read_text()
    assert code == 0 and "stub on env:numberline: " in out and "stub" in page.partition("</title>")[0]
    assert stub.base_url not in out, "the row is the model's name, not the way to it"


def test_a_served_model_with_an_experts_words_wins_the_hands_that_can_be_won(run, stub, tmp_path):
    """The server sees pictures alone: of every state that the expert meets it knows what the expert says."""
    known, frames = {}, Frames()
    for seed in range(4):
        env = make("points24", thoughts=False)
        env.begin(seed=seed)
        while True:
            (picture,) = frames.of(env)
            answer = env.expert() or '{"action": "="}'
            known[base64.b64encode(picture.read()).decode()] = answer
            move = env.play(answer)
            if move.terminated or move.truncated:
                break
    stub.answer = lambda request: chat(known[pictures_of(request.body)[0]])
    played = ("--tasks", "env:points24", "--task_args", "n=4,thoughts=false", "--output_path", "out")
    code, out, _ = run("eval", f"api:stub@{stub.base_url}", *played)
    (path,) = (line.partition(": ")[2] for line in out.splitlines() if line.startswith("env:points24: "))
    scored = load_run(tmp_path / path)
    won = [score.value for score in scored.scores()]
    assert code == 0 and (scored.headline.value, scored.headline.n) == (sum(won) / 4, 4)
    assert won == [score.value for score in scored.scores("expert")] and 0 < sum(won) < 4
    steps = [step for record in scored.records for step in record.output.steps]
    assert not any("illegal" in step.scores["reward"].tags for step in steps)


def pictures_of(body) -> list[str]:
    parts = body["messages"][0]["content"]
    return [part["image_url"]["url"].partition(",")[2] for part in parts if part["type"] == "image_url"]


def test_a_server_that_is_gone_is_one_line(run):
    with StubServer() as gone:
        ref = f"api:stub@{gone.base_url}"
    code, _, err = run("eval", "--model", ref, *TASK, "--model_args", "retries=1,backoff=0.01")
    assert code == 1 and err.count("\n") == 1 and f"keepsight: {ref}: cannot be reached" in err


def test_a_served_model_cannot_be_tuned_or_adapted(run, stub):
    code, _, err = run("tune", f"api:stub@{stub.base_url}", "--data", "emt:shapes")
    assert code == 1 and "has no weights to tune" in err
    code, _, err = run("eval", "--model", f"api:stub@{stub.base_url}+adapter:out", *TASK)
    assert code == 1 and "a served model takes no adapter" in err


def test_every_fault_is_counted_and_named_in_the_run(stub, tmp_path):
    def answer(request):
        faults = {"q1": failed(400, "too long"), "q2": chat(None, finish_reason="content_filter")}
        return faults.get(text_of(request), chat("cat"))

    stub.answer = answer
    asked = [Sample(f"s{i}", f"q{i}", target=("cat",)) for i in range(4)]
    model = load(f"api:stub@{stub.base_url}")
    run = evaluate(model, make_task(asked, infer=Generate()), Store(tmp_path))
    assert [record.output.error is None for record in run.records] == [True, False, False, True]
    assert "too long" in run.records[1].output.error and "content filter" in run.records[2].output.error
    assert run.headline.n == 2 and run.headline.not_ok == {"error": 2}


ASKED = [Sample(f"s{i:02}", f"q{i}", target=("cat",)) for i in range(60)]
KILLED = """
import sys
from keepsight.evaluate import evaluate
from keepsight.inference import Generate
from keepsight.models import load
from keepsight.store import Store
from tests.fake_vlm import make_task
from tests.test_served import ASKED
evaluate(load(sys.argv[1], batch_size=4), make_task(ASKED, infer=Generate()), Store(sys.argv[2]))
"""


def test_a_killed_run_pays_again_only_for_what_was_under_way(stub, tmp_path):
    killed = []
    held = replace(chat("cat"), when=lambda: bool(killed))
    stub.answer = lambda request: held if request.number > 25 and not killed else chat("cat")
    ref = f"api:stub@{stub.base_url}"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, ref, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    deadline = time.monotonic() + 60
    while len(stub.requests) < 28 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.wait()
    killed.append(True)
    kept = sum(path.read_bytes().count(b"\n") for path in tmp_path.glob("runs/*/*/outputs.jsonl"))
    asked = len(stub.requests)
    assert asked - 2 * 4 <= kept < 60, "no more than was under way or unread is lost"
    run = evaluate(load(ref), make_task(ASKED, infer=Generate()), Store(tmp_path))
    assert len(stub.requests) - asked == 60 - kept and run.headline.n == 60
    evaluate(load(ref), make_task(ASKED, infer=Generate()), Store(tmp_path))
    assert len(stub.requests) - asked == 60 - kept


def test_a_served_model_can_judge(stub, tmp_path):
    stub.answer = lambda request: chat("Yes.") if "Prediction: star" in text_of(request) else failed(503)
    judge = LLMYesNo(load(f"api:stub@{stub.base_url}", retries=1, backoff=0.001))
    scores = judge(ASKED[:3], [Output("star"), Output("star"), Output("dog")])
    assert [score.status for score in scores] == ["ok", "ok", "judge_failed"]


def test_what_python_gets(stub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = load(f"api:stub@{stub.base_url}")
    matrix = verbs.evaluate_tasks(model, ["emt:shapes"], "out", judges=["label"], limit=3)
    assert matrix.runs["stub", "emt:shapes"].headline.n == 3 and model.budget.requests == 3
    stub.answer = lambda request: Reply(401)
    matrix = verbs.evaluate_tasks(
        model, ["emt:shapes"], "again", judges=["label"], limit=3, fail_on_error=True
    )
    (failure,) = matrix.meta["failed"]
    assert not matrix.runs and "the key is missing or wrong" in failure["error"]


def test_a_served_judge_takes_its_settings_from_the_judges(run, stub, tmp_path):
    stub.answer = lambda request: chat("Yes.")
    local = (
        "eval",
        "--model",
        "tiny-answers",
        *TASK[:2],
        "--judges",
        "label",
        "--output_path",
        "out",
        "--limit",
        "4",
    )
    (tmp_path / "r.jsonl").write_text(
        "".join(json.dumps({"id": s.id, "text": f"answer {i}"}) + "\n" for i, s in enumerate(shapes()))
    )
    argv = (
        *local[:2],
        "replay:r.jsonl",
        *local[3:],
        "--llm_judge",
        f"api:stub@{stub.base_url}",
        "--judge_args",
    )
    code, _, err = run(*argv, "max_requests=3,backoff=0.01")
    assert code in (0, 3) and len(stub.requests) == 3
    code, _, err = run(*argv, "max_requests=3")
    assert code == 0 and len(stub.requests) == 4, "what was judged is not paid twice"
    code, _, err = run(
        *(("replay:r.jsonl" if part.startswith("api:") else part) for part in argv), "max_requests=3"
    )
    assert code == 2 and "judge_args max_requests is for a served judge" in err


def shapes():
    return tasks.get("emt:shapes").test()[:4]
