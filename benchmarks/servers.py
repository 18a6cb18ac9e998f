"""The servers that are compared: how each is started, on which core, and what it costs.

Upstream, load and servers are processes of their own; the server has one core to itself, the others
share another. CPU is the server's own (user and system, of its process and its children, from
/proc).
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, OTHER_CORE = {CORES[0]}, {CORES[-1]}
PATIENCE = 60.0
"""Seconds that a server has to start."""
PACKAGES = ("trio", "h11", "httpcore", "msgspec", "aiohttp", "uvloop", "flask", "gunicorn",
            "requests", "starlette", "httpx", "uvicorn")  # fmt: skip
KEY = "sk-benchmark"
LITELLM = os.environ.get("LITELLM") or shutil.which("litellm")
"""The command `litellm`, which may be in an environment of its own; None where there is none."""

GROKPROTO = ("grokproto", "workers", "asgi", "wsgi")
"""Ours: the server, the same in two processes, and the hosts in other people's servers."""
YARDSTICKS = ("aiohttp", "flask", "starlette", *(("litellm",) if LITELLM else ()))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def run(
    command: list[str], cores: set[int], env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process on some cores, ended on the way out."""
    process = subprocess.Popen(
        command,
        env={**os.environ, **(env or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(port: int) -> None:
    """Until somebody listens."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    raise RuntimeError(f"nobody listens on {port}")


def build_command(
    name: str, port: int, upstream: str, folder: str
) -> tuple[list[str], dict[str, str]]:
    """How a server is started.

    Args:
        name: One of `GROKPROTO` or `YARDSTICKS`.
        port: Where it is to listen.
        upstream: Address of the benchmarks' upstream, with what it is to give.
        folder: For its files.
    """
    python = [sys.executable, "-m"]
    ours = {
        "PORT": str(port),
        "GROK_BASE_URL": upstream,
        "SSO": "one,two,three,four",
        "API_KEY": KEY,
        "QUOTAS": "grok-3=1000000/2h",
        "CREDENTIAL_CONCURRENCY": "1000",
        "QUOTA_PROBE": "false",
        "STATE": f"{folder}/state-{port}.sqlite3",
    }
    quiet = ["--log-level", "critical"]
    match name:
        case "grokproto":
            return [*python, "transports", "serve"], ours
        case "workers":
            return [*python, "transports", "serve", "--workers", "2"], ours
        case "asgi":
            app = ["--factory", "transports.asgi:build_app", "--loop", "uvloop"]
            return [*python, "uvicorn", "--port", str(port), *quiet, *app], ours
        case "wsgi":
            options = ["-b", f"127.0.0.1:{port}", "-k", "gthread", "--threads", "64"]
            return [*python, "gunicorn", *options, "transports.threaded:build_app()"], ours
        case "aiohttp":
            return [*python, "benchmarks.yardsticks.aiohttp_uvloop", str(port), upstream], {}
        case "flask":
            app = ["benchmarks.yardsticks.flask_requests:app"]
            options = ["-b", f"127.0.0.1:{port}", "-k", "gthread", "--threads", "64"]
            return [*python, "gunicorn", *options, *app], {"UPSTREAM": upstream}
        case "starlette":
            app = ["benchmarks.yardsticks.starlette_httpx:app"]
            return [*python, "uvicorn", "--port", str(port), *quiet, *app], {"UPSTREAM": upstream}
        case "litellm":
            return _build_litellm(port, upstream, folder)
    raise ValueError(name)


def _build_litellm(port: int, upstream: str, folder: str) -> tuple[list[str], dict[str, str]]:
    """litellm's proxy. It speaks to OpenAI only, so the upstream does for it."""
    assert LITELLM is not None
    config = Path(folder) / f"litellm-{port}.yaml"
    config.write_text(
        "model_list:\n  - model_name: grok-3\n    litellm_params:\n"
        f"      model: openai/grok-3\n      api_base: {upstream}/v1\n      api_key: none\n"
    )
    options = ["--config", str(config), "--port", str(port), "--host", "127.0.0.1"]
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    return [LITELLM, *options, "--telemetry", "False"], {**quiet, "LITELLM_MASTER_KEY": KEY}


def list_family(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in list_family(int(child)))]


def read_cpu(pid: int) -> float:
    """Seconds of CPU used so far."""
    used = 0
    for each in list_family(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        used += int(fields[11]) + int(fields[12])
    return used / _TICK


def read_memory(pid: int) -> int:
    """Resident bytes."""
    return sum(
        int(Path(f"/proc/{each}/statm").read_text().split()[1]) * _PAGE for each in list_family(pid)
    )


def list_versions() -> dict[str, str]:
    """Of everything that is compared."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
