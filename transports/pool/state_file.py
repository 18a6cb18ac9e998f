"""The file that has the state: where it is, who holds it, whether it is ours and whole.

It holds cookies, so it is the user's alone. One server at a time holds it, by a lock on a file
beside it; others may read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import platformdirs

from grokproto.errors import ConfigurationError

if sys.platform != "win32":
    import fcntl

MEMORY = ":memory:"
"""Instead of a path: nothing is kept."""

_APPLICATION = 0x67726F6B  # "grok": tells our files from other people's
_VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS credentials (
    name TEXT PRIMARY KEY,
    record BLOB NOT NULL
) WITHOUT ROWID;
"""
_MALFORMED = "database disk image is malformed"
"""As SQLite says it."""
BUSY_SECONDS = 1.0
"""Seconds for another process to let go of the database, where nobody but us waits for it."""
_LOCK_TRIES = 10
_LOCK_PAUSE = 0.02
"""Seconds between two. Who only looks whether a state is held, holds it for a moment."""


def default_path() -> Path:
    """Where the state is kept unless somebody says otherwise."""
    return Path(platformdirs.user_state_dir("grokproto", appauthor=False)) / "state.sqlite3"


class StateHeldError(ConfigurationError):
    """Another server holds the state."""


def read_records(path: Path) -> dict[str, bytes]:
    """The records of a state that a server may hold.

    Raises:
        ConfigurationError: There is none, or it is no state.
    """
    if not is_there(path):
        raise ConfigurationError(f"STATE {path} is not there")
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
        ) as database:
            _check(database, path)
            return load_records(database)
    except sqlite3.Error as exc:
        raise unusable(path, exc) from exc


def is_there(file: Path) -> bool:
    """Whether there is a file.

    Raises:
        ConfigurationError: There can be none.
    """
    try:
        return file.exists()
    except OSError as exc:  # its name is too long, or what is above it is closed to us
        raise ConfigurationError(f"STATE {file} cannot be used: {exc.strerror}") from exc


def is_held(path: Path | str) -> bool:
    """Whether a server holds a state."""
    file = Path(path).expanduser()
    if path == MEMORY or sys.platform == "win32":
        return False
    try:
        with name_lock(file).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # there is none, or none that we may hold: others will say so
    return False


def load_records(database: sqlite3.Connection) -> dict[str, bytes]:
    """All records.

    Raises:
        sqlite3.Error: They are none that were written here.
    """
    # SQLite keeps whatever it is given in a column of any type.
    records = dict(database.execute("SELECT name, record FROM credentials"))
    if not all(isinstance(n, str) and isinstance(r, bytes) for n, r in records.items()):
        raise sqlite3.DatabaseError(_MALFORMED)
    return records


def hold(file: Path) -> IO[bytes] | None:
    """Lock the state for this process, as long as the file that is given back is open.

    Raises:
        ConfigurationError: It cannot be locked, or another server has it.
    """
    if not file.name:
        raise ConfigurationError(f"STATE {file} is no file")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.fdopen(os.open(name_lock(file), os.O_RDWR | os.O_CREAT, 0o600), "r+b")
    except OSError as exc:
        raise ConfigurationError(f"STATE {file} cannot be used: {exc.strerror}") from exc
    try:
        _lock(lock)
    except OSError as exc:
        lock.close()
        if exc.errno not in (errno.EWOULDBLOCK, errno.EAGAIN):
            raise ConfigurationError(f"STATE {file} cannot be locked: {exc.strerror}") from exc
        raise StateHeldError(
            f"STATE {file} is held by another server; stop that one, or give this one a state "
            "of its own"
        ) from exc
    return lock


def _lock(lock: IO[bytes]) -> None:
    if sys.platform == "win32":
        return
    for _ in range(_LOCK_TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_LOCK_PAUSE)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def name_lock(file: Path) -> Path:
    """The file whose lock is that of a state."""
    return file.with_name(file.name + ".lock")


def open_database(file: Path) -> sqlite3.Connection:
    """Open the database, or make it; nobody else may read it.

    Raises:
        ConfigurationError: It cannot be used.
    """
    try:
        with _private_files():
            database = sqlite3.connect(
                file, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False
            )
            try:
                _check(database, file)
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = NORMAL")
                database.executescript(SCHEMA)
                database.execute(f"PRAGMA application_id = {_APPLICATION}")
                database.execute(f"PRAGMA user_version = {_VERSION}")
            except BaseException:
                database.close()
                raise
        file.chmod(0o600)
    except (sqlite3.Error, OSError) as exc:
        raise unusable(file, exc) from exc
    return database


def _check(database: sqlite3.Connection, file: Path) -> None:
    """See whether it is ours, and whole.

    SQLite does not look by itself: a file that was cut off is read as if zeros stood in the rest of
    its last page, so that accounts would be missing or be none, and nobody would be told. Looking
    takes some milliseconds for thousands of accounts.

    Raises:
        ConfigurationError: It is not ours, or of another time.
        sqlite3.Error: It is damaged.
    """
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != _APPLICATION and (application or tables):
        raise ConfigurationError(f"STATE {file} is a database of another program")
    if version > _VERSION:
        raise ConfigurationError(f"STATE {file} was written by a newer version of grokproto")
    if database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise sqlite3.DatabaseError(_MALFORMED)


@contextlib.contextmanager
def _private_files() -> Iterator[None]:
    """Make files that only the user may read; SQLite gives the files beside it the same mode."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def damaged(path: Path | str, found: str) -> ConfigurationError:
    """What there is to say of a state that is damaged."""
    return ConfigurationError(
        f"STATE {path} is damaged ({found}); put a copy of it in its place, or move it away"
    )


def unusable(file: Path, exc: Exception) -> ConfigurationError:
    """What there is to say of a fault of SQLite's, or of the system's."""
    text = str(exc)
    if "not a database" in text:
        return ConfigurationError(f"STATE {file} is no database; move it away, or name another")
    if "malformed" in text:
        return damaged(file, text)
    return ConfigurationError(f"STATE {file} cannot be used: {text}")
