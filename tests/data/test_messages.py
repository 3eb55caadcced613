"""Rows of `messages` and `images` are learnt as LLaVA's rows are; what cannot be learnt is named."""

import json
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from keepsight.data.messages import messages_sample, read_training_rows
from keepsight.types import KeepsightError


def png(colour="red"):
    buffer = BytesIO()
    Image.new("RGB", (4, 4), colour).save(buffer, "PNG")
    return buffer.getvalue()


IMAGE = {"type": "image"}


def text(words):
    return {"type": "text", "text": words}


def turn(role, *parts):
    return {
        "role": role,
        "content": parts[0] if len(parts) == 1 and isinstance(parts[0], str) else list(parts),
    }


ASKED = turn("user", IMAGE, text("What is it?"))
SAID = turn("assistant", text("A cat."))


@pytest.fixture
def root(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(png())
    return tmp_path


def sample(root, *turns, images=("a.png",), **more):
    return messages_sample({"messages": list(turns), "images": list(images), **more}, "default", root=root)


@pytest.mark.parametrize(
    ("asked", "prompt"),
    [
        (turn("user", IMAGE, text("What?")), "What?"),
        (turn("user", text("What?"), IMAGE), "What?"),
        (turn("user", "What?"), "What?"),
        (turn("user", "<image>\nWhat?"), "What?"),
        (turn("user", text("Look"), IMAGE, text("here")), "Look\n<image>\nhere"),
        (turn("user", IMAGE), ""),
    ],
)
def test_the_first_exchange_is_prompt_and_target(root, asked, prompt):
    found = sample(root, asked, SAID)
    assert (found.id, found.prompt, found.target, len(found.media)) == ("default", prompt, ("A cat.",), 1)


def test_several_pictures_and_later_turns(root):
    asked = turn("user", IMAGE, text("or"), IMAGE, text("?"))
    found = sample(
        root, asked, SAID, turn("user", "Sure?"), turn("assistant", "Yes."), images=("a.png", "b.png"), id=7
    )
    assert (
        found.prompt == "<image>\nor\n<image>\n?"
        and found.meta["turns"] == [["Sure?", "Yes."]]
        and found.id == "7"
    )


@pytest.mark.parametrize(
    "cell", ["a.png", {"bytes": png(), "path": None}, {"bytes": None, "path": "a.png"}, png()]
)
def test_pictures_as_path_struct_or_bytes(root, cell):
    assert sample(root, ASKED, SAID, images=[cell]).media[0].read() == png()


def test_pictures_named_in_their_parts(root):
    for part in ({"type": "image", "image": "a.png"}, {"type": "image_url", "image_url": {"url": "a.png"}}):
        assert sample(root, turn("user", part, text("?")), SAID, images=()).media[0].read() == png()


def test_prompt_and_completion(root):
    row = {"prompt": [ASKED], "completion": [SAID], "image": "a.png"}
    assert messages_sample(row, "x", root=root) == sample(root, ASKED, SAID, id="x")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": [turn("system", "Be brief."), ASKED, SAID]}, "system turns are not learnt from"),
        ({"messages": [ASKED, SAID, turn("tool", "x"), SAID]}, "a turn of role 'tool'"),
        ({"messages": [ASKED]}, "must alternate"),
        ({"messages": [SAID, ASKED]}, "must alternate"),
        ({"messages": [ASKED, ASKED, SAID, SAID]}, "must alternate"),
        ({"messages": []}, "no conversations and no messages among images, messages"),
        ({"messages": "hi"}, "no conversations and no messages"),
        ({"messages": [3, 4]}, "a turn of role None"),
        ({"text": "hi"}, "no conversations and no messages among images, text"),
        ({"messages": [ASKED, SAID], "chosen": [SAID]}, "preference pairs are not learnt"),
        ({"messages": [ASKED, SAID], "videos": ["a.mp4"]}, "films are not learnt"),
        ({"messages": [ASKED, SAID], "tools": [{}]}, "tool calls are not learnt"),
        ({"messages": [turn("user", {"type": "video"}), SAID]}, "a part of type 'video' in a user turn"),
        ({"messages": [turn("user", {"type": "text"}), SAID]}, "a text part of a user turn has no text"),
        ({"messages": [{"role": "user", "content": 3}, SAID]}, "the content of a user turn is a int"),
        ({"messages": [ASKED, turn("assistant", " ")]}, "a turn has no text"),
        ({"messages": [ASKED, turn("assistant", "an <image>")]}, "assistant turn contains <image>"),
        ({"messages": [ASKED, turn("assistant", IMAGE, text("x"))]}, "after the first user turn"),
        (
            {"messages": [ASKED, SAID, ASKED, SAID], "images": ["a.png", "b.png"]},
            "1 picture parts for 2 pictures",
        ),
        ({"messages": [ASKED, SAID, ASKED, SAID]}, "after the first user turn"),
        ({"messages": [ASKED, SAID], "images": []}, "1 picture parts for 0 pictures"),
        ({"messages": [ASKED, SAID], "images": [3]}, "neither a path nor a file's bytes"),
        ({"messages": [ASKED, SAID], "images": [None]}, "neither a path nor a file's bytes"),
        ({"messages": [ASKED, SAID], "images": ["../a.png"]}, "leaves"),
        ({"messages": [ASKED, SAID], "id": [1]}, "the id is a list"),
        (
            {"messages": [turn("user", {"type": "image", "image": "a.png"}), SAID]},
            "both in the images column and in the parts",
        ),
    ],
)
def test_what_cannot_be_learnt_is_named(root, row, message):
    with pytest.raises(KeepsightError, match=message):
        messages_sample({"images": ["a.png"], **row}, "x", root=root)


def test_both_forms_in_one_file(root):
    llava = {
        "image": "a.png",
        "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "A."}],
    }
    rows = [llava, {"messages": [ASKED, SAID], "images": ["b.png"]}, {"messages": []}]
    (root / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    told = []
    assert [s.target for s in read_training_rows(root / "rows.jsonl", on_bad_row=told.append)] == [
        ("A.",),
        ("A cat.",),
    ]
    assert len(told) == 1 and "rows.jsonl, line 3: no conversations and no messages" in told[0]
    with pytest.raises(KeepsightError, match=r"1 bad rows \(line 3: "):
        read_training_rows(root / "rows.jsonl")


def test_parquet_and_saved_datasets(root):
    from datasets import Dataset, DatasetDict

    said = [turn("user", IMAGE | {"text": None}, text("What is it?")), SAID]
    rows = [{"messages": said, "images": [{"bytes": png(), "path": None}]} for _ in range(3)]
    whole = Dataset.from_list(rows)
    whole.to_parquet(root / "train.parquet")
    DatasetDict(test=whole.select([0]), train=whole.select([1, 2])).save_to_disk(root / "saved")
    (root / "folder" / "data").mkdir(parents=True)
    whole.to_parquet(root / "folder" / "data" / "train-00000.parquet")
    whole.to_parquet(root / "folder" / "data" / "test-00000.parquet")
    for name, count in (("train.parquet", 3), ("saved", 2), ("folder", 3)):
        found = read_training_rows(root / name)
        assert len(found) == count and len({s.id for s in found}) == count
        assert {(s.prompt, s.target) for s in found} == {("What is it?", ("A cat.",))}
        assert found[0].media[0].read() == png()


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["user", "assistant", "a.png"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "type", "text", "image", "image_url", "path", "bytes", "url"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(messages=st.lists(JUNK | st.sampled_from([ASKED, SAID]), max_size=4) | JUNK, images=JUNK)
@settings(max_examples=300, deadline=None)
def test_any_row_is_a_sample_or_one_error(tmp_path_factory, messages, images):
    try:
        found = messages_sample(
            {"messages": messages, "images": images}, "x", root=tmp_path_factory.getbasetemp()
        )
    except KeepsightError as error:
        assert "\n" not in str(error)
    else:
        assert found.target[0].strip()


def test_a_picture_folder_that_is_not_there_is_said_once(tmp_path):
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps([{"id": "a", "image": "a.png", "conversations": []}]))
    with pytest.raises(KeepsightError, match="nowhere is no folder"):
        read_training_rows(rows, tmp_path / "nowhere", on_bad_row=lambda _: None)
