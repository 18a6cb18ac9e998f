"""The network as httpcore is given it where there may be TLS: its own, and HTTP/2 listened to."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any

import httpcore

from .farewells import Farewells, speaks_h2

__all__ = ["Network"]


class Network(httpcore.AsyncNetworkBackend):
    """Opens connections.

    Args:
        backend: What does.
    """

    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        self._backend = backend

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
        return _Stream(
            await self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        )

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._backend.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._farewells = Farewells() if speaks_h2(stream) else None

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = await self._stream.read(max_bytes, timeout)
        if self._farewells is None:
            return data
        while data and not (left := self._farewells.receive(data)):
            data = await self._stream.read(max_bytes, timeout)
        return left if data else b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._farewells is not None:
            self._farewells.send(buffer)
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._farewells if info == "farewells" else self._stream.get_extra_info(info)
