"""Configuration: every variable, its default and what it must be, in one place.

Read from the environment and from `.env` in the working directory; the environment wins. An empty
value counts as none. A value that cannot be right stops the start with a sentence that names the
variable; the values of secret ones are never in it.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import attrs
import environ
from dotenv import dotenv_values

from grokproto.credentials.quota import Quotas, parse_quotas
from grokproto.errors import ConfigurationError
from grokproto.grok.headers import check_header
from grokproto.models import ModelTable, read_models
from grokproto.secret import Secret
from grokproto.settings import DEFAULT_USER_AGENT, ImageHost, Settings, ThinkingFormat

from .store import MEMORY, default_path

T = TypeVar("T")

DEFAULT_API_KEY = "sk-123456789"


class _BadValueError(ValueError):
    """A value cannot be right; the text says what it must be."""


def _var(name: str, default: str | None, convert: Callable[[str], T], help_: str) -> T | Any:
    """Declare a variable. A default is written as a user would write it."""

    def named(value: Any) -> Any:
        if not isinstance(value, str):
            return value  # no default, or converted before (`attrs.evolve`)
        try:
            return convert(value)
        except (_BadValueError, ConfigurationError) as exc:
            raise ConfigurationError(f"{name} {exc}") from None

    return environ.var(default, converter=named, name=name, help=help_)


def _flag(text: str) -> bool:
    match text.strip().lower():
        case "1" | "true" | "yes" | "on":
            return True
        case "0" | "false" | "no" | "off":
            return False
    raise _BadValueError("must be true or false")


def _whole(least: int, most: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise _BadValueError(f"must be a whole number from {least} to {most}") from None
        if not least <= value <= most:
            raise _BadValueError(f"must be a whole number from {least} to {most}")
        return value

    return convert


def _seconds(least: float, most: float = 86400.0) -> Callable[[str], float]:
    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not least <= value <= most:
            raise _BadValueError(f"must be a number of seconds from {least:g} to {most:g}")
        return value

    return convert


def _one_of(*choices: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        value = text.strip().lower()
        if value not in choices:
            raise _BadValueError(f"must be one of {', '.join(choices)}")
        return value

    return convert


def _base_url(text: str) -> str:
    url = text.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or parts.username or not url.isprintable():
        raise _BadValueError("must be an address such as https://grok.com")
    return url


def _proxy(text: str) -> Secret:
    address = text.strip()
    try:
        parts = urlsplit(address)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.scheme not in ("http", "https", "socks5", "socks5h"):
        raise _BadValueError(
            "must be an http, https, socks5 or socks5h address such as http://127.0.0.1:8080"
        )
    return Secret(address)


def _header_value(name: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        try:
            check_header(name, text.strip())
        except ConfigurationError:
            raise _BadValueError("has characters that no header may have") from None
        return text.strip()

    return convert


def _secret_header_value(name: str) -> Callable[[str], Secret]:
    check = _header_value(name)
    return lambda text: Secret(check(text))


def _headers(text: str) -> Mapping[str, Secret]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or not all(isinstance(v, str) for v in fields.values()):
        raise _BadValueError('must be a JSON object of texts, such as {"x-statsig-id": "..."}')
    for name, value in fields.items():
        check_header(name, value)
        if name.lower() in ("cookie", "host", "content-length", "transfer-encoding"):
            raise _BadValueError(f"must not hold {name}: it is set for each call")
    return {name.lower(): Secret(value) for name, value in fields.items()}


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _state(text: str) -> str:
    return text if text == MEMORY else str(Path(text).expanduser())


@attrs.frozen
class ApiKeys:
    """The keys that clients may use. One may be given as `sha256:` and its hex digest."""

    _digests: frozenset[bytes] = attrs.field(repr=False)
    first: Secret | None = None
    """The first that is given as itself, for our own calls to a server that runs."""

    def accept(self, key: str) -> bool:
        """Whether `key` is one of them, in a time that does not depend on how near it is."""
        digest = hashlib.sha256(key.encode()).digest()
        found = False
        for known in self._digests:
            found |= hmac.compare_digest(known, digest)
        return found

    @property
    def is_default(self) -> bool:
        """Whether the key that everybody knows is among them."""
        return self.accept(DEFAULT_API_KEY)


def _api_keys(text: str) -> ApiKeys:
    digests: set[bytes] = set()
    plain: list[Secret] = []
    for key in (part.strip() for part in text.split(",")):
        if key.startswith("sha256:"):
            try:
                digest = bytes.fromhex(key.removeprefix("sha256:"))
            except ValueError:
                digest = b""
            if len(digest) != hashlib.sha256().digest_size:
                raise _BadValueError("has a sha256: entry that is not 64 hex digits")
            digests.add(digest)
        elif key:
            if not key.isascii() or not key.isprintable() or " " in key:
                raise _BadValueError("has a key with characters that no header may have")
            digests.add(hashlib.sha256(key.encode()).digest())
            plain.append(Secret(key))
    if not digests:
        raise _BadValueError("must hold at least one key")
    return ApiKeys(frozenset(digests), plain[0] if plain else None)


@environ.config(prefix="", frozen=True)
class Config:
    """Everything that can be configured. Times are in seconds."""

    host: str = _var("HOST", "127.0.0.1", str.strip, "Address to listen on")
    port: int = _var("PORT", "3000", _whole(0, 65535), "Port to listen on")
    api_keys: ApiKeys = _var(
        "API_KEY", DEFAULT_API_KEY, _api_keys, "Key of the clients; several by commas"
    )
    sso: Secret | None = _var("SSO", None, Secret, "sso cookies of your accounts, by commas")
    custom_sso: bool = _var(
        "IS_CUSTOM_SSO", "false", _flag, "Each request's key is the sso cookie to use for it"
    )
    temporary: bool = _var("IS_TEMP_CONVERSATION", "false", _flag, "Ask for private chats")
    guests: bool = _var("IS_TEMP_GROK2", "true", _flag, "Use guest sessions for grok-2")
    guest_concurrency: int = _var(
        "GROK2_CONCURRENCY_LEVEL", "2", _whole(1, 100), "Guest sessions, and calls with them"
    )
    tumy_key: Secret | None = _var(
        "TUMY_KEY", None, _secret_header_value("authorization"), "Key of the image host tu.my"
    )
    picgo_key: Secret | None = _var(
        "PICGO_KEY", None, _secret_header_value("x-api-key"), "Key of the image host picgo.net"
    )
    show_search_results: bool = _var(
        "ISSHOW_SEARCH_RESULTS", "false", _flag, "Put search results in front of answers"
    )
    show_thinking: bool = _var("SHOW_THINKING", "true", _flag, "Show the model's thinking")
    thinking_format: str = _var(
        "THINKING_FORMAT",
        "think",
        _one_of("think", "reasoning_content"),
        "As <think>...</think> in the content, or as reasoning_content beside it",
    )
    shutdown_grace: float = _var(
        "SHUTDOWN_GRACE", "30", _seconds(0), "Time that running answers get at a stop"
    )
    grok_base_url: str = _var("GROK_BASE_URL", "https://grok.com", _base_url, "Grok's API")
    grok_assets_url: str = _var(
        "GROK_ASSETS_URL", "https://assets.grok.com", _base_url, "Grok's pictures"
    )
    tumy_base_url: str = _var("TUMY_BASE_URL", "https://tu.my", _base_url, "The host tu.my")
    picgo_base_url: str = _var(
        "PICGO_BASE_URL", "https://www.picgo.net", _base_url, "The host picgo.net"
    )
    models_file: Path | None = _var(
        "MODELS_FILE", None, _path, "TOML file with further models and aliases"
    )
    grok_headers: Mapping[str, Secret] = _var(
        "GROK_HEADERS", "{}", _headers, "Further headers for grok.com, a JSON object"
    )
    cf_clearance: Secret | None = _var(
        "CF_CLEARANCE", None, _secret_header_value("cookie"), "Cloudflare's cookie for grok.com"
    )
    user_agent: str = _var(
        "USER_AGENT", DEFAULT_USER_AGENT, _header_value("user-agent"), "User agent for grok.com"
    )
    proxy: Secret | None = _var("PROXY", None, _proxy, "Proxy for all calls")
    max_attempts: int = _var(
        "MAX_ATTEMPTS", "3", _whole(1, 20), "Credentials tried for one request"
    )
    acquire_wait: float = _var(
        "ACQUIRE_WAIT", "10", _seconds(0), "How long to wait for a busy credential"
    )
    quotas: Quotas = _var(
        "QUOTAS", "", parse_quotas, "Calls by group, such as grok-3=20/2h,default=10/24h"
    )
    rotation: str = _var(
        "ROTATION",
        "balanced",
        _one_of("balanced", "round-robin", "fill-first"),
        "Which account is next: the fullest, each in turn, or the first that can",
    )
    credential_concurrency: int = _var(
        "CREDENTIAL_CONCURRENCY", "4", _whole(1, 1000), "Calls in flight with one account"
    )
    guest_sessions: Secret | None = _var(
        "GUEST_SESSIONS", None, Secret, "Guest sessions of your own, a JSON list of cookies"
    )
    state: str = _var(
        "STATE", None, _state, "File that keeps counts and accounts; `:memory:` keeps nothing"
    )
    quota_probe: bool = _var(
        "QUOTA_PROBE", "true", _flag, "Ask Grok how many calls an account has left"
    )
    connect_timeout: float = _var(
        "UPSTREAM_CONNECT_TIMEOUT", "10", _seconds(0.1), "For a connection to Grok"
    )
    first_byte_timeout: float = _var(
        "UPSTREAM_FIRST_BYTE_TIMEOUT", "60", _seconds(0.1), "For the first word of Grok's"
    )
    idle_timeout: float = _var(
        "UPSTREAM_IDLE_TIMEOUT", "60", _seconds(0.1), "For the next word of Grok's"
    )
    ping_interval: float = _var(
        "PING_INTERVAL", "15", _seconds(0.1), "Silence after which a stream gets a comment"
    )
    max_line_bytes: int = _var(
        "MAX_LINE_BYTES", "16777216", _whole(1024, 2**30), "The longest line of Grok's"
    )
    max_body_bytes: int = _var(
        "MAX_BODY_BYTES", "33554432", _whole(1024, 2**30), "The longest body of a request"
    )
    header_timeout: float = _var("HEADER_TIMEOUT", "10", _seconds(0.1), "For the head of a request")
    body_timeout: float = _var(
        "BODY_TIMEOUT", "60", _seconds(0.1), "For more of the body of a request"
    )
    keepalive_timeout: float = _var(
        "KEEPALIVE_TIMEOUT", "75", _seconds(0.1), "For the next request of a connection"
    )
    write_timeout: float = _var(
        "WRITE_TIMEOUT", "60", _seconds(0.1), "For a client to take what it is sent"
    )
    max_connections: int = _var(
        "MAX_CONNECTIONS", "10000", _whole(1, 1_000_000), "Connections of clients"
    )
    log_level: str = _var(
        "LOG_LEVEL", "info", _one_of("debug", "info", "warning", "error"), "What to log"
    )
    log_format: str = _var("LOG_FORMAT", "auto", _one_of("auto", "console", "json"), "How to log")

    def check(self) -> None:
        """See to it that the values go together.

        Raises:
            ConfigurationError: They do not.
        """
        if self.api_keys.is_default and not self.custom_sso and not is_loopback(self.host):
            raise ConfigurationError(
                f"HOST is {self.host}, which others can reach, and API_KEY is the default that "
                "everybody knows; set API_KEY to a key of your own"
            )

    @property
    def state_path(self) -> str:
        """Where the state is kept."""
        return self.state or str(default_path())

    def build_settings(self) -> Settings:
        """What the exchanges want to know."""
        thinking = ThinkingFormat(self.thinking_format)
        hosts = [
            ImageHost(kind, url, key)
            for kind, url, key in (
                ("tumy", self.tumy_base_url, self.tumy_key),
                ("picgo", self.picgo_base_url, self.picgo_key),
            )
            if key is not None
        ]
        cookies = {} if self.cf_clearance is None else {"cf_clearance": self.cf_clearance}
        return Settings(
            base_url=self.grok_base_url,
            assets_url=self.grok_assets_url,
            user_agent=self.user_agent,
            headers=self.grok_headers,
            cookies=cookies,
            temporary=self.temporary,
            thinking=thinking if self.show_thinking else ThinkingFormat.HIDDEN,
            show_search_results=self.show_search_results,
            image_hosts=tuple(hosts),
            own_cookie=self.custom_sso,
            max_attempts=self.max_attempts,
            acquire_wait=self.acquire_wait,
            quota_probe=self.quota_probe,
            first_byte_timeout=self.first_byte_timeout,
            idle_timeout=self.idle_timeout,
            ping_interval=self.ping_interval,
            max_line_bytes=self.max_line_bytes,
        )

    def read_models(self) -> ModelTable:
        """The models, with those of `MODELS_FILE`.

        Raises:
            ConfigurationError: The file cannot be read, or is wrong.
        """
        if self.models_file is None:
            return ModelTable()
        try:
            text = self.models_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            reason = getattr(exc, "strerror", None) or "it is not UTF-8"
            raise ConfigurationError(
                f"MODELS_FILE {self.models_file} cannot be read: {reason}"
            ) from exc
        try:
            return read_models(text)
        except ConfigurationError as exc:
            raise ConfigurationError(f"MODELS_FILE {self.models_file}: {exc}") from exc


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def load_config(environment: Mapping[str, str] | None = None, dotenv: Path | None = None) -> Config:
    """Read the configuration.

    Args:
        environment: Instead of the process's.
        dotenv: Instead of `.env` in the working directory.

    Raises:
        ConfigurationError: A value cannot be right.
    """
    found = dotenv_values(dotenv or Path(".env"), interpolate=False)
    merged = {**found, **(os.environ if environment is None else environment)}
    present = {name: value for name, value in merged.items() if value}
    config = environ.to_config(Config, environ=present)
    config.check()
    return config
