"""A pool in another process, as a worker sees it.

A question is one line, and so is its answer. Whoever leaves before the answer is there says so; a
call that is granted to somebody who is gone goes back unused.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, assert_never

import attrs
import trio

from grokproto.commands import AcquireCredential, ReleaseCredential
from grokproto.errors import InvalidRequestError
from grokproto.events import CredentialAcquired, NoCredential
from grokproto.lease import Lease, Outcome
from grokproto.secret import Secret

from ..logs import get_logger
from ..pool.orders import Action, Answer, Order
from .pool_messages import (
    Ask,
    Forget,
    FromWorker,
    GiveBack,
    Granted,
    Instruct,
    Objected,
    Ping,
    Pong,
    Refused,
    Reported,
    Setup,
    Stop,
    ToWorker,
    decode_to_worker,
    encode,
)
from .wire import Wire

MARGIN = 5.0
"""Seconds beyond its patience that a question waits for its answer."""
_ORDER_PATIENCE = MARGIN - 1.0
"""Seconds within which an order is to be begun. The rest of the margin is for its answer."""
_WATCH = 1.0
_RETRY = 30.0
_SILENT = "The process of this server that has the accounts does not answer"
_GONE = "The process of this server that has the accounts is gone, and this one stops"


@attrs.define(eq=False)
class _Question:
    """One that has no answer yet."""

    until: float
    """Trio's clock."""
    answered: trio.Event = attrs.field(factory=trio.Event)
    answer: Any = None
    """None where there was none in time."""


class RemotePool:
    """See `answer.Pool`. `run` must be running somewhere while it is used.

    Args:
        wire: To the process that has the pool.
        on_stop: Called when that says to stop; the argument is whether at once.
        on_gone: Called when it is gone.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        on_stop: Callable[[bool], object] = lambda _: None,
        on_gone: Callable[[], object] = lambda: None,
    ) -> None:
        self._wire = wire
        self._on_stop = on_stop
        self._on_gone = on_gone
        self._numbers = itertools.count(1)
        self._questions: dict[int, _Question] = {}
        self._cookies: dict[str, Mapping[str, Secret]] = {}
        """By credential; see `Granted`."""
        self._fault: str | None = None
        """Why there are no answers any more."""
        self._log = get_logger()

    async def run(self) -> None:
        """Take the answers; ends when cancelled, or when the far end is gone."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wire.run)
            nursery.start_soon(self._watch)
            while lines := await self._wire.receive():
                for line in lines:
                    self._take(decode_to_worker(line))
            nursery.cancel_scope.cancel()
        self._fault = _GONE
        for number in list(self._questions):
            self._settle(number, None)
        self._on_gone()

    def send(self, message: FromWorker) -> None:
        """Tell the far end something."""
        self._wire.send(encode(message))

    # The pool (`answer.Pool`)

    async def acquire(self, command: AcquireCredential) -> CredentialAcquired | NoCredential:
        """See `drive.Credentials`."""
        patience = max(0.0, command.deadline - trio.current_time())
        number = next(self._numbers)
        exclude, avoid = command.exclude, command.avoid
        ask = Ask(number, command.group, patience, exclude, avoid, command.again)
        answer = await self._wait_for_answer(ask, patience)
        if answer is None:
            message = f"{self._fault or _SILENT}; try again in a moment."
            return NoCredential(message, _RETRY, silent=True)
        assert isinstance(answer, CredentialAcquired | NoCredential)
        return answer

    def release(self, command: ReleaseCredential) -> None:
        """See `drive.Credentials`."""
        self.send(GiveBack(command.lease.serial, command.outcome, command.failure, command.quota))

    async def administer(self, order: Order) -> Answer:
        """See `answer.Pool`."""
        instruct = Instruct(next(self._numbers), order, monotonic() + _ORDER_PATIENCE)
        answer = await self._wait_for_answer(instruct, 0.0)
        if answer is not None:
            assert isinstance(answer, dict | InvalidRequestError)
            return answer
        fault = f"{self._fault or _SILENT}."
        match order.action:
            case Action.HEALTH:
                return {"state": fault}
            case Action.READINESS:
                return {"reason": fault}
        return InvalidRequestError(fault, code="overloaded", status=503)

    async def _wait_for_answer(self, message: Ask | Instruct, patience: float) -> Any:
        question = _Question(trio.current_time() + patience + MARGIN)
        if self._fault is not None:
            return None
        self._questions[message.number] = question
        self.send(message)
        try:
            await question.answered.wait()
        except BaseException:
            self._questions.pop(message.number, None)
            if isinstance(question.answer, CredentialAcquired):  # it came, but nobody is here
                self.release(ReleaseCredential(question.answer.lease, Outcome.UNUSED))
            elif isinstance(message, Ask):
                self.send(Forget(message.number))
            raise
        return question.answer

    # The far end

    def _take(self, message: ToWorker) -> None:
        match message:
            case Granted():
                lease = self._read_lease(message)
                if not self._settle(message.number, CredentialAcquired(lease)):
                    self.release(ReleaseCredential(lease, Outcome.UNUSED))
            case Refused(number, event):
                self._settle(number, event)
            case Reported(number, answer):
                self._settle(number, answer)
            case Objected(number, text, param, code, status):
                error = InvalidRequestError(text, param=param, code=code, status=status)
                self._settle(number, error)
            case Ping():
                self.send(Pong())
            case Stop(at_once):
                self._on_stop(at_once)
            case Setup():
                raise AssertionError("Setup comes first, and once")
            case _:
                assert_never(message)

    def _read_lease(self, granted: Granted) -> Lease:
        if granted.cookies is not None:
            self._cookies[granted.credential] = granted.cookies
        return Lease(
            serial=granted.serial,
            credential=granted.credential,
            group=granted.group,
            cookies=self._cookies[granted.credential],
            wants_quota=granted.wants_quota,
        )

    def _settle(self, number: int, answer: Any) -> bool:
        """Give a question its answer; whether anybody waits for it."""
        question = self._questions.pop(number, None)
        if question is None:
            return False
        question.answer = answer
        question.answered.set()
        return True

    async def _watch(self) -> None:
        """Let nobody wait for ever."""
        while True:
            await trio.sleep(_WATCH)
            now = trio.current_time()
            for number, question in list(self._questions.items()):
                if question.until < now:
                    self._log.error("the process that has the accounts does not answer")
                    self._settle(number, None)
