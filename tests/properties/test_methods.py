"""What holds for every continual method that is registered, on a random model and two stages of a few steps."""

import json
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from keepsight.data.drawn import SETS
from keepsight.data.llava import instruction_samples
from keepsight.errors import UsageError
from keepsight.tune.config import SFTConfig, help_of
from keepsight.tune.methods import METHODS, Stage
from keepsight.tune.sequence import run_sequence
from tests.tiny_llava import make_tiny_llava

pytestmark = pytest.mark.torch

CONFIG = SFTConfig(
    method="lora", num_train_epochs=1, per_device_train_batch_size=3, learning_rate=5e-2,
    lr_scheduler_type="constant", save_steps=1, lora_r=2, lora_dropout=0.1,
)  # fmt: skip
STEPS = 4  # two in each stage
# So that a few steps show what is done. Of the others the defaults are.
EAGER = {"agem": {"share": 1.0, "batch_size": 2}}
# What leaves plain sequential tuning of a method.
OFF = {
    "agem": {"share": 0},
    "ewc": {"strength": 0},
    "l2sp": {"strength": 0},
    "low_alpha": {"divisor": 1},
    "lwf": {"strength": 0},
    "replay": {"share": 0},
    "wise_ft": {"weight": 1},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Every stage trains a copy of the module in memory: what loading costs would be most of a stage."""
    import torch

    from keepsight.models import load

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    base = load(str(make_tiny_llava(tmp_path_factory.mktemp("base"), hidden=16)), device="cpu")
    own = base.unshared()
    assert own.module is not None and own.processor is not None
    base.unshared = lambda: deepcopy(own)
    yield base
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def stages():
    """The second has other answers to the questions of the first: what is learnt of one is lost of the other."""
    samples = instruction_samples(SETS["shapes"], n=5)
    numbers = [replace(sample, target=("The number is 9.",), id=f"other/{sample.id}") for sample in samples]
    return [Stage("shapes", samples), Stage("numbers", numbers)]


@pytest.fixture(scope="module")
def whole(model, stages, tmp_path_factory):
    """method -> the files of a sequence that nobody disturbed; each is learnt once."""
    done = {}

    def files(name):
        if name not in done:
            root = tmp_path_factory.mktemp(name)
            run_sequence(model, stages, CONFIG, root, method=METHODS[name](**EAGER.get(name, {})))
            done[name] = everything(root)
        return done[name]

    return files


def everything(root: Path) -> dict[str, object]:
    """Every file by its path, without how long anything took."""
    return {
        path.relative_to(root).as_posix(): timeless(path)
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def timeless(path: Path) -> object:
    if path.name != "train_log.jsonl":
        return path.read_bytes()
    rows = map(json.loads, path.read_text().splitlines())
    return [{name: row[name] for name in ("step", "epoch", "loss", "grad_norm")} for row in rows]


def weights(files):
    """Of the checkpoints alone: a method's own state and name set aside."""
    return {path: data for path, data in files.items() if path.endswith(".safetensors") and "/epoch-" in path}


@pytest.mark.parametrize("name", METHODS)
def test_stopped_and_gone_on_with_it_ends_with_the_bits_of_a_run_that_was_not(
    name, model, stages, whole, tmp_path
):
    """The last step is taken, and lost: another process finds a finished stage, and the state within the next one."""
    steps = []

    def stop(now):
        steps.append(now.step)
        if len(steps) == STEPS:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sequence(
            model, stages, CONFIG, tmp_path, method=METHODS[name](**EAGER.get(name, {})), progress=stop
        )
    assert len(list(tmp_path.glob("stages/*/state/step-*"))) == 1
    run_sequence(
        model,
        stages,
        CONFIG,
        tmp_path,
        method=METHODS[name](**EAGER.get(name, {})),
        progress=lambda now: steps.append(now.step),
    )
    assert everything(tmp_path) == whole(name)
    assert steps[STEPS:] == steps[STEPS - 1 : STEPS], "one step was taken twice"


@pytest.mark.parametrize("name", ["agem", "ewc", "l2sp", "lwf"])
def test_it_trains_a_whole_model_too(name, model, stages, tmp_path):
    losses = []
    config = replace(CONFIG, method="full", learning_rate=1e-3, save_steps=0, per_device_train_batch_size=6)
    run_sequence(
        model, stages, config, tmp_path, method=METHODS[name](), progress=lambda now: losses.append(now.loss)
    )
    assert len(losses) == 2 and all(0 < loss < 20 for loss in losses)


@pytest.mark.parametrize("name", OFF)
def test_switched_off_it_is_sequential_tuning_to_the_bit(name, model, stages, whole, tmp_path):
    run_sequence(model, stages, CONFIG, tmp_path, method=METHODS[name](**OFF[name]))
    plain = weights(whole("sequential"))
    assert weights(everything(tmp_path)) == plain and len(plain) >= 4


@pytest.mark.parametrize("name", METHODS)
def test_it_is_registered_as_it_is_called_and_every_setting_is_explained(name):
    method = METHODS[name]()
    assert method.name == name and (type(method).__doc__ or "").strip()
    assert json.loads(json.dumps(method.settings)) == method.settings
    if is_dataclass(method):
        assert set(method.settings) == set(help_of(type(method))) == {field.name for field in fields(method)}
        assert all(help_of(type(method)).values())


@pytest.mark.parametrize("name", METHODS)
def test_what_it_arranges_follows_from_the_stages_alone(name, stages):
    before = [(stage.name, list(stage.samples)) for stage in stages]
    first, second = (METHODS[name]().arrange(stages) for _ in range(2))
    assert first == second and [(stage.name, list(stage.samples)) for stage in stages] == before
    known = {sample.id for stage in stages for sample in stage.samples}
    assert {sample.id for stage in first for sample in (*stage.samples, *stage.memory)} <= known
    assert not first[0].memory


NO_NUMBERS = ["no", True, -1, float("nan"), float("inf"), ["no"], {}, None]
WRONG = {
    float: [*NO_NUMBERS, 10**400],
    int: [*NO_NUMBERS, 1.5],
    str: ["no", "", True, 3, ["answer"], {}, None],
}
SETTINGS = [(name, setting) for name in METHODS for setting in METHODS[name]().settings]


@pytest.mark.parametrize(("name", "setting"), SETTINGS)
def test_a_setting_that_makes_no_sense_is_refused_with_one_line(name, setting):
    kinds = get_type_hints(METHODS[name])[setting]
    (kind,) = set(get_args(kinds) or (kinds,)) - {type(None)}
    default = METHODS[name]().settings[setting]
    for value in [value for value in WRONG[kind] if value is not default]:
        with pytest.raises(UsageError, match=rf"^method {name}: {setting} [^\n]*$"):
            METHODS[name](**{setting: value})
