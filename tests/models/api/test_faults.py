"""A server with every fault a real one has: what is asked again, what is an error, what ends the asking."""

import json
from dataclasses import replace
from email.utils import formatdate
from random import Random

import pytest

from keepsight.models import load
from keepsight.models.api.wire import MAX_BYTES, seconds_to_wait
from tests.models.api.conftest import outputs, questions
from tests.stub_server import Reply, StubServer, chat, failed, text_of

GOOD = chat("a cat")
PASSING = {
    "busy": failed(429, "slow down"),
    "busy, come back at once": failed(429, retry_after="0"),
    "broken": failed(500),
    "bad gateway in HTML": Reply(502, b"<html>bad gateway</html>"),
    "unavailable": failed(503),
    "timeout of a gateway": failed(504),
    "dropped": Reply(dropped=True),
    "body cut off": Reply(body=GOOD.body, sent=40),
    "JSON cut off": Reply(body=GOOD.body[:-20]),
    "not JSON": Reply(body=b"cat"),
    "empty": Reply(),
    "a list": Reply(body=b"[1, 2]"),
    "nan": Reply(body=b'{"choices": NaN}'),
    "deep": Reply(body=b"[" * 200_000),
    "not UTF-8": Reply(body=b'{"choices": "\xff\xfe"}'),
    "no choices": Reply(body=b'{"object": "chat.completion"}'),
    "empty choices": Reply(body=b'{"choices": []}'),
    "choices of another kind": Reply(body=b'{"choices": {"0": 1}}'),
    "a choice of another kind": Reply(body=b'{"choices": [7]}'),
    "no message": Reply(body=b'{"choices": [{"finish_reason": "stop"}]}'),
    "no text": Reply(body=b'{"choices": [{"message": {"role": "assistant"}}]}'),
    "text of another kind": Reply(body=b'{"choices": [{"message": {"content": 7}}]}'),
    "error with status 200": Reply(body=b'{"error": {"message": "overloaded", "code": 503}}'),
    "wrongly compressed": Reply(body=b"cat", headers={"content-encoding": "gzip"}),
}


@pytest.mark.parametrize("fault", PASSING, ids=list(PASSING))
def test_what_passes_is_asked_again(stub, served, fault):
    stub.answer = lambda request: PASSING[fault] if request.number <= 2 else GOOD
    (output,) = outputs(served(), questions(1))
    assert (output.text, output.error, len(stub.requests)) == ("a cat", None, 3)


@pytest.mark.parametrize("fault", PASSING, ids=list(PASSING))
def test_what_does_not_pass_is_one_named_error_after_so_many_tries(stub, served, fault):
    stub.answer = lambda request: PASSING[fault]
    (output,) = outputs(served(retries=2), questions(1))
    assert (
        output.text == ""
        and output.error is not None
        and output.error.startswith(f"api:stub@{stub.base_url}: ")
    )
    assert output.error.endswith("(3 tries)") and "\n" not in output.error and len(stub.requests) == 3


FINAL = {
    "the question is too long": (
        failed(400, "maximum context length is 4096"),
        "maximum context length is 4096",
    ),
    "too large": (failed(413), "HTTP 413"),
    "unprocessable": (failed(422), "HTTP 422"),
    "a filter before the model": (failed(400, "content filter", code="content_filter"), "content filter"),
    "huge": (Reply(body=b" " * (MAX_BYTES + 1)), "more than 8,000,000 bytes"),
    "a filter after the model": (chat(None, finish_reason="content_filter"), "content filter withheld"),
}


@pytest.mark.parametrize("fault", FINAL, ids=list(FINAL))
def test_what_asking_again_cannot_change_is_asked_once_and_costs_no_other_sample(stub, served, fault):
    reply, words = FINAL[fault]
    stub.answer = lambda request: reply if text_of(request) == "question 1" else GOOD
    first, second, third = outputs(served(), questions(3))
    assert (first.text, third.text) == ("a cat", "a cat") and len(stub.requests) == 3
    assert second.text == "" and words in second.error


HOPELESS = {
    "wrong key": (
        failed(401, "Incorrect API key provided: planted-key"),
        "HTTP 401, the key is missing or wrong",
    ),
    "no such model": (
        failed(404, "The model `stub` does not exist"),
        "check the model's name and the base URL",
    ),
    "no money": (
        failed(429, "You exceeded your quota", code="insufficient_quota"),
        "You exceeded your quota",
    ),
    "pay first": (failed(402), "HTTP 402"),
    "redirect": (
        Reply(307, headers={"location": "https://u:p@elsewhere.example/v1?key=1"}),
        "https://elsewhere.example",
    ),
}


@pytest.mark.parametrize("fault", HOPELESS, ids=list(HOPELESS))
def test_what_no_other_request_can_escape_ends_the_asking(stub, served, fault):
    reply, words = HOPELESS[fault]
    stub.answer = lambda request: reply
    found = outputs(served(), questions(200))
    assert all(words in output.error for output in found) and len(stub.requests) <= 16
    assert sum(output.error.startswith("not asked: ") for output in found) == 200 - len(stub.requests)
    assert "?key" not in found[0].error and "u:p" not in found[0].error and "planted" not in found[0].error


def test_a_server_that_is_not_there_is_given_up_in_time():
    with StubServer() as gone:
        model = load(f"api:stub@{gone.base_url}", backoff=0.02, max_wait=0.3)
    found = outputs(model, questions(5000))
    assert model.budget.requests < 60
    assert "cannot be reached" in found[0].error and "no answer for 0.3 s" in found[-1].error


def test_a_server_that_only_talks_nonsense_is_given_up(stub, served):
    stub.answer = lambda request: Reply(body=b"cat")
    found = outputs(served(retries=0), questions(300))
    assert len(stub.requests) < 60 and "20 samples in a row failed" in found[-1].error


def test_an_answer_between_failures_is_hope(stub, served):
    stub.answer = lambda request: GOOD if request.number % 15 == 0 else Reply(body=b"cat")
    found = outputs(served(retries=0), questions(60), batch_size=1)
    assert sum(output.error is None for output in found) == 4 and len(stub.requests) == 60


def test_a_retry_waits(stub, served):
    stub.answer = lambda request: Reply(body=b"cat") if request.number == 1 else GOOD
    outputs(served(backoff=0.4), questions(1))
    assert stub.requests[1].at - stub.requests[0].at >= 0.2


def test_a_proxy_is_not_asked_for_this_machine(stub, served, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (output,) = outputs(served(retries=0), questions(1))
    assert output.text == "a cat"


def test_refused_questions_in_a_row_do_not_end_the_asking(stub, served):
    stub.answer = lambda request: failed(400) if int(text_of(request).split()[1]) < 60 else GOOD
    assert [output.error is None for output in outputs(served(), questions(80))] == [False] * 60 + [True] * 20


def test_a_slow_answer_is_given_up_after_the_timeout(stub, served):
    never, hung = replace(GOOD, when=lambda: False), []
    stub.answer = lambda request: never
    model = served(timeout=0.2, retries=1)
    (output,) = outputs(model, questions(1))
    assert "no answer within 0.2 s (2 tries)" in output.error and model.budget.requests == 2
    stub.answer = lambda request: GOOD if hung else hung.append(request) or never
    model = served(timeout=2.0, retries=100)  # where the machine is busy, more than one try may be too slow
    (output,) = outputs(model, questions(1))
    assert output.text == "a cat" and model.budget.requests >= 2


def test_an_answer_that_drips_does_not_outlast_the_timeout(stub, served):
    stub.answer = lambda request: Reply(body=GOOD.body, drip=0.05)
    (output,) = outputs(served(timeout=0.3, retries=0), questions(1))
    assert "no answer within 0.3 s" in output.error


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_nobody_asks_before_retry_after_is_over(stub, served, form):
    def busy_once(request):
        if request.number > 1:
            return GOOD
        until = formatdate(1_000_000_001, usegmt=True)
        dated = {"retry_after": until, "date": formatdate(1_000_000_000, usegmt=True)}
        return failed(429, **(dated if form == "date" else {"retry_after": "1"}))

    stub.answer = busy_once
    found = outputs(served(), questions(30), batch_size=1)
    assert all(output.text == "a cat" for output in found) and len(stub.requests) == 31
    assert stub.requests[1].at - stub.requests[0].at >= 1.0


def test_a_wait_longer_than_our_patience_leaves_the_rest(stub, served):
    stub.answer = lambda request: failed(429, retry_after="3600") if request.number == 3 else GOOD
    found = outputs(served(), questions(20), batch_size=1)
    assert [output.error is None for output in found[:2]] == [True, True] and len(stub.requests) == 3
    assert "asks to wait 3600 s" in found[2].error and "asks to wait 3600 s" in found[19].error


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Fri, 99 Nov 2026 99:00:00 GMT"}, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}, 0.0),
        (
            {"retry-after": "Fri, 20 Nov 2026 12:00:30 GMT", "date": "Fri, 20 Nov 2026 12:00:00 GMT"},
            30.0,
        ),
        ({"retry-after": "Fri, 20 Nov 2026 12:00:30", "date": "Fri, 20 Nov 2026 12:00:00 GMT"}, 30.0),
    ],
)
def test_retry_after_in_all_its_forms(headers, seconds):
    assert seconds_to_wait(headers) == seconds


def test_any_mixture_of_faults_gives_every_sample_its_own_answer_once(stub, served):
    random = Random(0)

    def moody(request):
        if random.random() < 0.4:
            return PASSING[random.choice(sorted(PASSING))]
        return chat(text_of(request).upper(), seconds=random.random() / 50)

    stub.answer = moody
    found = outputs(served(retries=30), questions(120))
    assert [output.text for output in found] == [f"QUESTION {i}" for i in range(120)]


def test_the_servers_words_are_shortened_and_fit_to_print(stub, served):
    stub.answer = lambda request: failed(400, "bad\n\x1b[31m" + "x" * 5000)
    (output,) = outputs(served(), questions(1))
    assert output.error.isprintable() and len(output.error) < 300


def test_an_error_in_any_form_is_readable(stub, served):
    for body in (b"", b"null", b'{"error": "plain words"}', b'{"message": "plain words"}', b'{"error": [1]}'):
        stub.answer = lambda request, body=body: Reply(400, body)
        (output,) = outputs(served(), questions(1))
        assert "HTTP 400" in output.error and ("plain words" in output.error) == (b"plain" in body)
    assert json.loads(PASSING["busy"].body)["error"]["message"] == "slow down"
