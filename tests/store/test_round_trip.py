"""What goes into a store comes out as it was."""

import dataclasses
import json
import math
import os
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepsight.store import Identity, Store, json_schema, load_run, sample_hash
from keepsight.store.rows import REWARD, score_of, score_row
from keepsight.store.schema import OutputRow, ScoreRow
from keepsight.types import KeepsightError, Media, MetricValue, Output, Record, Sample, Score, digest_of

text = st.text(max_size=20)
finite = st.floats(allow_nan=False)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
media = st.tuples(
    st.sampled_from(["image", "audio", "video"]),
    st.sampled_from([b"", b"\x89PNG", b"RIFF....WEBP", b"....ftyp", b"\xff\xd8\xff"]),
    st.binary(max_size=30),
).map(lambda part: Media(kind=part[0], data=part[1] + part[2]))
strategy_of_samples = st.builds(
    Sample,
    id=text,
    prompt=text,
    media=st.lists(media, max_size=2).map(tuple),
    target=st.lists(text, max_size=3).map(tuple),
    choices=st.lists(text, max_size=3).map(tuple),
    group=st.none() | text,
    meta=st.dictionaries(text, json_values, max_size=3),
    history=st.lists(st.tuples(text, text), max_size=2).map(lambda pairs: tuple(chain(*pairs))),
)
strategy_of_outputs = st.builds(
    Output,
    text=text,
    choice_logprobs=st.none() | st.lists(finite, max_size=3).map(tuple),
    token_ids=st.none() | st.lists(st.integers(0, 200_000), max_size=3).map(tuple),
    token_logprobs=st.none() | st.lists(finite, max_size=3).map(tuple),
    media=st.lists(media, max_size=1).map(tuple),
    stop=st.none() | st.sampled_from(["eos", "length", "stop"]),
    usage=st.dictionaries(text, st.integers(0, 9), max_size=2),
    error=st.none() | text,
)
strategy_of_scores = st.builds(
    Score,
    value=st.floats(allow_infinity=False),
    answer=st.none() | text,
    status=st.sampled_from(["ok", "unparsed", "refused", "judge_failed", "error"]),
    explanation=text,
    tags=st.lists(text, max_size=3).map(tuple),
    weight=st.floats(0, 100),
)
steps = st.lists(st.tuples(strategy_of_samples, strategy_of_outputs, strategy_of_scores), max_size=2)
strategy_of_metrics = st.builds(
    MetricValue,
    name=text,
    value=st.floats(0, 1) | st.just(math.nan),
    low=st.floats(0, 1) | st.just(math.nan),
    high=st.floats(0, 1),
    n=st.integers(0, 9),
    total=st.integers(0, 9),
    not_ok=st.dictionaries(text, st.integers(0, 9), max_size=2),
)
rows = st.lists(
    st.tuples(strategy_of_samples, strategy_of_outputs, strategy_of_scores),
    min_size=1,
    max_size=4,
    unique_by=lambda row: row[0].id,
)


def identity_of(samples: list[Sample], **changes) -> Identity:
    fields = {
        "checkpoint": "models/llava 7b",
        "checkpoint_digest": "c" * 64,
        "task": "emt:digits",
        "task_version": "1",
        "sample_hashes": tuple(map(sample_hash, samples)),
        "inference": {"method": "generate", "seed": 3},
    }
    return Identity(**{**fields, **changes})


def in_episode(sample: Sample, output: Output, steps) -> Output:
    """`output` with steps of the kind that an episode has."""
    kept = tuple(
        Record(
            replace(seen, group=sample.id, target=(), choices=()),
            replace(said, choice_logprobs=None, media=(), error=None),
            {REWARD: replace(score, weight=1.0, value=-1.5 if math.isnan(score.value) else score.value)},
        )
        for seen, said, score in steps
    )
    return replace(output, steps=kept)


@given(
    rows=rows,
    episodes=st.lists(steps, min_size=4, max_size=4),
    metrics=st.lists(strategy_of_metrics, min_size=1, max_size=2),
    order=st.randoms(),
)
@settings(max_examples=60, deadline=None)
def test_a_run_comes_back_exactly(rows, episodes, metrics, order, tmp_path_factory):
    rows = [(row[0], in_episode(row[0], row[1], steps), row[2]) for row, steps in zip(rows, episodes)]
    samples = [row[0] for row in rows]
    store = Store(tmp_path_factory.mktemp("store"))
    with store.open_run(identity_of(samples), {"judge": "2"}, {"limit": None}, ("cat",)) as writer:
        for i in order.sample(range(len(rows)), len(rows)):
            writer.add_output(i, samples[i], rows[i][1])
        writer.add_scores("judge", {sample.id: score for sample, _, score in rows})
        writer.finish(metrics, {"judge": metrics[0]})
    run = load_run(writer.path)

    assert [record.sample for record in run.records] == samples
    assert [record.sample.digest() for record in run.records] == [sample.digest() for sample in samples]
    assert [record.output for record in run.records] == [row[1] for row in rows]
    assert repr([record.scores for record in run.records]) == repr([{"judge": row[2]} for row in rows])
    assert repr(run.metrics) == repr(tuple(metrics))
    assert run.scorer == "judge" and run.manifest["status"] == "success"
    assert run.manifest["seeds"] == {"generate": 3} and run.manifest["labels"] == ["cat"]


@pytest.fixture
def finished(tmp_path):
    samples = [
        Sample("a", "What?", (Media(data=b"\x89PNG1"),), ("cat",)),
        Sample("b", "Which?", (), ("x", "y")),
    ]
    store = Store(tmp_path)
    with store.open_run(identity_of(samples), {"judge": "2"}, {}) as writer:
        for i, sample in enumerate(samples):
            writer.add_output(i, sample, Output("it's a cat", stop="eos"))
        writer.add_scores("judge", {sample.id: Score(1.0, "cat") for sample in samples})
        writer.finish([MetricValue("accuracy", 1.0, 0.3, 1.0, 2, 2)], {})
    return writer.path


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_layout_and_names_known_from_lm_eval(finished):
    assert finished.parent.name == "models-llava-7b-cccccccc"
    assert finished.name.startswith("emt-digits-")
    assert {path.name for path in finished.iterdir()} == {
        ".lock",
        "manifest.json",
        "outputs.jsonl",
        "scores.jsonl",
        "results.json",
    }
    first, second = lines(finished / "outputs.jsonl")
    assert (first["doc_id"], first["target"], second["target"]) == ("a", "cat", ["x", "y"])
    assert (first["resps"], first["filtered_resps"]) == ([["it's a cat"]], ["it's a cat"])
    assert first["image_sha256"] == [Media(data=b"\x89PNG1").sha256]
    assert len(first["doc_hash"]) == len(first["prompt_hash"]) == 64
    assert (finished.parents[2] / "media" / f"{first['image_sha256'][0]}.png").read_bytes() == b"\x89PNG1"


def test_every_file_follows_the_exported_schema(finished):
    schema = json_schema()
    for name in ("manifest.json", "results.json"):
        assert set(json.loads((finished / name).read_text())) == set(schema[name]["properties"])
    for name in ("outputs.jsonl", "scores.jsonl"):
        assert all(set(line) == set(schema[name]["properties"]) for line in lines(finished / name))
    runs = {"manifest.json", "outputs.jsonl", "scores.jsonl", "results.json"}
    assert set(schema) == {*runs, "matrix.json", "findings.json", "judge/*.jsonl"}


def test_a_picture_is_stored_once(tmp_path):
    store = Store(tmp_path)
    (tmp_path / "here.png").write_bytes(b"\x89PNG1")
    first, second = (
        store.put_media(Media(data=b"\x89PNG1")),
        store.put_media(Media(path=tmp_path / "here.png")),
    )
    assert first == second and os.listdir(tmp_path / "media") == [first.name]


def test_a_blob_cut_short_is_written_again(tmp_path):
    store = Store(tmp_path)
    path = store.put_media(Media(data=b"\x89PNG12345"))
    path.write_bytes(b"")
    store.put_media(Media(data=b"\x89PNG12345"))
    assert path.read_bytes() == b"\x89PNG12345"


def test_a_run_from_elsewhere_cannot_point_outside_its_store(finished):
    path = finished / "outputs.jsonl"
    name = lines(path)[0]["media"][0]["file"]
    path.write_text(path.read_text().replace(name, "../../secret.png"))
    with pytest.raises(KeepsightError, match=r"outputs\.jsonl, line 1: media\.0\.file"):
        load_run(finished)


def test_an_unreadable_picture_stays_unreadable(tmp_path):
    sample = Sample("a", "What?", (Media(path=tmp_path / "gone.png"),))
    with Store(tmp_path / "out").open_run(identity_of([sample]), {"judge": "1"}, {}) as writer:
        writer.add_output(0, sample, Output("", error="gone"))
    (tmp_path / "gone.png").write_bytes(b"back")
    (record,) = load_run(writer.path).records
    with pytest.raises(KeepsightError, match=r"gone\.png"):
        record.sample.media[0].read()


def test_a_lone_surrogate_is_written_as_an_escape(tmp_path):
    sample = Sample("a", "What?")
    with Store(tmp_path).open_run(identity_of([sample]), {"judge": "1"}, {}) as writer:
        writer.add_output(0, sample, Output("half \ud800"))
    assert load_run(writer.path).records[0].output.text == "half \\ud800"


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["/opt/bin/keepsight", "audit", "a b"], "keepsight audit 'a b'"),
        (["keepsight", "--model_args", "api_key=sk-123,base=x"], "keepsight --model_args api_key=***,base=x"),
        (["keepsight", "--token", "hf_1"], "keepsight --token ***"),
    ],
)
def test_the_command_is_recorded_without_keys(argv, command, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", argv)
    with Store(tmp_path).open_run(identity_of([]), {"judge": "1"}, {}) as writer:
        pass
    assert load_run(writer.path).manifest["command"] == command


def test_a_newer_schema_is_refused(finished):
    path = finished / "manifest.json"
    path.write_text(path.read_text().replace('"schema_version": 4', '"schema_version": 99'))
    with pytest.raises(KeepsightError, match="newer keepsight"):
        load_run(finished)


def test_a_run_of_the_first_schema_is_read_and_gone_on_with(finished):
    """Its manifest does not say how the model computed."""
    path, before = finished / "manifest.json", load_run(finished)
    manifest = json.loads(path.read_text())
    assert manifest.pop("model", "absent") is None and manifest["schema_version"] == 4
    path.write_text(json.dumps({**manifest, "schema_version": 1}))
    old = load_run(finished)
    assert old.manifest["model"] is None and old.records == before.records and old.metrics == before.metrics
    identity = identity_of([record.sample for record in old.records])
    store = Store(finished.parents[2])
    assert store.find_run(identity).path == finished
    with store.open_run(identity, old.manifest["scorers"], {}) as writer:
        assert all(writer.answered(record.sample) for record in old.records)
        writer.describe_model({"dtype": "float32"})
    with store.open_run(identity, old.manifest["scorers"], {}):
        pass
    manifest = json.loads(path.read_text())
    assert manifest["model"] == {"dtype": "float32"} and manifest["fingerprint"] == identity.fingerprint


def test_a_finished_run_of_the_second_schema_is_read(finished):
    """It knew no history, no steps and no weight; the digest of its results is over what it knew."""
    before = load_run(finished)
    outputs = _without(finished / "outputs.jsonl", "history", "steps")
    scores = _without(finished / "scores.jsonl", "weight", "bounds")
    in_order = [
        [row["doc_hash"], row["resp_hash"], [score for score in scores if score["doc_id"] == row["doc_id"]]]
        for row in outputs
    ]
    results = json.loads((finished / "results.json").read_text())
    results |= {"digest": digest_of(in_order), "schema_version": 2}
    (finished / "results.json").write_text(json.dumps(results))
    old = load_run(finished)
    assert old.records == before.records and old.metrics == before.metrics


def test_bounds_are_kept_and_part_of_the_digest(finished):
    path = finished / "scores.jsonl"
    text = path.read_text(encoding="utf-8").replace('"bounds":null', '"bounds":[-1.0,2.0]', 1)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(KeepsightError, match="not those of results"):
        load_run(finished)
    score = Score(0.0, bounds=(-1.0, 2.0))
    answer = (finished / "outputs.jsonl").read_text(encoding="utf-8").splitlines()[0]
    row = score_row(OutputRow.model_validate_json(answer), "s", "1", score)
    assert score_of(ScoreRow.model_validate_json(row.model_dump_json())) == score


def _without(path, *keys):
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    kept = [{key: value for key, value in row.items() if key not in keys} for row in rows]
    assert all(set(keys) <= set(row) for row in rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    return kept


def test_a_weight_other_than_one_is_part_of_the_digest(finished):
    path = finished / "scores.jsonl"
    path.write_text(
        path.read_text(encoding="utf-8").replace('"weight":1.0', '"weight":2.0', 1), encoding="utf-8"
    )
    with pytest.raises(KeepsightError, match="not those of results"):
        load_run(finished)


def test_a_directory_that_is_no_run_is_named(tmp_path):
    with pytest.raises(KeepsightError, match=r"manifest\.json: No such file"):
        load_run(tmp_path)


def test_renaming_a_checkpoint_finds_its_runs(finished):
    samples = [record.sample for record in load_run(finished).records]
    identity = identity_of(samples, checkpoint="another name")
    assert Store(finished.parents[2]).find_run(identity) is not None


@pytest.mark.parametrize(
    "changed",
    [
        {"checkpoint_digest": "d" * 64},
        {"task": "emt:letters"},
        {"task_version": "2"},
        {"sample_hashes": ("0" * 64, "1" * 64)},
        {"inference": {"method": "generate", "seed": 4}},
    ],
)
def test_every_part_of_the_identity_counts(finished, changed):
    store, same = Store(finished.parents[2]), identity_of([r.sample for r in load_run(finished).records])
    other = dataclasses.replace(same, **changed)
    assert store.find_run(same) is not None and store.find_run(other) is None
    assert other.fingerprint != same.fingerprint
    changes_answers = changed.keys() & {"checkpoint_digest", "inference"}
    assert (other.request_hash("p") != same.request_hash("p")) == bool(changes_answers)


def test_a_directory_whose_short_name_collides_is_not_mistaken(finished):
    store, same = Store(finished.parents[2]), identity_of([r.sample for r in load_run(finished).records])
    other = dataclasses.replace(same, task_version="2")
    finished.rename(store.run_dir(other))
    assert store.find_run(other) is None
    with pytest.raises(KeepsightError, match="holds another run"), store.open_run(other, {"judge": "1"}, {}):
        pass


def test_a_run_in_use_is_read_again_only_when_it_changed(finished):
    run = load_run(finished)
    assert load_run(finished) is run
    with (finished / "outputs.jsonl").open("ab") as file:
        file.write(b"torn")
    assert load_run(finished) is not run and load_run(finished).records == run.records
