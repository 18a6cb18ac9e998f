"""A simulator to talk to, and a client that believes everything."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import httpcore
import trio

from grokproto.grok.calls import CONVERSATIONS
from transports.simulator import Simulator
from transports.upstream.codings import CodingError, build_decoder

JSON = dict[str, Any]
PATIENCE = 20.0
"""Seconds after which a test has hung."""


@attrs.frozen
class Reply:
    """A whole response."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    """As it was before its content coding."""
    pieces: list[bytes]
    """As it came, read by read."""

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return dict(reversed(self.headers)).get(name)

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class Client:
    """Calls a simulator, one connection for each call.

    Args:
        url: Where it is.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._pool = httpcore.AsyncConnectionPool(max_keepalive_connections=0)

    async def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: dict[str, str] | None = None,
        on_piece: Callable[[bytes], None] = lambda _: None,
    ) -> Reply:
        """Make one call and read its whole response.

        Raises:
            CodingError: The body is not coded as its head says.
            httpcore.NetworkError: The connection broke.
            httpcore.RemoteProtocolError: The response is not proper HTTP.
        """
        all_headers = {"host": "simulated", "content-length": str(len(body)), **(headers or {})}
        async with self._pool.stream(
            method, self.url + path, headers=list(all_headers.items()), content=body
        ) as response:
            found = [(n.decode().lower(), v.decode("latin-1")) for n, v in response.headers]
            decoder = build_decoder(dict(found).get("content-encoding", ""))
            pieces: list[bytes] = []
            whole: list[bytes] = []
            broken: CodingError | None = None
            async for piece in response.aiter_stream():
                pieces.append(piece)
                if broken is not None:
                    continue  # to its end: httpcore's generators must not be left half read
                try:
                    for decoded in decoder.decode(piece):
                        whole.append(decoded)
                        on_piece(decoded)
                except CodingError as exc:
                    broken = exc
            if broken is not None:
                raise broken
            decoder.finish()
            return Reply(response.status, found, b"".join(whole), pieces)

    async def post(self, path: str, payload: JSON, cookie: str = "sso=anna", **more: Any) -> Reply:
        """Post JSON as an account."""
        headers = {"content-type": "application/json", "cookie": cookie}
        return await self.call(
            "POST", path, json.dumps(payload).encode(), headers={**headers, **more}
        )

    async def get(self, path: str, cookie: str = "sso=anna") -> Reply:
        """Get something as an account."""
        return await self.call("GET", path, headers={"cookie": cookie})

    async def ask(self, message: str = "hello", cookie: str = "sso=anna", **fields: Any) -> Reply:
        """Ask a question."""
        payload = {"message": message, "modelName": "grok-3", **fields}
        return await self.post(CONVERSATIONS, payload, cookie)

    async def aclose(self) -> None:
        """Close what is open."""
        await self._pool.aclose()


def with_simulator(check: Callable[[Simulator, Client], Awaitable[None]], **options: Any) -> None:
    """Run a check against a simulator of its own; nothing may be left of it afterwards."""

    async def main() -> None:
        simulator = Simulator(**options)
        async with trio.open_nursery() as nursery:
            await nursery.start(simulator.run)
            client = Client(simulator.base_url)
            with trio.fail_after(PATIENCE):
                try:
                    await check(simulator, client)
                finally:
                    with trio.CancelScope(shield=True):
                        await client.aclose()
                await simulator.site.wait_for(lambda: simulator.site.open_calls == 0)
            nursery.cancel_scope.cancel()
        assert simulator.errors == []
        assert simulator.site.in_flight == 0

    trio.run(main)
