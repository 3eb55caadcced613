"""Short written answers held against what people wrote: the vote of ten annotators, equality, and containment.

| scorer | value | needs |
|---|---|---|
| `vqa_vote` | the VQA accuracy: how many of the annotators agree, 0..1 | `meta["answers"]`, all annotators' answers |
| `exact` | 1 if the answer is a true one | `target` |
| `contains` | 1 if a true answer stands in the answer as whole words | `target` |

All compare normalised texts (`normal_answer`), and to none is an empty answer right. An answer that declines did not do
what was asked: its status is "refused" and its value 0, so that the denominator is the same for every checkpoint.

Sources: Antol et al., "VQA: Visual Question Answering" (arXiv:1505.00468), section 5, and the normalisation steps on
visualqa.org/evaluation.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal

from keepsight.scoring.answered import SHARE, score_each
from keepsight.scoring.refusal import declines
from keepsight.scoring.words import number_words
from keepsight.types import KeepsightError, Output, Sample, Score

__all__ = [
    "DIGITS",
    "LEAST_VOTERS",
    "Contains",
    "Exact",
    "VqaVote",
    "annotators",
    "contractions",
    "normal_answer",
    "silent_or_refused",
    "vote_share",
]

LEAST_VOTERS = 4  # with fewer, even an answer that all of them gave would not score 1

# VQA's list: up to ten, and "none".
DIGITS = {words[0]: str(value) for words, value in number_words().items() if value <= 10} | {"none": "0"}
_ARTICLES = frozenset(("a", "an", "the"))
# What becomes a blank. Apostrophes and colons stay (girl's, 2:50 pm), and so do signs that have a meaning ($, %, #, &).
_BLANKED = re.compile(r"[;/\[\]\"{}()=+\\_\-><@`,?!]")
_COMMA_IN_NUMBER = re.compile(r"(?<=\d),(?=\d)")
_FULL_STOP = re.compile(r"\.(?!\d)")


def normal_answer(text: str) -> str:
    """An answer as VQA's evaluation compares it: lower case, without articles and punctuation, numbers as digits.

    In this order: lower case; commas inside numbers and full stops that are no decimal point go, other punctuation
    becomes a blank; number words up to ten become digits ("none" is 0); articles go; a contraction without its
    apostrophe gets it. A text of which nothing would be left ("the", "?") stays as it is, in lower case.
    """
    lower = " ".join(text.lower().replace("’", "'").split())
    plain = _FULL_STOP.sub("", _BLANKED.sub(" ", _COMMA_IN_NUMBER.sub("", lower)))
    words = [DIGITS.get(word, word) for word in plain.split()]
    kept = [contractions().get(word, word) for word in words if word not in _ARTICLES]
    return " ".join(kept) or lower


def vote_share(matches: int, voters: int) -> float:
    """min(1, matches / 3), averaged over all ways to leave one of the voters out; 0..1."""
    if matches == 0:
        return 0.0
    others, own = min(1.0, matches / 3), min(1.0, (matches - 1) / 3)
    return ((voters - matches) * others + matches * own) / voters


class VqaVote:
    """Value: the share of the annotators' vote that the answer gets, 0..1.

    An answer is right to the degree to which three annotators agree with it: min(1, n / 3), averaged over the subsets
    that leave one annotator out. Empty: "unparsed", 0. What annotators said is an answer, also where it sounds like a refusal.
    """

    name = "vqa_vote"
    version = "2"

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """Scores each answer; see the class. Raises KeepsightError for a sample with too few annotators' answers."""
        return score_each(samples, outputs, self._score, SHARE)

    def _score(self, sample: Sample, text: str) -> Score:
        votes = Counter(map(normal_answer, annotators(sample)))
        answer = normal_answer(text)
        agree, voters = votes[answer] if answer else 0, votes.total()
        value = vote_share(agree, voters)
        unread = silent_or_refused(text) if value == 0 else None
        return unread or Score(value, answer, explanation=f"{agree} of {voters} annotators")


class Exact:
    """Value 1 if the normalised answer equals a normalised target, else 0. Empty: "unparsed", 0."""

    name = "exact"
    version = "1"

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """Scores each answer; see the class. Raises KeepsightError for a sample without a target."""
        return score_each(samples, outputs, _against_targets(lambda answer, truth: answer == truth))


class Contains:
    """Value 1 if a normalised target stands in the normalised answer as whole words, else 0. Empty: "unparsed", 0.

    An answer that lists everything contains the truth, too: read it beside `exact`.
    """

    name = "contains"
    version = "1"

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """Scores each answer; see the class. Raises KeepsightError for a sample without a target."""
        return score_each(
            samples, outputs, _against_targets(lambda answer, truth: f" {truth} " in f" {answer} ")
        )


def annotators(sample: Sample) -> list[str]:
    """All annotators' answers. Raises KeepsightError when there are fewer than a vote needs."""
    answers = sample.meta.get("answers")
    if not isinstance(answers, (list, tuple)) or len(answers) < LEAST_VOTERS:
        count = len(answers) if isinstance(answers, (list, tuple)) else "no"
        raise KeepsightError(
            f"sample {sample.id} has {count} annotators' answers; a vote needs at least {LEAST_VOTERS} (VQA has ten): "
            "give them, or score with exact"
        )
    return [str(answer) for answer in answers]


def silent_or_refused(text: str) -> Score | None:
    """The score of an answer that says nothing or declines, or None."""
    if not text.strip():
        return Score(0.0, status="unparsed", explanation="is empty")
    return Score(0.0, status="refused", explanation="declines to answer") if declines(text) else None


def _against_targets(right: Callable[[str, str], bool]) -> Callable[[Sample, str], Score]:
    def score(sample: Sample, text: str) -> Score:
        if not any(target.strip() for target in sample.target):
            raise KeepsightError(f"sample {sample.id} has no target, so its answer cannot be judged")
        answer = normal_answer(text)
        truths = [target for target in sample.target if target.strip()]
        found = next((truth for truth in truths if right(answer, normal_answer(truth))), None)
        if found is not None:
            return Score(1.0, answer, explanation=f"is {found}")
        unread = silent_or_refused(text)
        return Score(0.0, answer, explanation=f"is not {truths[0]}") if unread is None else unread

    return score


Ending = Literal["nt", "d", "ll", "s", "re", "ve"]
# Words that take each ending, so that "whats" is known for "what's"; English words of their own (its, were, ill) are not.
_STEMS: dict[Ending, str] = {
    "nt": "ai are ca could did does do had has have is might must need ought sha should was were wo would",
    "d": "he how it somebody someone something there they where who you",
    "ll": "how it somebody someone something they what who why you",
    "s": "he how somebody someone that there what when where who why",
    "re": "there they what why you",
    "ve": "could might must not should they we what where who would you",
}
_WOULD_HAVE = "he i it she somebody someone something there they we who you"
_NOT_HAVE = "could had might should would"
_ODD = {"maam": "ma'am", "oclock": "o'clock", "twas": "'twas", "yall": "y'all"}


@lru_cache(maxsize=1)
def contractions() -> dict[str, str]:
    """Contraction without (some of) its apostrophes -> contraction: "dont" -> "don't", "theyd've" -> "they'd've"."""
    found = dict(_ODD)
    for ending, stems in _STEMS.items():
        written = "n't" if ending == "nt" else f"'{ending}"
        found.update({f"{stem}{ending}": f"{stem}{written}" for stem in stems.split()})
    for stem in _WOULD_HAVE.split():
        found.update({f"{stem}{half}": f"{stem}'d've" for half in ("d've", "'dve")})
    for stem in _NOT_HAVE.split():
        found.update({f"{stem}{half}": f"{stem}n't've" for half in ("nt've", "n'tve")})
    for end in ("'ll", "'d've"):
        tail = end.replace("'", "", 1)
        found.update({f"yall{end}": f"y'all{end}", f"y'all{tail}": f"y'all{end}"})
    return found | {"y'all'dve": "y'all'd've"}
