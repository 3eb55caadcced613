"""The answer and nothing else: equality of texts, case and punctuation at the ends aside.

CoIN (arXiv:2403.08350, section 4.1.3) compares outputs with the truth word for word and calls it instruction following:
"two" is not "2" and "a fish" is not "fish" where a single word was taught. `vqa.Exact` is milder: it knows that these are
the same.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from keepsight.scoring.answered import score_each
from keepsight.scoring.refusal import declines
from keepsight.types import KeepsightError, Output, Sample, Score

__all__ = ["SameText", "folded"]


_DECIMAL = re.compile(r"\.\d")  # ".5" without its point is another number


class SameText:
    """Value 1 if the folded answer equals a folded target, else 0. Nothing left of the answer: "unparsed", 0.

    An answer that declines has value 0 and status "refused", so that the denominator is the same for every checkpoint.
    """

    name = "same_text"
    version = "1"

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """Scores each answer; see the class. Raises KeepsightError for a sample without a target."""
        return score_each(samples, outputs, _score)


def folded(text: str) -> str:
    """Case, width, repeated blanks and what is no letter or digit at either end do not count.

    Signs stay: "-3" is not "3", "50%" is not "50" and "C++" is not "C".
    """
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    start, end = 0, len(plain)
    while start < end and _is_outer(plain[start], "+-$€£") and not _DECIMAL.match(plain, start):
        start += 1
    while end > start and _is_outer(plain[end - 1], "%°+#"):
        end -= 1
    return plain[start:end]


def _is_outer(character: str, kept: str) -> bool:
    """Punctuation, quotes, markup or a blank. Letters that join others (combining marks) are none of these."""
    return unicodedata.category(character)[0] in "PZSC" and character not in kept


def _score(sample: Sample, text: str) -> Score:
    truths = [truth for truth in map(folded, sample.target) if truth]
    if not truths:
        raise KeepsightError(f"sample {sample.id} has no target, so its answer cannot be judged")
    answer = folded(text)
    if answer in truths:
        return Score(1.0, answer)
    if not answer:
        return Score(0.0, status="unparsed", explanation="is empty")
    if declines(text):
        return Score(0.0, status="refused", explanation="declines to answer")
    return Score(0.0, answer, explanation=f"is not {truths[0]}")
