"""Taking an answer apart: what a sentence offers as its answer, and what it only mentions.

Every sentence is cut in three. A *subject* before the verb: usually the template of the question ("The object in the
image is"), which says nothing. A *head*: the noun phrase that answers, with its list if it is one. And a *rest* from
the first preposition, relative word or verb on ("... in a tank", "... that says walker hound"), where labels are
scenery. Word lists and order only: no grammar is learnt, so the same text is always read the same way.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from keepsight.scoring.labels import LabelMatcher, Mention
from keepsight.scoring.negation import COPULAS, ends_clause, sentence_numbers
from keepsight.scoring.words import ARTICLE, Token, number_words, word_set

__all__ = ["Part", "parts_of"]

# ---- word lists: what a word does in an answer ----

_ARTICLES = word_set("a an the some another my your its") | {ARTICLE}
_PREPOSITIONS = word_set(
    "in on at with by for from near next behind beside beneath under underneath over above below inside outside into "
    "onto through between among against along across around during to toward towards within upon amid"
)
_RELATIVES = word_set("that which who whose where while when as because than so since if")
_PRONOUNS = word_set(
    "i we you it they he she this that these those there here what which who me us his her their"
)
_AUXILIARIES = word_set(
    "do does did ca wo can could may might must shall should will would been am get got 'm 've 'll 'd"
)
_ADVERBS = word_set(
    "also actually clearly definitely probably possibly perhaps maybe likely presumably apparently just only simply "
    "most mostly very really quite rather still now then too instead however unsure certain sure never"
)
_JOINING = word_set(
    "and or but nor not no n't cannot either neither both without of other nothing doubt well"
)
_POLITE = word_set("yes ok okay please sorry think believe guess suppose")
_AMOUNTS = word_set("several many multiple various few")
_CONTRASTS = word_set("but however")
# Verbs that hand over from a template to the answer: "the image shows a cat".
_LINKING = word_set(
    "shows show showing depicts depict depicting displays display displaying features feature featuring represents "
    "represent portrays resembles looks look looking seems seem appears appear called named see contains contain "
    "containing includes include including has have having says say reads read being"
)
_POSSESSING = word_set("has have having contains contain containing includes include")
_OTHER_VERBS = word_set("holds hold stands sits lies wears eats runs flies rides")
_SHOWN = word_set(
    "shown depicted pictured displayed visible present seen classified identified labelled labeled"
)
# Words for the picture or for whatever is in it: they never add to an answer.
_IMAGE = word_set("image picture photo photograph scene painting drawing sketch illustration rendering")
_PICTURE = _IMAGE | word_set(
    "images pictures photos object objects close up closeup view shot type kind sort single main depiction final correct"
)
# Words for the kind of answer: part of the template before the verb and beside a label ("the letter A").
_KINDS = word_set(
    "number numbers digit digits letter letters character shape shapes symbol color colour colors colours texture "
    "pattern suit card cards figure word animal vehicle capital uppercase lowercase option choice thing item answer "
    "label class category question prediction"
)
_COLOURS = word_set(
    "red green blue yellow orange purple pink brown black white grey gray cyan magenta violet turquoise gold silver "
    "beige navy teal maroon lime indigo crimson"
)
# A foreign number or colour before a noun only qualifies it.
_QUALIFIERS = _COLOURS | {" ".join(words) for words in number_words()}

_FILLERS = (
    _PRONOUNS | _AUXILIARIES | _ADVERBS | word_set("like to be as of not n't either both and or is are")
)
_VERBS = COPULAS | _LINKING | _OTHER_VERBS | _AUXILIARIES
_TEMPLATE = (
    _ARTICLES | _PREPOSITIONS | _RELATIVES | _FILLERS | _JOINING | _POLITE | _SHOWN | _PICTURE | _KINDS | _AMOUNTS
)  # fmt: skip
_STOPS = (_TEMPLATE | COPULAS | _LINKING) - _KINDS - _AMOUNTS
_BEFORE_ANSWER = _ARTICLES | _FILLERS | _PICTURE | {"of"}
_LONGEST_ANSWER = 20  # words


@dataclass(frozen=True)
class Part:
    """One sentence of an answer. Mentions are in order of place; denied ones are only in `denied`."""

    head: tuple[Mention, ...]
    rest: tuple[Mention, ...]
    named: tuple[Mention, ...]  # all labels of the sentence, wherever they stand
    denied: tuple[Mention, ...]
    contradiction: tuple[Mention, ...]  # "The airplane is 8.": the subject's label, then the predicate's
    content: tuple[str, ...]  # words that add something beyond labels and template
    answer: str  # the words of the head, lower case
    final: bool  # "The answer is ..."


Place = tuple[Mention, int, int]  # a mention, the index of its first word, and of the word after it


def parts_of(text: str, matcher: LabelMatcher) -> tuple[list[Part], bool]:
    """The sentences of `text` taken apart, exact repeats left out, and whether there were any.

    What follows a "but" is a sentence of its own: "It is hard to say, | but I think it is a frog".
    """
    tokens, places = matcher.read(text)
    numbers = sentence_numbers(tokens)
    starts = [
        index
        for index in range(len(tokens))
        if index == 0 or numbers[index] != numbers[index - 1] or tokens[index].text in _CONTRASTS
    ]
    inside: dict[int, list[Place]] = {}
    for mention, first, after in places:
        start = starts[bisect_right(starts, first) - 1]
        inside.setdefault(start, []).append((mention, first - start, after - start))
    parts: dict[tuple[str, ...], Part] = {}
    for start, end in pairwise([*starts, len(tokens)]):
        words = tuple(token.text for token in tokens[start:end])
        if words not in parts:
            parts[words] = _Sentence(text, tokens[start:end], inside.get(start, [])).part()
    return list(parts.values()), len(parts) < len(starts)


class _Sentence:
    """The words of one sentence, the labels in it, and where its answer begins."""

    def __init__(self, text: str, tokens: Sequence[Token], places: Sequence[Place]) -> None:
        self.text = text
        self.tokens = tokens
        self.words = [token.text for token in tokens]
        self.places = places
        self.labelled = {index for _, first, after in places for index in range(first, after)}
        self.copula: int | None = None  # behind a subject that names a label: "The airplane | is 8"
        self.subject = 0  # where a subject begins that is not template: "I think | a man | is riding a horse"
        self.start = self._find_answer()

    def part(self) -> Part:
        """The sentence as the taxonomy reads it."""
        end = self._head_end(self.start)
        head = self._named(self.start, end)
        own = [mention for mention in head if mention.source is None]
        contradiction = self._contradiction(own)
        return Part(
            head=tuple(head),
            named=tuple(mention for mention, _, _ in self.places if not mention.negated),
            rest=tuple(self._named(end, len(self.words))),
            denied=tuple(mention for mention, _, _ in self.places if mention.negated),
            contradiction=tuple(contradiction),
            content=tuple(self._content(contradiction or own or head)),
            answer=self._answer(),
            final="answer" in self.words[: self.start + 1] and 0 not in self.labelled,
        )

    def _find_answer(self) -> int:
        """Steps over subjects that say nothing: "I think | the object in the image is | a cat"."""
        start = 0
        for verb in self._verbs():
            subject = range(start, verb)
            copula = self.words[verb] in COPULAS
            if self.labelled.intersection(subject):
                if copula and self._only_predicate_is_own(start, verb):
                    return self._skip_fillers(verb + 1)
                self.copula = verb if copula and self.words[verb - 1] not in _RELATIVES else None
                return start
            words = [self.words[index] for index in subject]
            template = _TEMPLATE.issuperset(words) or not _IMAGE.isdisjoint(words)
            if not template and (start > 0 or not copula):
                break
            if template and self.words[verb] in _POSSESSING and _IMAGE.isdisjoint(words):  # "it has a tail"
                break
            start = verb + 1
            if template:
                self.subject = start
        return self._skip_fillers(start)

    def _only_predicate_is_own(self, start: int, verb: int) -> bool:
        """ "The circle is 8." where 8 is one of the labels asked for and circle is not."""
        subject = self._named(start, verb)
        predicate = self._skip_fillers(verb + 1)
        own = [m for m in self._named(predicate, self._head_end(predicate)) if m.source is None]
        return bool(own) and all(mention.source is not None for mention in subject)

    def _verbs(self) -> Iterator[int]:
        for index, word in enumerate(self.words):
            if index in self.labelled or word not in COPULAS | _LINKING:
                continue
            possessive = word == "'s" and (index == 0 or self.words[index - 1] not in _TEMPLATE)
            if not possessive:
                yield index

    def _skip_fillers(self, start: int) -> int:
        while start < len(self.words) and start not in self.labelled and self.words[start] in _FILLERS:
            start += 1
        return start

    def _head_end(self, start: int) -> int:
        """The first word after `start` that opens a modifier."""
        for index in range(start, len(self.words)):
            if index not in self.labelled and self._opens_modifier(index, start):
                return index
        return len(self.words)

    def _opens_modifier(self, index: int, start: int) -> bool:
        word = self.words[index]
        if word in _PREPOSITIONS or word in _RELATIVES or word in _VERBS:
            return True
        if not word.endswith("ing") or len(word) < 5:
            return False
        following = self.words[index + 1] if index + 1 < len(self.words) else ""
        if following and ends_clause(self.tokens[index + 1].gap):
            following = ","
        # "standing in", "riding a horse", "a dog running" are verbs; "a flying bird" is not
        after_label = index - 1 in self.labelled and index > start
        return index == start or after_label or following in _ARTICLES | _PREPOSITIONS | {""}

    def _named(self, start: int, end: int) -> list[Mention]:
        """Labels in words [start, end) that are named as such: neither denied nor a mere "two" or "red" of another set."""
        return [
            mention
            for mention, first, after in self.places
            if start <= first < end and not mention.negated and not self._only_qualifies(mention, after)
        ]

    def _only_qualifies(self, mention: Mention, after: int) -> bool:
        """A foreign number or colour before a noun: "two dogs", "a red shoe"."""
        if mention.source is None or mention.label.casefold() not in _QUALIFIERS or after >= len(self.words):
            return False
        noun = after in self.labelled or self.words[after] not in _STOPS
        return noun and not ends_clause(self.tokens[after].gap)

    def _contradiction(self, own: Sequence[Mention]) -> list[Mention]:
        """The subject's own labels and the predicate's, if the predicate calls them by another name."""
        if self.copula is None or not own or self._clause_ends_before(self.copula, own[-1]):
            return []
        start = self._skip_fillers(self.copula + 1)
        bare = self.tokens[start].start if start in self.labelled else None
        names = {mention.label for mention in own}
        others = [
            mention
            for mention in self._named(start, self._head_end(start))
            if mention.label not in names and not self._attribute(mention, bare, names)
        ]
        return [*own, *others] if others else []

    def _clause_ends_before(self, verb: int, label: Mention) -> bool:
        """ "a cat, and the background is a truck": the cat is not what "is" speaks of."""
        return any(
            token.start > label.start and ends_clause(token.gap) for token in self.tokens[1 : verb + 1]
        )

    def _attribute(self, mention: Mention, bare: int | None, names: set[str]) -> bool:
        """ "The circle is red" adds a property; "The circle is a red", "The red is blue" do not."""
        colours = any(name.casefold() in _COLOURS for name in names)
        return mention.start == bare and not colours and mention.label.casefold() in _COLOURS

    def _content(self, answers: Sequence[Mention]) -> Iterator[str]:
        """Words that are neither template nor part of an answer, given or denied."""
        labels = {mention.label for mention in answers}
        used = {
            index
            for mention, first, after in self.places
            if mention.label in labels or mention.negated
            for index in range(first, after)
        }
        for index, word in enumerate(self.words):
            if index in used or word in _STOPS:
                continue
            if word in _KINDS and (index < self.start or self.copula or self._beside_label(index)):
                continue
            inside_unspaced = (
                index > 0 and len(word) == 1 and not word.isascii() and self.tokens[index].gap == ""
            )
            if not inside_unspaced:
                yield word

    def _beside_label(self, index: int) -> bool:
        """ "letter D", "star shape", "capital letter D"."""
        after = index + 1
        while after < len(self.words) and self.words[after] in _KINDS and after not in self.labelled:
            after += 1
        return after in self.labelled or index - 1 in self.labelled

    def _answer(self) -> str:
        """The words given as the answer, without articles and "picture of"."""
        start = min(self.start, self.subject)
        while start < len(self.words) and start not in self.labelled and self.words[start] in _BEFORE_ANSWER:
            start += 1
        given = self.tokens[start : start + _LONGEST_ANSWER]
        return self.text[given[0].start : given[-1].end].lower() if given else ""
