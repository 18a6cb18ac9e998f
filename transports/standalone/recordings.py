"""`grokproto serve --record DIR`: a transcript of each exchange, in a directory.

The exchange writes itself down in memory, bounded. What is done with it then takes a while (it is
redacted, and told to a fresh exchange to see whether that goes the same way), so a thread of its
own does that, and writes the file. Where it cannot keep up, or cannot write, transcripts are
missing, which is told once; no request waits for one.
"""

from __future__ import annotations

import itertools
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from grokproto.commands import Branch, Command, ReleaseCredential
from grokproto.credentials import CredentialPool, CredentialStatus
from grokproto.errors import ConfigurationError
from grokproto.events import CredentialAcquired, Event
from grokproto.transcript import (
    Notes,
    RecordedExchange,
    Recording,
    build_transcript,
    encode_transcript,
)

from ..config import Config
from ..logs import get_logger
from ..pool.scheduler import Scheduler

MAX_FILES = 200
MAX_BYTES = 64 * 1024 * 1024
"""Of all transcripts together; the oldest ones go."""
_WAITING = 64
"""Recordings that may wait to be written."""
_LAST_SECONDS = 10.0
"""Seconds that a stop waits for what is still to be written."""
_PREFIX = "exchange-"
_SUFFIX = ".jsonl"
_SHOWN = 100
"""Accounts that notes tell of."""


class Recordings:
    """Keeps transcripts in a directory, in files that only the user can read.

        with Recordings(directory) as recordings:
            exchange = recordings.record(body, dialect=..., ...)    # in place of an Exchange

    Args:
        directory: Made if need be.
        keep_text: Leave in what was asked and answered.
        describe: Tells of the credentials (`grokproto.transcript.RecordedExchange`).
        max_files: How many are kept.
        max_bytes: How large they may be together.
        on_error: Told, in a sentence, what cannot be kept; once until it can again.
        unix_time: Unix seconds, for the names of the files.

    Raises:
        ConfigurationError: The directory cannot be used.
    """

    def __init__(
        self,
        directory: Path,
        *,
        keep_text: bool = False,
        describe: Callable[[Command, Event], Notes | None] = lambda _command, _event: None,
        max_files: int = MAX_FILES,
        max_bytes: int = MAX_BYTES,
        on_error: Callable[[str], object] = lambda _: None,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        self._directory = directory
        self._keep_text = keep_text
        self._describe = describe
        self._max_files = max_files
        self._max_bytes = max_bytes
        self._on_error = on_error
        self._unix_time = unix_time
        self._numbers = itertools.count(1)
        self._failing = False
        self._queue: queue.Queue[Recording | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._run, name="recordings", daemon=True)
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write(b"").unlink()
        except OSError as exc:
            raise ConfigurationError(
                f"--record {directory} cannot be used: {exc.strerror}"
            ) from exc

    def __enter__(self) -> Recordings:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._queue.put(None)
        self._thread.join(_LAST_SECONDS)

    def record(self, body: bytes, **arguments: Any) -> RecordedExchange:
        """An exchange that is kept. The arguments are those of `Exchange`."""
        return RecordedExchange(
            body,
            **arguments,
            describe=self._describe,
            on_end=self._take_recording,
            guard=threading.Lock(),
        )

    def _take_recording(self, recording: Recording) -> None:
        try:
            self._queue.put_nowait(recording)
        except queue.Full:
            self._fail("more exchanges end than can be written down")

    def _fail(self, why: str) -> None:
        if not self._failing:
            self._on_error(f"a transcript is missing in {self._directory}: {why}")
        self._failing = True

    # In the thread

    def _run(self) -> None:
        while (recording := self._queue.get()) is not None:
            try:
                transcript = build_transcript(recording, keep_text=self._keep_text)
                self._write(encode_transcript(transcript))
                self._make_room()
            except OSError as exc:
                self._fail(str(exc.strerror))
            except Exception as exc:  # a mistake of ours must not end the thread
                self._fail(f"a mistake of this server's ({type(exc).__name__})")
            else:
                self._failing = False

    def _write(self, data: bytes) -> Path:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._unix_time()))
        name = f"{_PREFIX}{stamp}-{os.getpid()}-{next(self._numbers):06}{_SUFFIX}"
        path = self._directory / name
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        return path

    def _make_room(self) -> None:
        """Remove the oldest ones that are too many, or too much."""
        files = sorted(self._directory.glob(f"{_PREFIX}*{_SUFFIX}"), reverse=True)
        size = 0
        for number, path in enumerate(files):
            size += path.stat().st_size
            if number >= self._max_files or size > self._max_bytes:
                path.unlink(missing_ok=True)


@contextmanager
def open_recordings(
    config: Config, scheduler: Scheduler, directory: Path, *, keep_text: bool
) -> Iterator[Callable[..., Branch]]:
    """What makes exchanges, and keeps transcripts of them in a directory.

    Raises:
        ConfigurationError: The directory cannot be used.
    """

    def describe(command: Command, event: Event) -> Notes | None:
        if config.custom_sso:
            return None
        now = scheduler.unix_now
        return describe_pool(scheduler.pool, config.rotation, now, command, event)

    with Recordings(
        directory, keep_text=keep_text, describe=describe, on_error=get_logger().error
    ) as recordings:
        yield recordings.record


def describe_pool(
    pool: CredentialPool, rotation: str, unix_now: float, command: Command, event: Event
) -> Notes:
    """What the credentials of a pool are like, now that it has answered.

    Args:
        pool: The pool.
        rotation: By what it chooses.
        unix_now: Unix seconds.
        command: What it was asked.
        event: What it said.
    """
    if isinstance(command, ReleaseCredential):
        group, name = command.lease.group, command.lease.credential
        status = pool.describe(name, unix_now)
        known = [] if status is None else [status]
    else:
        group = getattr(command, "group", "")
        name = event.lease.credential if isinstance(event, CredentialAcquired) else ""
        known = list(itertools.islice(pool.status(unix_now), _SHOWN))
        known.sort(key=lambda each: each.name != name)
    return {"rotation": rotation, "accounts": [_describe(each, group) for each in known]}


def _describe(status: CredentialStatus, group: str) -> dict[str, Any]:
    ledger = next((each for each in status.groups if each.group == group), None)
    reason = status.reason if ledger is None or ledger.reason is None else ledger.reason
    return {
        "name": status.name,
        "state": status.state.value,
        "remaining": None if ledger is None else ledger.remaining,
        "total": None if ledger is None else ledger.total,
        "in_flight": status.in_flight,
        "reason": reason,
    }
