"""Keeping what must survive a crash: one record for each credential, in SQLite.

A record is written before the call that it counts goes out, so a process that is killed has lost
nothing. The write-ahead log is handed to the kernel with each commit, which outlives the process;
it is not forced to the disk each time, so what a loss of power takes with it is at most the last
moments.

The file itself, and who may have it, is in `state_file`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

from .state_file import (
    BUSY_SECONDS,
    MEMORY,
    SCHEMA,
    hold,
    is_there,
    load_records,
    name_lock,
    open_database,
    read_records,
    unusable,
)

__all__ = ["MEMORY", "SERVING_PATIENCE", "Store"]

_TOUCH = """
UPDATE credentials SET record = record WHERE name = (SELECT min(name) FROM credentials)
"""
"""Writes, and changes nothing."""
SERVING_PATIENCE = 0.1
"""Seconds for another process to let go of the database while requests are served, since all of
them wait for it. Others hold the lock for the milliseconds of a write of their own; one that holds
it longer is not waited for."""


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
        patience: float = BUSY_SECONDS,
    ) -> None:
        self.path = str(path)
        self._on_error = on_error
        self._patience = patience
        self._locked = False
        """The last write failed because another process had the database."""
        self._waits = BUSY_SECONDS
        """Seconds that SQLite waits, as we have told it."""
        self.error: str | None = None
        """Why the last write failed; None when it did not."""
        self._lock: IO[bytes] | None = None
        self._files: dict[Path, os.stat_result] = {}
        """What was at the paths when we last looked, and has to be there still."""
        if self.path == MEMORY:
            self._database = sqlite3.connect(MEMORY, isolation_level=None, check_same_thread=False)
            self._database.executescript(SCHEMA)
            return
        file = Path(self.path).expanduser()
        self.path = str(file)
        try:
            self._lock = hold(file)
            self._database = open_database(file)
            # Absolute, since the program that we are a part of may go to another directory.
            self._files = {each.absolute(): each.stat() for each in (file, name_lock(file))}
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
            if is_there(file):
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
            return load_records(self._database)
        except sqlite3.Error as exc:
            raise unusable(Path(self.path), exc) from exc

    def save(self, records: Mapping[str, bytes | None], *, last: bool = False) -> bool:
        """Write records in one transaction; None takes one away. Whether that was done.

        A write that fails is told and not raised: a call is better made than refused because a
        disk is full. What it was to write is to be written with the next.

        Args:
            records: By name.
            last: There is no next one, and nobody waits: wait for a lock even where that was done.
        """
        patience = BUSY_SECONDS if last else None
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


def _is_lock(exc: Exception) -> bool:
    # The lower byte is the kind; what is above it says more.
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
