"""Telling an answer that declines ("I'm sorry, I cannot see the image") from one that only names no label."""

from __future__ import annotations

import re

__all__ = ["declines", "does_not_know"]

_START = 400  # characters; a refusal says so at once
_VERB = (
    r"(?:identif|recogni[sz]|determin|answer|help|assist|provid|process|analy[sz]|comply|describ|classif|fulfill|fulfil|"
    r"engag|discuss|continu|do th(?:at|is))[a-z]*|(?:see|view|display|open|access)[a-z]* "
    r"(?:\w+ ){0,2}(?:images?|pictures?|photos?|attachments?|files?|it)"
)
_DECLINES = re.compile(
    rf"\b(?:i|we) ?(?:['’]?m|am|are|['’]re)? ?(?:cannot|can['’]?t|can not|could not|couldn['’]?t|won['’]?t|will not|"
    rf"unable to|not able to|not allowed to|not permitted to) (?:\w+ )?(?:{_VERB})\b"
    rf"|\bas an? (?:ai|artificial intelligence|language model|large language model)\b"
    rf"|^\W*(?:i['’]?m |i am )?(?:very |really )?sorry\b|^\W*(?:i |my )?apologi[sz]e|^\W*my apologies\b"
    rf"|^\W*(?:unable|not able) to (?:{_VERB})\b"
)
_DOES_NOT_KNOW = re.compile(
    r"\b(?:i|we) (?:do not|don['’]?t) (?:really )?know\b|\b(?:i|we) (?:cannot|can['’]?t|can not) (?:tell|say)\b"
    r"|\bnone of (?:the above|these|them|those)\b|\b(?:it is|it['’]?s|is) (?:unclear|unknown|not clear)\b"
    r"|^\W*(?:unclear|unknown|unsure|not sure|no idea|none|nothing|n/a)\W*$|\bno idea\b"
)


def declines(text: str) -> bool:
    """Does the answer refuse, or say that it cannot see or judge the picture?"""
    return _DECLINES.search(_start(text)) is not None


def does_not_know(text: str) -> bool:
    """Does the answer say that it has none?"""
    return _DOES_NOT_KNOW.search(_start(text)) is not None


def _start(text: str) -> str:
    return " ".join(text[:_START].casefold().split())
