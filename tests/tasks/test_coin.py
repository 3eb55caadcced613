"""CoIN's eight tasks: the same questions from either form of file, the published wordings, nested volumes, both metrics."""

import json

import pytest

from keepsight import tasks
from keepsight.data.padded import PADDING
from keepsight.data.pictures import decode
from keepsight.evaluate import evaluate
from keepsight.scoring.boxes import box_text
from keepsight.store import Store
from keepsight.tasks.coin import ORDER, volume_of
from keepsight.types import KeepsightError, Output, Sample
from tests.data.coin_files import (
    ASKED,
    BOXES,
    LINES,
    PADDED,
    SIZE,
    VOTES,
    coin_json,
    original,
    rows_asked,
    save,
    text_vqa_ocr,
)
from tests.fake_vlm import FakeVLM


@pytest.fixture
def both(tmp_path):
    """Task name -> (CoIN's folder, the data set's own)."""

    def make(name):
        return coin_json(tmp_path / "coin" / name, name), original(tmp_path / "own" / name, name)

    return make


def get(name, path, **arguments):
    return tasks.get(f"coin:{name}", path=str(path), **arguments)


def essence(samples):
    """What model and scorer see, without ids and without what only one form of file knows."""
    seen = [
        (s.prompt, s.target, s.choices, [m.sha256 for m in s.media], s.meta.get("box"), s.meta["question"])
        for s in samples
    ]
    return sorted(seen, key=repr)


def test_the_order_is_the_papers():
    assert ORDER == ("ScienceQA", "TextVQA", "ImageNet", "GQA", "VizWiz", "REC", "VQAv2", "OCR-VQA")
    assert {f"coin:{name}" for name in ORDER} <= {info.name for info in tasks.available()}


@pytest.mark.parametrize("name", ORDER)
class TestEveryTask:
    def test_both_forms_of_file_ask_the_same(self, both, name):
        coins, own = (get(name, path) for path in both(name))
        assert coins.name == own.name == f"coin:{name}"
        if name != "ImageNet":  # its pictures are of another colour
            assert essence(coins.test()) == essence(own.test())
            assert essence(coins.train()) == essence(own.train())
        assert len(coins.test()) == len(own.test()) == (3 if name == "REC" else 2)

    def test_the_wording_is_table_1(self, both, name):
        for kind in (0, 1):
            for path in both(name):
                samples = get(name, path, instruction=("type1", "type2")[kind]).test()
                if name == "REC":
                    lead = (
                        "Please provide the bounding box coordinate of the region this sentence describes: "
                    )
                    assert sorted(s.prompt for s in samples) == sorted(lead + said for said, _ in BOXES)
                else:
                    asked = [f"{question}\n{LINES[name][kind]}" for _, question, _, _ in ASKED[name]]
                    assert sorted(s.prompt for s in samples) == sorted(asked)

    def test_what_every_task_keeps(self, both, name):
        for path in both(name):
            task = get(name, path)
            samples = task.test()
            assert [s.digest() for s in samples] == [s.digest() for s in get(name, path).test()]
            assert (
                len({s.id for s in [*samples, *task.train()]}) >= len({s.id for s in samples}) == len(samples)
            )
            for metric in ("right", "coin"):
                if metric == "coin" and name == "TextVQA" and "own" not in str(path):
                    continue
                task = get(name, path, metric=metric)
                spoken = task.score(samples, [Output(s.target[0]) for s in samples])
                assert task.metrics[0](samples, spoken).value == 1
                silent = task.score(samples, [Output("")] * len(samples))
                assert {s.status for s in silent} == {"unparsed"} and not any(s.value for s in silent)
                broken = task.score(samples, [Output("", error="no picture")] * len(samples))
                assert not any(s.scored for s in broken)

    def test_a_question_and_its_picture_are_what_the_judge_gets(self, both, name):
        (sample, *_) = get(name, both(name)[0]).test()
        assert sample.meta["question"] in sample.prompt and sample.meta["set"] == f"coin:{name}"
        assert sample.group is None or sample.group.startswith(name)


@pytest.mark.parametrize("name", ["TextVQA", "VizWiz", "VQAv2"])
def test_the_metric_says_whether_ten_answers_are_known(both, name):
    coins, own = both(name)
    assert get(name, coins).metrics[0]([], []).name == "exact_accuracy"
    voted = get(name, own)
    (sample, *_) = voted.test()
    assert sample.meta["answers"] == VOTES and sample.target == ("red",)
    assert (
        voted.score(
            [sample],
            [
                Output("Red."),
            ][:1],
        )[0].value
        == 1.0
    )
    assert round(voted.score([sample], [Output("blue")])[0].value, 3) == 0.3
    assert voted.metrics[0]([sample], voted.score([sample], [Output("blue")])).name == "vote_accuracy"


@pytest.mark.parametrize("name", ["TextVQA", "VQAv2"])
def test_annotations_beside_coins_rows_give_the_vote(both, name):
    coins, own = both(name)
    for file in own.glob("*.json"):
        (coins / file.name).write_bytes(file.read_bytes())
    task = get(name, coins)
    assert task.score.name == "vqa_vote" and all(s.meta["answers"] == VOTES for s in task.test())
    assert get(name, coins, split="train").score.name == "exact", "of the training rows one answer is known"
    assert "CoIN" in task.description and "data set" in get(name, coins, source="original").description
    rows = json.loads(
        next(coins.glob("TextVQA_0.5.1_val.json" if name == "TextVQA" else "v2_mscoco_val*")).read_text()
    )
    (rows["data"] if name == "TextVQA" else rows["annotations"]).pop()
    save(next(coins.glob("TextVQA_0.5.1_val.json" if name == "TextVQA" else "v2_mscoco_val*")), rows)
    with pytest.raises(KeepsightError, match=r"question \d+ is not in .*give the annotations of this split"):
        task.test()


def test_coins_rule_for_textvqa_needs_the_ten_answers(both):
    with pytest.raises(KeepsightError, match=r"put TextVQA_0.5.1_val.json beside the rows"):
        get("TextVQA", both("TextVQA")[0], metric="coin")


def test_ocr_tokens_are_asked_for_or_not(both):
    coins, own = both("TextVQA")
    assert not any("OCR" in s.prompt for s in get("TextVQA", own).test())
    with pytest.raises(KeepsightError, match="Rosetta_OCR"):
        get("TextVQA", own, ocr=True).test()
    text_vqa_ocr(own)
    prompts = sorted(s.prompt for s in get("TextVQA", own, ocr=True).test())
    assert prompts[0] == f"what does it say?\nReference OCR token: LION, GATE\n{LINES['TextVQA'][0]}"
    assert prompts[1].split("\n")[1] == "Reference OCR token:"
    rows = json.loads((coins / "test.json").read_text())
    rows[0]["text"] = prompts[0]
    save(coins / "test.json", rows)
    assert prompts[0] in [s.prompt for s in get("TextVQA", coins).test()]
    assert get("TextVQA", coins, ocr=False).name == "coin:TextVQA-no-ocr"
    assert not any("OCR" in s.prompt for s in get("TextVQA", coins, ocr=False).test())
    with pytest.raises(KeepsightError, match="question 34603 has no line of OCR tokens"):
        get("TextVQA", coins, ocr=True).test()
    with pytest.raises(KeepsightError, match="coin:GQA has no OCR tokens"):
        get("GQA", coins, ocr=True)


class TestBoxes:
    @pytest.fixture(params=["coin", "own"])
    def path(self, both, request):
        return both("REC")[("coin", "own").index(request.param)]

    def test_padded_boxes_speak_of_the_padded_picture(self, path):
        for sample in get("REC", path).test():
            said = sample.prompt.rpartition(": ")[2]
            assert sample.target == (str(PADDED[said]),)
            assert sample.meta["box"] == pytest.approx(PADDED[said]) and sample.meta["frame"] == "padded"
            shown = decode(sample.media[0])
            assert shown.size == (80, 80) and shown.getpixel((0, 9)) == PADDING
            assert shown.getpixel((0, 10)) == shown.getpixel((79, 69)) == (255, 0, 0)

    def test_boxes_of_the_picture(self, path):
        task = get("REC", path, box_frame="picture")
        assert task.name == "coin:REC-picture-frame"
        for sample in [*task.test(), *task.train()]:
            said = sample.prompt.rpartition(": ")[2]
            x, y, w, h = dict(BOXES)[said]
            expected = [x / SIZE[0], y / SIZE[1], (x + w) / SIZE[0], (y + h) / SIZE[1]]
            assert sample.meta["box"] == pytest.approx(expected) and decode(sample.media[0]).size == SIZE

    @pytest.mark.parametrize("written", ["[0.1234567, 0.20, 0.5, 1.0]", [0.1234567, 0.2, 0.5, 1.0]])
    def test_the_files_own_text_is_kept(self, both, written):
        """With which CoIN's rule compares: it cuts the last character off."""
        folder, _ = both("REC")
        rows = [{**row, "answer_bbox": written} for row in json.loads((folder / "test.json").read_text())]
        save(folder / "test.json", rows)
        kept = "[0.1234567, 0.20, 0.5, 1.0]" if isinstance(written, str) else "[0.1234567, 0.2, 0.5, 1.0]"
        for metric in ("right", "coin"):
            task = get("REC", folder, metric=metric)
            assert {sample.target for sample in task.test()} == {(kept,)}
            samples = task.test()
            assert {s.value for s in task.score(samples, [Output(kept)] * len(samples))} == {1}
        moved = get("REC", folder, box_frame="picture").test()[0]
        assert moved.target == (box_text(moved.meta["box"]),)

    def test_the_same_picture_is_one_cluster_and_not_read(self, path, monkeypatch):
        monkeypatch.setattr("keepsight.types._bytes_of", lambda path: pytest.fail(f"{path} was read"))
        samples = get("REC", path).test()
        assert len({s.cluster for s in samples}) == 1 and len(samples) == 3


def test_an_answer_that_is_the_options_text_is_not_the_letter(both):
    task = get("ScienceQA", both("ScienceQA")[0])
    sample = next(s for s in task.test() if "wet" in s.prompt)
    said = ["B", "The answer is B.", "water", "stone", "C", "wet", "I'm sorry, I cannot see the image."]
    scores = task.score([sample] * 7, [Output(text) for text in said])
    assert [s.value for s in scores] == [1, 1, 0, 0, 0, 0, 0]
    assert [s.status for s in scores] == ["ok"] * 4 + ["unparsed", "unparsed", "refused"]
    assert scores[2].tags == ("option_text", "right_text") and scores[3].tags == ("option_text",)
    tolerant = task.judges[0]([sample] * 2, [Output("water"), Output("stone")])
    assert [s.value for s in tolerant] == [1, 0]


def test_volumes_are_nested_and_seeded(tmp_path):
    rows = [
        {
            "id": str(i),
            "conversations": [
                {"from": "human", "value": f"{i}?\n{LINES['GQA'][0]}"},
                {"from": "gpt", "value": "x"},
            ],
        }
        for i in range(50)
    ]
    save(tmp_path / "train.json", rows)
    drawn = {
        v: [s.id for s in get("GQA", tmp_path, volume=v).train()] for v in (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
    }
    assert [len(ids) for ids in drawn.values()] == [5, 10, 20, 30, 40, 50]
    for fewer, more in zip(list(drawn.values()), list(drawn.values())[1:]):
        assert set(fewer) < set(more)
    numbers = [[int(name.rpartition("/")[2]) for name in ids] for ids in drawn.values()]
    assert all(part == sorted(part) for part in numbers), "in the order of the file"
    assert drawn[0.2] != [s.id for s in get("GQA", tmp_path, volume=0.2, seed=1).train()]
    with pytest.raises(KeepsightError, match=r"has no test rows here .there are: train."):
        get("GQA", tmp_path).test()


def test_a_volume_does_not_depend_on_the_order_of_rows():
    samples = [Sample(f"{i}", "?") for i in range(30)]
    assert {s.id for s in volume_of(samples, 0.3)} == {s.id for s in volume_of(samples[::-1], 0.3)}
    assert len(volume_of(samples[:2], 0.1)) == 1


def test_n_rows_are_among_n_and_one(both):
    path = both("REC")[0]
    two, three = get("REC", path, n=2).test(), get("REC", path).test()
    assert {s.id for s in two} < {s.id for s in three}
    with pytest.raises(KeepsightError, match="4 rows asked, there are 3"):
        get("REC", path, n=4).test()


def test_the_other_splits(both):
    own = both("GQA")[1]
    asked = get("GQA", own, split="train")
    assert asked.name == "coin:GQA-train" and len(asked.test()) == 2
    with pytest.raises(KeepsightError, match="no val rows here"):
        get("GQA", own, split="val").test()


def test_rows_as_they_are(both):
    coins, own = both("GQA")
    rows = json.loads((coins / "test.json").read_text())
    rows[0]["text"] = "Is it dark?\nSay it in one word!"
    save(coins / "test.json", rows)
    with pytest.raises(
        KeepsightError,
        match=r"row 0: the last line 'Say it in one word!' is none of CoIN's.*instruction=file",
    ):
        get("GQA", coins).test()
    task = get("GQA", coins, instruction="file")
    assert task.name == "coin:GQA-file" and rows[0]["text"] in [s.prompt for s in task.test()]
    with pytest.raises(KeepsightError, match="own files have no instruction"):
        get("GQA", own, instruction="file")


def test_coins_layout_of_a_whole_benchmark(tmp_path):
    for name, folder in (("GQA", "GQA"), ("REC", "Grounding"), ("OCR-VQA", "OCRVQA")):
        coin_json(tmp_path / "Instruction_Type1" / folder, name)
    coin_json(tmp_path / "Instruction_Type2" / "GQA", "GQA", type2=True)
    images = tmp_path / "Instruction_Type1" / "GQA"
    assert len(get("GQA", tmp_path, image_folder=images).test()) == 2
    assert len(get("GQA", tmp_path, image_folder=images, instruction="type2").train()) == 2
    assert len(get("REC", tmp_path, image_folder=tmp_path / "Instruction_Type1" / "Grounding").test()) == 3
    (file, *_) = (tmp_path / "Instruction_Type1" / "OCRVQA").glob("test.json")
    assert len(get("OCR-VQA", file).test()) == 2


def test_a_missing_picture_is_one_error_when_asked_and_refused_when_learnt(both, tmp_path):
    coins, _ = both("VizWiz")
    (coins / "VizWiz_val_00000000.jpg").unlink()
    task = get("VizWiz", coins)
    run = evaluate(FakeVLM(), task, Store(tmp_path / "out"))
    assert (run.headline.n, run.headline.total, run.headline.not_ok) == (1, 2, {"error": 1})
    (coins / "VizWiz_train_00000001.jpg").unlink()
    with pytest.raises(
        KeepsightError, match=r"1 training pictures are missing; no file 'VizWiz_train_00000001.jpg'"
    ):
        task.train()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {},
            "coin:GQA is read from files that are yours to bring; say where they lie: --task_args path=FOLDER",
        ),
        ({"path": "nowhere"}, "coin:GQA: no file or folder nowhere"),
        ({"path": ".", "instruction": "type3"}, "instruction is 'type3'; give type1, type2, file"),
        ({"path": ".", "metric": "best"}, "metric is 'best'; give right, coin"),
        ({"path": ".", "split": "dev"}, "split is 'dev'"),
        ({"path": ".", "box_frame": "crop"}, "box_frame is 'crop'; give picture, padded"),
        ({"path": ".", "volume": 0}, "volume 0 is not in"),
        ({"path": ".", "volume": 20}, "0.2 means 20 %"),
        ({"path": ".", "n": 0}, "n=0 is not a number of rows"),
        ({"path": ".", "source": "hub"}, "source is 'hub'"),
        ({"path": ".", "shots": 3}, "it takes path, image_folder, instruction"),
    ],
)
def test_settings_that_do_not_exist(arguments, message):
    with pytest.raises(KeepsightError, match=message):
        tasks.get("coin:GQA", **arguments)


def test_a_task_that_does_not_exist():
    with pytest.raises(KeepsightError, match="did you mean coin:VQAv2"):
        tasks.get("coin:VQA2", path=".")


def test_what_was_looked_for_is_said(tmp_path):
    wanted = r"train.json, test.json or val.json, there or in Grounding, REC, RefCOCO\) or the data set's \(instances.json"
    with pytest.raises(KeepsightError, match=wanted):
        get("REC", tmp_path)
    with pytest.raises(
        KeepsightError, match=r"read from: the data set's \(problems.json and pid_splits.json\)"
    ):
        get("ScienceQA", tmp_path, source="original")
    assert list(rows_asked("GQA", "test"))
