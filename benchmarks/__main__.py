"""The whole table: `python -m benchmarks [--quick]`"""

from __future__ import annotations

import subprocess
import sys
import time

SCRIPTS = (
    *("bench_core", "bench_exchange", "bench_large", "bench_pool", "bench_store", "bench_grants"),
    *("bench_import", "bench_fair", "bench_server"),
)
QUICK = ("bench_server",)


def main() -> None:
    """Run the scripts, one after the other."""
    quick = "--quick" in sys.argv[1:]
    for script in QUICK if quick else SCRIPTS:
        print(f"\n== {script}\n", flush=True)
        options = ["--quick"] if quick else []
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", f"benchmarks.{script}", *options], check=True)
        print(f"\n{script} took {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
