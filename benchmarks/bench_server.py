"""How fast is the server beside others? `python -m benchmarks.bench_server [--quick] [--json FILE]`

Servers take turns in every round, so that a noisy minute is noisy for all. A figure is the median
of its rounds, and what is compared is CPU for each token or request (see `servers`): if a server
used less than nine tenths of its core, it was not the limit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import attrs

from .servers import (
    CORES,
    GROKPROTO,
    OTHER_CORE,
    SERVER_CORE,
    YARDSTICKS,
    build_command,
    free_port,
    list_versions,
    read_cpu,
    read_memory,
    run,
    wait_for,
)

UPSTREAM = "upstream"
"""In the place of a server: clients ask the upstream itself."""


@attrs.frozen
class Work:
    """What clients ask for."""

    name: str
    path: str
    """TOKENS/PAUSE of the upstream."""
    clients: int
    mode: str = "stream"
    seconds: float = 1.5
    """A round."""
    servers: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """What is counted."""
        return "tokens" if self.mode != "json" and self.clients > 1 else "requests"


ALL = (UPSTREAM, *GROKPROTO, *YARDSTICKS)
SINGLE = tuple(name for name in ALL if name != "workers")
FAST = (UPSTREAM, "grokproto", "asgi", "aiohttp")
RIVALS = ("grokproto", "aiohttp")
QUICK = (UPSTREAM, *RIVALS)
SCALE = ("grokproto", "workers")
"""One process, and two of them, which have two cores where there are four."""
WORKS = (
    Work("S1 stream, 16 clients", "200/0", 16, servers=SINGLE),
    Work("S1 stream, 64 clients", "200/0", 64, servers=RIVALS),
    Work("S1 long stream, 16", "20000/0", 16, servers=("grokproto", "asgi", "aiohttp")),
    Work("S2 JSON, 16 clients", "50/0", 16, "json", servers=SINGLE),
    Work("S2 JSON, 64 clients", "50/0", 64, "json", servers=RIVALS),
    Work("S3 200 paced streams", "100000/20", 200, seconds=3, servers=FAST),
    Work("S4 1,000 slow streams", "100000/1000", 1000, seconds=3, servers=RIVALS),
    Work("S5 first byte, 1 client", "1/0", 1, seconds=1, servers=FAST),
    Work("scale: stream, 64", "200/0", 64, servers=SCALE),
    Work("scale: JSON, 64", "50/0", 64, "json", servers=SCALE),
)


def load(work: Work, port: int, pid: int, seconds: float, *, raw: bool = False) -> dict[str, Any]:
    """One round of one work at one server."""
    before = read_memory(pid)
    command = [sys.executable, "-m", "benchmarks.load", str(port), work.path]
    command += [str(work.clients), str(seconds), "raw" if raw else work.mode]
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
        command = [sys.executable, "-m", "benchmarks.upstream", str(port)]
        grok = stack.enter_context(run(command, OTHER_CORE))
        wait_for(port)
        upstream = f"http://127.0.0.1:{port}/{work.path}"
        places: dict[str, tuple[int, int]] = {}
        for name in work.servers:
            if name not in names:
                continue
            if name == UPSTREAM:
                places[name] = (port, grok.pid)
                continue
            place = free_port()
            command, env = build_command(name, place, upstream, folder)
            cores = set(CORES) if name == "workers" else SERVER_CORE
            process = stack.enter_context(run(command, cores, env))
            wait_for(place)
            places[name] = (place, process.pid)
            load(attrs.evolve(work, clients=min(work.clients, 4)), place, process.pid, 0.5)
        for _ in range(rounds):
            for name, (place, pid) in places.items():
                one = load(work, place, pid, seconds, raw=name == UPSTREAM)
                found.setdefault(name, []).append(one)
    return {name: summarise(each, work) for name, each in found.items()}


def percentile(values: list[float], share: float) -> float:
    """Of sorted values."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def summarise(rounds: list[dict[str, Any]], work: Work) -> dict[str, float]:
    """The medians of the rounds, and the spread of what was counted."""
    middle = statistics.median
    costs = [each["cpu"] / max(1, each[work.unit]) * 1e6 for each in rounds]
    return {
        "rate": middle(each[work.unit] / each["seconds"] for each in rounds),
        "cpu_us": middle(costs),
        "spread": (max(costs) - min(costs)) / (middle(costs) or 1),
        "cpu_share": middle(each["cpu"] / each["seconds"] for each in rounds),
        "delay_p50_ms": middle(percentile(each["delays"], 0.5) for each in rounds),
        "delay_p99_ms": middle(percentile(each["delays"], 0.99) for each in rounds),
        "first_p50_ms": middle(percentile(each["firsts"], 0.5) for each in rounds),
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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="one short round, fewer servers")
    parser.add_argument("--json", help="where the figures go as JSON")
    parser.add_argument("--only", default="", help="works whose name begins so")
    parser.add_argument("--servers", help="which, by commas")
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
    names = tuple((args.servers or ",".join(QUICK if args.quick else ALL)).split(","))
    rounds = 1 if args.quick else 3
    report: dict[str, Any] = {"versions": list_versions(), "rounds": rounds, "works": {}}
    print(", ".join(f"{name} {number}" for name, number in report["versions"].items()))
    if len(CORES) < 2:
        print("There is only one core: servers, upstream and load share it.")
    columns = ("a second", "CPU us", "spread", "of core", "p50 ms", "p99 ms", "first", "KiB each")
    print(f"\n{'work':24}{'server':11}" + "".join(f"{each:>10}" for each in columns) + "  errors")
    for work in WORKS:
        if not work.name.startswith(args.only) or (args.quick and work.servers == SCALE):
            continue
        seconds = work.seconds / 3 if args.quick else work.seconds
        found = report["works"][work.name] = measure(work, rounds, seconds, names)
        for name, each in found.items():
            print(
                f"{work.name:24}{name:11}{each['rate']:10.0f}{each['cpu_us']:10.1f}"
                f"{each['spread']:10.0%}{each['cpu_share']:10.0%}{each['delay_p50_ms']:10.2f}"
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
