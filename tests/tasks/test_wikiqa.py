"""The question file as a task: what is asked with and without picture and class name, and what the baselines say."""

import json

import pytest

from keepsight import tasks
from keepsight.data.drawn import ALL_SETS
from keepsight.data.wikiqa import STEP_BY_STEP, write_wikiqa
from keepsight.evaluate import evaluate
from keepsight.scoring.metrics import accuracy
from keepsight.store import Store
from keepsight.tasks.wikiqa import most_frequent_baseline, quiz_task, random_baseline, wikiqa
from keepsight.types import KeepsightError, Output, Sample
from tests.data.test_wikiqa import many
from tests.fake_vlm import FakeVLM


@pytest.fixture
def path(tmp_path):
    return write_wikiqa(tmp_path / "fishes.jsonl", many(8))


def test_a_sample_per_question_and_picture(path):
    task = wikiqa(path, pictures=ALL_SETS["things"], seed=2)
    samples = task.test()
    assert task.name == "wikiqa:fishes" and len(samples) == 24
    assert all(len(s.media) == 1 and s.target == ("A",) and s.choices[0].endswith("w") for s in samples)
    assert len({s.cluster for s in samples}) == 8, "three pictures of one question are one cluster"
    assert [s.digest() for s in wikiqa(path, pictures=ALL_SETS["things"], seed=2).test()] == [
        s.digest() for s in samples
    ]
    assert len(wikiqa(path, pictures=ALL_SETS["things"], n=2).test()) == 6


def test_what_is_asked(path):
    pictures = ALL_SETS["things"]
    plain, named, thought, blind = (
        wikiqa(path, **{"pictures": pictures, **changes})
        for changes in (
            {},
            {"with_class_name": True},
            {"chain_of_thought": True},
            {"pictures": None, "with_picture": False},
        )
    )
    assert (
        plain.test()[0].prompt
        == "What of this object 0?\nA. 0 w\nB. 0 x\nC. 0 y\nD. 0 z\nChoose A, B, C, or D."
    )
    assert named.test()[0].prompt.startswith("What of fish 0?\n")
    assert thought.test()[0].prompt == f"{plain.test()[0].prompt}\n{STEP_BY_STEP}"
    assert thought.infer.settings["max_new_tokens"] > 10 * plain.infer.settings["max_new_tokens"]
    assert len(blind.test()) == 8 and not any(s.media for s in blind.test())
    names = {task.name for task in (plain, named, thought, blind)}
    assert names == {f"wikiqa:fishes{mark}" for mark in ("", "-class-name", "-step-by-step", "-no-picture")}


def test_a_question_without_a_picture(path):
    with pytest.raises(KeepsightError, match=r"question q0 has no picture; give pictures=SET"):
        wikiqa(path).test()


def test_a_thought_ends_in_its_conclusion(path):
    samples = wikiqa(path, with_picture=False, chain_of_thought=True).test()[:2]
    said = [Output("A is about w. B is about x. So the answer is B."), Output("B or C? Let me see.")]
    assert [s.answer for s in wikiqa(path).score(samples, said)] == ["B", None]


def test_by_name(path):
    assert tasks.get(f"wikiqa:{path}", with_picture=False).name == "wikiqa:fishes-no-picture"
    with pytest.raises(KeepsightError, match=r"no file 'nowhere.jsonl' of questions"):
        tasks.get("wikiqa:nowhere.jsonl")
    with pytest.raises(KeepsightError, match="it takes images, pictures, chain_of_thought"):
        tasks.get(f"wikiqa:{path}", thinking=True)


def test_the_published_file_is_a_task(tmp_path):
    (tmp_path / "a.png").write_bytes(ALL_SETS["things"].test(1)[0].media.read())
    text = "Is this object wet?\nA. yes\nB. no\nC. often\nD. in rain\nChoose A, B, C, or D."
    rows = [
        {"image": f"{name}.png", "text": text, "label": "C", "wiki": "", "classname": "x"} for name in "ab"
    ]
    (tmp_path / "w.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = wikiqa(tmp_path / "w.jsonl")
    assert [s.prompt for s in task.test()] == [text, text]
    run = evaluate(FakeVLM(broken=frozenset({task.test()[1].id})), task, Store(tmp_path / "out"))
    assert (run.headline.value, run.headline.n, run.headline.total) == (1.0, 1, 2)
    assert run.headline.not_ok == {"error": 1}


def test_the_random_baseline_is_exact():
    assert random_baseline(quiz_task(n=2).test()).value == 0.25
    two = Sample("a", "?", target=("A",), choices=("x", "y"))
    assert random_baseline([two, Sample("b", "?", target=("A",), choices=tuple("wxyz"))]).value == 0.375
    with pytest.raises(KeepsightError, match="each with choices"):
        random_baseline([Sample("a", "?")])


def test_the_most_frequent_letter_is_an_answer_like_any_other():
    samples = [
        Sample(f"{i}", "?", target=(letter,), choices=tuple("wxyz")) for i, letter in enumerate("BBACBD")
    ]
    found = most_frequent_baseline(samples)
    assert (found.name, found.value, found.n) == ("always B", 0.5, 6) and 0 < found.low < 0.5 < found.high < 1


@pytest.mark.parametrize("letter", "ABCD")
def test_the_world_cannot_be_answered_without_looking(letter):
    """Every question of a full group has another letter, so one letter is right at a quarter of each group's classes."""
    task = quiz_task(n=3, sets="things+shapes+cards+colours")
    samples = task.test()
    scores = task.score(samples, [Output(letter)] * len(samples))
    assert accuracy(samples, scores).value == 0.25 and len(samples) == 84


def test_the_world_names_its_variants():
    assert quiz_task(n=1, sets=("things",), with_class_name=True).name == "wikiqa:world-things-class-name"
    blind = quiz_task(n=2, with_picture=False).test()
    assert len(blind) == 30 and len({s.cluster for s in blind}) == 30
    seen = quiz_task(n=2, sets=("things",)).test()
    assert len(seen) == 32 and len({s.cluster for s in seen}) == 12, (
        "questions on one picture are one cluster"
    )
