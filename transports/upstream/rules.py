"""What all upstream calls have in common, whoever waits for them: how a request is put, what the
framing of a response says, and which connections are kept. Faults are in `faults`.
"""

from __future__ import annotations

import functools
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Generic, Protocol, TypeAlias, TypeVar
from urllib.parse import unquote

import attrs
import certifi
import httpcore

from grokproto.commands import UpstreamRequest

KEEPALIVE = 50.0
"""Seconds an idle connection is kept; servers close theirs after 60 or more."""
_MAX_IDLE = 64
"""Idle connections kept for one origin, and the same cookies where these are kept apart."""
MAX_IDLE_OF_ALL = 256
"""Idle connections kept. Each is a descriptor, and users may be many."""
_WRITE_TIMEOUT = 60.0


@attrs.frozen
class UpstreamConfig:
    """How far ends are reached. Times in seconds."""

    proxy: str | None = attrs.field(default=None, repr=False)
    """http, https, socks5 or socks5h address, perhaps with user and password."""

    connect_timeout: float = 10.0
    apart: bool = False
    """Use a connection again only with the same cookies."""


@attrs.frozen
class Fetched:
    """A whole response."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


# Requests and responses


def build_request(
    request: UpstreamRequest, url: httpcore.URL, config: UpstreamConfig
) -> httpcore.Request:
    """A request as httpcore takes it."""
    headers = [(b"host", tell_host(url))]
    headers += [(n.encode("ascii"), v.encode("latin-1")) for n, v in request.headers]
    if request.body or request.method not in ("GET", "HEAD"):
        headers.append((b"content-length", str(len(request.body)).encode()))
    built = httpcore.Request(
        request.method,
        url,
        content=_Content(request.body),
        extensions={"timeout": {"connect": config.connect_timeout, "write": _WRITE_TIMEOUT}},
    )
    built.headers = headers  # given to it above, each would be looked at whether it is bytes
    return built


@functools.lru_cache(maxsize=64)
def parse_url(url: str) -> httpcore.URL:
    """An address as httpcore takes it. Most requests go to one of a few."""
    return httpcore.URL(url)


class _Content:
    """The body of a request, for either of httpcore's kinds.

    httpcore's own is a generator; where a task is cancelled while it sends, that is left to the
    garbage collector, which cannot end it.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        return iter((self._data,))

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Once(self._data)


class _Once:
    def __init__(self, data: bytes) -> None:
        self._left = [data]

    def __aiter__(self) -> _Once:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


def read_headers(response: httpcore.Response) -> tuple[tuple[str, str], ...]:
    """Those of a response, names in lower case."""
    return tuple(
        (name.decode("latin-1").lower(), value.decode("latin-1"))
        for name, value in response.headers
    )


def is_framed(method: str, response: httpcore.Response, fields: Mapping[str, str]) -> bool:
    """Whether the framing of a response marks its end; else the end of its connection does."""
    return (
        "content-length" in fields
        or "transfer-encoding" in fields
        or response.extensions.get("http_version") == b"HTTP/2"
        or response.status in (204, 304)
        or method == "HEAD"
    )


def is_doubtful(response: httpcore.Response) -> bool:
    """Whether there are two opinions on where a response ends.

    What comes behind the one end may be for the other still a part of it; so that nothing more may
    be asked over its connection.
    """
    names = {name.lower() for name, _ in response.headers}
    return b"transfer-encoding" in names and (
        b"content-length" in names or response.status in (204, 304)
    )


def holds_more(connection: object) -> bool:
    """Whether one of httpcore's connections has read more than a response over HTTP/1.1.

    It would take that for the response to the next request. It does not say so itself, and where
    it does not let us look, it is taken for granted: then it is not used again.
    """
    unread = find_unread(connection)
    return unread is None or bool(unread)


def find_unread(connection: object) -> bytes | None:
    """What was received over HTTP/1.1 and is no part of a response yet; None where there is no
    telling, as over HTTP/2."""
    for name in ("_http", "_connection", "_connection"):  # ours, a proxy's, httpcore's
        connection = getattr(connection, name, None) or connection
    state = getattr(connection, "_h11_state", None)
    return None if state is None else bytes(state.trailing_data[0])


def tell_host(url: httpcore.URL) -> bytes:
    """The header `host`."""
    default = {b"http": 80, b"https": 443}.get(url.scheme)
    host = b"[%b]" % url.host if b":" in url.host else url.host
    return host if url.port in (None, default) else b"%b:%d" % (host, url.port)


# Connections


def build_context() -> ssl.SSLContext:
    """The authorities that are trusted: the system's, those of SSL_CERT_FILE, and certifi's."""
    return _build_context(os.environ.get("SSL_CERT_FILE"))


@functools.lru_cache(maxsize=4)
def _build_context(_: str | None) -> ssl.SSLContext:
    """To read all of them takes as long as a hundred requests."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def build_proxy(address: str, context: ssl.SSLContext) -> httpcore.Proxy:
    """A proxy, by its address."""
    url = httpcore.URL(address)
    secure = url.scheme == b"https"
    scheme, rest = address.split("://", 1)
    credentials, _, host = rest.rpartition("@")
    auth: tuple[str, str] | None = None
    if credentials:
        user, _, password = credentials.partition(":")
        auth = (unquote(user), unquote(password))
    return httpcore.Proxy(f"{scheme}://{host}", auth=auth, ssl_context=context if secure else None)


class Connection(Protocol):
    """What is asked of a connection, of httpcore's of either kind."""

    def is_available(self) -> bool: ...
    def is_idle(self) -> bool: ...
    def has_expired(self) -> bool: ...


C = TypeVar("C", bound=Connection)

Place: TypeAlias = tuple[str, str]
"""Of free connections: the origin (an `Origin` itself cannot be a key), and the cookies that they
are for, where these are kept apart."""


class IdleConnections(Generic[C]):
    """Connections that nobody uses just now.

    Args:
        config: Says which may be used again.
    """

    def __init__(self, config: UpstreamConfig) -> None:
        self._config = config
        self._idle: dict[Place, list[C]] = {}

    def find_place(self, request: UpstreamRequest, origin: httpcore.Origin) -> Place:
        """Where the connections stand that a request may use."""
        cookies = dict(request.headers).get("cookie", "") if self._config.apart else ""
        return str(origin), cookies

    def pop(self, place: Place) -> C | None:
        """One of a place; it may have come to its end meanwhile."""
        idle = self._idle.get(place)
        return idle.pop() if idle else None

    def put(self, place: Place, connection: C) -> bool:
        """Keep a connection, if it is fit for that and there is room; say whether it is kept."""
        idle = self._idle.get(place, [])
        if (
            connection.is_idle()
            and connection.is_available()
            and len(idle) < _MAX_IDLE
            and sum(map(len, self._idle.values())) < MAX_IDLE_OF_ALL
        ):
            idle.append(connection)
            self._idle[place] = idle
            return True
        return False

    def drain(self, wanted: Callable[[C], bool]) -> Iterator[C]:
        """Take out those of a kind, one after the other, for somebody to close them."""
        drained: list[C] = []
        for place, connections in list(self._idle.items()):
            drained += [each for each in connections if wanted(each)]
            self._idle[place] = [each for each in connections if each not in drained]
            if not self._idle[place]:
                del self._idle[place]
        return iter(drained)
