"""Descriptors: how many files and sockets this process may have open."""

from __future__ import annotations

import sys

if sys.platform != "win32":
    import resource

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
