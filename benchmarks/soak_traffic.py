"""What is asked and done in a soak: clients of every kind, and a far end that does wrong.

Every answer is judged: it must be whole, and be one that may come of what was asked.
"""

from __future__ import annotations

import random
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from tests.transports.served import KEY, RawClient, RawResponse, chat
from tests.transports.test_hostile_clients import ATTACKS
from transports.simulator import Delivery, FaultKind, Simulator, Style

PAUSE = 0.05
"""Seconds between two requests of one client, on the average: others use this machine too."""
PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # noqa: E501
TEXTS = ("hi", "What is the time?", "Grüße, 你好, 🙂", "x" * 500)
FAULTS = [kind for kind in FaultKind if kind not in (FaultKind.ANSWER, FaultKind.RAW)]
PATHS = (
    *("/rest/app-chat/conversations/new",) * 6,
    *("/rest/app-chat/upload-file", "/users/*", "/api/v1/upload", "/rest/rate-limits", "/"),
)


@attrs.define
class Traffic:
    """All that goes to and fro."""

    simulator: Simulator
    port: int
    """Where the server listens."""
    chance: random.Random
    counts: Counter[str] = attrs.field(factory=Counter)
    wrong: list[str] = attrs.field(factory=list)
    answered: set[str] = attrs.field(factory=set)
    """Ids of requests whose answers have come."""
    asked: int = 0
    longest: float = 0.0
    """Seconds that /health took, at the worst."""

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

    async def fetch(self, path: str) -> Any:
        """What a page says."""
        client = await self.connect()
        async with client.stream:
            await client.send_request("GET", path)
            return (await client.read_response()).json

    async def ask_and_leave(self) -> None:
        """A stream, until cancelled."""
        client = await self.connect()
        async with client.stream:
            await client.send_request("POST", "/v1/chat/completions", chat(stream=True))
            while await client.read_some():
                pass
