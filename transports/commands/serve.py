"""`grokproto serve`: the server, from the command line."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import click
import trio

from grokproto.errors import ConfigurationError

from ..config import build_config, read_variables
from ..keys import DEFAULT_API_KEY
from ..logs import configure_logs
from ..server.listening import Listening
from ..standalone.process import settle
from ..standalone.serve import serve
from ..standalone.serving import WorkerError
from ..streams import guard_streams
from .ending import env_file_option, find_exception, stop

_CANNOT_LISTEN = frozenset({errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL})


@click.command("serve")
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
@env_file_option
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
    guard_streams()
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

    settle()
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
        failed = find_exception(exc, WorkerError)
        if failed is not None:
            stop(str(failed), 1)
        found = find_exception(exc, OSError)
        if not isinstance(found, socket.gaierror) and (
            not isinstance(found, OSError) or found.errno not in _CANNOT_LISTEN
        ):
            raise
        stop(f"cannot listen on {config.host} port {config.port}: {found.strerror}", 1)
