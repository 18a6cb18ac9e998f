"""Timing works in one process: they take turns, so that a noisy moment is noisy for all."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version

import attrs


@attrs.frozen
class Timing:
    """What a work took: CPU seconds."""

    median: float
    spread: float
    """Between the slowest and the fastest round, in medians."""


def measure(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Timing]:
    """The timings of works that take turns in every round."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            started = time.process_time()
            work()
            times[name].append(time.process_time() - started)
    return {
        name: Timing(statistics.median(each), (max(each) - min(each)) / statistics.median(each))
        for name, each in times.items()
    }


def tell_versions(*packages: str) -> str:
    """Of Python and of packages, for the head of a table."""
    return ", ".join(
        [f"Python {platform.python_version()}", *(f"{each} {version(each)}" for each in packages)]
    )
