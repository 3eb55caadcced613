"""Pictures at http(s) addresses, for those who ask for it: fetched under rules, once, into a cache by content.

The rules exist because a data file may come from a stranger and the machine that reads it can reach more than he can:

1. http and https only, no user or password in the address, no proxy, no cookies, no key is ever sent along.
2. The name is looked up here, *every* address it has must be public, and the connection goes to the very address that
   was checked: a name that means something else a moment later gains nothing.
3. A redirect is a new address under all the rules; from https it may not lead to http. At most five.
4. Size and time are capped, the time over everything together. Compressed transfers are refused.
5. What comes back must start like a picture, else it is not kept.
"""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from keepsight.data.confine import shown_url
from keepsight.data.pictures import suffix_of
from keepsight.limits import limit
from keepsight.types import KeepsightError, Media

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Connect", "RemotePicture", "RemotePictures", "Resolve", "public"]

Resolve = Callable[[str, int], list[str]]  # (host, port) -> IP addresses
Connect = Callable[[str, int, float], socket.socket]  # (IP address, port, seconds) -> a connected socket

_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_BLOCK = 1 << 16
# Site-local, for protocols, relays, documentation and segment routing: what Python says of these varies by version.
_PRIVATE = tuple(
    map(
        ipaddress.ip_network,
        ("fec0::/10", "192.0.0.0/24", "192.88.99.0/24", "3fff::/20", "5f00::/16"),
    )
)
# Globally routed by their numbers, but they carry an IPv4 address inside, which could be anybody's.
_TUNNELS = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))


@dataclass(frozen=True, eq=False)
class RemotePicture(Media):
    """A picture at an address; `path` is where the cache notes what was fetched from there."""

    url: str = ""
    source: RemotePictures | None = None

    @property
    def where(self) -> str:
        """The address, without what may be secret in it."""
        return shown_url(self.url)

    def read(self) -> bytes:
        """The encoded bytes, from the cache or fetched now. Raises KeepsightError as `RemotePictures.fetch` does."""
        assert self.source is not None
        return self.source.fetch(self.url)


class RemotePictures:
    """Fetches pictures under the rules above.

    Args:
        cache: folder that keeps what was fetched (default: `$KEEPSIGHT_CACHE`, else `~/.cache/keepsight`).
        resolve: how a host name becomes addresses.
        connect: how a checked address becomes a connection.
    """

    def __init__(
        self,
        cache: str | Path | None = None,
        *,
        resolve: Resolve | None = None,
        connect: Connect | None = None,
    ) -> None:
        self._cache = Path(cache) if cache is not None else _default_cache()
        self._resolve = resolve or _looked_up
        self._connect = connect or _connected

    def media(self, url: str) -> Media:
        """The picture at `url`, fetched when it is first read."""
        _checked(url)
        return RemotePicture(path=self._note(url), url=url, source=self)

    def fetch(self, url: str) -> bytes:
        """The bytes of the picture at `url`, checked against their digest if they come from the cache.

        Raises:
            KeepsightError: an address that breaks a rule, a server that does not answer with a picture, or too large
                or slow an answer.
        """
        known = self._kept(url)
        if known is not None:
            return known
        data = self._followed(url)
        try:
            suffix_of(Media(data=data))
        except KeepsightError as error:
            raise KeepsightError(f"{shown_url(url)} answered with something that is no picture") from error
        self._keep(url, data)
        return data

    # ---- cache: blobs by content, and what an address gave -------------------------------------------

    def _note(self, url: str) -> Path:
        return self._cache / "addresses" / hashlib.sha256(url.encode()).hexdigest()

    def _blob(self, digest: str) -> Path:
        return self._cache / "pictures" / digest

    def _kept(self, url: str) -> bytes | None:
        try:
            digest = self._note(url).read_text(encoding="ascii")
            data = self._blob(digest).read_bytes()
        except (OSError, ValueError):
            return None
        return data if hashlib.sha256(data).hexdigest() == digest else None

    def _keep(self, url: str, data: bytes) -> None:
        digest = hashlib.sha256(data).hexdigest()
        for path, content in ((self._blob(digest), data), (self._note(url), digest.encode())):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                unfinished = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
                unfinished.write_bytes(content)
                unfinished.replace(path)
            except OSError as error:
                raise KeepsightError(
                    f"cannot keep a remote picture in {path.parent}: {error.strerror}; set KEEPSIGHT_CACHE to a "
                    "folder that can be written"
                ) from error

    # ---- fetching -------------------------------------------------------------------------------------

    def _followed(self, url: str) -> bytes:
        """Goes where redirects lead, every step under all the rules."""
        deadline = time.monotonic() + limit("MAX_DOWNLOAD_SECONDS")
        here = url
        for _ in range(_MOST_REDIRECTS + 1):
            status, answer = self._asked(here, deadline)
            if status not in _REDIRECTS:
                return answer
            there = urljoin(here, answer.decode("latin-1"))
            if here.lower().startswith("https:") and there.lower().startswith("http:"):
                raise KeepsightError(f"{shown_url(url)} leads from https to http; download it yourself")
            here = there
        raise KeepsightError(f"{shown_url(url)} leads to more than {_MOST_REDIRECTS} other addresses")

    def _asked(self, url: str, deadline: float) -> tuple[int, bytes]:
        """(status, body) of one request; of a redirect, where it leads."""
        parts = _checked(url)
        secure = parts.scheme.lower() == "https"
        host, port = str(parts.hostname), parts.port or (443 if secure else 80)
        address = self._public_address(url, host, port)
        connection = http.client.HTTPConnection(host, port)
        try:
            connection.sock = self._connect(address, port, _left(deadline))
            if secure:  # the certificate must be the name's, although the address was dialled
                connection.sock = ssl.create_default_context().wrap_socket(
                    connection.sock, server_hostname=host, do_handshake_on_connect=False
                )
            with _until(deadline, connection.sock):
                if isinstance(connection.sock, ssl.SSLSocket):
                    connection.sock.do_handshake()
                connection.request(
                    "GET", _target(parts), headers={"Accept": "image/*", "Accept-Encoding": "identity"}
                )
                answer = _answer(connection.getresponse())
            _left(deadline)  # a body without a length looks whole where it was cut
            return answer
        except KeepsightError as error:
            raise KeepsightError(f"{shown_url(url)} {error}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            late = time.monotonic() >= deadline
            cause = (
                f"took more than {limit('MAX_DOWNLOAD_SECONDS')} seconds" if late else type(error).__name__
            )
            raise KeepsightError(
                f"cannot fetch {shown_url(url)}: {cause}; download it and give its path"
            ) from error
        finally:
            connection.close()

    def _public_address(self, url: str, host: str, port: int) -> str:
        """The address to dial. One private address among several is enough to refuse them all."""
        try:
            addresses = self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise KeepsightError(f"cannot fetch {shown_url(url)}: no such host, or no network") from error
        if not addresses or not all(map(public, addresses)):
            raise KeepsightError(
                f"cannot fetch {shown_url(url)}: its host is on a private network; download it and give its path"
            )
        return addresses[0]


def public(address: str) -> bool:
    """Whether an IP address is one of the open internet: not this machine, its network, or a cloud's metadata."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return public(str(found.ipv4_mapped))
        if any(found in network for network in _TUNNELS):
            return False
    if any(found in network for network in _PRIVATE):
        return False
    return found.is_global and not (found.is_multicast or found.is_reserved)


def _checked(url: str) -> SplitResult:
    """The parts of an address that may be asked for."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise KeepsightError(f"picture {shown_url(url)} is no address") from error
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
        raise KeepsightError(f"picture {shown_url(url)} is no http or https address")
    if parts.username is not None or parts.password is not None:
        raise KeepsightError(
            f"picture {shown_url(url)} has a user or password in its address; download it yourself"
        )
    if port == 0 or any(ord(letter) <= 32 or ord(letter) == 127 for letter in url):
        raise KeepsightError(
            f"picture {shown_url(url)!r} is no address: a port 0, a blank or a control character in it"
        )
    return parts


def _target(parts: SplitResult) -> str:
    """The path and query of a request in ASCII; what is percent-encoded already stays as it is."""
    target = parts.path or "/"
    return quote(f"{target}?{parts.query}" if parts.query else target, safe="/?%:@!$&'()*+,;=~-._")


def _answer(response: http.client.HTTPResponse) -> tuple[int, bytes]:
    """Reads one response under the size cap."""
    if response.status in _REDIRECTS:
        return response.status, response.getheader("Location", "").encode("latin-1", "replace")
    if response.status != 200:
        raise KeepsightError(f"answered {response.status}")
    if response.getheader("Content-Encoding", "identity").lower() != "identity":
        raise KeepsightError("answered with a compressed transfer, which is refused")
    most = limit("MAX_DOWNLOAD_BYTES")
    data = bytearray()
    while block := response.read1(_BLOCK):
        data += block
        if len(data) > most:
            raise KeepsightError(
                f"is larger than {most:,} bytes; set KEEPSIGHT_MAX_DOWNLOAD_BYTES to allow it"
            )
    if response.length:  # what was promised and did not come
        raise KeepsightError("ended too early")
    return response.status, bytes(data)


@contextmanager
def _until(deadline: float, dialled: socket.socket) -> Iterator[None]:
    """Cuts the connection at the deadline: a server that sends a byte now and then never runs into a socket's timeout."""
    timer = threading.Timer(_left(deadline), partial(_cut, dialled))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(dialled: socket.socket) -> None:
    try:
        socket.socket.shutdown(
            dialled, socket.SHUT_RDWR
        )  # also of TLS: no farewell to a server that is too slow
    except OSError:
        return  # closed in the meantime


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _looked_up(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _connected(address: str, port: int, seconds: float) -> socket.socket:
    return socket.create_connection((address, port), timeout=seconds)


def _default_cache() -> Path:
    named = os.environ.get("KEEPSIGHT_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "keepsight"
