"""The command line."""

from __future__ import annotations

import errno
import json
import os
import random
import socket
import sys
from pathlib import Path
from typing import IO, Any, NoReturn

import attrs
import click
import trio

from grokproto.credentials import Kind, PoolSettings, Rotation, lease_own, parse_quotas
from grokproto.errors import ConfigurationError
from grokproto.models import ModelTable

from . import simulate
from .cli_conform import conform_command
from .cli_credentials import credentials_group, look
from .cli_offline import convert_command, parse_command, replay_command
from .config import Config, build_config, read_variables
from .doctor import Account, Finding, Level, examine
from .keys import DEFAULT_API_KEY
from .logs import configure_logs
from .serve import serve
from .server import Listening
from .workers import WorkerError

_CANNOT_LISTEN = frozenset({errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL})


class _Sentences(click.Group):
    """A group whose commands end with one sentence and an exit code, and not with a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigurationError as exc:
            _stop(str(exc), 2)
        except BaseExceptionGroup as group:
            wrong = _find(group, ConfigurationError)
            if wrong is None:
                raise
            _stop(str(wrong), 2)


def _find(exc: BaseException, kind: type[BaseException]) -> BaseException | None:
    """The first exception of this kind in a group that holds no others."""
    if not isinstance(exc, BaseExceptionGroup):
        return exc if isinstance(exc, kind) else None
    found = [_find(each, kind) for each in exc.exceptions]
    return found[0] if all(found) else None


def _stop(sentence: str, code: int) -> NoReturn:
    click.echo(f"grokproto: {sentence}", err=True)
    sys.exit(code)


_env_file = click.option(
    "--env-file", type=click.Path(path_type=Path), help="Instead of .env in this directory."
)


@click.group(cls=_Sentences, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="grokproto")
def cli() -> None:
    """An OpenAI-compatible API in front of grok.com."""


cli.add_command(conform_command)
cli.add_command(credentials_group)
cli.add_command(parse_command)
cli.add_command(convert_command)
cli.add_command(replay_command)


@cli.command("serve")
@click.option("--demo", is_flag=True, help="Talk to a simulated Grok: no account, no network.")
@click.option("--host", help="Instead of HOST.")
@click.option("--port", help="Instead of PORT.")
@click.option("--workers", help="Instead of WORKERS.")
@click.option(
    "--record",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep a transcript of each exchange in this directory, with filler for the text.",
)
@click.option("--keep-text", is_flag=True, help="With --record: keep the text too.")
@_env_file
def serve_command(
    demo: bool,
    host: str | None,
    port: str | None,
    workers: str | None,
    record: Path | None,
    keep_text: bool,
    env_file: Path | None,
) -> None:
    """Start the server."""
    if keep_text and record is None:
        raise ConfigurationError("--keep-text is about transcripts, and there is no --record")
    options = {"HOST": host, "PORT": port, "WORKERS": workers}
    given = {name: value for name, value in options.items() if value is not None}
    variables = read_variables({**os.environ, **given}, env_file)
    config = build_config(variables)
    configure_logs(config.log_level, config.log_format)

    def announce(listening: Listening) -> None:
        click.echo(f"grokproto listens on {listening.url}/v1")
        if demo:
            key = (
                f"the key is {DEFAULT_API_KEY}" if config.api_keys.is_default else "it wants a key"
            )
            click.echo(f"It talks to a simulated Grok; {key}.")

    try:
        trio.run(
            lambda: serve(
                config,
                variables,
                demo=demo,
                record=record,
                keep_text=keep_text,
                announce=announce,
            )
        )
    except (OSError, WorkerError, BaseExceptionGroup) as exc:
        failed = _find(exc, WorkerError)
        if failed is not None:
            _stop(str(failed), 1)
        found = _find(exc, OSError)
        if not isinstance(found, socket.gaierror) and (
            not isinstance(found, OSError) or found.errno not in _CANNOT_LISTEN
        ):
            raise
        _stop(f"cannot listen on {config.host} port {config.port}: {found.strerror}", 1)


@cli.command("doctor")
@click.option("--credentials", is_flag=True, help="Ask Grok about each account too.")
@click.option("--json", "as_json", is_flag=True, help="One object a line.")
@_env_file
def doctor_command(credentials: bool, as_json: bool, env_file: Path | None) -> None:
    """Find out what is wrong. Exit code 1 where something is."""
    marks = {Level.OK: "ok      ", Level.WARNING: "warning ", Level.PROBLEM: "PROBLEM "}

    def show(finding: Finding) -> None:
        if as_json:
            fields = attrs.asdict(finding)
            click.echo(json.dumps({**fields, "level": finding.level.value}))
        else:
            step = f" {finding.next_step}" if finding.next_step else ""
            click.echo(f"{marks[finding.level]}{finding.check}: {finding.sentence}{step}")

    async def run() -> bool:
        well = True
        async for finding in examine(
            None,
            env_file,
            accounts=_find_accounts,
            with_credentials=credentials,
        ):
            show(finding)
            well &= finding.level is Level.OK
        return well

    sys.exit(0 if trio.run(run) else 1)


def _find_accounts(config: Config) -> list[Account]:
    with look(config) as scheduler:
        return [
            Account(
                attrs.evolve(lease_own(record.cookies, "grok-3"), credential=record.name),
                None if record.disabled is None else record.disabled.reason,
            )
            for record in scheduler.pool.snapshot()
            if record.kind is Kind.ACCOUNT
        ]


@cli.command("simulate")
@click.option("--accounts", default=3, show_default=True, help="How many there are.")
@click.option("--rate", default=60.0, show_default=True, help="Requests an hour.")
@click.option("--hours", default=24.0, show_default=True, help="How long.")
@click.option("--log", type=click.File("r"), help="An access log, instead of a rate.")
@click.option("--model", default="grok-3", show_default=True, help="What is asked for.")
@click.option("--quotas", help="As QUOTAS has them.")
@click.option("--rotation", type=click.Choice([r.value for r in Rotation]), default="balanced")
@click.option("--concurrency", default=4, show_default=True, help="Calls at once with an account.")
@click.option("--call-seconds", default=8.0, show_default=True, help="How long a call takes.")
@click.option("--wait", default=10.0, show_default=True, help="How long a request waits.")
@click.option("--seed", default=1, show_default=True, help="Makes chance repeatable.")
@click.option("--json", "as_json", is_flag=True)
def simulate_command(
    accounts: int,
    rate: float,
    hours: float,
    log: IO[str] | None,
    model: str,
    quotas: str | None,
    rotation: str,
    concurrency: int,
    call_seconds: float,
    wait: float,
    seed: int,
    as_json: bool,
) -> None:
    """Would so many accounts do? The pool alone, in virtual time."""
    models = ModelTable()
    if model not in models:
        raise ConfigurationError(f"--model {model!r} is no model")
    if min(accounts, concurrency) < 1 or min(rate, hours) <= 0 or min(call_seconds, wait) < 0:
        raise ConfigurationError("--accounts, --rate, --hours and --concurrency must be above 0")
    chance = random.Random(seed)  # noqa: S311 - a simulation, not a secret
    group = models[model].group
    settings = PoolSettings(
        rotation=Rotation(rotation),
        concurrency=concurrency,
        quotas=parse_quotas(quotas or ""),
    )
    arrivals = (
        simulate.arrive_at_rate(rate, hours, group, chance)
        if log is None
        else simulate.arrive_as_logged(log, group, models)
    )
    report = simulate.run(
        arrivals,
        accounts=accounts,
        settings=settings,
        call_seconds=call_seconds,
        wait=wait,
        chance=chance,
    )
    if as_json:
        click.echo(json.dumps({**attrs.asdict(report), "fairness": report.fairness}))
    else:
        click.echo(simulate.tell(report))
