"""Replies held to a JSON Schema: what is sent, what is remembered, and what is done where a server refuses."""

import json

import pytest

from keepsight.models import load
from keepsight.scoring.judges.asking import Remembered
from keepsight.scoring.judges.llm import LLMYesNo
from keepsight.scoring.judges.verdict import SCHEMA, VerdictJudge
from keepsight.store import Store
from keepsight.types import KeepsightError, Output, Sample, TakesSchema
from tests.fake_judge import CORRECT
from tests.models.api.conftest import outputs, questions
from tests.stub_server import Reply, chat, failed

HELD = {
    "type": "json_schema",
    "json_schema": {"name": "reply", "schema": SCHEMA, "strict": True},
}
REFUSALS = {
    "openai": Reply(400, json.dumps({"error": {"message": "not with this model", "param": "response_format"}}).encode()),
    "named": failed(400, "This response_format type is unavailable now"),
    "fastapi": Reply(422, b'{"detail": [{"loc": ["body", "response_format", "type"], "msg": "not permitted"}]}'),
    "grammar": failed(400, "failed to parse grammar"),
    "not there": failed(501, "structured outputs are not supported"),
}  # fmt: skip


def refusing(reply, good=CORRECT):
    return lambda request: reply if "response_format" in request.body else chat(good)


def formats(stub) -> list:
    return [request.body.get("response_format") for request in stub.requests]


def case(text="a dog", target="dog", name="s"):
    return Sample(name, "What is it?", target=(target,)), Output(text)


def judged(model, *cases, **settings):
    samples, answers = zip(*(cases or (case(),)))
    return VerdictJudge(model, **settings)(samples, answers)


def test_a_judge_holds_a_served_model_to_its_schema_and_nobody_else_does(stub, served):
    stub.answer = lambda request: chat(CORRECT)
    model = served()
    assert isinstance(model, TakesSchema) and judged(model)[0].value == 1
    assert formats(stub) == [HELD] and model.budget.requests == 1, "one budget for both"
    outputs(model, questions(1))
    LLMYesNo(model)([case()[0]], [case()[1]])
    assert formats(stub) == [HELD, None, None]


def test_what_is_not_json_is_still_repaired_and_held(stub, served):
    stub.answer = lambda request: chat("well, yes" if request.number == 1 else CORRECT)
    (score,) = judged(served())
    assert score.value == 1 and score.tags == ("repaired",) and formats(stub) == [HELD, HELD]


def test_the_digest_tells_how_a_reply_was_held(served):
    plain = served().digest
    modes = ("auto", "json_schema", "json_object", "none")
    held = {mode: served(structured=mode).with_schema(SCHEMA).digest for mode in modes}
    assert held.pop("none") == plain and len({plain, *held.values()}) == 4
    other = served().with_schema({"type": "object"}).digest
    assert other not in {plain, *held.values()}
    assert {served(structured=mode).digest for mode in modes} == {plain}, "who is not held is who it was"


def test_each_way_to_hold_a_reply(stub, served):
    stub.answer = lambda request: chat(CORRECT)
    for mode in ("json_schema", "json_object", "none"):
        judged(served(structured=mode))
    assert formats(stub) == [HELD, {"type": "json_object"}, None]
    judged(served(extra_body={"response_format": {"type": "text"}}))
    assert formats(stub)[-1] == {"type": "text"}, "the user's own word counts"
    with pytest.raises(KeepsightError, match="structured is 'xml'; choose from auto, json_schema"):
        served(structured="xml")


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_a_server_that_refuses_is_asked_without_and_it_is_said_and_recorded(stub, served, refusal):
    stub.answer = refusing(refusal)
    model = served(retries=0)
    with pytest.warns(UserWarning, match="holds no reply to a JSON Schema .*HTTP .*asked without") as told:
        scores = judged(model, *(case(name=f"s{i}", text=f"a dog {i}") for i in range(12)), batch_size=4)
    # the collector may tell of another test's socket meanwhile
    assert len([each for each in told if "asked without" in str(each.message)]) == 1
    assert [(score.value, score.tags) for score in scores] == [(1.0, ("schema_refused",))] * 12
    refused = sum(each is not None for each in formats(stub))
    assert 1 <= refused <= 4 and len(stub.requests) == 12 + refused, "no more than were under way"
    assert model.budget.requests == len(stub.requests)


def test_a_refusal_is_remembered_with_the_reply(stub, served, tmp_path):
    stub.answer = refusing(REFUSALS["named"])
    with pytest.warns(UserWarning):
        first = judged(served(), replies=Store(tmp_path).judge_replies)
    asked = len(stub.requests)
    assert judged(served(), replies=Store(tmp_path).judge_replies) == first and len(stub.requests) == asked
    assert first[0].tags == ("schema_refused",)


def test_no_request_goes_beyond_the_budget_for_a_refusal(stub, served):
    stub.answer = refusing(REFUSALS["named"])
    with pytest.warns(UserWarning):
        (score,) = judged(served(max_requests=1))
    assert (
        len(stub.requests) == 1 and score.status == "judge_failed" and "max_requests=1" in score.explanation
    )


@pytest.mark.parametrize(
    ("mode", "cure"),
    [("json_schema", "structured=json_object or none"), ("json_object", "structured=auto or none")],
)
def test_who_asked_for_it_by_name_gets_one_error_with_the_cure(stub, served, mode, cure):
    stub.answer = refusing(REFUSALS["named"])
    scores = judged(served(structured=mode), *(case(name=f"s{i}", text=f"a dog {i}") for i in range(40)))
    assert {score.status for score in scores} == {"judge_failed"} and len(stub.requests) <= 8
    assert all(
        cure in score.explanation and f"does not take structured={mode}" in score.explanation
        for score in scores
    )


def test_other_refusals_stay_what_they_are(stub, served):
    stub.answer = lambda request: failed(400, "maximum context length is 4096")
    (score,) = judged(served())
    assert len(stub.requests) == 1 and "maximum context length" in score.explanation
    assert score.tags == ("no_reply",)
    stub.answer = lambda request: failed(400, "unknown field response_format")  # a question that had none
    (output,) = outputs(load(f"api:stub@{stub.base_url}"), questions(1))
    assert "unknown field" in output.error and len(stub.requests) == 2


def test_replies_of_a_held_and_a_free_judge_are_kept_apart(stub, served):
    stub.answer = lambda request: chat(CORRECT)
    replies = Remembered()
    for mode in ("auto", "none", "auto", "none"):
        judged(served(structured=mode), replies=replies)
    assert len(stub.requests) == 2
