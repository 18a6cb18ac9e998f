"""How many granted calls a second, with the state on disk? `python -m benchmarks.bench_store [DIR]`

Each call is an acquire and a release, and what either changes is written down before the next, as
the server does it. The baseline is the pool alone; only the ratio means anything elsewhere, the
rate is this machine's.
"""

from __future__ import annotations

import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

from grokproto.credentials import CredentialPool, PoolSettings, encode_record, parse_quotas
from grokproto.lease import Lease, Outcome
from grokproto.secret import Secret
from transports.pool.store import MEMORY, Store

CALLS = 4000
ACCOUNTS = 100
ROUNDS = 5


def make_calls(store: Store | None) -> float:
    """Calls a second."""
    pool = CredentialPool(PoolSettings(quotas=parse_quotas("grok-3=1000000/2h")))
    for number in range(ACCOUNTS):
        pool.add({"sso": Secret(f"cookie-{number}")})

    def keep() -> None:
        changes = pool.changes()
        if store is not None:
            store.save({record.name: encode_record(record) for record in changes.records})

    keep()
    started = time.perf_counter()
    for _ in range(CALLS):
        granted = pool.acquire("grok-3", time.time())
        assert isinstance(granted, Lease)
        keep()
        pool.release(granted, Outcome.SERVED, time.time())
        keep()
    return CALLS / (time.perf_counter() - started)


def main() -> None:
    """Measure and print."""
    directory = sys.argv[1] if len(sys.argv) > 1 else None
    rates: dict[str, list[float]] = {"pool alone": [], "in memory": [], "on disk": []}
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        for number in range(ROUNDS):
            rates["pool alone"].append(make_calls(None))
            with Store(MEMORY) as store:
                rates["in memory"].append(make_calls(store))
            with Store(Path(folder) / f"state-{number}.sqlite3") as store:
                rates["on disk"].append(make_calls(store))
    print(
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}; median of {ROUNDS}\n"
    )
    baseline = statistics.median(rates["pool alone"])
    print(f"{'state':12}{'calls/s':>10}{'spread':>9}{'of the pool':>13}")
    for name, found in rates.items():
        middle = statistics.median(found)
        spread = (max(found) - min(found)) / middle
        print(f"{name:12}{middle:10.0f}{spread:9.0%}{middle / baseline:13.2f}")


if __name__ == "__main__":
    main()
