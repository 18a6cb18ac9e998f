"""Connections to far ends on asyncio: a network backend of httpcore's for plain ones.

As `trio_network` does for trio: a read without a timeout costs no cancel scope, and the small
chunks that one read brings are made one. TLS, and all that needs it, goes httpcore's own way.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterable, Iterator
from typing import Any

import anyio
import anyio.abc
import httpcore
from httpcore import AnyIOBackend

from .chunk_joiner import ChunkJoiner
from .trio_network import is_readable

__all__ = ["AnyIOBackend", "PlainBackend"]


class _PlainStream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self._stream = stream
        self._joiner = ChunkJoiner()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _told_as(httpcore.ReadError, httpcore.ReadTimeout):
            if timeout is None:
                return await self._read(max_bytes)
            with anyio.fail_after(timeout):
                return await self._read(max_bytes)

    async def _read(self, max_bytes: int) -> bytes:
        while True:
            try:
                data = await self._stream.receive(max_bytes)
            except anyio.EndOfStream:
                data = b""
            joined = self._joiner.join(data)
            if joined or not data:  # nothing would look like the end
                return joined

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._joiner = ChunkJoiner()  # a request: what follows is another response
        with _told_as(httpcore.WriteError, httpcore.WriteTimeout), anyio.fail_after(timeout):
            await self._stream.send(buffer)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise NotImplementedError("plain connections are for plain origins")

    def get_extra_info(self, info: str) -> Any:
        sock = _find_socket(self._stream)
        if info == "socket":
            return sock
        if info == "is_readable":
            return is_readable(sock)
        return None


class PlainBackend(httpcore.AsyncNetworkBackend):
    """Opens connections as httpcore's anyio backend does, and reads from them its own way."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect.

        Raises:
            httpcore.ConnectError: That cannot be done.
            httpcore.ConnectTimeout: Not within `timeout` seconds.
        """
        with _told_as(httpcore.ConnectError, httpcore.ConnectTimeout), anyio.fail_after(timeout):
            stream = await anyio.connect_tcp(host, port, local_host=local_address)
        for option in socket_options or ():
            _find_socket(stream).setsockopt(*option)
        return _PlainStream(stream)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await anyio.sleep(seconds)


def _find_socket(stream: anyio.abc.SocketStream) -> Any:
    return stream.extra(anyio.abc.SocketAttribute.raw_socket)  # noqa: S610 - Django's is another


@contextlib.contextmanager
def _told_as(error: type[Exception], timeout: type[Exception]) -> Iterator[None]:
    """Tell httpcore of what happens in its own words."""
    try:
        yield
    except TimeoutError as exc:
        raise timeout(str(exc)) from exc
    except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
        raise error(str(exc)) from exc
