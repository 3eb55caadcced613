"""CoIN's own files: `train.json` in LLaVA's form, and `test.json` or `val.json` with a question per row.

A training row is `{"id", "image", "conversations": [{"from": "human", "value": "<image>\\n<question>\\n<instruction>"},
{"from": "gpt", "value": <answer>}]}`; a test row `{"question_id", "image", "text": "<question>\\n<instruction>", "answer"}`.
Grounding rows hold the whole sentence as text, `"answer_bbox": "[x1, y1, x2, y2]"` in the padded square, and `"size"`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from keepsight.data.coin.item import DESCRIBE, INSTRUCTIONS, LETTERS, Item, items_of, text_of
from keepsight.data.json_rows import parsed, rows_of
from keepsight.data.llava import exchanges_of, prompt_without_edge_mark
from keepsight.types import KeepsightError

__all__ = [
    "OCR_LINE",
    "coin_item",
    "is_coin_row",
    "options_of",
    "read_coin_rows",
    "true_box",
    "with_annotators",
]

OCR_LINE = "Reference OCR token:"
_KNOWN = {line.casefold() for lines in INSTRUCTIONS.values() for line in lines.values()}
_EDGE = 0.02  # of the frame: annotators' boxes end a little outside


def is_coin_row(row: Any) -> bool:
    """Whether a row has one of the two forms."""
    return isinstance(row, Mapping) and ("conversations" in row or "text" in row)


def read_coin_rows(task: str, path: Path, *, as_written: bool = False) -> list[Item]:
    """The rows of one of CoIN's files.

    Training rows that share an id get `#2`, `#3`, ... behind it: there, the id is often the picture's.

    Args:
        task: a name of `item.ORDER`.
        as_written: take a row whose last line is none of the published instructions for what it is.

    Raises:
        KeepsightError: rows that are not of this form, named.
    """
    seen: Counter[str] = Counter()

    def make(row: Mapping[str, Any], place: str) -> Iterator[Item]:
        item = coin_item(task, row, place, as_written=as_written)
        seen[item.id] += 1
        again = "conversations" in row and seen[item.id] > 1
        yield replace(item, id=f"{item.id}#{seen[item.id]}") if again else item

    return items_of(path, rows_of(path), make)


def coin_item(task: str, row: Mapping[str, Any], place: str, *, as_written: bool = False) -> Item:
    """The item of one row. Raises KeepsightError with what is wrong with it."""
    if not is_coin_row(row):
        raise KeepsightError('neither "conversations" nor "text"; give CoIN\'s rows')
    text, answer = _asked_and_answered(row)
    picture = _picture_name(row.get("image"))
    item = Item(
        id=str(row.get("question_id", row.get("id", place))),
        question="",
        answer=answer,
        picture=picture,
        places=(picture,) if picture else (),
        size=_size(row.get("size")),
    )
    if task == "REC":
        return _grounding(item, text, row.get("answer_bbox", answer))
    lines = text.strip().split("\n")
    if lines[-1].strip().rstrip(".").casefold() not in _KNOWN and not as_written:
        raise KeepsightError(
            f"the last line {lines[-1][:60]!r} is none of CoIN's instructions; instruction=file asks the rows as they are"
        )
    question, aside = _without_aside(lines[:-1])
    choices = options_of(question) if task == "ScienceQA" else ()
    if task == "ScienceQA" and (not choices or answer not in tuple(LETTERS[: len(choices)])):
        raise KeepsightError(f"{len(choices)} options and the answer {answer[:20]!r}; a letter must name one")
    return replace(item, question=question, aside=aside, choices=choices, instruction=lines[-1].strip())


def options_of(text: str, *, last: bool = True) -> tuple[str, ...]:
    """The options of a question, `A. ...`, `B. ...`, a line each; () where there are no two.

    Args:
        last: nothing follows the options, so that a line without a letter goes on with the option before it.
    """
    lines = text.split("\n")
    start = max((at for at, line in enumerate(lines) if line.startswith("A. ")), default=len(lines))
    options: list[str] = []
    for line in lines[start:]:
        if line.startswith(f"{LETTERS[len(options) : len(options) + 1] or 'no letter'}. "):
            options.append(line[3:].strip())
        elif not last:
            break
        else:
            options[-1] += f"\n{line}"
    return tuple(options) if len(options) > 1 else ()


def true_box(value: Any, edge: Sequence[float] = (1.0, 1.0)) -> tuple[float, float, float, float]:
    """Corners `[x1, y1, x2, y2]`, a list or its text, as shares of `edge`. Raises KeepsightError when they are no box."""
    try:
        corners = parsed(value.encode()) if isinstance(value, str) else value
        x1, y1, x2, y2 = (float(number) / edge[i % 2] for i, number in enumerate(corners))
    except (KeepsightError, TypeError, ValueError, ZeroDivisionError):
        raise KeepsightError(f"the box {value!r:.60} is no list of four numbers") from None
    if not (-_EDGE <= x1 < x2 <= 1 + _EDGE and -_EDGE <= y1 < y2 <= 1 + _EDGE):
        raise KeepsightError(f"the box {value!r:.60} has no area inside the picture")
    return max(0.0, x1), max(0.0, y1), min(1.0, x2), min(1.0, y2)


def with_annotators(items: Sequence[Item], answers: Mapping[str, tuple[str, ...]], where: Path) -> list[Item]:
    """The items with all annotators' answers to their questions, found by id.

    Raises:
        KeepsightError: an item whose id is not among them.
    """
    for item in items:
        if item.id not in answers:
            raise KeepsightError(f"question {item.id} is not in {where}; give the annotations of this split")
    return [replace(item, answers=answers[item.id]) for item in items]


def _asked_and_answered(row: Mapping[str, Any]) -> tuple[str, str]:
    if "conversations" not in row:
        boxed = "answer" not in row and "answer_bbox" in row
        return text_of(row, "text"), "" if boxed else text_of(row, "answer")
    said = exchanges_of(row["conversations"])
    if len(said) > 1:
        raise KeepsightError(f"{len(said)} exchanges; CoIN's rows have one")
    return prompt_without_edge_mark(said[0][0]), said[0][1].strip()


def _grounding(item: Item, text: str, box: Any) -> Item:
    if not text.strip().casefold().startswith(DESCRIBE.strip().casefold()):
        raise KeepsightError(f"the text {text[:40]!r} does not begin with {DESCRIBE.strip()!r}")
    described = text.strip()[len(DESCRIBE.strip()) :].strip()
    if not described:
        raise KeepsightError("nothing is described")
    written = box.strip() if isinstance(box, str) else json.dumps(box)
    return replace(item, question=described, answer=written, box=true_box(box), frame="padded")


def _without_aside(lines: Sequence[str]) -> tuple[str, str]:
    """(question, line of OCR tokens)."""
    asides = [line for line in lines if line.startswith(OCR_LINE)]
    question = "\n".join(line for line in lines if line not in asides).strip()
    if not question:
        raise KeepsightError("no question before the instruction")
    return question, "\n".join(asides).strip()


def _picture_name(value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise KeepsightError(f"image is a {type(value).__name__}, not a path")
    return value or ""


def _size(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    whole = (
        isinstance(value, list) and len(value) == 2 and all(type(side) is int and side > 0 for side in value)
    )
    if not whole:
        raise KeepsightError(f"size is {value!r:.40}, not [width, height] in pixels")
    return value[0], value[1]
