"""`grokproto credentials`: the accounts, seen and changed from the command line.

Where no server runs, the state is changed itself. Where one does, it holds the state and is asked
to change it, with the API key; looking needs neither.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Protocol

import click

from grokproto.cookies import SSO
from grokproto.credentials import CredentialRecord, Kind, read_accounts
from grokproto.errors import ConfigurationError, InvalidRequestError
from grokproto.secret import Secret

from ..api.service import build_pool, build_scheduler
from ..config import Config, load_config
from ..pool import admin
from ..pool.admin import JSON
from ..pool.scheduler import Scheduler
from ..pool.state_file import StateHeldError, is_held
from ..pool.store import Store
from .ending import env_file_option, read_input

_TIMEOUT = 10.0


@click.group("credentials")
@env_file_option
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
    with look(config) as scheduler:
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
    with _open_accounts(config) as accounts:
        _tell(accounts.add(sso))


@credentials_group.command("remove")
@click.argument("name")
@click.pass_obj
def remove_command(config: Config, name: str) -> None:
    """Forget an account, by its fingerprint."""
    with _open_accounts(config) as accounts:
        _tell(accounts.remove(name))


@credentials_group.command("enable")
@click.argument("name")
@click.pass_obj
def enable_command(config: Config, name: str) -> None:
    """Put a disabled account in service again, by its fingerprint."""
    with _open_accounts(config) as accounts:
        _tell(accounts.enable(name))


@credentials_group.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8-sig"))
@click.pass_obj
def import_command(config: Config, file: IO[str]) -> None:
    """Add all accounts of a file (`-` for standard input).

    A plain list, an SSO= line, JSON and JSON lines of the common tools are understood.
    """
    found = read_accounts(read_input(file))
    for problem in found.problems:
        click.echo(f"grokproto: {problem}", err=True)
    with _open_accounts(config) as accounts:
        added = sum(bool(accounts.add(_write(each))["added"]) for each in found.accounts)
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
        f"{_write(record.cookies)}\n"
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
def look(config: Config) -> Iterator[Scheduler]:
    """What is known of the accounts, for looking only.

    Raises:
        ConfigurationError: The state cannot be used.
    """
    with Store.copy(config.state_path) as copy:
        if is_held(config.state_path):  # by a server that knows best what is configured
            yield Scheduler(build_pool(config), copy, forget=False)
        else:
            yield build_scheduler(config, copy, forget=False)


def _read_state(config: Config) -> Iterable[CredentialRecord]:
    with look(config) as scheduler:
        return scheduler.pool.snapshot()


class _Accounts(Protocol):
    """The accounts, to be changed. All raise ConfigurationError with what went wrong."""

    def add(self, sso: str) -> JSON:
        """See `admin.add_credential`."""
        ...

    def remove(self, name: str) -> JSON:
        """See `admin.remove_credential`."""
        ...

    def enable(self, name: str) -> JSON:
        """See `admin.enable_credential`."""
        ...


@contextlib.contextmanager
def _open_accounts(config: Config) -> Iterator[_Accounts]:
    try:
        store = Store(config.state_path)
    except StateHeldError:
        with contextlib.closing(_AccountsOfServer(config)) as accounts:
            yield accounts
    else:
        with store:
            yield _AccountsOfState(build_scheduler(config, store, forget=False))


class _AccountsOfState:
    """See `_Accounts`; no server holds the state."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def add(self, sso: str) -> JSON:
        """See `_Accounts`."""
        with _as_sentence():
            return admin.add_credential(self._scheduler, sso)

    def remove(self, name: str) -> JSON:
        """See `_Accounts`."""
        with _as_sentence():
            return admin.remove_credential(self._scheduler, name)

    def enable(self, name: str) -> JSON:
        """See `_Accounts`."""
        with _as_sentence():
            return admin.enable_credential(self._scheduler, name)


@contextlib.contextmanager
def _as_sentence() -> Iterator[None]:
    try:
        yield
    except InvalidRequestError as exc:
        raise ConfigurationError(exc.message) from exc


class _AccountsOfServer:
    """See `_Accounts`; the server that holds the state is asked, over one connection."""

    def __init__(self, config: Config) -> None:
        key = config.api_keys.first
        if key is None:
            raise ConfigurationError(
                "a server holds the state, and API_KEY has only hashes; set API_KEY to the key "
                "itself for this command"
            )
        self._config = config
        self._headers = {
            "authorization": f"Bearer {key.reveal()}",
            "content-type": "application/json",
        }
        self._connection = http.client.HTTPConnection(config.host, config.port, timeout=_TIMEOUT)

    def add(self, sso: str) -> JSON:
        """See `_Accounts`."""
        return self._ask("/add/token", sso)

    def remove(self, name: str) -> JSON:
        """See `_Accounts`."""
        return self._ask("/delete/token", name)

    def enable(self, name: str) -> JSON:
        """See `_Accounts`."""
        return self._ask("/enable/token", name)

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    def _ask(self, path: str, named: str) -> JSON:
        try:
            body = json.dumps({"sso": named})
            self._connection.request("POST", path, body, self._headers)
            response = self._connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as exc:
            raise ConfigurationError(
                f"a server holds the state, but none answers at {self._config.host} port "
                f"{self._config.port}; set HOST and PORT to where it listens"
            ) from exc
        if response.status != 200:
            raise ConfigurationError(str(answer.get("error", {}).get("message", "it was refused")))
        return dict(answer)


def _tell(answer: JSON) -> None:
    """Say what was done."""
    done = [key for key, value in answer.items() if value is True]
    click.echo(f"{answer['credential']} {done[0] if done else 'was here before'}")


def _write(cookies: Mapping[str, Secret]) -> str:
    """An account as `parse_account` reads it: one value, where both cookies have the same."""
    if len(set(cookies.values())) == 1:
        return cookies[SSO].reveal()
    return "; ".join(f"{name}={value.reveal()}" for name, value in cookies.items())


def _read_secret() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("sso", hide_input=True))
    return str(read_input(sys.stdin)).strip()
