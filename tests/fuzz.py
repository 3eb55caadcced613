"""Bytes that are almost right, given to everything that reads bytes from outside.

A reader keeps its promise when it returns, or raises a KeepsightError that names what it was reading; any other
exception, a reader that takes longer than `SECONDS`, or one that dies, is a finding. `tests/test_fuzz.py` runs some
seconds of this in the suite; for hours:

    python -m tests.fuzz --minutes 60            # every target, new seeds on and on; findings go to fuzz-findings/
    python -m tests.fuzz --target picture --seed 7 --cases 1000

Every case follows from its target and number, so that a finding can be run again.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from keepsight.types import KeepsightError

SECONDS = 10  # for one case; every reader needs milliseconds

# What has broken readers of one format or another.
DICTIONARY = [
    b"\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xff\xfe",
    b"NaN", b"-Infinity", b"1e999", b"null", b"{}", b"[]", b'""', b"[" * 2000, b'{"a":' * 500, b"9" * 5000,
    b'"\\ud800"', b"\\u0000", b"../", b"..\\", b"/etc/passwd", b"%2e%2e/", b"http://127.0.0.1/", b"\n", b"\r",
    b"\xe2\x80\xa8", b"true", b"-1", b"0", b"\xff\xda", b"IDAT", b"PAR1", b"image", b"label", b"<image>",
]  # fmt: skip


@dataclass(frozen=True)
class Target:
    """One reader: valid files to start from (relative name -> bytes), and what is done with the folder."""

    name: str
    seeds: Callable[[], list[dict[str, bytes]]]
    read: Callable[[Path], object]
    only: tuple[str, ...] = ()  # endings of the files that are changed; all if empty


def mutated(data: bytes, rng: Random) -> bytes:
    """`data` with one to six changes: bits, bytes, blocks removed, doubled, moved, or words from the dictionary."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(changed) + 1)
        length = min(rng.choice((1, 1, 2, 4, 8, 32, 500)), max(0, len(changed) - at))
        kind = rng.randrange(7)
        if kind == 0 and length:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and length:
            changed[at : at + length] = rng.randbytes(length)
        elif kind == 2:
            del changed[at : at + length]
        elif kind == 3:
            changed[at:at] = changed[at : at + length] * rng.choice((1, 2, 50))
        elif kind == 4:
            changed[at:at] = rng.choice(DICTIONARY)
        elif kind == 5:
            word = rng.choice(DICTIONARY)
            changed[at : at + len(word)] = word
        elif rng.random() < 0.3:
            del changed[at:]
    return bytes(changed)


def case(target: Target, number: int, folder: Path) -> str:
    """Runs one case; returns what is wrong, "" if nothing. What was read stays in `folder`."""
    rng = Random(f"{target.name}/{number}")
    seeds = target.seeds()
    files = dict(seeds[rng.randrange(len(seeds))])
    names = [name for name in files if not target.only or name.endswith(target.only)]
    chosen = rng.choice(names)
    files[chosen] = mutated(files[chosen], rng)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    began = time.monotonic()
    try:
        with warnings.catch_warnings(), at_most(SECONDS):
            warnings.simplefilter("ignore")
            target.read(folder)
    except KeepsightError as error:
        if "\n" in str(error) or len(str(error)) > 5000:
            return f"{target.name} {number}: no single short line: {str(error)[:200]!r}"
        if not names_something(str(error), folder):
            return f"{target.name} {number}: names neither file nor sample: {error}"
    except BaseException:
        if time.monotonic() - began >= SECONDS:
            return f"{target.name} {number}: took more than {SECONDS} s\n{traceback.format_exc()}"
        return f"{target.name} {number}: {traceback.format_exc()}"
    return ""


def names_something(message: str, folder: Path) -> bool:
    return str(folder) in message or "sample" in message or "in memory" in message


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    def late(signum: int, frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# ---- valid files ---------------------------------------------------------------------------------------


def once(build: Callable[[], list[dict[str, bytes]]]) -> Callable[[], list[dict[str, bytes]]]:
    """Seeds are made once per process."""
    made: list[list[dict[str, bytes]]] = []

    def seeds() -> list[dict[str, bytes]]:
        if not made:
            made.append(build())
        return made[0]

    return seeds


def encoded(mode: str, form: str, **options: object) -> bytes:
    rng = np.random.default_rng(0)
    depth = {"L": 1, "RGB": 3, "RGBA": 4, "CMYK": 4}.get(mode, 1)
    pixels = rng.integers(0, 255, (11, 13, depth), dtype=np.uint8)
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    elif mode == "P":
        image = Image.fromarray(pixels[..., 0]).convert("P")
    else:
        image = Image.fromarray(pixels if depth > 1 else pixels[..., 0], mode if depth == 4 else None)
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def picture_seeds() -> list[dict[str, bytes]]:
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    found = [
        encoded("RGB", "PNG", exif=exif),
        encoded("RGBA", "PNG"),
        encoded("I;16", "PNG"),
        encoded("P", "PNG", transparency=3),
        encoded("RGB", "JPEG", exif=exif),
        encoded("RGB", "JPEG", progressive=True),
        encoded("CMYK", "JPEG"),
        encoded("RGB", "WEBP"),
        encoded("RGBA", "WEBP", lossless=True),
        encoded("P", "GIF"),
        encoded("RGB", "BMP"),
        encoded("RGB", "TIFF", compression="tiff_lzw"),
        encoded("CMYK", "TIFF"),
        encoded("I;16", "TIFF", compression="tiff_deflate"),
        encoded("RGB", "TIFF", compression="jpeg"),
        encoded("RGB", "PPM"),
    ]
    for form in ("GIF", "WEBP", "PNG", "TIFF"):
        buffer = io.BytesIO()
        frames[0].save(buffer, form, save_all=True, append_images=frames[1:])
        found.append(buffer.getvalue())
    return [{"picture": data} for data in found]


def png() -> bytes:
    return encoded("RGB", "PNG")


def row_seeds() -> list[dict[str, bytes]]:
    pictures = {"a.png": png(), "b.png": png()}
    rows = [{"image": "a.png", "label": "cat", "split": "test"}, {"image": "b.png", "label": "döner"}]
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()
    classes = json.dumps(["cat", "döner"]).encode()
    return [
        {"set.jsonl": lines, **pictures},
        {"set.jsonl": lines, "set_classes.json": classes, **pictures},
        {"set.json": json.dumps(rows).encode(), **pictures},
    ]


def training_seeds() -> list[dict[str, bytes]]:
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cat."}]
    part = [{"type": "image"}, {"type": "text", "text": "What?"}]
    said = [{"role": "user", "content": part}, {"role": "assistant", "content": "A cat."}]
    rows = [
        {"id": "1", "image": "a.png", "conversations": turns * 2},
        {"id": 2, "images": ["a.png"], "messages": said},
        {"prompt": said[:1], "completion": said[1:], "image": "a.png"},
    ]
    rows[0]["conversations"][2:] = [{"from": "human", "value": "Sure?"}, {"from": "gpt", "value": "Yes."}]
    lines = "\n".join(json.dumps(row) for row in rows).encode()
    return [{"rows.json": json.dumps(rows).encode(), "a.png": png()}, {"rows.jsonl": lines, "a.png": png()}]


def parquet_seeds() -> list[dict[str, bytes]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    cell = {"bytes": png(), "path": None}
    said = [
        {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
    ]
    tables = {
        "set.parquet": pa.Table.from_pylist([{"image": cell, "label": i % 2} for i in range(4)])
        .replace_schema_metadata({"huggingface": json.dumps({"info": {"features": names}})}),
        "train.parquet": pa.Table.from_pylist([{"messages": said, "images": [cell]}] * 3),
    }  # fmt: skip
    found = []
    for compression in ("none", "snappy", "zstd"):
        for name, table in tables.items():
            buffer = io.BytesIO()
            pq.write_table(table, buffer, row_group_size=2, compression=compression)
            found.append({name: buffer.getvalue()})
    return found


def dataset_seeds() -> list[dict[str, bytes]]:
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as ImageColumn
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    features = Features({"image": ImageColumn(), "label": ClassLabel(names=["cat", "dog"])})
    data = {"image": [{"bytes": png(), "path": None}] * 3, "label": [0, 1, 0]}
    with tempfile.TemporaryDirectory() as folder:
        Dataset.from_dict(data, features=features).save_to_disk(folder)
        return [{f"set/{p.name}": p.read_bytes() for p in Path(folder).iterdir() if p.is_file()}]


def replay_seeds() -> list[dict[str, bytes]]:
    rows = [{"id": "a", "text": "x", "choice_logprobs": [-1.5, "-Infinity"]}, {"id": "b", "text": "ü"}]
    return [{"answers.jsonl": "\n".join(json.dumps(row) for row in rows).encode()}]


def run_seeds() -> list[dict[str, bytes]]:
    from keepsight import tasks, verbs
    from keepsight.models import Replay

    task = tasks.get("emt:shapes", n=4)
    answers = {sample.id: "The object is a(n) star." for sample in task.test()}
    with tempfile.TemporaryDirectory() as folder:
        models = [Replay(answers, name="base"), Replay({**answers, "x": "y"}, name="tuned")]
        verbs.audit(models, [task], folder, judges=["label", "taxonomy"], report=False)
        files = [path for path in Path(folder).rglob("*") if path.is_file() and path.name != ".lock"]
        return [{path.relative_to(folder).as_posix(): path.read_bytes() for path in files}]


def claim_seeds() -> list[dict[str, bytes]]:
    row = {"claim": "c", "source": "s", "published": "1 %", "measured": 1.0, "interval": [0.5, None], "n": 3}
    return [{"claims.json": json.dumps([{**row, "verdict": "holds", "unit": "points"}]).encode()}]


def checkpoint_seeds() -> list[dict[str, bytes]]:
    import torch
    from safetensors.torch import save

    tensors = save({"model.projector.weight": torch.ones(4, 4)})
    manifest = {
        "format": 1,
        "method": "lora",
        "base": "hf:x",
        "base_digest": "0" * 64,
        "trained": ["model.projector."],
    }
    adapter = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]}
    return [
        {
            "epoch-1/keepsight.json": json.dumps(manifest).encode(),
            "epoch-1/projector.safetensors": tensors,
            "epoch-1/adapter_model.safetensors": tensors,
            "epoch-1/adapter_config.json": json.dumps(adapter).encode(),
        }
    ]


def config_seeds() -> list[dict[str, bytes]]:
    config = {"model_type": "llava", "dtype": "float16", "text_config": {"torch_dtype": "bfloat16"}}
    return [{"config.json": json.dumps(config).encode(), "template.jinja": b"{{ messages }}"}]


def state_seeds() -> list[dict[str, bytes]]:
    import torch
    from safetensors.torch import save

    state = {
        "weight/w": torch.ones(2),
        "optimizer/exp_avg/w": torch.ones(2),
        "optimizer/step/w": torch.tensor(1.0),
    }
    return [
        {
            "state/step-00000003/state.json": b'{"step": 3, "identity": "me"}',
            "state/step-00000003/state.safetensors": save(state),
            "train_log.jsonl": b'{"step": 1, "loss": 2.5}\n{"step": 2, "loss": NaN}\n',
            "left_out.jsonl": b'{"sample": 0, "id": "a", "error": "broken"}\n',
            "tune.json": b"{}",
        }
    ]


# ---- readers ---------------------------------------------------------------------------------------------


def read_picture(folder: Path) -> None:
    from keepsight.data.pictures import decode
    from keepsight.types import Media

    image = decode(Media(path=folder / "picture"))
    assert image.mode == "RGB" and image.width * image.height <= 64_000_000


def read_labelled(path: Path) -> None:
    """The whole set, every picture decoded: a fault of one picture is that picture's alone."""
    from keepsight.data.pictures import decode
    from keepsight.tasks.emt import emt

    for sample in emt(path, split="all").test():
        try:
            sample.digest()
            decode(sample.media[0])
        except KeepsightError as error:
            assert str(error)


def read_training(path: Path) -> None:
    from keepsight.data.messages import read_training_rows

    told: list[str] = []
    samples = read_training_rows(path, on_bad_row=told.append)
    assert samples and all(sample.prompt is not None and sample.target[0].strip() for sample in samples)
    assert all(not media.path or media.path.is_file() for sample in samples for media in sample.media)


def read_replay(folder: Path) -> None:
    from keepsight.models.replay import Replay
    from keepsight.types import Sample

    model = Replay(folder / "answers.jsonl")
    assert model.digest and len(list(model.generate([Sample("a", "?"), Sample("b", "?")]))) == 2


def read_runs(folder: Path) -> None:
    from keepsight.console import summary_lines
    from keepsight.report import matrix_table, write_html
    from keepsight.store import Store, load_matrix

    matrix = load_matrix(folder)
    matrix_table(matrix)
    summary_lines(matrix)
    write_html(matrix, folder / "page.html")
    Store(folder).seconds_per_answer("emt:shapes")


def read_claims(folder: Path) -> None:
    from keepsight.report.claims import read_claims as claims

    claims(folder / "claims.json")


def read_checkpoint(folder: Path) -> None:
    from keepsight.models.checkpoint import read_checkpoint as checkpoint

    found = checkpoint(folder / "epoch-1")
    assert found.digest
    found.adapter_config()
    found.tensors()
    found.require_base("0" * 64, "hf:x")


def read_config(folder: Path) -> None:
    from keepsight.models import load

    assert load(str(folder), chat_template=str(folder / "template.jinja")).digest


def read_state(folder: Path) -> None:
    import torch

    from keepsight.tune.left_out import usable_samples
    from keepsight.tune.progress import TrainLog
    from keepsight.tune.state import StateDirectory
    from keepsight.types import Sample

    TrainLog(folder / "train_log.jsonl", 3)
    usable_samples([Sample("a", "?"), Sample("b", "?")], [], folder, None)
    parameter = torch.nn.Parameter(torch.zeros(2))
    StateDirectory(folder / "state", "me").load({"w": parameter}, torch.optim.AdamW([parameter]))


TARGETS = {
    target.name: target
    for target in (
        Target("picture", once(picture_seeds), read_picture),
        Target(
            "rows", once(row_seeds), lambda f: read_labelled(next(f.glob("set.json*"))), (".jsonl", ".json")
        ),
        Target(
            "training",
            once(training_seeds),
            lambda f: read_training(next(f.glob("rows.*"))),
            (".jsonl", ".json"),
        ),
        Target("parquet", once(parquet_seeds), lambda f: read_parquet(next(f.glob("*.parquet")))),
        Target("dataset", once(dataset_seeds), lambda f: read_labelled(f / "set")),
        Target("replay", once(replay_seeds), read_replay),
        Target("runs", once(run_seeds), read_runs),
        Target("claims", once(claim_seeds), read_claims),
        Target("checkpoint", once(checkpoint_seeds), read_checkpoint),
        Target("config", once(config_seeds), read_config),
        Target("state", once(state_seeds), read_state),
    )
}


def read_parquet(path: Path) -> None:
    (read_labelled if path.name == "set.parquet" else read_training)(path)


# ---- for hours ---------------------------------------------------------------------------------------------


def in_a_child(target: Target, numbers: range, findings: Path) -> int:
    """Runs cases in a process of their own, so that one that dies is a finding too. Returns how many were found."""
    began = time.monotonic()
    found = 0
    child = os.fork()
    if child == 0:
        count = 0
        for number in numbers:
            (findings / "running").write_text(f"{target.name} {number}")
            with tempfile.TemporaryDirectory() as folder:
                problem = case(target, number, Path(folder))
            if problem:
                count += 1
                (findings / f"{target.name}-{number}.txt").write_text(problem)
                sys.stderr.write(problem.rstrip().splitlines()[-1] + f"   ({target.name} {number})\n")
        os._exit(min(count, 100))
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        last = (findings / "running").read_text()
        (findings / f"{last.replace(' ', '-')}.txt").write_text(f"died of signal {os.WTERMSIG(status)}")
        sys.stderr.write(f"died of signal {os.WTERMSIG(status)}   ({last})\n")
        return 1
    found = os.WEXITSTATUS(status)
    print(
        f"{target.name}: {len(numbers)} cases, {found} findings, {time.monotonic() - began:.0f} s", flush=True
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz every reader; see the module's first lines.")
    parser.add_argument("--target", choices=TARGETS)
    parser.add_argument("--seed", type=int, default=0, help="number of the first case")
    parser.add_argument("--cases", type=int, default=200, help="per target and round")
    parser.add_argument("--minutes", type=float, default=0, help="go on with new cases for so long")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    given = parser.parse_args()
    given.findings.mkdir(parents=True, exist_ok=True)
    targets = [TARGETS[given.target]] if given.target else list(TARGETS.values())
    stop, first, found = time.monotonic() + 60 * given.minutes, given.seed, 0
    while True:
        for target in targets:
            target.seeds()
            found += in_a_child(target, range(first, first + given.cases), given.findings)
        first += given.cases
        if time.monotonic() >= stop:
            break
    (given.findings / "running").unlink(missing_ok=True)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
