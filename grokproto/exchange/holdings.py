"""What an exchange knows at every moment: the time, where it is, and what it owes."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeAlias, TypeVar

from ..commands import CleanupCommand, CloseRequest, Command, ReleaseCredential
from ..failures import Failure
from ..lease import Lease, Outcome, Quota
from ..states import TRANSITIONS, State

T = TypeVar("T")
Steps: TypeAlias = Generator[Command, Any, T]
"""A piece of the flow: yields commands, is sent the events that answer them, returns a T.

The events are `Any` here since a generator cannot say that what comes back depends on what went
out; `REPLIES` says it, and the machine holds the host to it.
"""


class Holdings:
    """The state that all pieces of one exchange share.

    What is held is written down here before anything can go wrong with it, so that giving it back
    needs no memory of how far the flow has come.
    """

    def __init__(self) -> None:
        self.now = 0.0
        """The host's clock at the last event, seconds."""
        self.state = State.IDLE
        self.lease: Lease | None = None
        self.request_open = False
        """An upstream request is under way, or its response is not read to its end."""
        self.asked = False
        """Grok may have seen the question that the lease is for."""
        self.answered = False
        """Grok has begun to answer it."""

    def enter(self, state: State) -> None:
        """Go to another phase."""
        assert state in TRANSITIONS[self.state], (self.state, state)
        self.state = state

    def close(self) -> Steps[None]:
        """Give up the open request, if there is one."""
        if self.request_open:
            self.request_open = False
            yield CloseRequest()

    def release(
        self, outcome: Outcome, failure: Failure | None = None, quota: Quota | None = None
    ) -> Steps[None]:
        """Give the lease back."""
        assert self.lease is not None
        lease, self.lease = self.lease, None
        self.asked = self.answered = False
        yield ReleaseCredential(lease, outcome, failure, quota)

    def next_owed(self) -> CleanupCommand | None:
        """The next thing to give back when everything stops here; it is not held after this."""
        if self.request_open:
            self.request_open = False
            return CloseRequest()
        if self.lease is not None:
            lease, self.lease = self.lease, None
            return ReleaseCredential(lease, Outcome.SERVED if self.asked else Outcome.UNUSED)
        return None
