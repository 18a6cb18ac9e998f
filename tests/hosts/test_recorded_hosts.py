"""Transcripts are those of any host: tasks on asyncio, threads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest

from grokproto.transcript import decode_transcript, replay
from tests.hosts.hosting import Accounts, run_uvicorn, run_werkzeug, running
from tests.simulators import running_simulator
from transports.api.service import Service, build_service
from transports.asgi import ASGIApp
from transports.config import load_config
from transports.pool.store import MEMORY
from transports.standalone.recordings import Recordings
from transports.standalone.serve import point_at
from transports.threaded import WSGIApp


def serve_threads(service: Service, accounts: Accounts) -> Iterator[str]:
    """With threads."""
    with accounts.open() as scheduler, WSGIApp(service, scheduler) as app:
        with running(lambda sock: run_werkzeug(app, sock)) as listening:
            yield listening.url


def serve_asyncio(service: Service, accounts: Accounts) -> Iterator[str]:
    """With tasks."""
    app = ASGIApp(service, accounts.open)
    with running(lambda sock: run_uvicorn(app, sock)) as listening:
        yield listening.url


@pytest.mark.parametrize("serve", [serve_threads, serve_asyncio])
def test_every_transcript_can_be_replayed(
    tmp_path: Path, serve: Callable[[Service, Accounts], Iterator[str]]
) -> None:
    variables = {"STATE": MEMORY, "SSO": "anna,bert,cleo", "IS_TEMP_GROK2": "false"}
    with running_simulator("--cut", "200") as grok, Recordings(tmp_path) as recordings:
        config = point_at(load_config({**variables, "ACQUIRE_WAIT": "5"}), grok)
        service = attrs.evolve(build_service(config), make_exchange=recordings.record)
        with contextlib.contextmanager(serve)(service, Accounts(config)) as url:
            with ThreadPoolExecutor(4) as clients:
                statuses = list(clients.map(lambda number: ask(url, number), range(8)))
    assert statuses == [200] * 8
    paths = list(tmp_path.iterdir())
    assert len(paths) == 8
    for path in paths:
        transcript = decode_transcript(path.read_bytes())
        assert transcript.differs is None
        assert list(replay(transcript)) == [None] * len(transcript.entries)


def ask(url: str, number: int) -> int:
    """Ask for one, two or three answers."""
    messages = [{"role": "user", "content": f"I am number {number}."}]
    body: dict[str, Any] = {"model": "grok-3", "messages": messages, "n": 1 + number % 3}
    headers = {"authorization": "Bearer sk-123456789"}
    response = httpx.post(
        f"{url}/v1/chat/completions",
        json={**body, "stream": number % 2 == 0},
        headers=headers,
        timeout=30,
    )
    return response.status_code
