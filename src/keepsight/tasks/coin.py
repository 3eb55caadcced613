"""CoIN: the eight tasks on which a model is tuned one after the other, to see what each stage makes it forget.

Source: Chen et al., "CoIN: A Benchmark of Continual Instruction Tuning for Multimodal Large Language Models"
(arXiv:2403.08350), sections 4.1 and 5.1, Table 1.

What differs from the paper and its code:
1. Each metric is the data set's own (`metric="right"`): the ten annotators' vote for TextVQA, VizWiz and VQAv2 where their
   answers are known, equality of normalised texts elsewhere, the letter for ScienceQA, IoU of a box that is read whole for
   REC. `metric="coin"` scores by the published rules (`scoring.coin_rules`); there, too, an empty answer is never right.
2. "test" is the split with public answers: the validation split of TextVQA, VizWiz and VQAv2. All its questions are asked,
   where CoIN's files hold a part of VQAv2's and OCR-VQA's.
3. The picture of a REC question is what its box speaks of: padded to a square ("padded", as CoIN's boxes), or as it is
   ("picture"). The published evaluation pads neither way and crops.
4. A smaller volume is part of every larger one.
5. Boxes are written as CoIN's rows have them; with three decimals where the rows are the data set's own, or the frame is another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from keepsight.data.coin import INSTRUCTIONS, ORDER, CoinSource, Item, asked, open_source
from keepsight.data.confine import Unreadable
from keepsight.data.labelled import smallest
from keepsight.data.padded import padded
from keepsight.data.pictures import size_of
from keepsight.errors import UsageError
from keepsight.inference import Generate
from keepsight.scoring.boxes import FRAMES, BoxAccuracy, BoxOverlap, box_text, to_padded, to_picture
from keepsight.scoring.choice_letter import ChoiceLetter, LetterOnly, option_text_share
from keepsight.scoring.coin_rules import (
    CoinBox,
    CoinEqual,
    CoinGqa,
    CoinLetter,
    CoinOcr,
    CoinSubstring,
    CoinVote,
)
from keepsight.scoring.metrics import accuracy, mean_value, refused_share, unparsed_share
from keepsight.scoring.vqa import Contains, Exact, VqaVote
from keepsight.types import KeepsightError, Media, Metric, MetricValue, Sample, Score, Scorer, Task, digest_of

__all__ = ["ORDER", "TITLES", "coin", "exact_accuracy", "volume_of", "vote_accuracy"]

VERSION = "1"
# The published code stops at 128 tokens or at 1024; the answers asked for are a word, a phrase or a box.
MAX_NEW_TOKENS = 128
TITLES: Mapping[str, str] = {
    "ScienceQA": "Science questions with options: which letter?",
    "TextVQA": "Questions on text in pictures",
    "ImageNet": "What is the object in the image?",
    "GQA": "Balanced questions on scenes",
    "VizWiz": "Questions of blind people, some of which cannot be answered",
    "REC": "The box of what a sentence describes (RefCOCO, RefCOCO+, RefCOCOg)",
    "VQAv2": "Questions on COCO's pictures",
    "OCR-VQA": "Questions on book covers",
}

Rule = Literal["right", "coin"]


def coin(
    name: str,
    *,
    path: str | Path | None = None,
    image_folder: str | Path | None = None,
    instruction: Literal["type1", "type2", "file"] = "type1",
    metric: Rule = "right",
    split: str = "test",
    n: int | None = None,
    volume: float = 1.0,
    seed: int = 0,
    source: Literal["auto", "coin", "original"] = "auto",
    ocr: bool | None = None,
    box_frame: Literal["padded", "picture"] = "padded",
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> Task:
    """One of CoIN's eight tasks, from CoIN's own JSON or from the data set's original annotations.

    Args:
        name: a name of `ORDER`.
        path: where the files lie; see `data.coin.open_source`, which finds them.
        image_folder: folder that pictures' paths start from, and may not leave (default: where the annotations lie).
        instruction: the wording of Table 1, "type1" or "type2"; "file" asks CoIN's rows with the line that they have.
        metric: "right", or "coin" for the published rules with their quirks.
        split: which rows are asked: "test", "val" or "train".
        n: ask so many rows, drawn with `seed`; `n` + 1 rows hold them (default: all).
        volume: share of the training rows that `train()` gives, above 0 and at most 1; a smaller one is part of a larger.
        seed: of `n` and `volume`.
        source: "coin" or "original" where the files of both are there.
        ocr: TextVQA's OCR tokens stand in the prompt (default: as CoIN's rows have it, and not with original files).
        box_frame: what REC's boxes are shares of, and what is shown: the picture padded to a square, or as it is.
        max_new_tokens: where an answer is cut.

    Raises:
        UsageError: a setting with a value that there is none of.
        KeepsightError: files that are not there. What is wrong with rows is said when they are asked for.
    """
    _check(name, instruction, metric, split, n, volume, box_frame)
    if path is None:
        raise KeepsightError(
            f"coin:{name} is read from files that are yours to bring; say where they lie: --task_args path=FOLDER"
        )
    opened = open_source(name, path, image_folder, source=source, instruction=instruction, ocr=ocr)
    if instruction == "file" and opened.kind == "original":
        raise KeepsightError(
            f"coin:{name}: the data set's own files have no instruction; give type1 or type2"
        )
    wording = _Wording(name, instruction, box_frame)
    score, *judges = _scorers(opened, metric, split)
    return Task(
        name=_name(name, instruction, split, metric, ocr, box_frame),
        version=VERSION,
        test=lambda: _asked(opened, wording, split, n, seed),
        infer=Generate(max_new_tokens=max_new_tokens),
        score=score,
        metrics=_metrics(name, score),
        train=lambda: _learnt(opened, wording, volume, seed),
        judges=tuple(judges),
        description=f"{TITLES[name]}, from {'CoIN' if opened.kind == 'coin' else 'the data set'}'s own files.",
    )


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_HasId)


def volume_of(rows: Sequence[T], volume: float, seed: int = 0) -> list[T]:
    """A share of the rows, in their order, drawn by a digest of each one's id: a smaller share is part of a larger one."""
    count = max(1, round(volume * len(rows)))
    return [rows[at] for at in sorted(smallest([row.id for row in rows], count, seed))]


def vote_accuracy(samples: Sequence[Sample], scores: Sequence[Score]) -> MetricValue:
    """Mean share of the ten annotators' vote (the VQA accuracy)."""
    return replace(mean_value(samples, scores), name="vote_accuracy")


def exact_accuracy(samples: Sequence[Sample], scores: Sequence[Score]) -> MetricValue:
    """Share of answers that equal the one that is known."""
    return replace(accuracy(samples, scores), name="exact_accuracy")


def _check(
    name: str, instruction: str, metric: str, split: str, n: int | None, volume: float, frame: str
) -> None:
    if name not in ORDER:
        raise KeepsightError(f"CoIN has no task {name!r}; its tasks are {', '.join(ORDER)}")
    for what, value, known in (
        ("instruction", instruction, (*INSTRUCTIONS, "file")),
        ("metric", metric, ("right", "coin")),
        ("split", split, ("test", "val", "train")),
        ("box_frame", frame, FRAMES),
    ):
        if value not in known:
            raise UsageError(f"coin:{name}: {what} is {value!r}; give {', '.join(known)}")
    if n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 1):
        raise UsageError(f"coin:{name}: n={n} is not a number of rows; ask for 1 or more")
    if not isinstance(volume, (int, float)) or isinstance(volume, bool) or not 0 < volume <= 1:
        raise UsageError(f"coin:{name}: volume {volume} is not in (0, 1]; 0.2 means 20 %")


@dataclass(frozen=True)
class _Wording:
    """How a row is put."""

    task: str
    instruction: str
    frame: Literal["padded", "picture"]

    def sample(self, item: Item, media: Media | None) -> Sample:
        """The sample of one row. Raises KeepsightError when its picture must be read for its size and cannot be."""
        prompt = asked(self.task, item, self.instruction)
        meta = {"set": f"coin:{self.task}", "question": item.question}
        sample = Sample(
            id=f"{self.task}/{item.id}",
            prompt=prompt,
            media=() if media is None else (media,),
            target=(item.answer,),
            choices=item.choices,
            group=f"{self.task}/{item.picture}" if item.picture else None,
            meta=meta | ({"answers": list(item.answers)} if item.answers else {}),
        )
        return self._boxed(sample, item)

    def _boxed(self, sample: Sample, item: Item) -> Sample:
        """The sample with its box in the frame that is shown."""
        if item.box is None:
            return sample
        if not sample.media:
            raise KeepsightError(f"sample {sample.id} has no picture to find something in")
        (media,) = sample.media
        box, written = item.box, item.answer
        if self.frame != item.frame and not isinstance(media, Unreadable):
            move = to_padded if self.frame == "padded" else to_picture
            box, written = move(box, item.size or size_of(media)), ""
        shown = padded(media) if self.frame == "padded" else media
        meta = {**sample.meta, "question": sample.prompt, "box": list(box), "frame": self.frame}
        return replace(sample, media=(shown,), target=(written or box_text(box),), meta=meta)


def _asked(opened: CoinSource, wording: _Wording, split: str, n: int | None, seed: int) -> list[Sample]:
    items = opened.items(split)
    if n is not None and n > len(items):
        raise KeepsightError(f"coin:{opened.task}: {n} rows asked, there are {len(items)}; ask for fewer")
    chosen = items if n is None else [items[at] for at in smallest([item.id for item in items], n, seed)]
    # Mixed, because a limit takes the first: rows come picture by picture, or class by class.
    samples = [wording.sample(item, opened.pictures.of(item)) for item in chosen]
    return sorted(samples, key=lambda sample: digest_of(sample.id))


def _learnt(opened: CoinSource, wording: _Wording, volume: float, seed: int) -> list[Sample]:
    items = volume_of(opened.items("train"), volume, seed)
    chosen = [wording.sample(item, opened.pictures.of(item)) for item in items]
    missing = [medium.fault for one in chosen for medium in one.media if isinstance(medium, Unreadable)]
    if missing:
        raise KeepsightError(
            f"coin:{opened.task}: {len(missing)} training pictures are missing; {missing[0]}"
        )
    return chosen


def _scorers(opened: CoinSource, metric: Rule, split: str) -> list[Scorer]:
    """The headline scorer and those beside it."""
    right: dict[str, list[Scorer]] = {
        "ScienceQA": [LetterOnly(), ChoiceLetter()],
        "REC": [BoxAccuracy(), BoxOverlap()],
    }
    own = right.get(opened.task, [VqaVote() if split in opened.votes else Exact(), Contains()])
    if metric == "right":
        return own
    if opened.task == "TextVQA" and split not in opened.votes:
        raise KeepsightError(
            "coin:TextVQA: CoIN's rule needs all annotators' answers; put TextVQA_0.5.1_val.json beside the rows"
        )
    return [_RULES[opened.task](), own[0]]


_RULES: Mapping[str, Callable[[], Scorer]] = {
    "ScienceQA": CoinLetter,
    "TextVQA": CoinVote,
    "ImageNet": CoinSubstring,
    "GQA": CoinGqa,
    "VizWiz": CoinEqual,
    "REC": CoinBox,
    "VQAv2": CoinEqual,
    "OCR-VQA": CoinOcr,
}


def _metrics(name: str, score: Scorer) -> tuple[Metric, ...]:
    headline: Mapping[str, Metric] = {
        VqaVote.name: vote_accuracy,
        Exact.name: exact_accuracy,
        CoinVote.name: partial(_named, "coin_accuracy", mean_value),
        LetterOnly.name: accuracy,
        BoxAccuracy.name: partial(_named, "accuracy_at_iou_0.5", accuracy),
    }
    first = headline.get(score.name, partial(_named, "coin_accuracy", accuracy))
    letters = (option_text_share,) if score.name == LetterOnly.name else ()
    return (first, unparsed_share, refused_share, *letters)


def _named(name: str, metric: Metric, samples: Sequence[Sample], scores: Sequence[Score]) -> MetricValue:
    return replace(metric(samples, scores), name=name)


def _name(name: str, instruction: str, split: str, metric: str, ocr: bool | None, frame: str) -> str:
    """Every choice that makes another question or another figure shows in the name."""
    parts = [
        *[split] * (split != "test"),
        *[instruction] * (instruction != "type1"),
        *{True: ["ocr"], False: ["no-ocr"], None: []}[ocr],
        *["picture-frame"] * (frame != "padded" and name == "REC"),
        *["coin-rule"] * (metric == "coin"),
    ]
    return "-".join([f"coin:{name}", *parts])
