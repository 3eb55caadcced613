"""CoIN's published rules as its evaluation code has them, each with its quirks: what the published figures depend on.

| scorer | data set | rule, and its quirk |
|---|---|---|
| `coin_letter` | ScienceQA | the first one-character word is the letter: "a dog" is A |
| `coin_vote` | TextVQA | the vote, over a normalisation that deletes punctuation or blanks it by what else stands in the text |
| `coin_substring` | ImageNet | answer in prediction or prediction in answer, case-sensitive: "a" is right for "cat" |
| `coin_gqa` | GQA | equality after one leading blank and all final full stops are cut, prediction in lower case |
| `coin_equal` | VizWiz, VQAv2 | equality with one answer, case aside: no vote, no normalisation |
| `coin_ocr` | OCR-VQA | the same, and an answer that contains "Unanswerable" is wrong |
| `coin_box` | REC | the first and the last character inside the brackets are cut off: "0.78]" is read as 0.7 |

Use them to compare with published figures, and for nothing else. In two points they are not followed:

1. An empty answer scores 0 here. Where the published rule counts it as right (`coin_substring`), the tag
   `coin_counts_right` says so, so that the published figure is `value` plus the share of that tag.
2. Answers are joined to questions by id. The published code joins ImageNet's by their place in the file, and leaves
   missing GQA answers out of the denominator.

Source: Chen et al., "CoIN" (arXiv:2403.08350), and the evaluation scripts released with it.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from keepsight.scoring.answered import SHARE, score_each
from keepsight.scoring.boxes import box_text
from keepsight.scoring.vqa import DIGITS, annotators, contractions, vote_share
from keepsight.types import KeepsightError, Output, Sample, Score

__all__ = [
    "CoinBox",
    "CoinEqual",
    "CoinGqa",
    "CoinLetter",
    "CoinOcr",
    "CoinSubstring",
    "CoinVote",
    "coded_answer",
    "coin_box",
    "coin_letter",
]

_LETTERS = "ABCDE"
_ONE_CHARACTER = re.compile(r"\b(\w)\b")
_EMPTY = "is empty"


class _Rule(ABC):
    """A published rule over one answer at a time."""

    name = ""
    version = "1"
    bounds: ClassVar[tuple[float, float] | None] = None

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """Scores each answer; see the module. Raises KeepsightError for a sample that lacks what the rule compares with."""
        return score_each(samples, outputs, self._score, self.bounds)

    @abstractmethod
    def _score(self, sample: Sample, text: str) -> Score: ...

    def _truth(self, sample: Sample) -> str:
        if not sample.target or not sample.target[0].strip():
            raise KeepsightError(f"sample {sample.id} has no target, so its answer cannot be judged")
        return sample.target[0]


class CoinLetter(_Rule):
    """ScienceQA. A letter A to E that is the whole answer or stands before ". "; else the first one-character word.

    Quirks: "a dog" is A, and "I think B" is I, which is out of range and wrong.
    """

    name = "coin_letter"

    def _score(self, sample: Sample, text: str) -> Score:
        letter = coin_letter(text)
        if letter is None or letter not in _LETTERS[: len(sample.choices)]:
            return Score(0.0, status="unparsed", explanation=f"{letter or 'no letter'}, not an option")
        return Score(float(letter == self._truth(sample)), letter)


def coin_letter(text: str) -> str | None:
    """The letter that CoIN's ScienceQA script reads, in range or not; None where it reads none."""
    if len(text) == 1 and text in _LETTERS:
        return text
    if text[:1] in _LETTERS and text[:1] and text[1:3] == ". ":
        return text[0]
    words = _ONE_CHARACTER.findall(text)
    return words[0].upper() if words else None


class CoinVote(_Rule):
    """TextVQA. The ten annotators' vote, on texts as `coded_answer` normalises them."""

    name = "coin_vote"
    version = "2"
    bounds = SHARE

    def _score(self, sample: Sample, text: str) -> Score:
        votes = Counter(map(coded_answer, annotators(sample)))
        answer = coded_answer(text)
        published = vote_share(votes[answer], votes.total())
        return _empty(text, published > 0) or Score(published, answer)


def coded_answer(text: str) -> str:
    """An answer as the EvalAI processor in CoIN's code normalises it.

    Quirks, against the steps that VQA publishes (`vqa.normal_answer`): commas and question marks go before numbers are
    looked at; "'s" becomes a word of its own; a mark is deleted everywhere if it stands beside a blank anywhere, else it
    becomes a blank everywhere; only the first 32 full stops go; and "somebody'd" loses its apostrophe.
    """
    plain = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    before = plain = plain.replace("\n", " ").replace("\t", " ").strip()
    for mark in ';/[]"{}()=+\\_-><@`!':
        beside_blank = f"{mark} " in before or f" {mark}" in before
        plain = plain.replace(mark, "" if beside_blank else " ")
    plain = re.sub(r"\.(?!\d)", "", plain, count=32)
    words = [DIGITS.get(word, word) for word in plain.split()]
    return " ".join(_CODED_CONTRACTIONS.get(word, word) for word in words if word not in ("a", "an", "the"))


# Of "I" the published table has capitals, which a text in lower case never shows.
_CODED_CONTRACTIONS = {
    short: whole for short, whole in contractions().items() if short not in ("id've", "i'dve", "somebodyd")
} | {"somebody'd": "somebodyd"}


class CoinSubstring(_Rule):
    """ImageNet. Right if the answer stands in the prediction or the prediction in the answer, letter by letter.

    Quirks: case counts ("Cat" is wrong for "cat"), any part of the answer is right ("a" for "cat"), and an empty
    prediction is part of every answer; that one scores 0 here, with the tag `coin_counts_right`.
    """

    name = "coin_substring"

    def _score(self, sample: Sample, text: str) -> Score:
        truth = self._truth(sample)
        right = truth in text or text in truth
        return _empty(text, right) or Score(float(right), text)


class CoinGqa(_Rule):
    """GQA. Equality with the answer; of the prediction final full stops and one leading blank go, and it is lowered."""

    name = "coin_gqa"

    def _score(self, sample: Sample, text: str) -> Score:
        said = text.rstrip(".").lower().removeprefix(" ")
        return _empty(text, False) or Score(float(said == self._truth(sample)), said)


class CoinEqual(_Rule):
    """VizWiz and VQAv2. Equality with one answer, case aside: "Two dogs" is wrong for "two", "red." for "red"."""

    name = "coin_equal"

    def _score(self, sample: Sample, text: str) -> Score:
        return _empty(text, False) or Score(float(text.upper() == self._truth(sample).upper()), text)


class CoinOcr(_Rule):
    """OCR-VQA. Equality, case aside; an answer that contains "Unanswerable" is skipped and stays in the denominator."""

    name = "coin_ocr"

    def _score(self, sample: Sample, text: str) -> Score:
        right = "Unanswerable" not in text and text.lower() == self._truth(sample).lower()
        return _empty(text, False) or Score(float(right), text)


class CoinBox(_Rule):
    """REC. IoU above a half with the target, of the box as `coin_box` reads it.

    Quirks: see `coin_box`. Perfect boxes of two decimals score about 90 %. No clipping: a box of swapped corners has a
    negative area, and its overlap is what the formula then gives.
    """

    name = "coin_box"

    def _score(self, sample: Sample, text: str) -> Score:
        truth = _floats(self._truth(sample).replace("[", "").replace("]", ""))
        if truth is None:
            raise KeepsightError(f"sample {sample.id} has the target {sample.target[0]!r}, not four numbers")
        box = coin_box(text)
        if box is None:
            return Score(0.0, status="unparsed", explanation="not four numbers")
        return Score(float(_coded_overlap(box, truth) > 0.5), box_text(box, 6))


def coin_box(text: str) -> list[float] | None:
    """The four numbers that CoIN's grounding script reads; None where it reads none.

    One leading blank goes, then all square brackets, then the first and the last character of what is left: of
    "[0.12, 0.34, 0.56, 0.78]" that is .12, 0.34, 0.56, 0.7, and of a final "1.0" it leaves 1.
    """
    inside = text.removeprefix(" ").replace("[", "").replace("]", "")
    return _floats(inside[1:-1])


def _floats(text: str) -> list[float] | None:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        return None
    return numbers if len(numbers) == 4 else None


def _coded_overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union by the published formula, which takes corners as they come."""
    shared = max(0, min(one[2], other[2]) - max(one[0], other[0])) * max(
        0, min(one[3], other[3]) - max(one[1], other[1])
    )
    covered = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - shared
    return shared / covered if covered > 0 else 0.0


def _empty(text: str, counted_right: bool) -> Score | None:
    """The score of an answer that says nothing: never right, whatever the published rule makes of it."""
    if text.strip():
        return None
    tags = ("coin_counts_right",) if counted_right else ()
    return Score(0.0, status="unparsed", explanation=_EMPTY, tags=tags)
