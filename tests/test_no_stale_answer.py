"""One changed byte in anything that can move an answer: nothing old is used. Nothing changed: nothing is asked."""

import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from keepsight.evaluate import evaluate
from keepsight.inference import Generate
from keepsight.models import load
from keepsight.store import Store
from keepsight.types import Media, Output, Sample, Task
from tests.fake_vlm import Exact, make_task
from tests.models.conftest import make_checkpoint

pytestmark = pytest.mark.torch  # the fixtures build models; what is tested loads none

NOTHING, FIRST, ALL = [], ["a"], ["a", "b"]


@dataclass
class OnDisk:
    """A model that is what its files are, and says "dog" without loading them."""

    ref: str
    options: dict[str, Any]
    name: str = "model"
    asked: list[str] = field(default_factory=list)

    @property
    def digest(self):
        return load(self.ref, **self.options).digest

    def generate(self, samples, **settings):
        for i, sample in enumerate(samples):
            self.asked.append(sample.id)
            yield i, Output("dog")


@dataclass
class World:
    """Everything that an answer depends on."""

    folder: Path
    options: dict[str, Any] = field(default_factory=dict)
    infer: Generate = field(default_factory=lambda: Generate(temperature=0.7, seed=1))
    prompt: str = "What is it?"
    choices: tuple[str, ...] = ("dog", "cat")
    target: str = "dog"
    task_version: str = "1"
    judge_version: str = "1"
    second_adapter: bool = False

    def run(self) -> tuple[list[str], list[str]]:
        """Ids that are asked and ids that are judged."""
        ref = f"hf:{self.folder / 'model'}+adapter:{self.folder / 'adapter'}"
        model = OnDisk(ref + f"+adapter:{self.folder / 'other'}" * self.second_adapter, self.options)
        judge = Exact(version=self.judge_version)
        evaluate(model, self.task(judge), Store(self.folder / "out"))
        return model.asked, judge.scored

    def task(self, judge) -> Task:
        samples = [
            Sample(
                name, self.prompt, (Media(path=self.folder / f"{name}.png"),), (self.target,), self.choices
            )
            for name in ALL
        ]
        return replace(make_task(samples, infer=self.infer, score=judge), version=self.task_version)


def one_byte(path: Path) -> None:
    """Changes one byte in place and sets the times back: size, inode and date stay."""
    state, data = path.stat(), bytearray(path.read_bytes())
    if path.suffix == ".json":
        data[data.index(b" ")] = ord("\t")  # it stays JSON
    else:
        data[-1] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def byte_of(*parts: str):
    return lambda world: one_byte(world.folder.joinpath(*parts))


def now(**changes):
    def change(world: World) -> None:
        for name, value in changes.items():
            setattr(world, name, value)

    return change


def decoding(**changes):
    return lambda world: setattr(world, "infer", replace(world.infer, **changes))


MODEL_FILES = [
    "model.safetensors",
    "config.json",
    "generation_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
]
ADAPTER_FILES = [
    "adapter_model.safetensors",
    "projector.safetensors",
    "adapter_config.json",
    "keepsight.json",
]
# what changes -> (how, who is asked again, who is judged again)
INGREDIENTS = {
    "nothing": (lambda world: None, NOTHING, NOTHING),
    "another date": (lambda world: os.utime(world.folder / "model" / "config.json"), NOTHING, NOTHING),
    "a file that no model reads": (
        lambda world: (world.folder / "model" / "README.md").write_text("x"),
        NOTHING,
        NOTHING,
    ),
    **{f"model/{name}": (byte_of("model", name), ALL, ALL) for name in MODEL_FILES},
    **{f"adapter/{name}": (byte_of("adapter", name), ALL, ALL) for name in ADAPTER_FILES},
    "one more adapter": (now(second_adapter=True), ALL, ALL),
    "dtype": (now(options={"dtype": "bfloat16"}), ALL, ALL),
    "dtype as it was": (now(options={"dtype": "float32"}), NOTHING, NOTHING),
    "image backend": (now(options={"image_backend": "torchvision"}), ALL, ALL),
    "chat template given": (now(options={"chat_template": "{{ messages }}"}), ALL, ALL),
    "remote code": (now(options={"trust_remote_code": True}), ALL, ALL),
    "batch size": (now(options={"batch_size": 3}), NOTHING, NOTHING),
    "device": (now(options={"device": "cpu"}), NOTHING, NOTHING),
    "image": (
        byte_of("a.png"),
        FIRST,
        ALL,
    ),  # the run is another one; b's answer is taken over and judged anew
    "prompt": (now(prompt="What is it!"), ALL, ALL),
    "choices": (now(choices=("dog", "cow")), ALL, ALL),
    "target": (now(target="cat"), NOTHING, ALL),
    "max_new_tokens": (decoding(max_new_tokens=31), ALL, ALL),
    "temperature": (decoding(temperature=0.70001), ALL, ALL),
    "top_p": (decoding(top_p=0.9), ALL, ALL),
    "seed": (decoding(seed=2), ALL, ALL),
    "greedy": (decoding(temperature=0.0), ALL, ALL),
    "task version": (now(task_version="2"), ALL, ALL),
    "judge version": (now(judge_version="2"), NOTHING, ALL),
}


@pytest.fixture(scope="module")
def adapters(tiny_llava, tmp_path_factory):
    root = tmp_path_factory.mktemp("adapters")
    make_checkpoint(tiny_llava, root / "adapter", "lora", seed=1)
    return shutil.copytree(root / "adapter", root / "other").parent


@pytest.fixture
def world(tiny_llava, adapters, tmp_path):
    shutil.copytree(adapters, tmp_path, dirs_exist_ok=True)
    shutil.copytree(tiny_llava, tmp_path / "model")
    for name in ALL:
        (tmp_path / f"{name}.png").write_bytes(b"\x89PNG" + name.encode())
    return World(tmp_path)


@pytest.mark.parametrize("what", INGREDIENTS)
def test_what_is_asked_again(world, what):
    change, asked, judged = INGREDIENTS[what]
    assert world.run() == (ALL, ALL)
    change(world)
    assert world.run() == (asked, judged)
    assert world.run() == (NOTHING, NOTHING)


def test_no_file_of_the_model_is_missing_from_the_table(world):
    assert {path.name for path in (world.folder / "model").iterdir()} == set(MODEL_FILES)
    assert {path.name for path in (world.folder / "adapter").iterdir()} == set(ADAPTER_FILES)


def test_the_transformers_release_counts(world, monkeypatch):
    world.run()
    monkeypatch.setattr("keepsight.models.sources.transformers_version", lambda: "99.0")
    assert world.run() == (ALL, ALL)
