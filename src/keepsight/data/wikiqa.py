"""Multiple-choice questions on "this object": who does not know what the picture shows cannot answer them.

Source: Zhang et al., "Why are Visually-Grounded Language Models Bad at Image Classification?" (arXiv:2405.18415),
section 4.2 and appendix C.1 (ImageWikiQA).

Two files are read, told apart row by row: the published one, a row per picture
`{"image", "text", "label", "wiki", "classname"}`, and ours, a row per question
`{"id", "question", "choices", "answer", "reference", "classname", "images"}`, in which `answer` counts from 0.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from keepsight.data.confine import RemoteSource, Unreadable, picture_at
from keepsight.data.json_rows import rows_of
from keepsight.data.labelled import LabelledPicture, PictureSet, choose, label_text
from keepsight.data.pictures import suffix_of
from keepsight.types import KeepsightError, Media, digest_of

__all__ = [
    "CHOOSE",
    "LETTERS",
    "STEP_BY_STEP",
    "THIS_OBJECT",
    "WikiQuestion",
    "asked_text",
    "letter_counts",
    "named",
    "read_wikiqa",
    "rebalance",
    "sample_images",
    "write_wikiqa",
]

LETTERS = ("A", "B", "C", "D")
THIS_OBJECT = "this object"
CHOOSE = "Choose A, B, C, or D."  # the published file's last line
STEP_BY_STEP = "Let's think step by step."
MOST_IMAGES = 3  # section 4.2: "at most 3 ImageNet images for each question"
_SHOWN = 3  # bad rows named in one error
_OPTION = re.compile(r"([A-D])\. ?(.*)")


@dataclass(frozen=True)
class WikiQuestion:
    """One question with four choices; `answer` is the index of the right one, `reference` the sentence behind it."""

    id: str
    question: str
    choices: tuple[str, ...]
    answer: int
    classname: str
    reference: str = ""
    images: tuple[Media, ...] = field(default=())

    def __post_init__(self) -> None:
        if fault := _fault(self):
            raise KeepsightError(f"question {self.id}: {fault}")

    @property
    def letter(self) -> str:
        return LETTERS[self.answer]


def asked_text(question: WikiQuestion, *, class_name: bool = False, chain_of_thought: bool = False) -> str:
    """The question, its options and "Choose A, B, C, or D.", a line each, as in the published file.

    Args:
        class_name: the class is named in place of "this object" (Table 4, "w/ GT Class").
        chain_of_thought: "Let's think step by step." follows.
    """
    told = named(question) if class_name else question.question
    options = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, question.choices, strict=True)]
    return "\n".join([told, *options, CHOOSE, *([STEP_BY_STEP] if chain_of_thought else [])])


def named(question: WikiQuestion) -> str:
    """The question with the class name in place of "this object"; a sentence still begins with a capital."""
    told = re.sub(
        re.escape(THIS_OBJECT), lambda _: question.classname, question.question, flags=re.IGNORECASE
    )
    starts = question.question[:1].isupper() and question.question.casefold().startswith(THIS_OBJECT)
    return told[:1].upper() + told[1:] if starts else told


def letter_counts(questions: Iterable[WikiQuestion]) -> dict[str, int]:
    """How often each letter is the right one."""
    letters = [question.letter for question in questions]
    return {letter: letters.count(letter) for letter in LETTERS}


# ---- reading and writing --------------------------------------------------------------------------------------------


def read_wikiqa(
    path: str | Path, image_root: str | Path | None = None, *, remote: RemoteSource | None = None
) -> list[WikiQuestion]:
    """The questions of a JSON-lines file (or a JSON list) in either form; equal questions of the published form are one.

    A picture that is not there does not hide the question: its sample then has an error of its own.

    Args:
        image_root: folder that the rows' pictures start from, and may not leave (default: the file's folder).
        remote: what fetches pictures given as addresses (default: they are refused).

    Raises:
        KeepsightError: the file cannot be read or is empty; a row that is no such question, by its line and what is wrong.
    """
    path = Path(path).expanduser()
    root = Path(image_root).expanduser() if image_root is not None else path.parent
    found: dict[str, WikiQuestion] = {}
    bad: list[str] = []
    for place, row in rows_of(path):
        try:
            question, merges = _question(row, root, remote)
            if question.id in found and not merges:
                raise KeepsightError(f"a second question with the id {question.id!r}")
            before = found.get(question.id)
            found[question.id] = (
                question if before is None else replace(before, images=before.images + question.images)
            )
        except KeepsightError as error:
            bad.append(f"{place}: {error}")
    if bad:
        more = f" and {len(bad) - _SHOWN} more rows" if len(bad) > _SHOWN else ""
        raise KeepsightError(f"{path}: {'; '.join(bad[:_SHOWN])}{more}; mend or remove them")
    if not found:
        raise KeepsightError(f"{path} holds no question")
    return list(found.values())


def write_wikiqa(path: str | Path, questions: Sequence[WikiQuestion]) -> Path:
    """Writes our form, a line per question, whole or not at all; pictures are copied to `images/` beside the file.

    Raises:
        KeepsightError: a picture that cannot be read.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(_row(question, path.parent), ensure_ascii=False) for question in questions]
    unfinished = path.with_name(f".{path.name}.partial")
    unfinished.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return unfinished.replace(path)


def _row(question: WikiQuestion, directory: Path) -> dict[str, Any]:
    return {
        "id": question.id,
        "question": question.question,
        "choices": list(question.choices),
        "answer": question.answer,
        "reference": question.reference,
        "classname": question.classname,
        "images": [_copied(media, directory) for media in question.images],
    }


def _copied(media: Media, directory: Path) -> str:
    """The picture's place below `directory`, by its content; what is there already is not written again."""
    name = f"images/{media.sha256[:24]}{suffix_of(media)}"
    if not os.path.exists(directory / name):
        (directory / name).parent.mkdir(exist_ok=True)
        unfinished = (directory / name).with_suffix(".partial")
        unfinished.write_bytes(media.read())
        unfinished.replace(directory / name)
    return name


def _question(row: Any, root: Path, remote: RemoteSource | None) -> tuple[WikiQuestion, bool]:
    """The question of a row, and whether rows with the same id are its further pictures."""
    if isinstance(row, KeepsightError):
        raise row
    if not isinstance(row, Mapping):
        raise KeepsightError(f"a {type(row).__name__}, not an object")
    if "text" in row:
        return _published(row, root, remote), True
    images = row.get("images", [])
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise KeepsightError('"images" is no list of paths')
    classname, question = _text(row, "classname"), _text(row, "question")
    choices, answer = row.get("choices"), row.get("answer")
    if not isinstance(choices, list) or isinstance(answer, bool) or not isinstance(answer, int):
        raise KeepsightError('"choices" is no list, or "answer" no whole number from 0 to 3')
    identity = row.get("id", f"{classname}/{digest_of([question, choices])[:12]}")
    media = tuple(_picture(image, root, remote) for image in images)
    reference = row.get("reference", "")
    return WikiQuestion(
        str(identity), question, tuple(choices), answer, classname, str(reference), media
    ), False


def _published(row: Mapping[str, Any], root: Path, remote: RemoteSource | None) -> WikiQuestion:
    """A row of the published file: `text` holds the question, its options and the last line."""
    text, label, classname = (_text(row, name) for name in ("text", "label", "classname"))
    lines = text.strip().split("\n")
    options = [_OPTION.fullmatch(line) for line in lines[-5:-1]]
    found = [option for option in options if option is not None]
    if len(lines) < 6 or lines[-1].strip() != CHOOSE or [option[1] for option in found] != list(LETTERS):
        raise KeepsightError(f'"text" does not end with the options A. to D., a line each, and {CHOOSE!r}')
    if label not in LETTERS:
        raise KeepsightError(f'"label" is {label[:40]!r}, none of A, B, C, D')
    return WikiQuestion(
        id=f"{classname}/{digest_of(text)[:12]}",
        question="\n".join(lines[:-5]),
        choices=tuple(option[2] for option in found),
        answer=LETTERS.index(label),
        classname=classname,
        reference=str(row.get("wiki") or ""),
        images=(_picture(_text(row, "image"), root, remote),),
    )


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise KeepsightError(f'"{name}" is missing, empty or no text')
    return value


def _picture(where: str, root: Path, remote: RemoteSource | None) -> Media:
    try:
        return picture_at(root, where, remote)
    except KeepsightError as error:
        return Unreadable(path=root / "missing", fault=str(error))


def _fault(question: WikiQuestion) -> str:
    if not question.question.strip() or not question.classname.strip():
        return "no text, or no class name"
    if len(question.choices) != len(LETTERS):
        return f"{len(question.choices)} choices; there must be four"
    if not all(isinstance(choice, str) and choice.strip() for choice in question.choices):
        return "an empty choice"
    if len({" ".join(choice.casefold().split()) for choice in question.choices}) < len(LETTERS):
        return "two equal choices"
    if question.answer not in range(len(LETTERS)):
        return f"the answer is {question.answer}; give the index of a choice, 0 to 3"
    return ""


# ---- balance and pictures -------------------------------------------------------------------------------------------


def rebalance(questions: Sequence[WikiQuestion], seed: int = 0) -> list[WikiQuestion]:
    """The same questions with their options in another order: each letter is right equally often, to within one.

    The right letters are dealt in blocks of four, each block a permutation; the other options follow from a stream of the
    question's own. Section 4.2 of the source rebalances, and does not say how.
    """
    order = sorted(range(len(questions)), key=lambda at: digest_of([seed, "order", questions[at].id]))
    place = {at: position for position, at in enumerate(order)}
    return [_dealt(question, place[at], seed) for at, question in enumerate(questions)]


def _dealt(question: WikiQuestion, position: int, seed: int) -> WikiQuestion:
    block, within = divmod(position, len(LETTERS))
    answer = _mixed(range(len(LETTERS)), f"{seed}/letters/{block}")[within]
    others = [choice for at, choice in enumerate(question.choices) if at != question.answer]
    choices = _mixed(others, f"{seed}/options/{question.id}")
    choices.insert(answer, question.choices[question.answer])
    return replace(question, choices=tuple(choices), answer=answer)


def _mixed(options: Iterable[Any], stream: str) -> list[Any]:
    rng = Random(stream)
    left = list(options)
    return [left.pop(int(rng.random() * len(left))) for _ in range(len(left))]


def sample_images(
    questions: Sequence[WikiQuestion],
    pictures: PictureSet,
    *,
    n: int = MOST_IMAGES,
    split: str = "test",
    seed: int = 0,
) -> list[WikiQuestion]:
    """Each question with at most `n` random pictures of its class, from a stream of its own.

    Raises:
        KeepsightError: a question whose class has no picture in the set.
    """
    by_class: dict[str, list[LabelledPicture]] = {}
    for picture in choose(pictures, split):
        by_class.setdefault(label_text(picture.label).casefold(), []).append(picture)
    return [_with_images(question, by_class, pictures.name, n, seed) for question in questions]


def _with_images(
    question: WikiQuestion, by_class: Mapping[str, Sequence[LabelledPicture]], where: str, n: int, seed: int
) -> WikiQuestion:
    there = by_class.get(label_text(question.classname).casefold())
    if not there:
        raise KeepsightError(
            f"question {question.id}: set {where} has no picture of {question.classname!r}; drop the question, or "
            "name the class as the set does"
        )
    ranked = sorted(there, key=lambda picture: digest_of([seed, "images", question.id, picture.id]))
    return replace(question, images=tuple(picture.media for picture in ranked[:n]))
