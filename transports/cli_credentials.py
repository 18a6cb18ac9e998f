"""`grokproto credentials`: the accounts, seen and changed from the command line.

Where no server runs, the state is changed itself. Where one does, it holds the state and is asked
to change it, with the API key; looking needs neither.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import click

from grokproto.credentials import CredentialRecord, Kind, read_accounts
from grokproto.errors import ConfigurationError, InvalidRequestError

from . import admin
from .config import Config, load_config
from .scheduler import Scheduler
from .serve import build_pool, build_scheduler
from .store import MEMORY, StateHeldError, Store, read_records

_TIMEOUT = 10.0


@click.group("credentials")
@click.option(
    "--env-file", type=click.Path(path_type=Path), help="Instead of .env in this directory."
)
@click.pass_context
def credentials_group(context: click.Context, env_file: Path | None) -> None:
    """See and change the accounts."""
    config = load_config(None, env_file)
    if config.custom_sso:
        raise ConfigurationError(
            "IS_CUSTOM_SSO is true: each request brings its own cookie, and there are no others"
        )
    context.obj = config


@credentials_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="As GET /get/tokens gives it.")
@click.pass_obj
def list_command(config: Config, as_json: bool) -> None:
    """Show the accounts: how they are, and why."""
    with _look(config) as scheduler:
        groups = {model.group for model in config.read_models().values()}
        if as_json:
            click.echo(json.dumps(admin.list_credentials(scheduler, groups), indent=2))
            return
        for status in scheduler.pool.status(scheduler.unix_now):
            used = ", ".join(f"{g.group} {g.remaining}/{g.total}" for g in status.groups)
            reason = f": {status.reason}" if status.reason else ""
            click.echo(f"{status.name}  {status.state.value}{reason}  {used}".rstrip())


@credentials_group.command("add")
@click.pass_obj
def add_command(config: Config) -> None:
    """Add an account; its sso cookie is read from standard input."""
    sso = _read_secret()
    _change(config, "/add/token", sso, lambda each: admin.add_credential(each, sso))


@credentials_group.command("remove")
@click.argument("name")
@click.pass_obj
def remove_command(config: Config, name: str) -> None:
    """Forget an account, by its fingerprint."""
    _change(config, "/delete/token", name, lambda each: admin.remove_credential(each, name))


@credentials_group.command("enable")
@click.argument("name")
@click.pass_obj
def enable_command(config: Config, name: str) -> None:
    """Put a disabled account in service again, by its fingerprint."""
    _change(config, "/enable/token", name, lambda each: admin.enable_credential(each, name))


@credentials_group.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8-sig"))
@click.pass_obj
def import_command(config: Config, file: IO[str]) -> None:
    """Add all accounts of a file (`-` for standard input).

    A plain list, an SSO= line, JSON and JSON lines of the common tools are understood.
    """
    found = read_accounts(file.read())
    for problem in found.problems:
        click.echo(f"grokproto: {problem}", err=True)
    added = 0
    for cookies in found.accounts:
        sso = cookies["sso"].reveal()
        add = functools.partial(admin.add_credential, sso=sso)
        added += bool(_try_change(config, "/add/token", sso, add)["added"])
    known = len(found.accounts) - added
    click.echo(
        f"Added {added}; {known} were here before, {found.duplicates} came twice, "
        f"{len(found.problems)} could not be read."
    )
    if found.problems:
        sys.exit(1)


@credentials_group.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.pass_obj
def export_command(config: Config, file: Path) -> None:
    """Write the cookies of all accounts to a file (`-` for standard output), one a line.

    A file is made readable for its owner only.
    """
    lines = "".join(
        f"{record.cookies['sso'].reveal()}\n"
        for record in _read_state(config)
        if record.kind is Kind.ACCOUNT
    )
    if str(file) == "-":
        click.echo(lines, nl=False)
        return
    try:
        file.touch(mode=0o600)
        file.chmod(0o600)
        file.write_text(lines, encoding="ascii")
    except OSError as exc:
        raise ConfigurationError(f"{file} cannot be written: {exc.strerror}") from exc
    click.echo(f"Wrote {lines.count(chr(10))} cookies to {file}.")


# The state, held or not


@contextlib.contextmanager
def _look(config: Config) -> Iterator[Scheduler]:
    """What is known of the accounts, for looking only."""
    try:
        with Store(config.state_path) as store:
            yield build_scheduler(config, store, forget=False)
    except StateHeldError:
        with Store(MEMORY) as copy:
            copy.save(dict(read_records(Path(config.state_path))))
            yield Scheduler(build_pool(config), copy, forget=False)


def _read_state(config: Config) -> Iterable[CredentialRecord]:
    with _look(config) as scheduler:
        return scheduler.pool.snapshot()


def _change(
    config: Config, path: str, named: str, work: Callable[[Scheduler], dict[str, Any]]
) -> None:
    answer = _try_change(config, path, named, work)
    done = [key for key, value in answer.items() if value is True]
    what = done[0] if done else "was here before"
    click.echo(f"{answer['credential']} {what}")


def _try_change(
    config: Config, path: str, named: str, work: Callable[[Scheduler], dict[str, Any]]
) -> dict[str, Any]:
    """Change the state, or ask the server that holds it to."""
    try:
        with Store(config.state_path) as store:
            return work(build_scheduler(config, store, forget=False))
    except StateHeldError:
        return _ask_server(config, path, named)
    except InvalidRequestError as exc:
        raise ConfigurationError(exc.message) from exc


def _ask_server(config: Config, path: str, named: str) -> dict[str, Any]:
    key = config.api_keys.first
    if key is None:
        raise ConfigurationError(
            "a server holds the state, and API_KEY has only hashes; set API_KEY to the key itself "
            "for this command"
        )
    connection = http.client.HTTPConnection(config.host, config.port, timeout=_TIMEOUT)
    headers = {"authorization": f"Bearer {key.reveal()}", "content-type": "application/json"}
    try:
        connection.request("POST", path, json.dumps({"sso": named}), headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as exc:
        raise ConfigurationError(
            f"a server holds the state, but none answers at {config.host} port {config.port}; set "
            "HOST and PORT to where it listens"
        ) from exc
    finally:
        connection.close()
    if response.status != 200:
        raise ConfigurationError(str(answer.get("error", {}).get("message", "it was refused")))
    return dict(answer)


def _read_secret() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("sso", hide_input=True))
    return sys.stdin.read().strip()
