"""Keeping what must survive a crash: one record for each credential, in SQLite.

A record is written before the call that it counts goes out, so a process that is killed has lost
nothing. The write-ahead log is handed to the kernel with each commit, which outlives the process;
it is not forced to the disk each time, so what a loss of power takes with it is at most the last
moments.

The file holds cookies, so it is the user's alone. One server at a time holds it, by a lock on a
file beside it; others may read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

import platformdirs

from grokproto.errors import ConfigurationError

if sys.platform != "win32":
    import fcntl

MEMORY = ":memory:"
"""Instead of a path: nothing is kept."""

_APPLICATION = 0x67726F6B  # "grok": tells our files from other people's
_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS credentials (
    name TEXT PRIMARY KEY,
    record BLOB NOT NULL
) WITHOUT ROWID;
"""
_TOUCH = """
UPDATE credentials SET record = record WHERE name = (SELECT min(name) FROM credentials)
"""
"""Writes, and changes nothing."""
_MALFORMED = "database disk image is malformed"
"""As SQLite says it."""
_BUSY_SECONDS = 1.0
"""For another process to let go of the database, where nobody but us waits for it."""
SERVING_PATIENCE = 0.1
"""The same for a write while requests are served: all of them wait for it. Other programs hold the
lock for the milliseconds of a write of their own; one that holds it longer is not waited for."""
_LOCK_TRIES = 10
_LOCK_PAUSE = 0.02
"""Seconds between two. Who only looks whether a state is held, holds it for a moment."""


def default_path() -> Path:
    """Where the state is kept unless somebody says otherwise."""
    return Path(platformdirs.user_state_dir("grokproto", appauthor=False)) / "state.sqlite3"


class StateHeldError(ConfigurationError):
    """Another server holds the state."""


class _LostError(Exception):
    """A file of the state is not what it was; the text says so."""


class Store:
    """Records by the name of their credential. Threads may share it, if they take turns.

    Args:
        path: The file, or `MEMORY`.
        on_error: Told of a write that failed; serving goes on.
        patience: Seconds that a write waits for another process to let go of the database. That is
            done once: while it holds it, later writes try and fail at once.

    Raises:
        ConfigurationError: The state cannot be used; the sentence says why and begins with STATE.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        on_error: Callable[[str], None] = lambda _: None,
        patience: float = _BUSY_SECONDS,
    ) -> None:
        self.path = str(path)
        self._on_error = on_error
        self._patience = patience
        self._locked = False
        """The last write failed because another process had the database."""
        self._waits = _BUSY_SECONDS
        """Seconds that SQLite waits, as we have told it."""
        self.error: str | None = None
        """Why the last write failed; None when it did not."""
        self._lock: IO[bytes] | None = None
        self._files: dict[Path, os.stat_result] = {}
        """What was at the paths when we last looked, and has to be there still."""
        if self.path == MEMORY:
            self._database = sqlite3.connect(MEMORY, isolation_level=None, check_same_thread=False)
            self._database.executescript(_SCHEMA)
            return
        file = Path(self.path).expanduser()
        self.path = str(file)
        try:
            self._lock = _hold(file)
            self._database = _open(file)
            # Absolute, since the program that we are a part of may go to another directory.
            self._files = {each.absolute(): each.stat() for each in (file, _name_lock(file))}
        except BaseException:
            self.close()
            raise

    @classmethod
    def copy(cls, path: Path | str) -> Store:
        """What a state has now, in memory: for looking, whoever holds it.

        Raises:
            ConfigurationError: It is no state.
        """
        copy = cls(MEMORY)
        if path != MEMORY:
            file = Path(path).expanduser()
            copy.path = str(file)
            if _is_there(file):
                copy.save(dict(read_records(file)))
        return copy

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def load(self) -> dict[str, bytes]:
        """All records.

        Raises:
            ConfigurationError: They are none that were written here.
        """
        try:
            return _load(self._database)
        except sqlite3.Error as exc:
            raise _unusable(Path(self.path), exc) from exc

    def save(self, records: Mapping[str, bytes | None], *, last: bool = False) -> bool:
        """Write records in one transaction; None takes one away. Whether that was done.

        A write that fails is told and not raised: a call is better made than refused because a
        disk is full. What it was to write is to be written with the next.

        Args:
            records: By name.
            last: There is no next one, and nobody waits: wait for a lock even where that was done.
        """
        patience = _BUSY_SECONDS if last else None
        return not records or self._attempt(lambda: self._save(records), patience)

    def check(self) -> str | None:
        """Write something that changes nothing; why that failed, if it did."""
        self._attempt(lambda: self._database.execute(_TOUCH))
        return self.error

    def _save(self, records: Mapping[str, bytes | None]) -> None:
        if len(records) == 1:
            self._write(records)  # a single statement is a transaction of its own
            return
        self._database.execute("BEGIN IMMEDIATE")
        try:
            self._write(records)
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def _attempt(self, write: Callable[[], object], patience: float | None = None) -> bool:
        if patience is None:
            patience = 0.0 if self._locked else self._patience
        try:
            self._check_files()
            self._wait_for_locks(patience)
            write()
        except (sqlite3.Error, _LostError) as exc:
            self._locked = _is_lock(exc)
            failed = f"the state cannot be written to {self.path}: {exc}"
            if self.error is None:
                self._on_error(failed)
            self.error = failed
            return False
        self._locked = False
        self.error = None
        return True

    def _wait_for_locks(self, seconds: float) -> None:
        if seconds != self._waits:  # to say it takes nearly as long as to write
            self._waits = seconds
            self._database.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")

    def _check_files(self) -> None:
        """See to it that what is written is found again, and that nobody else may write.

        Who has a file open can go on writing to it when it was removed, or another was put in its
        place, and SQLite does not look. Nor may we look inside: the locks that SQLite has on a file
        end when anybody in this process closes it.

        Raises:
            _LostError: It would not be, or somebody may.
        """
        for file, known in self._files.items():
            try:
                found = file.stat()
            except OSError as exc:
                raise _LostError(f"{file.name} is lost: {exc.strerror}") from exc
            if (found.st_dev, found.st_ino) != (known.st_dev, known.st_ino):
                raise _LostError(f"{file.name} is another file than before")
            if found.st_size < known.st_size:  # it never shrinks by itself
                raise _LostError(f"{file.name} was cut off")
            self._files[file] = found

    def _write(self, records: Mapping[str, bytes | None]) -> None:
        for name, record in records.items():
            if record is None:
                self._database.execute("DELETE FROM credentials WHERE name = ?", (name,))
            else:
                self._database.execute(
                    "INSERT INTO credentials VALUES (?, ?)"
                    " ON CONFLICT (name) DO UPDATE SET record = excluded.record",
                    (name, record),
                )

    def close(self) -> None:
        """Let go of the state."""
        database = getattr(self, "_database", None)
        if database is not None:
            database.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def read_records(path: Path) -> dict[str, bytes]:
    """The records of a state that a server may hold.

    Raises:
        ConfigurationError: There is none, or it is no state.
    """
    if not _is_there(path):
        raise ConfigurationError(f"STATE {path} is not there")
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)
        ) as database:
            _check(database, path)
            return _load(database)
    except sqlite3.Error as exc:
        raise _unusable(path, exc) from exc


def _is_there(file: Path) -> bool:
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
        with _name_lock(file).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # there is none, or none that we may hold: others will say so
    return False


def _load(database: sqlite3.Connection) -> dict[str, bytes]:
    # SQLite keeps whatever it is given in a column of any type.
    records = dict(database.execute("SELECT name, record FROM credentials"))
    if not all(isinstance(n, str) and isinstance(r, bytes) for n, r in records.items()):
        raise sqlite3.DatabaseError(_MALFORMED)
    return records


def _hold(file: Path) -> IO[bytes] | None:
    """Lock the state for this process, as long as the file that is given back is open."""
    if not file.name:
        raise ConfigurationError(f"STATE {file} is no file")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.fdopen(os.open(_name_lock(file), os.O_RDWR | os.O_CREAT, 0o600), "r+b")
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


def _name_lock(file: Path) -> Path:
    return file.with_name(file.name + ".lock")


def _open(file: Path) -> sqlite3.Connection:
    try:
        with _private_files():
            database = sqlite3.connect(
                file, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False
            )
            try:
                _check(database, file)
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = NORMAL")
                database.executescript(_SCHEMA)
                database.execute(f"PRAGMA application_id = {_APPLICATION}")
                database.execute(f"PRAGMA user_version = {_VERSION}")
            except BaseException:
                database.close()
                raise
        file.chmod(0o600)
    except (sqlite3.Error, OSError) as exc:
        raise _unusable(file, exc) from exc
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


def _is_lock(exc: Exception) -> bool:
    # The lower byte is the kind; what is above it says more.
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def damaged(path: Path | str, found: str) -> ConfigurationError:
    """What there is to say of a state that is damaged."""
    return ConfigurationError(
        f"STATE {path} is damaged ({found}); put a copy of it in its place, or move it away"
    )


def _unusable(file: Path, exc: Exception) -> ConfigurationError:
    text = str(exc)
    if "not a database" in text:
        return ConfigurationError(f"STATE {file} is no database; move it away, or name another")
    if "malformed" in text:
        return damaged(file, text)
    return ConfigurationError(f"STATE {file} cannot be used: {text}")
