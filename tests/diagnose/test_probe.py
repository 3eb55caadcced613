"""The probe finds what is in the states, loses what is not, asks nothing twice and chooses nothing by test pictures."""

from dataclasses import replace
from functools import partial

import pytest

from keepsight.data.labelled import LabelledImage
from keepsight.diagnose import QUESTIONS, Study
from keepsight.diagnose.effects import difference_of, guilty
from keepsight.diagnose.probe import probe
from keepsight.diagnose.seen import PROMPT
from keepsight.diagnose.solvers import SOLVERS, fit_adam, fit_lbfgs
from keepsight.store import Store
from keepsight.types import KeepsightError, Media, Output, Record, Run, Sample, Score
from tests.diagnose.fake_states import THINGS, FakeEncoder, FakeStates, Few

CHANCE = 1 / 6


@pytest.fixture
def study(tmp_path):
    return Study(FakeStates(), Few(), Store(tmp_path), n=60, n_validation=40, n_train=160, clip=FakeEncoder())


def shares(finding):
    return {figure.name: figure.value for figure in finding.figures}


@pytest.mark.parametrize(
    "signal, encoder, verdict",
    [
        ((0, 0, 0), 2.0, "yes"),
        ((0, 2, 2), 2.0, "no_evidence"),
        ((0, 2, 2), 0.0, "no"),
        ((0, 2, 0), 2.0, "yes"),
    ],
)
def test_lost_is_what_the_encoder_knows_and_the_last_layer_does_not(study, signal, encoder, verdict):
    found = probe(replace(study, model=FakeStates(signal), clip=FakeEncoder(encoder)))
    assert found.verdict == verdict
    assert found.deciding.name == "encoder minus probe" and found.deciding.n == 60
    figures = shares(found)
    assert (figures["probe of the last token"] > 0.9) == (signal[2] > 0)
    assert (figures["probe of the encoder"] > 0.9) == (encoder > 0)


def test_the_curves_follow_layers_and_tokens(study):
    found = probe(replace(study, model=FakeStates((0, 2, 2))))
    layers, tokens = found.plots
    last, mean, encoder = layers.lines
    assert layers.ticks == ("0", "1", "2") and len(set(encoder.y)) == 1
    for line in (last, mean):
        assert line.y[0] < 0.5 and min(line.y[1:]) > 0.9
        assert all(low <= y <= high for low, y, high in zip(line.low, line.y, line.high))
    assert tokens.ticks == ("0", "1", "-3", "-2", "-1", "mean")
    assert max(tokens.lines[0].y[:2]) < 0.5 < 0.9 < min(tokens.lines[0].y[2:])


def test_asked_layers_and_positions_are_those_shown(study):
    found = probe(study, layers=[1], positions=[4, -4])
    assert found.plots[0].ticks == ("1",) and found.plots[1].ticks == ("4", "-4", "mean")
    assert found.settings["layers"] == [1] and found.settings["prompt"] == PROMPT


def test_a_second_probe_asks_the_model_nothing(study):
    first = probe(study)
    assert len(study.model.asked) == 60 + 200, "one pass for all places of a picture"
    again = replace(study, model=FakeStates())
    assert probe(again).figures == first.figures
    assert again.model.asked == []
    assert probe(again, layers=[0]).figures == first.figures and again.model.asked == []


class Changed(Few):
    """The set with a byte more behind its first test picture."""

    def test(self, n=None, seed=0):
        first, *others = THINGS.test(n, seed)
        return [replace_picture(first, Media(data=first.media.read() + b"\0")), *others]


class Turned(Few):
    """The set with the next label on every test picture."""

    def test(self, n=None, seed=0):
        labels = THINGS.labels
        return [
            LabelledImage(p.id, p.media, labels[(labels.index(p.label) + 1) % 6])
            for p in THINGS.test(n, seed)
        ]


class Broken(Few):
    """The set with a first test picture that is none."""

    def test(self, n=None, seed=0):
        first, *others = THINGS.test(n, seed)
        return [replace_picture(first, Media(data=b"no picture")), *others]


def replace_picture(picture, media):
    return LabelledImage(picture.id, media, picture.label)


def test_a_changed_byte_asks_again(study, monkeypatch):
    probe(study)
    changed = replace(study, pictures=Changed(), model=FakeStates(), clip=FakeEncoder())
    new = changed.test()[0]
    changed.model.labels[new.media.sha256] = changed.clip.labels[new.media.sha256] = new.label
    probe(changed)
    assert [sha for sha, _ in changed.model.asked] == [new.media.sha256], "of a picture: that picture"
    other = replace(study, model=FakeStates(weights="w1"))
    probe(other)
    assert len(other.model.asked) == 260, "of the weights: all"
    monkeypatch.setattr("keepsight.diagnose.seen.PROMPT", "What is it?")
    same = replace(study, model=FakeStates())
    probe(same)
    assert len(same.model.asked) == 260, "of the prompt: all"


def test_test_pictures_choose_nothing(study, monkeypatch):
    """Other test labels give another accuracy, never another choice."""
    learnt = []

    def fit(x, y, valid, valid_y, *, seed):
        learnt.append((list(y), list(valid_y)))
        return fit_lbfgs(x, y, valid, valid_y)

    monkeypatch.setitem(SOLVERS, "lbfgs", fit)
    study = replace(study, model=FakeStates(mean=0.0))
    found = probe(study, layers=[2], positions=[])
    wrong = probe(replace(study, pictures=Turned()), layers=[2], positions=[])
    assert shares(wrong)["probe of the last token"] < 0.1 < 0.9 < shares(found)["probe of the last token"]
    for each in (found, wrong):
        assert each.notes[0].startswith("the last token decides"), "though its test accuracy is below chance"
    labels = [[picture.label for picture in part] for part in (study.train(), study.validation())]
    assert all(list(each) == labels for each in learnt)


def test_broken_pictures_are_counted(study):
    found = probe(replace(study, pictures=Broken()))
    for figure in found.figures:
        assert (figure.n, figure.total) == (59, 60) and sum(figure.not_ok.values()) == 1
    assert any("1 test pictures cannot be read" in note for note in found.notes)


def test_answers_are_set_beside_the_probe(study):
    pictures = study.test()
    records = [
        Record(
            Sample(f"elsewhere/{at}", "Which?", (picture.media,), (picture.label,)),
            Output("fish"),
            {"label": Score(float(at % 2)) if at < 40 else Score(float("nan"), status="refused")},
        )
        for at, picture in enumerate(pictures[:50])
    ]
    said = probe(study, answered=Run({"scorer": "label"}, tuple(records), ())).figures[-1]
    assert said.name == "probe minus answers" and (said.n, said.total) == (40, 60)
    assert said.value == pytest.approx(0.5, abs=0.1) and said.low > 0.3


@pytest.mark.parametrize(
    "changes, settings, fault",
    [
        ({}, {"solver": "sgd"}, "solver 'sgd' is unknown; give lbfgs or adam"),
        ({"n_validation": 0}, {}, "raise n_train, n_validation or n"),
        (
            {"model": object.__new__(type("Answers", (), {"name": "api:x"}))},
            {},
            "api:x shows nothing but its answers",
        ),
    ],
)
def test_what_cannot_be_probed_is_refused(study, changes, settings, fault):
    with pytest.raises(KeepsightError, match=fault):
        probe(replace(study, **changes), **settings)


@pytest.mark.torch
def test_the_recipe_of_the_paper_is_a_choice(study, monkeypatch):
    monkeypatch.setitem(SOLVERS, "adam", partial(fit_adam, epochs=5, learning_rate=0.1))
    found = probe(study, solver="adam", layers=[2], positions=[])
    assert "epoch" in found.settings["chosen"]["probe of the encoder"]
    assert any("published code takes the best on the test" in note for note in found.notes)
    assert shares(found)["probe of the last token"] > 0.8


def test_a_gain_is_no_loss():
    for low, high, verdict in [
        (0.01, 0.02, "yes"),
        (-0.2, -0.1, "no"),
        (-0.2, 0.04, "no"),
        (-0.2, 0.06, "no_evidence"),
        (float("nan"), float("nan"), "no_evidence"),
    ]:
        assert guilty(low, high) == verdict
    nothing = difference_of("x", [], [], [], 3)
    assert nothing.n == 0 and nothing.total == 3 and guilty(nothing.low, nothing.high) == "no_evidence"


def test_it_is_a_question():
    assert QUESTIONS["probe"] is probe
