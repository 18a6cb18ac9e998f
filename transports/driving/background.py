"""The application in an event loop of somebody else's: how it begins and ends there.

What outlives a request (connections to the far ends, guests, the state) is in a task that belongs
to none. The first request starts it, or a host that is told of the beginning; the end of the event
loop ends it, or a host that is told of that. So the application may be mounted in another, which
tells it nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager

from ..api.service import Service
from ..logs import get_logger
from ..loops import Bell, Loop, Nursery, Scope
from ..loops.mailbox import Mailroom
from ..loops.running import current_loop, find_loop, start_in_background
from ..pictures.desk import PictureDesk
from ..pool.scheduler import Scheduler
from ..pool.waiting import Waiting
from ..upstream.calls import Upstream
from .answer import App
from .drive import Drives

_LAST_WORDS = 3.0
"""Seconds that exchanges have to tell their clients that the host ends."""
_PAUSE = 0.02

OpenScheduler = Callable[[], AbstractContextManager[Scheduler]]
"""Opens the accounts, for as long as the block is not left."""
BuildDesk = Callable[[Loop], PictureDesk]


class Background:
    """An application, started where and when it is needed.

    Args:
        service: What it serves with.
        open_scheduler: Opens its accounts.
        build_desk: What is done with pictures on an event loop, instead of what the service says.
    """

    def __init__(
        self,
        service: Service,
        open_scheduler: OpenScheduler,
        *,
        build_desk: BuildDesk | None = None,
    ) -> None:
        self.service = service
        self._open_scheduler = open_scheduler
        self._build_desk = build_desk or service.build_desk
        self._run: _Run | None = None

    async def start(self) -> App:
        """The application, running.

        Raises:
            ConfigurationError: The state cannot be used, or is held by another.
            RuntimeError: It runs already, in another event loop.
        """
        if self._run is None or self._run.ended:
            self._run = _Run(self.service, self._open_scheduler, self._build_desk)
        run = self._run
        if run.token is not current_loop():
            raise RuntimeError("this application runs in another event loop; make one more")
        await run.begun.wait()
        if run.failed is not None:
            raise run.failed
        if run.app is None:
            raise RuntimeError("the event loop is ending")
        return run.app

    def start_soon(self, function: Callable[[], Awaitable[None]]) -> None:
        """Start a task that may outlive the one that starts it. The application must run.

        Args:
            function: Must let no exception out.
        """
        assert self._run is not None
        assert self._run.nursery is not None
        self._run.nursery.start_soon(function)

    @property
    def loop(self) -> Loop:
        """What it runs on. It must run."""
        assert self._run is not None
        return self._run.loop

    @property
    def mailroom(self) -> Mailroom:
        """Looks after waits with deadlines, of tasks and between them. It must run."""
        assert self._run is not None
        return self._run.mailroom

    async def stop(self) -> None:
        """Let exchanges that are under way tell their clients that the host ends, and end."""
        if self._run is not None:
            await self._run.stop()


class _Run:
    """One time that it runs."""

    def __init__(
        self, service: Service, open_scheduler: OpenScheduler, build_desk: BuildDesk
    ) -> None:
        self._service = service
        self._open_scheduler = open_scheduler
        self._build_desk = build_desk
        self._drives = Drives()
        self.token = current_loop()
        self.loop = find_loop()
        self._scope: Scope = self.loop.open_scope()
        self.app: App | None = None
        self.nursery: Nursery | None = None
        self.mailroom = Mailroom(self.loop)
        self.begun = self.loop.make_bell()
        self.failed: Exception | None = None
        """Why it did not begin."""
        self.ended = False
        self._over = self.loop.make_bell()
        self._task = start_in_background(self._run)

    async def stop(self) -> None:
        """See `Background.stop`."""
        self._drives.stop()
        loop = self.loop
        with loop.open_scope(deadline=loop.current_time() + _LAST_WORDS):
            while len(self._drives):
                await loop.sleep_until(loop.current_time() + _PAUSE)
        self._scope.cancel()
        await self._over.wait()

    async def _run(self) -> None:
        try:
            with self._scope, self._open_scheduler() as scheduler:
                await self._have(scheduler)
        except Exception as exc:  # whoever waits is told
            self.failed = exc
            if self.app is not None:
                get_logger().error("the application has ended by our own fault", exc_info=exc)
        finally:
            self.ended = True
            self.begun.set()
            self._over.set()

    async def _have(self, scheduler: Scheduler) -> None:
        """Have what requests need, until cancelled."""
        service, loop = self._service, self.loop
        waiting = Waiting(scheduler, loop)
        upstream = Upstream(service.upstream, on_error=_tell, loop=loop)
        app = App(
            service.build_front(self._drives),
            drives=self._drives,
            pool=waiting,
            upstream=upstream,
            pictures=self._build_desk(loop),
            loop=loop,
        )
        async with loop.open_nursery() as nursery:
            nursery.start_soon(self.mailroom.run)
            if service.fetches_guests:
                nursery.start_soon(waiting.run_guests, upstream, service.settings)
            self.app, self.nursery = app, nursery
            await upstream.run(task_status=_Begun(self.begun))


class _Begun:
    """See `loops.TaskStatus`."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell

    def started(self) -> None:
        """See `loops.TaskStatus`."""
        self._bell.set()


def _tell(exc: Exception) -> None:
    get_logger().error("a request failed by our own fault", exc_info=exc)
