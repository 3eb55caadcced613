"""What a user is told when something is wrong, without ever telling a key.

A message may quote a command line, a URL or a server's words, so `KeepsightError` blots keys out when it is made:
whatever shows or stores it later need not think of them.
"""

from __future__ import annotations

import os
import re

__all__ = ["KeepsightError", "UsageError", "redacted"]

_BLOT = "***"
_SHORTEST = 8  # a shorter value of a variable would be found inside ordinary words
_KEY_NAME = r"(?:[\w-]*[_-])?(?:api_?key|key|token|secret|password|passwd|authorization)"
_SECRET_VARIABLE = re.compile(r"(?i)(?:key|token|secret|password|passwd|credentials?)$")
_FORMS = (
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/?#'\"]*@"), rf"\1{_BLOT}@"),  # scheme://user:pass@host
    (re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]*\d[\w.~+/=-]*"), rf"\1{_BLOT}"),
    (re.compile(rf"(?i)(--{_KEY_NAME}\s+)[^\s,]+"), rf"\1{_BLOT}"),
    (re.compile(rf"(?i)(?<![\w-])({_KEY_NAME}[\"']?\s*=\s*[\"']?)[^\s,&\"']+"), rf"\1{_BLOT}"),
    (re.compile(rf"(?i)([\"']{_KEY_NAME}[\"']\s*:\s*[\"'])[^\"']+"), rf"\1{_BLOT}"),
    (re.compile(r"\b(?:sk-|hf_|gh[pousr]_|xox[abp]-|AIza)[\w-]{12,}"), _BLOT),  # issuers mark their keys
)


class KeepsightError(Exception):
    """A failure the user can mend. The message is one line: which thing, what is wrong, what to do."""

    def __init__(self, message: object = "") -> None:
        # A file name need not be UTF-8; its odd bytes must not make the message unwritable.
        text = str(message).encode("utf-8", "backslashreplace").decode()
        super().__init__(redacted(text))


class UsageError(KeepsightError):
    """An option or setting that does not exist, or a value that it does not take: the command line exits with 2."""


def redacted(text: str) -> str:
    """`text` without keys: named ones, those in URLs, and the values of variables that are called KEY, TOKEN, ..."""
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST and value in text and _SECRET_VARIABLE.search(name):
            text = text.replace(value, _BLOT)
    for form, blotted in _FORMS:
        text = form.sub(blotted, text)
    return text
