"""A server in a process of its own, so that what it costs can be measured."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
import trio

from tests.tracebacks import find_traceback
from tests.transports.served import RawClient, RawResponse
from tests.transports.test_credentials import Process
from transports.simulator import Simulator

PATIENCE = 60.0
"""Seconds after which a test has hung."""


@attrs.frozen
class Apart:
    """A server in a process of its own, and the simulator behind it."""

    simulator: Simulator
    process: Process
    port: int

    @property
    def pid(self) -> int:
        """Of the server."""
        return self.process.process.pid

    async def connect(self) -> RawClient:
        """A connection to it."""
        return RawClient(await trio.open_tcp_stream("127.0.0.1", self.port))

    async def request(self, method: str, path: str, body: object = None) -> RawResponse:
        """One request on a connection of its own."""
        client = await self.connect()
        async with client.stream:
            await client.send_request(method, path, body)
            return await client.read_response()

    def read_memory(self, name: str = "VmRSS") -> int:
        """Bytes that are resident, or have been at the most (`VmHWM`)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition(f"{name}:")[2].split()[0]) * 1024

    def forget_peak(self) -> None:
        """Let `VmHWM` begin anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def count_descriptors(self) -> int:
        """That are open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))


def with_process(check: Callable[[Apart], Awaitable[None]], **environment: str) -> None:
    """Run a check against a server of its own; it must end well, and tell of no mistake."""

    async def main() -> None:
        simulator = Simulator(quotas={"grok-3": (1_000_000, 60.0)})
        async with trio.open_nursery() as nursery:
            await nursery.start(simulator.run)
            variables = {
                "STATE": ":memory:",
                "SSO": "anna",
                "QUOTAS": "grok-3=1000000/1h",
                "QUOTA_PROBE": "false",
                "CREDENTIAL_CONCURRENCY": "1000",
                "LOG_LEVEL": "warning",
                "GROK_BASE_URL": simulator.base_url,
                "GROK_ASSETS_URL": simulator.base_url,
                **environment,
            }
            process = await trio.to_thread.run_sync(lambda: Process.start(**variables))
            port = int(process.url.split(":")[2].split("/")[0])
            try:
                with trio.fail_after(PATIENCE):
                    await check(Apart(simulator, process, port))
            finally:
                with trio.CancelScope(shield=True):
                    log = await trio.to_thread.run_sync(process.end, signal.SIGTERM)
            assert process.process.returncode == 0
            assert find_traceback(log) == ""
            nursery.cancel_scope.cancel()
        assert simulator.errors == []

    trio.run(main)
