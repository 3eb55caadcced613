"""CoIN's eight tasks on what ships: both wordings, volumes, and that the embedded model can read and write all of it."""

import pytest

from keepsight import tasks
from keepsight.data.coin import INSTRUCTIONS, ORDER
from keepsight.data.drawn.coin import DRAWN_TASKS
from keepsight.scoring.semantic import Semantic
from keepsight.tasks.coin_drawn import DRAWN_NAMES
from keepsight.types import KeepsightError, Output

SAME_WORDING = ("choices", "boxes", "counts")  # as ScienceQA, REC and VQAv2 in Table 1
every_task = pytest.mark.parametrize("name", DRAWN_TASKS)


def task(name, **settings):
    return tasks.get(f"coin_drawn:{name}", **{"rows": 40, "n": 20} | settings)


def test_their_names_are_known_in_order():
    assert [info.name for info in tasks.available() if info.name.startswith("coin_drawn:")] == list(
        DRAWN_NAMES
    )
    assert len(tasks.get(DRAWN_NAMES[6]).test()) == 200


@every_task
def test_the_wordings_differ_in_the_instruction_alone(name):
    first, second = (task(name, instruction=kind).test() for kind in ("type1", "type2"))
    of = DRAWN_TASKS[name].of
    for one, two in zip(first, second, strict=True):
        assert (one.id, one.target, one.media, one.choices) == (two.id, two.target, two.media, two.choices)
        assert (one.prompt == two.prompt) == (name in SAME_WORDING)
        if name != "boxes":
            assert one.prompt == f"{one.meta['question']}\n{INSTRUCTIONS['type1'][of]}."
            assert two.prompt == f"{two.meta['question']}\n{INSTRUCTIONS['type2'][of]}."
        else:
            assert one.meta["question"] == one.prompt and one.prompt.startswith(
                "Please provide the bounding box"
            )
    assert task(name, instruction="type2").name == f"coin_drawn:{name}-type2"


@every_task
def test_a_smaller_volume_is_part_of_a_larger_one(name):
    learnt = {volume: {s.id for s in task(name, volume=volume).train()} for volume in (0.1, 0.2, 0.6, 1.0)}
    assert [len(ids) for ids in learnt.values()] == [4, 8, 24, 40]
    assert learnt[0.1] < learnt[0.2] < learnt[0.6] < learnt[1.0]
    assert not learnt[1.0] & {sample.id for sample in task(name).test()}


@every_task
def test_another_form_is_no_instruction_followed_but_known(name):
    samples = task(name, n=40).test()
    said = [Output(f"I think that it is: {sample.target[0]}.") for sample in samples]
    if name == "choices":
        said = [Output(sample.choices["ABCD".index(sample.target[0])]) for sample in samples]
    followed, known = task(name).score(samples, said), Semantic()(samples, said)
    assert {score.value for score in known} == {1.0}
    if name != "boxes":  # a box is read out of a sentence
        assert {score.value for score in followed} == {0.0}


def test_a_number_word_is_another_form_of_a_count():
    (sample, *_) = [s for s in task("counts", n=60).test() if s.target == ("2",)]
    outputs = [Output(text) for text in ("2", "two", "Two objects.", "3")]
    assert [s.value for s in task("counts").score([sample] * 4, outputs)] == [1, 0, 0, 0]
    assert [s.value for s in Semantic()([sample] * 4, outputs)] == [1, 1, 1, 0]


@every_task
def test_the_embedded_model_can_read_and_write_all_of_it(name):
    from tokenizers import Tokenizer

    from keepsight.models.tiny import tiny_directory

    tokenizer = Tokenizer.from_file(str(tiny_directory("llava") / "tokenizer.json"))
    for kind in INSTRUCTIONS:
        made = task(name, rows=60, instruction=kind)
        for sample in made.train():
            for text in (sample.prompt, f" {sample.target[0]}"):
                tokens = tokenizer.encode(text, add_special_tokens=False)
                assert tokenizer.decode(tokens.ids, skip_special_tokens=False) == text
            assert len(tokens.ids) < made.infer.max_new_tokens


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"instruction": "type3"}, "instruction is 'type3'; give type1 or type2"),
        ({"split": "val"}, "split is 'val'; give test or train"),
        ({"volume": 0}, r"volume 0 is not in \(0, 1\]"),
        ({"volume": 1.5}, r"volume 1.5 is not in \(0, 1\]"),
        ({"volume": True}, "volume True"),
        ({"n": 0}, "n=0 is no number of rows"),
        ({"rows": 2.5}, "rows=2.5 is no number of rows"),
    ],
)
def test_settings_there_are_none_of(settings, told):
    with pytest.raises(KeepsightError, match=f"coin_drawn:counts: {told}"):
        task("counts", **settings)


def test_unknown_names():
    from keepsight.tasks.coin_drawn import coin_drawn

    with pytest.raises(KeepsightError, match="did you mean coin_drawn:boxes"):
        tasks.get("coin_drawn:box")
    with pytest.raises(KeepsightError, match="no task coin_drawn:box; there are choices"):
        coin_drawn("box")
    assert len(DRAWN_NAMES) == len(ORDER)
