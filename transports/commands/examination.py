"""`grokproto doctor`: finding out what is wrong before the user asks.

Each check gives findings; each finding is a sentence, and where something is wrong it says who can
do what about it. Nothing here costs an account a call: accounts are asked for their quotas, and
that only where `--credentials` says so.
"""

from __future__ import annotations

import email.utils
import enum
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import msgspec
import trio

from grokproto.commands import UpstreamRequest
from grokproto.credentials import DEFAULT_QUOTAS
from grokproto.errors import ConfigurationError, RemoteProtocolError
from grokproto.events import RequestFailed
from grokproto.grok.calls import build_rate_limits, read_rate_limits
from grokproto.grok.guests import build_guest_request, read_guest_cookies
from grokproto.grok.refusals import read_refusal
from grokproto.lease import Lease
from grokproto.models import ModelTable
from grokproto.settings import Settings

from ..config import Config, load_config
from ..pool.state_file import MEMORY, StateHeldError
from ..pool.store import Store
from ..server.listening import Listening
from ..upstream.calls import Fetched, Upstream, UpstreamConfig

_TIMEOUT = 15.0
_HERE_TIMEOUT = 2.0
"""For a server on this machine, or near it."""
_MAX_SKEW = 120.0
"""Seconds by which a clock may be off; cookies and signatures carry times."""
_BODY = 64 * 1024


class Level(enum.Enum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@attrs.frozen
class Finding:
    """What one check found."""

    check: str
    level: Level
    sentence: str
    next_step: str | None = None
    """What to do about it."""


def ok(check: str, sentence: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, sentence)


def warning(check: str, sentence: str, next_step: str) -> Finding:
    """Something will not work."""
    return Finding(check, Level.WARNING, sentence, next_step)


def problem(check: str, sentence: str, next_step: str) -> Finding:
    """Nothing will work."""
    return Finding(check, Level.PROBLEM, sentence, next_step)


@attrs.frozen
class Account:
    """An account that there is."""

    lease: Lease
    """One that nobody granted."""
    disabled: str | None = None
    """Why it is disabled, one sentence; None where it is not."""


async def examine(
    environment: Mapping[str, str] | None = None,
    dotenv: Path | None = None,
    *,
    accounts: Callable[[Config], list[Account]],
    with_credentials: bool = False,
) -> AsyncIterator[Finding]:
    """Make all checks, in the order in which one depends on the other.

    Args:
        environment: Instead of the process's.
        dotenv: Instead of `.env` in the working directory.
        accounts: The accounts of a configuration and of its state.
        with_credentials: Ask Grok about each account.
    """
    try:
        config = load_config(environment, dotenv)
        config.read_models()
    except ConfigurationError as exc:
        yield problem("configuration", f"{exc}.", "Mend the value; README has the table.")
        return
    yield ok("configuration", "All values are usable.")
    for finding in _check_quotas(config):
        yield finding
    state = _check_state(config)
    yield state
    if state.level is Level.PROBLEM:
        config = attrs.evolve(config, state=MEMORY)  # type: ignore[misc]
    try:
        found = accounts(config)
    except ConfigurationError as exc:
        yield problem("accounts", f"{exc}.", "Mend the value; README has the table.")
        return
    yield _check_accounts(config, found)
    for account in found:
        if account.disabled is not None:
            yield _tell_disabled(account)
    yield await _check_drift(config)
    async for finding in _check_far_ends(config, found if with_credentials else []):
        yield finding


def _check_quotas(config: Config) -> list[Finding]:
    groups = {model.group for model in config.read_models().values()}
    unknown = sorted(config.quotas.groups.keys() - groups - DEFAULT_QUOTAS.keys())
    return [
        warning(
            "quotas",
            f"QUOTAS has {name}, and no model counts against a group of that name.",
            f"The groups are {', '.join(sorted(groups))}.",
        )
        for name in unknown
    ]


def _check_state(config: Config) -> Finding:
    path = config.state_path
    if config.custom_sso:
        return ok("state", "Where each request brings its own cookie, none is needed.")
    if path == MEMORY:
        return warning(
            "state",
            "STATE is :memory:, so counts and disabled accounts are forgotten at each stop.",
            "Leave STATE away to keep them.",
        )
    try:
        Store(path).close()
    except StateHeldError:
        return ok("state", f"{path} is held by a server that runs now.")
    except ConfigurationError as exc:
        return problem("state", f"{exc}.", "Name another file in STATE, or mend this one.")
    return ok("state", f"{path} can be read and written.")


def _check_accounts(config: Config, accounts: list[Account]) -> Finding:
    if config.custom_sso:
        return ok("accounts", "Each request brings its own cookie (IS_CUSTOM_SSO).")
    if accounts:
        number = len(accounts)
        out = sum(account.disabled is not None for account in accounts)
        sentence = f"There {'is 1 account' if number == 1 else f'are {number} accounts'}"
        if out == number:
            return (warning if config.guests else problem)(
                "accounts",
                f"{sentence}, and none in service.",
                "Add another, or enable one that should work.",
            )
        return ok("accounts", f"{sentence}, {out} of them disabled." if out else f"{sentence}.")
    if config.guests:
        return warning(
            "accounts",
            "There is no account; only grok-2 can be served, with guest sessions.",
            "Set SSO to the sso cookie of an account.",
        )
    return problem("accounts", "There is no account.", "Set SSO to the sso cookie of an account.")


def _tell_disabled(account: Account) -> Finding:
    name = account.lease.credential
    return warning(
        f"account {name}",
        f"It is disabled: {account.disabled}",
        f"Once that is mended: grokproto credentials enable {name}.",
    )


async def _check_drift(config: Config) -> Finding:
    """Ask the server that runs here, if one does, what it has seen in Grok's answers."""
    drift = await _ask_server(config)
    if drift is None:
        return ok("drift", "No server runs here that could tell of changes in Grok's answers.")
    if not drift.names:
        return ok("drift", "The server has seen nothing in Grok's answers that is unknown here.")
    told = [f"{each['name']} ({each['times']} times: {each['shape']})" for each in drift.seen]
    names = ", ".join(told) or f"{drift.names} names, told only to those with a key of its own"
    return warning(
        "drift",
        f"Grok's answers have had what is unknown here: {names}.",
        "Look whether answers are still right, and for a newer version of this.",
    )


async def _ask_server(config: Config) -> _Drift | None:
    """What `GET /health` tells of drift; None where no server of this kind answers."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.host, config.host)  # noqa: S104
    url = f"{Listening(host, config.port).url}/health"
    key = config.api_keys.first
    headers = () if key is None else (("authorization", f"Bearer {key.reveal()}"),)
    upstream = Upstream(UpstreamConfig(connect_timeout=_HERE_TIMEOUT))
    async with trio.open_nursery() as nursery:
        await nursery.start(upstream.run)
        request = UpstreamRequest("GET", url, headers)
        fetched = await upstream.fetch(request, limit=_BODY, timeout=_HERE_TIMEOUT)
        nursery.cancel_scope.cancel()
    if isinstance(fetched, RequestFailed) or fetched.status != 200:
        return None
    try:
        return msgspec.json.decode(fetched.body, type=_Health).drift
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class _Drift(msgspec.Struct):
    names: int = 0
    seen: list[dict[str, Any]] = []  # msgspec gives each its own


class _Health(msgspec.Struct):
    """What is read of the answer; `running` is there if the server is of this kind."""

    running: int
    drift: _Drift = msgspec.field(default_factory=_Drift)


async def _check_far_ends(config: Config, accounts: list[Account]) -> AsyncIterator[Finding]:
    reachable = True
    targets = (
        {"proxy": config.proxy.reveal()}
        if config.proxy is not None
        else {
            "grok": config.grok_base_url,
            "assets": config.grok_assets_url,
        }
    )
    for name, url in targets.items():
        finding = await _check_name(name, url)
        reachable &= finding.level is Level.OK
        yield finding
    if not reachable:
        return
    proxy = None if config.proxy is None else config.proxy.reveal()
    upstream = Upstream(UpstreamConfig(proxy=proxy, connect_timeout=config.connect_timeout))
    findings: list[Finding] = []
    async with trio.open_nursery() as nursery:
        await nursery.start(upstream.run)
        findings += await _check_site(upstream, config, config.build_settings())
        if findings[0].level is not Level.PROBLEM:
            for account in accounts:
                findings.append(
                    await _check_credential(upstream, config.build_settings(), account.lease)
                )
        nursery.cancel_scope.cancel()
    for finding in findings:
        yield finding


async def _check_name(name: str, url: str) -> Finding:
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or {"https": 443, "socks5": 1080, "socks5h": 1080}.get(parts.scheme, 80)
    try:
        with trio.fail_after(_TIMEOUT):
            stream = await trio.open_tcp_stream(host, port)
            await stream.aclose()
    except socket.gaierror:
        return problem(
            name, f"The name {host} cannot be resolved.", "Look at the network and its DNS."
        )
    except (OSError, trio.TooSlowError):
        return problem(
            name,
            f"Nothing answers at {host} port {port}.",
            "Look at the network, a firewall, and PROXY.",
        )
    return ok(name, f"{host} port {port} can be reached.")


async def _check_site(upstream: Upstream, config: Config, settings: Settings) -> list[Finding]:
    fetched = await upstream.fetch(build_guest_request(settings), limit=_BODY, timeout=_TIMEOUT)
    if isinstance(fetched, RequestFailed):
        return [
            problem(
                "site", f"The site cannot be asked ({fetched.reason}).", "Look at TLS and PROXY."
            )
        ]
    findings = [_judge_site(fetched), *_check_clock(fetched)]
    if config.guests and not config.custom_sso and fetched.status == 200:
        if read_guest_cookies(fetched.headers) is None:
            findings.append(
                warning(
                    "guests",
                    "The site gives no guest sessions.",
                    "grok-2 will use your accounts; give guests by GUEST_SESSIONS if you have any.",
                )
            )
        else:
            findings.append(ok("guests", "The site gives guest sessions."))
    return findings


def _judge_site(fetched: Fetched) -> Finding:
    if fetched.status == 200:
        return ok("site", "The site answers, and without a challenge.")
    failure = read_refusal(fetched.status, dict(fetched.headers), fetched.body)
    return warning("site", failure.message, "See the sentence before.")


def _check_clock(fetched: Fetched) -> list[Finding]:
    date = dict(fetched.headers).get("date")
    try:
        theirs = email.utils.parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return []  # a far end without a date says nothing about ours
    skew = time.time() - theirs
    if abs(skew) > _MAX_SKEW:
        return [
            warning(
                "clock",
                f"This machine's clock is {abs(skew):.0f} seconds "
                f"{'ahead of' if skew > 0 else 'behind'} the site's.",
                "Set the clock; windows of quotas are counted by it.",
            )
        ]
    return [ok("clock", "This machine's clock agrees with the site's.")]


async def _check_credential(upstream: Upstream, settings: Settings, lease: Lease) -> Finding:
    name = f"account {lease.credential}"
    model = ModelTable().find("grok-3")
    request = build_rate_limits(settings, lease, "doctor", model)
    fetched = await upstream.fetch(request, limit=_BODY, timeout=_TIMEOUT)
    if isinstance(fetched, RequestFailed):
        return warning(name, f"It could not be asked ({fetched.reason}).", "Try again.")
    if fetched.status != 200:
        failure = read_refusal(fetched.status, dict(fetched.headers), fetched.body)
        return warning(name, failure.message, "See the sentence before.")
    try:
        quota = read_rate_limits(fetched.body)
    except RemoteProtocolError as exc:
        return warning(name, f"Grok answered, but {exc}.", "Look for a newer version of this.")
    hours = quota.window / 3600
    return ok(name, f"It has {quota.remaining} of {quota.total} calls left in {hours:g} hours.")
