"""Open and closed world: the published questions, candidates that are everybody's, conclusions instead of reasoning."""

import json
from collections import Counter
from itertools import pairwise

import pytest

from keepsight import tasks
from keepsight.data.drawn import ALL_SETS
from keepsight.data.labelled import LabelledImage
from keepsight.tasks.classification import candidates_of, closed_world, open_world
from keepsight.types import KeepsightError, Media, Output
from tests.data.test_readers import folder

LABELS = tuple(f"label {i}" for i in range(30))
GOLDEN = ("a", "c", "f", "j")


class Zoo:
    """Thirty labels, one of them twice; pictures without a file."""

    name, noun, notes = "zoo", "object", ("Read from nowhere.",)
    labels = (*LABELS, "label_3")

    def test(self, n=None, seed=0):
        return [LabelledImage(f"{i}", Media(data=b"%d" % i), LABELS[i % 30]) for i in range(60)][:n]

    train = test


def by_id(task):
    return {sample.id: sample for sample in task.test()}


class TestPrompts:
    def test_the_published_wordings(self):
        (plain,) = open_world("things", n=1).test()
        assert plain.prompt == "What type of object is in this photo?"
        (identify,) = open_world("things", n=1, prompt="identify").test()
        assert identify.prompt == "Identify the object in this image."
        (depicted,) = open_world("things", n=1, prompt="depicted").test()
        assert depicted.prompt == "What is the main object depicted in this photograph?"

    def test_the_labels_follow_in_quotes_and_in_the_sets_order(self):
        (sample,) = closed_world("things", n=1).test()
        assert (
            sample.prompt
            == 'What type of object is in this photo? Choose one from "arrow, fish, house, tree, cup, flag".'
        )
        assert sample.choices == ALL_SETS["things"].labels

    def test_a_chain_of_thought_is_asked_for_last_and_has_room(self):
        task = closed_world("things", n=1, chain_of_thought=True)
        assert task.test()[0].prompt.endswith("flag\". Let's think step by step.")
        assert task.infer.settings["max_new_tokens"] == 512
        assert closed_world("things", n=1).infer.settings["max_new_tokens"] == 64
        assert (
            open_world("things", chain_of_thought=True, max_new_tokens=9).infer.settings["max_new_tokens"]
            == 9
        )

    def test_a_prompt_of_ones_own(self):
        task = open_world("things", n=1, prompt="What {labels} is it, then?")
        assert task.test()[0].prompt == "What {labels} is it, then?" and task.name == "open:things-own"
        with pytest.raises(KeepsightError, match="prompt 'identity' is none of base, identify, depicted"):
            open_world("things", prompt="identity")

    def test_braces_in_labels_are_letters(self):
        class Braces(Zoo):
            labels = ("{labels}", "b")

            def test(self, n=None, seed=0):
                return [LabelledImage("1", Media(data=b"1"), "b")]

        assert closed_world(Braces()).test()[0].prompt.endswith('Choose one from "{labels}, b".')


class TestCandidates:
    def test_the_truth_is_among_so_many(self):
        for sample in closed_world(Zoo(), candidates=5).test():
            assert len(sample.choices) == len(set(sample.choices)) == 5
            assert sample.target[0] in sample.choices
            assert list(sample.choices) == sorted(sample.choices, key=LABELS.index)
            assert f'"{", ".join(sample.choices)}".' in sample.prompt

    def test_more_candidates_keep_the_fewer(self):
        sizes = [by_id(closed_world(Zoo(), candidates=k)) for k in (2, 5, 20, 29)]
        for few, many in pairwise(sizes):
            assert all(set(few[key].choices) < set(many[key].choices) for key in few)

    def test_a_samples_candidates_depend_on_nothing_but_itself(self):
        """So that a resumed run, a limited one and another model's are asked the same."""
        everything, some = (
            by_id(closed_world(Zoo(), candidates=5)),
            by_id(closed_world(Zoo(), candidates=5, n=7)),
        )
        assert len(some) == 7 and all(some[key].digest() == everything[key].digest() for key in some)
        other = by_id(closed_world(Zoo(), candidates=5, seed=1))
        assert any(other[key].choices != everything[key].choices for key in everything)

    def test_golden_candidates(self):
        """They must never change between versions: results would no longer be comparable."""
        drawn = candidates_of(tuple("abcdefghij"), "c", 4, "zoo/1")
        assert drawn == GOLDEN and candidates_of(("a", "b"), "a", None, "s") == ("a", "b")

    def test_every_label_is_drawn_about_equally_often(self):
        labels = tuple("abcdefghij")
        drawn = Counter(c for i in range(3000) for c in candidates_of(labels, "a", 4, f"s{i}") if c != "a")
        assert set(drawn) == set("bcdefghij") and all(900 < count < 1100 for count in drawn.values())

    @pytest.mark.parametrize("count", [1, 0, -1, 31])
    def test_impossible_numbers(self, count):
        with pytest.raises(KeepsightError, match=f"candidates is {count}; zoo has 30 labels: give 2 to 30"):
            closed_world(Zoo(), candidates=count)


class TestOrder:
    def test_random_orders_hold_the_same_labels_and_differ(self):
        samples = closed_world(Zoo(), order="random").test()
        assert all(set(sample.choices) == set(LABELS) for sample in samples)
        assert len({sample.choices for sample in samples}) == len(samples)
        again = closed_world(Zoo(), order="random").test()
        assert [sample.digest() for sample in samples] == [sample.digest() for sample in again]

    def test_an_order_changes_no_candidates(self):
        plain, mixed = (
            by_id(closed_world(Zoo(), candidates=5)),
            by_id(closed_world(Zoo(), candidates=5, order="random")),
        )
        assert all(set(plain[key].choices) == set(mixed[key].choices) for key in plain)

    def test_the_truth_stands_anywhere(self):
        places = Counter(
            sample.choices.index(sample.target[0])
            for seed in range(20)
            for sample in closed_world(Zoo(), candidates=3, order="random", seed=seed).test()
        )
        assert set(places) == {0, 1, 2} and min(places.values()) > 300

    def test_an_unknown_order(self):
        with pytest.raises(KeepsightError, match="order is 'shuffled'; give dataset or random"):
            closed_world("things", order="shuffled")


class TestScores:
    def test_the_same_text_gets_the_same_score_at_every_number_of_candidates(self):
        few, all_labels = closed_world(Zoo(), candidates=2), closed_world(Zoo())
        texts = [Output(f"label {i % 30}") for i in range(60)]
        for one, other in zip((few.score, *few.judges), (all_labels.score, *all_labels.judges)):
            assert one.version == other.version
            assert [s.value for s in one(few.test(), texts)] == [
                s.value for s in other(all_labels.test(), texts)
            ]

    def test_a_label_that_was_not_offered_still_counts_as_named(self):
        task = closed_world(Zoo(), candidates=2)
        sample = task.test()[0]
        stranger = next(label for label in LABELS if label not in sample.choices)
        (score,) = task.score([sample], [Output(f"{sample.target[0]} or {stranger}")])
        assert "multiple_labels" in score.tags

    def test_of_a_chain_of_thought_the_conclusion_counts(self):
        task = open_world("things", n=1, chain_of_thought=True)
        (sample,) = task.test()
        wrong = next(label for label in task.labels if label != sample.target[0])
        reasoning = Output(f"It looks like a {sample.target[0]}. But the answer is {wrong}.")
        assert [rule([sample], [reasoning])[0].value for rule in (task.score, *task.judges)] == [0.0] * 4

    def test_all_rules_and_the_share_of_echoes_are_reported(self):
        task = closed_world("things", n=4)
        assert [task.score.name, *(judge.name for judge in task.judges)] == [
            "whole_word",
            "inclusion",
            "one_label",
            "strict",
        ]
        samples = task.test()
        scores = task.score(samples, [Output(", ".join(task.labels))] * 4)
        figures = {value.name: value.value for value in (metric(samples, scores) for metric in task.metrics)}
        assert figures["multiple_labels_share"] == 1.0 and figures["accuracy"] == 1.0


def test_labels_that_stand_twice_are_one():
    task = closed_world(Zoo())
    assert task.labels == LABELS and "1 labels that stand twice are merged" in task.description
    assert all(sample.choices == LABELS for sample in task.test())
    assert task.description.endswith("Read from nowhere.")


def test_names_tell_variants_apart(tmp_path):
    pets = folder(tmp_path / "pets", n=5)
    variants = [
        tasks.get(f"open:{pets}"),
        tasks.get(f"closed:{pets}"),
        tasks.get(f"closed:{pets}", candidates=2),
        tasks.get(f"closed:{pets}", order="random", chain_of_thought=True),
        tasks.get(f"closed:{pets}", split="train", prompt="identify"),
    ]
    assert [task.name for task in variants] == [
        "open:pets",
        "closed:pets",
        "closed:pets-k2",
        "closed:pets-random-steps",
        "closed:pets-train-identify",
    ]


def test_tasks_over_one_set_ask_about_the_same_pictures_under_the_same_ids():
    ids = [[s.id for s in task.test()] for task in (open_world("things", n=9), closed_world("things", n=9))]
    assert ids[0] == ids[1] == [s.id for s in tasks.get("emt:things", n=9).test()]


def test_training_samples_are_the_question_and_the_label():
    task = open_world(Zoo())
    sample = task.train()[0]
    assert sample.prompt == "What type of object is in this photo?" and sample.target[0] in LABELS


def test_a_row_without_a_label_is_an_error_of_its_own(tmp_path):
    folder(tmp_path, n=1)
    rows = [{"image": "cat/0.png", "label": "cat"}, {"image": "gone.png", "label": "cat"}]
    (tmp_path / "set.jsonl").write_text("\n".join(json.dumps({**row, "split": "test"}) for row in rows))
    (tmp_path / "set_classes.json").write_text('["cat", "dog", "cow"]')
    samples = closed_world(tmp_path / "set.jsonl", candidates=2).test()
    assert sorted(len(sample.target) for sample in samples) == [0, 1]
    assert all(len(sample.choices) == 2 for sample in samples)


@pytest.mark.parametrize("name", ["open:nothing-here", "closed:nothing-here"])
def test_unknown_sets_suggest_tasks_of_the_same_kind(name):
    with pytest.raises(KeepsightError, match="no set 'nothing-here'"):
        tasks.get(name)
    kind = name.partition(":")[0]
    with pytest.raises(KeepsightError, match=f"did you mean {kind}:things"):
        tasks.get(f"{kind}:thing")


def test_every_set_has_a_line_for_each_kind():
    names = {info.name for info in tasks.available()}
    assert {
        f"{kind}:{name}" for kind in ("emt", "open", "closed") for name in (*ALL_SETS, "imagenet")
    } <= names
