"""Standard output and error that are full, gone or stuck: the server goes on, and ends well."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.transports.test_credentials import ROOT
from transports.streams import Sink

PATIENCE = 30.0
"""Seconds after which a test has hung."""
PAGE = 4096

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fills devices of Linux's")


@contextmanager
def running(prelude: str, *options: str, stderr: int | None = None) -> Iterator[str]:
    """A demo server, started by a shell after a prelude; its address. It must end well."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transports", "serve", "--demo", "--port", str(port)]
    process = subprocess.Popen(
        ["sh", "-c", f'{prelude} exec "$@"', "sh", *command, *options],
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "STATE": ":memory:"},
    )
    try:
        give_up = time.monotonic() + PATIENCE
        while not is_there(port):
            assert time.monotonic() < give_up
            with pytest.raises(subprocess.TimeoutExpired):  # it has no other way to tell us
                process.wait(0.02)
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()


def is_there(port: int) -> bool:
    """Whether somebody listens."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def ask(url: str, number: int) -> None:
    """Requests, of which each must be answered."""
    headers = {"authorization": "Bearer sk-123456789"}
    for _ in range(number):
        request = urllib.request.Request(f"{url}/v1/models", headers=headers)
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            assert response.status == 200


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("prelude", ["exec >/dev/full 2>&1;", "exec >&- 2>&-;", "exec <&- 2>&-;"])
def test_nowhere_to_write(prelude: str, workers: str) -> None:
    with running(prelude, "--workers", workers) as url:
        ask(url, 5)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_nobody_reads_any_more(workers: str) -> None:
    reader, writer = os.pipe()
    try:
        with running("", "--workers", workers, stderr=writer) as url:
            ask(url, 1)
            os.close(reader)
            ask(url, 5)
    finally:
        os.close(writer)


def test_what_has_no_room_is_counted(tmp_path: Path) -> None:
    """On a disk that is full for a while: here, a file that may not grow."""
    log = tmp_path / "log"
    with running(f"ulimit -S -f 8; exec 2>>{log};") as url:
        ask(url, 100)
        log.write_bytes(b"")  # as who turns logs over does
        ask(url, 1)
    lost = [json.loads(line).get("lines_lost") for line in log.read_text().splitlines() if line]
    assert lost[0] > 10
    assert set(lost[1:]) == {None}


def test_reader_that_does_not_read_holds_nobody_up() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as log:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PAGE)
        try:
            with running("", stderr=writer) as url:
                ask(url, 100)
                began = os.read(reader, PAGE)
                ask(url, 1)
        finally:
            os.close(writer)
        lines = (began + log.read()).splitlines()
    told = [entry["lines_lost"] for entry in map(json.loads, lines) if "lines_lost" in entry]
    assert len(told) == 1
    assert len(lines) + told[0] > 100


def test_exit_code_of_a_start_that_nobody_hears_of() -> None:
    command = [sys.executable, "-m", "transports", "serve", "--port", "http"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=full, cwd=ROOT, check=False)
    assert done.returncode == 2


def test_line_that_was_torn_is_ended_first() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as log:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PAGE)
        sink = Sink(writer)
        long = b"x" * PAGE + b"\n"
        assert sink.write(long) == len(long)  # as if it were written
        assert sink.lost == 1
        sink.write(b"lost\n")
        assert sink.lost == 2
        assert os.read(reader, 2 * PAGE) == b"x" * PAGE
        sink.write(b"kept\n")
        assert sink.lost == 0
        os.close(writer)
        assert log.read() == b"\nkept\n"
    with pytest.raises(OSError):
        Sink(writer)
    assert sink.write(b"never\n") == 6
