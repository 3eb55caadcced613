"""Ranking against generating: what is chosen is chosen on validation pictures alone."""

import pytest

from keepsight.data.drawn import SETS
from keepsight.data.labelled import label_text
from keepsight.diagnose import Study
from keepsight.diagnose.decoding import CONTEXTS, REDUCTIONS, STRENGTHS, decoding
from keepsight.store import Store
from keepsight.types import KeepsightError, Output, digest_of

SHAPES = SETS["shapes"]
LABELS = tuple(map(label_text, SHAPES.labels))


class Ranker:
    """Generates nonsense and knows the true label: its log-probability is the best one once a prejudice is taken off.

    `prejudice` is what the model says without a picture; the same is added to what it says with one.
    """

    name = "ranker"

    def __init__(self, prejudice=0.0, sees=True, confused=()):
        self.prejudice, self.sees, self.confused = prejudice, sees, confused
        self.digest = digest_of(["ranker", prejudice, sees, list(confused)])
        self.asked = 0
        known = [*SHAPES.train(), *SHAPES.test()]
        self._label = {picture.media.sha256: label_text(picture.label) for picture in known}

    def generate(self, samples, **settings):
        self.asked += len(samples)
        yield from ((index, Output("a thing")) for index, _ in enumerate(samples))

    def choice_logprobs(self, samples, *, reduction="sum", batch_size=None):
        self.asked += len(samples)
        for index, sample in enumerate(samples):
            truth = self._label.get(sample.media[0].sha256) if sample.media and self.sees else None
            yield index, tuple(self._logprob(choice, truth) for choice in sample.choices)

    def _logprob(self, choice, truth):
        bias = -self.prejudice * LABELS.index(choice)
        return -10.0 + bias + (1.0 if choice == truth else 0.0)


def study(tmp_path, model, **changes):
    fields = {"n": 40, "n_validation": 20, "n_train": 0, **changes}
    return Study(model, SHAPES, Store(tmp_path), **fields)


def test_a_model_that_knows_but_cannot_say_is_convicted(tmp_path):
    found = decoding(study(tmp_path, Ranker()))
    assert found.verdict == "yes" and found.deciding.value == 1.0 and found.deciding.n == 40
    by_name = {figure.name: figure.value for figure in found.figures}
    assert by_name["sum (top-1)"] == by_name["mean (top-5)"] == 1.0
    assert found.settings["chosen"] == "sum", "of equals the plain one"


@pytest.mark.parametrize("context", ["no_image", "blank_image"])
def test_guidance_takes_a_prejudice_off(tmp_path, context):
    found = decoding(study(tmp_path, Ranker(prejudice=0.5)))
    by_name = {figure.name: figure.value for figure in found.figures}
    plain = by_name["sum (top-1)"]
    (guided,) = [
        v for name, v in by_name.items() if name.startswith(f"sum, guided by {context}, ") and "top-1" in name
    ]
    assert plain < 0.5 and guided == 1.0 and found.verdict == "yes"
    assert found.settings["chosen"].startswith("sum, guided by ")


def test_a_blind_model_is_not_helped(tmp_path):
    found = decoding(study(tmp_path, Ranker(sees=False)))
    assert found.deciding.value < 0.5
    tried = {key for plot in found.plots[1:] for key in [line.name for line in plot.lines]}
    assert tried == {f"{context}, {part}" for context in CONTEXTS for part in ("validation", "test")}
    assert len(found.plots) == 1 + len(REDUCTIONS) and len(found.plots[1].lines[0].y) == len(STRENGTHS)


def test_test_pictures_choose_nothing(tmp_path, monkeypatch):
    """With every test answer wrong, the same way is chosen: only validation decides."""
    model = Ranker(prejudice=0.5)
    first = decoding(study(tmp_path / "a", model))
    other = Ranker(prejudice=0.5)
    for picture in SHAPES.test():
        other._label[picture.media.sha256] = LABELS[
            (LABELS.index(label_text(picture.label)) + 1) % len(LABELS)
        ]
    other.digest = digest_of("other")
    second = decoding(study(tmp_path / "b", other))
    assert second.settings["chosen"] == first.settings["chosen"]
    assert second.deciding.value == 0.0 < first.deciding.value


def test_a_second_time_nothing_is_asked(tmp_path):
    model = Ranker()
    first = decoding(study(tmp_path, model))
    asked = model.asked
    # 40 generated, 60 ranked by each reduction, and both contexts for each
    assert asked == 40 + 2 * 60 + 2 * 2
    assert decoding(study(tmp_path, model)) == first and model.asked == asked


def test_what_cannot_be_asked_is_refused(tmp_path):
    with pytest.raises(KeepsightError, match="needs validation pictures"):
        decoding(study(tmp_path, Ranker(), n_validation=0))
    with pytest.raises(KeepsightError, match="world is 'half'"):
        decoding(study(tmp_path, Ranker()), world="half")
    from tests.fake_vlm import FakeVLM

    with pytest.raises(KeepsightError, match="cannot rank choices"):
        decoding(study(tmp_path, FakeVLM()))
