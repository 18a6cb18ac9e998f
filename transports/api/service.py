"""What hosts serve with: the parts that a configuration asks for, or somebody put together."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sized
from pathlib import Path

import attrs

from grokproto.answer import Unknown
from grokproto.commands import Branch
from grokproto.credentials import (
    CredentialPool,
    GuestSettings,
    PoolSettings,
    Rotation,
    parse_guest,
    read_accounts,
)
from grokproto.errors import ConfigurationError
from grokproto.exchange import Exchange
from grokproto.models import ModelTable
from grokproto.secret import Secret
from grokproto.settings import ImageMode, Settings

from ..config import Config
from ..keys import Keys
from ..logs import get_logger
from ..loops import Loop
from ..pictures.desk import PictureDesk
from ..pictures.store import LocalPictures, PictureStore, open_store
from ..pool.scheduler import Scheduler
from ..pool.state_file import MEMORY, default_path
from ..pool.store import SERVING_PATIENCE, Store
from ..upstream.calls import UpstreamConfig
from .routes import Front

MAX_BODY_BYTES = 32 * 1024 * 1024


@attrs.frozen(kw_only=True)
class Service:
    """Everything that is decided beforehand, but for the accounts. Times are in seconds."""

    keys: Keys | None
    """Which keys are good; None where each request's key is the cookie it is made with."""
    settings: Settings = attrs.field(factory=Settings)
    models: ModelTable = attrs.field(factory=ModelTable)
    make_exchange: Callable[..., Branch] = Exchange
    """Makes exchanges, or something in their place that watches them."""
    upstream: UpstreamConfig = attrs.field(factory=UpstreamConfig)
    fetches_guests: bool = False
    """Guest sessions are fetched when the pool wants some."""
    pictures: PictureStore | None = None
    """Where pictures are kept; None where none are."""
    public_url: str = ""
    """This host as clients reach it, for pictures; empty where their requests tell."""
    max_body_bytes: int = MAX_BODY_BYTES
    """The longest body of a request."""
    body_timeout: float = 60.0
    """For more of a body, where the host sees to it itself."""
    write_timeout: float = 60.0
    """For a client to take more of a response, where the host sees to it itself."""

    def build_front(self, running: Sized) -> Front:
        """What decides about requests.

        Args:
            running: The exchanges under way.
        """
        return Front(
            keys=self.keys,
            models=self.models,
            settings=self.settings,
            max_body_bytes=self.max_body_bytes,
            running=running,
            make_exchange=self.make_exchange,
            on_drift=_tell_drift,
        )

    def build_desk(self, loop: Loop) -> PictureDesk:
        """What is done with pictures, in tasks of an event loop."""
        local = None if self.pictures is None else LocalPictures(self.pictures, loop)
        return PictureDesk(local, self.public_url, loop=loop)


def _tell_drift(unknown: Unknown) -> None:
    """Say in the log that Grok's API may have changed."""
    get_logger().warning("unknown name in an answer", name=unknown.name, shape=unknown.shape)


def open_pictures(config: Config) -> PictureStore | None:
    """Where pictures are kept, if they are.

    Raises:
        ConfigurationError: The directory cannot be used.
    """
    if ImageMode(config.image_mode) is not ImageMode.LOCAL:
        return None
    return open_store(
        (config.image_dir or _place_pictures(config)).absolute(),  # programs may change directory
        cap_bytes=config.image_dir_bytes,
        lifetime=config.image_lifetime,
    )


def _place_pictures(config: Config) -> Path:
    """Where they are unless somebody says otherwise: beside the state. One in memory has no place;
    an address that was given out is good for longer than that, so pictures are where they are by
    default."""
    on_disk = config.state is not None and config.state != MEMORY
    return Path(config.state if on_disk else default_path()).parent / "pictures"


def build_service(config: Config, pictures: PictureStore | None = None) -> Service:
    """What a configuration asks for.

    Args:
        config: The configuration.
        pictures: Where pictures are kept; see `open_pictures`.

    Raises:
        ConfigurationError: A file that it names cannot be used.
    """
    return Service(
        keys=None if config.custom_sso else config.api_keys,
        settings=config.build_settings(),
        models=config.read_models(),
        upstream=UpstreamConfig(
            proxy=None if config.proxy is None else config.proxy.reveal(),
            connect_timeout=config.connect_timeout,
            apart=config.custom_sso,
        ),
        fetches_guests=config.guests and not config.custom_sso,
        pictures=pictures,
        public_url=config.public_url,
        max_body_bytes=config.max_body_bytes,
        body_timeout=config.body_timeout,
        write_timeout=config.write_timeout,
    )


def check_key(config: Config) -> None:
    """See to it that the key is not the one that everybody knows: somebody else listens, and we
    do not know to whom.

    Raises:
        ConfigurationError: It is.
    """
    if config.api_keys.is_default and not config.custom_sso:
        raise ConfigurationError(
            "API_KEY is the default that everybody knows, and others may reach this application; "
            "set API_KEY to a key of your own"
        )


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
    except (ValueError, RecursionError):
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


@contextlib.contextmanager
def open_scheduler(config: Config) -> Iterator[Scheduler]:
    """The same with its state, which is held until the block is left.

    Raises:
        ConfigurationError: The state cannot be used, or is held by another, or a cookie is none.
    """
    on_error = get_logger().error
    with Store(config.state_path, on_error=on_error, patience=SERVING_PATIENCE) as store:
        scheduler = build_scheduler(config, store)
        try:
            yield scheduler
        finally:
            scheduler.write_rest()
