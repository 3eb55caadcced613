"""What judges said is there after a kill, for every other process, and only under its own request."""

import multiprocessing
import os
import signal

import pytest

from keepsight.scoring.judges.asking import Asking, ask
from keepsight.store import JudgeReplies
from keepsight.types import KeepsightError, Output, Sample
from tests.fake_judge import judge_of

ASKING = Asking(0.0, 64, 1.0, 0)


def questions(n):
    return [Sample(f"q{at}", f"question {at}") for at in range(n)]


def test_what_was_said_is_known_to_the_next(tmp_path):
    model = judge_of(lambda sample, seed: Output(f"said of {sample.id} \ud800", stop="eos", usage={"n": 3}))
    first = ask(model, questions(4), ASKING, JudgeReplies(tmp_path))
    again = ask(model, questions(5), ASKING, JudgeReplies(tmp_path))
    assert len(model.asked) == 5
    assert [reply.text for reply in again[:4]] == [r.text.replace("\ud800", "\\ud800") for r in first]
    assert (again[0].stop, again[0].usage) == ("eos", {"n": 3})


def test_nothing_is_written_where_nothing_is_said(tmp_path):
    replies = JudgeReplies(tmp_path)
    assert replies.recall("k") is None
    ask(judge_of(lambda sample, seed: Output("", error="HTTP 500")), questions(2), ASKING, replies)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.5},
        {"max_new_tokens": 65},
        {"top_p": 0.9},
        {"seed": 1},
    ],
)
def test_another_setting_is_another_request(tmp_path, change):
    model = judge_of("x")
    ask(model, questions(1), ASKING, JudgeReplies(tmp_path))
    ask(model, questions(1), Asking(**{**ASKING.__dict__, **change}), JudgeReplies(tmp_path))
    other = judge_of("y")
    other.digest = "5" * 64
    assert ask(other, questions(1), ASKING, JudgeReplies(tmp_path))[0].text == "y"
    assert len(model.asked) == 2 and len(other.asked) == 1


def test_equal_questions_are_asked_once_and_missing_replies_said(tmp_path):
    model = judge_of(lambda sample, seed: None if sample.id == "q1" else "x")
    replies = ask(model, [*questions(2), *questions(2)], ASKING, JudgeReplies(tmp_path))
    assert [reply.error for reply in replies] == [None, "scripted gave no reply"] * 2
    assert len(model.asked) == 2


def _judge_until_killed(root, n):
    def reply(sample, seed):
        if sample.id == f"q{n}":  # replies come from the last question to the first
            os.kill(os.getpid(), signal.SIGKILL)
        return f"said of {sample.id}"

    ask(judge_of(reply), questions(12), ASKING, JudgeReplies(root))


@pytest.mark.parametrize("n", [11, 5, 0])
def test_a_kill_loses_no_reply_that_came(tmp_path, n):
    process = multiprocessing.get_context("fork").Process(target=_judge_until_killed, args=(tmp_path, n))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    model = judge_of(lambda sample, seed: f"said of {sample.id}")
    replies = ask(model, questions(12), ASKING, JudgeReplies(tmp_path))
    assert [reply.text for reply in replies] == [f"said of q{at}" for at in range(12)]
    assert len(model.asked) == n + 1


def test_two_writers_have_a_file_each(tmp_path):
    one, two = JudgeReplies(tmp_path), JudgeReplies(tmp_path)
    for at in range(3):
        one.keep(f"a{at}", Output("from one"))
        two.keep(f"b{at}", Output("from two"))
    third = JudgeReplies(tmp_path)
    assert len(list((tmp_path / "judge").iterdir())) == 2
    assert [third.recall(f"{who}{at}").text for who in "ab" for at in range(3)] == ["from one"] * 3 + [
        "from two"
    ] * 3


def test_a_torn_line_is_skipped_and_a_damaged_one_named(tmp_path):
    JudgeReplies(tmp_path).keep("k", Output("x"))
    (file,) = (tmp_path / "judge").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:20])
    assert JudgeReplies(tmp_path).recall("k").text == "x"
    file.write_bytes(b"nonsense\n" + whole)
    with pytest.raises(KeepsightError, match="line 1"):
        JudgeReplies(tmp_path).recall("k")
