"""What a turn's weight does: the same in LLaVA's form and in Hugging Face's."""

import pytest

from keepsight.data.messages import row_sample
from keepsight.types import KeepsightError

ABSENT = object()


def llava(*said):
    turns = [{"from": "human", "value": said[0]}]
    for at, (text, weight) in enumerate(said[1:]):
        if at % 2:
            turns.append({"from": "human", "value": text})
        else:
            turns.append({"from": "gpt", "value": text} | ({} if weight is ABSENT else {"weight": weight}))
    return {"conversations": turns}


def messages(*said):
    turns = [
        {
            ("role" if key == "from" else "content" if key == "value" else key): value
            for key, value in turn.items()
        }
        for turn in llava(*said)["conversations"]
    ]
    roles = {"human": "user", "gpt": "assistant"}
    return {"messages": [{**turn, "role": roles[turn["role"]]} for turn in turns]}


def talk(form, *weights):
    """Answers a0, a1, ... of these weights, with questions q0, q1, ..."""
    said = [("a0", weights[0])]
    for at, weight in enumerate(weights[1:], 1):
        said += [(f"q{at}", None), (f"a{at}", weight)]
    return form("q0", *said)


@pytest.mark.parametrize("form", [llava, messages])
@pytest.mark.parametrize(
    ("weights", "history", "target", "turns"),
    [
        ((ABSENT,), (), "a0", []),
        ((1, None), (), "a0", [["q1", "a1"]]),
        ((0, 1), ("a0", "q1"), "a1", []),
        ((0.0, 0, ABSENT), ("a0", "q1", "a1", "q2"), "a2", []),
        ((0, 1, 1.0), ("a0", "q1"), "a1", [["q2", "a2"]]),
    ],
)
def test_first_answers_of_weight_0_are_history(form, weights, history, target, turns, tmp_path):
    sample = row_sample(talk(form, *weights), "id", root=tmp_path)
    assert (sample.prompt, sample.history, sample.target) == ("q0", history, (target,))
    assert sample.meta.get("turns", []) == turns


@pytest.mark.parametrize("form", [llava, messages])
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((0,), "all answers have weight 0"),
        ((0, 0), "all answers have weight 0"),
        ((1, 0), "weight 0 follows a learnt one"),
        ((0, ABSENT, 0), "weight 0 follows a learnt one"),
        ((0.5,), "weight of an answer is 0.5"),
        ((1, "0"), "weight of an answer is '0'"),
        ((True,), "weight of an answer is True"),
        (([0],), "weight of an answer is"),
    ],
)
def test_weights_that_cannot_be_learnt_from(form, weights, message, tmp_path):
    with pytest.raises(KeepsightError, match=message):
        row_sample(talk(form, *weights), "id", root=tmp_path)
