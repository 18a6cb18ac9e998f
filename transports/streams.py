"""Standard streams, which may be full, gone or stuck: a command fails, a server goes on without.

What a command prints is its answer, and must not be lost while it passes for success; see
`name_streams`. What a server prints is told to whoever watches, and is nobody's answer; see
`guard_streams`. So what cannot be written there is lost and counted, and nothing is raised. A pipe
that nobody reads would hold up everybody else; it is asked first whether there is room, since to
make it non-blocking would be to make it so for all who have it.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import stat
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

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


class _Input(io.FileIO):
    """Standard input, which says so when it fails."""

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        with _named("standard input"):
            return super().readinto(buffer)

    def readall(self) -> bytes:
        with _named("standard input"):
            return super().readall()


class _Output(io.FileIO):
    """Standard output, which says so when it fails."""

    def write(self, data: ReadableBuffer, /) -> int:
        with _named("standard output"):
            return super().write(data)


@contextlib.contextmanager
def _named(stream: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:  # which for a descriptor names nothing
        raise OSError(exc.errno, exc.strerror, stream) from exc


def name_streams() -> None:
    """Have standard input and output of a command say so when they fail, and be there.

    Where a program was started without one, Python has None, at which whoever uses it fails in a
    way of its own, or prints into the void. Here one stands there that fails when it is used.
    To be called before anything is opened, as the next that is would be taken for the stream
    (coreutils do the same: `stdopen.c` of gnulib). Standard error is left None: what is said there
    is lost at no harm.
    """
    for descriptor, wrong_way in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_RDONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, wrong_way)  # takes the lowest that is free: this one
            os.set_inheritable(descriptor, True)
    if sys.stdin is None:
        reader = io.BufferedReader(_Input(0, closefd=False))
        sys.stdin = io.TextIOWrapper(reader, encoding="utf-8")
    if sys.stdout is None or (sys.stdout is sys.__stdout__ and sys.platform != "win32"):
        # Nothing for consoles of Windows, which are no files.
        writer = io.BufferedWriter(_Output(1, "w", closefd=False))
        encoding = "utf-8" if sys.stdout is None else sys.stdout.encoding
        errors = None if sys.stdout is None else sys.stdout.errors
        sys.stdout = io.TextIOWrapper(writer, encoding, errors)


def give_up_output() -> None:
    """Forget what standard output does not take.

    Else the interpreter tries again as it ends, and complains in words of its own.
    """
    try:
        sys.stdout.flush()
    except OSError:
        give_up(sys.stdout)


def give_up(stream: TextIO) -> None:
    """Let a stream that takes nothing lose what is written to it, from now on."""
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - plainer than a path
        os.dup2(nowhere.fileno(), stream.fileno())


def _guard(stream: TextIO | None, descriptor: int) -> TextIO:
    encoding = "utf-8" if stream is None else stream.encoding
    try:
        sink = Sink(descriptor if stream is None else stream.fileno())
    except OSError:  # somebody has put something in its place that is no file
        assert stream is not None
        return stream
    return io.TextIOWrapper(sink, encoding, "backslashreplace", write_through=True)  # type: ignore[type-var]
