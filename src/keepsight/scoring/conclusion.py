"""Where an answer that thinks aloud comes to its end: the conclusion is read, the reasoning is not.

Rules, first one that finds something (a sentence "names" a label if it mentions one without denying it):
1. the last sentence that says what the answer is ("The answer is ...", "Final answer: ...") and names a label after
   saying so; where nothing follows in the sentence, the next one counts ("Answer:", new line, "**cat**");
2. the last sentence that draws a conclusion ("Therefore ...", "So it is ...") and names a label after that;
3. the last sentence that names a label, unless the answer was cut at its length limit: what was cut off reached no end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from keepsight.scoring.labels import LabelMatcher, Mention

__all__ = ["conclusion"]

_SAYS = re.compile(
    r"\b(?:answer|conclusion|choice)[\s*_\"'”)]*(?::|=|[-–—](?=\s)|(?:is|would be|should be|must be|will be)\b)[\s*_]*(?::|that\b)?"
    r"|\\boxed\{",
    re.IGNORECASE,
)
_CONCLUDES = re.compile(
    r"\b(?:therefore|thus|hence|consequently|in conclusion|to conclude|in summary|overall|"
    r"(?:i|we) (?:can )?conclude|so,? (?:the|it|it['’]s|this|that['’]s|my|i|we)\b|so,|so:)",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?][\"'”’)*_]*(?=\s)|\n+")


def conclusion(text: str, matcher: LabelMatcher, *, cut: bool = False) -> str | None:
    """The part of `text` that concludes, or None if no part of it names a label as a conclusion.

    Args:
        matcher: of the label set.
        cut: the answer ended because it reached its length limit.
    """
    named = matcher.match(text)
    ends = _sentence_ends(text, named)
    affirmed = [mention for mention in named if not mention.negated]
    for marker in (_SAYS, _CONCLUDES):
        for start, end in reversed(list(_said_after(text, marker, ends))):
            if _inside(affirmed, start, end):
                return text[start:end].strip()
    if cut:
        return None
    starts = [0, *ends[:-1]]
    for start, end in reversed(list(zip(starts, ends))):
        if _inside(affirmed, start, end):
            return text[start:end].strip()
    return None


def _said_after(text: str, marker: re.Pattern[str], ends: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(start, end) of what follows each marker in its sentence, or in the next one where nothing follows."""
    for found in marker.finditer(text):
        later = [end for end in ends if end > found.end() or end == len(text)]
        said = next((end for end in later if any(c.isalnum() for c in text[found.end() : end])), None)
        if said is not None:
            yield found.end(), said


def _sentence_ends(text: str, named: Sequence[Mention]) -> list[int]:
    """Where sentences end; a full stop inside a label ("St. Bernard") ends none."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return [end for end in ends if not any(m.start < end <= m.end for m in named)] + [len(text)]


def _inside(mentions: Sequence[Mention], start: int, end: int) -> list[Mention]:
    return [mention for mention in mentions if start <= mention.start and mention.end <= end]
