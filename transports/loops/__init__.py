"""What our tasks ask of the event loop they run on. Whoever starts them chooses it.

Driving an exchange, making upstream calls and waiting in line are the same on trio and on asyncio,
and are written once, against a `Loop`. Its names and meanings are trio's, which anyio has taken
over for both. `trio_loop.TRIO` is the server's; `running.find_loop` gives the one that a host is
run on, where somebody else has chosen it. Only `asyncio_loop` needs anyio.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Protocol, TypeAlias

import attrs


class Cancellable(Protocol):
    """What somebody else may end."""

    def cancel(self) -> Any:
        """End it."""
        ...


class Scope(Protocol):
    """What can be cancelled, by somebody or by its deadline."""

    @property
    def cancel_called(self) -> bool:
        """Somebody has cancelled it, or its deadline has passed."""
        ...

    @property
    def cancelled_caught(self) -> bool:
        """It was left because it was cancelled."""
        ...

    def cancel(self) -> Any:
        """Cancel what goes on in it, or will."""
        ...

    def __enter__(self) -> Any: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> bool | None: ...


class Nursery(Protocol):
    """Where tasks live. It is left when the last of them has ended."""

    @property
    def cancel_scope(self) -> Scope:
        """Theirs."""
        ...

    def start_soon(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """Start a task."""
        ...


class Bell(Protocol):
    """Lets all go on who wait for it, once it is rung."""

    def set(self) -> Any:
        """Ring it."""
        ...

    async def wait(self) -> Any:
        """Wait until somebody has."""
        ...


class Nap(Protocol):
    """Where one task sleeps until somebody wakes it, again and again.

    For what happens with every token: a bell is made for each time, and costs more.
    """

    async def sleep(self) -> None:
        """Sleep until `wake`."""
        ...

    def wake(self) -> None:
        """Wake the task, if it sleeps."""
        ...


Handler: TypeAlias = Callable[[], None]


class Sockets(Protocol):
    """What an event loop does with sockets that are not its own."""

    async def connect(self, host: str, port: int, /) -> socket.socket:
        """Open a plain connection. The socket does not block, and is whoever's who asks.

        Raises:
            OSError: That cannot be done.
        """
        ...

    def watch(self, sock: socket.socket, handler: Handler, /) -> None:
        """Call `handler` whenever the socket has something to read, or has ended.

        It may be called in vain.
        """
        ...

    def unwatch(self, sock: socket.socket, /) -> None:
        """Call no more."""
        ...

    async def wait_writable(self, sock: socket.socket, /) -> None:
        """Wait until it takes something.

        Raises:
            OSError: It was given up with `forget`.
        """
        ...

    def forget(self, sock: socket.socket, /) -> None:
        """It is about to be closed; nobody must wait for it any longer."""
        ...


class TaskStatus(Protocol):
    """Where a task says that it has begun."""

    def started(self) -> None:
        """Say so."""
        ...


MAX_LOOK_UPS = 8
"""Names that are asked for at once."""


class _Nobody:
    def started(self) -> None:
        pass


NOBODY: TaskStatus = _Nobody()
"""Wants to know of no beginning."""


class OpenScope(Protocol):
    """Opens scopes."""

    def __call__(self, *, deadline: float = ..., shield: bool = ...) -> Scope:
        """A scope. A shielded one is spared what cancels those around it."""
        ...


@attrs.frozen
class Loop:
    """An event loop. Times are seconds of its own clock."""

    current_time: Callable[[], float]
    sleep_until: Callable[[float], Awaitable[None]]
    open_scope: OpenScope
    open_nursery: Callable[[], AbstractAsyncContextManager[Nursery]]
    make_bell: Callable[[], Bell]
    make_lock: Callable[[], AbstractAsyncContextManager[Any]]
    """One task at a time."""
    run_in_thread: Callable[..., Awaitable[Any]]
    """Calls what blocks, and waits for it, cancelled or not."""
    run_look_up: Callable[..., Awaitable[Any]]
    """The same for what asks for names. It is not waited for when cancelled, and since strangers
    choose how long it takes, few are at it at once: the threads of others must not run out."""
    make_nap: Callable[[], Nap]
    make_backend: Callable[[], Any]
    """httpcore's network backend, for connections that may have TLS."""
    sockets: Sockets | None
    """None where it can do none of that; then all connections are `make_backend`'s."""
