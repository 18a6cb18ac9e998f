"""Playing a recording to a fresh exchange: the same events, and what it makes of them."""

from __future__ import annotations

from collections.abc import Sequence

from ..commands import Branch, ClientCommand, Command, Fork, Joint
from ..errors import LocalProtocolError
from ..events import Event
from ..exchange import Exchange
from .recording import Opening


class Player:
    """A fresh exchange that is told what another was told.

    Whatever does not fit raises `LocalProtocolError`: an event that answers nothing, a branch that
    is not there, an id more than there were.
    """

    def __init__(self, opening: Opening) -> None:
        ids = iter(opening.ids)

        def make_id() -> str:
            for identity in ids:
                return identity
            raise LocalProtocolError("another id is wanted than there were")

        self._exchange: Branch = Exchange(
            opening.body,
            dialect=opening.dialect,
            models=opening.models,
            settings=opening.settings,
            new_id=make_id,
            created=opening.created,
            headers=opening.headers,
        )
        self._branches: Sequence[Branch] = ()
        self._joint: Joint | None = None
        self._last: dict[int, Command] = {}
        """Of each branch."""

    def handle(self, branch: int | None, event: Event, now: float) -> Command:
        """An event has come.

        Raises:
            LocalProtocolError: It does not fit.
        """
        command = self._find(branch).handle(event, now)
        if branch is not None:
            self._last[branch] = command
        elif isinstance(command, Fork):
            self._branches, self._joint = command.branches, command.join
        return command

    def take(self, branch: int) -> Sequence[ClientCommand]:
        """The last command of a branch goes into the joint.

        Raises:
            LocalProtocolError: There is none.
        """
        command = self._last.get(branch)
        if command is None or self._joint is None:
            raise LocalProtocolError(f"branch {branch} has no command to take")
        return self._joint.take(branch, command)

    def abandon(self, branch: int | None, now: float) -> Sequence[Command]:
        """The host has dropped it.

        Raises:
            LocalProtocolError: It is not there.
        """
        return self._find(branch).abandon(now)

    def _find(self, branch: int | None) -> Branch:
        if branch is None:
            return self._exchange
        if not 0 <= branch < len(self._branches):
            raise LocalProtocolError(f"there is no branch {branch}")
        return self._branches[branch]
