"""Where a key comes from, to whom it goes, and that it is written down nowhere."""

import logging
import pickle
import traceback

import pytest

from keepsight import cli
from keepsight.models import load
from keepsight.models.api.keys import Key, find_key
from keepsight.types import KeepsightError
from tests.models.api.conftest import outputs, questions
from tests.stub_server import Reply, StubServer, chat, failed

PLANTED = "sk-planted-0123456789abcdef"


def sent(key) -> str | None:
    return None if key is None else key.header["Authorization"].removeprefix("Bearer ")


def test_a_key_is_looked_for_in_order(monkeypatch, tmp_path):
    assert find_key("h") is None
    monkeypatch.setenv("OPENAI_API_KEY", "of-openai")
    assert find_key("h") is None and sent(find_key("api.openai.com")) == "of-openai", (
        "it goes to no other host"
    )
    monkeypatch.setenv("KEEPSIGHT_API_KEY", "general")
    assert sent(find_key("h")) == sent(find_key("api.openai.com")) == "general"
    (tmp_path / "keys").write_text("# mine\nh  for-h\n\napi.other.example for-other\n")
    monkeypatch.setenv("KEEPSIGHT_KEY_FILE", str(tmp_path / "keys"))
    assert sent(find_key("h")) == "for-h" and sent(find_key("another")) == "general"
    monkeypatch.setenv("MINE", "by-name")
    assert sent(find_key("h", key_env="MINE")) == "by-name"
    (tmp_path / "one").write_text(" alone \n")
    assert sent(find_key("h", key_file=str(tmp_path / "one"))) == "alone"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no key for h"),
        ("other planted", "has no key for h"),
        ("planted-1\nplanted-2", "two keys"),
        ("h planted-1\nh planted-2", "two keys"),
        ("h planted x", "neither 'KEY' nor 'HOST KEY'"),
        ("plant\x00ed", "one word of printable ASCII"),
        ("plantéd", "one word of printable ASCII"),
    ],
)
def test_a_bad_key_file_is_refused_without_being_quoted(tmp_path, text, words):
    (tmp_path / "keys").write_text(text, encoding="utf-8")
    with pytest.raises(KeepsightError, match=words) as refused:
        find_key("h", key_file=str(tmp_path / "keys"))
    assert "plant" not in "".join(traceback.format_exception(refused.value)).replace(str(tmp_path), "")


def test_missing_places_are_named(tmp_path):
    with pytest.raises(KeepsightError, match="NOWHERE, which key_env names, is not set"):
        find_key("h", key_env="NOWHERE")
    with pytest.raises(KeepsightError, match="cannot be read: No such file"):
        find_key("h", key_file=str(tmp_path / "none"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(KeepsightError, match="cannot be read: not a text file"):
        find_key("h", key_file=str(tmp_path / "binary"))


def test_a_key_does_not_show_itself():
    key = Key(PLANTED, "test")
    assert PLANTED not in repr(key) + str(key) + f"{key!r:>40}"
    with pytest.raises(TypeError):
        pickle.dumps(key)
    assert (
        key.hide(f"it is {PLANTED}!") == "it is ***!"
        and Key("none", "test").hide("none at all") == "none at all"
    )


def echoing(request):
    """The worst of servers: says the key back wherever it can."""
    key = request.headers.get("authorization", "")
    if request.number % 3 == 0:
        return failed(400, f"bad header {key}")
    if request.number % 3 == 1:
        return Reply(500, f"<html>{key}</html>".encode())
    return chat(f"a cat, by the way {key}", model=key)


def test_the_planted_key_reaches_the_server_and_nothing_else(monkeypatch, tmp_path, caplog, capsys, recwarn):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEEPSIGHT_API_KEY", PLANTED)
    caplog.set_level(logging.DEBUG)
    with StubServer(echoing) as stub:
        stub.models = Reply(body=b'{"data": [{"id": "stub", "root": "' + PLANTED.encode() + b'"}]}')
        ref = f"api:stub@{stub.base_url}"
        argv = [
            "keepsight",
            "audit",
            ref,
            ref + "/",
            "--tasks",
            "emt:shapes",
            "--limit",
            "6",
            "--judges",
            "label",
        ]
        argv += ["--model_args", "backoff=0.001,retries=2", "--output_path", "out"]
        monkeypatch.setattr("sys.argv", argv)
        with pytest.raises(SystemExit):
            cli.main()
        told = [repr(output) for output in outputs(load(ref, backoff=0.001), questions(9))]
        stub.answer = lambda request: failed(401, f"Incorrect API key provided: {PLANTED}")
        model = load(ref)
        told += [output.error for output in outputs(model, questions(3))]
        stub.models = failed(401, f"Incorrect API key provided: {PLANTED}")
        with pytest.raises(KeepsightError) as refused:
            _ = load(ref).digest
    assert all(request.headers["authorization"] == f"Bearer {PLANTED}" for request in stub.requests)
    assert len(stub.requests) > 10
    printed = capsys.readouterr()
    shown = [
        *told,
        printed.out,
        printed.err,
        caplog.text,
        repr(model),
        repr(vars(model)),
        repr(model._line.server),
    ]
    shown += traceback.format_exception(refused.value) + [str(warning.message) for warning in recwarn]
    shown += [repr(frame.f_locals) for frame, _ in traceback.walk_tb(refused.value.__traceback__)][1:]
    assert not [text for text in shown if PLANTED in text]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 8 and not [path for path in written if PLANTED.encode() in path.read_bytes()]
    (text,) = {path.read_text() for path in tmp_path.glob("out/runs/*/*/outputs.jsonl")} or {""}
    assert "by the way Bearer ***" in text


def test_a_key_does_not_follow_a_redirect(monkeypatch, stub, served):
    monkeypatch.setenv("KEEPSIGHT_API_KEY", PLANTED)
    with StubServer() as thief:
        stub.answer = lambda request: Reply(307, headers={"location": f"{thief.base_url}/chat/completions"})
        (output,) = outputs(served(), questions(1))
        assert "redirect" in output.error and not thief.requests
