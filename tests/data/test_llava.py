"""LLaVA JSON in and out; every unusable row is named, and no row reads a file outside its root."""

import json
import re

import pytest

from keepsight.data.drawn import SETS
from keepsight.data.llava import (
    fine_tuning_answer,
    instruction_samples,
    read_llava_json,
    write_llava_json,
)
from keepsight.types import KeepsightError


def row(value="<image>\nWhat is it?", answer="A cat.", image="a.png", **more):
    turns = [{"from": "human", "value": value}, {"from": "gpt", "value": answer}]
    return {"id": "1", "image": image, "conversations": turns, **more}


@pytest.fixture
def saved(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"not decoded here")

    def save(*rows, lines=False):
        path = tmp_path / ("data.jsonl" if lines else "data.json")
        texts = [r if isinstance(r, str) else json.dumps(r) for r in rows]
        path.write_text("\n".join(texts) if lines else f"[{', '.join(texts)}]")
        return path

    return save


@pytest.mark.parametrize("lines", [False, True])
def test_one_exchange(saved, lines):
    (sample,) = read_llava_json(saved(row(), lines=lines))
    assert (sample.id, sample.prompt, sample.target) == ("1", "What is it?", ("A cat.",))
    assert sample.media[0].read() == b"not decoded here" and not sample.meta


@pytest.mark.parametrize(
    ("value", "prompt"),
    [
        ("<image>\nWhat?", "What?"),
        ("What? <image>", "What?"),
        ("What?\n<image>", "What?"),
        ("<image>", ""),
        ("Look <image> here", "Look <image> here"),
        ("What?", "What?"),
    ],
)
def test_a_mark_at_the_edge_goes_and_one_inside_stays(saved, value, prompt):
    assert read_llava_json(saved(row(value)))[0].prompt == prompt


def test_several_pictures_keep_their_marks(saved):
    (sample,) = read_llava_json(saved(row("<image> or <image>?", image=["a.png", "b.png"])))
    assert sample.prompt == "<image> or <image>?" and len(sample.media) == 2


def test_text_only_rows(saved):
    text = row("What?")
    del text["image"]
    assert read_llava_json(saved(text))[0].media == ()


def test_later_exchanges_are_kept_in_order(saved):
    talk = row()
    talk["conversations"] += [{"from": "human", "value": "Sure?"}, {"from": "gpt", "value": "Yes."}]
    (sample,) = read_llava_json(saved(talk))
    assert (sample.prompt, sample.target, sample.meta["turns"]) == (
        "What is it?",
        ("A cat.",),
        [["Sure?", "Yes."]],
    )


BAD = [
    ("3", "an? int"),
    ({"id": "1", "image": "a.png"}, "conversations must be a list"),
    ({**row(), "conversations": row()["conversations"][:1]}, "conversations must be a list"),
    ({**row(), "conversations": row()["conversations"][::-1]}, "not from 'human'"),
    ({**row(), "conversations": [3, 4]}, "not from 'human'"),
    (row(answer=" "), "gpt turn has no text"),
    (row(answer=None), "gpt turn has no text"),
    (row(answer="an <image>"), "gpt turn contains <image>"),
    (row("<image> <image> which?"), "2 <image> marks for 1 pictures"),
    (row(image=3), "image must be a path"),
    (row(image=["a.png", ""]), "image must be a path"),
    (row(image="gone.png"), "no file 'gone.png'"),
    (row(image="../data.json"), "leaves"),
    (row(image="/etc/passwd"), "leaves"),
    (row(image="a\0.png"), "NUL"),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
def test_bad_rows_are_named_and_may_be_left_out(saved, bad, message):
    path = saved(row(), bad, row())
    with pytest.raises(KeepsightError, match=rf"data\.json: 1 bad rows \(row 1: .*{message}"):
        read_llava_json(path)
    told = []
    assert len(read_llava_json(path, on_bad_row=told.append)) == 2
    assert len(told) == 1 and re.search(rf"row 1: .*{message}", told[0])


def test_a_bad_line_is_one_bad_row(saved):
    told = []
    path = saved(row(), '{"id": ', row(), lines=True)
    assert len(read_llava_json(path, on_bad_row=told.append)) == 2 and "line 2: not JSON" in told[0]


def test_many_bad_rows_are_counted(saved):
    with pytest.raises(KeepsightError, match=r"7 bad rows \(row 0: .*row 2: .* and 4 more\)"):
        read_llava_json(saved(*[row(image="gone.png")] * 7))


@pytest.mark.parametrize("text", ["", "{", "{}", "3", "[]", "[" * 100_000])
def test_files_that_are_no_llava_json(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(KeepsightError, match=r"x\.json"):
        read_llava_json(tmp_path / "x.json")


def test_links_may_not_leave_the_image_root(saved, tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    (root / "link.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(KeepsightError, match="leaves"):
        read_llava_json(saved(row(image="link.png")), root)


def test_the_papers_strings():
    """EMT (arXiv:2309.10313), appendix D.1, and section 5.2 for the answers."""
    assert fine_tuning_answer("object", "airplane") == "The object is a(n) airplane."
    assert fine_tuning_answer("object", "African_hunting_dog") == "The object is a(n) African hunting dog."
    assert fine_tuning_answer("number", "5") == "The number is 5."
    first = instruction_samples(SETS["shapes"], n=1)[0]
    assert first.prompt == "What is the object in the image?" and first.target[0].startswith(
        "The object is a(n) "
    )


def test_what_is_written_is_read_back(tmp_path):
    path = write_llava_json(SETS["digits"], tmp_path / "out", n=12)
    raw = json.loads(path.read_text())
    assert raw[0]["conversations"][0] == {
        "from": "human",
        "value": "What is the number in the image? <image>",
    }
    assert raw[0]["image"].startswith(SETS["digits"].train(1)[0].label + "/") and raw[0]["image"].endswith(
        ".png"
    )
    asked, wanted = read_llava_json(path), instruction_samples(SETS["digits"], n=12)
    assert [(s.id, s.request_digest, s.target) for s in asked] == [
        (s.id, s.request_digest, s.target) for s in wanted
    ]
    before = {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()}
    write_llava_json(SETS["digits"], tmp_path / "out", n=12)
    assert before == {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()}


def test_labels_cannot_escape_the_folder(tmp_path):
    from keepsight.data.labelled import LabelledImage

    class Hostile:
        name, labels, noun = "x", ("../../evil",), "object"

        def train(self, n=None, seed=0):
            return [LabelledImage("a", SETS["shapes"].train(1)[0].media, "../../evil")]

    path = write_llava_json(Hostile(), tmp_path / "deep" / "out")
    assert all(file.is_relative_to(path.parent) for file in tmp_path.rglob("*.png"))
