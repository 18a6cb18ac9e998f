"""Does a stream at full speed hold up a paced one? `python -m benchmarks.bench_fair [--quick]`

Paced streams, a token every 20 ms, run by themselves, beside one stream at full speed and beside
many, which keep the server's core busy all the time. Told is how long a paced token was under way,
from the upstream's write to the client's read, and what the streams at full speed got meanwhile.

Upstream and clients share a core that is as busy as the server's, and their own waiting is in these
times: `upstream` is the same load at the upstream itself, without a server between.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from .bench_server import UPSTREAM, percentile
from .servers import (
    OTHER_CORE,
    SERVER_CORE,
    build_command,
    free_port,
    list_versions,
    run,
    wait_for,
)

PACED, FULL_SPEED = "100000/20", "20000/0"
CLIENTS = 16
"""With paced streams."""
OTHERS = (0, 1, 16)
"""With streams at full speed."""
Read: TypeAlias = Callable[[], dict[str, Any]]
SERVERS = (UPSTREAM, "grokproto", "asgi", "aiohttp")


@contextlib.contextmanager
def load(port: int, path: str, clients: int, seconds: float, mode: str) -> Iterator[Read]:
    """Clients, while this is open: they have begun. Gives what reads their figures."""
    command = [sys.executable, "-m", "benchmarks.load", str(port), path]
    process = subprocess.Popen(
        [*command, str(clients), str(seconds), mode],
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, OTHER_CORE),
        text=True,
    )
    assert process.stdout is not None
    stdout = process.stdout
    stdout.readline()

    def read() -> dict[str, Any]:
        stdout.readline()
        found: dict[str, Any] = json.loads(stdout.readline())
        return found

    try:
        yield read
    finally:
        process.kill()
        process.wait()
        stdout.close()


def measure(port: int, others: int, seconds: float, mode: str) -> dict[str, Any]:
    """Paced streams beside others, which have begun before them and end after them."""
    with contextlib.ExitStack() as stack:
        full: Read | None = None
        if others:
            full = stack.enter_context(load(port, FULL_SPEED, others, seconds + 2.5, mode))
        paced = stack.enter_context(load(port, PACED, CLIENTS, seconds, mode))()
        if full is not None:
            beside = full()
            paced["others"] = beside["tokens"] / beside["seconds"]
            paced["errors"] += beside["errors"]
        return paced


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="one short round")
    quick = parser.parse_args().quick
    rounds, seconds = (1, 1.0) if quick else (1, 1.5)
    print(", ".join(f"{name} {number}" for name, number in list_versions().items()))
    columns = ("p50 ms", "p99 ms", "max ms", "others/s", "errors")
    print(f"\n{'server':11}{'beside':>8}" + "".join(f"{each:>10}" for each in columns))
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.upstream", str(port)]
        stack.enter_context(run(command, OTHER_CORE))
        wait_for(port)
        places = {UPSTREAM: port}
        for name in SERVERS[1:]:
            place = places[name] = free_port()
            command, env = build_command(name, place, f"http://127.0.0.1:{port}/1/0", folder)
            stack.enter_context(run(command, SERVER_CORE, env))
            wait_for(place)
        found: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for _ in range(rounds):
            for name, place in places.items():
                for others in OTHERS:
                    mode = "raw" if name == UPSTREAM else "stream"
                    one = measure(place, others, seconds, mode)
                    found.setdefault((name, others), []).append(one)
    for (name, others), each in found.items():
        delays = [
            statistics.median(percentile(one["delays"], share) for one in each)
            for share in (0.5, 0.99, 1.0)
        ]
        rate = statistics.median(one.get("others", 0.0) for one in each)
        errors = sum(one["errors"] for one in each)
        print(
            f"{name:11}{others:8}"
            + "".join(f"{value:10.2f}" for value in delays)
            + f"{rate:10.0f}{errors:10.0f}"
        )


if __name__ == "__main__":
    main()
