"""Does a stream at full speed hold up a paced one? `python -m benchmarks.bench_fair [--quick]`

Paced streams, a token every 20 ms, run by themselves and then beside streams at full speed, which
keep the server's core busy all the time. Told is how long a paced token was under way, from the
upstream's write to the client's read, and what the streams at full speed got meanwhile.

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
from typing import Any

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
"""Of each kind."""
SERVERS = (UPSTREAM, "grokproto", "asgi", "aiohttp")


@contextlib.contextmanager
def load(port: int, path: str, seconds: float, mode: str) -> Any:
    """Clients, while this is open; gives what reads their figures."""
    command = [sys.executable, "-m", "benchmarks.load", str(port), path]
    process = subprocess.Popen(
        [*command, str(CLIENTS), str(seconds), mode],
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, OTHER_CORE),
        text=True,
    )
    assert process.stdout is not None
    stdout = process.stdout

    def read() -> dict[str, Any]:
        stdout.readline()
        stdout.readline()
        found: dict[str, Any] = json.loads(stdout.readline())
        return found

    try:
        yield read
    finally:
        process.kill()
        process.wait()
        stdout.close()


def measure(port: int, seconds: float, mode: str) -> dict[str, dict[str, Any]]:
    """A round: paced streams alone, then beside others."""
    with load(port, PACED, seconds, mode) as paced:
        alone = paced()
    # The paced ones begin while the others run, and end before them.
    with load(port, FULL_SPEED, seconds * 2 + 4, mode) as others:
        with load(port, PACED, seconds, mode) as paced:
            beside = paced()
        full = others()
    beside["others"] = full["tokens"] / full["seconds"]
    beside["errors"] += full["errors"]
    return {"alone": alone, "beside": beside}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="one short round")
    quick = parser.parse_args().quick
    rounds, seconds = (1, 1.5) if quick else (3, 3.0)
    print(", ".join(f"{name} {number}" for name, number in list_versions().items()))
    columns = ("p50 ms", "p99 ms", "max ms", "others/s", "errors")
    print(f"\n{'server':11}{'paced':8}" + "".join(f"{each:>10}" for each in columns))
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
        found: dict[str, list[dict[str, dict[str, Any]]]] = {name: [] for name in places}
        for _ in range(rounds):
            for name, place in places.items():
                mode = "raw" if name == UPSTREAM else "stream"
                found[name].append(measure(place, seconds, mode))
    for name, each in found.items():
        for kind in ("alone", "beside"):
            taken = [one[kind] for one in each]
            middle = [
                statistics.median(percentile(one["delays"], share) for one in taken)
                for share in (0.5, 0.99, 1.0)
            ]
            others = statistics.median(one.get("others", 0.0) for one in taken)
            errors = sum(one["errors"] for one in taken)
            print(
                f"{name:11}{kind:8}"
                + "".join(f"{value:10.2f}" for value in middle)
                + f"{others:10.0f}{errors:10.0f}"
            )


if __name__ == "__main__":
    main()
