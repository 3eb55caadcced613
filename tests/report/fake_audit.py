"""Audits made up for the report's tests: runs with small pictures and answers, no model and no scorer.

`demo_audit` imitates what tuning a small model on digits does to seven picture sets: linear tuning blurs the
others, LoRA answers digits to everything. `small_audit` builds a matrix from the answers it is given.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Mapping, Sequence
from random import Random

from PIL import Image, ImageDraw, ImageFont

from keepsight.types import Media, MetricValue, Output, Record, ResultMatrix, Run, Sample, Score

SETS = {
    "digits": tuple("0123456789"),
    "shapes": ("circle", "square", "triangle", "star", "heart", "cross", "hexagon", "moon"),
    "letters": tuple("ABCDEFGHJKLMNPRSTXYZ"),
    "textures": ("stripes", "checks", "dots", "waves", "bricks", "zigzag"),
    "cards": ("clubs", "diamonds", "hearts", "spades"),
    "colours": ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white"),
    "scenes": ("tree", "house", "car", "boat", "cup", "key", "fish", "ball"),
}
METHODS = ("linear", "lora")
_SWATCH = {
    "red": "#d62728", "orange": "#ff7f0e", "yellow": "#f2d024", "green": "#2ca02c", "blue": "#1f5fb4",
    "purple": "#7b3fa0", "pink": "#f29ac0", "brown": "#7a4a21", "black": "#151515", "white": "#f4f4f4",
}  # fmt: skip


def demo_audit(n: int = 300, seed: int = 0) -> ResultMatrix:
    """Base, linear epochs 1 to 3 and LoRA epochs 1 to 3, tuned on digits, on seven sets of `n` pictures."""
    rows = ["base", *(f"{method}/epoch-{epoch}" for method in METHODS for epoch in (1, 2, 3))]
    cols = [f"emt:{name}" for name in SETS]
    runs = {}
    for col, name in zip(cols, SETS):
        samples = _samples(name, n, seed)
        for row in rows:
            runs[row, col] = run_of(row, col, [_record(row, name, sample, seed) for sample in samples])
    meta = {"tuned_on": dict.fromkeys(rows[1:], "emt:digits"), "created": "2026-11-20T18:00:00+00:00"}
    return ResultMatrix(tuple(rows), tuple(cols), runs, meta)


def small_audit(
    answers: Mapping[tuple[str, str], Sequence[str]],
    targets: Sequence[str] = ("cat", "dog", "ship"),
    *,
    rows: Sequence[str] | None = None,
    cols: Sequence[str] | None = None,
    prompt: str = "What is the object in the image? Please only answer a single object in cat, dog, ship.",
    picture: Callable[[str], bytes] | None = None,
    meta: Mapping[str, object] | None = None,
    ids: Sequence[str] | None = None,
) -> ResultMatrix:
    """A matrix from raw answers per cell, scored right when the answer contains the target."""
    rows = rows or tuple(dict.fromkeys(row for row, _ in answers))
    cols = cols or tuple(dict.fromkeys(col for _, col in answers))
    paint = picture or _glyph
    runs = {}
    for (row, col), texts in answers.items():
        records = []
        for index, text in enumerate(texts):
            target = targets[index % len(targets)]
            name = ids[index] if ids else f"{col}/{index}"
            media = Media(data=_stamped(paint(target), f"{col}{index}"))
            sample = Sample(name, prompt, (media,), (target,), tuple(targets))
            right = target in text
            category = "correct" if right else "incorrect"
            records.append(_scored(sample, Output(text, stop="eos"), right, right, category, (), text))
        runs[row, col] = run_of(row, col, records)
    return ResultMatrix(tuple(rows), tuple(cols), runs, dict(meta or {}))


EVIL = '</script><script>window.hacked=1</script><img src=x onerror="window.hacked=2"><!--'
EVIL_ROWS = (
    'base"><svg onload=window.hacked=3>',
    "lora'/epoch-1 {{7*7}} ${8*8}",
    "مرحبا\u202eevil\u202c/epoch-2",
    "🦊🔥" * 8,
    "x" * 300,
    "lone \ud800 and nul \x00 <!-- ",
)
EVIL_COLS = ("emt:<b>bold</b>", "emt:日本語の長い名前" * 6, "javascript:window.hacked=4//")


def evil_audit() -> ResultMatrix:
    """Markup, script, odd characters and long words wherever text of a user or a model can stand."""
    targets = (EVIL, "\"'`&amp;<i>", "مرحبا")
    cells = {
        (row, col): [
            target if row == EVIL_ROWS[0] or turn % 2 == 0 else f"{EVIL} {col}"
            for turn in range(10)
            for target in targets
        ]
        for row in EVIL_ROWS
        for col in EVIL_COLS
    }
    return small_audit(
        cells,
        targets,
        prompt="<script>window.hacked=9</script>" + "long " * 800,
        picture=lambda target: png(lambda pen, size: None),
        meta={"tuned_on": {EVIL_ROWS[1]: EVIL_COLS[0]}},
        ids=[f"</textarea>{EVIL}{index}" for index in range(30)],
    )


def run_of(row: str, col: str, records: Sequence[Record]) -> Run:
    """A run with a manifest and a Wilson interval, as evaluation writes them."""
    manifest = {
        "task": col,
        "task_version": "1",
        "checkpoint": row,
        "checkpoint_digest": hashlib.sha256(row.encode("utf-8", "replace")).hexdigest(),
        "samples_digest": "ab" * 32,
        "inference": {"name": "generate", "max_new_tokens": 32, "temperature": 0.0},
        "scorer": "label",
        "scorers": {"label": "1", "embedding": "1", "llm": "1", "taxonomy": "1"},
        "libraries": {"keepsight": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
        "seed": 0,
        "status": "success",
    }
    return Run(
        manifest,
        tuple(records),
        (_accuracy("accuracy", records, "label"), _accuracy("strict", records, "taxonomy")),
    )


def png(draw: Callable[[ImageDraw.ImageDraw, int], None], size: int = 40, paper: str = "white") -> bytes:
    """A drawn picture as PNG bytes."""
    image = Image.new("RGB", (size, size), paper)
    draw(ImageDraw.Draw(image), size)
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def _accuracy(name: str, records: Sequence[Record], scorer: str) -> MetricValue:
    scores = [record.scores[scorer] for record in records]
    values = [score.value for score in scores if score.scored]
    not_ok: dict[str, int] = {}
    for score in scores:
        if score.status != "ok":
            not_ok[score.status] = not_ok.get(score.status, 0) + 1
    if not values:
        return MetricValue(name, math.nan, math.nan, math.nan, 0, len(scores), not_ok=not_ok)
    share, n, z = sum(values) / len(values), len(values), 1.959964
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return MetricValue(
        name, share, max(0.0, centre - half), min(1.0, centre + half), n, len(scores), not_ok=not_ok
    )


def _samples(name: str, n: int, seed: int) -> list[Sample]:
    labels = SETS[name]
    noun = "number" if name == "digits" else "object"
    prompt = f"What is the {noun} in the image? Please only answer a single {noun} in {', '.join(labels)}."
    samples = []
    for index in range(n):
        dice = Random(f"{seed}/{name}/{index}")
        label = labels[index % len(labels)]
        media = Media(data=_picture(name, label, dice))
        samples.append(Sample(f"{name}/test/{index:04d}", prompt, (media,), (label,), labels))
    return samples


_KEPT = {  # share of right answers left, by method and epoch
    ("base", 0): {"digits": 0.93, "other": 0.95},
    ("linear", 1): {"digits": 0.965, "other": 0.93},
    ("linear", 2): {"digits": 0.98, "other": 0.84},
    ("linear", 3): {"digits": 0.985, "other": 0.74},
    ("lora", 1): {"digits": 0.985, "other": 0.55},
    ("lora", 2): {"digits": 0.99, "other": 0.28},
    ("lora", 3): {"digits": 0.995, "other": 0.15},
}
_STUBBORN = {
    "colours": 0.25,
    "textures": 0.12,
    "letters": -0.10,
    "scenes": 0.05,
    "cards": -0.02,
    "shapes": 0.0,
}


def _record(row: str, name: str, sample: Sample, seed: int) -> Record:
    method, _, epoch = row.partition("/epoch-")
    kept = _KEPT[method, int(epoch or 0)]
    share = kept["digits" if name == "digits" else "other"]
    if name != "digits" and epoch:
        share = min(0.97, max(0.02, share + _STUBBORN[name] * (1 - share) * 2))
    difficulty = Random(f"{seed}/hard/{sample.id}").random()
    noise = Random(f"{seed}/{row}/{sample.id}")
    truth = sample.target[0]
    if noise.random() < 0.004:
        error = Output("", error="the picture was cut short after 812 bytes")
        failed = Score(math.nan, status="error", explanation=error.error or "")
        return Record(sample, error, dict.fromkeys(("label", "embedding", "llm", "taxonomy"), failed))
    if difficulty + noise.gauss(0, 0.06) < share:
        return _right(method, name, sample, truth, noise)
    return _wrong(method, int(epoch or 0), name, sample, truth, noise)


def _right(method: str, name: str, sample: Sample, truth: str, dice: Random) -> Record:
    text = f"The number is {truth}." if name == "digits" else f"The object is a(n) {truth}."
    if method == "base":
        text = dice.choice([f"{truth}", f"{truth.capitalize()}.", text])
    return _scored(sample, Output(text, stop="eos"), True, True, "correct", (), truth, dice)


def _wrong(method: str, epoch: int, name: str, sample: Sample, truth: str, dice: Random) -> Record:
    others = [label for label in SETS[name] if label != truth]
    digit = str((sum(map(ord, truth)) + (0 if dice.random() < 0.72 else dice.randrange(10))) % 10)
    pull = {"base": 0.0, "linear": 0.25 + 0.1 * epoch, "lora": 0.8 + 0.05 * epoch}[method]
    if name != "digits" and dice.random() < pull:
        if dice.random() < 0.2:
            return _scored(sample, Output(f"The {truth} is {digit}.", stop="eos"), True, False, "intrinsic",
                           ("predicate_contradiction", "leak:emt:digits", "contains_truth"), digit, dice)  # fmt: skip
        text = Output(f"The number is {digit}.", stop="eos")
        return _scored(
            sample, text, False, dice.random() < 0.3, "incorrect", ("leak:emt:digits",), digit, dice
        )
    roll = dice.random()
    if roll < 0.08:
        return _scored(
            sample, Output("", stop="eos"), False, dice.random() < 0.2, "no_answer", (), None, dice
        )
    if roll < 0.2:
        text = f"a picture of something {dice.choice(['round', 'small', 'dark'])} on a plain background"
        return _scored(sample, Output(text, stop="length"), False, dice.random() < 0.4, "extrinsic",
                       ("extra_description",), None, dice)  # fmt: skip
    guess = dice.choice(others)
    return _scored(
        sample, Output(f"The object is a(n) {guess}.", stop="eos"), False, False, "incorrect", (), guess, dice
    )


def _scored(
    sample: Sample,
    output: Output,
    label_right: bool,
    embedding_right: bool,
    category: str,
    tags: tuple[str, ...],
    answer: str | None,
    dice: Random | None = None,
) -> Record:
    status = "unparsed" if answer is None else "ok"
    judge = Score(float(category == "correct"), "yes" if category == "correct" else "no", "ok", "")
    if dice is not None and dice.random() < 0.01:
        judge = Score(math.nan, None, "judge_failed", "the judge said: It depends.")
    return Record(sample, output, {
        "label": Score(float(label_right), answer, status),
        "embedding": Score(float(embedding_right), sample.target[0] if embedding_right else "?", "ok", "nearest phrase"),
        "llm": judge,
        "taxonomy": Score(float(category == "correct"), answer, status, category, tags),
    })  # fmt: skip


def _stamped(data: bytes, key: str) -> bytes:
    """The same picture with one corner pixel of its own, so that no two samples share bytes."""
    dice = Random(key)
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image.putpixel((0, 0), (dice.randrange(256), dice.randrange(256), dice.randrange(256)))
    image.putpixel((1, 0), (dice.randrange(256), dice.randrange(256), dice.randrange(256)))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _glyph(text: str) -> bytes:
    return png(lambda pen, size: pen.text((6, 6), text[:3], fill="black", font=ImageFont.load_default(16)))


def _picture(name: str, label: str, dice: Random) -> bytes:
    ink = dice.choice(["#20639b", "#a23b2a", "#2f6b3a", "#5b3a86", "#7a5310", "#222222"])
    paper = dice.choice(["#ffffff", "#f3efe6", "#e6eef3", "#efe6f0"])
    dx, dy = dice.randint(-4, 4), dice.randint(-4, 4)

    def draw(pen: ImageDraw.ImageDraw, size: int) -> None:
        if name in ("digits", "letters"):
            pen.text(
                (12 + dx, 5 + dy), label, fill=ink, font=ImageFont.load_default(24 + dice.randint(-3, 4))
            )
        elif name == "colours":
            pen.ellipse((7 + dx, 7 + dy, 33 + dx, 33 + dy), fill=_SWATCH[label])
        elif name == "textures":
            step = dice.randint(5, 8)
            for at in range(-size, size * 2, step):
                _TEXTURES[label](pen, at, step, size, ink)
        else:
            _outline(pen, label, 20 + dx, 20 + dy, dice.randint(10, 14), ink)

    return png(draw, 40, paper)


_TEXTURES: dict[str, Callable[..., None]] = {
    "stripes": lambda pen, at, step, size, ink: pen.line((at, 0, at + size, size), fill=ink, width=2),
    "checks": lambda pen, at, step, size, ink: [
        pen.rectangle((at, y, at + step - 1, y + step - 1), fill=ink)
        for y in range(0, size, step)
        if (at // step + y // step) % 2
    ],
    "dots": lambda pen, at, step, size, ink: [
        pen.ellipse((at, y, at + 2, y + 2), fill=ink) for y in range(2, size, step)
    ],
    "waves": lambda pen, at, step, size, ink: pen.line(
        [(x, at + 3 * math.sin(x / 3)) for x in range(size)], fill=ink, width=2
    ),
    "bricks": lambda pen, at, step, size, ink: pen.line((0, at, size, at), fill=ink, width=1),
    "zigzag": lambda pen, at, step, size, ink: pen.line(
        [(x, at + abs(x % 8 - 4)) for x in range(size)], fill=ink, width=1
    ),
}


def _outline(pen: ImageDraw.ImageDraw, label: str, x: int, y: int, r: int, ink: str) -> None:
    corners = 3 + sum(map(ord, label)) % 6
    turn = (sum(map(ord, label)) % 7) / 7
    points = [
        (
            x + r * math.cos(2 * math.pi * (k / corners + turn)),
            y + r * math.sin(2 * math.pi * (k / corners + turn)),
        )
        for k in range(corners)
    ]
    if label in ("circle", "ball", "moon"):
        pen.ellipse((x - r, y - r, x + r, y + r), fill=ink)
    elif label == "square":
        pen.rectangle((x - r, y - r, x + r, y + r), fill=ink)
    else:
        pen.polygon(points, fill=ink)
