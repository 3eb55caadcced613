"""The language-model judge, with a judge whose replies are written here."""

import math

import pytest

from keepsight.scoring.judges.llm import PROMPT, LLMYesNo
from keepsight.types import KeepsightError, Output, Sample


class Scripted:
    """Replies by a function of the prompt; keeps what it was asked and how."""

    name, digest = "scripted", "1" * 64

    def __init__(self, reply):
        self.reply = reply
        self.samples, self.settings, self.calls = [], None, 0

    def generate(self, samples, **settings):
        self.calls += 1
        self.samples.extend(samples)
        self.settings = settings
        for index in reversed(range(len(samples))):  # answers come in any order
            reply = self.reply(samples[index].prompt)
            if reply is not None:
                yield index, reply if isinstance(reply, Output) else Output(reply)


def judge(model, *rows):
    samples = [Sample(f"s{index}", "p", target=(truth,)) for index, (truth, _) in enumerate(rows)]
    return LLMYesNo(model)(samples, [Output(text) for _, text in rows])


def test_the_published_prompt_word_for_word():
    model = Scripted(lambda prompt: "Yes")
    judge(model, ("African_hunting_dog", "a dog"))
    assert model.samples[0].prompt == (
        'Please only answer the question in yes or no. Is the "Prediction" correctly predicting the right "Label"? '
        "Label: African hunting dog; Prediction: a dog."
    )
    assert model.samples[0].media == ()


def test_the_published_settings():
    model = Scripted(lambda prompt: "Yes")
    judge(model, ("cat", "a cat"))
    assert model.settings == {
        "max_new_tokens": 64,
        "temperature": 0.2,
        "top_p": 1.0,
        "seed": 0,
        "batch_size": None,
    }


@pytest.mark.parametrize(
    "reply, value, status",
    [
        ("Yes", 1, "ok"),
        ("yes.", 1, "ok"),
        ("**Yes**", 1, "ok"),
        ('"No"', 0, "ok"),
        ("No, the label is cat.", 0, "ok"),
        ("YES! It is.", 1, "ok"),
        ("Yes or no", math.nan, "judge_failed"),
        ("yes/no", math.nan, "judge_failed"),
        ("The answer is yes.", math.nan, "judge_failed"),
        ("Correct", math.nan, "judge_failed"),
        ("Not really", math.nan, "judge_failed"),
        ("Nothing", math.nan, "judge_failed"),
        ("", math.nan, "judge_failed"),
        ("429", math.nan, "judge_failed"),
        (Output("", error="out of memory"), math.nan, "judge_failed"),
        (None, math.nan, "judge_failed"),
    ],
)
def test_the_first_word_is_the_verdict_or_there_is_none(reply, value, status):
    score = judge(Scripted(lambda prompt: reply), ("cat", "a cat"))[0]
    assert score.value == pytest.approx(value, nan_ok=True)
    assert score.status == status
    if reply not in (None, "") and not isinstance(reply, Output):
        assert reply in score.explanation


def test_each_pair_is_asked_once():
    model = Scripted(lambda prompt: "Yes" if "Label: cat; Prediction: a cat." in prompt else "No")
    scores = judge(model, ("cat", "a cat"), ("dog", "a cat"), ("cat", "a cat"), ("cat", " a cat\n"))
    assert [score.value for score in scores] == [1, 0, 1, 1]
    assert (model.calls, len(model.samples)) == (1, 2)
    assert len({sample.id for sample in model.samples}) == 2


def test_ids_come_from_the_question_so_a_resumed_judge_repeats_itself():
    first, second = Scripted(lambda prompt: "Yes"), Scripted(lambda prompt: "Yes")
    judge(first, ("cat", "x"), ("dog", "a dog"))
    judge(second, ("dog", "a dog"))
    assert second.samples[0].id == first.samples[1].id


def test_empty_answers_and_failed_outputs_are_not_asked():
    model = Scripted(lambda prompt: "Yes")
    samples = [Sample(f"s{index}", "p", target=("cat",)) for index in range(3)]
    scores = LLMYesNo(model)(samples, [Output(" \n"), Output("", error="broken"), Output("")])
    assert [(score.value, score.status) for score in scores[::2]] == [(0.0, "unparsed")] * 2
    assert scores[1].status == "error"
    assert model.calls == 0


def test_fields_in_an_answer_stay_text():
    model = Scripted(lambda prompt: "No")
    judge(model, ("cat", "{label} {outputs} {0} {x!r}"))
    assert model.samples[0].prompt.endswith("Label: cat; Prediction: {label} {outputs} {0} {x!r}.")


def test_settings_are_checked_and_versioned():
    model = Scripted(lambda prompt: "Yes")
    with pytest.raises(KeepsightError, match="fields"):
        LLMYesNo(model, prompt="Is it right?")
    with pytest.raises(KeepsightError, match="no target"):
        LLMYesNo(model)([Sample("s", "p")], [Output("x")])
    made = [LLMYesNo(model), LLMYesNo(model, temperature=0.0), LLMYesNo(model, prompt=PROMPT + " Think.")]
    assert len({scorer.version for scorer in made}) == 3
