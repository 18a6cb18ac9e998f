"""A Grok that answers at once: `python -m benchmarks.upstream PORT`

The path says how: `/TOKENS/PAUSE/rest/app-chat/conversations/new` gives that many tokens, with
PAUSE milliseconds between them, or at full speed for 0; a message may say it for itself, by
`[[TOKENS/PAUSE]]`. A paced token is the time at which it was written (monotonic clock,
nanoseconds), so that whoever reads it knows how long it was under way. Each token is an HTTP chunk;
at full speed eight go out in one write, and then other streams have their turn.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from typing import cast

import uvloop

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
_LINE = (
    b'{"result":{"response":{"token":"%b ","isThinking":false,"isSoftStop":false,'
    b'"messageTag":"final","responseId":"00000000-0000-4000-8000-000000000012"}}}\n'
)
_END = b'{"result":{"response":{"isSoftStop":true,"messageTag":"final"}}}\n'
_AT_ONCE = 8
_IN_MESSAGE = re.compile(rb"\[\[(\d+)/(\d+)\]\]")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_FULL_SPEED = _chunk(_LINE % b"word") * _AT_ONCE


class _Grok(asyncio.Protocol):
    def __init__(self) -> None:
        self._got = b""
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._ready.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._ready.clear()

    def resume_writing(self) -> None:
        self._ready.set()

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, found, body = self._got.partition(b"\r\n\r\n")
        if not found:
            return
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if len(body) < int(length or 0):
            return
        self._got = b""
        _, tokens, pause, *_ = head.split(b" ", 2)[1].split(b"/")
        if chosen := _IN_MESSAGE.search(body):
            tokens, pause = chosen.groups()
        self._task = asyncio.ensure_future(self._answer(int(tokens), int(pause) / 1000))

    async def _answer(self, tokens: int, pause: float) -> None:
        self._transport.write(_HEAD)
        if pause:
            due = time.monotonic()
            for _ in range(tokens):
                stamp = b"%d" % time.monotonic_ns()
                self._transport.write(_chunk(_LINE % stamp))
                due += pause
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        else:
            left = tokens
            while left > 0:
                await self._ready.wait()
                size = len(_FULL_SPEED) * min(left, _AT_ONCE) // _AT_ONCE
                self._transport.write(_FULL_SPEED[:size])
                left -= _AT_ONCE
                await asyncio.sleep(0)
        self._transport.write(_chunk(_END) + b"0\r\n\r\n")


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Grok, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
