"""Which words of an answer are denied ("not a ship", "no dog") and which sentences are hedged ("might be a cat").

Rules, not a parser. A negator denies what follows it up to the end of its clause: punctuation, a contrast ("but a
truck"), or a new subject with its verb ("it's a dog"). Not understood: irony, rhetorical questions ("isn't it a cat?"
counts as a denial), and denials across sentences ("A cat? No.").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from keepsight.scoring.words import Token, word_set

__all__ = [
    "COPULAS",
    "denied",
    "denied_afterwards",
    "ends_clause",
    "hedged",
    "is_negator",
    "sentence_numbers",
]

COPULAS = frozenset({"is", "are", "was", "were", "'s", "'re", "be", "been"})

_NEGATORS = word_set(
    "not n't no never without neither nor cannot unlike except excluding isnt arent wasnt dont doesnt cant"
)
_NEGATOR_PAIRS = frozenset(
    {("instead", "of"), ("rather", "than"), ("other", "than"), ("anything", "but"), ("far", "from")}
)
_NOT_A_DENIAL = word_set(
    "only just merely simply doubt question idea problem other sure certain clear know tell"
)
_CONTRASTS = word_set("but however instead rather though although yet because only just")
_SUBJECTS = word_set("it this that there they he she i we the")
# "I don't think it is a cat" denies the cat, although "it is" begins a clause.
_EMBEDDING = word_set("think believe say suppose guess feel mean look seem appear see")
_ABSENT = word_set("present visible here there shown seen in depicted pictured what it correct right")

_HEDGES = word_set(
    "might may could maybe perhaps possibly probably likely presumably apparently seems seem unsure uncertain"
)
_HEDGE_PAIRS = frozenset(
    {
        (subject, verb)
        for subject in ("i", "we")
        for verb in ("think", "believe", "guess", "suppose", "suspect")
    }
    | {(verb, word) for verb in ("appears", "appear") for word in ("to", "like")}
    | {(verb, "like") for verb in ("looks", "look", "looking")}
    | {(negator, word) for negator in ("not", "n't") for word in ("sure", "certain", "clear", "know", "tell")}
    | {("hard", "to"), ("difficult", "to")}
)

_HEDGE_STARTS = frozenset(first for first, _ in _HEDGE_PAIRS)

_CLAUSE_END = re.compile(r"[,.;:!?()\[\]\n\u3001\u3002\uff0c\uff01\uff1f—–]")
_SENTENCE_END = re.compile(r"[.!?\n\u3002\uff01\uff1f;]")


def denied(tokens: Sequence[Token]) -> list[bool]:
    """For every token: does it stand in the scope of a negator?"""
    inside, embedded = False, False
    result = []
    for index, token in enumerate(tokens):
        if inside and (ends_clause(token.gap) or _ends_scope(tokens, index, embedded)):
            inside = False
        result.append(inside)
        if is_negator(tokens, index):
            inside = True
            embedded = _word(tokens, index + 1) in _EMBEDDING
    return result


def denied_afterwards(tokens: Sequence[Token], after: int) -> bool:
    """Is what ends before token `after` denied by what follows: "a cat is not present", "the dog isn't visible"?"""
    if _word(tokens, after) not in COPULAS:
        return False
    if _word(tokens, after + 1) in ("absent", "missing", "nowhere"):
        return True
    return _word(tokens, after + 1) in ("not", "n't") and _word(tokens, after + 2) in _ABSENT


def hedged(tokens: Sequence[Token]) -> list[bool]:
    """For every token: is its sentence only a guess?"""
    sentences = sentence_numbers(tokens)
    guesses = {sentence for index, sentence in enumerate(sentences) if _is_hedge(tokens, index)}
    return [sentence in guesses for sentence in sentences]


def sentence_numbers(tokens: Sequence[Token]) -> list[int]:
    """For every token the number of its sentence, from 0."""
    number, numbers = 0, []
    for index, token in enumerate(tokens):
        if index and _ends_sentence(token.gap):
            number += 1
        numbers.append(number)
    return numbers


def is_negator(tokens: Sequence[Token], index: int) -> bool:
    word = tokens[index].text
    if word in _NEGATORS:
        return _word(tokens, index + 1) not in _NOT_A_DENIAL
    return index > 0 and (tokens[index - 1].text, word) in _NEGATOR_PAIRS


def _ends_scope(tokens: Sequence[Token], index: int, embedded: bool) -> bool:
    word = tokens[index].text
    if word in _CONTRASTS:
        return True
    begins_clause = word in _SUBJECTS and any(_word(tokens, index + ahead) in COPULAS for ahead in (1, 2))
    return begins_clause and not embedded


def _is_hedge(tokens: Sequence[Token], index: int) -> bool:
    word = tokens[index].text
    return word in _HEDGES or (word in _HEDGE_STARTS and (word, _word(tokens, index + 1)) in _HEDGE_PAIRS)


def _word(tokens: Sequence[Token], index: int) -> str:
    """The word there, or "" beyond the end or past the end of the clause."""
    if not 0 <= index < len(tokens) or ends_clause(tokens[index].gap):
        return ""
    return tokens[index].text


@lru_cache(maxsize=4096)
def _ends_sentence(gap: str) -> bool:
    return _SENTENCE_END.search(gap) is not None


@lru_cache(maxsize=4096)  # texts repeat their few kinds of gap
def ends_clause(gap: str) -> bool:
    """Does punctuation between two words end a clause?"""
    return _CLAUSE_END.search(gap) is not None
