"""Whether an observation tells of an intersection that is here.

A text is cut into clauses. Of each mention of an intersection three questions are asked: is it denied by a word before it in
its clause, is it still to come, is it denied by what follows. A mention without a yes tells of an intersection. These are
rules of words, not of grammar: what no rule knows counts as told.
"""

from __future__ import annotations

import re

__all__ = ["tells_of_intersection"]

_REACH = 200  # characters before and after a mention that are looked at
_QUOTES = str.maketrans("‘’ʼ`´“”", "'''''\"\"")
_CLAUSE_ENDS = re.compile(
    r"[.;!()\n]"
    r"|\s[-–—]\s(?!\s*(?:no|none|not)\b)"
    r"|,(?!(?:[^,.;!()\n]{1,40},){0,3}\s*or\b)"  # no "a, b, or c": one denial of all
    r"|\band\b(?!\s+(?:any\s+)?intersections?\b(?!\s+(?:is|are|was|were|has|can)\b))"  # no "a and b", in the same way
    r"|\b(?:but|however|though|although|while|whereas|because|so|where)\b"
    r"|\b(?<!think )(?<!that )(?=(?:i|you|we)\s+(?:can\s+)?(?:observe|see)\b)"
)
_INTERSECTION = re.compile(r"\bintersections?\b")
_NOT = r"(?:not|cannot|never|nowhere|\w+n't|(?:ca|do|does|did|is|are|was|have|has)nt)"
# Until and before it one is not there either.
_DENIAL = re.compile(
    rf"\b(?:{_NOT}|no|zero|neither|nor|none|without|unable|lack|lacks|lacking|absence|until|till|before|yet to)\b"
)
_WHICH = r"(?:(?:the|an?|any|this|that|another|next|current|same)\s+){0,3}"
_PLACE = re.compile(rf"\b(?:at|near|by|around|on|in|from|beside|next to)\s+{_WHICH}$")
# What may stand between "not" and "at an intersection"; in "no landmark at the intersection" the landmark is what is not.
_BEING = frozenset(
    ("actually", "am", "anywhere", "appear", "are", "arrived", "be", "been", "being", "certain", "currently", "even", "exactly",
     "far", "i", "located", "now", "positioned", "quite", "really", "right", "seem", "standing", "stopped", "sure", "there",
     "think", "to", "we", "yet", "you")
)  # fmt: skip
_TO_COME = re.compile(
    r"\b(?:towards?|approach(?:ing|es)?|nearing|past|between|leaving|ahead|(?:away|far) from|to reach|(?:half)?way to)\b"
    r"|\b(?:mov|walk|head|go|gett?|proceed|continu|advanc)(?:e|ing)?\b.*\b(?:to|for)\b"
    r"|\b(?:next|upcoming)\s+$"
)
_REACHED = re.compile(rf"\b(?:at|reached|(?<!to )reach|entered|on|in)\s+{_WHICH}$")
_STATE = (
    r"(?:is|are|was|were|has|have|can|could|be|been|still|yet|just|lies|here|visible|nearby|detected|present|observed|coming"
    r"|further|straight|up|some|a|few|steps?|blocks?|met(?:er|re)s?)"
)
_DENIED_AFTER = re.compile(
    rf"\W{{0,4}}(?:{_STATE}\W+){{0,5}}(?:"
    rf"{_NOT}\b(?!\s+(?:the|at|have|show|contain|near\s+\w))"
    r"|(?:null|false|absent|missing|ahead|away|out of|in the distance)\b"
    r"|none\b(?!\s+of)|far\b(?:\s+from\s+(?:here|me|us))?(?!\s+from)"
    r"|(?:no|0)\b(?=\W*(?:$|intersection))"
    r"|do(?:es)?(?: not|n't) (?:appear|exist|seem)\b"
    r")"
)


def tells_of_intersection(text: str) -> bool:
    """Whether `text` says that there is an intersection here."""
    return any(
        _is_here(
            clause[max(0, word.start() - _REACH) : word.start()], clause[word.end() : word.end() + _REACH]
        )
        for clause in _CLAUSE_ENDS.split(text.translate(_QUOTES).casefold())
        for word in _INTERSECTION.finditer(clause)
    )


def _is_here(before: str, after: str) -> bool:
    return not (_is_denied(before) or _is_to_come(before) or _DENIED_AFTER.match(after))


def _is_denied(before: str) -> bool:
    """Whether the last denial reaches as far as the intersection, and not only to something that is at it."""
    denials = list(_DENIAL.finditer(before))
    if not denials:
        return False
    between = before[denials[-1].end() :]
    place = _PLACE.search(between)
    return place is None or _BEING.issuperset(between[: place.start()].split())


def _is_to_come(before: str) -> bool:
    return _TO_COME.search(before) is not None and _REACHED.search(before) is None
