"""The command line."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import NoReturn

import click
import trio

from grokproto.errors import ConfigurationError

from .config import DEFAULT_API_KEY, load_config
from .logs import configure_logs
from .serve import serve
from .server import Listening


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="grokproto")
def cli() -> None:
    """An OpenAI-compatible API in front of grok.com."""


@cli.command("serve")
@click.option("--demo", is_flag=True, help="Talk to a simulated Grok: no account, no network.")
@click.option("--host", help="Instead of HOST.")
@click.option("--port", help="Instead of PORT.")
@click.option(
    "--env-file", type=click.Path(path_type=Path), help="Instead of .env in this directory."
)
def serve_command(demo: bool, host: str | None, port: str | None, env_file: Path | None) -> None:
    """Start the server."""
    environment = dict(os.environ)
    environment.update({k: v for k, v in (("HOST", host), ("PORT", port)) if v is not None})
    try:
        config = load_config(environment, env_file)
        configure_logs(config.log_level, config.log_format)

        def announce(listening: Listening) -> None:
            click.echo(f"grokproto listens on {listening.url}/v1")
            if demo:
                click.echo(f"It talks to a simulated Grok. The key is {DEFAULT_API_KEY}.")

        trio.run(lambda: serve(config, demo=demo, announce=announce))
    except ConfigurationError as exc:
        _stop(str(exc), 2)
    except OSError as exc:
        if exc.errno not in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL):
            raise
        _stop(f"cannot listen on {config.host} port {config.port}: {exc.strerror}", 1)


def _stop(sentence: str, code: int) -> NoReturn:
    click.echo(f"grokproto: {sentence}", err=True)
    sys.exit(code)
