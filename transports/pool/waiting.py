"""Waiting for a call, and for guests, as tasks do it. Who is served when stands in `scheduler`."""

from __future__ import annotations

from grokproto.commands import AcquireCredential, ReleaseCredential
from grokproto.events import CredentialAcquired, NoCredential
from grokproto.grok.guests import build_guest_request
from grokproto.settings import Settings

from ..logs import get_logger
from ..loops import Loop
from ..upstream.calls import Upstream
from .admin import carry_out
from .orders import Answer, Order
from .scheduler import Cookies, Place, Scheduler, lend_own

GUEST_TIMEOUT = 20.0
"""Seconds that the site has to give a guest session."""
GUEST_PAGE = 64 * 1024
"""Bytes of its page that are read; the session is in the head."""


class Waiting:
    """See `answer.Pool`: that of a scheduler, and the line before it.

    Args:
        scheduler: Its tasks are all in one thread.
        loop: What they run on.
    """

    def __init__(self, scheduler: Scheduler, loop: Loop) -> None:
        self._scheduler = scheduler
        self._loop = loop
        self._log = get_logger()

    async def acquire(self, command: AcquireCredential) -> CredentialAcquired | NoCredential:
        """See `drive.Credentials`."""
        answer = self._scheduler.ask(command, self._loop.current_time())
        if not isinstance(answer, Place):
            return answer
        called = self._loop.make_bell()
        answer.call = called.set
        with answer as place:
            while True:
                with self._loop.open_scope(deadline=place.until):
                    await called.wait()
                event = place.look(self._loop.current_time())
                if event is not None:
                    return event

    def release(self, command: ReleaseCredential) -> None:
        """See `drive.Credentials`."""
        self._scheduler.release(command)

    async def administer(self, order: Order) -> Answer:
        """See `answer.Pool`."""
        return carry_out(self._scheduler, order)

    async def run_guests(self, upstream: Upstream, settings: Settings) -> None:
        """Fetch guest sessions when the pool wants some; ends when cancelled."""
        async with self._loop.open_nursery() as nursery:
            while True:
                refused = self._loop.make_bell()
                self._scheduler.on_refusal = refused.set
                for _ in range(self._scheduler.guests_wanted()):
                    nursery.start_soon(self._fetch_guest, upstream, settings)
                await refused.wait()

    async def _fetch_guest(self, upstream: Upstream, settings: Settings) -> None:
        request = build_guest_request(settings)
        try:
            fetched = await upstream.fetch(request, limit=GUEST_PAGE, timeout=GUEST_TIMEOUT)
            self._scheduler.take_guest(fetched)
        except Exception as exc:  # a mistake of ours must not take the server with it
            self._log.error("no guest session by our own fault", exc_info=exc)
            self._scheduler.no_guest("this server made a mistake, which its log tells")


class OwnCookie:
    """See `drive.Credentials`: the cookie of one account, for one request alone."""

    def __init__(self, cookies: Cookies) -> None:
        self._cookies = cookies

    async def acquire(self, command: AcquireCredential) -> CredentialAcquired | NoCredential:
        """See `drive.Credentials`."""
        return lend_own(self._cookies, command)

    def release(self, command: ReleaseCredential) -> None:
        """Nothing is kept of it."""
