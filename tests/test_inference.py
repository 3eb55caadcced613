import math

import pytest

from keepsight.inference import Generate, RankChoices
from keepsight.models.replay import Replay
from keepsight.types import KeepsightError, Sample


class Asked:
    """Remembers how it was asked."""

    name = digest = "asked"

    def generate(self, samples, **settings):
        self.settings = settings
        return iter(())


def test_generate_hands_its_settings_on():
    model = Asked()
    list(Generate(max_new_tokens=5, temperature=0.7, top_p=0.9, seed=3)(model, [], batch_size=2))
    assert model.settings == {
        "max_new_tokens": 5,
        "temperature": 0.7,
        "top_p": 0.9,
        "seed": 3,
        "batch_size": 2,
    }


def test_settings_tell_apart_what_changes_answers():
    assert Generate(seed=1).settings == Generate(seed=2, top_p=0.5).settings, "greedy looks at neither"
    assert Generate(max_new_tokens=3).settings != Generate(max_new_tokens=4).settings
    assert Generate(temperature=1.0, seed=1).settings != Generate(temperature=1.0, seed=2).settings
    assert RankChoices("sum").settings != RankChoices("mean").settings != Generate().settings


@pytest.mark.parametrize(
    "wrong", [{"max_new_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.5}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(KeepsightError, match=next(iter(wrong))):
        Generate(**wrong)


def test_the_likeliest_choice_is_the_answer():
    samples = [
        Sample("a", "?", choices=("x", "y", "z")),
        Sample("none", "?"),
        Sample("tie", "?", choices=("x", "y")),
        Sample("nan", "?", choices=("x", "y")),
    ]
    model = Replay(
        {
            "a": {"text": "", "choice_logprobs": [-3.0, -1.0, -2.0]},
            "tie": {"text": "", "choice_logprobs": [-1.0, -1.0]},
            "nan": {"text": "", "choice_logprobs": [math.nan, math.nan]},
        }
    )
    outputs = dict(RankChoices()(model, samples))
    assert outputs[0].text == "y" and outputs[0].choice_logprobs == (-3.0, -1.0, -2.0)
    assert outputs[1].error is not None and "no choices" in outputs[1].error
    assert outputs[2].text == "x"
    assert outputs[3].error is not None and outputs[3].text == ""


def test_a_model_that_cannot_rank_is_named():
    with pytest.raises(KeepsightError, match="asked cannot rank"):
        list(RankChoices()(Asked(), []))
    with pytest.raises(KeepsightError, match="reduction"):
        RankChoices("max")
