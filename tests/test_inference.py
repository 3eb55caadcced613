import math
from io import BytesIO

import pytest
from PIL import Image

from keepsight.inference import Generate, Guidance, RankChoices
from keepsight.models.replay import Replay
from keepsight.types import KeepsightError, Media, Sample


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


class Ranker:
    """log p of a choice: its length, less the number of pictures; counts what it is asked."""

    name, digest = "ranker", "0" * 64

    def __init__(self):
        self.asked = []

    def generate(self, samples, **settings):
        raise AssertionError("not asked to generate")

    def choice_logprobs(self, samples, *, reduction="sum", batch_size=None):
        for index, sample in enumerate(samples):
            self.asked.append(sample)
            yield index, tuple(-float(len(choice) + len(sample.media)) for choice in sample.choices)


PICTURE = Media(data=b"x")


def seen(n=3, **changes):
    fields = {"prompt": "What? <image> Say.", "media": (PICTURE,), "choices": ("ab", "c"), **changes}
    return [Sample(str(at), **fields) for at in range(n)]


def test_guidance_asks_for_the_context_once_and_follows_the_formula():
    model = Ranker()
    outputs = dict(RankChoices("sum", Guidance(3.0))(model, seen()))
    assert len(model.asked) == 4
    (context,) = [sample for sample in model.asked if not sample.media]
    assert context.prompt == "What?  Say." and context.choices == ("ab", "c")
    # picture: -3, -2; without: -2, -1; 3 * -3 - 2 * -2 = -5
    assert [output.choice_logprobs for output in outputs.values()] == [(-5.0, -4.0)] * 3
    assert outputs[0].text == "c"


def test_no_guidance_is_t_of_one_and_t_of_zero_is_the_context_alone():
    plain = dict(RankChoices()(Ranker(), seen()))
    for context in ("no_image", "blank_image"):
        assert dict(RankChoices(guidance=Guidance(1.0, context))(Ranker(), seen())) == plain
    blind = dict(RankChoices(guidance=Guidance(0.0))(Ranker(), seen()))
    assert {output.choice_logprobs for output in blind.values()} == {(-2.0, -1.0)}


def test_a_grey_picture_stands_in_for_each_picture():
    model = Ranker()
    list(RankChoices(guidance=Guidance(2.0, "blank_image"))(model, seen(2, media=(PICTURE, PICTURE))))
    (context,) = [sample for sample in model.asked if PICTURE not in sample.media]
    assert len(context.media) == 2 and context.prompt == seen()[0].prompt
    assert len(Image.open(BytesIO(context.media[0].read())).getcolors()) == 1


def test_guidance_by_means_asks_nothing_more():
    model = Ranker()
    guidance = Guidance(2.0, "mean", (("ab", -1.0), ("c", -4.0)))
    outputs = dict(RankChoices(guidance=guidance)(model, seen(1)))
    assert outputs[0].choice_logprobs == (-5.0, 0.0) and len(model.asked) == 1
    with pytest.raises(KeepsightError, match="no mean log-probability of 'z'"):
        list(RankChoices(guidance=guidance)(model, seen(1, choices=("ab", "z"))))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"t": math.nan}, "t is nan"),
        ({"t": 1.0, "context": "noise"}, "context is 'noise'"),
        ({"t": 1.0, "context": "mean"}, "needs the choices' means"),
        ({"t": 1.0, "mean": (("a", 1.0),)}, "no other context takes them"),
    ],
)
def test_impossible_guidance_is_refused(wrong, message):
    with pytest.raises(KeepsightError, match=message):
        Guidance(**wrong)


def test_guidance_is_part_of_a_run_s_identity():
    settings = [RankChoices(guidance=guidance).settings for guidance in (None, Guidance(1.0), Guidance(2.0))]
    assert "guidance" not in settings[0] and settings[1] != settings[2]
