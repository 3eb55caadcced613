"""What fixes it? The sweep runs on the embedded model, resumes without work, and its figures are paired."""

import pytest

from keepsight.data.drawn import ALL_SETS
from keepsight.data.labelled import LabelledImage, LabelledSet, Rows
from keepsight.diagnose.mixing import mixing
from keepsight.diagnose.study import Study
from keepsight.store import Store, load_runs
from keepsight.tasks.emt import emt
from keepsight.tune.config import SFTConfig
from keepsight.types import KeepsightError, Media
from tests.fake_vlm import FakeVLM

pytestmark = pytest.mark.torch

CONFIG = SFTConfig("lora", learning_rate=2e-2, num_train_epochs=1, per_device_train_batch_size=4, lora_r=4)
SETTINGS = {"shares": (1.0, 0.0, 0.5), "config": CONFIG, "caption_prompt": "Describe the image."}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    from keepsight.models import load

    study = Study(
        load("tiny"),
        ALL_SETS["things"],
        Store(tmp_path_factory.mktemp("mixing")),
        n=8,
        n_validation=4,
        n_train=16,
    )
    others = [emt("shapes", n=6), emt("colours", n=6)]
    return study, others, mixing(study, others=others, **SETTINGS)


def test_every_share_has_both_sides_of_the_bargain(swept):
    _, _, finding = swept
    names = [figure.name for figure in finding.figures]
    for share in ("0", "0.5", "1"):
        assert f"gain at share {share}" in names and f"forgetting at share {share}" in names
    assert finding.deciding.name.startswith("gain") and finding.deciding.n == 8
    assert next(f for f in finding.figures if f.name == "forgetting at share 1").n == 12
    assert all(f.low <= f.value <= f.high for f in finding.figures)
    assert finding.settings["shares"] == [0.0, 0.5, 1.0] and finding.settings["total"] == 16
    tradeoff, by_share = finding.plots
    assert by_share.ticks == ("0%", "50%", "100%") and len(by_share.lines) == 2
    assert [line.name for line in tradeoff.lines][:3] == ["share 0%", "share 50%", "share 100%"]


def test_gain_is_tuned_minus_base_and_forgetting_the_other_way(swept):
    """Read off the runs themselves: the run that gained most on the weak set is a point of the curve."""
    study, _, finding = swept
    runs = load_runs([study.store.root])
    right = {(run.manifest["task"], run.manifest["checkpoint"]): run.headline.value for run in runs}
    base = right["emt:things", "tiny"]
    gains = {value - base for (task, name), value in right.items() if task == "emt:things" and name != "tiny"}
    told = [figure.value for figure in finding.figures if figure.name.startswith("gain")]
    assert all(any(gain == pytest.approx(value) for gain in gains) for value in told)
    lost = {
        sum(right[other, "tiny"] - right[other, name] for other in ("emt:shapes", "emt:colours")) / 2
        for task, name in right
        if task == "emt:shapes" and name != "tiny"
    }
    told = [figure.value for figure in finding.figures if figure.name.startswith("forgetting")]
    assert all(any(value == pytest.approx(loss) for loss in lost) for value in told)
    assert max(told) > 0, "nothing was forgotten, so the sign was not tested"


def test_running_again_trains_and_asks_nothing(swept, monkeypatch):
    from keepsight.models import HFModel

    study, others, finding = swept
    for name in ("generate", "training_batch"):
        monkeypatch.setattr(HFModel, name, lambda *a, **k: pytest.fail("it worked again"))
    assert mixing(study, others=others, **SETTINGS) == finding


def test_captions_are_another_way_to_teach_the_label(swept):
    names = [figure.name for figure in swept[2].figures]
    assert "labels minus captions at share 0.5, asked for the label" in names
    assert "labels minus captions at share 0.5, each asked its own way" in names
    assert (
        swept[2].figures[-1].name == "captions that name the label at share 0.5"
        and swept[2].figures[-1].n == 8
    )


def test_what_cannot_be_swept_is_refused_before_anything_is_trained(tmp_path, swept):
    study = swept[0]
    with pytest.raises(KeepsightError, match="cannot be tuned"):
        mixing(Study(FakeVLM(), study.pictures, study.store))
    for shares in ((), (0.5, 1.2)):
        with pytest.raises(KeepsightError, match="between 0 and 1"):
            mixing(study, shares=shares)
    rows = Rows(tuple("abcd"), ("x", "y") * 2, lambda chosen: [Media(data=bytes([i])) for i in chosen])
    own = Study(
        study.model,
        LabelledSet("own", ("x", "y"), {"train": rows, "test": rows}),
        study.store,
        n=2,
        n_validation=1,
    )
    with pytest.raises(KeepsightError, match="give the instruction data"):
        mixing(own)
    assert isinstance(own.train()[0], LabelledImage)
