"""One watch over many sockets, so that a token needs no task of its own to be noticed.

An event loop wakes a task for each socket that has something to read. For a server that passes on a
token here and a token there, waking is most of the work: the way through the scheduler costs
several times what the token does. Here whoever has the event loop waits for all of the sockets at
once (`fileno`), and has a function called for each that has something (`serve`). What can be done
at once is done there and then; only what has to wait for something else wakes the task whose
business it is.

Handlers are plain functions. They read once and return: what is left is told of again, after the
others had their turn.
"""

from __future__ import annotations

import select
import socket
import time

from ..logs import get_logger
from . import Handler

HAS_EPOLL = hasattr(select, "epoll")

_AT_ONCE = 64
"""Sockets that are served before it is looked who else has something."""
_TURN = 0.002
"""Seconds after which the tasks get their turn."""


class Pump:
    """See above; for systems that have epoll. One for each event loop."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Handler] = {}
        self._writers: dict[int, Handler] = {}

    def __bool__(self) -> bool:
        """Whether any socket is watched."""
        return bool(self._readers or self._writers)

    def fileno(self) -> int:
        """Of what is readable while any socket has something."""
        return self._epoll.fileno()

    def watch(self, sock: socket.socket, handler: Handler) -> None:
        """Call `handler` whenever the socket has something to read, or has ended.

        It may be called in vain. `unwatch` must come before the socket is closed.
        """
        self._change(self._readers, sock.fileno(), handler)

    def unwatch(self, sock: socket.socket) -> None:
        """Call no more."""
        self._change(self._readers, sock.fileno(), None)

    def watch_writable(self, sock: socket.socket, handler: Handler) -> None:
        """Call `handler` whenever the socket takes something, or has ended. As `watch`."""
        self._change(self._writers, sock.fileno(), handler)

    def unwatch_writable(self, sock: socket.socket) -> None:
        """Call no more."""
        self._change(self._writers, sock.fileno(), None)

    def _change(self, handlers: dict[int, Handler], fd: int, handler: Handler | None) -> None:
        before = self._find_mask(fd)
        if handler is None:
            handlers.pop(fd, None)
        else:
            handlers[fd] = handler
        after = self._find_mask(fd)
        if after == before or self._epoll.closed:
            return
        if not before:
            self._epoll.register(fd, after)
        elif after:
            self._epoll.modify(fd, after)
        else:
            self._epoll.unregister(fd)

    def _find_mask(self, fd: int) -> int:
        readable = select.EPOLLIN if fd in self._readers else 0
        return readable | (select.EPOLLOUT if fd in self._writers else 0)

    def serve(self) -> None:
        """Call the handlers of those that have something, for a short while."""
        poll, readers, writers = self._epoll.poll, self._readers, self._writers
        turn_ends = time.monotonic() + _TURN
        while not self._epoll.closed and (ready := poll(0, _AT_ONCE)):
            for fd, events in ready:
                # One before may have unwatched it. Errors and ends are for whoever is there.
                if events != select.EPOLLOUT and (handler := readers.get(fd)) is not None:
                    try:
                        handler()
                    except Exception as exc:
                        tell_fault(exc)
                if events != select.EPOLLIN and (handler := writers.get(fd)) is not None:
                    try:
                        handler()
                    except Exception as exc:
                        tell_fault(exc)
            if time.monotonic() >= turn_ends:
                break

    def close(self) -> None:
        """Watch no more, for good. What is unwatched then is so already."""
        self._epoll.close()


def tell_fault(exc: Exception) -> None:
    """A handler failed; a mistake of ours must not leave all the others without a watch."""
    get_logger().error("a socket was not read by our own fault", exc_info=exc)
