"""The pool, for a worker: what it asks for over its wire, it is given; what it leaves, is settled.

There is one pool and one state however many workers there are, so what is exact for one process is
exact for all. A worker that dies leaves its leases behind, and nobody can tell whether Grok has
seen these calls: they stay counted, and are no longer in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from typing import assert_never

import trio

from grokproto.commands import AcquireCredential, ReleaseCredential
from grokproto.errors import InvalidRequestError
from grokproto.events import CredentialAcquired, NoCredential
from grokproto.lease import Lease, Outcome
from grokproto.secret import Secret

from ..logs import get_logger
from ..pool import admin
from ..pool.scheduler import Place, Scheduler
from .pool_messages import (
    Ask,
    Forget,
    FromWorker,
    GiveBack,
    Granted,
    Instruct,
    Listening,
    Objected,
    Ping,
    Pong,
    Refused,
    Reported,
    ToWorker,
    decode_from_worker,
    encode,
)
from .wire import Wire

_LOOK = 0.05
"""Seconds by which who waits in line may be told late that its time is over."""
PING_PAUSE = 5.0
PING_PATIENCE = 30
"""Seconds for a worker to say anything at all. Nothing that a request may want takes as long."""


class PoolService:
    """What one worker is given.

    Args:
        scheduler: The pool's.
        wire: To the worker.
        on_listening: Called when it answers requests.
        on_silence: Called when it does so no longer, and says nothing at all.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        wire: Wire,
        *,
        on_listening: Callable[[], object] = lambda: None,
        on_silence: Callable[[], object] = lambda: None,
    ) -> None:
        self._scheduler = scheduler
        self._wire = wire
        self._on_listening = on_listening
        self._on_silence = on_silence
        self._listens = trio.Event()
        self._heard = 0
        """How often it has said something."""
        self._places: dict[int, Place] = {}
        """Who waits in line, by the number of the question."""
        self._some_wait = trio.Event()
        self._leases: dict[int, Lease] = {}
        """Those that the worker has, by serial."""
        self._told: dict[str, Mapping[str, Secret]] = {}
        """The cookies that the worker knows, by credential. They are long, and seldom new."""
        self._log = get_logger()

    async def run(self) -> None:
        """Serve the worker; ends when it is gone, with nothing left of it."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._wire.run)
                nursery.start_soon(self._look_after_those_who_wait)
                nursery.start_soon(self._watch)
                while lines := await self._wire.receive():
                    self._heard += 1
                    with self._wire.hold():
                        for line in lines:
                            self._take(line)
                nursery.cancel_scope.cancel()
        finally:
            self._settle()

    def send(self, message: ToWorker) -> None:
        """Tell the worker something."""
        self._wire.send(encode(message))

    def _take(self, line: bytes) -> None:
        try:
            self._carry_out(decode_from_worker(line))
        except Exception as exc:  # a mistake of ours must not take all workers with it
            self._log.error("a message of a worker's could not be dealt with", exc_info=exc)

    def _carry_out(self, message: FromWorker) -> None:
        match message:
            case Ask():
                self._ask(message)
            case Forget(number):
                place = self._places.pop(number, None)
                if place is not None:
                    self._scheduler.leave(place, served=False)
            case GiveBack(serial, outcome, failure, quota):
                lease = self._leases.pop(serial)
                self._scheduler.release(ReleaseCredential(lease, outcome, failure, quota))
            case Instruct(number, order, until):
                if monotonic() > until:
                    return
                answer = admin.carry_out(self._scheduler, order)
                if isinstance(answer, InvalidRequestError):
                    self.send(
                        Objected(number, answer.message, answer.param, answer.code, answer.status)
                    )
                else:
                    self.send(Reported(number, answer))
            case Listening():
                self._listens.set()
                self._on_listening()
            case Pong():
                pass
            case _:
                assert_never(message)

    def _ask(self, message: Ask) -> None:
        now = trio.current_time()
        command = AcquireCredential(
            message.group, now + message.patience, message.exclude, message.avoid, message.again
        )
        answer = self._scheduler.ask(command, now)
        if isinstance(answer, Place):
            answer.call = partial(self._look, message.number, answer)
            self._places[message.number] = answer
            self._some_wait.set()
        else:
            self._answer(message.number, answer)

    def _look(self, number: int, place: Place) -> None:
        event = place.look(trio.current_time())
        # Looking may have it called, which looks as well.
        if event is not None and self._places.pop(number, None) is not None:
            self._answer(number, event)

    def _answer(self, number: int, event: CredentialAcquired | NoCredential) -> None:
        if not isinstance(event, CredentialAcquired):
            self.send(Refused(number, event))
            return
        lease = event.lease
        self._leases[lease.serial] = lease
        cookies: dict[str, Secret] | None = None
        if self._told.get(lease.credential) is not lease.cookies:
            self._told[lease.credential] = lease.cookies
            cookies = dict(lease.cookies)
        self.send(
            Granted(number, lease.serial, lease.credential, lease.group, lease.wants_quota, cookies)
        )

    async def _look_after_those_who_wait(self) -> None:
        while True:
            await self._some_wait.wait()
            self._some_wait = trio.Event()
            while self._places:
                await trio.sleep(_LOOK)
                now = trio.current_time()
                for number, place in list(self._places.items()):
                    if place.until <= now and number in self._places:
                        self._look(number, place)

    async def _watch(self) -> None:
        """Ask the worker now and then whether it still does anything."""
        await self._listens.wait()
        while True:
            await trio.sleep(PING_PAUSE)
            self.send(Ping())
            heard = self._heard
            for _ in range(PING_PATIENCE):
                # One by one: whoever stood still himself must not blame another for it.
                await trio.sleep(1)
                if self._heard != heard:
                    break
            else:
                self._on_silence()
                return

    def _settle(self) -> None:
        places, self._places = self._places, {}
        for place in places.values():
            self._scheduler.leave(place, served=False)
        leases, self._leases = self._leases, {}
        for lease in leases.values():
            self._scheduler.release(ReleaseCredential(lease, Outcome.SERVED))
        if leases:
            self._log.warning("a worker left calls behind; they stay counted", calls=len(leases))
