"""One request over HTTP, and what became of it. Nothing raises: a failed request is a `Trouble` that says what to do.

Redirects are not followed, because pictures and key would go along.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from keepsight.models.api.address import Address
from keepsight.models.api.keys import Key

if TYPE_CHECKING:
    import httpx

__all__ = ["Server", "Trouble", "seconds_to_wait"]

MAX_BYTES = 8_000_000  # of one reply; a long answer with log-probabilities has a tenth of it
_SHOWN = 200  # characters of a server's own words
_BUSY = {408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529}
_OUT_OF_MONEY = {"insufficient_quota", "billing_hard_limit_reached", "insufficient_balance"}


@dataclass(frozen=True)
class Trouble:
    """Why a request brought no usable reply. `reason` is one line without the key."""

    reason: str
    again: bool = False  # the same request may well succeed later
    busy: bool = False  # the server should be asked less
    wait: float | None = None  # seconds the server asks for
    hopeless: bool = False  # no other request can succeed either
    otherwise: bool = False  # the same question, which is now put in another way, may well succeed at once
    maybe_paid: bool = False  # an answer may have been made and charged
    status: int | None = None  # of HTTP, where there was one


class Server:
    """Where requests go, with which key, and how long they may take."""

    def __init__(self, address: Address, key: Key | None, timeout: float) -> None:
        self.address = address
        self.timeout = timeout
        self._key = key

    def client(self, most: int) -> httpx.AsyncClient:
        """The one client of a call, with at most so many connections."""
        import httpx

        return httpx.AsyncClient(
            headers={"Accept-Encoding": "identity", **(self._key.header if self._key else {})},
            timeout=httpx.Timeout(self.timeout, pool=None),
            limits=httpx.Limits(max_connections=most, max_keepalive_connections=most),
            follow_redirects=False,
            trust_env=not self.address.is_here,  # a proxy does not lead back to this machine
        )

    def hide(self, text: str) -> str:
        """`text` without the key."""
        return self._key.hide(text) if self._key else text

    async def send(
        self, client: httpx.AsyncClient, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | Trouble:
        """The JSON object that comes back, or what went wrong."""
        import httpx

        try:
            work = self._exchange(client, method, f"{self.address.base_url}/{path}", body)
            return await asyncio.wait_for(work, self.timeout)
        except (asyncio.TimeoutError, httpx.TimeoutException):
            reason = f"no answer within {self.timeout:g} s"
            return Trouble(reason, again=True, busy=True, maybe_paid=True)
        except httpx.ConnectError as error:
            return Trouble(f"cannot be reached: {self._told(str(error))}", again=True, busy=True)
        except (httpx.TransportError, httpx.DecodingError) as error:
            reason = f"the connection broke off ({type(error).__name__})"
            return Trouble(reason, again=True, busy=True, maybe_paid=True)

    async def _exchange(
        self, client: httpx.AsyncClient, method: str, url: str, body: Mapping[str, Any] | None
    ) -> dict[str, Any] | Trouble:
        async with client.stream(method, url, json=body) as response:
            data = bytearray()
            async for chunk in response.aiter_bytes():
                data += chunk
                if len(data) > MAX_BYTES:
                    return Trouble(f"an answer of more than {MAX_BYTES:,} bytes", maybe_paid=True)
        if response.is_redirect:
            return self._redirected(response)
        found = _json_object(bytes(data))
        if not response.is_success:
            return self._refused(response.status_code, found, response.headers)
        if found is None:
            return Trouble("an answer that is not JSON, or cut off", again=True, maybe_paid=True)
        if (
            isinstance(found.get("error"), dict) and "choices" not in found
        ):  # some gateways fail with status 200
            code = found["error"].get("code")
            return self._refused(code if isinstance(code, int) else 500, found, response.headers)
        return found

    def _redirected(self, response: httpx.Response) -> Trouble:
        target = urlsplit(response.headers.get("location", ""))
        where = (
            self._told(f"{target.scheme}://{target.netloc.rpartition('@')[2]}")
            if target.netloc
            else "another path"
        )
        reason = f"HTTP {response.status_code}, a redirect to {where}, which is not followed; give the final address"
        return Trouble(reason, hopeless=True)

    def _refused(self, status: int, body: dict[str, Any] | None, headers: Mapping[str, str]) -> Trouble:
        error = (body or {}).get("error")
        error = error if isinstance(error, dict) else {"message": error or (body or {}).get("message")}
        code = str(error.get("code") or error.get("type") or "")
        words = error.get("message") or (body or {}).get("detail") or ""  # FastAPI's servers say `detail`
        named = error.get("param")
        told = self._told(
            f"{words} (parameter {named})" if named and str(named) not in str(words) else str(words)
        )
        reason = f"HTTP {status}{f': {told}' if told else ''}"
        if status == 401:  # its words are left out: they often quote the key
            reason = "HTTP 401, the key is missing or wrong; check KEEPSIGHT_API_KEY or the key file"
            return Trouble(reason, hopeless=True, status=status)
        if status == 402 or code in _OUT_OF_MONEY:
            return Trouble(reason, hopeless=True, status=status)
        if status == 404:
            reason = f"{reason}; check the model's name and the base URL"
            return Trouble(reason, hopeless=True, status=status)
        if status in _BUSY:
            return Trouble(reason, again=True, busy=True, wait=seconds_to_wait(headers), status=status)
        return Trouble(reason, status=status)

    def _told(self, words: str) -> str:
        """The start of what a server says, on one line and fit to print."""
        line = " ".join(self.hide(words).split())
        line = "".join(mark for mark in line if mark.isprintable())
        return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."


def _json_object(data: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(data, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def seconds_to_wait(headers: Mapping[str, str]) -> float | None:
    """What a Retry-After header asks for (RFC 9110, 10.2.3: seconds or a date); None if it is absent or broken.

    A date is compared with the server's own clock where it shows it.
    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    except ValueError:
        pass
    until = _moment(text)
    now = _moment(headers.get("date", "")) or time.time()
    return None if until is None else max(0.0, until - now)


def _moment(text: str) -> float | None:
    """Seconds since 1970 of an HTTP date."""
    try:
        moment: datetime = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
