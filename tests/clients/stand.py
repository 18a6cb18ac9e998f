"""A server and a simulated Grok in a thread of their own, for clients in the test's."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import attrs
import trio
import trio.testing
from structlog.testing import capture_logs

from tests.transports.served import LateClock
from transports.api.service import build_scheduler
from transports.config import load_config
from transports.pool.scheduler import Scheduler
from transports.pool.store import MEMORY, Store
from transports.server.listening import Listening
from transports.simulator import Delivery, FaultKind, Simulator
from transports.simulator.site import Received
from transports.standalone.serve import point_at, run_server

KEY = "sk-123456789"
PATIENCE = 30.0
"""Seconds after which a test has hung."""
CHAT = "/rest/app-chat/conversations/new"

T = TypeVar("T")


@attrs.define
class Stand:
    """What a test has to work with."""

    base_url: str
    """As clients want it: with `/v1`."""
    cut: int | None
    """Bytes in a write of Grok's; None where whole lines are."""
    simulator: Simulator
    clock: LateClock
    """The time that counts for credentials."""
    log: list[Any]
    """What the server has logged."""
    _scheduler: Scheduler
    _token: trio.lowlevel.TrioToken

    def call(self, work: Callable[[], T]) -> T:
        """Do something in the server's thread."""
        return trio.from_thread.run_sync(work, trio_token=self._token)

    def order(self, kind: FaultKind, **which: Any) -> None:
        """Order a fault; see `FaultScript.order`."""
        self.call(lambda: self.simulator.site.faults.order(kind, **which))

    def order_answer(self, status: int, headers: dict[str, str], body: bytes, **which: Any) -> None:
        """Order an answer; see `FaultScript.order_answer`."""
        faults = self.simulator.site.faults
        self.call(lambda: faults.order_answer(status, headers, body, **which))

    @property
    def questions(self) -> list[Received]:
        """The questions that Grok got."""
        received = self.call(lambda: list(self.simulator.site.received))
        return [each for each in received if each.path == CHAT]

    @property
    def calls(self) -> Counter[str]:
        """How often Grok was called, by path."""
        return self.call(lambda: Counter(self.simulator.site.calls))

    def wait_until_idle(self) -> None:
        """Wait until Grok answers nothing, and no credential is out."""

        async def wait() -> None:
            site = self.simulator.site
            with trio.fail_after(PATIENCE):
                await site.wait_for(lambda: site.in_flight == 0)
                await trio.testing.wait_all_tasks_blocked()

        trio.from_thread.run(wait, trio_token=self._token)
        pool = self._scheduler.pool
        for status in self.call(lambda: pool.status(self._scheduler.unix_now)):
            assert status.in_flight == 0


class _Thread:
    """Runs until it is stopped; what goes wrong in it is raised by `stop`."""

    def __init__(self, cut: int | None, environment: dict[str, str], log: list[Any]) -> None:
        self._cut = cut
        self._log = log
        self._environment = environment
        self._started = threading.Event()
        self._scope = trio.CancelScope()
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="stand")
        self.stand: Stand | None = None

    def start(self) -> Stand:
        self._thread.start()
        assert self._started.wait(PATIENCE)
        if self.stand is None:
            self.stop()
        assert self.stand is not None
        return self.stand

    def stop(self) -> None:
        if self.stand is not None:
            self.stand.call(self._scope.cancel)
        self._thread.join(PATIENCE)
        if self._fault is not None:
            raise self._fault
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            trio.run(self._serve)
        except BaseException as exc:  # told by whoever waits for the thread
            self._fault = exc
        finally:
            self._started.set()

    async def _serve(self) -> None:
        simulator = Simulator()
        simulator.site.delivery = Delivery(cut=self._cut)
        variables = {"PORT": "0", "STATE": MEMORY, "QUOTA_PROBE": "false", "SSO": "anna,bert"}
        config = load_config({**variables, "IS_TEMP_GROK2": "false", **self._environment})
        with self._scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(simulator.run)
                config = point_at(config, simulator.base_url)
                models = config.read_models()
                with Store(config.state_path) as store:
                    clock = LateClock()
                    scheduler = build_scheduler(config, store, unix_time=clock)

                    async def serve(*, task_status: trio.TaskStatus[Listening]) -> None:
                        await run_server(
                            config, models, scheduler, signals=False, task_status=task_status
                        )

                    listening = await nursery.start(serve)
                    self.stand = Stand(
                        listening.url,
                        self._cut,
                        simulator,
                        clock,
                        self._log,
                        scheduler,
                        trio.lowlevel.current_trio_token(),
                    )
                    self._started.set()
                    await trio.sleep_forever()
        assert simulator.errors == []


@contextmanager
def open_stand(*, cut: int | None = None, **environment: str) -> Iterator[Stand]:
    """Run a server in front of a simulated Grok; nothing may be left under way at the end.

    Args:
        cut: Bytes in each write of Grok's; whole lines where it is None.
        environment: Configuration.
    """
    with capture_logs() as log:
        thread = _Thread(cut, environment, log)
        stand = thread.start()
        try:
            yield stand
            stand.wait_until_idle()
        finally:
            thread.stop()
    assert [entry for entry in log if entry["log_level"] in ("error", "critical")] == []
