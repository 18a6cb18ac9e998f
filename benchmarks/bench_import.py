"""What does one wait for who imports the core? `python -m benchmarks.bench_import [PYTHON]`

The baseline is msgspec, which the core stands on. Every import is in a process of its own and they
take turns; bytecode is written before. The time is that of the statement, without the interpreter's
own start; the fastest counts, since nothing but other work can make an import slower.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

from .measuring import tell_versions

ROUNDS = 15
BASELINE = "import msgspec"
STATEMENTS = (
    BASELINE,
    "import grokproto",
    "from grokproto import ChunkConverter, read_question",
    "from grokproto import Exchange",
    "from grokproto import *",
)
_PROGRAM = """
import time
started = time.perf_counter()
{}
print(time.perf_counter() - started)
"""


def time_import(python: str, statement: str) -> float:
    """Seconds, in a fresh process."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    arguments = [python, "-c", _PROGRAM.format(statement)]
    ended = subprocess.run(arguments, env=environment, capture_output=True, check=True)
    return float(ended.stdout)


def main() -> None:
    """Measure and print."""
    python = sys.argv[1] if len(sys.argv) > 1 else sys.executable
    times: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    for number in range(ROUNDS + 1):
        for statement, found in times.items():
            taken = time_import(python, statement)
            if number:  # the first writes bytecode
                found.append(taken)
    print(f"{tell_versions('msgspec')}; {ROUNDS} processes each, ms\n")
    baseline = min(times[BASELINE])
    print(f"{'statement':54}{'fastest':>9}{'median':>9}{'of the baseline':>17}")
    for statement, found in times.items():
        fastest, middle = 1000 * min(found), 1000 * statistics.median(found)
        print(f"{statement:54}{fastest:9.1f}{middle:9.1f}{min(found) / baseline:15.2f} x")


if __name__ == "__main__":
    main()
