import json

import pytest

from keepsight.models import Replay, load
from keepsight.types import VLM, KeepsightError, RanksChoices, Sample

ASKED = [Sample("a", "What?"), Sample("b", "Who?"), Sample("c", "Where?")]


def write(path, *rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n\n")
    return path


def test_rows_answer_their_samples(tmp_path):
    path = write(
        tmp_path / "r.jsonl", {"id": "b", "text": "B"}, {"id": "a", "text": "A", "choice_logprobs": [-1, -2]}
    )
    model = load(f"replay:{path}")
    assert isinstance(model, VLM) and isinstance(model, RanksChoices)
    outputs = dict(model.generate(ASKED))
    assert [outputs[at].text for at in range(3)] == ["A", "B", ""]
    assert outputs[2].error is not None and "sample c" in outputs[2].error
    assert outputs[0].choice_logprobs == (-1.0, -2.0)
    assert model.calls == 3
    assert dict(model.choice_logprobs(ASKED[:1])) == {0: (-1.0, -2.0)}
    with pytest.raises(KeepsightError, match="sample b has no choice_logprobs"):
        list(model.choice_logprobs(ASKED[1:]))


def test_a_row_bound_to_a_request_answers_no_other():
    model = Replay({"a": {"text": "A", "request_digest": ASKED[0].request_digest}})
    assert dict(model.generate(ASKED[:1]))[0].text == "A"
    changed = dict(model.generate([Sample("a", "What else?")]))[0]
    assert changed.error is not None and "another request" in changed.error


def test_the_digest_is_that_of_the_answers(tmp_path):
    one = write(tmp_path / "1.jsonl", {"id": "a", "text": "A"})
    two = write(tmp_path / "2.jsonl", {"text": "A", "id": "a"})
    assert Replay(one).digest == Replay(two).digest == Replay({"a": "A"}).digest
    assert Replay({"a": "B"}).digest != Replay({"a": "A"}).digest


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        (["not json"], "line 1"),
        ([{"id": "a", "text": "A"}, {"text": "B"}], "line 2"),
        ([{"id": "a", "text": "A"}, {"id": "a", "text": "B"}], "second answer for sample a"),
        ([{"id": "a"}], "sample a has no text"),
        (["[1]"], "line 1"),
    ],
)
def test_bad_files_name_the_line(tmp_path, rows, word):
    with pytest.raises(KeepsightError, match=word):
        Replay(write(tmp_path / "r.jsonl", *rows))
