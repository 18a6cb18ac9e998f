"""Waiting for a call, and for guests, as threads do it. Who is served when stands in `scheduler`.

A scheduler is not for two threads at once, so they take turns with it; none waits while it has its
turn.
"""

from __future__ import annotations

import threading
import time

from grokproto.commands import AcquireCredential, ReleaseCredential
from grokproto.events import CredentialAcquired, NoCredential
from grokproto.grok.guests import build_guest_request
from grokproto.settings import Settings

from ..logs import get_logger
from ..loops.threads import InterruptedWaitError, News
from ..server.errors import StoppingError
from ..upstream.calls_threads import ThreadedUpstream
from .admin import carry_out
from .orders import Answer, Order
from .scheduler import Cookies, Place, Scheduler, lend_own
from .waiting import GUEST_PAGE, GUEST_TIMEOUT


class ThreadedWaiting:
    """See `drive_threads.ThreadedCredentials`: those of a scheduler, and the line before it.

    Args:
        scheduler: Nobody else may use it.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._turn = threading.Lock()
        self._refused = threading.Event()
        self._closed = False
        """Whatever is not for a call that goes on leaves the scheduler alone."""
        self._fetching: set[News] = set()
        """Where threads wait that fetch guests."""
        self._log = get_logger()
        scheduler.on_refusal = self._refused.set

    def acquire(self, command: AcquireCredential, news: News) -> CredentialAcquired | NoCredential:
        """See `drive_threads.ThreadedCredentials`."""
        with self._turn:
            place = self._scheduler.ask(command, time.monotonic())
            if not isinstance(place, Place):
                return place
            place.call = news.ring
        event: CredentialAcquired | NoCredential | None = None
        try:
            while event is None:
                news.wait_for(lambda: place.answer, place.until)
                with self._turn:
                    event = place.look(time.monotonic())
            return event
        finally:
            with self._turn:
                self._scheduler.leave(place, served=event is not None)

    def release(self, command: ReleaseCredential) -> None:
        """See `drive_threads.ThreadedCredentials`."""
        with self._turn:
            self._scheduler.release(command)

    def administer(self, order: Order) -> Answer:
        """Do what an order says.

        Raises:
            StoppingError: It was closed.
        """
        with self._turn:
            if self._closed:
                raise StoppingError
            return carry_out(self._scheduler, order)

    def run_guests(self, upstream: ThreadedUpstream, settings: Settings) -> None:
        """Fetch guest sessions when the pool wants some, until `close`; a thread of its own."""
        while not self._closed:
            self._refused.clear()
            with self._turn:
                wanted = 0 if self._closed else self._scheduler.guests_wanted()
                fetching = [News() for _ in range(wanted)]
                self._fetching.update(fetching)
            for news in fetching:
                threading.Thread(
                    target=self._fetch_guest,
                    args=(upstream, settings, news),
                    name="grokproto guest",
                    daemon=True,
                ).start()
            if not self._closed:
                self._refused.wait()

    def close(self) -> None:
        """Fetch no guests any more, and follow no orders. Calls may still be given back."""
        with self._turn:
            self._closed = True
            fetching = list(self._fetching)
        self._refused.set()
        for news in fetching:
            news.stop()

    def _fetch_guest(self, upstream: ThreadedUpstream, settings: Settings, news: News) -> None:
        request = build_guest_request(settings)
        try:
            fetched = upstream.fetch(request, limit=GUEST_PAGE, timeout=GUEST_TIMEOUT, news=news)
            with self._turn:
                if not self._closed:
                    self._scheduler.take_guest(fetched)
        except InterruptedWaitError:
            pass
        except Exception as exc:  # a mistake of ours must not take the host with it
            self._log.error("no guest session by our own fault", exc_info=exc)
            with self._turn:
                if not self._closed:
                    self._scheduler.no_guest("this server made a mistake, which its log tells")
        finally:
            with self._turn:
                self._fetching.discard(news)


class ThreadedOwnCookie:
    """See `drive_threads.ThreadedCredentials`: the cookie of one account, for one request alone."""

    def __init__(self, cookies: Cookies) -> None:
        self._cookies = cookies

    def acquire(self, command: AcquireCredential, _: News) -> CredentialAcquired | NoCredential:
        """See `drive_threads.ThreadedCredentials`."""
        return lend_own(self._cookies, command)

    def release(self, command: ReleaseCredential) -> None:
        """Nothing is kept of it."""
