"""The command line. Each command is a file in `commands`, imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from grokproto.errors import ConfigurationError

from .commands.ending import find_exception, stop, stop_at
from .streams import name_streams

_COMMANDS = {
    "conform": "conform.conform_command",
    "convert": "offline.convert_command",
    "credentials": "credentials.credentials_group",
    "doctor": "doctor.doctor_command",
    "parse": "offline.parse_command",
    "replay": "offline.replay_command",
    "serve": "serve.serve_command",
    "simulate": "simulate.simulate_command",
}


class _Commands(click.Group):
    """Commands that end with one sentence and an exit code, and not with a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click gives it
        return list(_COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click gives it
        cmd_name: str,
    ) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        # One at a time: a server at rest need not hold what the others import.
        module, name = _COMMANDS[cmd_name].split(".")
        command: click.Command = getattr(import_module(f".commands.{module}", __package__), name)
        return command

    def main(self, *args: Any, **options: Any) -> Any:
        # Around all of it, since click itself prints too: pages of help, and what was mistyped.
        name_streams()
        try:
            return super().main(*args, **options)
        except OSError as exc:
            stop_at(exc)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigurationError as exc:
            stop(str(exc), 2)
        except BaseExceptionGroup as group:
            wrong = find_exception(group, ConfigurationError)
            if wrong is None:
                raise
            stop(str(wrong), 2)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="grokproto")
def cli() -> None:
    """An OpenAI-compatible API in front of grok.com."""
