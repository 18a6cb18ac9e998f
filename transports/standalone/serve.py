"""`grokproto serve`: a simulated Grok if that is wished, and the server, in one process or more."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
import trio

from grokproto.commands import Branch
from grokproto.errors import ConfigurationError
from grokproto.exchange import Exchange
from grokproto.models import ModelTable
from grokproto.secret import Secret

from ..api.service import build_service, open_pictures, open_scheduler
from ..config import Config
from ..logs import get_logger
from ..loops.trio_loop import TRIO
from ..pictures.desk import PictureDesk
from ..pool.scheduler import Scheduler
from ..pool.state_file import MEMORY
from ..pool.waiting import Waiting
from ..server.listening import Listening
from .process import call_on_signal, make_room
from .serving import build_serving

DEMO_COOKIES = "demo-account-1,demo-account-2"


async def serve(
    config: Config,
    variables: Mapping[str, str],
    *,
    demo: bool = False,
    record: Path | None = None,
    keep_text: bool = False,
    announce: Callable[[Listening], None] = lambda _: None,
) -> None:
    """Serve until a signal says to stop.

    Args:
        config: The configuration.
        variables: What it was made of.
        demo: Talk to a simulated Grok, with accounts of its own, instead of the real one.
        record: Keep a transcript of each exchange in this directory; in one process only.
        keep_text: With what was asked and answered.
        announce: Told where the server listens, once it does.

    Raises:
        ConfigurationError: The files that the configuration names are wrong.
        OSError: It cannot listen there.
        WorkerError: One of its processes cannot be started.
    """
    if record is not None and config.workers > 1:
        raise ConfigurationError("--record keeps what one process does; set WORKERS to 1 with it")
    models = config.read_models()
    fit = make_room(config.max_connections)

    def tell(listening: Listening) -> None:
        announce(listening)
        if fit is not None:
            get_logger().warning(
                "descriptors are few: more connections than fit will wait, or fail upstream",
                fit=fit,
                max_connections=config.max_connections,
            )

    url: str | None = None
    async with trio.open_nursery() as nursery:
        if demo:
            from ..simulator import Simulator  # noqa: PLC0415 - here as below: few need it

            simulator = Simulator()
            listening = await nursery.start(simulator.run)
            url = listening.url
            config = make_demo(config, url)
        with contextlib.ExitStack() as stack:
            scheduler = stack.enter_context(open_scheduler(config))
            if config.workers > 1:
                from .workers import run_workers  # noqa: PLC0415

                await run_workers(config, variables, scheduler, tell, demo=url)
            else:
                make_exchange: Callable[..., Branch] = Exchange
                if record is not None:
                    from .recordings import open_recordings  # noqa: PLC0415

                    make_exchange = stack.enter_context(
                        open_recordings(config, scheduler, record, keep_text=keep_text)
                    )
                await run_server(config, models, scheduler, tell, make_exchange=make_exchange)
        nursery.cancel_scope.cancel()


def make_demo(config: Config, url: str) -> Config:
    """A configuration that talks to the simulator at `url`, with accounts of its own."""
    return attrs.evolve(  # type: ignore[misc]  # as below
        point_at(config, url), sso=Secret(DEMO_COOKIES), state=MEMORY, custom_sso=False
    )


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
    kept = open_pictures(config) if pictures is None else None
    service = attrs.evolve(build_service(config, kept), models=models, make_exchange=make_exchange)
    waiting = Waiting(scheduler, TRIO)
    serving = build_serving(config, service, waiting, pictures)
    async with trio.open_nursery() as nursery:
        await nursery.start(serving.upstream.run)
        if service.fetches_guests:
            nursery.start_soon(waiting.run_guests, serving.upstream, service.settings)
        if signals:
            nursery.start_soon(call_on_signal, serving.server.stop)

        async def run(*, task_status: trio.TaskStatus[Listening]) -> None:
            await serving.run(config.host, config.port, task_status=task_status)
            nursery.cancel_scope.cancel()

        listening: Listening = await nursery.start(run)
        get_logger().info("listening", url=listening.url)
        task_status.started(listening)
        announce(listening)
