"""EMT's questions are the paper's, word for word, over any labelled set."""

import json

import pytest

from keepsight.data.drawn import SETS
from keepsight.data.labelled import LabelledImage
from keepsight.data.published import PUBLISHED
from keepsight.errors import UsageError
from keepsight.tasks.classification import closed_world
from keepsight.tasks.emt import closed_world_prompt, emt, with_foreign_labels
from keepsight.types import KeepsightError, Output
from tests.data.test_readers import folder, parquet, rows

# arXiv:2309.10313, appendix C.1
MNIST = "What is the number in the image? Please only answer a single number in 0, 1, 2, 3, 4, 5, 6, 7, 8, 9."
CIFAR10 = (
    "What is the object in the image? Please only answer a single object in airplane, automobile, bird, cat, deer, "
    "dog, frog, horse, ship, truck."
)


def test_the_papers_prompts(tmp_path):
    assert closed_world_prompt("number", PUBLISHED["mnist"].labels) == MNIST
    assert closed_world_prompt("object", PUBLISHED["cifar10"].labels) == CIFAR10
    mnist = emt("mnist", path=parquet(tmp_path / "mnist.parquet", rows([3, 4] * 5, image="image")))
    assert mnist.name == "emt:mnist" and {s.prompt for s in mnist.test()} == {MNIST}
    assert emt("digits", n=1).test()[0].prompt == MNIST
    hundred = closed_world_prompt("object", PUBLISHED["cifar100"].labels)
    assert "in apple, aquarium fish, baby," in hundred and hundred.endswith("woman, worm.")


def test_underscores_become_blanks_everywhere(tmp_path):
    task = emt(folder(tmp_path / "mini", classes=("African_hunting_dog", "yawl")))
    sample = next(s for s in task.test() if s.target != ("yawl",))
    assert sample.prompt.endswith("a single object in African hunting dog, yawl.")
    assert sample.target == ("African hunting dog",) and task.labels == ("African hunting dog", "yawl")
    assert sample.choices == task.labels
    assert task.train()[0].target == ("The object is a(n) African hunting dog.",)


def test_the_first_samples_of_a_folder_are_of_several_classes(tmp_path):
    task = emt(folder(tmp_path / "set", classes=("a", "b", "c", "d"), n=80))
    assert len({s.target for s in task.test()[:12]}) > 2
    assert [s.id for s in task.test()] == [s.id for s in task.test()]


def test_a_folder_with_one_class_is_refused_by_name(tmp_path):
    lonely = folder(tmp_path / "pets", classes=("cat",))
    told = rf"{lonely} holds one class \('cat'\).*give the folder above"
    with pytest.raises(KeepsightError, match=told):
        emt(lonely)
    with pytest.raises(KeepsightError, match=told):
        closed_world(lonely)


@pytest.mark.parametrize("arguments", [{"n": 0}, {"n": -1}, {"n": "x"}, {"share": 0}, {"share": "x"}])
def test_parts_of_nothing_are_refused(arguments):
    with pytest.raises(UsageError, match=rf"set shapes: \w+[= ]{next(iter(arguments.values()))}"):
        emt("shapes", **arguments).test()


@pytest.mark.parametrize("name", SETS)
def test_drawn_sets(name):
    task = emt(name, n=8)
    samples = task.test()
    assert task.name == f"emt:{name}" and len({s.id for s in samples}) == len(samples) == 8
    assert all(s.id.startswith(f"{name}/") and s.target[0] in task.labels for s in samples)
    assert [s.digest() for s in samples] == [s.digest() for s in emt(name, n=8).test()]


def test_a_set_of_ones_own():
    class Zoo:
        name, labels, noun, notes = "zoo", ("sea_lion", "gnu"), "animal", ()

        def test(self, n=None, seed=0):
            return [LabelledImage("1", SETS["shapes"].test(1)[0].media, "sea_lion")]

    task = emt(Zoo())
    (sample,) = task.test()
    assert sample.id == "zoo/1" and sample.target == ("sea lion",) and task.labels == ("sea lion", "gnu")
    assert (
        sample.prompt
        == "What is the animal in the image? Please only answer a single animal in sea lion, gnu."
    )


def test_scorers_read_right_and_wrong_answers():
    task = emt("shapes", n=5)
    samples = task.test()
    right = task.score(samples, [Output(f"The object is a(n) {s.target[0]}.") for s in samples])
    assert [score.value for score in right] == [1.0] * 5
    assert task.metrics[0](samples, right).name == "accuracy"
    silent = task.score(samples, [Output("") for _ in samples])
    assert [(score.value, score.status) for score in silent] == [(0.0, "unparsed")] * 5


def test_an_answer_from_another_set_is_a_leak():
    task = emt("shapes", n=3)
    samples = task.test()
    (taxonomy,) = task.judges
    assert all("leak:digits" in s.tags for s in taxonomy(samples, [Output("The number is 8.")] * 3))
    (narrow,) = emt("shapes", n=3, foreign={"animals": ["cat"]}).judges
    assert all("leak:animals" in s.tags for s in narrow(samples, [Output("a cat")] * 3))


def test_an_audit_knows_the_labels_of_its_own_sets():
    shapes, animals = emt("shapes", n=3), emt("digits", n=3)
    tasks = with_foreign_labels([shapes, animals])
    samples = shapes.test()
    (taxonomy,) = tasks[0].judges
    assert all("leak:digits" in s.tags for s in taxonomy(samples, [Output("The number is 8.")] * 3))
    assert not any(
        t.startswith("leak") for s in taxonomy(samples, [Output("the letter Q")] * 3) for t in s.tags
    )
    assert with_foreign_labels([shapes])[0].judges == shapes.judges


def test_a_fifth_of_the_training_data_as_in_the_paper():
    task = emt("digits", split="train", share=0.2)
    samples = task.test()
    assert task.name == "emt:digits-train" and len(samples) == round(0.2 * len(SETS["digits"].train()))
    assert {s.id for s in samples} <= {f"{p.id}" for p in SETS["digits"].train()}


def test_fine_tuning_samples_are_the_training_split():
    train = emt("digits").train()
    assert {s.id for s in train}.isdisjoint(s.id for s in emt("digits").test())
    assert train[0].prompt == "What is the number in the image?" and train[0].target[0].startswith(
        "The number is "
    )


def test_notes_of_the_reader_reach_the_description(tmp_path):
    assert "held out" in emt(folder(tmp_path / "pets")).description


def test_impossible_requests():
    with pytest.raises(KeepsightError, match=r"both n=3 and share=0\.5"):
        emt("digits", n=3, share=0.5).test()
    with pytest.raises(KeepsightError, match="set cifar10: CIFAR-10 does not come with the package"):
        emt("cifar10")
    with pytest.raises(KeepsightError, match="no file or folder nothing-here"):
        emt("nothing-here")


def test_samples_can_be_written_as_json():
    json.dumps(dict(emt("colours", n=1).test()[0].meta))
