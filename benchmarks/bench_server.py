"""How fast is the server beside others? `python -m benchmarks.bench_server [--quick] [--json FILE]`

Upstream, load and servers are processes of their own; the server has one core to itself, the others
share another. Servers take turns in every round, so that a noisy minute is noisy for all. A figure
is the median of its rounds. CPU is the server's own (user and system, of its process and its
children, from /proc), during the seconds that were measured: if it used less than nine tenths of
its core, it was not the limit, and only CPU per token compares.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import attrs

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, OTHER_CORE = {_CORES[0]}, {_CORES[-1]}
TWO_CORES = set(_CORES[:2])
"""For two processes. Where there are no more, upstream and load have one of them too."""
PACKAGES = ("trio", "h11", "httpcore", "msgspec", "aiohttp", "uvloop", "flask", "gunicorn",
            "requests", "starlette", "httpx", "uvicorn")  # fmt: skip


@attrs.frozen
class Work:
    """What clients ask for."""

    name: str
    path: str
    """TOKENS/PAUSE of the upstream."""
    clients: int
    mode: str = "stream"
    seconds: float = 4.0
    settle: float = 0.0
    servers: tuple[str, ...] = ()
    """Only these; where empty, all that are of one process."""


ALL = ("grokproto", "aiohttp", "flask", "starlette")
FAST = ("grokproto", "aiohttp")
SCALE = ("grokproto", "grokproto2")
"""One process, and two of them (`--workers 2`), which have two cores where there are four."""
WORKS = (
    Work("S1 stream, 16 clients", "200/0", 16),
    Work("S1 stream, 64 clients", "200/0", 64),
    Work("S2 JSON, 16 clients", "50/0", 16, "json"),
    Work("S2 JSON, 64 clients", "50/0", 64, "json"),
    Work("S3 200 paced streams", "100000/20", 200, seconds=5, servers=FAST),
    Work("S4 1,000 slow streams", "100000/1000", 1000, seconds=6, servers=FAST),
    Work("S5 first byte, 1 client", "1/0", 1, seconds=2, servers=("upstream", *FAST)),
    Work("scale: stream, 64", "200/0", 64, servers=SCALE),
    Work("scale: JSON, 64", "50/0", 64, "json", servers=SCALE),
)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def run(
    command: list[str], core: set[int], env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process on a core, ended on the way out."""
    process = subprocess.Popen(
        command,
        env={**os.environ, **(env or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, core),
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
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    raise RuntimeError(f"nobody listens on {port}")


def build_command(
    name: str, port: int, upstream: str, folder: str
) -> tuple[list[str], dict[str, str]]:
    """How a server is started."""
    python = [sys.executable, "-m"]
    match name:
        case "grokproto" | "grokproto2":
            return [*python, "transports", "serve"], {
                "WORKERS": "2" if name == "grokproto2" else "1",
                "PORT": str(port),
                "GROK_BASE_URL": upstream,
                "SSO": "one,two,three,four",
                "QUOTAS": "grok-3=1000000/2h",
                "CREDENTIAL_CONCURRENCY": "1000",
                "QUOTA_PROBE": "false",
                "STATE": f"{folder}/state-{port}.sqlite3",
            }
        case "aiohttp":
            return [*python, "benchmarks.yardsticks.aiohttp_uvloop", str(port), upstream], {}
        case "flask":
            app = "benchmarks.yardsticks.flask_requests:app"
            options = ["-b", f"127.0.0.1:{port}", "-k", "gthread", "--threads", "64"]
            return [*python, "gunicorn", *options, app], {"UPSTREAM": upstream}
        case _:
            app = "benchmarks.yardsticks.starlette_httpx:app"
            options = ["--port", str(port), "--log-level", "critical"]
            return [*python, "uvicorn", *options, app], {"UPSTREAM": upstream}


def list_family(pid: int) -> list[int]:
    """A process and its children."""
    found = [pid]
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in thread.joinpath("children").read_text().split():
            found += list_family(int(child))
    return found


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


def load(work: Work, port: int, pid: int, seconds: float) -> dict[str, Any]:
    """One round of one work at one server."""
    before = read_memory(pid)
    command = [sys.executable, "-m", "benchmarks.load", str(port), work.path]
    command += [str(work.clients), str(seconds), work.mode]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, OTHER_CORE),
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    cpu = read_cpu(pid)
    process.stdout.readline()
    cpu = read_cpu(pid) - cpu
    memory = read_memory(pid) - before
    found: dict[str, Any] = json.loads(process.stdout.readline())
    process.wait()
    found.update(cpu=cpu, memory=memory)
    return found


def measure(work: Work, rounds: int, seconds: float, names: tuple[str, ...]) -> dict[str, Any]:
    """All rounds of a work, with fresh processes for it."""
    found: dict[str, list[dict[str, Any]]] = {}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        port = free_port()
        grok = stack.enter_context(
            run([sys.executable, "-m", "benchmarks.upstream", str(port)], OTHER_CORE)
        )
        wait_for(port)
        upstream = f"http://127.0.0.1:{port}/{work.path}"
        places = {}
        for name in work.servers or ALL:
            if name not in (*names, "upstream"):
                continue
            if name == "upstream":
                continue
            place = free_port()
            command, env = build_command(name, place, upstream, folder)
            cores = TWO_CORES if name == "grokproto2" else SERVER_CORE
            process = stack.enter_context(run(command, cores, env))
            wait_for(place)
            places[name] = (place, process.pid)
            load(attrs.evolve(work, clients=min(work.clients, 4)), place, process.pid, 0.5)
        del grok
        for _ in range(rounds):
            for name, (place, pid) in places.items():
                found.setdefault(name, []).append(load(work, place, pid, seconds))
    return {name: summarise(each, work) for name, each in found.items()}


def percentile(values: list[float], share: float) -> float:
    """Of sorted values."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def summarise(rounds: list[dict[str, Any]], work: Work) -> dict[str, float]:
    """The medians of the rounds."""
    unit = "tokens" if work.mode == "stream" and work.clients > 1 else "requests"

    def middle(values: list[float]) -> float:
        return statistics.median(values)

    rates = [each[unit] / each["seconds"] for each in rounds]
    return {
        "rate": middle(rates),
        "spread": (max(rates) - min(rates)) / (middle(rates) or 1),
        "cpu_us": middle([each["cpu"] / max(1, each[unit]) * 1e6 for each in rounds]),
        "cpu_share": middle([each["cpu"] / each["seconds"] for each in rounds]),
        "delay_p50_ms": middle([percentile(each["delays"], 0.5) for each in rounds]),
        "delay_p99_ms": middle([percentile(each["delays"], 0.99) for each in rounds]),
        "first_p50_ms": middle([percentile(each["firsts"], 0.5) for each in rounds]),
        "kib_per_client": rounds[0]["memory"] / work.clients / 1024,
        "errors": sum(each["errors"] for each in rounds),
    }


def measure_start(rounds: int) -> dict[str, float]:
    """C4: seconds from the start of `serve` to its first answer, and memory then."""
    seconds, memory = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            port = free_port()
            command, env = build_command("grokproto", port, "http://127.0.0.1:9", folder)
            started = time.monotonic()
            with run(command, SERVER_CORE, env) as process:
                while True:
                    try:
                        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).read()
                        break
                    except (urllib.error.URLError, OSError):
                        time.sleep(0.005)
                seconds.append(time.monotonic() - started)
                memory.append(read_memory(process.pid) / 2**20)
    return {"seconds": statistics.median(seconds), "mib": statistics.median(memory)}


def list_versions() -> dict[str, str]:
    """Of everything that is compared."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--json", help="where the figures go as JSON")
    parser.add_argument("--only", default="", help="works whose name begins so")
    parser.add_argument("--servers", default="grokproto,grokproto2,aiohttp,flask,starlette")
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
    names = tuple(args.servers.split(","))
    rounds = 1 if args.quick else 3
    report: dict[str, Any] = {"versions": list_versions(), "rounds": rounds, "works": {}}
    print(", ".join(f"{name} {number}" for name, number in report["versions"].items()))
    if len(_CORES) < 2:
        print("There is only one core: servers, upstream and load share it.")
    columns = ("a second", "spread", "CPU us", "of core", "p50 ms", "p99 ms", "first", "KiB each")
    print(f"\n{'work':24}{'server':11}" + "".join(f"{each:>10}" for each in columns) + "  errors")
    for work in WORKS:
        if not work.name.startswith(args.only):
            continue
        seconds = work.seconds / 3 if args.quick else work.seconds
        found = report["works"][work.name] = measure(work, rounds, seconds, names)
        for name, each in found.items():
            print(
                f"{work.name:24}{name:11}{each['rate']:10.0f}{each['spread']:10.0%}"
                f"{each['cpu_us']:10.1f}{each['cpu_share']:10.0%}{each['delay_p50_ms']:10.2f}"
                f"{each['delay_p99_ms']:10.2f}{each['first_p50_ms']:10.2f}"
                f"{each['kib_per_client']:10.1f}{each['errors']:8.0f}",
                flush=True,
            )
    if "C4".startswith(args.only) or not args.only:
        start = report["start"] = measure_start(rounds)
        print(f"\nC4 start to first answer {start['seconds']:.2f} s, then {start['mib']:.0f} MiB")
    if args.json:
        Path(args.json).write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
