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
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
import trio

from tests.transports.served import KEY, RawClient, RawResponse, chat
from tests.transports.test_hostile_clients import ATTACKS
from transports.simulator import Delivery, FaultKind, Simulator, Style

CLIENTS = 12
"""That ask at the same time."""
PAUSE = 0.05
"""Seconds between two requests of one client, on the average: others use this machine too."""
WARM = 120.0
"""Seconds of the first round, after which it is looked at what the server holds."""
MORE_MEMORY = 16.0
"""MiB that it may hold more in the end than after that."""
REST = 8.0
"""Seconds until what is over is over: kept connections have gone by then."""
ACCOUNTS = 6
PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # noqa: E501
TEXTS = ("hi", "What is the time?", "Grüße, 你好, 🙂", "x" * 500)
FAULTS = [kind for kind in FaultKind if kind not in (FaultKind.ANSWER, FaultKind.RAW)]
PATHS = (
    *("/rest/app-chat/conversations/new",) * 6,
    *("/rest/app-chat/upload-file", "/users/*", "/api/v1/upload", "/rest/rate-limits", "/"),
)
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
    """All that is going on."""

    simulator: Simulator
    process: subprocess.Popen[bytes]
    port: int
    chance: random.Random
    counts: Counter[str] = attrs.field(factory=Counter)
    wrong: list[str] = attrs.field(factory=list)
    answered: set[str] = attrs.field(factory=set)
    """Ids of requests whose answers have come."""
    asked: int = 0
    accounts: int = ACCOUNTS
    """Given to the server so far."""
    longest: float = 0.0
    """Seconds that /health took, at the worst."""

    # What clients do

    async def connect(self) -> RawClient:
        """A connection to the server."""
        return RawClient(await trio.open_tcp_stream("127.0.0.1", self.port))

    def complain(self, what: str) -> None:
        """Something is wrong."""
        if len(self.wrong) < 20:
            self.wrong.append(what)

    async def ask(self, body: dict[str, Any], path: str = "/v1/chat/completions") -> None:
        """One request; its answer must be one that may come."""
        client = await self.connect()
        async with client.stream:
            await client.send_request("POST", path, body, x_request_id=self.number())
            self.judge(await client.read_response(), body)

    def number(self) -> str:
        """An id for a request."""
        self.asked += 1
        return f"soak-{self.asked}"

    def judge(self, answer: RawResponse, body: Any) -> bool:
        """Whether an answer may come; count it. False where no other may follow it."""
        told = f"{answer.status} {answer.body[-200:]!r} for {str(body)[:200]}"
        if not answer.whole:
            self.complain(f"not whole: {told}")
            return False
        kind = str(answer.status)
        if answer.status == 200 and "event-stream" in answer.headers["content-type"]:
            last = answer.events[-1] if answer.events else {}
            if last is None:
                kind = "200 streamed"
            elif "error" in last:
                kind = f"200 {last['error']['code']}"
                if b'"finish_reason":"' in answer.body and "n" not in body:
                    self.complain(f"a reason to finish before an error: {told}")
            else:
                self.complain(f"neither an end nor an error: {told}")
        elif answer.status != 200:
            error = answer.error
            kind = f"{answer.status} {error['code']}"
            if answer.status >= 500 and error["code"] == "internal_error":
                self.complain(f"a mistake: {told}")
        elif not answer.body.strip():
            self.complain(f"an empty 200: {told}")
        self.counts[kind] += 1
        self.answered.add(answer.headers["x-request-id"])
        return True

    def build_body(self) -> dict[str, Any]:
        """A good request, of any kind."""
        chance = self.chance
        body = chat(chance.choice(TEXTS), stream=chance.random() < 0.6)
        model = chance.choice(
            ["grok-3"] * 5
            + ["grok-2", "grok-3-reasoning", "grok-3-search", "grok-3-deepsearch", "grok-expert"]
            + ["grok-3-imageGen"]
        )
        body["model"] = model
        if chance.random() < 0.15:
            picture = {"type": "image_url", "image_url": {"url": PNG}}
            content = [{"type": "text", "text": "What is it?"}, picture]
            body["messages"] = [{"role": "user", "content": content}]
        if chance.random() < 0.1 and "imageGen" not in model:
            body["n"] = chance.randint(2, 3)
        if chance.random() < 0.1:
            body["stop"] = ["plain"]
        return body

    async def be_good(self) -> None:
        """Ask, and read to the end."""
        await self.ask(self.build_body())

    async def keep_alive(self) -> None:
        """Several requests on one connection, some of them at once."""
        client = await self.connect()
        async with client.stream:
            bodies = [self.build_body() for _ in range(3)]
            for body in bodies:
                await client.send_request(
                    "POST", "/v1/chat/completions", body, x_request_id=self.number()
                )
            for body in bodies:
                if not self.judge(await client.read_response(), body):
                    return

    async def leave(self) -> None:
        """Leave at any moment, in good order or not."""
        client = await self.connect()
        async with client.stream:
            await client.send_request("POST", "/v1/chat/completions", self.build_body())
            with trio.move_on_after(self.chance.random() * 0.3):
                while await client.read_some():
                    pass
            if self.chance.random() < 0.5:
                linger = b"\1\0\0\0\0\0\0\0"
                client.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger)
        self.counts["left"] += 1

    async def read_slowly(self) -> None:
        """Read a few bytes now and then, and leave."""
        client = await self.connect()
        async with client.stream:
            await client.send_request("POST", "/v1/chat/completions", self.build_body())
            for _ in range(20):
                with trio.move_on_after(0.5):
                    if not await client.stream.receive_some(16):
                        break
                await trio.sleep(0.05)
        self.counts["read slowly"] += 1

    async def read_nothing(self) -> None:
        """Ask for much and read nothing, until the server gives up."""
        client = await self.connect()
        async with client.stream:
            body = chat("[[fault:endless_answer]]", stream=True)
            await client.send_request("POST", "/v1/chat/completions", body)
            await trio.sleep(8)
        self.counts["read nothing"] += 1

    async def attack(self) -> None:
        """Send what is no clear request."""
        name = self.chance.choice(sorted(ATTACKS))
        attack = ATTACKS[name]
        client = await self.connect()
        async with client.stream:
            raw = attack.raw[: self.chance.choice([len(attack.raw), len(attack.raw) // 2])]
            with trio.move_on_after(3):
                try:
                    await client.send(raw)
                    await client.stream.send_eof()
                    while True:
                        answer = await client.read_response()
                        if answer.status >= 500 and b"bad_http" in answer.body:
                            self.complain(f"{answer.status} for {name}")
                except (EOFError, trio.BrokenResourceError):
                    pass
        self.counts["attacked"] += 1

    async def say_nothing(self) -> None:
        """Hold a connection, with half a head or nothing at all."""
        client = await self.connect()
        async with client.stream:
            await client.send(self.chance.choice([b"", b"POST /v1/chat"]))
            await trio.sleep(self.chance.random() * 4)
        self.counts["said nothing"] += 1

    async def send_too_much(self) -> None:
        """A body that is too long, announced or not."""
        client = await self.connect()
        async with client.stream:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEY}"
            framing = self.chance.choice(["content-length: 5000000", "transfer-encoding: chunked"])
            with trio.move_on_after(3):
                try:
                    await client.send(f"{head}\r\n{framing}\r\n\r\n".encode())
                    for _ in range(80):
                        await client.send(b"10000\r\n" + b" " * 65536 + b"\r\n")
                except trio.BrokenResourceError:
                    pass
                try:
                    self.judge(await client.read_response(), "too much")
                except (EOFError, trio.BrokenResourceError):
                    self.counts["cut off for too much"] += 1

    async def administer(self) -> None:
        """Let an account come, and go again."""
        name = f"passer-by-{self.chance.randrange(20)}"
        for path in ("/add/token", "/enable/token", "/delete/token"):
            await self.ask({"sso": name}, path)

    async def look(self) -> None:
        """Look at what is open to see, and how long that takes."""
        client = await self.connect()
        async with client.stream:
            for path in ("/health", "/ready", "/v1/models", "/get/tokens", "/nothing"):
                began = trio.current_time()
                await client.send_request("GET", path, x_request_id=self.number())
                answer = await client.read_response()
                if path == "/health":
                    self.longest = max(self.longest, trio.current_time() - began)
                self.judge(answer, path)

    async def client(self) -> None:
        """One client after the other, of any kind."""
        kinds: list[tuple[Callable[[], Awaitable[None]], int]] = [
            *((self.be_good, 40), (self.keep_alive, 5), (self.leave, 15), (self.read_slowly, 3)),
            *((self.attack, 15), (self.say_nothing, 4), (self.send_too_much, 2), (self.look, 6)),
            *((self.administer, 2), (self.read_nothing, 1)),
        ]
        works, weights = zip(*kinds, strict=True)
        while True:
            (work,) = self.chance.choices(works, weights)
            try:
                with trio.fail_after(60):
                    await work()
            except Exception as exc:
                where = "".join(traceback.format_exception(exc)[-4:])
                self.complain(f"{work.__name__}: {type(exc).__name__} {exc}\n{where}")
            await trio.sleep(self.chance.expovariate(1 / PAUSE))

    # What the far end does

    async def misbehave(self) -> None:
        """Order a fault now and then, and change the way in which answers come."""
        site = self.simulator.site
        chance = self.chance
        while True:
            site.faults.clear()
            for _ in range(chance.randrange(4)):
                site.faults.order(
                    chance.choice(FAULTS), times=chance.randint(1, 3), path=chance.choice(PATHS)
                )
            site.delivery = Delivery(
                pace=chance.choice([0.0, 0.0, 0.002, 0.02]),
                lines_per_write=chance.choice([0, 1, 1, 5]),
                cut=chance.choice([None, None, 1, 7, 100]),
                coding=chance.choice(["identity", "identity", "gzip", "br", "zstd"]),
            )
            site.style = Style(
                tokens=chance.choice([3, 12, 60]),
                image_form=chance.choice(["cached", "streaming", "card", "final"]),
                framing=chance.choice(["lines", "sse"]),
            )
            for account in list(site.accounts.by_name.values()):
                account.windows.clear()
                account.files.clear()
                account.pictures.clear()
            site.hosts.pictures.clear()
            await trio.sleep(0.5)

    # What is left

    async def run(self, seconds: float) -> None:
        """Let everything happen for a while, and then nothing, until all is over."""
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.nurse)
                nursery.start_soon(self.misbehave)
                for _ in range(CLIENTS):
                    nursery.start_soon(self.client)
        site = self.simulator.site
        site.faults.clear()
        with trio.move_on_after(2):
            await self.nurse()
        with trio.move_on_after(REST) as scope:
            await site.wait_for(lambda: site.open_calls == 0)
        if scope.cancelled_caught:
            self.complain(f"{site.open_calls} upstream calls are still open")
        await trio.sleep(REST)
        running = await self.fetch("/health")
        if running.get("running") != 0 or running["status"] != "ok":
            self.complain(f"/health says {running}")

    async def fetch(self, path: str) -> Any:
        """What a page says."""
        client = await self.connect()
        async with client.stream:
            await client.send_request("GET", path)
            return (await client.read_response()).json

    async def nurse(self) -> None:
        """Give the server new accounts for those that faults have put out of service."""
        while True:
            known = await self.fetch("/get/tokens")
            well = 0
            for name, groups in known.items():
                if len(groups) > 1:  # of an account, not of a guest
                    if all(group["isValid"] for group in groups.values()):
                        well += 1
                    else:
                        await self.ask({"sso": name}, "/delete/token")
            for _ in range(ACCOUNTS - well):
                self.accounts += 1
                await self.ask({"sso": f"account-{self.accounts}"}, "/add/token")
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
            connections=self.simulator.open_connections,
            memory=read("VmRSS") / 1024,
        )

    async def fill(self) -> int:
        """Make all calls that the accounts may make at once: each slot is free, or this says so."""
        site = self.simulator.site
        site.delivery, site.style = Delivery(pace=1.0), Style()
        number = ACCOUNTS * 4
        async with trio.open_nursery() as nursery:
            for _ in range(number + 6):
                nursery.start_soon(self.ask_and_leave)
            with trio.move_on_after(5):
                await site.wait_for(lambda: site.in_flight >= number)
            await trio.sleep(0.5)
            found = site.in_flight
            nursery.cancel_scope.cancel()
        return found

    async def ask_and_leave(self) -> None:
        """A stream, until cancelled."""
        client = await self.connect()
        async with client.stream:
            await client.send_request("POST", "/v1/chat/completions", chat(stream=True))
            while await client.read_some():
                pass


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
            going = Soak(simulator, process, port, random.Random(seed))
            try:
                wrong = await watch(going, minutes)
            finally:
                process.send_signal(signal.SIGTERM)
                code = await trio.to_thread.run_sync(process.wait)
            nursery.cancel_scope.cancel()
        if code != 0:
            wrong.append(f"the server's exit code is {code}")
        text = (Path(folder) / "log").read_text(errors="replace")
        lines = Counter(re.findall(r'"request_id": "([^"]+)"', text))
        odd = [each for each in going.answered if lines[each] != 1]
        print(
            f"{len(going.answered)} answered requests, {lines.total()} lines of requests in the log"
        )
        if odd:
            wrong.append(f"{len(odd)} answered requests have no line in the log, or several")
        size = len(text) / MIB
        mistakes = text.count("our own fault")
        print(f"log: {size:.1f} MiB, {mistakes} mistakes of the server's own")
        if "Traceback" in text or mistakes:
            where = text.find("our own fault")
            wrong.append(f"a traceback in the log: {text[max(0, where - 3000) : where + 500]}")
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
    answers = ", ".join(f"{kind}: {count}" for kind, count in sorted(going.counts.items()))
    calls = going.simulator.site.calls.total()
    print(f"answers, by status and code: {answers}")
    print(f"upstream calls: {calls}, given up in the middle: {going.simulator.site.cancelled}")
    print(f"/health took {going.longest * 1000:.0f} ms at the most")
    print(f"slots: {slots} of {ACCOUNTS * 4}")
    print(f"in the end: {after}")
    wrong = going.wrong
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
