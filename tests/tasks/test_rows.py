"""`rows:PATH`: learnt from one part of a file, asked the other, by the metric that was named."""

import json

import pytest

from keepsight import tasks
from keepsight.evaluate import evaluate
from keepsight.store import Store
from keepsight.types import KeepsightError, Output
from tests.data.coin_files import picture
from tests.data.test_asked_rows import turns
from tests.fake_vlm import FakeVLM


@pytest.fixture
def file(tmp_path):
    rows = []
    for i in range(40):
        picture(tmp_path / "pictures" / f"{i // 2}.png", colour=(i, 0, 0))
        rows.append(
            {
                "id": i,
                "image": f"pictures/{i // 2}.png",
                "conversations": turns(f"<image>\nWhich {i}?", f"The {i}."),
            }
        )
    (tmp_path / "mine.json").write_text(json.dumps(rows))
    return tmp_path / "mine.json"


def plain(tmp_path, *rows):
    (tmp_path / "plain.json").write_text(json.dumps(rows))
    return f"rows:{tmp_path / 'plain.json'}"


def test_what_is_learnt_is_not_asked(file):
    task = tasks.get(f"rows:{file}")
    learnt, asked = task.train(), task.test()
    assert task.name == "rows:mine" and len(learnt) == 36 and len(asked) == 4
    assert not {s.media[0].sha256 for s in learnt} & {s.media[0].sha256 for s in asked}
    assert [s.digest() for s in tasks.get(f"rows:{file}", seed=9).test()] == [s.digest() for s in asked]
    again = tasks.get(f"rows:{file}", split="train")
    assert again.name == "rows:mine-train" and {s.id for s in again.test()} == {s.id for s in learnt}
    assert [s.id for s in again.train()] == [s.id for s in learnt]
    everything = tasks.get(f"rows:{file}", split="all", n=7, task_name="all of mine")
    assert (
        len(everything.test()) == 7 and everything.train is None and everything.name == "rows:all of mine-all"
    )
    half = tasks.get(f"rows:{file}", holdout=0.5)
    assert {s.id for s in asked} < {s.id for s in half.test()} and len(half.test()) == 20


def test_it_is_asked_and_scored(file, tmp_path):
    run = evaluate(FakeVLM(), tasks.get(f"rows:{file}"), Store(tmp_path / "out"))
    assert (run.headline.value, run.headline.n) == (1.0, 4)
    assert set(run.records[0].scores) == {"exact", "contains"}


@pytest.mark.parametrize(
    ("metric", "row", "said", "value"),
    [
        ("exact", {"question": "?", "answer": "Two dogs."}, "2 dogs", 1),
        ("contains", {"question": "?", "answer": "dog"}, "It is a dog.", 1),
        ("choice", {"question": "?\nA. cat\nB. dog", "answer": "B. dog"}, "B", 1),
        ("choice", {"question": "?\nA. cat\nB. dog", "answer": "dog"}, "dog", 0),
        ("vqa", {"question": "?", "answer": "red", "answers": ["red", "blue"] + ["x"] * 8}, "Red", 0.3),
        (
            "box",
            {"question": "?", "answer_bbox": "[0.1, 0.1, 0.5, 0.5]"},
            "<box>0.1, 0.1, 0.5, 0.48</box>",
            1,
        ),
    ],
)
def test_every_metric(tmp_path, metric, row, said, value):
    task = tasks.get(plain(tmp_path, row), metric=metric, split="all")
    samples = task.test()
    scores = task.score(samples, [Output(said)])
    assert task.metrics[0](samples, scores).value == pytest.approx(value)
    assert task.name == f"rows:plain{'' if metric == 'exact' else f'-{metric}'}-all"
    (silent,) = task.score(samples, [Output("")])
    assert (silent.value, silent.status) == (0, "unparsed")


def test_an_option_is_learnt_as_it_stands(tmp_path):
    rows = [{"question": f"{i}?\nA. cat\nB. dog", "answer": "B. dog"} for i in range(4)]
    task = tasks.get(plain(tmp_path, *rows), metric="choice")
    assert {s.target for s in task.train()} == {("B. dog",)} and task.test()[0].target == ("B",)


def test_boxes_in_thousandths(tmp_path):
    task = tasks.get(
        plain(tmp_path, {"question": "?", "answer": "(100,100),(500,500)"}),
        metric="box",
        box_unit="thousand",
        split="all",
    )
    assert task.score(task.test(), [Output("[100, 100, 500, 490]")])[0].value == 1


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("choice", "plain.json: metric=choice does not fit: sample 1 has 0 choices"),
        ("vqa", "metric=vqa does not fit: sample 1 has no annotators' answers"),
        ("box", "metric=box does not fit: sample 1 has no true box"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused_before_anything_is_asked(tmp_path, metric, message):
    with pytest.raises(KeepsightError, match=message):
        tasks.get(
            plain(tmp_path, {"id": 1, "question": "?", "answer": "red"}), metric=metric, split="all"
        ).test()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric": "bleu"}, "metric is 'bleu'; give exact, contains, choice, vqa, box"),
        ({"split": "val"}, "split is 'val'; give test, train, all"),
        ({"holdout": 1.0}, "holdout 1.0 is not above 0 and below 1"),
        ({"holdout": 10}, "0.1 means 10 %"),
        ({"box_unit": "pixel"}, "box_unit is 'pixel'; give share, percent, thousand"),
        ({"n": True}, "n=True is not a number"),
        ({"volume": 1}, "it takes metric, split, holdout"),
    ],
)
def test_settings_that_do_not_exist(file, arguments, message):
    with pytest.raises(KeepsightError, match=message):
        tasks.get(f"rows:{file}", **arguments)


def test_a_file_that_is_not_there(file):
    with pytest.raises(KeepsightError, match=r"no file 'nowhere.json' of questions"):
        tasks.get("rows:nowhere.json")
    with pytest.raises(KeepsightError, match="is no folder"):
        tasks.get(f"rows:{file}", image_folder="nowhere").test()
    with pytest.raises(KeepsightError, match="5 rows asked, there are 4"):
        tasks.get(f"rows:{file}", n=5).test()
