"""`grokproto serve`: the server put together from its parts, and its signals."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import trio

from grokproto.commands import Branch
from grokproto.exchange import Exchange
from grokproto.models import ModelTable
from grokproto.secret import Secret

from .answer import App
from .config import Config
from .connection import ConnectionLimits
from .drive import Drives
from .logs import get_logger
from .pictures import PictureDesk
from .recordings import open_recordings
from .scheduler import Scheduler
from .server import Listening, Server
from .service import build_service, open_pictures, open_scheduler
from .simulator import Simulator
from .store import MEMORY
from .trio_loop import TRIO
from .upstream import Upstream
from .waiting import Waiting

DEMO_COOKIES = "demo-account-1,demo-account-2"


async def serve(
    config: Config,
    *,
    demo: bool = False,
    record: Path | None = None,
    keep_text: bool = False,
    announce: Callable[[Listening], None] = lambda _: None,
) -> None:
    """Serve until a signal says to stop.

    Args:
        config: The configuration.
        demo: Talk to a simulated Grok, with accounts of its own, instead of the real one.
        record: Keep a transcript of each exchange in this directory.
        keep_text: With what was asked and answered.
        announce: Told where the server listens, once it does.

    Raises:
        ConfigurationError: The files that the configuration names are wrong.
        OSError: It cannot listen there.
    """
    models = config.read_models()
    async with trio.open_nursery() as nursery:
        if demo:
            simulator = Simulator()
            listening = await nursery.start(simulator.run)
            config = point_at(config, listening.url)
            config = attrs.evolve(  # type: ignore[misc]
                config, sso=Secret(DEMO_COOKIES), state=MEMORY, custom_sso=False
            )
        with (
            open_scheduler(config) as scheduler,
            open_recordings(config, scheduler, record, keep_text=keep_text) as make_exchange,
        ):
            await run_server(config, models, scheduler, announce, make_exchange=make_exchange)
        nursery.cancel_scope.cancel()


def point_at(config: Config, url: str) -> Config:
    """A configuration whose far ends are all one simulator, reached without a proxy."""
    return attrs.evolve(  # type: ignore[misc]  # it is one, but the decorator hides that
        config,
        grok_base_url=url,
        grok_assets_url=url,
        tumy_base_url=url,
        picgo_base_url=url,
        proxy=None,
    )


async def run_server(
    config: Config,
    models: ModelTable,
    scheduler: Scheduler,
    announce: Callable[[Listening], None] = lambda _: None,
    *,
    pictures: PictureDesk | None = None,
    make_exchange: Callable[..., Branch] = Exchange,
    signals: bool = True,
    task_status: trio.TaskStatus[Listening] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve with credentials from `scheduler` until a signal says to stop.

    Args:
        config: The configuration.
        models: The models.
        scheduler: The credentials.
        announce: Told where the server listens, once it does.
        pictures: What is done with pictures; what the configuration says where it is None.
        make_exchange: See `routes.Front`.
        signals: Heed signals, which only the main thread of a program can. Where it is False, the
            server runs until it is cancelled.
        task_status: Told the same as `announce`.

    Raises:
        ConfigurationError: The directory of local pictures cannot be used.
        OSError: It cannot listen there.
    """
    log = get_logger()

    def on_error(exc: BaseException) -> None:
        log.error("a request failed by our own fault", exc_info=exc)

    kept = open_pictures(config) if pictures is None else None
    service = attrs.evolve(build_service(config, kept), models=models, make_exchange=make_exchange)
    upstream = Upstream(service.upstream, on_error=on_error)
    drives = Drives()
    waiting = Waiting(scheduler, TRIO)
    app = App(
        service.build_front(drives),
        drives=drives,
        pool=waiting,
        upstream=upstream,
        pictures=pictures or service.build_desk(TRIO),
        loop=TRIO,
    )
    server = Server(
        app,
        limits=ConnectionLimits(
            header_timeout=config.header_timeout,
            body_timeout=config.body_timeout,
            keepalive_timeout=config.keepalive_timeout,
            write_timeout=config.write_timeout,
            max_connections=config.max_connections,
        ),
        on_error=on_error,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(upstream.run)
        if service.fetches_guests:
            nursery.start_soon(waiting.run_guests, upstream, service.settings)
        if signals:
            nursery.start_soon(_stop_on_signal, server)

        async def run(*, task_status: trio.TaskStatus[Listening]) -> None:
            await server.run(
                config.host,
                config.port,
                grace=config.shutdown_grace,
                on_grace_over=drives.stop,
                task_status=task_status,
            )
            nursery.cancel_scope.cancel()

        listening: Listening = await nursery.start(run)
        log.info("listening", url=listening.url)
        task_status.started(listening)
        announce(listening)


async def _stop_on_signal(server: Server) -> None:
    signals = [signal.SIGINT, signal.SIGTERM] if sys.platform != "win32" else [signal.SIGINT]
    with trio.open_signal_receiver(*signals) as received:
        async for number in received:
            get_logger().info("stopping", signal=signal.Signals(number).name)
            server.stop()
