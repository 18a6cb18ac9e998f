"""Standard output and error of a server, which may be full, gone or stuck: it goes on without.

What stands there is told to whoever watches, and is nobody's answer. So what cannot be written is
lost and counted, and nothing is raised. A pipe that nobody reads would hold up everybody else; it
is asked first whether there is room, since to make it non-blocking would be to make it so for all
who have it.
"""

from __future__ import annotations

import io
import os
import select
import stat
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_PATIENCE_MS = 50
"""For a reader that is merely slow. Where something was lost already, nobody waits."""
_PIPE_ROOM = getattr(select, "PIPE_BUF", 512)
"""What a pipe that has room takes without waiting."""


class Sink(io.RawIOBase):
    """A descriptor to write to, come what may.

    Args:
        descriptor: Open, and not closed by this.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        self._torn = False
        """Half a line stands there."""
        self.lost = 0
        """Lines that could not be written since one could."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: ReadableBuffer, /) -> int:
        """Write all of it, or lose what is left."""
        lines = bytes(data)
        size = len(lines)
        rest = memoryview(b"\n" + lines if self._torn else lines)
        begun = False
        try:
            while rest and self._has_room():
                written = os.write(self._descriptor, rest[:_PIPE_ROOM] if self._is_pipe else rest)
                rest = rest[written:]
                begun = True
        except OSError:
            pass
        if rest:
            self._torn = self._torn or begun
            self.lost += lines.count(b"\n")
        else:
            self._torn = False
            self.lost = 0
        return size

    def _has_room(self) -> bool:
        """Whether a write would not wait; it may be one that fails."""
        if sys.platform == "win32":
            return True
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(0 if self.lost else _PATIENCE_MS))


def guard_streams() -> None:
    """Let nothing that is written to standard output or error be in the way of a server.

    To be called before anything is opened: a program may be started without them, and then whatever
    is opened first would be taken for them, also by the processes that it starts.
    """
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            break
        os.set_inheritable(descriptor, True)
    sys.stdout = _guard(sys.stdout, 1)
    sys.stderr = _guard(sys.stderr, 2)


def _guard(stream: TextIO | None, descriptor: int) -> TextIO:
    encoding = "utf-8" if stream is None else stream.encoding
    try:
        sink = Sink(descriptor if stream is None else stream.fileno())
    except OSError:  # somebody has put something in its place that is no file
        assert stream is not None
        return stream
    return io.TextIOWrapper(sink, encoding, "backslashreplace", write_through=True)  # type: ignore[type-var]
