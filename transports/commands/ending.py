"""How commands end when something is wrong: with a sentence and an exit code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, AnyStr, NoReturn

import click

from grokproto.errors import ConfigurationError

from ..streams import give_up, give_up_output

env_file_option = click.option(
    "--env-file", type=click.Path(path_type=Path), help="Instead of .env in this directory."
)

_MAX_INPUT = 256 << 20
"""Bytes or characters; answers and requests have some megabytes, and devices may have no end."""


def stop(sentence: str, code: int) -> NoReturn:
    """End the program; say why, if anybody can hear it."""
    try:
        click.echo(f"grokproto: {sentence}", err=True)
    except OSError:
        give_up(sys.stderr)
    sys.exit(code)


def stop_at(exc: OSError) -> NoReturn:
    """End the program, which the system has refused something."""
    give_up_output()
    named = "" if exc.filename is None else f"{exc.filename}: "
    stop(f"{named}{exc.strerror or exc}", 1)


def read_input(file: IO[AnyStr]) -> AnyStr:
    """All of a file that was named to a command.

    Raises:
        ConfigurationError: It cannot be read, or has no end in sight.
    """
    try:
        data = file.read(_MAX_INPUT + 1)
    except UnicodeDecodeError as exc:
        raise ConfigurationError(f"{file.name} is not UTF-8") from exc
    except OSError as exc:
        if exc.filename is not None:
            raise
        raise ConfigurationError(f"{file.name} cannot be read: {exc.strerror}") from exc
    if len(data) > _MAX_INPUT:
        raise ConfigurationError(f"{file.name} is larger than {_MAX_INPUT >> 20} MiB")
    return data


def find_exception(exc: BaseException, kind: type[BaseException]) -> BaseException | None:
    """The first exception of this kind: this one, or one of a group that holds no others."""
    if not isinstance(exc, BaseExceptionGroup):
        return exc if isinstance(exc, kind) else None
    found = [find_exception(each, kind) for each in exc.exceptions]
    return found[0] if all(found) else None
