"""What asking may cost: nothing is overrun, nothing answered is lost, nothing is guessed."""

import pytest

from keepsight.models import Budget, load
from keepsight.types import KeepsightError, Media, Sample
from tests.models.api.conftest import outputs, questions
from tests.models.conftest import picture
from tests.stub_server import chat, failed


def test_requests_stop_at_the_limit_and_what_was_answered_is_kept(stub, served):
    found = outputs(served(max_requests=7), questions(30))
    answered = [output for output in found if output.error is None]
    assert len(answered) == len(stub.requests) == 7
    told = {output.error for output in found if output.error}
    assert told == {"not asked: the budget is used up (max_requests=7); raise it and run again"}


def test_retries_count_and_never_exceed_the_limit(stub, served):
    stub.answer = lambda request: failed(503)
    model = served(max_requests=9, retries=100)
    found = outputs(model, questions(5))
    assert len(stub.requests) == model.budget.requests == 9
    assert all("max_requests=9" in output.error and "HTTP 503" in output.error for output in found)


def test_tokens_stop_at_the_limit(stub, served):
    stub.answer = lambda request: chat("x", usage=(85, 10))
    model = served(max_total_tokens=1000)
    found = outputs(model, questions(30), max_new_tokens=10, batch_size=1)
    assert sum(output.error is None for output in found) == 10
    assert model.budget.tokens == 950, "prompts are expected to be as long as those before"


def test_money_stops_at_the_limit_by_the_prices_given(stub, served):
    stub.answer = lambda request: chat("x", usage=(1000, 100))
    model = served(max_cost=0.05, prompt_price=2.0, completion_price=30.0)  # 0.005 a request
    found = outputs(model, questions(30), max_new_tokens=100, batch_size=1)
    assert sum(output.error is None for output in found) == 10
    assert model.budget.cost == pytest.approx(0.05)


def test_side_by_side_the_reserve_keeps_the_limit(stub, served):
    stub.answer = lambda request: chat("x", usage=(3, 64), seconds=0.05)  # as dear as expected
    model = served(max_total_tokens=700)
    outputs(model, questions(40), max_new_tokens=64)
    assert model.budget.tokens <= 700 and len(stub.requests) == 700 // 67


def test_what_may_have_been_charged_counts_and_what_surely_was_not_does_not(stub, served):
    answers = [failed(500), failed(429), chat("x", usage=None)]
    stub.answer = lambda request: answers[request.number - 1]
    model = served()
    outputs(model, questions(1), max_new_tokens=50)
    assert (model.budget.requests, model.budget.tokens) == (3, 3 + 50)


def test_a_picture_that_cannot_be_sent_takes_nothing(stub, served):
    model = served(max_requests=1)
    found = outputs(model, [Sample("bad", "?", (Media(data=b"no picture"),)), Sample("good", "?")])
    assert "cannot decode picture" in found[0].error and found[1].text == "a cat"
    assert model.budget.requests == 1


def test_one_budget_for_several_models(stub, served):
    shared = Budget(max_requests=5)
    first, second = served(budget=shared), served(budget=shared)
    outputs(first, questions(3))
    assert sum(output.error is None for output in outputs(second, questions(3))) == 2


def test_the_estimate_says_what_it_assumes(served):
    model = served(prompt_price=2.0, completion_price=10.0, image_tokens=500)
    asked = [Sample("a", "x" * 40, (picture(1),)), Sample("b", "x" * 41)]
    estimate = model.estimate(asked, max_new_tokens=30)
    assert (estimate.requests, estimate.usage.prompt_tokens, estimate.usage.completion_tokens) == (2, 521, 60)
    assert estimate.cost == pytest.approx((521 * 2 + 60 * 10) / 1e6)
    assert served().estimate(asked, max_new_tokens=30).cost is None, "prices are never guessed"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_cost": 5}, "max_cost needs prompt_price and completion_price"),
        ({"budget": Budget(max_cost=1)}, "max_cost needs prompt_price"),
        ({"prompt_price": 1.0}, "give both prompt_price and completion_price"),
        ({"max_requests": 0}, "max_requests is 0; give a whole number above 0"),
        ({"max_requests": 1.5}, "max_requests is 1.5"),
        ({"retries": -1}, "retries is -1; give a whole number from 0"),
        ({"timeout": "soon"}, "timeout is 'soon'"),
        ({"timeout": True}, "timeout is True"),
        ({"max_cost": float("nan"), "prompt_price": 1, "completion_price": 1}, "max_cost is nan"),
        ({"extra_body": {"messages": []}}, "extra_body cannot set messages"),
        ({"extra_body": "nowhere.json"}, "extra_body nowhere.json is not a file"),
        ({"api_key": "planted"}, "a key belongs in the environment or a key file"),
        ({"colour": 1}, "unknown model argument colour"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(KeepsightError, match=words) as refused:
        load("api:stub@http://127.0.0.1:9/v1", **options)
    assert "planted" not in str(refused.value)
