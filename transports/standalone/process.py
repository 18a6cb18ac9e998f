"""What is the whole process's: its descriptors, the signals to it, and its garbage."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable

import trio

from ..logs import get_logger

if sys.platform != "win32":
    import resource

_GARBAGE = 10_000
"""Objects that may be made, beyond those that went, before the collector looks."""
_OTHERS = 64
"""For the state, the log, kept connections and whatever else is open."""


def make_room(connections: int) -> int | None:
    """Raise this process's limit so that so many connections fit, as far as that is allowed.

    Many systems give a process 1,024 descriptors unless it asks for more. A connection costs one,
    and the upstream call that is made for it another.

    Returns:
        How many fit, where that is fewer; None where all of them do.
    """
    if sys.platform == "win32":
        return None
    wanted = 2 * connections + _OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return None
    reached = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    while reached > soft:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (reached, hard))
            break
        except (ValueError, OSError):  # some systems allow less than they say
            reached //= 2
    reached = max(reached, soft)
    return None if reached >= wanted else max(0, (reached - _OTHERS) // 2)


async def call_on_signal(stop: Callable[[], object]) -> None:
    """Call `stop` for each signal that says to. Only for the main thread of a program."""
    signals = [signal.SIGINT, signal.SIGTERM] if sys.platform != "win32" else [signal.SIGINT]
    with trio.open_signal_receiver(*signals) as received:
        async for number in received:
            get_logger().info("stopping", signal=signal.Signals(number).name)
            stop()


def settle() -> None:
    """Have the garbage collector pass over all that is here now, and look less often.

    What was imported stays for good, and most of what a request makes goes as soon as nobody refers
    to it. What is left to the collector are circles, of which there are few.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE)
