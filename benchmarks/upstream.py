"""A Grok that answers at once: `python -m benchmarks.upstream PORT`

The path says how: `/TOKENS/PAUSE/rest/app-chat/conversations/new` gives that many tokens, with
PAUSE milliseconds between them, or at full speed for 0; a message may say it for itself, by
`[[TOKENS/PAUSE]]`. A paced token is the time at which it was written (monotonic clock,
nanoseconds), so that whoever reads it knows how long it was under way. Each token is an HTTP chunk;
at full speed eight go out in one write, and then other streams have their turn.
"""

from __future__ import annotations

import asyncio
import json
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
_OPENAI_HEAD = _HEAD.replace(b"application/json", b"text/event-stream")
_OPENAI_LINE = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"grok-3",'
    b'"choices":[{"index":0,"delta":{"content":"%b "},"finish_reason":null}]}\n\n'
)
_OPENAI_END = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"grok-3",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
_IN_MESSAGE = re.compile(rb"\[\[(\d+)/(\d+)\]\]")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_WORDS = b"now time all good men come their aid".split()
"""As many as go out at once. They differ, since litellm gives up an answer that repeats itself."""
_FULL_SPEED = b"".join(_chunk(_LINE % word) for word in _WORDS)
_OPENAI_FULL_SPEED = b"".join(_chunk(_OPENAI_LINE % word) for word in _WORDS)
_AT_ONCE = len(_WORDS)


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
        path = head.split(b" ", 2)[1]
        _, tokens, pause, *_ = path.split(b"/")
        if chosen := _IN_MESSAGE.search(body):
            tokens, pause = chosen.groups()
        if path.endswith(b"chat/completions"):
            asked = json.loads(body)
            words = (_OPENAI_HEAD, _OPENAI_LINE, _OPENAI_FULL_SPEED, _OPENAI_END)
            if not asked.get("stream"):
                self._transport.write(_encode_whole(int(tokens)))
                return
        else:
            words = (_HEAD, _LINE, _FULL_SPEED, _END)
        self._task = asyncio.ensure_future(self._answer(int(tokens), int(pause) / 1000, *words))

    async def _answer(
        self, tokens: int, pause: float, head: bytes, line: bytes, full_speed: bytes, end: bytes
    ) -> None:
        self._transport.write(head)
        if pause:
            due = time.monotonic()
            for _ in range(tokens):
                stamp = b"%d" % time.monotonic_ns()
                self._transport.write(_chunk(line % stamp))
                due += pause
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        else:
            left = tokens
            while left > 0:
                await self._ready.wait()
                if left < _AT_ONCE:
                    full_speed = b"".join(_chunk(line % word) for word in _WORDS[:left])
                self._transport.write(full_speed)
                left -= _AT_ONCE
                await asyncio.sleep(0)
        self._transport.write(_chunk(end) + b"0\r\n\r\n")


def _encode_whole(tokens: int) -> bytes:
    """A whole response with a completion of OpenAI's."""
    message = {"role": "assistant", "content": "word " * tokens}
    body = json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "grok-3",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1},
        }
    ).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Grok, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
