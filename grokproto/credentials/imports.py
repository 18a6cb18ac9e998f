"""Reading many accounts at once, from the files that people and other tools keep them in.

Understood, also mixed line by line:

  a plain list            one cookie a line, or several by commas; `#` begins a comment
  the line of a `.env`    `SSO=a,b`, with or without `export` and quotes
  JSON                    a list of strings or objects, or an object of such lists
  JSON lines              an object or a string a line

An object is an account by its key `sso`, `token`, `cookie` or `cookies`, or one cookie of a
browser's export (`name` and `value`). An entry that cannot be read is reported, and the rest is
read all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ..cookies import SSO
from ..errors import ConfigurationError
from ..secret import Secret
from .cookies import parse_account

_KEYS = (SSO, "token", "cookie", "cookies")


class Import(msgspec.Struct, frozen=True):
    """What was found."""

    accounts: tuple[Mapping[str, Secret], ...]
    """The cookies of each, for `CredentialPool.add`."""

    duplicates: int
    """Entries that named one of these again."""

    problems: tuple[str, ...]
    """A sentence for each entry that could not be read. No cookie is shown."""


def read_accounts(text: str) -> Import:
    """Read the accounts of a file or of a setting. Never raises: see `Import.problems`."""
    accounts: dict[Secret, Mapping[str, Secret]] = {}
    duplicates = 0
    problems: list[str] = []
    for where, entry in _find_entries(text.removeprefix("\ufeff")):
        try:
            cookies = parse_account(_take_text(entry))
        except ConfigurationError as exc:
            problems.append(f"{where} {exc}.")
            continue
        duplicates += cookies[SSO] in accounts
        accounts.setdefault(cookies[SSO], cookies)
    return Import(tuple(accounts.values()), duplicates, tuple(problems))


def _find_entries(text: str) -> Iterator[tuple[str, Any]]:
    """Each entry, with where it stands."""
    if text.lstrip()[:1] in ("[", "{"):
        try:
            yield from _list_entries("Entry", msgspec.json.decode(text))
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            pass  # several objects, one a line
        else:
            return
    for number, line in enumerate(text.split("\n"), 1):
        yield from _read_line(f"Line {number}", line.strip())


def _read_line(where: str, line: str) -> Iterator[tuple[str, Any]]:
    if not line or line.startswith("#"):
        return
    if line[0] in '[{"':
        try:
            yield from _list_entries(f"{where}, entry", msgspec.json.decode(line))
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            yield where, None
        return
    value = line.removeprefix("export ").lstrip().removeprefix("SSO=").strip("'\"")
    for part in value.split(","):
        if part.strip():
            yield where, part.strip()


def _list_entries(where: str, decoded: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(decoded, dict) and not any(key in decoded for key in (*_KEYS, "name")):
        decoded = [entry for part in decoded.values() if isinstance(part, list) for entry in part]
    entries = decoded if isinstance(decoded, list) else [decoded]
    for number, entry in enumerate(entries, 1):
        if not (isinstance(entry, dict) and entry.get("name", SSO) != SSO):
            yield f"{where} {number}", entry


def _take_text(entry: Any) -> str:
    """The text that holds the cookie."""
    if isinstance(entry, dict):
        keys = ("value",) if "name" in entry else _KEYS
        entry = next((entry[key] for key in keys if entry.get(key)), None)
    if isinstance(entry, dict):  # cookies by name
        entry = entry.get(SSO)
    if not isinstance(entry, str):
        raise ConfigurationError("is nothing that holds an sso cookie")
    return entry
