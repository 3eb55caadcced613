"""A sequence goes on from stage to stage and from kill to kill as if nothing had happened."""

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from keepsight.models import load
from keepsight.tune import sequence
from keepsight.tune.config import SFTConfig
from keepsight.tune.methods import METHODS, Method, Stage
from keepsight.tune.naming import named_method
from keepsight.tune.sequence import run_sequence, stage_directory
from keepsight.tune.sft import sft
from keepsight.types import KeepsightError

pytestmark = pytest.mark.torch

CONFIG = SFTConfig(
    method="lora",
    num_train_epochs=2,
    per_device_train_batch_size=4,
    learning_rate=1e-2,
    save_steps=1,
    lora_r=2,
)


@pytest.fixture(scope="module")
def stages(samples):
    return [Stage("a", samples[:6], "A"), Stage("b", samples[6:12], "B")]


def tensors(directory):
    return {
        f"{file.name}/{name}": value
        for file in sorted(directory.glob("*.safetensors"))
        for name, value in load_file(file).items()
    }


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@dataclass
class Counting(Method):
    """Counts its stages in a tensor, and ends the process's work at a step of the second one."""

    dies_at: int = 0
    name = "counting"

    def __post_init__(self):
        self.seen, self.steps = torch.zeros(1), 0

    @property
    def settings(self):
        return {}

    def start_stage(self, model, stage):
        self.number = stage.number

    def edit_gradients(self, model):
        self.steps += self.number == 2
        if self.dies_at and self.steps == self.dies_at:
            raise KeyboardInterrupt

    def end_stage(self, model, stage):
        self.seen = self.seen + len(stage.samples)

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state.get("seen", torch.zeros(1))


def run(base, stages, where, method=None, config=CONFIG, **settings):
    return run_sequence(
        load(str(base), device="cpu"),
        stages,
        config,
        where,
        method=method or METHODS["sequential"](),
        **settings,
    )


@pytest.fixture(scope="module")
def undisturbed(base, stages, tmp_path_factory):
    return run(base, stages, tmp_path_factory.mktemp("whole"), Counting())


@pytest.mark.parametrize("step", [1, 3])
def test_a_killed_sequence_goes_on_to_the_same_bits(base, stages, undisturbed, tmp_path, step):
    with pytest.raises(KeyboardInterrupt):
        run(base, stages, tmp_path, Counting(dies_at=step))
    again = run(base, stages, tmp_path, Counting())
    for one, other in zip(undisturbed, again, strict=True):
        assert same(tensors(one.checkpoint), tensors(other.checkpoint))
        assert same(tensors(one.directory), tensors(other.directory)), "what the method remembers"
    assert tensors(again[-1].directory)["method.safetensors/seen"].item() == 12


def test_a_finished_sequence_trains_nothing(base, stages, undisturbed, monkeypatch):
    monkeypatch.setattr("keepsight.tune.sequence.tune_stage", None)
    where = undisturbed[0].directory.parents[1]
    assert run(base, stages, where, Counting()) == undisturbed


@pytest.mark.parametrize("part", ["linear", "lora", "full"])
def test_a_stage_starts_where_the_one_before_ended(base, stages, tmp_path, part):
    config = replace(CONFIG, method=part, num_train_epochs=1, save_steps=0)
    still = {"b": {"learning_rate": 0.0}}
    first, second = run(base, stages, tmp_path, config=config, stage_settings=still)
    learnt = tensors(first.checkpoint)
    assert same(learnt, tensors(second.checkpoint))
    load(
        f"{base}+adapter:{second.checkpoint}", device="cpu"
    ).require_usable()  # of the base, not of the first stage
    alone = sft(load(str(base), device="cpu"), stages[0].samples, config, tmp_path / "alone")[-1]
    assert same(learnt, tensors(alone))


def test_a_method_may_start_every_stage_from_the_base(base, stages, tmp_path):
    class Apart(Method):
        name = "apart"
        continues = False

    config = replace(CONFIG, num_train_epochs=1)
    second = run(base, stages, tmp_path, Apart(), config)[1]
    alone = sft(load(str(base), device="cpu"), stages[1].samples, config, tmp_path / "alone")[-1]
    assert same(tensors(second.checkpoint), tensors(alone))


def test_checkpoints_that_stay(base, stages, tmp_path):
    three = [*stages, Stage("c", stages[0].samples)]
    score = {"a": 0.9, "b": 0.1, "c": 0.5}.__getitem__
    for keep, left in {
        "all": [
            "01-a/epoch-1",
            "01-a/epoch-2",
            "02-b/epoch-1",
            "02-b/epoch-2",
            "03-c/epoch-1",
            "03-c/epoch-2",
        ],
        "best": ["01-a/epoch-2", "03-c/epoch-2"],
        "last": ["03-c/epoch-2"],
    }.items():
        asked = []

        def ask(done, asked=asked):
            asked.append(done.stage.name)
            return score(done.stage.name)

        for _ in range(2):  # again: nothing is trained, and nothing is missed
            run(base, three, tmp_path / keep, keep=keep, on_stage=ask)
        found = (tmp_path / keep / "stages").glob("*/epoch-*")
        assert sorted(path.relative_to(tmp_path / keep / "stages").as_posix() for path in found) == left
        assert asked == ["a", "b", "c"] * 2


def remembered(where):
    return sorted(path.parent.name for path in where.glob("stages/*/method.safetensors"))


@pytest.mark.parametrize("method", ["ewc", "ties"])
def test_what_a_method_remembers_goes_with_the_checkpoints(base, stages, tmp_path, method):
    """Killed at any moment of the removal, the same command goes on to the same bits, and removes the rest."""
    three = [*stages, Stage("c", stages[0].samples)]
    once = replace(CONFIG, num_train_epochs=1, save_steps=0)
    whole = run(base, three, tmp_path / "all", METHODS[method](), once)
    assert remembered(tmp_path / "all") == ["01-a", "02-b", "03-c"]
    for at in range(5):
        where = tmp_path / str(at)
        with killed_at_removal(at), pytest.raises(KeyboardInterrupt):
            run(base, three, where, METHODS[method](), once, keep="last")
        last = run(base, three, where, METHODS[method](), once, keep="last")[-1]
        assert remembered(where) == ["03-c"] and len(list(where.glob("stages/*/epoch-*"))) == 1
        assert same(tensors(last.checkpoint), tensors(whole[-1].checkpoint))
        assert same(tensors(last.directory), tensors(whole[-1].directory))
    shutil.rmtree(last.directory)
    with pytest.raises(KeepsightError, match=r"stage c is not finished, and .*02-b/epoch-1.* was removed"):
        run(base, three, where, METHODS[method](), once, keep="last")


@contextmanager
def killed_at_removal(number):
    """Ends the process's work where something is removed for the `number`-th time, counted from 0."""
    done = []

    def counted(remove):
        def removing(*arguments, **options):
            if len(done) == number:
                raise KeyboardInterrupt
            done.append(remove(*arguments, **options))

        return removing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequence, "shutil", SimpleNamespace(rmtree=counted(shutil.rmtree)))
        patch.setattr(sequence, "write_method_state", counted(sequence.write_method_state))
        yield


def test_a_method_that_needs_all_stages_keeps_the_last_epoch_of_each(base, stages, tmp_path):
    for _ in range(2):
        run(base, stages, tmp_path, METHODS["routed"](), keep="last")
        assert sorted(path.parent.name + path.name for path in tmp_path.glob("stages/*/epoch-*")) == [
            "01-aepoch-2", "02-bepoch-2",
        ]  # fmt: skip
        assert remembered(tmp_path) == ["01-a", "02-b"]


def test_a_checkpoint_that_could_not_be_asked_stays(base, stages, tmp_path):
    for answered, left in ((False, ["01-a", "02-b"]), (True, ["02-b"])):
        run(base, stages, tmp_path, keep="last", on_stage=lambda done, ok=answered: 0.5 if ok else None)
        assert sorted(path.parent.name for path in (tmp_path / "stages").glob("*/epoch-2")) == left


@pytest.mark.parametrize("changed", ["data", "settings", "method", "order", "number"])
def test_another_sequence_is_refused(base, stages, undisturbed, changed):
    where = undisturbed[0].directory.parents[1]
    other = {"stages": stages, "method": Counting(), "config": CONFIG}
    other |= {
        "data": {"stages": [replace(stages[0], samples=stages[0].samples[:5]), stages[1]]},
        "settings": {"config": replace(CONFIG, learning_rate=2e-2)},
        "method": {"method": METHODS["sequential"]()},
        "order": {"stages": [replace(stages[1], name="a"), replace(stages[0], name="b")]},
        "number": {"stages": stages[:1]},
    }[changed]
    with pytest.raises(KeepsightError, match=r"learnt from other data"):
        run(base, other["stages"], where, other["method"], other["config"])


@pytest.mark.parametrize("settings", [{"lora_r": 4}, {"lora_r": "2"}, {"rank": 2}, {"method": "full"}])
def test_all_settings_are_made_before_anything_is_learnt(base, stages, tmp_path, settings):
    with pytest.raises(KeepsightError, match=r"^stage b: config: "):
        run(base, stages, tmp_path, stage_settings={"b": settings})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["olora", "ties", "routed"])
def test_stages_with_adapters_of_their_own_may_differ_in_rank(base, stages, tmp_path, method):
    ranks = {"b": {"lora_r": 4}}
    assert (
        len(
            run(
                base,
                stages,
                tmp_path,
                METHODS[method](),
                replace(CONFIG, num_train_epochs=1),
                stage_settings=ranks,
            )
        )
        == 2
    )


@pytest.mark.parametrize("changed", ["order", "a name", "a later name", "a method"])
@pytest.mark.parametrize("begun", [2, 5])
def test_a_place_where_other_stages_were_begun_is_refused(base, stages, tmp_path, changed, begun):
    """Before it is looked into: the first stage may be the same, or not be finished."""
    taken = []

    def stop(now):
        taken.append(now.step)
        if len(taken) == begun:  # of four steps in each stage
            raise KeyboardInterrupt

    def files():
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    with pytest.raises(KeyboardInterrupt):
        run(base, stages, tmp_path, progress=stop)
    before = files()
    a, b = stages
    other, method = {
        "order": ([b, a], "sequential"),
        "a name": ([replace(a, name="A2"), b], "sequential"),
        "a later name": ([a, replace(b, name="B2")], "sequential"),
        "a method": ([a, b], "multitask"),
    }[changed]
    if changed == "a later name" and begun == 2:  # nothing of it was learnt under another name
        assert len(run(base, other, tmp_path)) == 2
        return
    with pytest.raises(KeepsightError, match=r"stages/0\d-[ab] was learnt as stage \d, which is .* now"):
        run(base, other, tmp_path, METHODS[method]())
    assert files() == before
    assert len(run(base, stages, tmp_path)) == 2, "the same goes on"


def test_stages_learnt_together_have_the_settings_that_all_share(base, stages, tmp_path):
    shared = {"num_train_epochs": 1, "learning_rate": 2e-2}
    (joint,) = run(
        base, stages, tmp_path / "own", METHODS["multitask"](), stage_settings={"a": shared, "b": shared}
    )
    (alike,) = run(base, stages, tmp_path / "all", METHODS["multitask"](), replace(CONFIG, **shared))
    assert joint.checkpoint.name == "epoch-1" and joint.identity == alike.identity
    assert same(tensors(joint.checkpoint), tensors(alike.checkpoint))


def test_stages_learnt_together_cannot_differ(base, stages, tmp_path):
    with pytest.raises(
        KeepsightError, match=r"stage b: config: learning_rate is 0.1, and 0.01 in the first"
    ) as told:
        run(base, stages, tmp_path, METHODS["multitask"](), stage_settings={"b": {"learning_rate": 0.1}})
    assert "method multitask learns the stages together" in str(told.value)
    named_all = [stages[0], replace(stages[1], name="all")]  # as the joint stage is called
    with pytest.raises(KeepsightError, match="stage all: config: learning_rate"):
        run(base, named_all, tmp_path, METHODS["multitask"](), stage_settings={"all": {"learning_rate": 0.1}})
    assert not list(tmp_path.iterdir())


def test_stages_need_names_of_their_own(base, stages, tmp_path):
    with pytest.raises(KeepsightError, match="two stages are named 'a'"):
        run(base, [stages[0], stages[0]], tmp_path)
    with pytest.raises(KeepsightError, match="at least one stage"):
        run(base, [], tmp_path)
    with pytest.raises(KeepsightError, match="keep 'some' is none of all, last, best"):
        run(base, stages, tmp_path, keep="some")


@pytest.mark.parametrize("name", ["../../etc", "a/b", "ä ö", "", "x" * 300, ".", "con:aux"])
def test_no_name_leaves_the_directory(tmp_path, name):
    where = stage_directory(tmp_path, Stage(name, []))
    assert where.parent == tmp_path / "stages" and len(where.name) < 70
    where.mkdir(parents=True)


@pytest.mark.parametrize(
    ("name", "part", "method"),
    [
        ("lora", "lora", "sequential"),
        ("full", "full", "sequential"),
        ("sequential", "lora", "sequential"),
        ("linear+sequential", "linear", "sequential"),
        ("linear + sequential", "linear", "sequential"),
    ],
)
def test_method_names(name, part, method):
    found = named_method(name)
    assert (found[0], found[1].name) == (part, method)


@pytest.mark.parametrize(
    "name", ["", "+", "lora+", "sequential+lora", "lora+lora", "lora+sequential+sequential", "ewk"]
)
def test_method_names_that_say_nothing(name):
    with pytest.raises(KeepsightError, match=r"is not understood: write PART, METHOD or PART\+METHOD"):
        named_method(name)


def test_a_setting_that_the_method_does_not_have():
    with pytest.raises(KeepsightError, match="method sequential has no setting 'strength'"):
        named_method("lora", {"strength": 1})
