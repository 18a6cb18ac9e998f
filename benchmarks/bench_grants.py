"""What does a call cost when the pool is in another process? `python -m benchmarks.bench_grants`

A call is a grant and its return; 16 tasks make them one after the other. Once with the pool in the
same process, and once with one worker that asks over its wire, as `grokproto serve --workers` has
it. The state is on disk. CPU is of each process, per call, less what the processes take to start;
rounds take turns, and the median counts.
"""

from __future__ import annotations

import json
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

from grokproto.commands import AcquireCredential, ReleaseCredential
from grokproto.credentials import CredentialPool, PoolSettings, parse_quotas
from grokproto.events import CredentialAcquired
from grokproto.lease import Outcome
from grokproto.secret import Secret
from transports.driving.answer import Pool
from transports.loops.trio_loop import TRIO
from transports.pool.scheduler import Scheduler
from transports.pool.store import Store
from transports.pool.waiting import Waiting
from transports.standalone.pool_service import PoolService
from transports.standalone.remote_pool import RemotePool
from transports.standalone.wire import Wire

CALLS = 6000
TASKS = 16
ACCOUNTS = 100
ROUNDS = 5
COOKIE = "x" * 300
"""As long as a real one."""


async def make_calls(pool: Pool, calls: int) -> float:
    """CPU seconds of this process for each call."""

    async def client() -> None:
        for _ in range(calls // TASKS):
            event = await pool.acquire(AcquireCredential("grok-3", trio.current_time() + 10))
            assert isinstance(event, CredentialAcquired)
            await trio.lowlevel.checkpoint()
            pool.release(ReleaseCredential(event.lease, Outcome.SERVED))

    started = time.process_time()
    async with trio.open_nursery() as nursery:
        for _ in range(TASKS):
            nursery.start_soon(client)
    return (time.process_time() - started) / calls


def open_scheduler(store: Store) -> Scheduler:
    """A scheduler with accounts that do not run dry."""
    settings = PoolSettings(quotas=parse_quotas("grok-3=1000000/2h"))
    configured = [{"sso": Secret(f"{COOKIE}{number}")} for number in range(ACCOUNTS)]
    return Scheduler(CredentialPool(settings), store, configured=configured)


async def measure_worker(descriptor: int) -> None:
    """Be a worker, and print what a call has cost it."""
    wire = Wire(socket.socket(fileno=descriptor))
    pool = RemotePool(wire)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.run)
        await make_calls(pool, CALLS // 10)
        print(json.dumps(await make_calls(pool, CALLS)))
        await wire.flush()
        nursery.cancel_scope.cancel()


async def measure_apart(store: Store) -> tuple[float, float]:
    """CPU seconds of the process with the pool, and of the worker, for each call."""
    scheduler = open_scheduler(store)
    ours, theirs = socket.socketpair()
    with theirs:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "benchmarks.bench_grants", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdout=subprocess.PIPE,
        )
    wire = Wire(ours)
    started = time.process_time()
    await PoolService(scheduler, wire).run()
    spent = time.process_time() - started
    wire.close()
    assert process.stdout is not None
    worker = float(json.loads(await process.stdout.receive_some()))
    await process.wait()
    return spent / (CALLS + CALLS // 10), worker


async def measure_together(store: Store) -> float:
    """CPU seconds for each call where pool and requests are in one process."""
    pool = Waiting(open_scheduler(store), TRIO)
    await make_calls(pool, CALLS // 10)
    return await make_calls(pool, CALLS)


def main() -> None:
    """Measure and print."""
    if len(sys.argv) > 1:
        trio.run(measure_worker, int(sys.argv[1]))
        return
    together: list[float] = []
    apart: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS):
            with Store(Path(folder) / f"together-{number}.sqlite3") as store:
                together.append(trio.run(measure_together, store))
            with Store(Path(folder) / f"apart-{number}.sqlite3") as store:
                apart.append(trio.run(measure_apart, store))
    pools, workers = zip(*apart, strict=True)
    print(
        f"Python {platform.python_version()}, trio {trio.__version__}; CPU us a call, median of "
        f"{ROUNDS} rounds of {CALLS} calls\n"
    )
    for name, found in (
        ("one process", together),
        ("with the pool", pools),
        ("the worker", workers),
    ):
        middle = statistics.median(found)
        spread = (max(found) - min(found)) / middle
        print(f"{name:16}{middle * 1e6:8.1f}{spread:8.0%}")


if __name__ == "__main__":
    main()
