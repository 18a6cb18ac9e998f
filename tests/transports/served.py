"""The whole thing in one process: a simulator, the server in front of it, and raw clients."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from transports.api.service import build_scheduler
from transports.config import Config, load_config
from transports.pictures.desk import PictureDesk
from transports.pool.scheduler import Scheduler
from transports.pool.store import MEMORY, Store
from transports.server.listening import Listening
from transports.simulator import Simulator
from transports.standalone.serve import point_at, run_server

PATIENCE = 60.0
"""Seconds after which a test has hung."""
KEY = "sk-123456789"


@attrs.define
class Served:
    """What a test has to work with."""

    simulator: Simulator
    listening: Listening
    nursery: trio.Nursery
    scheduler: Scheduler

    async def connect(self) -> RawClient:
        """A connection to the server."""
        return RawClient(await trio.open_tcp_stream("127.0.0.1", self.listening.port))

    async def request(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> RawResponse:
        """One request on a connection of its own."""
        client = await self.connect()
        async with client.stream:
            await client.send_request(method, path, body, **headers)
            return await client.read_response(head_only=method == "HEAD")

    async def chat(self, text: str = "hi", model: str = "grok-3", **fields: Any) -> RawResponse:
        """Ask for a chat completion."""
        return await self.request("POST", "/v1/chat/completions", chat(text, model, **fields))


def chat(text: str = "hi", model: str = "grok-3", **fields: Any) -> dict[str, Any]:
    """The body of a chat request."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


@attrs.frozen
class RawResponse:
    """A response as it came."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool = True
    """Its framing was complete."""

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        """The error in the body."""
        return self.json["error"]

    @property
    def events(self) -> list[Any]:
        """The events of a stream, less comments; `[DONE]` as None."""
        blocks = self.body.decode().split("\n\n")
        data = [b.removeprefix("data: ") for b in blocks if b and not b.startswith(":")]
        return [None if text == "[DONE]" else json.loads(text) for text in data]

    @property
    def text(self) -> str:
        """The content of a completion in either shape."""
        if "event-stream" not in self.headers["content-type"]:
            return str(self.json["choices"][0]["message"]["content"])
        choices = [event["choices"][0] for event in self.events if event and event["choices"]]
        return "".join(choice["delta"].get("content") or "" for choice in choices)


class RawClient:
    """An HTTP client that sends what it is told and believes what it gets."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._received = b""

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        await self.stream.send_all(data)

    async def send_request(self, method: str, path: str, body: Any = None, **headers: str) -> None:
        """Send a whole request."""
        await self.send(encode_request(method, path, body, **headers))

    async def read_response(self, *, head_only: bool = False) -> RawResponse:
        """Read one response."""
        head = await self._read_until(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        pairs = (line.partition(":") for line in lines[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        if head_only or status in (204, 304) or status < 200:
            return RawResponse(status, headers, b"")
        if "content-length" in headers:
            body = await self._read_exactly(int(headers["content-length"]))
            return RawResponse(status, headers, body)
        if headers.get("transfer-encoding") == "chunked":
            return await self._read_chunks(status, headers)
        return RawResponse(status, headers, await self._read_to_end())

    async def _read_chunks(self, status: int, headers: dict[str, str]) -> RawResponse:
        body = b""
        try:
            while size := int(await self._read_until(b"\r\n"), 16):
                body += await self._read_exactly(size)
                assert await self._read_exactly(2) == b"\r\n"
            assert await self._read_exactly(2) == b"\r\n"
        except (EOFError, trio.BrokenResourceError):
            return RawResponse(status, headers, body, whole=False)
        return RawResponse(status, headers, body)

    async def read_some(self) -> bytes:
        """Whatever comes next."""
        data, self._received = self._received, b""
        return data or await self.stream.receive_some(65536)

    async def _read_more(self) -> None:
        data = await self.stream.receive_some(65536)
        if not data:
            raise EOFError
        self._received += data

    async def _read_until(self, mark: bytes) -> bytes:
        while mark not in self._received:
            await self._read_more()
        found, _, self._received = self._received.partition(mark)
        return found

    async def _read_exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            await self._read_more()
        found, self._received = self._received[:size], self._received[size:]
        return found

    async def _read_to_end(self) -> bytes:
        try:
            while True:
                await self._read_more()
        except (EOFError, trio.BrokenResourceError):
            pass
        data, self._received = self._received, b""
        return data

    async def is_closed(self) -> bool:
        """Wait for the end of the connection; say whether it came without another byte."""
        return await self._read_to_end() == b""


class LateClock:
    """The time of day, and as many seconds later as a test likes."""

    def __init__(self) -> None:
        self.late = 0.0
        self._start = time.time()

    def __call__(self) -> float:
        return self._start + self.late


def encode_request(method: str, path: str, body: Any = None, **headers: str) -> bytes:
    """A whole request as bytes. Underscores in the names of headers stand for hyphens."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    fields = {"host": "test", "authorization": f"Bearer {KEY}"}
    if body is not None:
        fields["content-length"] = str(len(data))
    fields.update({name.replace("_", "-"): value for name, value in headers.items()})
    lines = [f"{method} {path} HTTP/1.1", *(f"{n}: {v}" for n, v in fields.items() if v)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def with_server(
    check: Callable[[Served], Awaitable[None]],
    *,
    accounts: tuple[str, ...] = ("anna", "bert", "cleo"),
    quotas: dict[str, tuple[int, float]] | None = None,
    no_guests: bool = False,
    unix_time: Callable[[], float] | None = None,
    pictures: PictureDesk | None = None,
    **environment: str,
) -> None:
    """Run a check against a server of its own; nothing may be left of it afterwards."""

    async def main() -> None:
        simulator = Simulator(quotas=quotas)
        simulator.site.gives_guests = not no_guests
        variables = {"PORT": "0", "ACQUIRE_WAIT": "0.2", "STATE": MEMORY, "QUOTA_PROBE": "false"}
        variables.update({"IS_TEMP_GROK2": "false", "SSO": ",".join(accounts)})
        config: Config = load_config({**variables, **environment})
        async with trio.open_nursery() as nursery:
            await nursery.start(simulator.run)
            config = point_at(config, simulator.base_url)
            models = config.read_models()

            async def serve(*, task_status: trio.TaskStatus[Listening]) -> None:
                await run_server(
                    config, models, scheduler, pictures=pictures, task_status=task_status
                )

            with Store(config.state_path) as store:
                scheduler = build_scheduler(config, store, unix_time=unix_time)
                listening = await nursery.start(serve)
                served = Served(simulator, listening, nursery, scheduler)
                with trio.fail_after(PATIENCE):
                    await check(served)
                    await simulator.site.wait_for(lambda: simulator.site.in_flight == 0)
                    for status in scheduler.pool.status(scheduler.unix_now):
                        assert status.in_flight == 0
                nursery.cancel_scope.cancel()
        assert simulator.errors == []

    trio.run(main)
