"""LLaVA's training format: `[{"id", "image", "conversations": [{"from": "human" | "gpt", "value": ...}, ...]}, ...]`.

Read from JSON or JSON lines; written from any labelled picture set with EMT's fine-tuning template.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from keepsight.data.confine import RemoteSource, picture_at
from keepsight.data.conversations import conversation_fields, is_learnt
from keepsight.data.json_rows import rows_of
from keepsight.data.labelled import LabelledPicture, PictureSet, choose, label_text
from keepsight.data.pictures import suffix_of
from keepsight.types import KeepsightError, Sample

__all__ = [
    "ANSWER",
    "ANSWER_PLAIN",
    "IMAGE_MARK",
    "QUESTION",
    "Reader",
    "collected",
    "exchanges_of",
    "fine_tuning_answer",
    "instruction_samples",
    "llava_sample",
    "prompt_without_edge_mark",
    "read_llava_json",
    "sample_id",
    "write_llava_json",
]

IMAGE_MARK = "<image>"
# EMT (arXiv:2309.10313), appendix D.1: the mark follows the question, and "a(n)" stands there literally.
QUESTION = "What is the {noun} in the image?"
ANSWER = "The {noun} is a(n) {label}."
ANSWER_PLAIN = "The {noun} is {label}."  # "similarly" for MNIST: a number takes no article

_ROLES = {"human": "human", "user": "human", "gpt": "gpt", "assistant": "gpt"}
_SHOWN = 3  # bad rows named in one error

Reader = Callable[[Mapping[str, Any], str], Sample]  # (row, id to fall back on) -> sample


def read_llava_json(
    path: str | Path,
    image_root: str | Path | None = None,
    *,
    remote: RemoteSource | None = None,
    on_bad_row: Callable[[str], None] | None = None,
) -> list[Sample]:
    """Samples to tune on: the human's turn is the prompt, the model's turn the target.

    An `<image>` mark at the edge of the first turn goes (pictures come before the text, as in LLaVA's own training);
    marks inside the text keep their place. Of a conversation with several exchanges the first is `prompt` and
    `target`, the later ones stand in `meta["turns"]` as `[[human, gpt], ...]`: all model turns are learnt. First model
    turns with `"weight": 0` are not: they stand in `history`, and the first learnt one is the target.

    Args:
        path: a JSON list, or JSON lines (`.jsonl`).
        image_root: folder that the rows' image paths start from, and may not leave (default: the file's folder).
        remote: what fetches pictures given as addresses (default: they are refused).
        on_bad_row: called with one line per unusable row, which is then left out.

    Raises:
        KeepsightError: the file cannot be read, holds no usable row, or (without `on_bad_row`) any bad row.
    """
    path = Path(path)
    root = Path(image_root) if image_root is not None else path.parent
    reader = partial(llava_sample, root=root, remote=remote)
    return collected(path, rows_of(path), reader, on_bad_row)


def collected(
    path: Path,
    rows: Iterable[tuple[str, Any]],
    reader: Reader,
    on_bad_row: Callable[[str], None] | None = None,
) -> list[Sample]:
    """The samples that `reader` makes of (place, row) pairs; see `read_llava_json` for what becomes of the others.

    A row may be the KeepsightError that says why there is none.
    """
    samples: list[Sample] = []
    bad: list[str] = []
    for place, row in rows:
        try:
            samples.append(reader(_mapping(row), f"{path.stem}/{len(samples) + len(bad)}"))
        except KeepsightError as error:
            bad.append(f"{place}: {error}")
            if on_bad_row is not None:
                on_bad_row(f"{path}, {bad[-1]}")
    if not samples or (bad and on_bad_row is None):
        raise KeepsightError(_complaint(path, bad))
    return samples


def instruction_samples(pictures: PictureSet, n: int | None = None, seed: int = 0) -> list[Sample]:
    """The training split as EMT fine-tunes on it: `What is the object in the image?` -> `The object is a(n) X.`"""
    return [_instruction(pictures, picture) for picture in choose(pictures, "train", n=n, seed=seed)]


def fine_tuning_answer(noun: str, label: str) -> str:
    """`The object is a(n) airplane.`, `The number is 5.`"""
    form = ANSWER if noun == "object" else ANSWER_PLAIN
    return form.format(noun=noun, label=label_text(label))


def write_llava_json(
    pictures: PictureSet,
    directory: str | Path,
    *,
    n: int | None = None,
    share: float | None = None,
    seed: int = 0,
    questions: Sequence[str] = (),
) -> Path:
    """Writes the training split as picture files (`<label>/<id>.png`) and `train.json`; returns the JSON's path.

    The rows ask `questions` in turn; by default all ask EMT's one, `What is the object in the image?`.
    """
    asked = questions or (QUESTION.format(noun=pictures.noun),)
    directory = Path(directory)
    rows = []
    for index, picture in enumerate(choose(pictures, "train", n=n, share=share, seed=seed)):
        image = f"{_slug(picture.label)}/{index:06d}{suffix_of(picture.media)}"
        (directory / image).parent.mkdir(parents=True, exist_ok=True)
        (directory / image).write_bytes(picture.media.read())
        question = f"{asked[index % len(asked)]} {IMAGE_MARK}"
        answer = fine_tuning_answer(pictures.noun, picture.label)
        turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
        rows.append({"id": picture.id, "image": image, "conversations": turns})
    target = directory / "train.json"
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    unfinished.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    return unfinished.replace(target)


def _instruction(pictures: PictureSet, picture: LabelledPicture) -> Sample:
    return Sample(
        id=picture.id,
        prompt=QUESTION.format(noun=pictures.noun),
        media=(picture.media,),
        target=(fine_tuning_answer(pictures.noun, picture.label),),
        meta={"set": pictures.name, "label": label_text(picture.label)},
    )


def _slug(label: str) -> str:
    return re.sub(r"[^\w.()-]+", "_", label).strip("._") or "label"


def _mapping(row: Any) -> Mapping[str, Any]:
    if isinstance(row, KeepsightError):
        raise row
    if not isinstance(row, dict):
        raise KeepsightError(f"a {type(row).__name__}, not an object with pictures and turns")
    return row


def llava_sample(
    row: Mapping[str, Any], default_id: str, *, root: Path, remote: RemoteSource | None = None
) -> Sample:
    """The sample of one row. Raises KeepsightError with what is wrong with it."""
    exchanges = exchanges_of(row.get("conversations"))
    images = _images(row.get("image"))
    prompt = exchanges[0][0]
    if any(IMAGE_MARK in question for question, _ in exchanges[1:]):
        raise KeepsightError(f"{IMAGE_MARK} stands in a later turn; all pictures belong to the first one")
    if prompt.count(IMAGE_MARK) not in (0, len(images)):
        raise KeepsightError(f"{prompt.count(IMAGE_MARK)} {IMAGE_MARK} marks for {len(images)} pictures")
    return Sample(
        id=sample_id(row, default_id),
        prompt=prompt_without_edge_mark(prompt),
        media=tuple(picture_at(root, image, remote) for image in images),
        **conversation_fields(exchanges, [is_learnt(turn) for turn in row["conversations"][1::2]]),
    )


def sample_id(row: Mapping[str, Any], default: str) -> str:
    """A row's own id, text or number, or `default`. Raises KeepsightError for anything else."""
    own = row.get("id")
    if own is None:
        return default
    if isinstance(own, bool) or not isinstance(own, (str, int)):
        raise KeepsightError(f"the id is a {type(own).__name__}, not a text or a number")
    return str(own)


def exchanges_of(turns: Any) -> list[tuple[str, str]]:
    """(human, gpt) pairs of a row's turns, in order. Raises KeepsightError when they are no such turns."""
    if not isinstance(turns, list) or not turns or len(turns) % 2:
        raise KeepsightError("conversations must be a list of human, gpt, human, gpt, ...")
    said = [_turn(turn, ("human", "gpt")[i % 2]) for i, turn in enumerate(turns)]
    return list(zip(said[::2], said[1::2]))


def _turn(turn: Any, speaker: str) -> str:
    if not isinstance(turn, dict) or _ROLES.get(str(turn.get("from"))) != speaker:
        raise KeepsightError(f"a turn is not from {speaker!r}: turns must alternate human, gpt")
    text = turn.get("value")
    if not isinstance(text, str) or not text.strip():
        raise KeepsightError(f"a {speaker} turn has no text")
    if speaker == "gpt" and IMAGE_MARK in text:
        raise KeepsightError(f"a gpt turn contains {IMAGE_MARK}")
    return text


def _images(value: Any) -> list[str]:
    images = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(image, str) and image for image in images):
        raise KeepsightError("image must be a path or a list of paths")
    return images


def prompt_without_edge_mark(prompt: str) -> str:
    """The prompt without its only mark where that stands at an edge: pictures come before the text anyway."""
    text = prompt.strip()
    if text.count(IMAGE_MARK) != 1 or not (text.startswith(IMAGE_MARK) or text.endswith(IMAGE_MARK)):
        return prompt
    return text.replace(IMAGE_MARK, "").strip()


def _complaint(path: Path, bad: list[str]) -> str:
    if not bad:
        return f"{path} holds no rows; expected LLaVA's id, image, conversations or messages and images"
    more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    cure = "give the folder that pictures start from (--image_folder; in a sequence the stage's image_folder), mend the rows, or leave them out"
    return f"{path}: {len(bad)} bad rows ({'; '.join(bad[:_SHOWN])}{more}); {cure}"
