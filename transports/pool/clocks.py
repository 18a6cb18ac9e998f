"""Unix time that is not set while the server runs.

A pool cannot tell a clock that was set forward from time that passed, and would take the windows of
quotas for over. Nor need it be asked to: what passes is told by a clock that nobody sets, and the
time of day is looked at once, at the start. Times that people are shown are by the clock as it was
then; a restart takes a new look.

What this costs: a virtual machine that was paused, and does not count that, is behind until it is
restarted, and accounts rest for longer than they must. A clock of the time of day would have been
set forward by then, but to believe that is to ask for more calls than there are.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


def count_up() -> float:
    """Seconds since some moment; they go by while the machine sleeps, where it can tell."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":  # what Python calls monotonic there stands still in sleep
        return time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.monotonic()


class SteadyTime:
    """Unix seconds: what the clock said when this was made, and what went by since.

    Args:
        unix_time: The clock that is looked at once.
        steady: Seconds since some moment.
    """

    def __init__(
        self,
        unix_time: Callable[[], float] = time.time,
        steady: Callable[[], float] = count_up,
    ) -> None:
        self._steady = steady
        self._zero = unix_time() - steady()

    def __call__(self) -> float:
        return self._zero + self._steady()
