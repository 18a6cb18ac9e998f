"""An exchange that writes down what happens to it.

    exchange = RecordedExchange(body, dialect=..., ..., on_end=keep)

It takes the place of an `Exchange` in any host: it is handled and abandoned in the same way. The
branches of a `Fork` and their joint are written down too, in the order in which the host does
things with them. When all is over `on_end` gets the `Recording`, which still has every secret and
every word in it: `grokproto.transcript.build_transcript` makes of it what may be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

import msgspec

from ..commands import (
    Branch,
    CleanupCommand,
    ClientCommand,
    Command,
    Finish,
    Fork,
    Joint,
    ReleaseCredential,
)
from ..dialects.base import Dialect
from ..events import CredentialAcquired, DataReceived, Event, NoCredential, PictureFetched
from ..exchange import Exchange
from ..models import ModelTable
from ..settings import Settings
from ..states import State

MAX_BYTES = 4 * 1024 * 1024
"""Bytes of request and answers that are written down of one exchange."""

Notes: TypeAlias = Mapping[str, Any]
"""What a host tells of its credentials, without secrets:

    {"rotation": "balanced",
     "accounts": [{"name": "1a2b3c4d", "state": "ready", "remaining": 19, "total": 20,
                   "in_flight": 1, "reason": null}]}

The one that is meant comes first. `remaining` and `total` are of the group that was asked for, and
null where none of it is used; `reason` is a sentence where no call is possible.
"""


class Opening(msgspec.Struct, frozen=True):
    """What an exchange was made of."""

    body: bytes
    dialect: Dialect
    models: ModelTable
    settings: Settings
    created: int
    headers: Mapping[str, str]
    """Those of the client's that were looked at."""
    ids: Sequence[str]
    """Those that were made, in order."""


class Handled(msgspec.Struct, frozen=True):
    """An event came, and a command went."""

    branch: int | None
    """Of a fork; None for the exchange itself."""
    now: float
    event: Event
    command: Command
    notes: Notes | None = None
    """After an answer of the pool's: what its credentials are like."""


class Taken(msgspec.Struct, frozen=True):
    """The last command of a branch went into the joint; this came out of it."""

    branch: int
    commands: tuple[ClientCommand, ...]


class Abandoned(msgspec.Struct, frozen=True):
    """The host dropped it."""

    branch: int | None
    now: float
    commands: tuple[CleanupCommand, ...]


Step: TypeAlias = Handled | Taken | Abandoned


class Recording(msgspec.Struct, frozen=True):
    """All that happened to an exchange."""

    opening: Opening
    steps: Sequence[Step]
    whole: bool
    """Otherwise it was too much, and the last steps are missing."""


Describe: TypeAlias = Callable[[Command, Event], Notes | None]
"""Tells of the credentials: asked with the command and the pool's answer to it."""


class _Log:
    """What all parts of one exchange write into."""

    def __init__(
        self, size: int, limit: int, describe: Describe, guard: AbstractContextManager[object]
    ) -> None:
        self.steps: list[Step] = []
        self.whole = size <= limit
        self._room = limit - size
        self.describe = describe
        self.guard = guard
        """What is written down is in the order in which it happens."""

    def write(self, step: Step) -> None:
        """Write a step down, as long as there is room."""
        if isinstance(step, Handled):
            if isinstance(step.event, DataReceived | PictureFetched):
                self._room -= len(step.event.data)
        self.whole = self.whole and self._room >= 0
        if self.whole:
            self.steps.append(step)


class _Recorded:
    """A branch, or the whole, that writes down what happens to it."""

    def __init__(self, exchange: Branch, log: _Log, branch: int | None) -> None:
        self._exchange = exchange
        self._log = log
        self._branch = branch
        self._command: Command | None = None
        self._dropped = False

    def handle(self, event: Event, now: float) -> Command:
        """See `Exchange.handle`."""
        with self._log.guard:
            command = self._handle(event, now)
        return self._wrap(command) if isinstance(command, Fork) else command

    def _handle(self, event: Event, now: float) -> Command:
        notes: Notes | None = None
        asked = self._command
        if isinstance(event, CredentialAcquired | NoCredential) or type(asked) is ReleaseCredential:
            assert asked is not None
            notes = self._log.describe(asked, event)
        command = self._exchange.handle(event, now)
        self._command = command
        self._log.write(Handled(self._branch, now, event, command, notes))
        return command

    def abandon(self, now: float) -> list[CleanupCommand]:
        """See `Exchange.abandon`."""
        with self._log.guard:
            owed = self._exchange.abandon(now)
            if not self._dropped and not isinstance(self._command, Finish):
                self._log.write(Abandoned(self._branch, now, tuple(owed)))
            self._dropped = True
        return owed

    def _wrap(self, fork: Fork) -> Fork:
        branches = tuple(
            _Recorded(branch, self._log, index) for index, branch in enumerate(fork.branches)
        )
        return Fork(branches, _RecordedJoint(fork.join, self._log))


class _RecordedJoint:
    """See `grokproto.commands.Joint`."""

    def __init__(self, joint: Joint, log: _Log) -> None:
        self._joint = joint
        self._log = log

    @property
    def over(self) -> bool:
        """See `Joint.over`."""
        return self._joint.over

    def take(self, index: int, command: Command) -> Sequence[ClientCommand]:
        """See `Joint.take`."""
        with self._log.guard:
            commands = self._joint.take(index, command)
            self._log.write(Taken(index, tuple(commands)))
        return commands


class _Looked(dict[str, str]):
    """Headers that know which of them were asked for."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(headers)
        self.looked: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        value = self.looked[name] = super().__getitem__(name)
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """See `dict.get`."""
        return self[name] if name in self else default  # noqa: SIM401  # this is that very method


class RecordedExchange(_Recorded):
    """An exchange that writes down what happens to it.

    Args:
        body: See `Exchange`, as the others up to `headers`.
        on_end: Gets the recording, once: with `Finish`, or when the host drops the exchange.
        describe: Tells of the credentials; called after every answer of the pool's.
        limit: Bytes of request and answers that are written down.
        guard: A lock, where the branches of a fork are driven by several threads.
    """

    def __init__(
        self,
        body: bytes,
        *,
        dialect: Dialect,
        models: ModelTable,
        settings: Settings,
        new_id: Callable[[], str],
        created: int,
        headers: Mapping[str, str] | None = None,
        on_end: Callable[[Recording], None],
        describe: Describe = lambda _command, _event: None,
        limit: int = MAX_BYTES,
        guard: AbstractContextManager[object] | None = None,
    ) -> None:
        self._ids: list[str] = []
        self._headers = _Looked(headers or {})
        self._on_end: Callable[[Recording], None] | None = on_end
        self._opening = Opening(
            body, dialect, models, settings, created, self._headers.looked, self._ids
        )

        def make_id() -> str:
            self._ids.append(new_id())
            return self._ids[-1]

        exchange = Exchange(
            body,
            dialect=dialect,
            models=models,
            settings=settings,
            new_id=make_id,
            created=created,
            headers=self._headers,
        )
        self._whole = exchange
        log = _Log(len(body), limit, describe, guard or nullcontext())
        super().__init__(exchange, log, None)

    @property
    def state(self) -> State:
        """See `Exchange.state`."""
        return self._whole.state

    def handle(self, event: Event, now: float) -> Command:
        """See `Exchange.handle`."""
        command = super().handle(event, now)
        if isinstance(command, Finish):
            self._end()
        return command

    def abandon(self, now: float) -> list[CleanupCommand]:
        """See `Exchange.abandon`."""
        owed = super().abandon(now)
        self._end()
        return owed

    def _end(self) -> None:
        if self._on_end is not None:
            on_end, self._on_end = self._on_end, None
            on_end(Recording(self._opening, self._log.steps, self._log.whole))
