"""Sockets without ceremony: try first, wait second.

trio's own socket methods pass through the scheduler for every call, so that a busy task cannot
starve the others. For a server that sends a token to each of many clients that is most of the work.
Here a send that the kernel takes at once costs one system call and nothing else; fairness comes
from the reads in between, which do wait.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys

import trio

from . import Handler
from .trio_pump import get_pump

if sys.platform == "linux":
    import fcntl
    import termios

RECEIVE_SIZE = 64 * 1024


class Transport:
    """A connected stream socket, made non-blocking and owned."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            # A token must not wait for the acknowledgement of the one before it.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def watch(self, handler: Handler) -> None:
        """Call `handler` whenever there may be something to receive; see `Pump.watch`."""
        get_pump().watch(self._socket, handler)

    def unwatch(self) -> None:
        """Call no more."""
        get_pump().unwatch(self._socket)

    def try_receive(self) -> bytes | None:
        """What has come; empty at the end of the stream, None where nothing has.

        Raises:
            OSError: The connection broke.
        """
        try:
            return self._socket.recv(RECEIVE_SIZE)
        except (BlockingIOError, InterruptedError):
            return None

    async def receive(self) -> bytes:
        """What has come; empty at the end of the stream.

        Raises:
            OSError: The connection broke.
        """
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return self._socket.recv(RECEIVE_SIZE)
            except (BlockingIOError, InterruptedError):
                continue

    def try_send(self, data: bytes | memoryview) -> int:
        """Send what the kernel takes at once; say how many bytes that was.

        Raises:
            OSError: The connection broke.
        """
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0

    async def wait_writable(self) -> None:
        """Wait until `try_send` will take something, or fail."""
        await trio.lowlevel.wait_writable(self._socket)

    def count_unsent(self) -> int | None:
        """Bytes that the kernel has taken and the far end has not; None where nobody tells."""
        if sys.platform != "linux":
            return None
        # The name is that of a terminal's queue; for sockets Linux calls the same SIOCOUTQ.
        count = fcntl.ioctl(self._socket, termios.TIOCOUTQ, b"\0" * 4)
        return int.from_bytes(count, sys.byteorder)

    def end(self) -> None:
        """Say that nothing more will be sent."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as exc:
            if exc.errno not in (errno.ENOTCONN, errno.EPIPE, errno.ECONNRESET, errno.EBADF):
                raise

    def close(self, *, reset: bool = False) -> None:
        """Close, once or more.

        Args:
            reset: Throw away what is not sent yet, and let the far end see a broken connection.
        """
        if self._socket.fileno() < 0:
            return
        if reset:
            linger = struct.pack("ii", 1, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.unwatch()
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()
