"""Every host, with a simulated Grok behind it, for tests that look at it from outside."""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import hypercorn.asyncio
import hypercorn.config
import hypercorn.trio
import pytest
import trio
import trustme
import uvicorn
import werkzeug.serving

from tests.transports.served import PATIENCE, Served, with_server
from transports.api.service import build_scheduler, build_service, open_pictures
from transports.asgi import ASGIApp
from transports.config import Config, load_config
from transports.driving.background import BuildDesk
from transports.loops.trio_loop import TRIO
from transports.pool.scheduler import Scheduler
from transports.pool.store import MEMORY, Store
from transports.server.listening import Listening
from transports.simulator import Simulator
from transports.standalone.serve import point_at, run_server
from transports.threaded import WSGIApp

KEY = "a-key-of-ours"
HOSTS = ("server", "uvicorn", "hypercorn", "werkzeug")
"""The trio server, the ASGI application on asyncio (by uvloop, where there is one) and on trio, the
WSGI application."""
FOREIGN = ("uvicorn", "uvicorn on asyncio", "hypercorn", "werkzeug")
"""All but the server, and both event loops of that kind."""


@attrs.frozen
class Host:
    """A server in a thread."""

    run: Callable[[], object]
    stop: Callable[[], object]


@attrs.frozen
class Accounts:
    """The accounts of a host, for a look at what is left of them."""

    config: Config
    opened: list[Scheduler] = attrs.field(factory=list)

    @contextlib.contextmanager
    def open(self) -> Iterator[Scheduler]:
        with Store(self.config.state_path) as store:
            self.opened.append(build_scheduler(self.config, store))
            yield self.opened[-1]


def run_uvicorn(app: Any, sock: socket.socket, *, lifespan: Any = "on", loop: Any = "auto") -> Host:
    """asyncio, or uvloop."""
    config = uvicorn.Config(app, log_level="warning", lifespan=lifespan, loop=loop)
    server = uvicorn.Server(config)

    def stop() -> None:
        server.should_exit = True

    return Host(lambda: server.run(sockets=[sock]), stop)


def run_hypercorn(app: Any, sock: socket.socket) -> Host:
    """trio."""
    config = hypercorn.config.Config()
    config.bind = [f"fd://{os.dup(sock.fileno())}"]  # it closes it
    config.graceful_timeout = 1
    config.errorlog = None
    stopped = threading.Event()

    async def wait() -> None:
        await trio.to_thread.run_sync(stopped.wait, abandon_on_cancel=True)

    serve = functools.partial(hypercorn.trio.serve, app, config, shutdown_trigger=wait)
    return Host(lambda: trio.run(serve), stopped.set)


@contextlib.contextmanager
def running_own(config: Config, scheduler: Scheduler) -> Iterator[Listening]:
    """The trio server in a thread, until the block is left."""
    started: queue.SimpleQueue[tuple[Listening, trio.lowlevel.TrioToken]] = queue.SimpleQueue()
    scope = trio.CancelScope()

    async def main() -> None:
        def announce(listening: Listening) -> None:
            started.put((listening, trio.lowlevel.current_trio_token()))

        with scope:
            models = config.read_models()
            await run_server(config, models, scheduler, announce, signals=False)

    thread = threading.Thread(target=trio.run, args=(main,), daemon=True)
    thread.start()
    listening, token = started.get(timeout=PATIENCE)
    try:
        yield listening
    finally:
        token.run_sync_soon(scope.cancel)
        thread.join(PATIENCE)
        assert not thread.is_alive()


class _Quiet(werkzeug.serving.WSGIRequestHandler):
    def log(self, *args: Any) -> None:
        pass


def run_werkzeug(app: Any, sock: socket.socket) -> Host:
    """Threads; Flask's own server."""
    host, port = sock.getsockname()
    server = werkzeug.serving.make_server(
        host, port, app, threaded=True, request_handler=_Quiet, fd=sock.fileno()
    )

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return Host(server.serve_forever, stop)


@contextlib.contextmanager
def running(build: Callable[[socket.socket], Host]) -> Iterator[Listening]:
    """A host in a thread, until the block is left."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as sock:
        host = build(sock)
        thread = threading.Thread(target=host.run, daemon=True)
        thread.start()
        try:
            yield Listening("127.0.0.1", sock.getsockname()[1])
        finally:
            host.stop()
            thread.join(PATIENCE)
            assert not thread.is_alive()


@contextlib.contextmanager
def hosted(
    kind: str, config: Config, accounts: Accounts, build_desk: BuildDesk | None = None
) -> Iterator[Listening]:
    """A host of a kind."""
    service = build_service(config, open_pictures(config) if build_desk is None else None)
    with contextlib.ExitStack() as stack:
        if kind == "server":
            scheduler = stack.enter_context(accounts.open())
            yield stack.enter_context(running_own(config, scheduler))
        elif kind == "werkzeug":
            scheduler = stack.enter_context(accounts.open())
            pictures = None if build_desk is None else build_desk(TRIO)
            app = stack.enter_context(WSGIApp(service, scheduler, pictures=pictures))
            yield stack.enter_context(running(lambda sock: run_werkzeug(app, sock)))
        else:
            run: Callable[[Any, socket.socket], Host] = {
                "uvicorn": run_uvicorn,
                "uvicorn on asyncio": functools.partial(run_uvicorn, loop="asyncio"),
                "hypercorn": run_hypercorn,
            }[kind]
            app = ASGIApp(service, accounts.open, build_desk=build_desk)
            yield stack.enter_context(running(lambda sock: run(app, sock)))


def with_host(
    kind: str,
    check: Callable[[Served], Awaitable[None]],
    *,
    accounts: tuple[str, ...] = ("anna", "bert", "cleo"),
    quotas: dict[str, tuple[int, float]] | None = None,
    build_desk: BuildDesk | None = None,
    **environment: str,
) -> None:
    """Run a check against a host of its own; nothing may be left of it afterwards."""
    if kind == "server":
        pictures = None if build_desk is None else build_desk(TRIO)
        with_server(check, accounts=accounts, quotas=quotas, pictures=pictures, **environment)
        return

    async def main() -> None:
        simulator = Simulator(quotas=quotas)
        site = simulator.site
        variables = {"ACQUIRE_WAIT": "0.2", "STATE": MEMORY, "QUOTA_PROBE": "false"}
        variables.update({"IS_TEMP_GROK2": "false", "SSO": ",".join(accounts)})
        async with trio.open_nursery() as nursery:
            await nursery.start(simulator.run)
            config = point_at(load_config({**variables, **environment}), simulator.base_url)
            known = Accounts(config)
            with hosted(kind, config, known, build_desk) as listening:
                served = Served(simulator, listening, nursery, None)  # type: ignore[arg-type]
                with trio.fail_after(PATIENCE):
                    await check(served)
                    await site.wait_for(lambda: site.in_flight == 0)
            for scheduler in known.opened:
                for status in scheduler.pool.status(scheduler.unix_now):
                    assert status.in_flight == 0
            nursery.cancel_scope.cancel()
        assert simulator.errors == []

    trio.run(main)


# For hosts and clients that want the test's thread for themselves


class Grok:
    """A simulated Grok in a thread. See `Simulator`."""

    def __init__(self, **options: Any) -> None:
        self.simulator = Simulator(**options)
        self._started = threading.Event()
        self._scope = trio.CancelScope()
        self._token: trio.lowlevel.TrioToken | None = None
        self._thread = threading.Thread(target=trio.run, args=(self._run,), daemon=True)

    def __enter__(self) -> Grok:
        self._thread.start()
        assert self._started.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self.call(self._scope.cancel)
        self._thread.join(PATIENCE)
        assert self.simulator.errors == []

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with self._scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(self.simulator.run)
                self._started.set()
                await trio.sleep_forever()

    def call(self, work: Callable[[], Any]) -> Any:
        """Do something in its thread."""
        assert self._token is not None
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._token.run_sync_soon(lambda: done.put(work()))
        return done.get(timeout=PATIENCE)

    def wait_for(self, condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Wait until something holds that depends on its counters."""

        async def wait() -> None:
            with trio.fail_after(seconds):
                await self.simulator.site.wait_for(condition)

        trio.from_thread.run(wait, trio_token=self._token)

    def configure(self, **environment: str) -> Config:
        """A configuration that leads to it."""
        variables = {"STATE": MEMORY, "QUOTA_PROBE": "false", "IS_TEMP_GROK2": "false"}
        variables.update({"SSO": "anna,bert,cleo", "API_KEY": KEY, "PORT": "0"})
        return point_at(load_config({**variables, **environment}), self.simulator.base_url)


@contextlib.contextmanager
def far_end(
    serve: Callable[[socket.socket, int], None], context: ssl.SSLContext | None = None
) -> Iterator[int]:
    """A far end that treats each connection, by its number, as it likes."""

    def accept() -> None:
        for number in range(100):
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError):
                if context is not None:
                    connection = context.wrap_socket(connection, server_side=True)
                with connection:
                    connection.settimeout(PATIENCE)
                    serve(connection, number)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
    thread.join(PATIENCE)
    assert not thread.is_alive()


@attrs.frozen
class SecureEnd:
    """A far end with TLS. It answers once, and says nothing to who comes next."""

    url: str
    silent: threading.Event
    """Somebody waits for an answer in vain."""
    ended: threading.Event
    """They have left."""


@contextlib.contextmanager
def secure_end(monkeypatch: pytest.MonkeyPatch, directory: Path) -> Iterator[SecureEnd]:
    """A far end whose authority is trusted."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(directory / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    silent, ended = threading.Event(), threading.Event()

    def serve(connection: socket.socket, number: int) -> None:
        connection.recv(65536)
        if number == 0:
            connection.sendall(
                b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi"
            )
            return
        silent.set()
        with contextlib.suppress(OSError):
            connection.recv(1)
        ended.set()

    with far_end(serve, context) as port:
        yield SecureEnd(f"https://localhost:{port}/", silent, ended)
