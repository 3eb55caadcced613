"""The ten answers that VQA's data sets have of every question."""

from __future__ import annotations

from typing import Any

from keepsight.types import KeepsightError

__all__ = ["VOTERS", "ten_answers"]

VOTERS = 10


def ten_answers(value: Any) -> tuple[str, ...]:
    """The annotators' answers of a row, texts or `{"answer": text}`. Raises KeepsightError when there are not ten."""
    if not isinstance(value, list) or len(value) != VOTERS:
        count = len(value) if isinstance(value, list) else "no"
        raise KeepsightError(f'{count} "answers"; every question has those of ten annotators')
    answers = [one.get("answer") if isinstance(one, dict) else one for one in value]
    texts = tuple(answer for answer in answers if isinstance(answer, str))
    if len(texts) < VOTERS or not any(map(str.strip, texts)):
        raise KeepsightError('"answers" are no texts, or all empty')
    return texts
