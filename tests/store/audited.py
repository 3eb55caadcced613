"""A small audit whose every question is written down, and what its store should look like in the end."""

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from keepsight.evaluate import audit
from keepsight.store import Store
from tests.fake_vlm import Exact, FakeVLM, make_task, samples

SAMPLES = 6


@dataclass
class Diary:
    """Who was asked what, written where a kill cannot take it back."""

    path: Path
    handle: int = field(init=False)

    def __post_init__(self):
        self.handle = os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_RDWR)
        self.write = os.write  # a child that is to be killed puts its own in its place

    def __call__(self, *entry):
        self.write(self.handle, json.dumps(entry).encode() + b"\n")

    def take(self) -> Counter:
        """What was written since it was last taken."""
        entries = Counter(tuple(json.loads(line)) for line in self.path.read_text().splitlines())
        os.ftruncate(self.handle, 0)
        return entries


class AskedModel(FakeVLM):
    def __init__(self, name, diary):
        super().__init__(name=name, weights=name)
        self.diary = diary

    def generate(self, asked, **settings):
        for i, output in super().generate(asked, **settings):
            self.diary("outputs.jsonl", self.digest, asked[i].meta["task"], asked[i].id)
            yield i, output


class AskedJudge(Exact):
    def __init__(self, name, diary, version="1"):
        super().__init__(name=name, version=version)
        self.diary = diary

    def __call__(self, asked, outputs):
        for sample in asked:
            self.diary("scores.jsonl", self.name, sample.meta["task"], sample.id)
        return super().__call__(asked, outputs)


def task_of(name, diary):
    given = [
        type(sample)(sample.id, sample.prompt, sample.media, sample.target, meta={"task": name})
        for sample in samples(SAMPLES)
    ]
    return make_task(given, name, score=AskedJudge("exact", diary), judges=(AskedJudge("judge", diary),))


def run_audit(root: Path, diary: Diary):
    models = [AskedModel(name, diary) for name in ("base", "tuned")]
    return audit(
        models, [task_of(name, diary) for name in ("emt:pets", "emt:cars")], Store(root), batch_size=4
    )


def kept(root: Path) -> Counter:
    """Who answered or judged what, by the whole lines of the store: nobody must be asked for it again."""
    found: Counter = Counter()
    for path in root.glob("runs/*/*/*.jsonl"):
        task = "emt:pets" if path.parent.name.startswith("emt-pets") else "emt:cars"
        for row in map(json.loads, path.read_bytes().split(b"\n")[:-1]):
            found[path.name, row.get("scorer") or row["checkpoint_digest"], task, row["doc_id"]] += 1
    return found


def everything(root: Path) -> dict[str, object]:
    """Every file of a store, without what time it was and how long it took."""
    return {
        path.relative_to(root).as_posix(): _timeless(path)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def _timeless(path: Path) -> object:
    if path.suffix == ".jsonl":
        return [{**json.loads(line), "latency_s": 0} for line in path.read_text().splitlines()]
    if path.name == "manifest.json":
        passing = {"created": "", "updated": "", "command": "", "settings": ""}
        return {**json.loads(path.read_text()), **passing}
    return "" if path.name == ".lock" else path.read_bytes()  # a dead writer's number locks nobody out
