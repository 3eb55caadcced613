"""Routed experts: each stage's samples go home, and the directory that answers is whole, portable and guarded."""

import json
import shutil
from dataclasses import replace

import pytest

from keepsight.data.drawn import SETS
from keepsight.data.llava import instruction_samples
from keepsight.models import load
from keepsight.models.routing import Router, cluster, routing_features
from keepsight.tune.methods import Stage
from keepsight.tune.methods.routed import Routed
from keepsight.tune.sequence import run_sequence
from keepsight.tune.starting import read_method_state
from keepsight.types import VLM, Described, KeepsightError, Media, RanksChoices, Sample
from tests.tune.sequences import QUICK, run_stages

pytestmark = pytest.mark.torch


QUESTIONS = {
    "shapes": "What is the object in the image?",
    "letters": "Which letter is it? Answer with the letter.",
}


def rows(name, n):
    return [replace(row, prompt=QUESTIONS[name]) for row in instruction_samples(SETS[name], n=n)]


@pytest.fixture(scope="module")
def tuned(base, tmp_path_factory):
    """Checkpoints of two stages and the ref of the newest one's experts."""
    out = tmp_path_factory.mktemp("routed")
    data = {"shapes": rows("shapes", 9), "a/b letters": rows("letters", 9)}
    checkpoints = run_stages(load(str(base), device="cpu"), Routed(), data, QUICK, out)
    refs = [Routed().checkpoint_ref(checkpoints[:n], str(base)) for n in (1, 2)]
    return checkpoints, refs


@pytest.fixture
def routed(tuned):
    return load(tuned[1][-1], device="cpu")


@pytest.fixture(scope="module")
def fresh():
    """Samples of both stages that nobody has learnt, in turns."""
    pairs = zip(rows("shapes", 30)[20:], rows("letters", 30)[20:])
    return [replace(s, choices=("circle", "A b")) for pair in pairs for s in pair]


def test_samples_go_home(tuned, routed, fresh):
    assert routed.route(fresh) == [0, 1] * (len(fresh) // 2) and routed.route([]) == []
    assert routed.experts.stages == ("shapes", "a/b letters")
    state = read_method_state(tuned[0][-1].parent)
    assert float(state["routing_accuracy"]) == 1.0
    assert load(tuned[1][0], device="cpu").route(fresh) == [0] * len(fresh)


def test_it_answers_as_the_experts_do(base, tuned, routed, fresh):
    asked = fresh[:5]
    outputs = list(routed.generate(asked, max_new_tokens=5, batch_size=2))
    assert sorted(at for at, _ in outputs) == list(range(5))
    ranked = dict(routed.choice_logprobs(asked))
    for expert, checkpoint in enumerate(tuned[0]):
        alone = load(f"{base}+adapter:{checkpoint}", device="cpu")
        own = dict(alone.generate(asked, max_new_tokens=5))
        logprobs = dict(alone.choice_logprobs(asked))
        for at, output in outputs:
            if at % 2 == expert:
                assert (output.text, output.usage["expert"]) == (own[at].text, expert + 1)
                assert ranked[at] == pytest.approx(logprobs[at], abs=1e-4)
    assert {load(f"{base}+adapter:{c}", device="cpu").digest for c in tuned[0]} & {routed.digest} == set()


def test_what_cannot_be_seen_is_an_error_of_its_own(routed, fresh):
    broken = replace(fresh[1], id="broken", media=(Media(data=b"no picture"),))
    text = Sample("text", "What is the number?")
    outputs = dict(routed.generate([fresh[0], broken, text], max_new_tokens=2))
    assert outputs[0].error is None and outputs[2].error is None and "picture" in outputs[1].error


def test_it_is_a_model_like_any_other(routed, fresh):
    assert isinstance(routed, VLM) and isinstance(routed, RanksChoices) and isinstance(routed, Described)
    routed.require_usable()
    list(routed.generate(fresh[:1], max_new_tokens=1))
    assert routed.about()["experts"] == "shapes, a/b letters" and routed.about()["dtype"] == "float32"


def test_a_directory_is_whole_wherever_it_is(tuned, routed, fresh, tmp_path):
    shutil.copytree(tuned[1][-1].removeprefix("routed:"), tmp_path / "moved")
    moved = load(f"routed:{tmp_path / 'moved'}", device="cpu")
    assert moved.digest == routed.digest and moved.route(fresh) == routed.route(fresh)
    suffixes = {file.suffix for file in (tmp_path / "moved").rglob("*") if file.is_file()}
    assert suffixes == {".json", ".safetensors"}
    with pytest.raises(KeepsightError, match=f"write routed:{tmp_path / 'moved'}"):
        load(str(tmp_path / "moved"))


def test_asking_for_it_again_writes_nothing(base, tuned):
    directory = tuned[0][-1].parent / "routed"
    before = (directory / "routed.json").stat().st_ino
    shutil.rmtree(directory.parent / ".routed.partial", ignore_errors=True)
    assert Routed().checkpoint_ref(tuned[0], str(base)) == tuned[1][-1]
    assert (directory / "routed.json").stat().st_ino == before


def test_a_sequence_keeps_the_experts_it_needs(base, tmp_path):
    stages = [Stage(name, rows(name, 2)) for name in QUESTIONS]
    model = load(str(base), device="cpu")
    for again in (False, True):  # a finished sequence names the same
        done = run_sequence(model, stages, QUICK, tmp_path, method=Routed(), keep="last")
        assert [stage.ref for stage in done] == [f"routed:{stage.directory / 'routed'}" for stage in done], (
            again
        )
    assert load(done[1].ref, device="cpu").route(rows("letters", 3)) == [1, 1, 1]
    shutil.rmtree(done[0].directory)
    load(done[1].ref, device="cpu").require_usable()  # its experts are its own


def index(**changes):
    expert = {"stage": "a", "directory": "experts/01"}
    return {
        "format": 1,
        "base": "tiny",
        "experts": [expert, {**expert, "directory": "experts/02"}],
        **changes,
    }


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ([], "not an index"),
        (index(format=2), "not an index"),
        (index(base=5), "no model with weights"),
        (index(base="api:gpt@http://x/v1"), "no model with weights"),
        (index(base="routed:."), "no model with weights"),
        (index(experts=[]), "no list"),
        (index(experts=["experts/01"]), "no list"),
        (index(experts=[{"stage": "a"}]), "no list"),
        (index(experts=[{"stage": "a", "directory": "../.."}]), "leaves"),
        (index(experts=[{"stage": "a", "directory": "/etc"}]), "leaves"),
        (index(experts=[{"stage": "a", "directory": "link"}]), "leaves"),
        (index(experts=[{"stage": "a", "directory": "nowhere"}]), "no file"),
        (index(experts=[{"stage": "a", "directory": "a\0b"}]), "NUL"),
        (index(experts=index()["experts"][:1]), "not those of 1 experts"),
        (index(base="tiny"), "was trained on"),
    ],
    ids=str,
)
def test_a_tampered_index_is_refused(tuned, tmp_path, changed, word):
    directory = tmp_path / "routed"
    shutil.copytree(tuned[1][-1].removeprefix("routed:"), directory)
    (directory / "link").symlink_to(tuned[0][0])
    (directory / "routed.json").write_text(json.dumps(changed))
    with pytest.raises(KeepsightError, match=word) as refused:
        load(f"routed:{directory}", device="cpu").require_usable()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "change", "word"),
    [
        ("centres", lambda t: t[:, :3], "not those of 2 experts"),
        ("owners", lambda t: t + 1, "not those of 2 experts"),
        ("owners", lambda t: t.float(), "not those of 2 experts"),
        ("unit", lambda t: t * 0, "not all numbers"),
        ("centres", lambda t: t * float("nan"), "not all numbers"),
        ("extra", lambda t: t, "does not hold"),
    ],
)
def test_tampered_prototypes_are_refused(tuned, tmp_path, name, change, word):
    from safetensors.torch import load_file, save_file

    directory = tmp_path / "routed"
    shutil.copytree(tuned[1][-1].removeprefix("routed:"), directory)
    path = directory / "prototypes.safetensors"
    tensors = load_file(path)
    before = load(f"routed:{directory}").digest
    save_file({**tensors, name: change(tensors.get(name, tensors["unit"])).clone()}, path)
    assert load(f"routed:{directory}").digest != before
    with pytest.raises(KeepsightError, match=word):
        load(f"routed:{directory}").route(rows("shapes", 1))


def test_missing_parts_are_named(tuned, tmp_path):
    with pytest.raises(KeepsightError, match=r"holds no routed\.json"):
        load(f"routed:{tmp_path}")
    with pytest.raises(KeepsightError, match="take no further adapter"):
        load(f"{tuned[1][-1]}+adapter:{tuned[0][0]}")
    directory = tmp_path / "routed"
    shutil.copytree(tuned[1][-1].removeprefix("routed:"), directory)
    (directory / "prototypes.safetensors").unlink()
    with pytest.raises(KeepsightError, match="not complete"):
        load(f"routed:{directory}")


def test_a_whole_model_is_no_expert(base, tmp_path):
    model = load(str(base), device="cpu")
    with pytest.raises(
        KeepsightError, match=r"routed keeps an expert per stage beside one base, and .* is tuned; tune"
    ):
        run_stages(model, Routed(), {"one": rows("shapes", 2)}, replace(QUICK, method="full"), tmp_path)


def plain_picture(colour, tone):
    from io import BytesIO

    from PIL import Image

    data = BytesIO()
    Image.new("RGB", (32, 32), tuple(tone if c == colour else 20 for c in "rgb")).save(data, "PNG")
    return Media(data=data.getvalue())


def test_one_question_is_told_apart_by_its_pictures(base):
    model = load(str(base), device="cpu")
    asked = {
        c: [Sample(f"{c}{t}", "What is it?", (plain_picture(c, t),)) for t in range(150, 250, 9)]
        for c in "rb"
    }
    seen = {colour: routing_features(model, samples) for colour, samples in asked.items()}
    width = seen["r"][1]
    router = Router.of([cluster(features[::2], 2, 0, width) for features, _ in seen.values()], width)
    assert [set(router.nearest(features[1::2]).tolist()) for features, _ in seen.values()] == [{0}, {1}]
    (bare,), _ = routing_features(model, [replace(asked["r"][0], media=())])
    first = seen["r"][0][0]
    assert not bare[:width].any() and (bare[width:] == first[width:]).all()
    two = replace(asked["r"][0], prompt="", media=asked["r"][0].media + asked["b"][0].media)
    (mean,), _ = routing_features(model, [two])
    assert mean[:width] == pytest.approx((first + seen["b"][0][0])[:width] / 2) and not mean[width:].any()


def points(n, at, seed):
    import numpy as np

    return np.random.default_rng(seed).normal(at, 1.0, size=(n, 6))


def test_clusters_are_found_and_the_same_every_time():
    import numpy as np

    both = np.concatenate([points(40, 0, 1), points(20, 30, 2)])
    found = cluster(both, 2, seed=0, width=3)
    assert sorted(found.counts) == [20, 40]
    assert sorted(found.centres.mean(axis=1)) == pytest.approx([0, 30], abs=0.3)
    assert found.within == pytest.approx(np.ones(6), abs=0.5)
    again = cluster(both, 2, seed=0, width=3)
    assert (again.centres == found.centres).all()
    few = cluster(np.repeat(both[:2], 5, axis=0), 4, seed=0, width=3)
    assert sorted(few.counts) == [5, 5] and few.within.max() < 1e-20


def test_routing_counts_in_units_of_the_spread():
    """Blowing up one number, or adding one that never differs, sends nobody elsewhere."""
    import numpy as np

    experts = [points(30, 0, 1), points(30, 2, 2)]
    asked = np.concatenate([points(50, 0, 3), points(50, 2, 4)])

    def homes(change):
        made = [cluster(change(seen), 2, seed=0, width=3) for seen in experts]
        return Router.of(made, 3).nearest(change(asked)).tolist()

    plain = homes(lambda rows: rows)
    assert np.mean(plain[:50]) < 0.1 and np.mean(plain[50:]) > 0.9
    assert homes(lambda rows: rows * [1, 1000, 1, 1, 1e-3, 1]) == plain
    assert homes(lambda rows: np.concatenate([rows[:, :3], rows[:, 3:], rows[:, 3:]], axis=1)) == plain
