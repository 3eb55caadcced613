"""Multiple-choice answers, read as a letter, as the text of one option, or not at all. Nothing is guessed.

The steps, in this order. A step that finds one letter settles it; one that finds several leaves the answer unread.

1. The answer is a letter and nothing else ("A", "(a)", "C.").
2. It concludes: "final answer: B", else "the answer is B" or "B is correct", else "it is B" or "I choose B".
3. It begins with a letter set off from what follows: "C. Trendelenburg position", "C, because ...". A small letter counts
   before a bracket, "c) ...", and elsewhere before an option's text, "c. trendelenburg position".
4. A letter is mentioned and not denied ("A is wrong").
5. An option's text is named, whole: "It is the Trendelenburg position."

The article is no letter ("A Trendelenburg position is used"). The published parser (`mmmu_letter`) takes it for one, lets
the last mention win over the conclusion, and draws a letter at random where it finds none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

from keepsight.scoring.answered import score_each
from keepsight.scoring.metrics import accuracy
from keepsight.scoring.refusal import declines
from keepsight.scoring.words import Token, tokenize, word_set
from keepsight.types import KeepsightError, MetricValue, Output, Sample, Score

__all__ = ["ChoiceLetter", "LetterOnly", "Reading", "mmmu_letter", "option_text_share", "read_letter"]

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SURE = ("alone", "conclusion", "first")  # an answer, even where the rest declines

_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_BOXED = re.compile(r"\\boxed\s*\{(?:\\\w+\s*\{)?\s*([^{}]*?)\s*\}+")
_MARKUP = re.compile(r"[*_`$#~]+")
_SENTENCE_END = re.compile(r"[.!?。！？]|(?<!:)\n\s*\n")
_BREAK = re.compile(r"[^\w\s]|\n")  # any punctuation or a new line
_SEPARATORS = re.compile(r"[\s,/&|、;()\[\]\"'“”]*\Z")

_FILLER = word_set("option choice letter the")
_LINK = word_set(
    "is 's was would should must will be 'd the to this question option choice letter clearly therefore thus definitely "
    "probably likely most here my so indeed then perhaps maybe ist est es é è jest 是 为 為 は が"
)
_ANSWERS = word_set(
    "answer answers antwort lösung réponse respuesta resposta risposta antwoord ответ odpowiedź cevap"
)
_CJK_ANSWERS = (("答", "案"), ("正", "解"), ("答", "え"), ("选",), ("選",))
_OPTIONS = word_set("option choice letter one")
_RIGHT = word_set("correct right best true answer appropriate accurate")
_WRONG = word_set("wrong incorrect false unlikely impossible out eliminated excluded not n't implausible")
_NOT = word_set(
    "not n't never neither nor unlike if whether doubt than eliminate eliminating exclude excluding"
)
_SAYS = word_set("choose pick select guess say think believe with chose selected picked go going")
_SUBJECT = word_set("it this that he she")
_BE = word_set("is 's was be are seems looks would must should will can ca does do ca likely 'd")
_BECAUSE = word_set("because since as for due")
_AFTER = (
    _BE
    | _BECAUSE
    | word_set("and or but which being rather instead over not from to than und oder fits matches describes")
)
_BEFORE = (
    _LINK | _SAYS | _NOT | word_set("or and both either between for only just option choice answer are but")
)
_ARTICLES = word_set("a an the")
_JOINS = word_set("or and und oder et ou y o e и или")


@dataclass(frozen=True)
class Reading:
    """The letter that was read and the rule that found it; or no letter, and why."""

    letter: str | None
    rule: str = ""  # alone, conclusion, first, mention, option_text
    why: str = ""


def read_letter(text: str, choices: Sequence[str]) -> Reading:
    """Reads the answer to a multiple-choice question; see the module for the rules.

    Args:
        choices: the options' texts in order; their letters are A, B, C, ...
    """
    letters = frozenset(_ALPHABET[: len(choices)])
    answer = _Answer(_plain(text), letters, choices)
    for rule, found in (
        ("alone", answer.alone()),
        ("conclusion", answer.conclusions()),
        ("first", answer.first()),
        ("mention", answer.mentions()),
    ):
        if len(found) > 1:
            return Reading(None, why=f"{rule}: {', '.join(sorted(found))}")
        if found:
            (letter,) = found
            other = _options_named(answer.tokens, choices) if rule == "first" else set()
            if other and letter not in other:
                return Reading(
                    None, why=f"begins with {letter} and names the text of {', '.join(sorted(other))}"
                )
            return Reading(letter, rule)
    named = _options_named(answer.tokens, choices)
    if len(named) == 1:
        return Reading(named.pop(), "option_text")
    told = f"the texts of {', '.join(sorted(named))}" if named else "neither a letter nor an option's text"
    return Reading(None, why=told)


class ChoiceLetter:
    """Value 1 if the letter read from the answer is the target, else 0; unreadable: "unparsed", value 0.

    `answer` is the letter; the tag says how it was found: `alone`, `conclusion`, `first`, `mention` or `option_text`.
    A sample needs its options as `choices` and the right letter as target. An option that sounds like a refusal ("Sorry, we are
    closed") is an answer.
    """

    name = "choice_letter"
    version = "2"

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """Scores each answer; see the class. Raises KeepsightError for a sample whose target is no letter of its options."""
        return score_each(samples, outputs, self._score)

    def _score(self, sample: Sample, text: str) -> Score:
        target = sample.target[0] if sample.target else ""
        if not sample.choices or target not in tuple(_ALPHABET[: len(sample.choices)]):
            raise KeepsightError(
                f"sample {sample.id} has {len(sample.choices)} choices and the target {target!r}; a multiple-choice "
                "question needs its options, and the letter of one of them"
            )
        reading = read_letter(text, sample.choices)
        said = sample.choices[_ALPHABET.index(str(reading.letter))] if reading.rule == "option_text" else ""
        if reading.rule not in _SURE and declines(text) and not declines(said):
            return Score(float("nan"), status="refused", explanation="declines to answer")
        if reading.letter is None:
            return Score(0.0, status="unparsed", explanation=reading.why)
        return Score(float(reading.letter == target), reading.letter, tags=(reading.rule,))


class LetterOnly(ChoiceLetter):
    """As `ChoiceLetter`, for questions that ask for the letter: an option's text did not do that, and has value 0.

    The tag `right_text` marks an option's text that is the right one: known, not said as asked. An answer that declines
    has value 0 and status "refused", so that the denominator is the same for every checkpoint.
    """

    name = "letter_only"

    def _score(self, sample: Sample, text: str) -> Score:
        score = super()._score(sample, text)
        if score.status == "refused":
            return replace(score, value=0.0)
        if "option_text" not in score.tags:
            return score
        return replace(score, value=0.0, tags=(*score.tags, *["right_text"] * (score.value == 1.0)))


def option_text_share(samples: Sequence[Sample], scores: Sequence[Score]) -> MetricValue:
    """Share of the scored answers that name an option's text and no letter."""
    read = [
        replace(score, value=float("option_text" in score.tags)) if score.scored else score
        for score in scores
    ]
    return replace(accuracy(samples, read), name="option_text_share")


def mmmu_letter(text: str, choices: Sequence[str]) -> str | None:
    """The letter as the parser published with ImageWikiQA reads it (MMMU's rule), but None where that draws at random.

    Ends are stripped of `,.!?;:'`; then "(X)", else " X " between blanks, else, in answers of more than five words, an
    option's text; of several the one that stands last wins.
    """
    for mark in ",.!?;:'":
        text = text.strip(mark)
    text = f" {text} "
    for form in ("({})", " {} "):
        places = {letter: text.rfind(form.format(letter)) for letter in _ALPHABET[: len(choices)]}
        if found := {letter: place for letter, place in places.items() if place >= 0}:
            return max(found, key=found.__getitem__)
    if len(text.split()) <= 5:
        return None
    texts = {letter: text.lower().rfind(choice.lower()) for letter, choice in zip(_ALPHABET, choices)}
    found = {letter: place for letter, place in texts.items() if place >= 0}
    return max(found, key=found.__getitem__) if found else None


def _plain(text: str) -> str:
    """Without thoughts and markup; full-width letters and brackets become plain ones."""
    text = unicodedata.normalize("NFKC", _THOUGHT.sub("", text))
    return _MARKUP.sub("", _BOXED.sub(r" final answer: \1 ", text))


class _Answer:
    """The words of one answer, and which of them are letters of options."""

    def __init__(self, text: str, letters: frozenset[str], choices: Sequence[str]) -> None:
        self.text = text
        self.letters = letters
        self.tokens = tokenize(text)
        self.options = [[token.text for token in tokenize(choice)] for choice in choices]
        self.small = [at for at in range(len(self.tokens)) if self._is_small_letter(at)]
        self.places = [at for at in range(len(self.tokens)) if self._is_letter(at)]
        self.index = {at: number for number, at in enumerate(self.places)}

    def alone(self) -> set[str]:
        """Nothing but one letter, in either case, perhaps called an option."""
        words = [token for token in self.tokens if token.text not in _FILLER]
        return {words[0].written.upper()} & self.letters if len(words) == 1 else set()

    def conclusions(self) -> set[str]:
        """The letters of the strongest kind of conclusion there is."""
        found: dict[int, set[str]] = {}
        for at in [*self.places, *self.small, *self._lower_end()]:
            strength = self._strength(at)
            if strength:
                found.setdefault(strength, set()).update(self._listed_with(at))
        return found[max(found)] if found else set()

    def first(self) -> set[str]:
        """A letter that the answer begins with; all of them where several lines begin with one."""
        starts = [at for at in (*self.places, *self.small) if self._starts_line(at) and self._set_off(at)]
        if len({self._letter(at) for at in starts}) > 1:
            return {self._letter(at) for at in starts}
        opening = next((at for at, token in enumerate(self.tokens) if token.text not in _FILLER), None)
        if opening is None or opening > 1:
            return set()
        if opening in self.places and self._set_off(opening):
            return self._listed_with(opening)
        bracketed = self._letter(opening) in self.letters and ")" in self._gap(opening + 1)
        return {self._letter(opening)} if bracketed or opening in self.small else set()

    def mentions(self) -> set[str]:
        """Every letter that is spoken of as one, less those that are denied."""
        return {self._letter(at) for at in self.places if self._mentioned(at) and not self._denied(at)}

    def _is_letter(self, at: int) -> bool:
        """An option's capital letter that is not the article."""
        written = self.tokens[at].written
        if written not in self.letters or "-" in (self._gap(at), self._gap(at + 1)):  # "plan-B"
            return False
        return (
            written != "A"
            or not self._next(at)
            or bool(_BREAK.search(self._gap(at + 1)))
            or (self._next(at) in _AFTER or self._before(at).rstrip().endswith(("(", "[", '"', "“")))
        )

    def _is_small_letter(self, at: int) -> bool:
        """An option's letter in lower case, a mark, and an option's text: "b. new hampshire"."""
        if not self.tokens[at].written.islower() or self._letter(at) not in self.letters:
            return False
        start = at + 1 + (self._next(at) in _ARTICLES)
        return self._gap(at + 1).lstrip()[:1] in tuple(".:)") and any(
            option and [token.text for token in self.tokens[start : start + len(option)]] == option
            for option in self.options
        )

    def _letter(self, at: int) -> str:
        return self.tokens[at].written.upper()

    def _next(self, at: int) -> str:
        return self.tokens[at + 1].text if at + 1 < len(self.tokens) else ""

    def _before(self, at: int) -> str:
        """The few characters before a token: any more would make long answers slow."""
        start = self.tokens[at].start
        return self.text[max(0, start - 12) : start]

    def _gap(self, at: int) -> str:
        """What stands before the token at `at`; of the end, what stands after the last."""
        return self.tokens[at].gap if at < len(self.tokens) else self.text[self.tokens[-1].end :]

    def _lower_end(self) -> list[int]:
        """The last word, if it is a small letter: "answer: b"."""
        last = len(self.tokens) - 1
        small = last >= 0 and self.tokens[last].written.islower()
        return [last] if small and self.tokens[last].written.upper() in self.letters else []

    def _strength(self, at: int) -> int:
        """3: it says final; 2: it speaks of the answer; 1: "it is X", "I choose X"; 0: it does not conclude, or denies."""
        if self._denied(at):
            return 0
        forward = [token.text for token in self.tokens[at + 1 : at + 5]]
        if forward[:1] and forward[0] in _BE and any(word in _RIGHT for word in forward[1:]):
            return 0 if _WRONG & set(forward) else 2
        anchor = at - 1
        while anchor >= 0 and self.tokens[anchor].text in _LINK and not self._ends_before(anchor + 1):
            anchor -= 1
        if anchor < 0 or self._ends_before(anchor + 1):
            return 0
        before = [token.text for token in self.tokens[max(0, anchor - 3) : anchor + 1]]
        if self._speaks_of_answer(anchor):
            return 3 if "final" in before else 2
        said = before[-1] in _SUBJECT and anchor < at - 1
        return 1 if said or before[-1] in _SAYS else 0

    def _speaks_of_answer(self, anchor: int) -> bool:
        words = [token.text for token in self.tokens[max(0, anchor - 1) : anchor + 1]]
        if words[-1] in _ANSWERS or any(tuple(words[-len(pair) :]) == pair for pair in _CJK_ANSWERS):
            return True
        # "option" is a link word, so that "the correct option is B" arrives at "correct"
        follows = {token.text for token in self.tokens[anchor + 1 : anchor + 2]}
        return words[-1] in _RIGHT | {"final"} and bool(follows & _OPTIONS)

    def _ends_before(self, at: int) -> bool:
        """Whether a sentence ends between the token at `at` and the one before it."""
        return bool(_SENTENCE_END.search(self._gap(at)))

    def _listed_with(self, at: int) -> set[str]:
        """The letter and those in one list with it: "A, B, or C"."""
        here = self.index.get(at)
        found = {self._letter(at)}
        if here is None:
            return found
        for step in (1, -1):
            place = here
            while 0 <= place + step < len(self.places) and self._joined(*sorted((place, place + step))):
                place += step
                found.add(self._letter(self.places[place]))
        return found

    def _joined(self, first: int, second: int) -> bool:
        """Do two letters, the first and second of `places`, stand in one list?"""
        left, right = self.places[first], self.places[second]
        if not all(token.text in _JOINS for token in self.tokens[left + 1 : right]):
            return False
        gaps = [token.gap for token in self.tokens[left + 1 : right + 1]]
        plain = not any(token.text in _JOINS for token in self.tokens[left + 1 : right])
        return all(_SEPARATORS.match(gap) for gap in gaps) and not (plain and self._denied(right))

    def _starts_line(self, at: int) -> bool:
        before = self._before(at)
        whole = "\n" in before or len(before) == self.tokens[at].start
        return whole and not before.rpartition("\n")[2].strip(" \t([\"'“-•")

    def _set_off(self, at: int) -> bool:
        return not self._next(at) or bool(_BREAK.search(self._gap(at + 1))) or self._next(at) in _BECAUSE

    def _mentioned(self, at: int) -> bool:
        """Is the letter spoken of as one? "Vitamin C is" and "D minor" are not."""
        before, after = self._gap(at), self._gap(at + 1)
        if before.rstrip().endswith(("(", "[", '"', "“", "'")) and after.lstrip()[:1] in (
            ")",
            "]",
            '"',
            "”",
            "'",
        ):
            return True
        starts = at == 0 or _BREAK.search(before) or self.tokens[at - 1].text in _BEFORE
        return bool(starts) and (not self._next(at) or bool(_BREAK.search(after)) or self._next(at) in _AFTER)

    def _denied(self, at: int) -> bool:
        after = self.tokens[at + 1 : at + 4]
        words = [token.text for token in after]
        if words and words[0] in _BE | {"can", "could"} and _WRONG & set(words):
            return True
        for back in range(at - 1, max(-1, at - 7), -1):
            if _BREAK.search(re.sub(r"[:(\"'“\[]", "", self._gap(back + 1))):
                return False
            if self.tokens[back].text in _NOT:
                return True
            if self.tokens[back].text not in _BEFORE | _ANSWERS | _RIGHT | _SUBJECT:
                return False
        return False


def _options_named(tokens: Sequence[Token], choices: Sequence[str]) -> set[str]:
    """Letters of the options whose whole text stands in the answer, undenied; a text inside a longer one is not named."""
    words = [token.text for token in tokens]
    texts = {letter: [token.text for token in tokenize(choice)] for letter, choice in zip(_ALPHABET, choices)}
    taken: set[int] = set()
    named = set()
    for letter, text in sorted(texts.items(), key=lambda item: -len(item[1])):
        for start in range(len(words) - len(text) + 1 if text else 0):
            span = set(range(start, start + len(text)))
            if words[start : start + len(text)] == text and not span & taken:
                taken |= span
                if not _NOT & set(words[max(0, start - 3) : start]):
                    named.add(letter)
    return named
