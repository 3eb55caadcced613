"""Many requests side by side: refill, pace, the reader's part, loops of others."""

import asyncio
import itertools
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from keepsight.models.api import asking, pace
from keepsight.models.api.pace import Pace
from tests.models.api.conftest import outputs, questions
from tests.stub_server import Reply, chat, failed, text_of


def threads() -> int:
    return sum(thread.name == "keepsight-api" for thread in threading.enumerate())


def test_a_place_is_filled_as_soon_as_it_is_free(stub, served):
    """The first answer is held until all is asked: in windows of 8 that would never be."""
    everything = lambda: len(stub.requests) == 30  # noqa: E731
    stub.answer = lambda request: (
        replace(chat("x"), when=everything) if text_of(request) == "question 0" else chat("x")
    )
    order = [index for index, _ in served().generate(questions(30), batch_size=8)]
    assert sorted(order) == list(range(30)) and order.index(0) > 20


@pytest.mark.parametrize("most", [1, 3, 20])
def test_never_more_than_the_batch_size_and_all_of_it_while_all_is_well(stub, served, most):
    def answer(request):
        grown = request.number > 4 * most
        return replace(chat("x"), when=lambda: not grown or stub.most_at_once >= most)

    stub.answer = answer
    outputs(served(), questions(6 * most), batch_size=most)
    assert stub.most_at_once == most


def test_a_server_that_takes_three_at_once_is_asked_to_the_end(stub, served):
    stub.answer = lambda request: failed(429) if stub.open > 3 else chat("x", seconds=0.01)
    found = outputs(served(retries=50), questions(60), batch_size=32)
    assert all(output.error is None for output in found)
    assert len(stub.requests) < 180, "the refused requests are a part of all"


@pytest.mark.parametrize("takes", [1, 3, 20, 50])
def test_the_pace_settles_around_what_a_server_takes(monkeypatch, takes):
    now = [100.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    learnt, sizes = Pace(backoff=1.0), []
    for _ in range(300):  # rounds, in each of which the server refuses what is too much
        sent_at, size = now[0], learnt.size(64)
        now[0] += 1.0
        for place in range(size):
            if place < takes:
                learnt.went_well(64)
            else:
                learnt.went_badly(sent_at)
        sizes.append(size)
    settled = sizes[100:]
    assert max(settled) <= takes + 2 and sum(settled) / len(settled) >= 0.6 * takes


def test_pace_counts_one_hiccup_once_and_leaves_a_dead_server_in_peace(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    learnt = Pace(backoff=1.0)
    for _ in range(8):
        learnt.went_well(64)
    assert learnt.size(64) == 16 and learnt.size(5) == 5
    now[0] = 101.0
    for _ in range(16):
        learnt.went_badly(sent_at=100.5)
    assert learnt.size(64) == 8 and learnt.resume_at == 0.0
    learnt.went_well(64)
    assert learnt.size(64) == 8, "after trouble it grows by one per round"
    for _ in range(6):
        now[0] += 1.0
        learnt.went_badly(sent_at=now[0])
    assert learnt.size(64) == 1 and learnt.resume_at > now[0]
    learnt.went_badly(sent_at=now[0], retry_after=70.0)
    assert learnt.resume_at == now[0] + 70.0


def test_waits_double_and_are_spread():
    waits = {tries: [Pace(backoff=1.0).delay(tries) for _ in range(50)] for tries in (1, 2, 3, 30)}
    assert all(0.5 <= wait <= 1.0 for wait in waits[1]) and all(1.0 <= wait <= 2.0 for wait in waits[2])
    assert max(waits[30]) <= 30.0 and len(set(waits[3])) > 40


def test_answers_come_as_they_are_ready_and_not_in_windows(stub, served):
    rest = lambda: len(stub.requests) == 5 and stub.open == 1  # noqa: E731
    stub.answer = lambda request: (
        replace(chat("x"), when=rest) if text_of(request) == "question 0" else chat("x")
    )
    assert [index for index, _ in served().generate(questions(5))][-1] == 0


def test_it_works_inside_a_running_loop(stub, served):
    async def cell_of_a_notebook():
        return outputs(served(), questions(5))

    assert [output.text for output in asyncio.run(cell_of_a_notebook())] == ["a cat"] * 5


def test_a_reader_who_does_not_read_stops_the_asking(stub, served):
    answers = served().generate(questions(500), batch_size=4)
    next(answers)
    time.sleep(0.3)
    assert len(stub.requests) <= 2 * 4 + 1
    rest = list(answers)
    assert len(rest) == 499 and len(stub.requests) == 500


def test_a_reader_who_leaves_ends_the_asking(stub, served):
    held = replace(chat("x"), when=lambda: False)
    stub.answer = lambda request: chat("x") if request.number == 1 else held
    answers = served().generate(questions(500), batch_size=4)
    next(answers)
    answers.close()
    assert threads() == 0, "nobody is left to ask"
    assert len(stub.requests) <= 1 + 4, "no more than were under way"


def test_a_fault_of_our_own_reaches_the_reader(stub, served, monkeypatch):
    model = served()
    monkeypatch.setattr(model, "_read", lambda reply: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(model.generate(questions(50)))
    assert threads() == 0


def test_nothing_is_started_for_nothing(served, monkeypatch):
    monkeypatch.setattr(asking, "Thread", None)
    assert list(served().generate([])) == []


def test_a_retry_that_falls_due_at_any_moment_is_sent(stub, served, monkeypatch):
    """Every look at the clock finds it further on, so that it is always between two looks that something falls due."""
    ticks = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: 0.004 * next(ticks))
    monkeypatch.setattr(asking, "time", clock)
    monkeypatch.setattr(pace, "time", clock)
    stub.answer = lambda request: chat("x") if request.number % 2 == 0 else Reply(body=b"nonsense")
    found = [outputs(served(), questions(1))[0] for _ in range(30)]
    assert all(output.text == "x" for output in found)
