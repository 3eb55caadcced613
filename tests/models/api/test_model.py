"""Refs, the digest of a model whose weights cannot be seen, and ranking."""

import json
import math
import re
import warnings
from pathlib import Path

import pytest

from keepsight.inference import RankChoices
from keepsight.models import ServedModel, load
from keepsight.models.api import served_arguments
from keepsight.models.api.address import parse_address
from keepsight.refs import row_names
from keepsight.types import VLM, KeepsightError, Sample
from tests.models.api.conftest import outputs, questions
from tests.models.conftest import picture
from tests.stub_server import Reply, StubServer, chat, failed, text_of


@pytest.mark.parametrize(
    ("location", "model", "base_url"),
    [
        ("m@http://localhost:8000/v1", "m", "http://localhost:8000/v1"),
        ("m@http://localhost:8000/v1/", "m", "http://localhost:8000/v1"),
        ("m@http://localhost:8000/v1/chat/completions", "m", "http://localhost:8000/v1"),
        ("org/name@HTTPS://Host.Example/v1".replace("HTTPS", "https"), "org/name", "https://host.example/v1"),
        ("name@2024@https://h/v1", "name@2024", "https://h/v1"),
        ("/weights/my model@http://[::1]:80/v1", "/weights/my model", "http://[::1]:80/v1"),
        ("m@http://h", "m", "http://h"),
    ],
)
def test_addresses(location, model, base_url):
    address = parse_address(location)
    assert (address.model, address.base_url, address.name) == (model, base_url, f"api:{model}@{base_url}")


@pytest.mark.parametrize(
    "ref",
    [
        "api:",
        "api:model",
        "api:@http://h/v1",
        "api:m@ftp://h/v1",
        "api:m@http:///v1",
        "api:m@http://h:port/v1",
        "api:m@http://user:planted-secret@h/v1",
        "api:m@https://h/v1?key=planted-secret",
        "api:m@https://h/v1#planted-secret",
        "api:m@https://h\n/v1",
        "api:m@http://user:planted-secret@h/v1+adapter:out",
        "api:m@http://h/v1+adapter:out",
    ],
)
def test_addresses_that_are_none_are_refused_without_repeating_a_secret(ref):
    with pytest.raises(KeepsightError) as refused:
        load(ref)
    assert "planted" not in str(refused.value) and "\n" not in str(refused.value)


def test_rows_are_called_after_the_model():
    here, there = "http://localhost:8000/v1", "https://api.example/v1"
    assert row_names([f"api:org/a@{here}", f"api:b@{here}", "tiny"]) == ["a", "b", "tiny"]
    assert row_names([f"api:a@{here}", f"api:a@{there}"]) == ["localhost:8000/a", "api.example/a"]


def test_a_served_model_is_a_vlm_and_loads_nothing(stub, served):
    model = served()
    assert isinstance(model, ServedModel) and model.name == f"api:stub@{stub.base_url}"
    assert not stub.model_requests and isinstance(model, VLM)


def test_the_digest_changes_with_all_that_can_be_known_to_change_an_answer(stub, served, monkeypatch):
    different = [
        {},
        {"revision": "epoch-2"},
        {"revision": "epoch-3"},
        {"image_detail": "high"},
        {"logprobs": True},
        {"max_tokens_field": "max_completion_tokens"},
        {"extra_body": {"top_k": 1}},
    ]
    digests = [served(**options).digest for options in different]
    digests.append(load(f"api:other@{stub.base_url}").digest)
    for change in (
        {"root": "weights/epoch-2"},
        {"owned_by": "sglang"},
        {"meta": {"n_params": 7}},
        {"parent": "b"},
    ):
        stub.models = {"data": [{"id": "stub", "root": "weights/stub", "owned_by": "tests", **change}]}
        digests.append(served().digest)
    stub.models = failed(404)
    digests.append(served().digest)
    with monkeypatch.context() as patch:
        patch.setattr("keepsight.models.api.model.RENDERING", "next")
        digests.append(served().digest)
    with StubServer() as second:
        digests.append(load(f"api:stub@{second.base_url}").digest)
    assert len(set(digests)) == len(digests)


def test_the_digest_does_not_change_with_what_cannot(stub, served, tmp_path, monkeypatch):
    digests = {served(timeout=1.0, retries=1, prompt_price=1, completion_price=2, max_requests=5).digest}
    monkeypatch.setenv("KEEPSIGHT_API_KEY", "planted-secret-key")
    digests.add(served().digest)
    stub.models["data"][0]["created"] = 2  # vLLM: the moment of the question
    digests.add(served().digest)
    stub.models = {"data": [{"id": "another"}, *stub.models["data"]]}
    digests.add(load(f"api:stub@{stub.base_url}/chat/completions", batch_size=3).digest)
    (tmp_path / "body.json").write_text('{"top_k": 1}')
    digests.add(served().digest)
    assert len(digests) == 1
    assert served(extra_body=str(tmp_path / "body.json")).digest == served(extra_body={"top_k": 1}).digest


def test_with_a_revision_the_server_is_not_asked_what_it_serves(stub, served):
    assert served(revision="epoch-2").digest and not stub.model_requests


@pytest.mark.parametrize("models", [failed(404), failed(405), Reply(body=b'{"data": 7}'), Reply(body=b"{}")])
def test_a_server_without_a_list_of_models_is_known_by_its_name_alone(stub, served, models):
    known = served().digest
    stub.models = models
    assert served().digest != known


@pytest.mark.parametrize(
    ("models", "words"),
    [
        (failed(401, "planted"), "the key is missing or wrong"),
        (failed(503), "HTTP 503"),
        (Reply(302, headers={"location": "http://x.example/"}), "redirect to http://x.example"),
        (Reply(body=b"<html>"), "not JSON"),
    ],
)
def test_a_server_that_cannot_say_what_it_serves_is_an_error_and_never_another_identity(
    stub, served, models, words
):
    stub.models = models
    with pytest.raises(KeepsightError, match=words) as refused:
        _ = served(retries=1).digest
    assert "planted" not in str(refused.value)
    stub.models = {"data": []}
    assert served().digest


def test_a_list_of_models_that_comes_late_comes(stub, served):
    plain = served().digest
    good = stub.models
    stub.models = lambda request: failed(429, retry_after="0") if request.number < 4 else good
    assert served().digest == plain and len(stub.model_requests) == 4


def test_another_name_in_the_middle_is_told(stub, served):
    def answer(request):
        body = json.loads(chat("x").body) | {"model": "stub-05" if request.number < 3 else "stub-11"}
        return Reply(body=json.dumps(body).encode())

    stub.answer = answer
    with pytest.warns(UserWarning, match="answered as 'stub-05' and then 'stub-11'"):
        outputs(served(), questions(5), batch_size=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outputs(served(), questions(5))


LOGPROB = {"yes": -1.0, "no": -2.5, "maybe so": -0.75}


def vllm(request) -> Reply:
    """What vLLM gives for the fields it adds: tokens are words, each of a choice's has the choice's log p."""
    messages = request.body["messages"]
    words = [*text_of(request).split(), "<answer>"]
    reply = json.loads(chat("x").body)
    if len(messages) == 2:
        assert (
            request.body["continue_final_message"] is True and request.body["add_generation_prompt"] is False
        )
        words += messages[1]["content"].split()
        values = [None, *([-9.0] * len(words[1:]))]
        added = len(messages[1]["content"].split())
        values[-added:] = [LOGPROB[messages[1]["content"]]] * added
        ids = [hash(word) % 10**6 for word in words]
        reply["prompt_logprobs"] = [
            value if value is None else {"5": {"logprob": -0.1, "rank": 1}, str(token): {"logprob": value}}
            for token, value in zip(ids, values)
        ]
    if request.body.get("return_token_ids"):
        reply["prompt_token_ids"] = [hash(word) % 10**6 for word in words]
    return Reply(body=json.dumps(reply).encode())


def test_choices_are_ranked_where_the_server_tells(stub, served):
    stub.answer = vllm
    asked = [
        Sample("a", "Is it a cat?", (picture(1),), choices=("yes", "no", "maybe so")),
        Sample("b", "And this?", choices=("no", "yes")),
        Sample("c", "No choice?"),
    ]
    found = dict(RankChoices("sum")(served(), asked))
    assert found[0].choice_logprobs == (-1.0, -2.5, -1.5) and found[0].text == "yes"
    assert found[1].text == "yes" and "no choices" in found[2].error
    assert dict(RankChoices("mean")(served(), asked[:1]))[0].text == "maybe so"
    assert len(stub.requests) == (1 + 3) + (1 + 2) + (1 + 3)


def test_a_server_that_does_not_tell_is_refused_by_name(stub, served):
    asked = [Sample("a", "Is it?", choices=("yes", "no"))]
    with pytest.raises(KeepsightError, match="cannot rank choices: its server gives no log-probabilities"):
        list(RankChoices()(served(), asked))


def test_a_choice_that_could_not_be_asked_is_nan_and_the_others_are_ranked(stub, served):
    stub.answer = lambda request: failed(400) if text_of(request) == "bad" else vllm(request)
    asked = [Sample("a", "bad", choices=("yes", "no")), Sample("b", "good", choices=("yes", "no"))]
    found = dict(served().choice_logprobs(asked))
    assert all(math.isnan(value) for value in found[0]) and found[1] == (-1.0, -2.5)


def test_a_template_that_rewrites_the_question_is_nan_not_a_wrong_number(stub, served):
    def rewriting(request):
        reply = json.loads(vllm(request).body)
        if len(request.body["messages"]) == 2:
            reply["prompt_token_ids"][0] += 1
        return Reply(body=json.dumps(reply).encode())

    stub.answer = rewriting
    (values,) = dict(served().choice_logprobs([Sample("a", "Is it?", choices=("yes",))])).values()
    assert math.isnan(values[0])


def test_the_page_names_every_setting():
    page = (Path(__file__).parents[3] / "docs" / "servers.md").read_text()
    table = page[page.index("## Settings") :]
    named = {
        name
        for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert named == served_arguments()
