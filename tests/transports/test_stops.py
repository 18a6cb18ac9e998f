"""How it stops, and how it does not start: a sentence and an exit code, and never a traceback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from tests.tracebacks import find_traceback
from tests.transports.apart import Apart, with_process
from tests.transports.served import KEY, RawResponse, chat, encode_request
from tests.transports.test_credentials import ROOT, Process
from transports.simulator import Delivery, Simulator, Style

CANARY = "canary"
POST = f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEY}\r\n".encode()


def refuse(
    *arguments: str, code: int, directory: Path, **environment: str | bytes
) -> subprocess.CompletedProcess[str]:
    """Run a command that cannot do its work; hold what it says."""
    variables: dict[str, str | bytes] = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "HOME": str(directory),
        "STATE": str(directory / "state"),
        "SSO": "canary-cookie",
        "CF_CLEARANCE": "canary-clearance",
        "API_KEY": "canary-key",
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-m", "transports", *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        cwd=directory,
        env={os.fsencode(name): os.fsencode(value) for name, value in variables.items()},
        check=False,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert find_traceback(done.stderr) == ""
    assert CANARY not in done.stdout + done.stderr
    said = done.stderr.strip()
    assert said.startswith("grokproto: ")
    assert "\n" not in said
    return done


def test_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = refuse("serve", code=1, directory=tmp_path, PORT=port)
        assert port in done.stderr
        assert "in use" in done.stderr


@pytest.mark.parametrize("host", ["192.0.2.1", "x" * 300])
def test_address_that_cannot_be_listened_on(host: str, tmp_path: Path) -> None:
    done = refuse("serve", "--port", "0", code=1, directory=tmp_path, HOST=host)
    assert f"cannot listen on {host}" in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("PORT", "http"), ("PORT", "99999"), ("SHUTDOWN_GRACE", "soon"), ("API_KEY", "canary x")),
        *(("SSO", "canary x"), ("SSO", b"canary\xff"), ("API_KEY", b"canary\xff")),
        *(("CF_CLEARANCE", b"canary\xff"), ("GUEST_SESSIONS", "[1]"), ("QUOTAS", "much")),
        *(("GROK_HEADERS", '{"x": "canary\\n"}'), ("PROXY", "canary"), ("HOST", "0.0.0.0")),
        *(
            ("GUEST_SESSIONS", b"canary\xff"),
            ("MODELS_FILE", "/no/such/file"),
            ("MODELS_FILE", "/"),
        ),
        *(("USER_AGENT", b"\xff"), ("GROK_BASE_URL", b"http://\xff/"), ("LOG_LEVEL", "shout")),
        *(("GUEST_SESSIONS", "[" * 100_000), ("HOST", "[canary]"), ("PORT", "1_000")),
        *(("GROK_BASE_URL", "http://a..b"), ("PROXY", "http://u:canary%ff@127.0.0.1:9")),
        *(("STATE", "/dev/null/state"), ("STATE", "/"), ("STATE", "/proc/nothing/here")),
    ],
)
def test_bad_values(name: str, value: str | bytes, tmp_path: Path) -> None:
    environment: dict[str, str | bytes] = {"PORT": "3999", name: value}
    if name == "HOST":
        environment["API_KEY"] = "sk-123456789"
    done = refuse("serve", code=2, directory=tmp_path, **environment)
    assert name in done.stderr


def test_unreadable_files(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\xff\xfe" * 100)
    missing = str(tmp_path / "missing")
    for command in (["serve"], ["credentials", "list"]):
        for path in (str(broken), missing, str(tmp_path)):
            options = ["--env-file", path]
            arguments = [command[0], *options, *command[1:]]
            done = refuse(*arguments, code=2, directory=tmp_path)
            assert path in done.stderr
    for name in ("STATE", "MODELS_FILE"):
        done = refuse("serve", code=2, directory=tmp_path, **{name: str(broken)})
        assert name in done.stderr
    (tmp_path / ".env").write_bytes(b"\xff\xfe" * 100)
    assert ".env" in refuse("serve", code=2, directory=tmp_path).stderr


def test_state_that_is_damaged(tmp_path: Path) -> None:
    state = tmp_path / "state"
    done = subprocess.run(
        [sys.executable, "-m", "transports", "credentials", "add"],
        input="canary-cookie",
        text=True,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "STATE": str(state)},
        check=True,
        capture_output=True,
    )
    assert CANARY not in done.stdout + done.stderr
    data = state.read_bytes()
    assert b"canary-cookie" in data
    state.write_bytes(data.replace(b'"cookies"', b'"cookie?"'))
    assert "STATE" in refuse("serve", code=2, directory=tmp_path).stderr
    assert "STATE" in refuse("credentials", "list", code=2, directory=tmp_path).stderr
    state.write_bytes(data[: len(data) // 2])
    refuse("serve", code=2, directory=tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [("credentials", "list"), ("credentials", "list", "--json"), ("doctor",), ("doctor", "--json")],
)
def test_commands_show_no_secret(arguments: tuple[str, ...], tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "STATE": str(tmp_path / "state"),
        "SSO": "canary-cookie,canary-other",
        "API_KEY": "canary-key",
        "CF_CLEARANCE": "canary-clearance",
        "TUMY_KEY": "canary-tumy",
        "PICGO_KEY": "canary-picgo",
        "PROXY": "http://canary-user:canary-password@127.0.0.1:9",
        "GROK_HEADERS": '{"x-statsig-id": "canary-signature"}',
        "GUEST_SESSIONS": json.dumps(["x-anonuserid=canary; x-challenge=canary; x-signature=c"]),
        "GROK_BASE_URL": "http://127.0.0.1:9",
        "GROK_ASSETS_URL": "http://127.0.0.1:9",
    }
    done = subprocess.run(
        [sys.executable, "-m", "transports", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
        timeout=30,
    )
    assert done.stdout
    assert CANARY not in done.stdout + done.stderr
    assert find_traceback(done.stderr) == ""


@pytest.mark.parametrize(
    "signals", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT)]
)
def test_second_signal_ends_at_once(signals: tuple[signal.Signals, signal.Signals]) -> None:
    async def main() -> None:
        simulator = Simulator()
        simulator.site.delivery = Delivery(pace=0.02)
        simulator.site.style = Style(tokens=100_000)
        async with trio.open_nursery() as nursery:
            await nursery.start(simulator.run)
            server = await trio.to_thread.run_sync(
                lambda: Process.start(
                    STATE=":memory:", SSO="anna", GROK_BASE_URL=simulator.base_url
                )
            )
            port = int(server.url.split(":")[2].split("/")[0])
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            body = json.dumps(chat(stream=True)).encode()
            head = "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n"
            head += f"authorization: Bearer sk-123456789\r\ncontent-length: {len(body)}\r\n\r\n"
            await stream.send_all(head.encode() + body)
            await simulator.site.wait_for(lambda: simulator.site.in_flight == 1)
            server.process.send_signal(signals[0])
            with trio.fail_after(10):
                while await accepts(port):
                    await trio.sleep(0.02)
            assert server.process.poll() is None  # the stream goes on
            began = time.monotonic()
            log = await trio.to_thread.run_sync(server.end, signals[1])
            assert time.monotonic() - began < 2
            assert server.process.returncode == 0
            assert find_traceback(log) == ""
            await stream.aclose()
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_every_stream_that_goes_on_for_too_long_is_told() -> None:
    """Listener and idle connections at once; streams after the grace, with an error event."""

    async def check(server: Apart) -> None:
        site = server.simulator.site
        site.delivery = Delivery(pace=0.02)
        site.style = Style(tokens=1000)
        answers: list[RawResponse] = []

        async def ask() -> None:
            client = await server.connect()
            async with client.stream:
                await client.send_request("POST", "/v1/chat/completions", chat(stream=True))
                answers.append(await client.read_response())
                assert await client.is_closed()

        idle = await server.connect()
        async with idle.stream, trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(ask)
            await site.wait_for(lambda: site.in_flight == 40)
            server.process.process.send_signal(signal.SIGTERM)
            began = trio.current_time()
            assert await idle.is_closed()
            while await accepts(server.port):
                await trio.sleep(0.01)
            assert answers == []
        assert 0.9 < trio.current_time() - began < 10
        for answer in answers:
            assert answer.whole
            assert answer.events[-1]["error"]["code"] == "shutting_down"
            reasons = {event["choices"][0]["finish_reason"] for event in answer.events[:-1]}
            assert reasons == {None}
        await site.wait_for(lambda: site.open_calls == 0)
        assert await trio.to_thread.run_sync(server.process.process.wait) == 0

    with_process(check, SHUTDOWN_GRACE="1")


@pytest.mark.parametrize(
    "begun",
    [
        b"POST /v1/chat/completions HTTP/1.1\r\nhos",
        POST + b"content-length: 100\r\n\r\n",
        POST + b"content-length: 100\r\nexpect: 100-continue\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\n\r\n5\r\nab",
    ],
)
def test_request_that_has_not_come_whole_is_not_waited_for(begun: bytes) -> None:
    """It is told, soon, and may be made elsewhere."""

    async def check(server: Apart) -> None:
        process = server.process.process
        client = await server.connect()
        async with client.stream:
            await client.send(begun)
            if b"expect" in begun:
                assert (await client.read_response()).status == 100
            assert (await server.request("GET", "/health")).status == 200
            process.send_signal(signal.SIGTERM)
            began = trio.current_time()
            answer = await client.read_response()
            assert (answer.status, answer.error["code"]) == (503, "shutting_down")
            assert answer.error["type"] == "server_error"
            assert answer.headers["connection"] == "close"
            assert await client.is_closed()
        assert await trio.to_thread.run_sync(process.wait) == 0
        assert trio.current_time() - began < 10

    with_process(check)


def test_request_that_comes_whole_in_time_is_answered() -> None:
    async def check(server: Apart) -> None:
        request = encode_request("POST", "/v1/chat/completions", chat())
        clients = [await server.connect() for _ in range(2)]
        await clients[0].send(request[:30])
        await clients[1].send(request[:-1])
        assert (await server.request("GET", "/health")).status == 200
        server.process.process.send_signal(signal.SIGTERM)
        while await accepts(server.port):
            await trio.sleep(0.01)
        await clients[0].send(request[30:])
        await clients[1].send(request[-1:])
        for client in clients:
            async with client.stream:
                answer = await client.read_response()
                assert (answer.status, answer.headers["connection"]) == (200, "close")
                assert await client.is_closed()
        assert await trio.to_thread.run_sync(server.process.process.wait) == 0

    with_process(check)


async def accepts(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
    except OSError:
        return False
    await stream.aclose()
    return True
