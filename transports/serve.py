"""`grokproto serve`: the server put together from its parts, and its signals."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import attrs
import trio

from grokproto.models import ModelTable

from .config import Config
from .connection import ConnectionLimits
from .logs import get_logger
from .routes import App
from .scheduler import Scheduler, split_cookies
from .server import Listening, Server
from .simulator import Simulator
from .upstream import Upstream, UpstreamConfig

DEMO_COOKIES = ("demo-account-1", "demo-account-2")


async def serve(
    config: Config,
    *,
    demo: bool = False,
    announce: Callable[[Listening], None] = lambda _: None,
) -> None:
    """Serve until a signal says to stop.

    Args:
        config: The configuration.
        demo: Talk to a simulated Grok, with accounts of its own, instead of the real one.
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
        cookies = DEMO_COOKIES if demo else split_cookies(config.sso.reveal()) if config.sso else ()
        await run_server(config, models, Scheduler(list(cookies)), announce)
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
    task_status: trio.TaskStatus[Listening] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve with credentials from `scheduler` until a signal says to stop."""
    log = get_logger()
    proxy = None if config.proxy is None else config.proxy.reveal()

    def on_error(exc: BaseException) -> None:
        log.error("a request failed by our own fault", exc_info=exc)

    upstream = Upstream(
        UpstreamConfig(proxy=proxy, connect_timeout=config.connect_timeout), on_error=on_error
    )
    app = App(
        keys=config.api_keys,
        credentials=lambda _: scheduler,
        models=models,
        settings=config.build_settings(),
        upstream=upstream,
        max_body_bytes=config.max_body_bytes,
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
        nursery.start_soon(_stop_on_signal, server)

        async def run(*, task_status: trio.TaskStatus[Listening]) -> None:
            await server.run(
                config.host,
                config.port,
                grace=config.shutdown_grace,
                on_grace_over=app.drives.stop,
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
