"""The network as httpcore is given it in threads, with a way to end what waits for it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from typing import Any

import httpcore

from .farewells import Farewells, speaks_h2

__all__ = ["ThreadedWire"]


class ThreadedWire(httpcore.NetworkBackend):
    """Opens the socket of one connection, and ends it for a thread that waits for it."""

    def __init__(self) -> None:
        self._backend = httpcore.SyncBackend()
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._ended = False

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect.

        Raises:
            httpcore.ConnectError: That cannot be done.
            httpcore.ConnectTimeout: Not within `timeout` seconds.
        """
        stream = self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        return _Stream(stream, self)

    def connect_plain(self, host: str, port: int, timeout: float | None = None) -> socket.socket:
        """The same for whoever wants a socket.

        Raises:
            httpcore.ConnectError: That cannot be done.
            httpcore.ConnectTimeout: Not within `timeout` seconds.
        """
        stream = self._backend.connect_tcp(host, port, timeout)
        self.note(stream)
        opened: socket.socket = stream.get_extra_info("socket")
        return opened

    def note(self, stream: httpcore.NetworkStream) -> None:
        """This is how the far end is reached from now on."""
        with self._lock:
            self._socket = stream.get_extra_info("socket")
            if self._ended:
                self._shut()

    def end(self) -> None:
        """Let whoever waits for the far end see an end."""
        with self._lock:
            self._ended = True
            self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it is closed
                # Not that of a TLS socket, which takes away what another thread reads with.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    """A stream of httpcore's whose wire knows of it."""

    def __init__(self, stream: httpcore.NetworkStream, wire: ThreadedWire) -> None:
        self._stream = stream
        self._wire = wire
        self._farewells = Farewells() if speaks_h2(stream) else None
        wire.note(stream)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._stream.read(max_bytes, timeout)
        if self._farewells is None:
            return data
        while data and not (left := self._farewells.receive(data)):
            data = self._stream.read(max_bytes, timeout)
        return left if data else b""

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._farewells is not None:
            self._farewells.send(buffer)
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        secured = self._stream.start_tls(ssl_context, server_hostname, timeout)
        return _Stream(secured, self._wire)

    def get_extra_info(self, info: str) -> Any:
        return self._farewells if info == "farewells" else self._stream.get_extra_info(info)
