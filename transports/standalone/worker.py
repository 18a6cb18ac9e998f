"""A worker: one of several processes that answer the requests of one server.

`workers` starts it and tells it what to be; it is nothing to start by hand. It listens on sockets
that it is given, and has no pool and no state of its own. It ends when that process tells it to, or
is gone: once its running requests are finished. Signals that say to stop are for that process.
"""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Sequence

import structlog
import trio

from ..api.service import build_service, open_pictures
from ..config import build_config
from ..logs import configure_logs, get_logger
from ..server.listening import Server
from ..streams import guard_streams
from .pool_messages import Listening, Setup, decode_to_worker
from .process import settle
from .remote_pool import RemotePool
from .serve import make_demo
from .serving import build_serving
from .wire import Wire

_LAST_LINES = 2.0
"""Seconds for the last leases to be given back."""


class _Stopping:
    """Stops a server once, however often and by whomever that is wished; at once, if that is."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._begun = False

    def stop(self, at_once: bool = False) -> None:
        """Stop it."""
        if not self._begun:
            self._begun = True
            self._server.stop()
        if at_once:
            self._server.stop()


async def work(wire: Wire, listeners: Sequence[socket.socket]) -> None:
    """Be a worker, to the end."""
    line = await wire.receive_one()
    if line is None:
        return
    setup = decode_to_worker(line)
    assert isinstance(setup, Setup)
    config = build_config({name: value.reveal() for name, value in setup.variables.items()})
    if setup.demo is not None:
        config = make_demo(config, setup.demo)
    configure_logs(config.log_level, config.log_format)
    structlog.contextvars.bind_contextvars(worker=setup.number)

    def stop(at_once: bool) -> None:
        stopping.stop(at_once)

    def gone() -> None:
        get_logger().error("the process that has the accounts is gone; stopping")
        stopping.stop()

    pool = RemotePool(wire, on_stop=stop, on_gone=gone)
    serving = build_serving(config, build_service(config, open_pictures(config)), pool)
    stopping = _Stopping(serving.server)
    async with trio.open_nursery() as nursery:
        await nursery.start(serving.upstream.run)
        nursery.start_soon(pool.run)

        async def run(*, task_status: trio.TaskStatus[object]) -> None:
            await serving.run(
                config.host, config.port, listeners=listeners, task_status=task_status
            )
            with trio.move_on_after(_LAST_LINES):
                await wire.flush()
            nursery.cancel_scope.cancel()

        await nursery.start(run)
        pool.send(Listening())


def main() -> None:
    """The arguments are descriptors of sockets: the wire, then those to listen on."""
    guard_streams()
    try:
        wire, *listeners = (socket.socket(fileno=int(number)) for number in sys.argv[1:])
    except OSError:
        sys.exit(1)  # closed meanwhile: the server stops
    for listener in listeners:
        listener.setblocking(False)
    # Whoever sends one to all processes of a server means the one that has the pool.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    settle()
    trio.run(work, Wire(wire), listeners)


if __name__ == "__main__":
    main()
