"""CoIN's readers: every bad row is named with its cause, nothing leaves its folder, nothing is unpickled or fetched."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from keepsight.data.coin import INSTRUCTIONS, ORDER, open_source
from keepsight.data.coin.rows import options_of, true_box
from keepsight.data.confine import Unreadable
from keepsight.types import KeepsightError
from tests.data.coin_files import BOXES, LINES, SIZE, coin_json, original, picture, save


def changed(path, change):
    """The JSON of a file with `change` done to it in place."""
    value = json.loads(path.read_text())
    change(value)
    return save(path, value)


def test_the_instructions_are_table_1():
    for name, (one, two) in LINES.items():
        assert (INSTRUCTIONS["type1"][name], INSTRUCTIONS["type2"][name]) == (one[:-1], two[:-1])
    assert set(INSTRUCTIONS["type1"]) == set(INSTRUCTIONS["type2"]) == set(ORDER) - {"REC"}


# Task, how CoIN's first test row is spoilt, what is said of it.
BAD_ROWS = [
    ("GQA", {"text": None}, 'row 0: "text" is missing, empty or no text'),
    ("GQA", {"text": LINES["GQA"][0]}, "row 0: no question before the instruction"),
    ("GQA", {"answer": "  "}, 'row 0: "answer" is missing'),
    ("GQA", {"answer": ["yes"]}, 'row 0: "answer" is missing, empty or no text'),
    ("GQA", {"image": ["a.jpg"]}, "row 0: image is a list, not a path"),
    ("GQA", {"question_id": "201640614"}, "row 1: a second row with the id '201640614'"),
    ("ScienceQA", {"answer": "C"}, "row 0: 2 options and the answer 'C'"),
    ("ScienceQA", {"answer": "AB"}, "row 0: 2 options and the answer 'AB'"),
    ("ScienceQA", {"text": f"Which?\n{LINES['ScienceQA'][0]}"}, "row 0: 0 options"),
    ("REC", {"text": "Where is the man?"}, "row 0: the text 'Where is the man.' does not begin with"),
    (
        "REC",
        {"answer_bbox": "[0.1, 0.2, 0.3]"},
        "row 0: the box '.0.1, 0.2, 0.3.' is no list of four numbers",
    ),
    ("REC", {"answer_bbox": "[0.1, 0.2, 0.3, NaN]"}, "is no list of four numbers"),
    ("REC", {"answer_bbox": "__import__('os')"}, "is no list of four numbers"),
    ("REC", {"answer_bbox": "[0.4, 0.2, 0.3, 0.5]"}, "has no area inside the picture"),
    ("REC", {"answer_bbox": "[8, 6, 32, 36]"}, "has no area inside the picture"),
    ("REC", {"size": [80, "60"]}, "row 0: size is .80, '60'., not .width, height."),
]


@pytest.mark.parametrize(("name", "change", "message"), BAD_ROWS)
def test_a_bad_row_of_coins_is_named(tmp_path, name, change, message):
    coin_json(tmp_path, name)
    changed(tmp_path / "test.json", lambda rows: rows[0].update(change))
    with pytest.raises(KeepsightError, match=rf"test.json: .*{message}.*(mend|remove|give)"):
        open_source(name, tmp_path).items("test")


def test_several_exchanges_and_several_bad_rows(tmp_path):
    coin_json(tmp_path, "GQA")

    def spoil(rows):
        rows[0]["conversations"] *= 2
        rows += [3, {"id": 5, "conversations": []}, {"id": 6}]

    changed(tmp_path / "train.json", spoil)
    with pytest.raises(
        KeepsightError,
        match=r"row 0: 2 exchanges; CoIN's rows have one; row 2: a int, not an object; row 3: .* and 1 more rows",
    ):
        open_source("GQA", tmp_path).items("train")


def test_training_rows_may_share_an_id(tmp_path):
    coin_json(tmp_path, "GQA")
    changed(tmp_path / "train.json", lambda rows: [row.update(id="2370799") for row in rows])
    assert [item.id for item in open_source("GQA", tmp_path).items("train")] == ["2370799", "2370799#2"]


def test_a_file_that_is_no_json_says_so(tmp_path):
    (tmp_path / "test.json").write_text('[{"text": "a",}]')
    with pytest.raises(KeepsightError, match=r"cannot read .*test.json: not JSON"):
        open_source("GQA", tmp_path).items("test")


def test_json_lines_are_read_too(tmp_path):
    coin_json(tmp_path, "GQA")
    rows = json.loads((tmp_path / "test.json").read_text())
    lines = tmp_path / "asked.jsonl"
    lines.write_text("\n".join(map(json.dumps, rows)))
    assert len(open_source("GQA", lines).items("test")) == 2


@pytest.mark.parametrize(
    "where", ["../secret.jpg", "/etc/hostname", "link.jpg", "gone.jpg", "https://example.com/a.jpg"]
)
def test_pictures_stay_in_their_folder(tmp_path, where):
    picture(tmp_path / "secret.jpg")
    folder = coin_json(tmp_path / "rows", "GQA")
    (folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    changed(folder / "test.json", lambda rows: [row.update(image=where) for row in rows])
    source = open_source("GQA", folder)
    for item in source.items("test"):
        media = source.pictures.of(item)
        assert isinstance(media, Unreadable)
        with pytest.raises(KeepsightError, match=r"(leaves|no file).*give image_folder="):
            media.read()


# Task, file, change, what is said.
def drop(*names):
    return lambda row: [row.pop(name) for name in names]


BAD_ORIGINALS = [
    (
        "ScienceQA",
        "problems.json",
        lambda v: v["1"].update(answer=2),
        'problem 1: "answer" is 2, not the index of one of 2',
    ),
    ("ScienceQA", "problems.json", lambda v: v["1"].update(answer=True), '"answer" is True'),
    ("ScienceQA", "problems.json", lambda v: v["1"].update(choices=["x"]), '"choices" is no list of 2 to 8'),
    ("ScienceQA", "problems.json", drop("1"), "problem 1: a NoneType, not an object"),
    ("ScienceQA", "pid_splits.json", drop("test"), "has no list 'test' of problems"),
    (
        "TextVQA",
        "TextVQA_0.5.1_val.json",
        lambda v: v["data"][1]["answers"].pop(),
        'row 1: 9 "answers"; every question has',
    ),
    ("TextVQA", "TextVQA_0.5.1_val.json", lambda v: v["data"][0].pop("answers"), 'row 0: no "answers"'),
    ("TextVQA", "TextVQA_0.5.1_val.json", drop("data"), 'holds no list "data"'),
    (
        "GQA",
        "testdev_balanced_questions.json",
        lambda v: v["201307251"].pop("answer"),
        'question 201307251: "answer" is missing',
    ),
    (
        "VizWiz",
        "Annotations/val.json",
        lambda v: v[0].update(answers=[1] * 10),
        'row 0: "answers" are no texts',
    ),
    (
        "VizWiz",
        "Annotations/val.json",
        lambda v: [row.pop("answers") for row in v],
        'row 0: no "answers"; every question',
    ),
    (
        "VQAv2",
        "v2_mscoco_val2014_annotations.json",
        lambda v: v["annotations"].pop(),
        "row 1: question 262148001 has no row in v2_mscoco",
    ),
    ("VQAv2", "v2_OpenEnded_mscoco_val2014_questions.json", drop("questions"), 'holds no list "questions"'),
    ("OCR-VQA", "dataset.json", lambda v: v["1"].update(split=4), 'book 1: "split" is 4, not 1, 2 or 3'),
    ("OCR-VQA", "dataset.json", lambda v: v["0310807239"]["answers"].pop(), "are no lists of one length"),
    (
        "OCR-VQA",
        "dataset.json",
        lambda v: v["0310807239"].update(answers=["", "No"]),
        "an empty question or answer",
    ),
    (
        "REC",
        "refcoco/instances.json",
        lambda v: v["annotations"][0].update(bbox=[1, 2, 3]),
        "is not .x, y, width, height.",
    ),
    (
        "REC",
        "refcoco/instances.json",
        lambda v: v["annotations"][0].update(bbox=[70, 2, 30, 3]),
        "has no area inside",
    ),
    (
        "REC",
        "refcoco/instances.json",
        lambda v: v["annotations"].pop(),
        "annotation 2 is not in instances.json",
    ),
    (
        "REC",
        "refcoco/instances.json",
        lambda v: v["images"][0].update(width=0),
        "width and height are 0 and 60, not pixels",
    ),
    ("REC", "refcoco/instances.json", drop("images"), 'holds no list "images" of rows with an id'),
    ("REC", "refcoco/refs(unc).json", lambda v: v[2].update(sentences=[]), 'row 2: "sentences" is no list'),
    (
        "REC",
        "refcoco/refs(unc).json",
        lambda v: v[2]["sentences"][0].update(sent=" "),
        "row 2: a sentence is empty",
    ),
]


@pytest.mark.parametrize(("name", "file", "change", "message"), BAD_ORIGINALS)
def test_a_bad_row_of_a_data_sets_own_file_is_named(tmp_path, name, file, change, message):
    original(tmp_path, name)
    assert open_source(name, tmp_path).kind == "original"
    changed(tmp_path / file, change)
    with pytest.raises(KeepsightError, match=message):
        open_source(name, tmp_path).items("test")


def test_unbalanced_questions_are_not_gqas(tmp_path):
    items = open_source("GQA", original(tmp_path, "GQA")).items("test")
    assert [item.id for item in items] == ["201307251", "201640614"]


def test_an_address_is_never_visited(tmp_path):
    """OCR-VQA's rows hold one; no test has a network, and the picture is the file of the book's name."""
    source = open_source("OCR-VQA", original(tmp_path, "OCR-VQA"))
    assert {source.pictures.of(item).path.name for item in source.items("train")} == {"1.jpg"}


def test_a_pickle_is_never_opened(tmp_path):
    original(tmp_path, "REC")
    (tmp_path / "refcoco" / "refs(unc).json").rename(tmp_path / "refcoco" / "refs(unc).p")
    with pytest.raises(
        KeepsightError,
        match=r"refs\(unc\).p is a pickle.*never opened; .* write the same list as JSON, refs\(unc\).json",
    ):
        open_source("REC", tmp_path)


def test_the_three_sets_of_references_together(tmp_path):
    original(tmp_path, "REC")
    folder = tmp_path / "refcoco"
    for other in ("refcoco+", "refcocog"):
        (tmp_path / other).mkdir()
        for file in folder.iterdir():
            (tmp_path / other / file.name).write_bytes(file.read_bytes())
    changed(
        tmp_path / "refcocog" / "refs(unc).json", lambda refs: [ref.update(split="test") for ref in refs[2:]]
    )
    changed(
        tmp_path / "refcoco+" / "refs(unc).json", lambda refs: [ref.update(split="testB") for ref in refs[2:]]
    )
    items = open_source("REC", tmp_path).items("test")
    assert len(items) == 9 and len({item.id for item in items}) == 9
    assert len(open_source("REC", folder, tmp_path).items("test")) == 3, "one set alone"


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "parquet without size"])
def test_references_as_rows(tmp_path, kind):
    file = io.BytesIO()
    Image.new("RGB", SIZE).save(file, "PNG")
    data, (said, box) = file.getvalue(), BOXES[2]
    sides = {} if "without" in kind else {"width": SIZE[0], "height": SIZE[1]}
    row = {"question_id": "r1", "bbox": [float(side) for side in box], "answer": [said, "the dog"], **sides}
    path = tmp_path / f"testA.{kind.split()[0]}"
    if kind == "jsonl":
        (tmp_path / "a.png").write_bytes(data)
        path.write_text(json.dumps(row | {"image": "a.png"}))
    else:
        pq.write_table(pa.Table.from_pylist([row | {"image": {"bytes": data, "path": "a.png"}}]), path)
    source = open_source("REC", path)
    items = source.items("test")
    assert [item.question for item in items] == [said, "the dog"]
    assert source.pictures.of(items[0]).read() == data
    assert items[0].size == SIZE and items[0].box == pytest.approx((0.5, 0.2, 0.9, 0.6))


def test_imagenet_is_any_labelled_set_with_a_split(tmp_path):
    original(tmp_path / "ImageNet", "ImageNet")
    found = open_source("ImageNet", tmp_path)
    assert sorted(item.answer for item in found.items("test")) == ["crane", "pickup"]
    with pytest.raises(KeepsightError, match="train and val, each with a folder per class"):
        open_source("ImageNet", tmp_path / "ImageNet" / "train")


def test_one_of_the_data_sets_own_files_stands_for_all(tmp_path):
    found = open_source("GQA", original(tmp_path, "GQA") / "testdev_balanced_questions.json")
    assert found.kind == "original" and set(found.files) == {"train", "test"}
    assert open_source("VizWiz", original(tmp_path / "v", "VizWiz") / "Annotations" / "val.json").votes


def test_a_file_of_another_form(tmp_path):
    with pytest.raises(KeepsightError, match="holds no rows of CoIN's form; give the folder"):
        open_source("GQA", save(tmp_path / "testdev.json", [{"question": "x"}]))
    with pytest.raises(KeepsightError, match="CoIN has no task 'POPE'"):
        open_source("POPE", tmp_path)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("Which?\nA. x\nB. y", ("x", "y")),
        ("Which?\nA. x\nB. y\nC. z", ("x", "y", "z")),
        ("A. is it?\nWhich?\nA. x\nB. y\nB. not this", ("x", "y\nB. not this")),
        ("Which?\nA. two\nlines\nB. y", ("two\nlines", "y")),
        ("Which?\nA. x", ()),
        ("Which?", ()),
        ("", ()),
    ],
)
def test_options_are_those_that_end_the_text(text, options):
    assert options_of(text) == options


def test_options_before_a_last_line():
    assert options_of("Which?\nA. x\nB. y\nAnswer with the letter.", last=False) == ("x", "y")


def test_a_box_a_little_outside_is_cut():
    assert true_box([-0.01, 0, 1.01, 1]) == (0, 0, 1, 1)
