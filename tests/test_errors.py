"""No message tells a key, whoever put it there."""

import pickle

import pytest

from keepsight.errors import KeepsightError, redacted

KEY = "planted-9f3a77c1d2"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("api:m@https://user:pw12345@host/v1 failed", "api:m@https://***@host/v1 failed"),
        ("https://token@host/x?y", "https://***@host/x?y"),
        ("https://us@er:p@host/", "https://***@host/"),
        ("api:model@https://host/v1", "api:model@https://host/v1"),
        ("https://host/a@b", "https://host/a@b"),
        ("--model_args api_key=abc,dtype=x", "--model_args api_key=***,dtype=x"),
        ("keepsight eval --api_key abc --limit 3", "keepsight eval --api_key *** --limit 3"),
        ("?access_token=abc&x=1", "?access_token=***&x=1"),
        ("OPENAI_API_KEY=abc python", "OPENAI_API_KEY=*** python"),
        ("{'api_key': 'abc', 'n': 1}", "{'api_key': '***', 'n': 1}"),
        ('{"Authorization": "Bearer abc"}', '{"Authorization": "***"}'),
        ("Authorization: Bearer abc123def", "Authorization: Bearer ***"),
        ("sk-abcdefghijkl123456 and hf_abcdefghijkl123456", "*** and ***"),
        ("--gen_kwargs max_new_tokens=64", "--gen_kwargs max_new_tokens=64"),
        (
            "the prompt contains the model's image token <image>",
            "the prompt contains the model's image token <image>",
        ),
        ("KeyError: 'text'", "KeyError: 'text'"),
        ("key_file=secrets/key.txt", "key_file=secrets/key.txt"),
        ("monkey=banana", "monkey=banana"),
    ],
)
def test_forms_of_keys(text, shown):
    assert redacted(text) == shown == str(KeepsightError(text))


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "HF_TOKEN", "MY_SECRET", "db_password", "X_CREDENTIALS"])
def test_the_value_of_a_secret_variable_is_blotted_out_everywhere(monkeypatch, name):
    monkeypatch.setenv(name, KEY)
    assert redacted(f"the server said: bad key {KEY}!") == "the server said: bad key ***!"


def test_other_variables_are_not_secrets(monkeypatch):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "falsefalse")
    monkeypatch.setenv("SHORT_KEY", "cat")
    assert redacted("falsefalse cat") == "falsefalse cat"


def test_an_error_survives_being_sent_to_another_process():
    error = pickle.loads(pickle.dumps(KeepsightError("sample a: bad")))
    assert (type(error), str(error)) == (KeepsightError, "sample a: bad")


def test_a_file_name_that_is_no_utf8_can_be_written():
    assert str(KeepsightError("no file a\udcff.png")).encode() == b"no file a\\udcff.png"
