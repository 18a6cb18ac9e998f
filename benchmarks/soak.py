"""Does anything leak? `python -m benchmarks.soak [MINUTES]`

A server in a process of its own, a simulator and clients in this one. For as long as it is told
(2 minutes unless it is), clients of every kind ask for everything there is, while the far end does
wrong whatever it can: requests that are none, bodies that are too long, clients that leave in the
middle, that read slowly or not at all, connections that say nothing, pictures in and out, guests,
several answers at once, accounts that come and go.

Both ends count. Each answer must be whole and be what may come of what was asked, and each answered
request must have one line in the server's log; at the end, when nothing runs any more, what the
server holds is compared with what it held after a first round of the same: connections,
descriptors, threads, upstream calls, call slots, memory. The exit code is 1 where something is
wrong, and what is wrong is said.

Memory is compared with the allocator told to give back what is large as soon as it is free: else it
is fragments that are measured, which grow for a quarter of an hour and then no more.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import trio

from tests.tracebacks import find_traceback
from transports.pool.waiting import GUEST_TIMEOUT
from transports.simulator import Delivery, Simulator, Style

from .soak_traffic import Traffic

CLIENTS = 12
"""That ask at the same time."""
WARM = 120.0
"""Seconds of the first round, after which it is looked at what the server holds."""
MORE_MEMORY = 16.0
"""MiB that it may hold more in the end than after that."""
REST = GUEST_TIMEOUT + 2
"""Seconds until what is over is over: kept connections have gone by then, and a guest session that
the far end does not give is waited for no more."""
ACCOUNTS = 6
MIB = 2**20


@attrs.define
class Holdings:
    """What a server holds when nothing runs."""

    descriptors: int
    threads: int
    connections: int
    """Upstream, seen from the other end."""
    memory: float
    """Resident, MiB."""


@attrs.define
class Soak:
    """A server, and what goes on around it."""

    traffic: Traffic
    process: subprocess.Popen[bytes]
    accounts: int = ACCOUNTS
    """Given to the server so far."""

    async def run(self, seconds: float) -> None:
        """Let everything happen for a while, and then nothing, until all is over."""
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.nurse)
                nursery.start_soon(self.traffic.misbehave)
                for _ in range(CLIENTS):
                    nursery.start_soon(self.traffic.client)
        site = self.traffic.simulator.site
        site.faults.clear()
        with trio.move_on_after(2):
            await self.nurse()
        with trio.move_on_after(REST) as scope:
            await site.wait_for(lambda: site.open_calls == 0)
        if scope.cancelled_caught:
            self.traffic.complain(f"upstream calls are still open: {dict(site.open_paths)}")
        await trio.sleep(REST)
        running = await self.traffic.fetch("/health")
        if running.get("running") != 0 or running["status"] != "ok":
            self.traffic.complain(f"/health says {running}")

    async def nurse(self) -> None:
        """Give the server new accounts for those that faults have put out of service."""
        while True:
            known = await self.traffic.fetch("/get/tokens")
            well = 0
            for name, groups in known.items():
                if len(groups) > 1:  # of an account, not of a guest
                    if all(group["isValid"] for group in groups.values()):
                        well += 1
                    else:
                        await self.traffic.ask({"sso": name}, "/delete/token")
            for _ in range(ACCOUNTS - well):
                self.accounts += 1
                await self.traffic.ask({"sso": f"account-{self.accounts}"}, "/add/token")
            await trio.sleep(2)

    async def weigh(self) -> Holdings:
        """What the server holds, with nothing going on."""
        folder = Path(f"/proc/{self.process.pid}")
        status = (folder / "status").read_text()

        def read(name: str) -> int:
            return int(status.partition(f"{name}:")[2].split()[0])

        return Holdings(
            descriptors=len(list((folder / "fd").iterdir())),
            threads=read("Threads"),
            connections=self.traffic.simulator.open_connections,
            memory=read("VmRSS") / 1024,
        )

    async def fill(self) -> int:
        """Make all calls that the accounts may make at once: each slot is free, or this says so."""
        site = self.traffic.simulator.site
        site.delivery, site.style = Delivery(pace=1.0), Style()
        number = ACCOUNTS * 4
        async with trio.open_nursery() as nursery:
            for _ in range(number + 6):
                nursery.start_soon(self.traffic.ask_and_leave)
            with trio.move_on_after(5):
                await site.wait_for(lambda: site.in_flight >= number)
            await trio.sleep(0.5)
            found = site.in_flight
            nursery.cancel_scope.cancel()
        return found


def start(simulator: Simulator, folder: str, log: Any) -> tuple[subprocess.Popen[bytes], int]:
    """Start the server; where it listens."""
    environment = {
        "PATH": os.environ["PATH"],
        "STATE": f"{folder}/state.sqlite3",
        "SSO": ",".join(f"account-{number}" for number in range(ACCOUNTS)),
        "QUOTAS": "default=1000000/1h",
        "IS_TEMP_GROK2": "true",
        "TUMY_KEY": "key",
        "MAX_BODY_BYTES": "1000000",
        "MAX_ANSWER_BYTES": "4000000",
        "MAX_LINE_BYTES": "1000000",
        "HEADER_TIMEOUT": "2",
        "BODY_TIMEOUT": "2",
        "KEEPALIVE_TIMEOUT": "3",
        "WRITE_TIMEOUT": "5",
        "UPSTREAM_FIRST_BYTE_TIMEOUT": "1",
        "UPSTREAM_IDLE_TIMEOUT": "1",
        "UPSTREAM_TOTAL_TIMEOUT": "20",
        "ACQUIRE_WAIT": "3",
        "PING_INTERVAL": "0.5",
        "LOG_LEVEL": "info",
        "LOG_FORMAT": "json",
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "65536",
    }
    for name in ("GROK_BASE_URL", "GROK_ASSETS_URL", "TUMY_BASE_URL", "PICGO_BASE_URL"):
        environment[name] = simulator.base_url
    process = subprocess.Popen(
        [sys.executable, "-m", "transports", "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=log,
        env=environment,
    )
    assert process.stdout is not None
    found = re.search(rb":(\d+)/", process.stdout.readline())
    assert found is not None, "the server did not start"
    return process, int(found[1])


async def soak(minutes: float, seed: int) -> list[str]:
    """All of it; what is wrong."""
    simulator = Simulator(quotas={"grok-3": (10**9, 60.0)})
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        async with trio.open_nursery() as nursery:
            await nursery.start(simulator.run)
            process, port = start(simulator, folder, log)
            going = Soak(Traffic(simulator, port, random.Random(seed)), process)
            try:
                wrong = await watch(going, minutes)
            finally:
                process.send_signal(signal.SIGTERM)
                code = await trio.to_thread.run_sync(process.wait)
            nursery.cancel_scope.cancel()
        if code != 0:
            wrong.append(f"the server's exit code is {code}")
        text = (Path(folder) / "log").read_text(errors="replace")
        lines = Counter(re.findall(r'"request_id":"([^"]+)"', text))
        answered = going.traffic.answered
        odd = [each for each in answered if lines[each] != 1]
        print(f"{len(answered)} answered requests, {lines.total()} lines of requests in the log")
        if odd:
            wrong.append(f"{len(odd)} answered requests have no line in the log, or several")
        size = len(text) / MIB
        mistakes = text.count("our own fault")
        print(f"log: {size:.1f} MiB, {mistakes} mistakes of the server's own")
        if found := find_traceback(text):
            wrong.append(f"a traceback in the log: {found}")
        if simulator.errors:
            wrong.append(f"the simulator has failed: {simulator.errors[:3]}")
        return wrong


async def watch(going: Soak, minutes: float) -> list[str]:
    """Let it run, and compare what is left with what there was."""
    await going.run(WARM)
    before = await going.weigh()
    print(f"after the first {WARM:g} s: {before}", flush=True)
    left = minutes * 60
    while left > 0:
        await going.run(min(left, 300.0))
        left -= 300.0
        now = await going.weigh()
        print(f"{max(left, 0) / 60:5.1f} min to go: {now}", flush=True)
    slots = await going.fill()
    await going.run(0)
    after = await going.weigh()
    traffic, site = going.traffic, going.traffic.simulator.site
    answers = ", ".join(f"{kind}: {count}" for kind, count in sorted(traffic.counts.items()))
    print(f"answers, by status and code: {answers}")
    print(f"upstream calls: {site.calls.total()}, given up in the middle: {site.cancelled}")
    print(f"/health took {traffic.longest * 1000:.0f} ms at the most")
    print(f"slots: {slots} of {ACCOUNTS * 4}")
    print(f"in the end: {after}")
    wrong = traffic.wrong
    if slots != ACCOUNTS * 4:
        wrong.append(f"{slots} calls go out at once, of {ACCOUNTS * 4} that may")
    if after.descriptors > before.descriptors + 2:
        wrong.append(f"descriptors: {before.descriptors} -> {after.descriptors}")
    if after.threads > before.threads + 2:
        wrong.append(f"threads: {before.threads} -> {after.threads}")
    if after.memory > before.memory + MORE_MEMORY:
        wrong.append(f"memory: {before.memory:.1f} -> {after.memory:.1f} MiB")
    return wrong


def main() -> None:
    """Soak, and say what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("minutes", nargs="?", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
    wrong = trio.run(soak, args.minutes, args.seed)
    for each in wrong:
        print(f"WRONG: {each}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
