"""Clients that read as fast as they can: `python -m benchmarks.load PORT PATH CLIENTS SECONDS MODE`

Each client asks over one connection, again and again, until the time is over; PATH is TOKENS/PAUSE
as the upstream has it, and stands in the message too; MODE is `stream`, or `json`, or `raw` for the
upstream itself, whose lines are counted. Nothing is measured before every client has had its first
bytes. The last line of the output is a JSON object: finished requests, tokens, errors, the seconds
that were measured, the delays of paced tokens and the times to the first byte (milliseconds).
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import cast

import uvloop

PATIENCE = 60.0
"""Seconds until every client has had its first bytes."""
_STAMP = re.compile(rb'"(?:content|token)": ?"(\d{10,}) ?"')


class _Result:
    def __init__(self) -> None:
        self.requests = self.tokens = self.errors = 0
        self.delays: list[float] = []
        self.firsts: list[float] = []


class _Client(asyncio.Protocol):
    def __init__(self, request: bytes, mode: str, result: _Result) -> None:
        self._request, self._mode, self._result = request, mode, result
        self._tail = b""
        self._first = False
        self.over = False
        self.begun = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._ask()

    def _ask(self) -> None:
        self._first, self._last = True, False
        self._tail = b""
        self._asked = time.monotonic()
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        if self._first:
            self._first = False
            if not data.startswith(b"HTTP/1.1 200"):
                self._result.errors += 1
            self._result.firsts.append(now / 1e6 - self._asked * 1e3)
            self.begun.set()
        whole = self._tail + data
        if self._mode != "json":
            end, last = (b"\n\n", b"[DONE]") if self._mode == "stream" else (b"\n", b'SoftStop":t')
            cut = whole.rfind(end) + len(end) if end in whole else 0
            ready, self._tail = whole[:cut], whole[cut:]
            for name in (b'"content":"', b'"content": "', b'"token":"'):
                self._result.tokens += ready.count(name)
            self._result.delays += [(now - int(stamp)) / 1e6 for stamp in _STAMP.findall(ready)]
            self._last = self._last or last in ready
            done = self._last and (ready + self._tail).endswith(b"0\r\n\r\n")
        else:
            self._tail = whole
            head, _, body = whole.partition(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            done = len(body) >= int(length) if length else body.endswith(b"\r\n0\r\n\r\n")
        if done:
            self._result.requests += 1
            if self.over:
                self.transport.close()
            else:
                self._ask()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if not self.over:
            self._result.errors += 1


async def _run(port: int, path: str, clients: int, seconds: float, mode: str) -> None:
    body = json.dumps(
        {
            "model": "grok-3",
            "stream": mode == "stream",
            "messages": [{"role": "user", "content": f"hi [[{path}]]"}],
        }
    ).encode()
    target = f"/{path}/conversations/new" if mode == "raw" else "/v1/chat/completions"
    request = (
        b"POST " + target.encode() + b" HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        b"authorization: Bearer sk-benchmark\r\ncontent-type: application/json\r\n"
        b"content-length: " + b"%d\r\n\r\n" % len(body) + body
    )
    loop = asyncio.get_running_loop()
    result = _Result()
    made: list[_Client] = []
    for _ in range(clients):
        _, client = await loop.create_connection(
            lambda: _Client(request, mode, result), "127.0.0.1", port
        )
        made.append(client)
    async with asyncio.timeout(PATIENCE):
        for client in made:
            await client.begun.wait()
    await asyncio.sleep(min(1.0, seconds / 4))  # until they have settled
    result.requests = result.tokens = 0
    result.delays.clear()
    result.firsts.clear()
    print("begin", flush=True)
    started = time.monotonic()
    await asyncio.sleep(seconds)
    took = time.monotonic() - started
    found = {
        "requests": result.requests,
        "tokens": result.tokens,
        "seconds": took,
        "delays": sorted(result.delays)[:: max(1, len(result.delays) // 5000)],
        "firsts": sorted(result.firsts),
    }
    print("end", flush=True)
    for client in made:
        client.over = True
        client.transport.abort()
    print(json.dumps({**found, "errors": result.errors}), flush=True)


if __name__ == "__main__":
    _port, _path, _clients, _seconds, _mode = sys.argv[1:]
    uvloop.run(_run(int(_port), _path, int(_clients), float(_seconds), _mode))
