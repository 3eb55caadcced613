"""Questions as a language model writes them: a list in JSON, of which each is checked and each fault is named."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

from keepsight.data.json_rows import parsed
from keepsight.data.wikiqa import THIS_OBJECT, WikiQuestion
from keepsight.types import KeepsightError, digest_of

__all__ = ["QUESTIONS_PER_PAGE", "SCHEMA", "read_questions"]

QUESTIONS_PER_PAGE = 5
_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_FENCED = re.compile(r"\A.*?```(?:json)?\s*\n(.*?)\n\s*```", re.DOTALL)


class _Made(BaseModel):
    """One question as the model writes it."""

    model_config = ConfigDict(extra="ignore")
    question: Annotated[StrictStr, Field(min_length=1)]
    choices: Annotated[list[StrictStr], Field(min_length=4, max_length=4)]
    answer: Annotated[StrictInt, Field(ge=0, le=3)]
    reference: StrictStr


# For a model that can be held to a schema; servers want an object at the top.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "questions": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "question": {"type": "string"},
                    "choices": {"type": "array", "items": {"type": "string"}, "minItems": 4, "maxItems": 4},
                    "answer": {"type": "integer", "enum": [0, 1, 2, 3]},
                    "reference": {"type": "string"},
                },
                "required": ["question", "choices", "answer", "reference"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["questions"],
    "additionalProperties": False,
}


def read_questions(text: str, classname: str) -> tuple[list[WikiQuestion], list[str]]:
    """The usable questions on `classname` in a model's reply, and what is wrong with the reply or with the others.

    A question must have four different choices, the number of the right one and a reference, speak of "this object" and
    not name the class.
    """
    try:
        rows = _rows(text)
    except ValueError as error:
        return [], [f"it {error}"]
    faults = (
        []
        if len(rows) == QUESTIONS_PER_PAGE
        else [f"it holds {len(rows)} questions, not {QUESTIONS_PER_PAGE}"]
    )
    made: dict[str, WikiQuestion] = {}
    for number, row in enumerate(rows[:QUESTIONS_PER_PAGE], 1):
        try:
            question = _checked(row, classname)
            if question.id in made:
                raise ValueError("is asked twice")
            made[question.id] = question
        except ValueError as error:
            faults.append(f"question {number} {error}")
    return list(made.values()), faults


def _rows(text: str) -> list[Any]:
    """The list of a reply: bare, fenced, or the only list of an object. Raises ValueError, saying what is wrong."""
    bare = _THOUGHT.sub("", text)
    fenced = _FENCED.match(bare)
    try:
        found = parsed((fenced.group(1) if fenced else bare).encode("utf-8", "backslashreplace"))
    except KeepsightError:
        raise ValueError("is no JSON") from None
    if isinstance(found, dict):
        lists = [value for value in found.values() if isinstance(value, list)]
        found = lists[0] if len(lists) == 1 and "question" not in found else found
    if not isinstance(found, list):
        raise ValueError("is no list of questions")
    return found


def _checked(row: Any, classname: str) -> WikiQuestion:
    """The question of one row. Raises ValueError, saying what is wrong with it."""
    try:
        made = _Made.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(
            f"has a wrong {'.'.join(map(str, first['loc'])) or 'form'} ({first['msg']})"
        ) from None
    if THIS_OBJECT not in made.question.casefold():
        raise ValueError('does not say "this object"')
    if re.search(rf"(?<!\w){re.escape(classname)}(?!\w)", made.question, re.IGNORECASE):
        raise ValueError("names the class")
    identity = f"{classname}/{digest_of([made.question, sorted(made.choices)])[:12]}"
    try:
        return WikiQuestion(
            identity,
            made.question.strip(),
            tuple(c.strip() for c in made.choices),
            made.answer,
            classname,
            made.reference,
        )
    except KeepsightError as error:
        raise ValueError(f"has {str(error).rpartition(': ')[2]}") from None
