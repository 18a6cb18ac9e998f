"""No client may reach for the network: whoever tries is stopped, and the test fails.

In this process an audit hook sees every connection and every look-up of a name, whichever library
makes it. Clients that are programs of their own get the same hook where they are Python's
(`guards/sitecustomize.py`) or Node's (`guards/offline.cjs`), and for all of them the proxy that
the environment names is a trap that takes calls, notes them, and answers none.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .guards.sitecustomize import find_stranger

GUARDS = Path(__file__).parent / "guards"


class _Hook:
    """Audit hooks cannot be taken out again, so this one is in once and watches on order."""

    def __init__(self) -> None:
        self.watching = False
        self.strangers: list[str] = []
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.watching and event.startswith("socket."):
            stranger = find_stranger(event, arguments)
            if stranger is not None:
                self.strangers.append(stranger)
                raise ConnectionRefusedError(f"no client may reach for {stranger}")


_hook = _Hook()


@contextmanager
def stay_offline() -> Iterator[None]:
    """Let this process reach this machine only; fail at the end if it tried more."""
    before, watching = len(_hook.strangers), _hook.watching
    _hook.watching = True
    try:
        yield
    finally:
        _hook.watching = watching
        strangers = _hook.strangers[before:]
        del _hook.strangers[before:]
    if strangers:
        raise AssertionError(f"it reached for {', '.join(strangers)}")


class Trap:
    """A proxy that nobody may use."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.calls: list[bytes] = []
        self._thread = threading.Thread(target=self._run, name="trap")
        self._thread.start()

    @property
    def address(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def _run(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection:
                connection.settimeout(5)
                first = connection.recv(4096)
            if first == b"close the trap":
                return
            self.calls.append(first[:200])

    def close(self) -> None:
        """End it."""
        with socket.create_connection(self._socket.getsockname()) as connection:
            connection.sendall(b"close the trap")
        self._thread.join(10)
        self._socket.close()


@contextmanager
def offline_environment(directory: Path) -> Iterator[dict[str, str]]:
    """The environment for a client that is a program of its own; fails at the end if the program
    tried to reach more than this machine.

    Args:
        directory: An empty one; the client's home.
    """
    report = directory / "strangers.txt"
    report.touch()
    trap = Trap()
    proxies = {
        name: trap.address
        for plain in ("http_proxy", "https_proxy", "all_proxy")
        for name in (plain, plain.upper())
    }
    path = os.pathsep.join([str(GUARDS), *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        yield {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "PYTHONPATH": path,
            "PYTHONDONTWRITEBYTECODE": "1",
            "NODE_OPTIONS": f"--require={GUARDS / 'offline.cjs'}",
            "OFFLINE_REPORT": str(report),
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "DO_NOT_TRACK": "1",
            **proxies,
        }
    finally:
        trap.close()
    strangers = report.read_text(encoding="utf-8").split()
    if strangers or trap.calls:
        raise AssertionError(f"it reached for {strangers}, and asked the proxy {trap.calls}")
