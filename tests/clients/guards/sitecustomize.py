"""Keeps a Python program to this machine; Python imports it at its start when it is on the path.

What the program tries beyond that is refused, and noted in the file that `OFFLINE_REPORT` names.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

_HERE = frozenset({"127.0.0.1", "::1", "localhost", "", "0.0.0.0", "::", "None"})


def find_stranger(event: str, arguments: tuple[Any, ...]) -> str | None:
    """Which other machine an audit event of a socket is about, if it is about one."""
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        if not isinstance(address, tuple):
            return None  # a path, or none
        host = address[0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = arguments[0]
    else:
        return None
    name = host.decode() if isinstance(host, bytes) else str(host)
    return None if name in _HERE else name


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith("socket."):
        stranger = find_stranger(event, arguments)
        if stranger is not None:
            with Path(os.environ["OFFLINE_REPORT"]).open("a", encoding="utf-8") as report:
                report.write(f"{stranger}\n")
            raise ConnectionRefusedError(f"this program may not reach for {stranger}")


if os.environ.get("OFFLINE_REPORT"):
    sys.addaudithook(_audit)
