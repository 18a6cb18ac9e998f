"""Who waits in line for the pool, what is kept of it, and what guests there are.

The pool decides and never waits. Calls wait for it: first come, first served. Each quota group has
a line of its own, so that one with nothing to give holds up no other; an account that serves
several groups goes to whoever came first in any of them. Whatever a grant or a release has changed
is written down before anything else happens, so a call is on record before Grok sees it.

The waiting itself is for those whose time it is: `waiting` has it for tasks, `waiting_threads` for
threads. Nothing here is for two threads at once; those take turns.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from grokproto.commands import AcquireCredential, ReleaseCredential
from grokproto.credentials import (
    CredentialPool,
    Origin,
    Refusal,
    decode_record,
    encode_record,
    lease_own,
)
from grokproto.errors import ConfigurationError
from grokproto.events import CredentialAcquired, NoCredential, RequestFailed
from grokproto.grok.guests import read_guest_cookies
from grokproto.grok.refusals import read_refusal
from grokproto.lease import Lease, Outcome
from grokproto.secret import Secret

from ..logs import get_logger
from .clocks import SteadyTime
from .state_file import damaged
from .store import Store

if TYPE_CHECKING:
    from ..upstream.calls import Fetched

Cookies = Mapping[str, Secret]


class Place:
    """A place in line. Whoever has it waits until it is called, or until `until`; then looks.

        with place:
            while True:
                ...                     # wait
                event = place.look(now)
                if event is not None:
                    return event

    Leaving the block leaves the line, and gives back what came too late.

    Args:
        scheduler: Whose line it is.
        command: What is waited for.
        number: Counts up with each that comes.
        until: When to look, host clock.
    """

    def __init__(
        self, scheduler: Scheduler, command: AcquireCredential, number: int, until: float
    ) -> None:
        self._scheduler = scheduler
        self.command = command
        self.number = number
        self.until = until
        self.answer: Lease | Refusal | None = None
        """What it was called for."""
        self.call: Callable[[], object] = lambda: None
        """Called when there is an answer: wakes whoever waits."""

    def look(self, now: float) -> CredentialAcquired | NoCredential | None:
        """The answer, if there is one; else wait on."""
        return self._scheduler.look(self, now)

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._scheduler.leave(self, served=kind is None)


class Scheduler:
    """Gives out the leases of a pool in their order, and keeps what it knows.

    Args:
        pool: Fresh; what the store has is restored into it.
        store: Where it is kept.
        configured: The accounts of the configuration.
        guests: Guest sessions of the configuration.
        forget: Forget those that were configured and are not any more.
        unix_time: Unix seconds; by default a clock that nobody sets.

    Raises:
        ConfigurationError: What the store has cannot be read.
    """

    def __init__(
        self,
        pool: CredentialPool,
        store: Store,
        *,
        configured: Iterable[Cookies] = (),
        guests: Iterable[Cookies] = (),
        forget: bool = True,
        unix_time: Callable[[], float] | None = None,
    ) -> None:
        self.pool = pool
        self.store = store
        self._unix_time = unix_time or SteadyTime()
        self._unwritten: dict[str, bytes | None] = {}
        """Records that a failed write has left to be written with the next."""
        self._lines: dict[str, deque[Place]] = {}
        """By group: who waits, in order."""
        self._numbers = itertools.count()
        self.on_refusal: Callable[[], object] = lambda: None
        """Called where nothing could be granted: guests may be wanted."""
        self._log = get_logger()
        self._restore()
        names = {pool.add(cookies, Origin.CONFIGURED)[0] for cookies in configured}
        for cookies in guests:
            names.add(pool.add_guest(cookies, self.unix_now, Origin.CONFIGURED)[0])
        for status in list(pool.status(self.unix_now)):
            if forget and status.origin is Origin.CONFIGURED and status.name not in names:
                pool.remove(status.name)
        self.keep()

    @property
    def unix_now(self) -> float:
        """Unix seconds."""
        return self._unix_time()

    def _restore(self) -> None:
        try:
            self.pool.restore(decode_record(record) for record in self.store.load().values())
        except ConfigurationError as exc:
            raise damaged(self.store.path, str(exc)) from exc

    def keep(self) -> None:
        """Write down what has changed, and what could not be written before."""
        changes = self.pool.changes()
        if changes:
            records: dict[str, bytes | None] = {r.name: encode_record(r) for r in changes.records}
            records.update(dict.fromkeys(changes.removed))
            self._save(records)

    def check_store(self) -> str | None:
        """Write what could not be written before, or something that changes nothing; why that
        failed, if it did."""
        if self._unwritten:
            self._save({})
            return self.store.error
        return self.store.check()

    def write_rest(self) -> None:
        """Write what could not be written before. Nothing comes after it."""
        self._save({}, last=True)

    def _save(self, records: dict[str, bytes | None], *, last: bool = False) -> None:
        if self._unwritten:
            records = {**self._unwritten, **records}
        self._unwritten = {} if self.store.save(records, last=last) else records

    # Calls

    def ask(
        self, command: AcquireCredential, now: float
    ) -> CredentialAcquired | NoCredential | Place:
        """Ask for a call.

        Args:
            command: What is asked for. Its deadline and `now` are by the same clock.
            now: Seconds.

        Returns:
            The answer, or a place in line; see `Place` for what is to be done with it.
        """
        until = command.deadline
        line = self._lines.setdefault(command.group, deque())
        if not line:  # nobody was here before
            granted = self._try(command)
            if isinstance(granted, Lease):
                return CredentialAcquired(granted)
            if not granted.waiting or now >= command.deadline:
                return granted.as_event()
            until = _until(command, granted, now)
        place = Place(self, command, next(self._numbers), until)
        line.append(place)
        return place

    def look(self, place: Place, now: float) -> CredentialAcquired | NoCredential | None:
        """See `Place.look`."""
        command = place.command
        if place.answer is None:
            refusal = self._serve(command.group)
            place.until = _until(command, refusal, now)
        if place.answer is None:
            if now < command.deadline:
                return None
            self._lines[command.group].remove(place)
            place.answer = self._try(command)  # those in front could not have it
        answer = place.answer
        return CredentialAcquired(answer) if isinstance(answer, Lease) else answer.as_event()

    def leave(self, place: Place, *, served: bool) -> None:
        """See `Place`."""
        line = self._lines[place.command.group]
        if place in line:
            line.remove(place)
        if not served and isinstance(place.answer, Lease):  # it came, but nobody is here any more
            self.release(ReleaseCredential(place.answer, Outcome.UNUSED))

    def release(self, command: ReleaseCredential) -> None:
        """Take a lease back."""
        self.pool.release(
            command.lease, command.outcome, self.unix_now, command.failure, command.quota
        )
        self.keep()
        if command.outcome is not Outcome.SERVED and command.outcome is not Outcome.UNUSED:
            self._tell(command)
        self.serve_waiting()

    def _tell(self, command: ReleaseCredential) -> None:
        """Say in the log what a failure has done to a credential."""
        status = self.pool.describe(command.lease.credential, self.unix_now)
        if status is not None:
            self._log.warning(
                "credential",
                credential=status.name,
                group=command.lease.group,
                state=status.state.value,
                reason=status.reason,
            )

    def _try(self, command: AcquireCredential) -> Lease | Refusal:
        now = self.unix_now
        group, again = command.group, command.again
        granted = self.pool.acquire(group, now, command.exclude | command.avoid, again=again)
        if command.avoid and not isinstance(granted, Lease):
            granted = self.pool.acquire(group, now, command.exclude, again=again)
        if isinstance(granted, Lease):
            try:
                self.keep()
            except BaseException:  # nobody will give back what nobody gets
                self.pool.release(granted, Outcome.UNUSED, now)
                raise
        else:
            self.on_refusal()
        return granted

    def serve_waiting(self) -> None:
        """Something has changed: let those who wait have what there is, in the order they came."""
        turns = [(line[0].number, group, 0) for group, line in self._lines.items() if line]
        heapq.heapify(turns)
        while turns:
            _, group, place = heapq.heappop(turns)
            place, refusal = self._serve_one(group, place)
            line = self._lines[group]
            if refusal is None and place < len(line):
                heapq.heappush(turns, (line[place].number, group, place))

    def _serve(self, group: str) -> Refusal | None:
        """Serve one line in its order; why it goes no further, if it does not."""
        place = 0
        while place < len(self._lines[group]):
            place, refusal = self._serve_one(group, place)
            if refusal is not None:
                return refusal
        return None

    def _serve_one(self, group: str, place: int) -> tuple[int, Refusal | None]:
        """Serve who stands at a place in a line, if that can be done.

        Returns:
            The place of the next one, and why nobody behind can be served either.
        """
        line = self._lines[group]
        waiting = line[place]
        granted = self._try(waiting.command)
        if isinstance(granted, Lease) or not granted.waiting:
            del line[place]
            waiting.answer = granted
            waiting.call()
            return place, None
        # Where this one has merely tried what there is, one behind may not have.
        return place + 1, None if granted.tried else granted

    # Guests

    def guests_wanted(self) -> int:
        """How many guest sessions are to be fetched now; whoever asks fetches them."""
        return self.pool.guests_wanted(self.unix_now)

    def take_guest(self, fetched: Fetched | RequestFailed) -> None:
        """What the site answered when it was asked for a guest session."""
        if isinstance(fetched, RequestFailed):
            self.no_guest(f"the site could not be asked: {fetched.reason}")
            return
        cookies = read_guest_cookies(fetched.headers)
        if cookies is not None:
            self.pool.add_guest(cookies, self.unix_now)
            self.keep()
            self.serve_waiting()
        elif fetched.status != 200:
            refused = read_refusal(fetched.status, dict(fetched.headers), fetched.body)
            self.no_guest(refused.message)
        else:
            self.no_guest("the site sets no guest cookies")

    def no_guest(self, reason: str) -> None:
        """There is no guest session to be had now.

        Args:
            reason: A clause for people.
        """
        self.pool.guests_unavailable(reason, self.unix_now)
        self._log.warning("no guest session", reason=reason)
        self.keep()
        self.serve_waiting()


def _until(command: AcquireCredential, refusal: Refusal | None, now: float) -> float:
    """When there may be something for a call that waits."""
    if refusal is None or refusal.retry_after is None:
        return command.deadline
    return min(command.deadline, now + refusal.retry_after)


def lend_own(cookies: Cookies, command: AcquireCredential) -> CredentialAcquired | NoCredential:
    """The answer to a call with cookies that its request has brought; nothing is kept of it."""
    lease = lease_own(cookies, command.group)
    if lease.credential in command.exclude:
        return NoCredential("The account of this key could not answer.")
    return CredentialAcquired(lease)
