"""What a row of CoIN's data sets comes to, whichever file it stands in, and the words that it is asked with.

Source: Chen et al., "CoIN: A Benchmark of Continual Instruction Tuning for Multimodal Large Language Models"
(arXiv:2403.08350), Table 1, sections 4.1.1 and 5.1.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from keepsight.data.confine import Unreadable, confined
from keepsight.types import KeepsightError, Media

__all__ = [
    "DESCRIBE",
    "INSTRUCTIONS",
    "LETTERS",
    "OBJECT_QUESTION",
    "ORDER",
    "Item",
    "Pictures",
    "asked",
    "items_of",
    "majority",
    "options_text",
    "text_of",
]

# Section 5.1: the order in which the paper tunes.
ORDER = ("ScienceQA", "TextVQA", "ImageNet", "GQA", "VizWiz", "REC", "VQAv2", "OCR-VQA")

# Table 1. Its rows came out of the printed table shifted; which Type2 sentence belongs to TextVQA, GQA, VizWiz and OCR-VQA
# follows from their order. Figure 3 ends these sentences with a full stop, and so does what is asked.
_SHORT = "Answer the question using a single word or phrase"
_LETTER = "Answer with the option's letter from the given choices directly"
INSTRUCTIONS: Mapping[str, Mapping[str, str]] = {
    "type1": {name: _SHORT for name in ORDER if name not in ("ScienceQA", "REC")} | {"ScienceQA": _LETTER},
    "type2": {
        "ScienceQA": _LETTER,
        "TextVQA": "Capture the essence of your response in a single word or a concise phrase",
        "ImageNet": "Express your answer in a single word or a short, descriptive phrase",
        "GQA": "Respond to the question briefly, using only one word or a phrase",
        "VizWiz": "Provide a succinct response with a single word or phrase",
        "VQAv2": _SHORT,
        "OCR-VQA": "Condense your answer into a single word or concise phrase",
    },
}
OBJECT_QUESTION = "What is the object in the image?"
# REC has one sentence in both types; the description follows it.
DESCRIBE = "Please provide the bounding box coordinate of the region this sentence describes: "

LETTERS = "ABCDEFGH"
_SHOWN = 3  # bad rows named in one error


@dataclass(frozen=True)
class Item:
    """One row: the question without its instruction, and what is known of the answer.

    `box` holds shares of the frame that `frame` names: the picture's own, or the square it is padded to; where the file writes it
    in these shares, `answer` is its text. `aside` is a line
    between question and instruction (TextVQA's OCR tokens). `instruction` is the line that the file itself has. Where the
    picture lies is looked up when it is asked for (`Pictures.of`), at the first of `places` that is there.
    """

    id: str
    question: str
    answer: str = ""
    picture: str = ""  # the picture's name in the file: rows on one picture are one cluster
    places: tuple[str, ...] = ()  # where it may lie, below the image folder
    media: Media | None = None  # where the file itself holds it
    answers: tuple[str, ...] = ()  # of all annotators, where the file has them
    choices: tuple[str, ...] = ()
    box: tuple[float, float, float, float] | None = None
    size: tuple[int, int] | None = None  # width, height
    frame: Literal["picture", "padded"] = "picture"
    aside: str = ""
    instruction: str = ""


@dataclass(frozen=True)
class Pictures:
    """Where a data set's pictures lie. No file is opened here."""

    root: Path

    def of(self, item: Item) -> Media | None:
        """The item's picture, if it has one."""
        return self.at(*item.places) if item.places else item.media

    def at(self, first: str, *others: str) -> Media:
        """The picture at the first of these places that is there; else one that says so when it is read."""
        there = next((place for place in (first, *others) if os.path.isfile(self.root / place)), first)
        try:
            return Media(path=confined(self.root, there))
        except KeepsightError as error:
            more = f" (nor {', '.join(map(repr, others))})" if others else ""
            return Unreadable(path=self.root / "missing", fault=f"{error}{more}; give image_folder=")


def asked(task: str, item: Item, instruction: str) -> str:
    """The prompt: question, aside, instruction, a line each, as in CoIN's rows; for REC the whole sentence.

    Args:
        instruction: "type1", "type2", or "file" for the line that the row itself has.
    """
    if task == "REC":
        return f"{DESCRIBE}{item.question}"
    line = item.instruction if instruction == "file" else f"{INSTRUCTIONS[instruction][task]}."
    return "\n".join(filter(None, (item.question, item.aside, line)))


def options_text(question: str, choices: Sequence[str], hint: str = "") -> str:
    """A ScienceQA question with its options, a line each; the hint before it as "Context: ..."."""
    options = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices)]
    return "\n".join([*[f"Context: {hint}"] * bool(hint), question, *options])


def majority(answers: Sequence[str]) -> str:
    """The answer that most annotators gave, case and outer blanks aside; of several the one given first."""
    counts = Counter(answer.strip().casefold() for answer in answers)
    best = max(counts.values())
    return next(answer for answer in answers if counts[answer.strip().casefold()] == best).strip()


def items_of(
    path: Path, rows: Iterable[tuple[str, Any]], make: Callable[[Mapping[str, Any], str], Iterable[Item]]
) -> list[Item]:
    """What `make` reads from (place, row) pairs, in order.

    Args:
        make: gets a row and its place; a row may hold several items.

    Raises:
        KeepsightError: rows that cannot be used, the first of them by place and fault; two rows with one id; no row.
    """
    found: dict[str, Item] = {}
    bad: list[str] = []
    for place, row in rows:
        try:
            if isinstance(row, KeepsightError):
                raise row
            if not isinstance(row, Mapping):
                raise KeepsightError(f"a {type(row).__name__}, not an object")
            for item in make(row, place):
                if item.id in found:
                    raise KeepsightError(f"a second row with the id {item.id!r}")
                found[item.id] = item
        except KeepsightError as error:
            bad.append(f"{place}: {error}")
    if bad:
        more = f" and {len(bad) - _SHOWN} more rows" if len(bad) > _SHOWN else ""
        raise KeepsightError(f"{path}: {'; '.join(bad[:_SHOWN])}{more}; mend or remove them")
    if not found:
        raise KeepsightError(f"{path} holds no row that can be asked; check that it is the right file")
    return list(found.values())


def text_of(row: Mapping[str, Any], name: str) -> str:
    """A text or whole number of a row, as text. Raises KeepsightError when it is missing, empty or something else."""
    value = row.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise KeepsightError(f'"{name}" is missing, empty or no text')
    return value.strip()
