"""The key to a server: where it is looked for, and how it is kept out of everything that is written or shown."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from keepsight.types import KeepsightError

__all__ = ["KEY_FILE", "KEY_VARIABLE", "Key", "find_key"]

KEY_VARIABLE = "KEEPSIGHT_API_KEY"  # sent to whatever server is asked
KEY_FILE = "KEEPSIGHT_KEY_FILE"  # names a key file
_OWN_VARIABLES = {"api.openai.com": "OPENAI_API_KEY"}  # sent to this host alone
_SECRET_LENGTH = (
    8  # shorter ones are placeholders ("EMPTY", "none"); hiding them would blot out ordinary words
)


class Key:
    """A key that shows itself to the HTTP client alone."""

    __slots__ = ("__text",)

    def __init__(self, text: str, source: str) -> None:
        text = text.strip()
        if not text or not text.isascii() or not text.isprintable() or " " in text:
            raise KeepsightError(
                f"the key in {source} is not one word of printable ASCII; write the key alone"
            )
        self.__text = text

    def __repr__(self) -> str:
        return "Key(***)"

    def __reduce__(self) -> str:
        raise TypeError("a key is not pickled")

    @property
    def header(self) -> Mapping[str, str]:
        """The header that carries it."""
        return {"Authorization": f"Bearer {self.__text}"}

    def hide(self, text: str) -> str:
        """`text` without the key: a server may say it back."""
        return text.replace(self.__text, "***") if len(self.__text) >= _SECRET_LENGTH else text


def find_key(host: str, key_env: str | None = None, key_file: str | None = None) -> Key | None:
    """The key for `host`, or None if there is none: many servers of one's own need none.

    Looked for in this order: the file `key_file`, the environment variable `key_env`, the file that KEEPSIGHT_KEY_FILE
    names, KEEPSIGHT_API_KEY, and for api.openai.com OPENAI_API_KEY. A key file holds one key, or lines `HOST KEY`;
    a key beside a host is never sent to another.

    Raises:
        KeepsightError: the file or variable that was asked for is not there, or holds no key for this host.
    """
    if key_file is not None:
        found = _from_file(Path(key_file).expanduser(), host)
        if found is None:
            raise KeepsightError(f"key file {key_file} has no key for {host}; add a line '{host} KEY'")
        return found
    if key_env is not None:
        if not os.environ.get(key_env):
            raise KeepsightError(f"environment variable {key_env}, which key_env names, is not set")
        return Key(os.environ[key_env], key_env)
    if os.environ.get(KEY_FILE):
        found = _from_file(Path(os.environ[KEY_FILE]).expanduser(), host)
        if found is not None:
            return found
    for variable in (KEY_VARIABLE, _OWN_VARIABLES.get(host, "")):
        if os.environ.get(variable):
            return Key(os.environ[variable], variable)
    return None


def _from_file(path: Path, host: str) -> Key | None:
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise KeepsightError(f"key file {path} cannot be read: {reason}") from None
    lines = [words for words in lines if words and not words[0].startswith("#")]
    if any(len(words) > 2 for words in lines):
        raise KeepsightError(f"key file {path}: a line is neither 'KEY' nor 'HOST KEY'")
    own = [words[1] for words in lines if len(words) == 2 and words[0] == host]
    general = [words[0] for words in lines if len(words) == 1]
    if len(own) > 1 or len(general) > 1:
        raise KeepsightError(f"key file {path} has two keys for {host}; leave one")
    return Key((own or general)[0], f"key file {path}") if own or general else None
