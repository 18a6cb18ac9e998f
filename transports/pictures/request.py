"""One request for a picture: httpcore on trio, over a connection to addresses that were judged.

The name stays in the request, in TLS's server name and in the check of the certificate; only the
connection goes to an address. Each request has a connection of its own, which ends with it: what is
kept open to strangers for later is seldom used, and never needed.
"""

from __future__ import annotations

import contextlib
import functools
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import attrs
import certifi
import httpcore

from grokproto.images.guard import Fault, PictureFetchError, Target, is_allowed
from grokproto.media import MEDIA_TYPES, sniff_media_type

from ..loops import Loop
from ..loops.trio_loop import TRIO
from .guard import Allowed, Resolve, resolve_name

_HEADERS = (
    (b"accept", ", ".join(MEDIA_TYPES).encode()),
    (b"accept-encoding", b"identity"),  # a small body could become a very large one
    (b"user-agent", b"grokproto"),
    (b"connection", b"close"),
)
"""All that is sent besides the host; nothing of the client's, nothing of the operator's."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SNIFF_BYTES = 16
"""As many tell whether it is a picture; the rest of what is none is not read."""
_MAX_ADDRESSES = 4
_CONNECT_TIMEOUT = 5.0
"""Seconds for one address, before the next one is tried."""


@functools.cache
def build_context() -> ssl.SSLContext:
    """The authorities that are trusted: the system's, and those of `SSL_CERT_FILE`.

    One for all pictures: to read all of them takes as long as a hundred requests. It is not that of
    the calls to Grok, since httpcore writes into a context what its connections speak.
    """
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


@attrs.frozen
class FetchNetwork:
    """How the internet is reached. Only tests have reason to change any of it."""

    resolve: Resolve = resolve_name
    allowed: Allowed = is_allowed
    ssl_context: ssl.SSLContext = attrs.field(factory=build_context)
    backend: httpcore.AsyncNetworkBackend = attrs.field(factory=TRIO.make_backend)
    """Is given IP addresses only."""
    loop: Loop = TRIO
    """What all this runs on."""

    @staticmethod
    def on(loop: Loop) -> FetchNetwork:
        """The real internet, from another event loop."""
        resolve = functools.partial(resolve_name, loop=loop)
        return FetchNetwork(resolve, backend=loop.make_backend(), loop=loop)


@attrs.frozen
class Picture:
    """A picture that was fetched."""

    media_type: str
    """By its first bytes, whatever its sender said."""
    data: bytes = attrs.field(repr=False)


@attrs.frozen
class Redirect:
    """The picture is elsewhere."""

    location: str


class _Judged(httpcore.AsyncNetworkBackend):
    """Connects to the first of some addresses that will have it, whatever name is asked for."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend, addresses: Sequence[str]) -> None:
        self._backend = backend
        self._addresses = addresses
        self.stream: httpcore.AsyncNetworkStream | None = None
        """What was opened. httpcore forgets it when it is cancelled amid TLS's handshake."""

    async def connect_tcp(
        self,
        host: str,  # noqa: ARG002
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect.

        Raises:
            httpcore.ConnectError: To none of them.
            httpcore.ConnectTimeout: The last did not answer in time.
        """
        failed: Exception | None = None
        for address in self._addresses:
            try:
                self.stream = await self._backend.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
                return self.stream
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                failed = exc
        assert failed is not None, "there are addresses"
        raise failed


async def request_picture(
    target: Target, addresses: Sequence[str], *, max_bytes: int, network: FetchNetwork
) -> Picture | Redirect:
    """Ask for a picture, once. There is no limit of time here but that of whoever calls.

    Args:
        target: What to ask for.
        addresses: Where; judged. Not empty.
        max_bytes: The most it may have; no more than one read beyond it is taken.
        network: How.

    Raises:
        PictureFetchError: There is no picture, or none that may be had.
    """
    url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
    backend = _Judged(network.backend, addresses[:_MAX_ADDRESSES])
    connection = httpcore.AsyncHTTPConnection(
        origin=url.origin, ssl_context=network.ssl_context, network_backend=backend
    )
    request = httpcore.Request(
        "GET",
        url,
        headers=[(b"host", target.authority.encode()), *_HEADERS],
        extensions={"timeout": {"connect": _CONNECT_TIMEOUT}},
    )
    body: AsyncIterator[bytes] | None = None
    try:
        response = await connection.handle_async_request(request)
        body = response.aiter_stream()
        return await _read(response, body, max_bytes)
    except _FAULTS as exc:
        raise PictureFetchError(_tell(exc), Fault.FAR_END) from exc
    finally:
        await _close(connection, backend.stream, body, network.loop)


_FAULTS = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    ssl.SSLError,
    OSError,
)


async def _read(
    response: httpcore.Response, body: AsyncIterator[bytes], max_bytes: int
) -> Picture | Redirect:
    headers = {name.lower(): value for name, value in response.headers}
    location = headers.get(b"location")
    if response.status in _REDIRECTS and location is not None:
        return Redirect(location.decode("utf-8", "replace"))
    if response.status != 200:
        theirs = response.status >= 500 or response.status == 429
        fault = Fault.FAR_END if theirs else Fault.CLIENT
        raise PictureFetchError(f"its host answered {response.status}", fault)
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise PictureFetchError("its host sent it compressed, unasked", Fault.FAR_END)
    length = headers.get(b"content-length", b"0")
    if int(length) > max_bytes:  # h11 has seen to it that these are digits
        raise _too_large(max_bytes)
    data = bytearray()
    async for piece in body:
        unsure = len(data) < _SNIFF_BYTES
        data += piece
        if unsure and len(data) >= _SNIFF_BYTES:
            _sniff(data)
        if len(data) > max_bytes:
            raise _too_large(max_bytes)
    return Picture(_sniff(data), bytes(data))


def _sniff(data: bytearray) -> str:
    media_type = sniff_media_type(bytes(data[:_SNIFF_BYTES]))
    if media_type is None:
        reason = "what is there is no PNG, JPEG, WebP or GIF picture"
        raise PictureFetchError(reason, Fault.CLIENT)
    return media_type


def _too_large(max_bytes: int) -> PictureFetchError:
    mebibytes, rest = divmod(max_bytes, 2**20)
    size = f"{max_bytes} bytes" if rest else f"{mebibytes} MiB"
    return PictureFetchError(f"it is larger than {size}", Fault.CLIENT)


def _tell(exc: BaseException) -> str:
    """A fault in a few words, with nothing in them that the far end wrote."""
    if isinstance(exc, httpcore.ConnectTimeout):
        return "its host could not be reached in time"
    inner: BaseException | None = exc
    while inner is not None:
        if isinstance(inner, ssl.SSLCertVerificationError):
            return "its host has no certificate that can be trusted"
        if isinstance(inner, ssl.SSLError):
            return "no secure connection to its host could be made"
        inner = inner.__cause__ or inner.__context__
    if isinstance(exc, httpcore.ConnectError):
        return "its host could not be reached"
    return "its host broke the connection, or sent what is no answer"


async def _close(
    connection: httpcore.AsyncConnectionInterface,
    stream: httpcore.AsyncNetworkStream | None,
    body: AsyncIterator[bytes] | None,
    loop: Loop,
) -> None:
    """Close a connection, and run the generators of its body to their end.

    They are nested, and closing the outer one would leave the inner ones to the garbage collector,
    which cannot run them. Nothing more is read: the connection is closed.
    """
    with loop.open_scope(shield=True, deadline=loop.current_time() + 1):
        with contextlib.suppress(Exception):  # it is broken as it is
            await connection.aclose()
        if stream is not None:
            with contextlib.suppress(Exception):
                await stream.aclose()
        if body is not None:
            with contextlib.suppress(Exception):
                async for _ in body:
                    pass
