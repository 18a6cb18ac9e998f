"""A server on trio, put together: requests in, calls to the far ends out."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import attrs
import trio

from ..api.service import Service
from ..config import Config
from ..driving.answer import App, Pool
from ..driving.drive import Drives
from ..logs import get_logger
from ..loops.trio_loop import TRIO
from ..pictures.desk import PictureDesk
from ..server.http_request import ConnectionLimits
from ..server.listening import Listening, Server
from ..upstream.calls import Upstream


class WorkerError(Exception):
    """The workers cannot be started; the text says why."""


def report_fault(exc: BaseException) -> None:
    """Log a mistake of ours that has cost a request, and nothing else."""
    get_logger().error("a request failed by our own fault", exc_info=exc)


def report_pause(exc: OSError) -> None:
    """Log why no connection can be accepted for now, such as that descriptors have run out."""
    get_logger().error("connections cannot be accepted for now", reason=exc.strerror)


@attrs.frozen
class Serving:
    """A server, the exchanges under way for its clients, and the far ends. Times in seconds."""

    server: Server
    drives: Drives
    upstream: Upstream
    """Its `run` must be running while the server's is."""
    grace: float
    """What running requests get at a stop."""

    async def run(
        self,
        host: str,
        port: int,
        *,
        listeners: Sequence[socket.socket] | None = None,
        task_status: trio.TaskStatus[Listening] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until `server.stop`; see `Server.run`."""
        await self.server.run(
            host,
            port,
            grace=self.grace,
            on_grace_over=self.drives.stop,
            listeners=listeners,
            task_status=task_status,
        )


def build_serving(
    config: Config, service: Service, pool: Pool, pictures: PictureDesk | None = None
) -> Serving:
    """The server of a service.

    Args:
        config: How it treats its clients.
        service: What it serves with.
        pool: Where leases come from, unless each request brings its own cookie.
        pictures: What is done with pictures; what the service says where it is None.
    """
    upstream = Upstream(service.upstream, on_error=report_fault)
    drives = Drives()
    app = App(
        service.build_front(drives),
        drives=drives,
        pool=pool,
        upstream=upstream,
        pictures=pictures or service.build_desk(TRIO),
        loop=TRIO,
    )
    limits = ConnectionLimits(
        header_timeout=config.header_timeout,
        body_timeout=config.body_timeout,
        keepalive_timeout=config.keepalive_timeout,
        write_timeout=config.write_timeout,
        max_connections=config.max_connections,
    )
    server = Server(app, limits=limits, on_error=report_fault, on_pause=report_pause)
    return Serving(server, drives, upstream, config.shutdown_grace)
