"""Pictures kept in a directory, for this server to serve: `IMAGE_MODE=local`.

The files are named and signed by `grokproto.images.local`; nothing else is known of them, so the
directory may be shared by several processes, may be emptied by hand, and outlives a restart. Who
adds a picture holds the directory's lock while it makes room and writes, so that the cap holds for
all of them together. Readers need no lock: a picture appears by `os.replace`, whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

import attrs

from grokproto.errors import ConfigurationError
from grokproto.images.local import (
    NONCE_BYTES,
    SECRET_BYTES,
    build_name,
    read_name,
    sign_name,
    verify_token,
)

from ..loops import Loop
from ..loops.trio_loop import TRIO

MAX_PICTURES = 10_000
"""However small they are: the directory is looked through for each that is added."""

_KEY_FILE = "secret"
_LOCK_FILE = "lock"
_PART = ".part"
"""The end of a name that is being written under. What a crash left is removed by the next who
holds the lock, because no one else can be writing then."""


class PictureNotKeptError(Exception):
    """A picture could not be kept; the text says why, for the log."""


@attrs.frozen
class _Kept:
    name: str
    size: int
    expires: int


class PictureStore:
    """Pictures in a directory. Its methods block; `LocalPictures` is for tasks.

    Args:
        directory: Of its own, for nobody else to write to; there already (see `open_store`).
        secret: What the addresses are signed with.
        cap_bytes: The most that the pictures may take up together.
        lifetime: Seconds for which the address of a picture is good.
    """

    def __init__(self, directory: Path, secret: bytes, cap_bytes: int, lifetime: float) -> None:
        self._directory = directory
        self._secret = secret
        self._cap_bytes = cap_bytes
        self._lifetime = lifetime

    def put(self, data: bytes, media_type: str, unix_now: float) -> str:
        """Keep a picture, if need be in the place of the oldest ones.

        Args:
            data: The picture.
            media_type: Such as `image/png`.
            unix_now: Unix time, seconds.

        Returns:
            The token for its address.

        Raises:
            PictureNotKeptError: It is too large, of no known kind, or the directory takes nothing.
        """
        if len(data) > self._cap_bytes:
            raise PictureNotKeptError(
                f"a picture of {len(data)} bytes is more than all may take up ({self._cap_bytes})"
            )
        try:
            nonce = secrets.token_bytes(NONCE_BYTES)
            name = build_name(media_type, nonce, unix_now, self._lifetime)
            with _locked(self._directory):
                self._make_room(len(data), unix_now)
                _write(self._directory / name.text, data)
        except (OSError, ValueError) as exc:
            raise PictureNotKeptError(str(exc)) from exc
        return sign_name(self._secret, name)

    def open(self, token: str, unix_now: float) -> tuple[str, bytes] | None:
        """The media type and the bytes of a picture.

        Args:
            token: What stood in the address behind `grokproto.images.local.PATH`; anything at all.
            unix_now: Unix time, seconds.

        Returns:
            None where the address is not ours, is no longer good, or the picture has made room
            or place for something else.

        Raises:
            OSError: The picture is there and cannot be read.
        """
        name = verify_token(self._secret, token, unix_now)
        if name is None:
            return None
        file = _open_regular(self._directory / name.text)
        if file is None:
            return None
        with os.fdopen(file, "rb") as opened:
            return name.media_type, opened.read()

    def _make_room(self, size: int, unix_now: float) -> None:
        """Remove what is no longer good, and then the oldest, until `size` bytes fit in."""
        kept: list[_Kept] = []
        with os.scandir(self._directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):  # none of ours, and it cannot be removed
                    continue
                if entry.name.endswith(_PART) and read_name(entry.name.removesuffix(_PART)):
                    _remove(self._directory, entry.name)
                elif name := read_name(entry.name):
                    with contextlib.suppress(FileNotFoundError):  # somebody emptied the directory
                        kept.append(
                            _Kept(
                                entry.name,
                                entry.stat(follow_symlinks=False).st_size,
                                name.expires,
                            )
                        )
        kept.sort(key=lambda each: each.name)
        total = sum(each.size for each in kept)
        count = len(kept)
        for each in kept:
            over = total + size > self._cap_bytes or count >= MAX_PICTURES
            if over or each.expires <= unix_now:
                _remove(self._directory, each.name)
                total -= each.size
                count -= 1


def open_store(directory: Path, *, cap_bytes: int, lifetime: float) -> PictureStore:
    """The store in a directory, which is made if need be. It blocks; it is for the start.

    Raises:
        ConfigurationError: The directory or the secret in it cannot be used.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)  # it may have been there, open to all
        secret = _read_secret(directory)
    except OSError as exc:
        raise ConfigurationError(
            f"The directory for pictures, {directory}, cannot be used: {exc.strerror or exc}."
        ) from exc
    return PictureStore(directory, secret, cap_bytes, lifetime)


def _read_secret(directory: Path) -> bytes:
    """The directory's secret. The first who comes makes it."""
    file = directory / _KEY_FILE
    with _locked(directory):
        if not file.exists():
            _write(file, secrets.token_bytes(SECRET_BYTES))
        secret = file.read_bytes()
        file.chmod(0o600)
    if len(secret) != SECRET_BYTES:
        raise ConfigurationError(
            f"{file} does not hold a secret. Remove it; the addresses that were given out end then."
        )
    return secret


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the directory against the threads and processes that add pictures to it."""
    lock = os.open(directory / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # ends with the descriptor
        yield
    finally:
        os.close(lock)


def _open_regular(path: Path) -> int | None:
    """A descriptor to read a file by; None where it is gone, or something else has its name.

    A link may lead anywhere, and a pipe would keep whoever opens it waiting.

    Raises:
        OSError: It is there and cannot be opened.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.open(path, flags)
    except FileNotFoundError:
        return None
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket
            return None
        raise
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    return None


def _write(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    part = path.with_name(path.name + _PART)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _remove(directory: Path, name: str) -> None:
    (directory / name).unlink(missing_ok=True)


class LocalPictures:
    """A store for tasks: its files are read and written in threads."""

    def __init__(self, store: PictureStore, loop: Loop = TRIO) -> None:
        self._store = store
        self._loop = loop

    async def put(self, data: bytes, media_type: str, unix_now: float) -> str:
        """See `PictureStore.put`. A picture that is being kept is kept, cancelled or not."""
        token: str = await self._loop.run_in_thread(self._store.put, data, media_type, unix_now)
        return token

    async def open(self, token: str, unix_now: float) -> tuple[str, bytes] | None:
        """See `PictureStore.open`."""
        found: tuple[str, bytes] | None = await self._loop.run_in_thread(
            self._store.open, token, unix_now
        )
        return found
