"""Answers that begin while their request is still being sent.

A far end that refuses a request may read no more of it, and who waits until it does waits in vain.
So what comes meanwhile is taken off the connection and looked at, piece by piece, however it is
cut. It is kept for whoever reads the response in the end.
"""

from __future__ import annotations

import re

HEAD_END = re.compile(rb"\n\r?\n")
"""As h11 finds it: two readers must not see two ends."""

_MAX_EARLY = 16 * 1024
"""Bytes that are looked at. Who says more and has not answered is read when the request is sent."""
_STATUS_LINE = len(b"HTTP/1.1 413")


class EarlyAnswer:
    """What has come of an answer so far."""

    def __init__(self) -> None:
        self.data = b""
        """All of it, for whoever reads the response."""
        self._head = 0
        """Where the last head begins."""
        self._settled = False
        self.refused = False
        """The request is answered by a fault, or by an end: to send the rest of it is in vain. An
        answer that means well may need all of it."""

    @property
    def room(self) -> int:
        """Bytes that are still to be looked at; none where more would tell nothing."""
        return 0 if self._settled else _MAX_EARLY - len(self.data)

    def add(self, data: bytes) -> None:
        """Look at more of it; empty where the connection has ended."""
        searched = max(self._head, len(self.data) - 2)
        self.data += data
        while len(status := self.data[self._head : self._head + _STATUS_LINE]) == _STATUS_LINE:
            if not _is_interim(status):
                self._settle(refused=not _means_well(status))
                return
            end = HEAD_END.search(self.data, searched)
            if end is None:
                break
            self._head = searched = end.end()
        if not data:
            self._settle(refused=True)

    def _settle(self, *, refused: bool) -> None:
        self._settled = True
        self.refused = refused


def _is_interim(status: bytes) -> bool:
    """Whether another response follows. Nobody asks for another protocol, which is 101."""
    return _is_http(status) and status[9:10] == b"1" and status[9:12] != b"101"


def _means_well(status: bytes) -> bool:
    return _is_http(status) and status[9:10] == b"2"


def _is_http(status: bytes) -> bool:
    return status.startswith(b"HTTP/")
