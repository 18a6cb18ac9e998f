"""Starlette and httpx, under uvicorn; the environment's `UPSTREAM` is Grok."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import AsyncIterator

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from .lines import convert, whole

_URL = os.environ.get("UPSTREAM", "") + "/rest/app-chat/conversations/new"
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None)
_client = httpx.AsyncClient(limits=_LIMITS, timeout=None)


async def _chat(request: Request) -> Response:
    asked = await request.json()
    identity, created = f"chatcmpl-{uuid.uuid4()}", int(time.time())
    message = {"message": asked["messages"][-1]["content"]}
    if not asked.get("stream"):
        response = await _client.post(_URL, json=message)
        return JSONResponse(whole(response.content.splitlines(), identity, created))

    async def give() -> AsyncIterator[bytes]:
        async with _client.stream("POST", _URL, json=message) as response:
            async for line in response.aiter_lines():
                if data := convert(line.encode(), identity, created):
                    yield data
        yield b"data: [DONE]\n\n"

    return StreamingResponse(give(), media_type="text/event-stream")


app = Starlette(routes=[Route("/v1/chat/completions", _chat, methods=["POST"])])
