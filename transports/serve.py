"""`grokproto serve`: the server put together from its parts, and its signals."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Mapping, Sized

import attrs
import trio

from grokproto.credentials import (
    CredentialPool,
    GuestSettings,
    PoolSettings,
    Rotation,
    parse_guest,
    read_accounts,
)
from grokproto.errors import ConfigurationError
from grokproto.models import ModelTable
from grokproto.secret import Secret
from grokproto.settings import ImageMode

from .answer import App
from .config import Config
from .connection import ConnectionLimits
from .drive import Drives
from .logs import get_logger
from .picture_store import LocalPictures, open_store
from .pictures import PictureDesk
from .routes import Front
from .scheduler import Scheduler
from .server import Listening, Server
from .simulator import Simulator
from .store import MEMORY, Store, default_path
from .trio_loop import TRIO
from .upstream import Upstream, UpstreamConfig
from .waiting import Waiting

DEMO_COOKIES = "demo-account-1,demo-account-2"


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
            config = attrs.evolve(  # type: ignore[misc]
                config, sso=Secret(DEMO_COOKIES), state=MEMORY, custom_sso=False
            )
        with Store(config.state_path, on_error=get_logger().error) as store:
            await run_server(config, models, build_scheduler(config, store), announce)
        nursery.cancel_scope.cancel()


def build_pool(config: Config) -> CredentialPool:
    """The pool that a configuration asks for, still empty."""
    guests = GuestSettings(level=config.guest_concurrency) if config.guests else None
    return CredentialPool(
        PoolSettings(
            rotation=Rotation(config.rotation),
            concurrency=config.credential_concurrency,
            quotas=config.quotas,
            quota_probe=config.quota_probe,
            guests=guests,
        )
    )


def read_configured(config: Config) -> list[Mapping[str, Secret]]:
    """The accounts in `SSO`; none where each request brings its own.

    Raises:
        ConfigurationError: One of them is no cookie.
    """
    if config.custom_sso:
        return []
    found = read_accounts(config.sso.reveal() if config.sso is not None else "")
    if found.problems:
        raise ConfigurationError(f"SSO: {found.problems[0].rstrip('.')}")
    return list(found.accounts)


def read_configured_guests(config: Config) -> list[Mapping[str, Secret]]:
    """The guest sessions in `GUEST_SESSIONS`, one a line or a JSON list of texts.

    Raises:
        ConfigurationError: One of them is none.
    """
    if config.guest_sessions is None or not config.guests or config.custom_sso:
        return []
    text = config.guest_sessions.reveal()
    try:
        entries = json.loads(text)
    except ValueError:
        entries = [line for line in text.splitlines() if line.strip()]
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise ConfigurationError("GUEST_SESSIONS must be a JSON list of texts")
    try:
        return [parse_guest(entry) for entry in entries]
    except ConfigurationError as exc:
        raise ConfigurationError(f"GUEST_SESSIONS {exc}") from exc


def build_scheduler(
    config: Config,
    store: Store,
    *,
    forget: bool = True,
    unix_time: Callable[[], float] | None = None,
) -> Scheduler:
    """The scheduler that a configuration asks for, with what the store has.

    Args:
        config: The configuration.
        store: Where it is kept.
        forget: Forget accounts that were configured and are not any more.
        unix_time: Unix seconds; by default a clock that nobody sets.

    Raises:
        ConfigurationError: A cookie is none, or a record of the store is damaged.
    """
    return Scheduler(
        build_pool(config),
        store,
        configured=read_configured(config),
        guests=read_configured_guests(config),
        forget=forget,
        unix_time=unix_time,
    )


def build_front(config: Config, models: ModelTable, running: Sized = ()) -> Front:
    """What a configuration makes of requests.

    Args:
        config: The configuration.
        models: The models.
        running: The exchanges under way.
    """
    return Front(
        keys=None if config.custom_sso else config.api_keys,
        models=models,
        settings=config.build_settings(),
        max_body_bytes=config.max_body_bytes,
        running=running,
    )


def build_pictures(config: Config) -> PictureDesk:
    """What a configuration wants done with pictures.

    Raises:
        ConfigurationError: The directory of local pictures cannot be used.
    """
    local = None
    if ImageMode(config.image_mode) is ImageMode.LOCAL:
        directory = config.image_dir or default_path().parent / "pictures"
        store = open_store(
            directory, cap_bytes=config.image_dir_bytes, lifetime=config.image_lifetime
        )
        local = LocalPictures(store)
    return PictureDesk(local, config.public_url)


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
        signals: Heed signals, which only the main thread of a program can. Where it is False, the
            server runs until it is cancelled.
        task_status: Told the same as `announce`.

    Raises:
        ConfigurationError: The directory of local pictures cannot be used.
        OSError: It cannot listen there.
    """
    log = get_logger()
    own = config.custom_sso
    proxy = None if config.proxy is None else config.proxy.reveal()

    def on_error(exc: BaseException) -> None:
        log.error("a request failed by our own fault", exc_info=exc)

    upstream = Upstream(
        UpstreamConfig(proxy=proxy, connect_timeout=config.connect_timeout, apart=own),
        on_error=on_error,
    )
    drives = Drives()
    waiting = Waiting(scheduler, TRIO)
    app = App(
        build_front(config, models, drives),
        drives=drives,
        pool=waiting,
        upstream=upstream,
        pictures=pictures or build_pictures(config),
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
        if config.guests and not own:
            nursery.start_soon(waiting.run_guests, upstream, config.build_settings())
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
