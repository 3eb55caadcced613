import pytest

from keepsight.models import load, load_embedder
from keepsight.models.refs import Ref, parse_ref
from keepsight.types import KeepsightError


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("tiny", Ref("tiny", "")),
        ("hf:org/name", Ref("hf", "org/name")),
        (" hf:/a/b ", Ref("hf", "/a/b")),
        ("hf:C:/models/x", Ref("hf", "C:/models/x")),
        ("tiny+adapter:out/epoch-1", Ref("tiny", "", ("out/epoch-1",))),
        ("hf:org/name+adapter:a+adapter:b c", Ref("hf", "org/name", ("a", "b c"))),
        ("replay:answers.jsonl", Ref("replay", "answers.jsonl")),
        ("st:org/name", Ref("st", "org/name")),
    ],
)
def test_refs(text, ref):
    assert parse_ref(text) == ref


def test_a_directory_needs_no_prefix(tmp_path):
    assert parse_ref(f"{tmp_path}+adapter:x") == Ref("hf", str(tmp_path), ("x",))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "not understood"),
        ("hf:", "hf:PATH"),
        ("tiny:x", "write tiny"),
        ("gpt:4", "not understood"),
        ("no/such/place", "no such directory"),
        ("hf:x+adapter:", "no directory after it"),
    ],
)
def test_bad_refs_say_what_to_write(text, word):
    with pytest.raises(KeepsightError, match=word):
        parse_ref(text)


def test_missing_directories_are_named(tmp_path):
    for ref in (f"hf:{tmp_path}/none", "hf:./none", "hf:a/b/c", f"replay:{tmp_path}/none.jsonl"):
        with pytest.raises(KeepsightError, match=r"none|a/b/c"):
            load(ref)
    with pytest.raises(KeepsightError, match=r"no config\.json"):
        load(f"hf:{tmp_path}")


def test_a_hub_id_without_network_says_so(monkeypatch, tmp_path):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(*args, **kwargs):
        raise LocalEntryNotFoundError("not here")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(KeepsightError, match="offline"):
        load("hf:someone/some-model")


def test_a_cached_snapshot_is_used_without_network(monkeypatch, tmp_path):
    import huggingface_hub

    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")

    def snapshot(hub_id, local_files_only=False, **kwargs):
        assert local_files_only, "the network was asked"
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert load("hf:someone/some-model").source.directory == tmp_path


def test_embedders_and_models_are_not_confused(tmp_path):
    with pytest.raises(KeepsightError, match="load_embedder"):
        load(f"clip:{tmp_path}")
    with pytest.raises(KeepsightError, match="canned answers take no adapter"):
        load(f"replay:{tmp_path}/r.jsonl+adapter:{tmp_path}")
    with pytest.raises(KeepsightError, match="embeds no texts"):
        load_embedder(f"hf:{tmp_path}")


def test_unknown_model_arguments_are_refused(tmp_path):
    with pytest.raises(KeepsightError, match="unknown model argument chat_tmeplate"):
        load(f"hf:{tmp_path}", chat_tmeplate="x")
    with pytest.raises(KeepsightError, match="neither a Jinja text nor a file"):
        load(f"hf:{tmp_path}", chat_template="nowhere.jinja")
