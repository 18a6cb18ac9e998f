"""A stand-in for grok.com, its assets host and two image hosts, over real sockets.

For the demo, the tests, the benchmarks, and for authors of clients: no account, no network. All
that it does depends on what it is asked, and it can do wrong whatever the real one can
(`faults`).

    simulator = Simulator()
    listening = await nursery.start(simulator.run)
    ... GROK_BASE_URL=listening.url ...
    simulator.site.faults.order(FaultKind.CUT)
    await simulator.site.wait_for(lambda: simulator.site.cancelled == 1)

`python -m transports.simulator` runs one by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

from ..server.listening import Listening, Server
from .faults import Fault, FaultKind
from .frames import Style
from .site import Received, Site
from .stream import Delivery

__all__ = ["Delivery", "Fault", "FaultKind", "Received", "Simulator", "Site", "Style"]


class Simulator:
    """A simulated Grok.

    Args:
        clock: For the windows of quotas, seconds; trio's by default.
        quotas: Calls and seconds by the name of the quota (`accounts.DEFAULT_QUOTAS`).
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = trio.current_time,
        quotas: dict[str, tuple[int, float]] | None = None,
    ) -> None:
        self.site = Site(clock, quotas)
        self.errors: list[BaseException] = []
        """What went wrong in the simulator itself."""
        self._server = Server(self.site, on_error=self.errors.append)
        self._listening: Listening | None = None

    @property
    def base_url(self) -> str:
        """Where all the far ends are, once it runs."""
        if self._listening is None:
            raise RuntimeError("the simulator does not run yet")
        return self._listening.url

    @property
    def open_connections(self) -> int:
        """Connections that clients hold."""
        return self._server.open_connections

    async def run(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        task_status: trio.TaskStatus[Listening] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled.

        Raises:
            OSError: It cannot listen there.
        """

        def started(listening: Listening) -> None:
            self._listening = listening
            task_status.started(listening)

        await self._server.run(host, port, task_status=_Started(started))


class _Started:
    """A task status that tells a function."""

    def __init__(self, tell: Callable[[Any], None]) -> None:
        self._tell = tell

    def started(self, value: Any = None) -> None:
        self._tell(value)
