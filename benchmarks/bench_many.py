"""How many streams are open at once, and at what price? `python -m benchmarks.bench_many [N ...]`

For each N (1,000 and 3,000 unless told otherwise): as many streams are asked for at once, each of
which gets a token a second. Measured are the seconds until every one has its first token, the
server's memory for each, and the time of a normal request beside them: one that is answered at once
by the same upstream, on a connection of its own. In the end all clients leave at once; told is how
long it takes until the server has nothing running.

The server has one core to itself, upstream and clients share the other.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from typing import Any

import attrs
import uvloop

from .servers import (
    OTHER_CORE,
    SERVER_CORE,
    build_command,
    free_port,
    list_versions,
    read_cpu,
    read_memory,
    run,
    wait_for,
)

PACE = 1000
"""Milliseconds between two tokens of a stream."""
SETTLE = 5.0
"""Seconds that all streams run before anything is measured beside them."""
NORMAL = 100
"""Normal requests beside the streams."""
PATIENCE = 120.0


def build_request(text: str, *, stream: bool) -> bytes:
    """A chat request."""
    body = json.dumps(
        {"model": "grok-3", "stream": stream, "messages": [{"role": "user", "content": text}]}
    ).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        b"authorization: Bearer sk-benchmark\r\ncontent-type: application/json\r\n"
        b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    )


@attrs.define
class Streams:
    """All streams of a round."""

    wanted: int
    begun: int = 0
    tokens: int = 0
    broken: int = 0
    all_begun: asyncio.Event = attrs.field(factory=asyncio.Event)


class _Stream(asyncio.Protocol):
    def __init__(self, streams: Streams, request: bytes) -> None:
        self._streams, self._request = streams, request
        self._begun = False
        self.over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        tokens = data.count(b'"content":"')
        self._streams.tokens += tokens
        if tokens and not self._begun:
            self._begun = True
            self._streams.begun += 1
            if self._streams.begun == self._streams.wanted:
                self._streams.all_begun.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._streams.broken += not self.over


async def ask(port: int, request: bytes) -> tuple[float, bytes]:
    """One request on a connection of its own: seconds, and what came."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    said = await reader.read()
    took = time.monotonic() - began
    writer.close()
    return took, said


async def measure(number: int, port: int, pid: int) -> dict[str, float]:
    """One round."""
    loop = asyncio.get_running_loop()
    normal = build_request("[[1/0]]", stream=False)
    alone = [(await ask(port, normal))[0] for _ in range(NORMAL)]
    before = read_memory(pid)
    streams = Streams(number)
    request = build_request(f"[[100000/{PACE}]]", stream=True)
    made: list[_Stream] = []
    began = time.monotonic()

    async def open_one() -> None:
        _, stream = await loop.create_connection(
            lambda: _Stream(streams, request), "127.0.0.1", port
        )
        made.append(stream)

    await asyncio.gather(*(open_one() for _ in range(number)))
    await asyncio.wait_for(streams.all_begun.wait(), PATIENCE)
    opened = time.monotonic() - began
    await asyncio.sleep(SETTLE)
    memory = read_memory(pid) - before
    tokens, cpu, began = streams.tokens, read_cpu(pid), time.monotonic()
    beside: list[float] = []
    for _ in range(NORMAL):
        took, said = await ask(port, normal)
        assert said.startswith(b"HTTP/1.1 200"), said[:300]
        beside.append(took)
        await asyncio.sleep(0.02)
    seconds = time.monotonic() - began
    found = {
        "open": opened,
        "kib": memory / number / 1024,
        "alone_p50": statistics.median(alone) * 1000,
        "p50": statistics.median(beside) * 1000,
        "p99": sorted(beside)[int(NORMAL * 0.99) - 1] * 1000,
        "max": max(beside) * 1000,
        "tokens": (streams.tokens - tokens) / seconds / number,
        "cpu": (read_cpu(pid) - cpu) / seconds,
        "broken": streams.broken,
    }
    for stream in made:
        stream.over = True
        stream.transport.abort()
    began = time.monotonic()
    health = b"GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    while b'"running":0' not in (await ask(port, health))[1]:
        await asyncio.sleep(0.01)
    found["left"] = time.monotonic() - began
    return found


COLUMNS = (
    ("streams", "number", "{:.0f}"),
    ("open s", "open", "{:.2f}"),
    ("KiB each", "kib", "{:.1f}"),
    ("alone p50 ms", "alone_p50", "{:.1f}"),
    ("beside p50 ms", "p50", "{:.1f}"),
    ("p99 ms", "p99", "{:.1f}"),
    ("max ms", "max", "{:.1f}"),
    ("tokens/s each", "tokens", "{:.2f}"),
    ("of core", "cpu", "{:.0%}"),
    ("gone s", "left", "{:.2f}"),
    ("broken", "broken", "{:.0f}"),
)


def main(numbers: list[int]) -> None:
    """Measure and print."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    os.sched_setaffinity(0, OTHER_CORE)
    versions = list_versions()
    print(", ".join(f"{name} {versions[name]}" for name in ("python", "trio", "h11", "httpcore")))
    print(" | ".join(f"{title:>13}" for title, _, _ in COLUMNS))
    for number in numbers:
        upstream_port, port = free_port(), free_port()
        with tempfile.TemporaryDirectory() as folder:
            upstream = f"http://127.0.0.1:{upstream_port}/1/0"
            command, env = build_command("grokproto", port, upstream, folder)
            env["CREDENTIAL_CONCURRENCY"] = "1000"
            with (
                run([sys.executable, "-m", "benchmarks.upstream", str(upstream_port)], OTHER_CORE),
                run(command, SERVER_CORE, env) as server,
            ):
                wait_for(upstream_port)
                wait_for(port)
                found = uvloop.run(measure(number, port, server.pid))
        found["number"] = number
        print(" | ".join(f"{form.format(found[key]):>13}" for _, key, form in COLUMNS), flush=True)


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]] or [1000, 3000])
