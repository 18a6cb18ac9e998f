"""A simulated Grok in a process of its own, for programs that block."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


@contextmanager
def running_simulator(*arguments: str) -> Iterator[str]:
    """Run one; give its base address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "transports.simulator", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[0].removeprefix("GROK_BASE_URL=")
    finally:
        process.terminate()
        process.communicate(timeout=20)
