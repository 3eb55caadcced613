"""General Knowledge without a model: is the truth in the answer, whatever form it has?

CoIN (arXiv:2403.08350, section 4.1.3) lets a language model rate that. This scorer is the offline stand-in: word lists and
rules, the same figure on every machine. What is asked for follows from the truth:

| truth | read from the answer | value |
|---|---|---|
| the letter of an option | a letter, or the text of one option | 1 if it is the right one |
| a box | four numbers, or words for a place ("upper left"), which stand for that part of the picture | intersection over union |
| unanswerable | that it is: "unanswerable", "I cannot tell", "there is no fish" | 1 |
| yes, no | yes, no and words that mean them; a sentence that says or denies what was asked | 1 if it is the right one |
| a number, one of the sample's choices, a colour, size, side, letter | what the answer names of the same kind, undenied | 1 if it is the truth alone |
| any other words | the truth as whole words, undenied | 1 |

Numbers may be digits or words, words in singular or plural, with or without an article. Less than 1 is given twice:

- The truth beside other things of its kind ("red or blue"): 1 / 2k where k are named, half of what drawing one of them would get.
- A part of a truth of several words: half of the share of its words that is there.

So a value of one half or more means that the truth was said. Nothing to read: "unparsed", 0. An answer that declines has
value 0 and status "refused", unless declining is the truth. Known weakness: an answer that recites a dictionary names any
word of the last line of the table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from itertools import product

from keepsight.scoring.answered import SHARE, score_each
from keepsight.scoring.boxes import Box, box_text, intersection_over_union, read_box
from keepsight.scoring.choice_letter import read_letter
from keepsight.scoring.labels import LabelMatcher
from keepsight.scoring.negation import denied
from keepsight.scoring.refusal import declines, does_not_know
from keepsight.scoring.words import forms, number_words, tokenize, word_set
from keepsight.scoring.yes_no import read_yes_no
from keepsight.types import KeepsightError, Output, Sample, Score

__all__ = ["UNANSWERABLE", "Semantic"]

UNANSWERABLE = "unanswerable"
_LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_NO_ANSWER = re.compile(
    r"\b(?:un-?answerable|not answerable|no answer|n/?a|not (?:visible|present|there|shown|in (?:the|this) (?:image|picture))|"
    r"(?:cannot|can['’]?t|can not|could not|couldn['’]?t) be (?:answered|determined|seen|told|known)|"
    r"(?:cannot|can['’]?t|can not) (?:see|find|determine|answer|tell)|"
    r"there (?:is|are) (?:no|not|none)|there (?:isn|aren)['’]?t|no such|does(?:n['’]?t| not) (?:exist|appear)|insufficient|"
    r"not enough information)\b"
)
_ONLY_NONE = word_set("no none nothing nowhere unknown unclear unsuitable")
_TRUE_WORDS = {"yes": "yes", "no": "no", "true": "yes", "false": "no"}
_CONTENTLESS = word_set(
    "a an the is are was were there it this that in on of to image picture photo scene i can see"
)

# What an answer may confuse with its truth. Other words for a member follow it.
_FAMILIES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "colour": {
        "red": ("crimson", "scarlet"), "orange": (), "yellow": (), "green": (), "blue": ("navy",),
        "purple": ("violet",), "pink": ("rose",), "white": (), "black": (), "brown": (), "gray": ("grey", "silver"),
    },
    "size": {"small": ("little", "tiny"), "large": ("big", "huge"), "medium": ()},
    "place": {
        f"{down} {across}": [
            f"{one} {joined}{across}" for one, joined in product(words, ("", "hand ")) if (one, joined) != (down, "")
        ] + [f"{across} {one}" for one in words]
        for (down, words), across in product(
            {"upper": ("upper", "top"), "lower": ("lower", "bottom")}.items(), ("left", "right")
        )
    } | {"left": (), "right": (), "upper": ("top",), "lower": ("bottom",), "middle": ("center", "centre")},
    "parity": {"even": (), "odd": ()},
    "letter": dict.fromkeys(_LETTERS, ()),
}  # fmt: skip
# The parts of a picture that the places stand for.
_PARTS: Mapping[str, Box] = {
    "upper left": (0, 0, 0.5, 0.5), "upper right": (0.5, 0, 1, 0.5),
    "lower left": (0, 0.5, 0.5, 1), "lower right": (0.5, 0.5, 1, 1),
    "left": (0, 0, 0.5, 1), "right": (0.5, 0, 1, 1), "upper": (0, 0, 1, 0.5), "lower": (0, 0.5, 1, 1),
    "middle": (0.25, 0.25, 0.75, 0.75),
}  # fmt: skip


class Semantic:
    """Value 0..1: how much of the truth the answer says; see the module.

    `answer` is what was read; the tag says by which line of the table: `option`, `box`, `place`, `unanswerable`, `yes_no`,
    `choice`, `number`, `colour`, `size`, `letter`, `parity` or `words`. Of several targets the best counts.
    """

    name = "semantic"
    version = "2"

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """Scores each answer; see the class. Raises KeepsightError for a sample without a target."""
        return score_each(samples, outputs, _score, SHARE)


def _score(sample: Sample, text: str) -> Score:
    targets = [target for target in sample.target if target.strip()]
    if not targets:
        raise KeepsightError(f"sample {sample.id} has no target, so its answer cannot be judged")
    if not text.strip():
        return Score(0.0, status="unparsed", explanation="is empty")
    best = max((_against(target, sample, text) for target in targets), key=lambda score: score.value)
    if best.value == 0 and declines(text):
        return Score(0.0, status="refused", explanation="declines to answer")
    return best


def _against(target: str, sample: Sample, text: str) -> Score:
    """The answer beside one target, by the first line of the table that fits the target."""
    choices = sample.choices
    if choices and target in _LETTERS[: len(choices)] and target not in choices:
        return _option(target, choices, text)
    truth = read_box(target).box
    if truth is not None:
        return _box(truth, text)
    words = " ".join(token.text for token in tokenize(target))
    if words == UNANSWERABLE:
        return _unanswerable(text)
    if words in _TRUE_WORDS:
        return _yes_no(_TRUE_WORDS[words], sample.prompt, text)
    if (number := _number(words)) is not None:
        return _numbers(number, text)
    matcher = _matcher(choices)
    if matcher is not None and matcher.canonical(target) is not None:
        return _one_of(matcher, target, "choice", text)
    for name, members in _FAMILIES.items():
        if words in members or target.strip() in members:
            return _one_of(_family(name), target.strip(), name, text)
    return _words(target, text)


def _option(letter: str, choices: Sequence[str], text: str) -> Score:
    reading = read_letter(text, choices)
    if reading.letter is not None:
        return _settled(reading.letter == letter, reading.letter, "option")
    truth, matcher = choices[_LETTERS.index(letter)], _matcher(choices)
    named = [] if matcher is None else _named(matcher, text)
    several = named if len(named) > 1 else ()  # one alone was read above, unless a letter speaks against it
    return _beside(truth, several, "option") or _unread(reading.why)


def _box(truth: Box, text: str) -> Score:
    box = read_box(text).box
    if box is not None:
        overlap = intersection_over_union(box, truth)
        return Score(overlap, box_text(box), explanation=f"IoU {overlap:.3f}", tags=("box",))
    places = _places(text)
    if len(places) != 1:
        return _unread("neither a box nor one place")
    (place,) = places
    overlap = intersection_over_union(_PARTS[place], truth)
    return Score(overlap, place, explanation=f"IoU {overlap:.3f} of that part", tags=("place",))


def _unanswerable(text: str) -> Score:
    plain = " ".join(text.casefold().split())
    words = [token.text for token in tokenize(text)]
    said = bool(_NO_ANSWER.search(plain)) or does_not_know(text) or declines(text)
    if said or (len(words) <= 2 and not _ONLY_NONE.isdisjoint(words)):
        return _settled(True, UNANSWERABLE, "unanswerable")
    return _settled(False, plain, "unanswerable")


def _yes_no(truth: str, question: str, text: str) -> Score:
    reading = read_yes_no(text) or _stated(question, text)
    if reading is None:
        return _unread("neither yes nor no")
    return _settled(reading == truth, reading, "yes_no")


def _stated(question: str, text: str) -> str | None:
    """ "There is a fish." after "Is there a fish?": a sentence with no word of its own says what was asked, hence yes."""
    asked = iter([token.text for token in tokenize(question)])
    tokens = tokenize(text)
    content = [token.text for token in tokens if token.text not in _CONTENTLESS]
    if len(tokens) < 2 or not content or any(denied(tokens)):
        return None
    return "yes" if all(word in asked for word in content) else None  # in the question's order


def _numbers(truth: int, text: str) -> Score:
    tokens = tokenize(text)
    beyond = [token.text.replace(",", "") for token, no in zip(tokens, denied(tokens)) if not no]
    named = [
        *_named(_number_matcher(), text),
        *(word for word in beyond if word.isdecimal() and len(word) > 2),
    ]
    if not named and re.search(r"\b(?:none|no|nothing)\b", text.casefold()):
        named = ["0"]
    return _beside(str(truth), named, "number") or _unread("no number")


def _one_of(matcher: LabelMatcher, target: str, tag: str, text: str) -> Score:
    """What an answer names of the truth's own kind."""
    truth = matcher.canonical(target)
    assert truth is not None
    named = _places(text) if tag == "place" else _named(matcher, text)
    inside = all(
        set(label.split()) < set(truth.split()) for label in named
    )  # "left" says a half of "upper left"
    part = _partly(truth, " ".join(named) or text, tag) if inside else None
    return part or _beside(truth, named, tag) or _unread(f"no {tag}")


def _words(target: str, text: str) -> Score:
    if not tokenize(target):
        plain = text.strip()
        return _settled(target.strip() in plain, plain, "words")
    if (matcher := _matcher((target,))) is not None and _named(matcher, text):
        return _settled(True, target, "words")
    return _partly(target, text, "words") or _settled(False, " ".join(text.casefold().split()), "words")


def _partly(target: str, text: str, tag: str) -> Score | None:
    """Half of the share of the truth's words that the answer says undenied, if there is any and the truth has several."""
    wanted = [token.text for token in tokenize(target) if token.text not in _CONTENTLESS]
    if len(wanted) < 2:
        return None
    tokens = tokenize(text)
    said = {token.text for token, no in zip(tokens, denied(tokens)) if not no}
    there = [word for word in wanted if not said.isdisjoint(forms(word))]
    if not there:
        return None
    return Score(
        len(there) / len(wanted) / 2,
        " ".join(there),
        explanation=f"{len(there)} of {len(wanted)} words",
        tags=(tag, "part"),
    )


def _beside(truth: str, named: Sequence[str], tag: str) -> Score | None:
    """The truth alone: 1. Beside others: 1 / 2k. Others alone: 0. Nothing named: None."""
    distinct = list(dict.fromkeys(named))
    if not distinct:
        return None
    told = ", ".join(distinct)
    if truth not in distinct or len(distinct) == 1:
        return _settled(truth in distinct, told, tag)
    return Score(0.5 / len(distinct), told, explanation=f"names {len(distinct)}", tags=(tag, "several"))


def _settled(right: bool, answer: str, tag: str) -> Score:
    return Score(float(right), answer, tags=(tag,))


def _unread(why: str) -> Score:
    return Score(0.0, status="unparsed", explanation=why)


def _number(words: str) -> int | None:
    """The whole number that a text is, in digits or words."""
    if words.isascii() and words.isdecimal() and len(words) <= 9:
        return int(words)
    return number_words().get(tuple(words.split()))


def _named(matcher: LabelMatcher, text: str) -> list[str]:
    """Labels that the answer names and does not deny, each once."""
    return list(dict.fromkeys(mention.label for mention in matcher.match(text) if not mention.negated))


def _places(text: str) -> list[str]:
    """Places that the answer names; "on the left, at the top" is one."""
    named = _named(_family("place"), text)
    for down, across in product(("upper", "lower"), ("left", "right")):
        if set(named) == {down, across}:
            return [f"{down} {across}"]
    return named


@lru_cache(maxsize=256)
def _matcher(labels: tuple[str, ...]) -> LabelMatcher | None:
    """None where there is nothing to match, or two labels cannot be told apart."""
    try:
        return LabelMatcher(labels) if labels else None
    except KeepsightError:
        return None


@cache
def _family(name: str) -> LabelMatcher:
    return LabelMatcher(_FAMILIES[name], synonyms=_FAMILIES[name])


@lru_cache(maxsize=1)
def _number_matcher() -> LabelMatcher:
    return LabelMatcher([str(number) for number in range(101)])
