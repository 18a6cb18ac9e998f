"""`transports.asgi`: what servers and frameworks may do to it, on asyncio and on trio."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import attrs
import fastapi
import pytest
import trio
from starlette.applications import Starlette
from structlog.testing import capture_logs

from grokproto.errors import ConfigurationError
from grokproto.exchange import Exchange
from tests.hosts.hosting import KEY, Grok, run_uvicorn, running
from transports.api.service import build_service, open_scheduler
from transports.asgi import ASGIApp, build_app
from transports.conform import Outcome, Target, run_checks
from transports.conform.suite import CHECKS
from transports.simulator import FaultKind

Run = Callable[[Callable[[], Awaitable[None]]], None]
LOOPS: dict[str, Run] = {
    "asyncio": lambda main: asyncio.run(main()),  # type: ignore[arg-type]
    "trio": trio.run,
}
both_loops = pytest.mark.parametrize("run", LOOPS.values(), ids=LOOPS)


@pytest.fixture
def grok() -> Iterator[Grok]:
    with Grok() as grok:
        yield grok


def make_app(grok: Grok, **environment: str) -> ASGIApp:
    """An application in front of a simulated Grok."""
    return build_app(grok.configure(**environment))


AUTHORIZATION = (b"authorization", f"Bearer {KEY}".encode())
REQUEST = {
    "type": "http",
    "method": "POST",
    "path": "/v1/chat/completions",
    "headers": [AUTHORIZATION],
}


@attrs.define
class Server:
    """What serves an application: hands it what comes, keeps what it sends.

    Args:
        app: The application.
        scope: Instead of what a request for a completion has.
    """

    app: Any
    scope: dict[str, Any] = attrs.field(factory=dict)
    coming: list[dict[str, Any]] = attrs.field(factory=list)
    """Handed out one by one; then nothing comes until the client leaves."""
    sent: list[Any] = attrs.field(factory=list)
    left: anyio.Event = attrs.field(factory=anyio.Event)
    on_send: Callable[[dict[str, Any]], Awaitable[None]] | None = None

    async def receive(self) -> dict[str, Any]:
        """See ASGI."""
        if not self.coming:
            await self.left.wait()
            return {"type": "http.disconnect"}
        return self.coming.pop(0)

    async def send(self, message: dict[str, Any]) -> None:
        """See ASGI."""
        if self.on_send is not None:
            await self.on_send(message)
        self.sent.append(message)

    async def ask(self, *pieces: bytes, **scope: Any) -> None:
        """One request, of a body in pieces."""
        last = len(pieces) - 1
        self.coming = [
            {"type": "http.request", "body": piece, "more_body": index < last}
            for index, piece in enumerate(pieces)
        ]
        headers = [(b"authorization", f"Bearer {KEY}".encode())]
        whole = {
            "type": "http",
            "method": "POST",
            "headers": headers,
            "path": "/v1/chat/completions",
        }
        await self.app({**whole, **self.scope, **scope}, self.receive, self.send)

    @property
    def status(self) -> int:
        """Of the response."""
        return int(self.sent[0]["status"])

    @property
    def body(self) -> bytes:
        """Of the response."""
        return b"".join(message["body"] for message in self.sent[1:])


def question(**fields: Any) -> bytes:
    """The body of a request."""
    messages = [{"role": "user", "content": "hi"}]
    return json.dumps({"model": "grok-3", "messages": messages, **fields}).encode()


# Bodies, and clients that leave


@both_loops
def test_body_in_pieces(run: Run, grok: Grok) -> None:
    async def main() -> None:
        body = question()
        server = Server(make_app(grok, MAX_BODY_BYTES="2000"))
        await server.ask(body[:5], b"", body[5:])
        assert server.status == 200
        assert "more_body" not in server.sent[-1]
        for headers, pieces, status in (
            ([(b"content-length", b"2001")], [b"x" * 10], 413),
            ([(b"content-length", b"9" * 5000)], [b"x" * 10], 413),
            ([(b"content-length", b"+5")], [b"x" * 10], 400),
            ([], [b"x" * 1000] * 3, 413),
        ):
            server = Server(server.app)
            with capture_logs() as log:
                await server.ask(*pieces, headers=[*headers, AUTHORIZATION])
            assert server.status == status
            assert [entry["event"] for entry in log] == ["request"]

    run(main)


@both_loops
def test_body_that_does_not_come(run: Run, grok: Grok) -> None:
    config = grok.configure()
    service = attrs.evolve(build_service(config), body_timeout=0.05)
    app = ASGIApp(service, lambda: open_scheduler(config))

    async def main() -> None:
        server = Server(app)
        await app(REQUEST, server.receive, server.send)
        assert server.status == 400
        assert b"in time" in server.body

    run(main)


@both_loops
def test_client_that_leaves_in_its_body(run: Run, grok: Grok) -> None:
    async def main() -> None:
        server = Server(make_app(grok))
        server.left.set()
        server.coming = [{"type": "http.request", "body": b"{", "more_body": True}]
        await server.app(REQUEST, server.receive, server.send)
        assert server.sent == []

    run(main)


@both_loops
@pytest.mark.parametrize("error", [OSError, ConnectionResetError])
def test_server_that_tells_of_it_by_an_error(run: Run, grok: Grok, error: type[OSError]) -> None:
    async def fail(message: dict[str, Any]) -> None:
        if b"content" in message.get("body", b""):
            raise error

    async def main() -> None:
        server = Server(make_app(grok), on_send=fail)
        with capture_logs() as log:
            await server.ask(question(stream=True))
        assert server.status == 200
        assert next(entry for entry in log if entry["event"] == "request")["client_closed"]

    run(main)


@both_loops
def test_middleware_that_hands_out_the_body_for_ever(run: Run, grok: Grok) -> None:
    async def main() -> None:
        server = Server(make_app(grok))
        asked = 0

        async def receive() -> dict[str, Any]:
            nonlocal asked
            asked += 1
            assert asked < 10
            return {"type": "http.request", "body": question(stream=True)}

        await server.app(REQUEST, receive, server.send)
        assert server.body.endswith(b"data: [DONE]\n\n")

    run(main)


@both_loops
def test_client_that_takes_nothing(run: Run, grok: Grok) -> None:
    config = grok.configure()
    service = attrs.evolve(build_service(config), write_timeout=0.1)
    app = ASGIApp(service, lambda: open_scheduler(config))

    async def stand_still(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            await anyio.sleep(30)

    async def main() -> None:
        server = Server(app, on_send=stand_still)
        with anyio.fail_after(5), capture_logs() as log:
            await server.ask(question(stream=True))
        assert next(entry for entry in log if entry["event"] == "request")["client_closed"]

    run(main)


def test_task_that_asyncio_cancels_while_a_long_request_is_read(
    grok: Grok, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left of it: the exchange is given up when the thread is done with it."""
    reading, read_on = threading.Event(), threading.Event()
    really_handle = Exchange.handle

    def handle(*args: Any) -> Any:
        if not reading.is_set():
            reading.set()
            assert read_on.wait(5)
        return really_handle(*args)

    monkeypatch.setattr(Exchange, "handle", handle)
    monkeypatch.setattr("transports.driving.answer._LONG_BODY", 10)

    async def main() -> None:
        server = Server(make_app(grok))
        with capture_logs() as log:
            task = asyncio.create_task(server.ask(question()))
            while not reading.is_set():
                await asyncio.sleep(0)
            task.cancel()
            for _ in range(20):
                await asyncio.sleep(0)
            assert not task.done()
            read_on.set()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert [entry for entry in log if entry["log_level"] == "error"] == []

    asyncio.run(main())


# Paths


@both_loops
def test_paths_in_a_mount(run: Run, grok: Grok) -> None:
    async def main() -> None:
        app = make_app(grok)
        for path, raw, root, status in (
            ("/v1/models", None, "", 200),
            ("/v1/models", b"/v1/models", "", 200),
            ("/grok/v1/models", None, "/grok", 200),
            ("/gr ok/v1/models", b"/gr%20ok/v1/models", "/gr ok", 200),
            ("/v1/models", None, "/grok", 200),
            ("/grok/v1/models", None, "/grok/", 200),
            ("/v1/models", None, "/", 200),
            ("/grokker/v1/models", None, "/grok", 404),
            ("/v1/models/grok-3", b"/v1/models/grok%2D3", "", 200),
            ("/v1/models/grok-3", None, "", 200),
            ("/v1/models/grok%2D3", None, "", 404),
            ("/gr ök/v1/models/grok-3", None, "/gr ök", 200),
        ):
            scope = {"path": path, "root_path": root, "method": "GET"}
            server = Server(app, scope | ({} if raw is None else {"raw_path": raw}))
            await server.ask(b"")
            assert server.status == status, path

    run(main)


@both_loops
def test_names_of_headers_that_are_none(run: Run, grok: Grok) -> None:
    async def main() -> None:
        server = Server(make_app(grok))
        await server.ask(question(), headers=[("x-é".encode(), b"1"), AUTHORIZATION])
        assert server.status == 200

    run(main)


@pytest.mark.parametrize("framework", [fastapi.FastAPI, Starlette])
@pytest.mark.parametrize("lifespan", ["on", "off"])
def test_mounted(framework: Any, lifespan: str, grok: Grok) -> None:
    app = framework()
    app.mount("/grok", make_app(grok, QUOTAS="default=1000/1h"))
    with running(lambda sock: run_uvicorn(app, sock, lifespan=lifespan)) as listening:
        target = Target(f"{listening.url}/grok/v1", key=KEY, model="grok-3", timeout=10)
        basic = [check for check in CHECKS if check.name in ("models", "chat", "stream", "HEAD")]
        results = list(run_checks(target, basic))
    assert all(result.outcome is Outcome.PASSED for result in results), results


# Beginning and end


class Lifespan:
    """A server's part of a lifespan."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._stop = anyio.Event()
        self._began = False
        self.sent: list[dict[str, Any]] = []
        self.started = anyio.Event()

    async def run(self) -> None:
        await self._app({"type": "lifespan"}, self.receive, self.send)

    async def receive(self) -> dict[str, Any]:
        if not self._began:
            self._began = True
            return {"type": "lifespan.startup"}
        await self._stop.wait()
        return {"type": "lifespan.shutdown"}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        self.started.set()

    def stop(self) -> None:
        self._stop.set()


@both_loops
def test_lifespan_ends_streams_decently(run: Run, grok: Grok, tmp_path: Any) -> None:
    grok.call(lambda: grok.simulator.site.faults.order(FaultKind.STALL))
    config = grok.configure(STATE=str(tmp_path / "state"))

    async def main() -> None:
        app = build_app(config)
        lifespan, server = Lifespan(app), Server(app)
        async with anyio.create_task_group() as group:
            group.start_soon(lifespan.run)
            await lifespan.started.wait()
            with pytest.raises(ConfigurationError, match="held by another"), open_scheduler(config):
                pass
            group.start_soon(server.ask, question(stream=True))
            with anyio.fail_after(5):
                while not server.sent[1:]:
                    await anyio.sleep(0.01)
            lifespan.stop()
        kinds = [message["type"].removeprefix("lifespan.") for message in lifespan.sent]
        assert kinds == ["startup.complete", "shutdown.complete"]
        assert b'"code":"shutting_down"' in server.body
        with open_scheduler(config):
            pass

    run(main)


@both_loops
def test_lifespan_that_fails(run: Run, grok: Grok, tmp_path: Any) -> None:
    config = grok.configure(STATE=str(tmp_path / "state"))

    async def main() -> None:
        lifespan = Lifespan(build_app(config))
        await lifespan.run()
        (message,) = lifespan.sent
        assert message["type"] == "lifespan.startup.failed"
        assert "is held by another server" in message["message"]

    with open_scheduler(config):
        run(main)


@both_loops
def test_lifespan_that_is_not_run(run: Run, grok: Grok) -> None:
    app = make_app(grok)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            servers = [Server(app) for _ in range(5)]
            for server in servers:
                group.start_soon(server.ask, question())
        assert [server.status for server in servers] == [200] * 5

    run(main)
    run(main)  # it ended with the first event loop


def test_what_is_not_spoken(grok: Grok) -> None:
    async def main() -> None:
        with pytest.raises(NotImplementedError):
            await Server(make_app(grok)).ask(b"", type="websocket")

    trio.run(main)


def test_key_that_everybody_knows(grok: Grok) -> None:
    with pytest.raises(ConfigurationError, match="API_KEY is the default"):
        make_app(grok, API_KEY="sk-123456789")


def test_configuration_of_the_environment(grok: Grok, monkeypatch: Any, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("API_KEY", KEY)
    monkeypatch.setenv("STATE", ":memory:")
    monkeypatch.setenv("GROK_BASE_URL", grok.simulator.base_url)

    async def main() -> None:
        server = Server(build_app())
        await server.ask(b"", method="GET", path="/ready")
        assert server.status == 503

    trio.run(main)


@pytest.mark.parametrize(
    ("module", "missing", "word"),
    [
        ("transports.asgi", ["anyio"], "grokproto[asgi]"),
        ("transports.inprocess", ["httpx", "httpx2"], "grokproto[inprocess]"),
    ],
)
def test_packages_that_are_missing(module: str, missing: list[str], word: str) -> None:
    program = f"import sys; sys.modules.update(dict.fromkeys({missing})); import {module}"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert word in done.stderr.splitlines()[-1]


# Mistakes of ours


@both_loops
def test_mistakes(run: Run, grok: Grok, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: Any, **__: Any) -> Any:
        raise RuntimeError("this is a mistake")

    async def main() -> None:
        app = make_app(grok)
        with monkeypatch.context() as patch, capture_logs() as log:
            patch.setattr("transports.driving.answer.Drive.run", crash)
            server = Server(app)
            await server.ask(question())
        assert (server.status, json.loads(server.body)["error"]["code"]) == (500, "internal_error")
        assert any(entry["log_level"] == "error" for entry in log)
        with monkeypatch.context() as patch, capture_logs():
            patch.setattr("grokproto.rendering.AnswerReader.receive_eof", crash)
            server = Server(app)
            with pytest.raises(RuntimeError, match="broken off"):
                await server.ask(question(stream=True))
        assert server.status == 200
        assert server.sent[-1].get("more_body") is True
        server = Server(app)
        await server.ask(question())
        assert server.status == 200

    run(main)
