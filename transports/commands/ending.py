"""How commands end when something is wrong: with a sentence and an exit code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click

env_file_option = click.option(
    "--env-file", type=click.Path(path_type=Path), help="Instead of .env in this directory."
)


def stop(sentence: str, code: int) -> NoReturn:
    """End the program; say why."""
    click.echo(f"grokproto: {sentence}", err=True)
    sys.exit(code)


def find_exception(exc: BaseException, kind: type[BaseException]) -> BaseException | None:
    """The first exception of this kind: this one, or one of a group that holds no others."""
    if not isinstance(exc, BaseExceptionGroup):
        return exc if isinstance(exc, kind) else None
    found = [find_exception(each, kind) for each in exc.exceptions]
    return found[0] if all(found) else None
