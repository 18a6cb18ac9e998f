"""The alternation that hosts see: one event in, one command out.

    command = exchange.handle(Start(), now)
    while not isinstance(command, Finish):
        command = exchange.handle(carry_out(command), now)

1. The first event is `Start`. Each later one answers the last command, and its type stands in
   `REPLIES[type(command)]`.
2. `now` is the host's clock in seconds, and never goes back.
3. `TimedOut` leaves what was waited for outstanding.
4. `ClientClosed` may answer any command that waits, once. Then only cleanup follows, and cleanup
   never waits. `ServerStopping` may answer any that waits for something other than the client,
   once. Then the client is told, if it can be.
5. `Finish` is last.

A host that must drop an exchange before that calls `abandon` and carries out what it gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..commands import CleanupCommand, Command
from ..dialects.base import Dialect
from ..errors import LocalProtocolError
from ..events import ClientClosed, Event, ServerStopping, Start
from ..models import ModelTable
from ..settings import Settings
from ..states import REPLIES, State
from .answering import Answering
from .flow import BranchFlow, Context, Flow
from .holdings import Holdings, Steps
from .reply import Reply


class _Alternation:
    """The rules, for whatever flow.

    It never raises for what the client or Grok does: it answers that. It raises
    `LocalProtocolError` where its host breaks the rules above, before anything changes.
    """

    def __init__(self, flow: Flow | BranchFlow, holdings: Holdings) -> None:
        self._holdings = holdings
        self._flow = flow
        self._steps: Steps[None] = flow.run()
        self._command: Command | None = None
        self._client_closed = False

    @property
    def state(self) -> State:
        """What the exchange is doing."""
        return self._holdings.state

    def handle(self, event: Event, now: float) -> Command:
        """Take the answer to the last command; give the next command.

        Args:
            event: `Start` at first, then one of `REPLIES[type(command)]`.
            now: The host's clock, seconds.

        Raises:
            LocalProtocolError: The event may not come now, or the clock went back.
        """
        command = self._command
        kind = type(event)
        if (
            command is None
            or kind not in REPLIES[type(command)]
            or now < self._holdings.now
            or self._holdings.state is State.DONE
        ):
            self._check(event, now)
        self._holdings.now = now
        if kind is ClientClosed:
            self._interrupt(self._clean_up())
            self._client_closed = True
            self._command = self._resume()
        elif kind is ServerStopping:
            self._interrupt(self._wind_up())
            self._command = self._resume()
        elif command is None:
            self._command = self._resume()
        else:
            try:
                self._command = self._steps.send(event)
            except StopIteration:
                self._command = self._finish()
        return self._command

    def abandon(self, now: float) -> list[CleanupCommand]:
        """End here and now. Carry out what this gives; there is no answering it.

        Safe at any time, also after `Finish`; meant for a host's `finally:`.
        """
        self._holdings.now = max(now, self._holdings.now)
        self._steps.close()
        self._holdings.state = State.DONE
        return list(iter(self._holdings.next_owed, None))

    def _check(self, event: Event, now: float) -> None:
        """Raise for what must not be; nothing but `Start` passes."""
        if self._holdings.state is State.DONE:
            raise LocalProtocolError("the exchange is over")
        if now < self._holdings.now:
            raise LocalProtocolError(f"the clock went back from {self._holdings.now} to {now}")
        kind = type(event)
        if self._command is not None:
            name = type(self._command).__name__
            raise LocalProtocolError(f"{kind.__name__} is no answer to {name}")
        if kind is not Start:
            raise LocalProtocolError(f"the first event is Start, not {kind.__name__}")

    def _interrupt(self, steps: Steps[None]) -> None:
        self._steps.close()
        self._steps = steps

    def _resume(self) -> Command:
        try:
            return self._steps.send(None)
        except StopIteration:
            return self._finish()

    def _finish(self) -> Command:
        assert self._holdings.next_owed() is None
        self._begin_closing()
        self._holdings.enter(State.DONE)
        return self._flow.finish(client_closed=self._client_closed)

    def _begin_closing(self) -> None:
        if self._holdings.state is not State.CLOSING:
            self._holdings.enter(State.CLOSING)

    def _clean_up(self) -> Steps[None]:
        self._begin_closing()
        while (command := self._holdings.next_owed()) is not None:
            yield command

    def _wind_up(self) -> Steps[None]:
        yield from self._clean_up()
        yield from self._flow.stop()


class Exchange(_Alternation):
    """One client request, decided step by step.

    It never raises for what the client or Grok does: it answers that. It raises
    `LocalProtocolError` where its host breaks the rules above, before anything changes.

    Args:
        body: The request's body, as the client sent it.
        dialect: The API that the client speaks.
        models: The models that it may name.
        settings: The operator's.
        new_id: Makes a fresh unique id, such as a random UUID.
        created: Unix time, seconds; the answer says when it was made.
        headers: The request's, by names in lower case. Those that the dialect documents are read.
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
    ) -> None:
        holdings = Holdings()
        context = Context(dialect, models, settings, new_id, created, headers or {})
        super().__init__(Flow(body, context, holdings, _build_branch), holdings)


def _build_branch(answering: Answering, holdings: Holdings, reply: Reply) -> _Alternation:
    return _Alternation(BranchFlow(answering, reply), holdings)
