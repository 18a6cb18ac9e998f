"""What is the same of a plain connection for tasks and for threads: its chunked bodies are lent.

A network stream for httpcore passes on what it reads. Here it also sees where the head of a
response ends, and keeps what comes behind it for whoever wants the body past httpcore.
"""

from __future__ import annotations

import re
import select
import socket
from typing import Any

from .early import HEAD_END, EarlyAnswer

GATHERED = 64 * 1024
"""A piece of a request that is longer does not wait for the next."""
_MAX_HEAD = 128 * 1024
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)


class HeadFinder:
    """Finds where the body of a response begins, in what comes of it.

    It knows nothing of heads but where they end and whether they say that chunks follow. Whatever
    is unusual it takes for a head without an end, and that is httpcore's to read.
    """

    def __init__(self) -> None:
        self._head: bytes | None = b""
        """What came of the head; None once it is past, or there is nothing to be found."""

    def find_body(self, data: bytes) -> int:
        """Where in `data` a chunked body begins; -1 where none does."""
        if self._head is None:
            return -1
        known = len(self._head)
        head = self._head + data
        end = HEAD_END.search(head, max(0, known - 2))
        if end is None:
            self._head = head if len(head) <= _MAX_HEAD else None
            return -1
        self._head = None
        # An interim response has another one behind it.
        if head[9:10] == b"1" or not head.endswith(b"\r\n\r\n", 0, end.end()):
            return -1
        return end.end() - known if _CHUNKED.search(head, 0, end.end()) else -1


def is_readable(sock: socket.socket) -> bool:
    """Whether there is something to receive; between two calls that can only be the end."""
    if sock.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


class Lender:
    """One plain connection, as far as it does not wait.

    Args:
        sock: Open, and used by nobody else.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._finder = HeadFinder()
        self._unsent: list[bytes] = []
        """A request comes as a head and a body, and is sent in one piece."""
        self._body: bytes | None = None
        """What came of a chunked body with the head, and is not passed on yet; None where there is
        no such body, or it was begun to be read."""
        self._lent = False
        self._early: EarlyAnswer | None = None
        """What came while a request was sent, and is not passed on yet."""
        self._refused = False
        """The rest of a request was not sent."""
        self.closed = False

    def lend_body(self) -> bytes | None:
        """Give away the body of the response whose head was just read; None where that does not
        say that it is chunked. Nobody must use `read` until the next request.

        Returns:
            What came of it with the head; the rest is to be received. `take_back` is owed.
        """
        if self._body is None:
            return None
        first, self._body = self._body, None
        self._lent = True
        return first

    def holds_more(self) -> bool:
        """Whether there is something left of a body that nobody asked for, or of a request."""
        return self._refused or bool(self._body)

    def receive(self, max_bytes: int) -> bytes | None:
        """What has come; empty at the end of the stream, None where nothing has.

        Raises:
            OSError: The connection broke.
        """
        try:
            return self._socket.recv(max_bytes)
        except (BlockingIOError, InterruptedError):
            return None

    def take_back(self, *, clean: bool) -> None:
        """The body is read. Unless it is `clean`, the connection is of no further use."""
        self._lent = False
        if self.closed or self._refused or not clean:
            self.close()

    def close(self) -> None:
        """Close it here and now."""
        self.closed = True
        self._socket.close()

    def is_readable(self) -> bool:
        """Whether there is something to receive; between two calls that can only be the end."""
        return is_readable(self._socket)

    def get_extra_info(self, info: str) -> Any:
        """For httpcore."""
        if info == "socket":
            return self._socket
        if info == "is_readable":
            return self.is_readable()
        return None

    def _put(self, data: bytes) -> None:
        """Have a piece of a request sent: what is read from now on is another response."""
        self._finder = HeadFinder()
        self._unsent.append(data)

    def _take_unsent(self) -> bytes:
        data = b"".join(self._unsent)
        self._unsent.clear()
        return data

    def _hear(self) -> bool:
        """Take what has come while a request is sent, and see whether that is refused; say whether
        to listen on."""
        early = self._early = self._early or EarlyAnswer()
        if not early.room:
            return False
        try:
            data = self.receive(early.room)
        except OSError:
            data = b""
        if data is not None:
            early.add(data)
            self._refused = early.refused
        return early.room > 0

    def _keep_body(self, data: bytes) -> bytes:
        """Keep what there is of a chunked body in what was read; give the rest."""
        start = self._finder.find_body(data)
        if start < 0:
            return data
        self._body = data[start:]
        return data[:start]

    def _take_kept(self) -> bytes:
        """What came early, or was kept and not lent: httpcore reads on."""
        if self._early is not None:
            early, self._early = self._early, None
            return self._keep_body(early.data)
        kept, self._body = self._body, None
        return kept or b""
