"""Yes/no questions, read three ways: yes, no, or not readable. Nothing is guessed.

Some published scorers count every answer without "no" or "not" as yes; a model that has forgotten how to answer then
looks like a model that says yes. Here such an answer is "unparsed": not correct, and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Literal

from keepsight.scoring.answered import score_each
from keepsight.scoring.negation import ends_clause, is_negator
from keepsight.scoring.refusal import declines
from keepsight.scoring.words import Token, tokenize, word_set
from keepsight.types import KeepsightError, Output, Sample, Score

__all__ = ["YesNo", "first_word", "read_yes_no"]

Reading = Literal["yes", "no"]

_YES = word_set("yes yeah yep yup yea true correct right affirmative certainly absolutely indeed")
_NO = word_set("no nope nah false incorrect wrong negative")
_EXPLICIT = {"yes": "yes", "no": "no"}


def first_word(text: str) -> Reading | None:
    """The first word if it is yes or no."""
    tokens = tokenize(text)
    if not tokens or tokens[0].text not in _EXPLICIT or _offers_both(tokens):
        return None
    return "yes" if tokens[0].text == "yes" else "no"


def read_yes_no(text: str) -> Reading | None:
    """The answer to a yes/no question.

    In this order: the first word; a first clause that denies ("There is no dog", "It isn't."); the word yes or no
    further on ("The answer is yes."), if only one of them is there. Anything else is None: "There is a dog." may be
    about another dog than the one asked for.
    """
    tokens = tokenize(text)
    if not tokens or _offers_both(tokens):
        return None
    if tokens[0].text in _YES:
        return "yes"
    if tokens[0].text in _NO and not _idiom(tokens, 0):
        return "no"
    words = {"no" if token.text == "no" else "yes" for token in tokens if token.text in _EXPLICIT}
    if "yes" not in words and _denies(tokens):
        return "no"
    said = {
        token.text
        for index, token in enumerate(tokens)
        if token.text in _EXPLICIT and not _idiom(tokens, index)
    }
    if len(said) != 1:
        return None
    return "yes" if said == {"yes"} else "no"


class YesNo:
    """Value 1 if the answer read from the text is the target (yes or no), else 0; unreadable: "unparsed", value 0."""

    name = "yes_no"
    version = "1"

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """Scores each answer; see the class. Raises KeepsightError for a target that is neither yes nor no."""
        return score_each(samples, outputs, self._score)

    def _score(self, sample: Sample, text: str) -> Score:
        target = sample.target[0].strip().casefold() if sample.target else ""
        if target not in _EXPLICIT:
            raise KeepsightError(
                f"sample {sample.id} has the target {target!r}; a yes/no question needs yes or no"
            )
        if first_word(text) is None and declines(text):
            return Score(float("nan"), status="refused", explanation="declines to answer")
        answer = read_yes_no(text)
        if answer is not None:
            return Score(float(answer == target), answer)
        return Score(0.0, status="unparsed", explanation="neither yes nor no")


def _offers_both(tokens: Sequence[Token]) -> bool:
    """ "Yes or no", "yes/no": the question's words, not an answer."""
    start = [token.text for token in tokens[:3]]
    return set(start[:2]) == {"yes", "no"} or (
        start[1:2] in (["or"], ["and"]) and {start[0], *start[2:]} == {"yes", "no"}
    )


def _denies(tokens: Sequence[Token]) -> bool:
    """Does the first clause hold a "no" or "not" that is meant as one?"""
    clause = [tokens[0], *takewhile(lambda token: not ends_clause(token.gap), tokens[1:])]
    return any(is_negator(clause, index) for index in range(len(clause)))


def _idiom(tokens: Sequence[Token], index: int) -> bool:
    """ "no doubt", "no idea", "no problem" are no answers."""
    following = tokens[index + 1] if index + 1 < len(tokens) else None
    idioms = ("doubt", "idea", "problem", "question", "one")
    return tokens[index].text == "no" and following is not None and following.text in idioms
