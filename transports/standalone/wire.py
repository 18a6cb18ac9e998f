"""Lines between two processes, over a pair of sockets. Sending never waits.

What the kernel takes goes out at once; the rest is kept, and goes when it can. Whoever reads takes
all lines of a read together, and can have what these cause go out together: most of what a line
costs is its system call.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import trio

_READ_BYTES = 256 * 1024
_MAX_KEPT = 64 * 1024 * 1024
"""Bytes that the far end has not taken. With so many it is not going to."""


class Wire:
    """One end. `run` must be running somewhere while it is used.

    Args:
        sock: A connected stream socket, from now on its own.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._held: list[bytes] | None = None
        """Lines that go out together, where that is wanted."""
        self._kept = bytearray()
        self._some_kept = trio.Event()
        self._none_kept = trio.Event()
        self._none_kept.set()
        self._rest = b""
        self._lines: list[bytes] = []
        """Those that came with one that was received alone."""
        self._broken = False

    def send(self, line: bytes) -> None:
        """Send a line, less its end. Where nobody is at the far end, it is lost: see `receive`."""
        if self._held is None:
            self._send(line + b"\n")
        else:
            self._held.append(line)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Send what is sent within the block in one piece, at its end."""
        self._held = []
        try:
            yield
        finally:
            held, self._held = self._held, None
            if held:
                self._send(b"\n".join([*held, b""]))

    def _send(self, data: bytes) -> None:
        if self._broken:
            return
        if self._kept:
            self._keep(data)
            return
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._break()
            return
        if sent < len(data):
            self._keep(data[sent:])

    def _keep(self, data: bytes) -> None:
        if len(self._kept) > _MAX_KEPT:
            self._break()
            return
        self._kept += data
        self._some_kept.set()
        self._none_kept = trio.Event()

    def _break(self) -> None:
        self._broken = True
        self._kept.clear()
        self._none_kept.set()
        self._some_kept.set()

    async def receive(self) -> list[bytes]:
        """The lines that have come; none at the end, for whatever reason it has come to that."""
        if self._lines:
            lines, self._lines = self._lines, []
            return lines
        while not self._broken:
            try:
                await trio.lowlevel.wait_readable(self._socket)
                data = self._socket.recv(_READ_BYTES)
            except (BlockingIOError, InterruptedError):
                continue
            except (OSError, trio.ClosedResourceError):
                break
            if not data:
                break
            *lines, self._rest = (self._rest + data).split(b"\n")
            if lines:
                return lines
        self._break()
        return []

    async def receive_one(self) -> bytes | None:
        """The next line alone; None at the end."""
        lines = await self.receive()
        self._lines = lines[1:]
        return lines[0] if lines else None

    async def run(self) -> None:
        """Send what is kept; ends when cancelled, or when the far end is gone."""
        while not self._broken:
            await self._some_kept.wait()
            self._some_kept = trio.Event()
            while self._kept:
                try:
                    await trio.lowlevel.wait_writable(self._socket)
                    sent = self._socket.send(self._kept)
                except (BlockingIOError, InterruptedError):
                    continue
                except (OSError, trio.ClosedResourceError):
                    self._break()
                    return
                del self._kept[:sent]
            self._none_kept.set()

    async def flush(self) -> None:
        """Wait until nothing is kept. Give it a deadline."""
        await self._none_kept.wait()

    def close(self) -> None:
        """Close it, once or more; who waits on it is told."""
        self._break()
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
