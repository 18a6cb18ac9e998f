"""Configuration: every variable, its default and what it must be, in one place.

Read from the environment and from `.env` in the working directory; the environment wins. An empty
value counts as none. A value that cannot be right stops the start with a sentence that names the
variable; the values of secret ones are never in it.
"""

from __future__ import annotations

import io
import ipaddress
import os
import socket
from collections.abc import Mapping
from pathlib import Path

import attrs
import environ
from dotenv import dotenv_values

from grokproto.credentials.quota import Quotas, parse_quotas
from grokproto.errors import ConfigurationError
from grokproto.models import ModelTable, read_models
from grokproto.secret import Secret
from grokproto.settings import (
    DEFAULT_USER_AGENT,
    ImageHost,
    ImageMode,
    LongInput,
    SearchFormat,
    Settings,
    ThinkingFormat,
)

from .keys import DEFAULT_API_KEY, ApiKeys, read_api_keys
from .pool.state_file import MEMORY, default_path
from .text_file import UnreadableError, read_text_file
from .variables import (
    declare,
    read_base_url,
    read_flag,
    read_header_value,
    read_headers,
    read_host,
    read_one_of,
    read_optional_base_url,
    read_path,
    read_proxy,
    read_seconds,
    read_secret_header_value,
    read_some_of,
    read_state,
    read_whole,
)


@environ.config(prefix="", frozen=True)
class Config:
    """Everything that can be configured. Times are in seconds."""

    host: str = declare("HOST", "127.0.0.1", read_host, "Address to listen on")
    port: int = declare("PORT", "3000", read_whole(0, 65535), "Port to listen on")
    api_keys: ApiKeys = declare(
        "API_KEY", DEFAULT_API_KEY, read_api_keys, "Key of the clients; several by commas"
    )
    sso: Secret | None = declare("SSO", None, Secret, "sso cookies of your accounts, by commas")
    custom_sso: bool = declare(
        "IS_CUSTOM_SSO", "false", read_flag, "Each request's key is the sso cookie to use for it"
    )
    temporary: bool = declare("IS_TEMP_CONVERSATION", "false", read_flag, "Ask for private chats")
    guests: bool = declare("IS_TEMP_GROK2", "true", read_flag, "Use guest sessions for grok-2")
    guest_concurrency: int = declare(
        "GROK2_CONCURRENCY_LEVEL", "2", read_whole(1, 100), "Guest sessions, and calls with them"
    )
    tumy_key: Secret | None = declare(
        "TUMY_KEY", None, read_secret_header_value("authorization"), "Key of the image host tu.my"
    )
    picgo_key: Secret | None = declare(
        "PICGO_KEY", None, read_secret_header_value("x-api-key"), "Key of the image host picgo.net"
    )
    show_search_results: bool = declare(
        "ISSHOW_SEARCH_RESULTS", "false", read_flag, "Put search results in front of answers"
    )
    show_thinking: bool = declare("SHOW_THINKING", "true", read_flag, "Show the model's thinking")
    thinking_format: str = declare(
        "THINKING_FORMAT",
        "think",
        read_one_of("think", "reasoning_content", "hidden"),
        "As <think>...</think> in the content, as reasoning_content beside it, or not at all",
    )
    search_results: frozenset[SearchFormat] = declare(
        "SEARCH_RESULTS",
        "",
        read_some_of(SearchFormat),
        "How search results are shown: front, inline, annotations, list; several by commas",
    )
    strict_params: bool = declare(
        "STRICT_PARAMS", "false", read_flag, "Refuse parameters that cannot be heeded"
    )
    image_mode: str = declare(
        "IMAGE_MODE",
        "host",
        read_one_of(*(mode.value for mode in ImageMode)),
        "Where pictures are: data (in the answer), host (tu.my, picgo.net), local, upstream",
    )
    public_url: str = declare(
        "PUBLIC_URL", "", read_optional_base_url, "This server as clients reach it, for pictures"
    )
    image_dir: Path | None = declare(
        "IMAGE_DIR",
        None,
        read_path,
        "Directory of local pictures; by default `pictures` beside STATE, which for `:memory:` "
        "is your state directory",
    )
    image_dir_bytes: int = declare(
        "IMAGE_DIR_BYTES", "268435456", read_whole(1024, 2**40), "The most it may hold"
    )
    image_lifetime: float = declare(
        "IMAGE_LIFETIME",
        "86400",
        read_seconds(1, 31_536_000),
        "How long an address of a local picture is good",
    )
    fetch_images: bool = declare(
        "FETCH_IMAGES", "true", read_flag, "Fetch pictures that requests link to"
    )
    long_input: str = declare(
        "LONG_INPUT",
        "file",
        read_one_of(*(mode.value for mode in LongInput)),
        "A conversation that is too long: older part as file, send it all the same, or refuse",
    )
    long_input_chars: int = declare(
        "LONG_INPUT_CHARS", "40000", read_whole(1, 2**31), "Characters above which it is too long"
    )
    shutdown_grace: float = declare(
        "SHUTDOWN_GRACE", "30", read_seconds(0), "Time that running answers get at a stop"
    )
    grok_base_url: str = declare("GROK_BASE_URL", "https://grok.com", read_base_url, "Grok's API")
    grok_assets_url: str = declare(
        "GROK_ASSETS_URL", "https://assets.grok.com", read_base_url, "Grok's pictures"
    )
    tumy_base_url: str = declare("TUMY_BASE_URL", "https://tu.my", read_base_url, "The host tu.my")
    picgo_base_url: str = declare(
        "PICGO_BASE_URL", "https://www.picgo.net", read_base_url, "The host picgo.net"
    )
    models_file: Path | None = declare(
        "MODELS_FILE", None, read_path, "TOML file with further models and aliases"
    )
    grok_headers: Mapping[str, Secret] = declare(
        "GROK_HEADERS", "{}", read_headers, "Further headers for grok.com, a JSON object"
    )
    cf_clearance: Secret | None = declare(
        "CF_CLEARANCE", None, read_secret_header_value("cookie"), "Cloudflare's cookie for grok.com"
    )
    user_agent: str = declare(
        "USER_AGENT", DEFAULT_USER_AGENT, read_header_value("user-agent"), "User agent for grok.com"
    )
    proxy: Secret | None = declare("PROXY", None, read_proxy, "Proxy for all calls")
    max_attempts: int = declare(
        "MAX_ATTEMPTS", "3", read_whole(1, 20), "Credentials tried for one request"
    )
    acquire_wait: float = declare(
        "ACQUIRE_WAIT", "10", read_seconds(0), "How long to wait for a busy credential"
    )
    quotas: Quotas = declare(
        "QUOTAS",
        "",
        parse_quotas,
        "Calls by group, such as grok-3=20/2h,default=9/1d (the others)",
    )
    rotation: str = declare(
        "ROTATION",
        "balanced",
        read_one_of("balanced", "round-robin", "fill-first"),
        "Which account is next: the fullest, each in turn, or the first that can",
    )
    credential_concurrency: int = declare(
        "CREDENTIAL_CONCURRENCY", "4", read_whole(1, 1000), "Calls in flight with one account"
    )
    guest_sessions: Secret | None = declare(
        "GUEST_SESSIONS", None, Secret, "Guest sessions of your own, a JSON list of cookies"
    )
    state: str = declare(
        "STATE", None, read_state, "File that keeps counts and accounts; `:memory:` keeps nothing"
    )
    quota_probe: bool = declare(
        "QUOTA_PROBE", "true", read_flag, "Ask Grok how many calls an account has left"
    )
    connect_timeout: float = declare(
        "UPSTREAM_CONNECT_TIMEOUT", "10", read_seconds(0.1), "For a connection to Grok"
    )
    first_byte_timeout: float = declare(
        "UPSTREAM_FIRST_BYTE_TIMEOUT", "60", read_seconds(0.1), "For the first word of Grok's"
    )
    idle_timeout: float = declare(
        "UPSTREAM_IDLE_TIMEOUT", "60", read_seconds(0.1), "For the next word of Grok's"
    )
    total_timeout: float = declare(
        "UPSTREAM_TOTAL_TIMEOUT", "3600", read_seconds(0.1), "For a whole answer of Grok's"
    )
    ping_interval: float = declare(
        "PING_INTERVAL", "15", read_seconds(0.1), "Silence after which a stream gets a comment"
    )
    max_line_bytes: int = declare(
        "MAX_LINE_BYTES", "16777216", read_whole(1024, 2**30), "The longest line of Grok's"
    )
    max_answer_bytes: int = declare(
        "MAX_ANSWER_BYTES", "67108864", read_whole(1024, 2**40), "The longest answer of Grok's"
    )
    max_body_bytes: int = declare(
        "MAX_BODY_BYTES", "33554432", read_whole(1024, 2**30), "The longest body of a request"
    )
    header_timeout: float = declare(
        "HEADER_TIMEOUT", "10", read_seconds(0.1), "For the head of a request"
    )
    body_timeout: float = declare(
        "BODY_TIMEOUT", "60", read_seconds(0.1), "For more of the body of a request"
    )
    keepalive_timeout: float = declare(
        "KEEPALIVE_TIMEOUT", "75", read_seconds(0.1), "For the next request of a connection"
    )
    write_timeout: float = declare(
        "WRITE_TIMEOUT", "60", read_seconds(0.1), "For a client to take more of what it is sent"
    )
    max_connections: int = declare(
        "MAX_CONNECTIONS",
        "10000",
        read_whole(1, 1_000_000),
        "Connections of clients, of each worker",
    )
    workers: int = declare(
        "WORKERS", "1", read_whole(1, 64), "Processes that answer requests, with one state"
    )
    log_level: str = declare(
        "LOG_LEVEL", "info", read_one_of("debug", "info", "warning", "error"), "What to log"
    )
    log_format: str = declare(
        "LOG_FORMAT", "auto", read_one_of("auto", "console", "json"), "How to log"
    )

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
        if self.workers > 1 and not hasattr(socket, "SO_REUSEPORT"):
            raise ConfigurationError("WORKERS must be 1 on this system, which cannot share a port")

    @property
    def state_path(self) -> str:
        """Where the state is kept. Where each request brings its own cookie, there is none."""
        return MEMORY if self.custom_sso else self.state or str(default_path())

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
        front = frozenset({SearchFormat.FRONT} if self.show_search_results else ())
        cookies = {} if self.cf_clearance is None else {"cf_clearance": self.cf_clearance}
        return Settings(
            base_url=self.grok_base_url,
            assets_url=self.grok_assets_url,
            user_agent=self.user_agent,
            headers=self.grok_headers,
            cookies=cookies,
            temporary=self.temporary,
            thinking=thinking if self.show_thinking else ThinkingFormat.HIDDEN,
            search=self.search_results | front,
            strict_params=self.strict_params,
            image_mode=ImageMode(self.image_mode),
            fetch_images=self.fetch_images,
            long_input=LongInput(self.long_input),
            long_input_chars=self.long_input_chars,
            image_hosts=tuple(hosts),
            own_cookie=self.custom_sso,
            max_attempts=self.max_attempts,
            acquire_wait=self.acquire_wait,
            quota_probe=self.quota_probe,
            first_byte_timeout=self.first_byte_timeout,
            idle_timeout=self.idle_timeout,
            total_timeout=self.total_timeout,
            ping_interval=self.ping_interval,
            max_line_bytes=self.max_line_bytes,
            max_answer_bytes=self.max_answer_bytes,
        )

    def read_models(self) -> ModelTable:
        """The models, with those of `MODELS_FILE`.

        Raises:
            ConfigurationError: The file cannot be read, or is wrong.
        """
        if self.models_file is None:
            return ModelTable()
        try:
            text = read_text_file(self.models_file)
        except FileNotFoundError:
            raise ConfigurationError(f"MODELS_FILE {self.models_file} is not there") from None
        except UnreadableError as exc:
            raise ConfigurationError(
                f"MODELS_FILE {self.models_file} cannot be read: {exc}"
            ) from None
        try:
            return read_models(text)
        except ConfigurationError as exc:
            raise ConfigurationError(f"MODELS_FILE {self.models_file}: {exc}") from exc
        except RecursionError:
            raise ConfigurationError(
                f"MODELS_FILE {self.models_file}: it is nested too deeply"
            ) from None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load_config(environment: Mapping[str, str] | None = None, dotenv: Path | None = None) -> Config:
    """Read the configuration.

    Args:
        environment: Instead of the process's.
        dotenv: Instead of `.env` in the working directory.

    Raises:
        ConfigurationError: A value cannot be right, or the file cannot be read.
    """
    return build_config(read_variables(environment, dotenv))


def read_variables(
    environment: Mapping[str, str] | None = None, dotenv: Path | None = None
) -> dict[str, str]:
    """The variables that are ours and have a value. See `load_config`.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    found = _read_dotenv(dotenv or Path(".env"), must_exist=dotenv is not None)
    merged = {**found, **(os.environ if environment is None else environment)}
    fields = attrs.fields(Config)  # type: ignore[arg-type]  # the decorator hides that it has some
    ours = {field.metadata["environ_config"].name for field in fields}
    return {name: value for name, value in merged.items() if value and name in ours}


def build_config(variables: Mapping[str, str]) -> Config:
    """What variables say.

    Raises:
        ConfigurationError: A value cannot be right.
    """
    config = environ.to_config(Config, environ=dict(variables))
    config.check()
    return config


def _read_dotenv(path: Path, *, must_exist: bool) -> Mapping[str, str | None]:
    try:
        text = read_text_file(path)
    except FileNotFoundError:
        if not must_exist:
            return {}
        raise ConfigurationError(f"{path} is not there") from None
    except UnreadableError as exc:
        raise ConfigurationError(f"{path}, a file of variables, cannot be read: {exc}") from None
    return dotenv_values(stream=io.StringIO(text), interpolate=False)
