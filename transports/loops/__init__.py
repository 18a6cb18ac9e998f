"""What our tasks ask of the event loop they run on. Whoever starts them chooses it.

Driving an exchange, making upstream calls and waiting in line are the same on trio and on asyncio,
and are written once, against a `Loop`. Its names and meanings are trio's, which anyio has taken
over for both. `trio_loop.TRIO` is the server's; `anyio_loop.ANYIO` is for hosts whose event loop
somebody else has chosen, and the only one that needs anyio.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Protocol, TypeVar

import attrs

T = TypeVar("T")


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


class Mailbox(Protocol[T]):
    """Room for one thing, between one task that puts and one that takes."""

    async def put(self, thing: T, /) -> None:
        """Put something in, as soon as there is room."""
        ...

    async def take(self, deadline: float, /) -> T | None:
        """What is there, or comes before `deadline`; None where nothing does."""
        ...


class Mailroom(Protocol):
    """Has the mailboxes, and looks after their deadlines."""

    def open_mailbox(self) -> Mailbox[Any]:
        """A new one."""
        ...

    async def run(self) -> None:
        """Look after the deadlines, until cancelled; must be running while mailboxes are used."""
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
    open_mailroom: Callable[[], Mailroom]
    make_backend: Callable[[], Any]
    """httpcore's network backend."""
    make_plain_backend: Callable[[], Any]
    """The same for connections without TLS."""
