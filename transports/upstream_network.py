"""Plain connections to far ends: a network backend of httpcore's that tries first and waits second.

httpcore's own asks trio for every read within a cancel scope of its own. Here what the kernel has
is taken at once, and only where it has nothing does a task sleep; a reader is held back by whoever
takes what it read, so a busy connection does not starve others. Only reads without a timeout are
fast; nobody here asks for another kind. TLS, and all that needs it, goes httpcore's own way.

A response that is streamed comes as many small HTTP chunks. `ChunkJoiner` makes one of those that
one read brought, before h11 looks at them: the body is the same, and its parser runs once.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore
import trio
from httpcore import TrioBackend

__all__ = ["ChunkJoiner", "PlainBackend", "TrioBackend"]

_READ_BYTES = 16 * 1024
"""At once. Less than a socket holds: other streams have their turn between two reads."""
_READS_AT_A_TURN = 2
"""Reads that need not wait before other tasks get a turn all the same: what was read may be nothing
to hand over (interim responses, a coding of nothing), so that nobody holds the reader back."""
_MAX_HEAD = 128 * 1024
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,7})\r\n")
_MAX_SIZE_LINE = 9
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)


class ChunkJoiner:
    """Makes one chunk of those that came together, in the bytes of one HTTP/1.1 response.

    Whatever it does not know (extensions, trailers, a broken frame, a body that is not chunked) it
    leaves as it is, from there to the end, for h11 to judge.
    """

    def __init__(self) -> None:
        self._head: bytes | None = b""
        """What came of the head; None once it is past."""
        self._plain = False
        self._left = 0
        """Bytes of the open chunk that are still to come, with its line end."""
        self._held = b""
        """The beginning of a size, which is no data."""

    def join(self, data: bytes) -> bytes:
        """The same, in fewer chunks; empty `data` is the end of the stream."""
        if self._plain or not data:
            data, self._held = self._held + data, b""
            return data
        start = 0
        if self._head is not None:
            start = self._find_body(data)
            if start < 0:
                return data
        passed = data[:start]
        return passed + self._join_body(self._held + data[start:])

    def _find_body(self, data: bytes) -> int:
        assert self._head is not None
        known = len(self._head)
        head = self._head + data
        end = head.find(b"\r\n\r\n", max(0, known - 3))
        if end < 0:
            self._head = head
            self._plain = len(head) > _MAX_HEAD
            return -1
        self._head = None
        # An interim response has another one behind it; it is rare, and h11's.
        self._plain = head[9:10] == b"1" or _CHUNKED.search(head, 0, end + 2) is None
        return end + 4 - known

    def _join_body(self, data: bytes) -> bytes:
        self._held = b""
        if self._plain:
            return data
        if self._left >= len(data):
            self._left -= len(data)
            return data
        start = self._left
        self._left = 0
        pieces: list[bytes] = []
        match = _SIZE.match
        position = start
        while found := match(data, position):
            begin = found.end()
            end = begin + int(found[1], 16)
            if end == begin or data[end : end + 2] != b"\r\n":
                break
            pieces.append(data[begin:end])
            position = end + 2
        rest = data[position:]
        if found is None:
            self._hold(rest)
            rest = b"" if self._held else rest
        elif end == begin or end + 2 <= len(data):
            self._plain = True  # the last chunk, or one that does not end where it should
        else:
            self._left = end + 2 - len(data)
        joined = b"".join(pieces)
        framed = b"%x\r\n%b\r\n" % (len(joined), joined) if joined else b""
        return data[:start] + framed + rest

    def _hold(self, rest: bytes) -> None:
        if len(rest) < _MAX_SIZE_LINE:
            self._held = rest
        else:
            self._plain = True


class _PlainStream(httpcore.AsyncNetworkStream):
    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._joiner = ChunkJoiner()
        self._drained = True
        """The last read took all there was: to try again before a wait would be in vain."""
        self._reads = 0
        """Since the last wait."""
        sock.setblocking(False)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if timeout is None:
            return await self._read(max_bytes)
        with trio.move_on_after(timeout):
            return await self._read(max_bytes)
        raise httpcore.ReadTimeout

    async def _read(self, max_bytes: int) -> bytes:
        size = min(max_bytes, _READ_BYTES)
        try:
            while True:
                if self._drained:
                    await trio.lowlevel.wait_readable(self._socket)
                    self._reads = 0
                elif self._reads >= _READS_AT_A_TURN:
                    await trio.lowlevel.checkpoint()
                    self._reads = 0
                self._reads += 1
                try:
                    data = self._socket.recv(size)
                except (BlockingIOError, InterruptedError):
                    self._drained = True
                    continue
                self._drained = len(data) < size
                joined = self._joiner.join(data)
                if joined or not data:  # nothing would look like the end
                    return joined
        except (OSError, trio.ClosedResourceError) as exc:
            raise httpcore.ReadError(str(exc)) from exc

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._joiner = ChunkJoiner()  # a request: what follows is another response
        try:
            sent = self._try_send(buffer)
            if sent == len(buffer):
                return
            with trio.fail_after(float("inf") if timeout is None else timeout):
                rest = memoryview(buffer)[sent:]
                while rest:
                    await trio.lowlevel.wait_writable(self._socket)
                    rest = rest[self._try_send(rest) :]
        except trio.TooSlowError as exc:
            raise httpcore.WriteTimeout(str(exc)) from exc
        except (OSError, trio.ClosedResourceError) as exc:
            raise httpcore.WriteError(str(exc)) from exc

    def _try_send(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0

    async def aclose(self) -> None:
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise NotImplementedError("plain connections are for plain origins")

    def get_extra_info(self, info: str) -> Any:
        if info == "socket":
            return self._socket
        if info == "is_readable":
            return is_readable(self._socket)
        return None


def is_readable(sock: socket.socket) -> bool:
    if sock.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


class PlainBackend(httpcore.AsyncNetworkBackend):
    """Opens connections as httpcore's trio backend does, and reads from them its own way."""

    def __init__(self) -> None:
        self._trio = TrioBackend()

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
        stream = await self._trio.connect_tcp(host, port, timeout, local_address, socket_options)
        opened: trio.socket.SocketType = stream.get_extra_info("socket")
        family, kind, protocol = opened.family, opened.type, opened.proto
        return _PlainStream(socket.socket(family, kind, protocol, fileno=opened.detach()))

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await trio.sleep(seconds)
