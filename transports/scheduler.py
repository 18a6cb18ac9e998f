"""The pool's waiting face: who waits in line, what is kept, and where guests come from.

The pool decides and never waits. Here calls wait for it: first come, first served. Each quota group
has a line of its own, so that one with nothing to give holds up no other; an account that serves
several groups goes to whoever came first in any of them. Whatever a grant or a release has changed
is written down before anything else happens, so a call is on record before Grok sees it.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping

import attrs
import trio

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
from grokproto.grok.guests import build_guest_request, read_guest_cookies
from grokproto.grok.refusals import read_refusal
from grokproto.lease import Lease, Outcome
from grokproto.secret import Secret
from grokproto.settings import Settings

from .clocks import SteadyTime
from .logs import get_logger
from .store import Store
from .upstream import Upstream

_GUEST_TIMEOUT = 20.0
_GUEST_PAGE = 64 * 1024

Cookies = Mapping[str, Secret]


@attrs.define(eq=False)
class _Waiter:
    """A call in line."""

    command: AcquireCredential
    number: int
    """Counts up with each that comes."""

    called: trio.Event = attrs.field(factory=trio.Event)
    answer: Lease | Refusal | None = None
    """What it was called for."""


class Scheduler:
    """Gives out leases of a pool, and keeps what it knows.

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
        self._lines: dict[str, deque[_Waiter]] = {}
        """By group: who waits, in order."""
        self._numbers = itertools.count()
        self._guests_asked = trio.Event()
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
            raise ConfigurationError(f"STATE {self.store.path}: {exc}") from exc

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

    def _save(self, records: dict[str, bytes | None]) -> None:
        if self._unwritten:
            records = {**self._unwritten, **records}
        self._unwritten = {} if self.store.save(records) else records

    # Calls (`drive.Credentials`)

    async def acquire(self, command: AcquireCredential) -> CredentialAcquired | NoCredential:
        """See `drive.Credentials`."""
        refusal: Refusal | None = None
        if not self._lines.get(command.group):  # nobody was here before
            granted = self._try(command)
            if isinstance(granted, Lease):
                return CredentialAcquired(granted)
            refusal = granted
            if not refusal.waiting or trio.current_time() >= command.deadline:
                return refusal.as_event()
        return await self._wait_in_line(_Waiter(command, next(self._numbers)), refusal)

    async def _wait_in_line(
        self, waiter: _Waiter, refusal: Refusal | None
    ) -> CredentialAcquired | NoCredential:
        command = waiter.command
        line = self._lines.setdefault(command.group, deque())
        line.append(waiter)
        try:
            while waiter.answer is None and trio.current_time() < command.deadline:
                until = command.deadline
                if refusal is not None and refusal.retry_after is not None:
                    until = min(until, trio.current_time() + refusal.retry_after)
                with trio.move_on_at(until):
                    await waiter.called.wait()
                if waiter.answer is None:
                    refusal = self._serve(command.group)
        except BaseException:
            if isinstance(waiter.answer, Lease):  # it came, but nobody is here any more
                self._give_back(ReleaseCredential(waiter.answer, Outcome.UNUSED))
            raise
        finally:
            if waiter in line:
                line.remove(waiter)
        answer = waiter.answer or self._try(command)  # those in front could not have it
        return CredentialAcquired(answer) if isinstance(answer, Lease) else answer.as_event()

    def release(self, command: ReleaseCredential) -> None:
        """See `drive.Credentials`."""
        self._give_back(command)

    def _give_back(self, command: ReleaseCredential) -> None:
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
        granted = self.pool.acquire(command.group, now, command.exclude | command.avoid)
        if command.avoid and not isinstance(granted, Lease):
            granted = self.pool.acquire(command.group, now, command.exclude)
        if isinstance(granted, Lease):
            try:
                self.keep()
            except BaseException:  # nobody will give back what nobody gets
                self.pool.release(granted, Outcome.UNUSED, now)
                raise
        else:
            self._guests_asked.set()
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
        waiter = line[place]
        granted = self._try(waiter.command)
        if isinstance(granted, Lease) or not granted.waiting:
            del line[place]
            waiter.answer = granted
            waiter.called.set()
            return place, None
        # Where this one has merely tried what there is, one behind may not have.
        return place + 1, None if granted.tried else granted

    # Guests

    async def run_guests(self, upstream: Upstream, settings: Settings) -> None:
        """Fetch guest sessions when the pool wants some; ends when cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                for _ in range(self.pool.guests_wanted(self.unix_now)):
                    nursery.start_soon(self._fetch_guest, upstream, settings)
                await self._guests_asked.wait()
                self._guests_asked = trio.Event()

    async def _fetch_guest(self, upstream: Upstream, settings: Settings) -> None:
        try:
            reason = await self._try_to_fetch_guest(upstream, settings)
        except Exception as exc:  # a mistake of ours must not take the server with it
            self._log.error("no guest session by our own fault", exc_info=exc)
            reason = "this server made a mistake, which its log tells"
        if reason is not None:
            self.pool.guests_unavailable(reason, self.unix_now)
            self._log.warning("no guest session", reason=reason)
        self.keep()
        self.serve_waiting()

    async def _try_to_fetch_guest(self, upstream: Upstream, settings: Settings) -> str | None:
        """Fetch one; why there is none, if there is none."""
        fetched = await upstream.fetch(
            build_guest_request(settings), limit=_GUEST_PAGE, timeout=_GUEST_TIMEOUT
        )
        if isinstance(fetched, RequestFailed):
            return f"the site could not be asked: {fetched.reason}"
        cookies = read_guest_cookies(fetched.headers)
        if cookies is not None:
            self.pool.add_guest(cookies, self.unix_now)
            return None
        if fetched.status != 200:
            return read_refusal(fetched.status, dict(fetched.headers), fetched.body).message
        return "the site sets no guest cookies"


class OwnCookie:
    """The key of a request is the cookie of its account, for this request alone."""

    def __init__(self, cookies: Cookies) -> None:
        self._cookies = cookies

    async def acquire(self, command: AcquireCredential) -> CredentialAcquired | NoCredential:
        """See `drive.Credentials`."""
        lease = lease_own(self._cookies, command.group)
        if lease.credential in command.exclude:
            return NoCredential("The account of this key could not answer.")
        return CredentialAcquired(lease)

    def release(self, command: ReleaseCredential) -> None:
        """Nothing is kept of it."""
