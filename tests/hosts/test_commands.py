"""The servers of others, started as their users start them, pass what every host passes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.simulators import running_simulator
from tests.tracebacks import find_traceback
from transports.conform import Outcome, Target, run_checks

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).parents[2]
ASGI = "transports.asgi:build_app"
COMMANDS = {
    "uvicorn": ("uvicorn", "--factory", ASGI, "--fd", "{fd}"),
    "hypercorn on trio": (
        *("hypercorn", "--worker-class", "trio", f"{ASGI}()", "--bind", "fd://{fd}"),
    ),
    "hypercorn on asyncio": ("hypercorn", f"{ASGI}()", "--bind", "fd://{fd}"),
    "gunicorn": (
        *("gunicorn", "--threads", "32", "--bind", "fd://{fd}"),
        "transports.threaded:build_app()",
    ),
}
KEY = "a-key-of-ours"
PATIENCE = 20.0


@contextmanager
def started(command: tuple[str, ...], grok: str, directory: Path) -> Iterator[str]:
    """A server; gives its address, and sees to it that it ends by itself when told to.

    It is given a socket that listens already, so who connects at once is served once it is there.
    """
    variables = {
        "GROK_BASE_URL": grok,
        "API_KEY": KEY,
        "SSO": ",".join(f"account-{number}" for number in range(20)),
        "STATE": str(directory / "state"),
        "QUOTA_PROBE": "false",
        "PYTHONPATH": str(ROOT),
    }
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        name, *arguments = (each.format(fd=sock.fileno()) for each in command)
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / name), *arguments],
            env={**os.environ, **variables},
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=[sock.fileno()],
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            log, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert find_traceback(log) == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_it_conforms(name: str, tmp_path: Path) -> None:
    if name == "gunicorn":
        pytest.importorskip("gunicorn", reason="pip install -e '.[heavy]'")
    with running_simulator() as grok, started(COMMANDS[name], grok, tmp_path) as url:
        results = list(run_checks(Target(f"{url}/v1", key=KEY, model="grok-3", timeout=10)))
    wrong = [(each.check.name, each.seen) for each in results if each.outcome != Outcome.PASSED]
    assert wrong == []
