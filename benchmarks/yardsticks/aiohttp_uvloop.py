"""aiohttp on uvloop: `python -m benchmarks.yardsticks.aiohttp_uvloop PORT UPSTREAM`"""

from __future__ import annotations

import sys
import time
import uuid

import aiohttp
import uvloop
from aiohttp import web

from .lines import convert, whole

_PATH = "/rest/app-chat/conversations/new"


async def _chat(request: web.Request) -> web.StreamResponse:
    asked = await request.json()
    identity, created = f"chatcmpl-{uuid.uuid4()}", int(time.time())
    session: aiohttp.ClientSession = request.app["session"]
    message = {"message": asked["messages"][-1]["content"]}
    async with session.post(sys.argv[2] + _PATH, json=message) as response:
        if not asked.get("stream"):
            lines = (await response.read()).splitlines()
            return web.json_response(whole(lines, identity, created))
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        async for line in response.content:
            if data := convert(line, identity, created):
                await answer.write(data)
        await answer.write(b"data: [DONE]\n\n")
        await answer.write_eof()
        return answer


async def _build() -> web.Application:
    app = web.Application()
    connector = aiohttp.TCPConnector(limit=0)
    app["session"] = aiohttp.ClientSession(
        connector=connector, timeout=aiohttp.ClientTimeout(total=None)
    )
    app.router.add_post("/v1/chat/completions", _chat)
    return app


if __name__ == "__main__":
    uvloop.install()
    web.run_app(_build(), host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
