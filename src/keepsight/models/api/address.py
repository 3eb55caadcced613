"""Which model on which server: the part of a ref after `api:`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from keepsight.types import KeepsightError

__all__ = ["Address", "parse_address"]

_LOCATION = re.compile(r"(?P<model>.+)@(?P<url>https?://.*)", re.DOTALL)


@dataclass(frozen=True)
class Address:
    """`model` as the server calls it, and the URL below which `/chat/completions` lies."""

    model: str
    base_url: str
    host: str  # without the port

    @property
    def name(self) -> str:
        """The ref."""
        return f"api:{self.model}@{self.base_url}"

    @property
    def is_here(self) -> bool:
        """Whether the server runs on this machine."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def parse_address(location: str) -> Address:
    """Splits `model@base_url`; a trailing `/` or `/chat/completions` is left out.

    Raises:
        KeepsightError: no model or URL, or a URL with a password or a query. It is not repeated then: it may hold a key.
    """
    match = _LOCATION.fullmatch(location)
    if match is None:
        raise KeepsightError(
            f"model 'api:{location.partition('?')[0]}' is not understood: write api:MODEL@BASE_URL, "
            "e.g. api:my-model@http://localhost:8000/v1"
        )
    model, url = match["model"], match["url"]
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise KeepsightError(
            f"model api:{model}@...: its URL is broken; write http(s)://HOST:PORT/v1"
        ) from None
    if (
        parts.username is not None
        or parts.query
        or parts.fragment
        or not parts.hostname
        or not url.isprintable()
    ):
        raise KeepsightError(
            f"model api:{model}@...: write http(s)://HOST:PORT/v1, without user, password or ?query; a key belongs in "
            "the environment or a key file"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    path = parts.path.rstrip("/").removesuffix("/chat/completions").rstrip("/")
    return Address(model, f"{parts.scheme}://{host}{f':{port}' if port else ''}{path}", parts.hostname)
