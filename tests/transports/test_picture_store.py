"""`transports.pictures.store`, in directories of its own."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import shutil
import socket
import stat
import threading
from pathlib import Path

import pytest
import trio

from grokproto.errors import ConfigurationError, InvalidRequestError
from grokproto.images.local import read_name
from transports.api import service
from transports.config import build_config
from transports.pictures import store as picture_store
from transports.pictures.desk import Found, PictureDesk
from transports.pictures.desk_threads import ThreadedPictureDesk
from transports.pictures.store import (
    LocalPictures,
    PictureNotKeptError,
    PictureStore,
    open_store,
)

NOW = 1_750_000_000.0
PNG = b"\x89PNG\r\n\x1a\n"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def kept(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if read_name(path.name))


def store_in(directory: Path, cap_bytes: int = 1000, lifetime: float = 60) -> PictureStore:
    return open_store(directory, cap_bytes=cap_bytes, lifetime=lifetime)


def test_a_picture_comes_back(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    token = store.put(PNG, "image/png", NOW)
    other = store.put(b"GIF89a", "image/gif", NOW)
    assert store.open(token, NOW + 59) == ("image/png", PNG)
    assert store.open(other, NOW) == ("image/gif", b"GIF89a")
    assert store.open(token, NOW + 60) is None


def test_the_same_picture_twice_has_two_addresses(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    assert store.put(PNG, "image/png", NOW) != store.put(PNG, "image/png", NOW)


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({}, "home/pictures"),
        ({"STATE": ":memory:"}, "home/pictures"),
        ({"STATE": "{}/home/state.sqlite3"}, "home/pictures"),
        ({"STATE": "{}/x/state.db"}, "x/pictures"),
        ({"STATE": "state.db"}, "pictures"),
        ({"STATE": "{}/x/state.db", "IS_CUSTOM_SSO": "true"}, "x/pictures"),
        ({"STATE": "{}/x/state.db", "IMAGE_DIR": "{}/y"}, "y"),
        ({"STATE": "{}/x/state.db", "IMAGE_DIR": "y"}, "y"),
    ],
)
def test_where_pictures_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(service, "default_path", lambda: tmp_path / "home" / "state.sqlite3")
    named = {name: value.format(tmp_path) for name, value in variables.items()}
    pictures = service.open_pictures(build_config({"IMAGE_MODE": "local", **named}))
    assert pictures is not None
    monkeypatch.chdir("/")
    pictures.put(b"picture", "image/png", 1000.0)
    assert {file.parent for file in tmp_path.rglob("*.png")} == {tmp_path / place}


def test_addresses_survive_a_restart(tmp_path: Path) -> None:
    token = store_in(tmp_path).put(PNG, "image/png", NOW)
    assert store_in(tmp_path, lifetime=1).open(token, NOW + 59) == ("image/png", PNG)


def test_addresses_end_with_their_secret(tmp_path: Path) -> None:
    token = store_in(tmp_path).put(PNG, "image/png", NOW)
    (tmp_path / "secret").unlink()
    assert store_in(tmp_path).open(token, NOW) is None


def test_nobody_else_may_look(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "pictures"
    directory.mkdir(parents=True, mode=0o755)
    before = os.umask(0)
    try:
        store_in(directory).put(PNG, "image/png", NOW)
        store_in(tmp_path / "new" / "one")
    finally:
        os.umask(before)
    assert mode(directory) == mode(tmp_path / "new" / "one") == 0o700
    files = list(directory.iterdir())
    assert len(files) == 3
    assert {mode(path) for path in files} == {0o600}


def test_the_oldest_make_room(tmp_path: Path) -> None:
    store = store_in(tmp_path, cap_bytes=100)
    tokens = [store.put(bytes(40), "image/png", NOW + n) for n in range(4)]
    assert [store.open(token, NOW) is not None for token in tokens] == [False, False, True, True]
    store.put(bytes(100), "image/png", NOW)  # by the clock no younger than what it replaces
    assert [path.stat().st_size for path in kept(tmp_path)] == [100]


def test_those_that_expired_go_first(tmp_path: Path) -> None:
    long = store_in(tmp_path, cap_bytes=100, lifetime=1000).put(bytes(40), "image/png", NOW)
    short = store_in(tmp_path, cap_bytes=100, lifetime=10)
    short.put(bytes(40), "image/png", NOW + 1)
    short.put(bytes(10), "image/png", NOW + 20)
    assert [path.stat().st_size for path in kept(tmp_path)] == [40, 10]
    assert short.open(long, NOW + 20) is not None


def test_the_number_is_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_store, "MAX_PICTURES", 3)
    store = store_in(tmp_path)
    for n in range(6):
        store.put(b"%d" % n, "image/png", NOW + n)
    assert [path.read_bytes() for path in kept(tmp_path)] == [b"3", b"4", b"5"]


def test_a_picture_that_never_fits_removes_nothing(tmp_path: Path) -> None:
    store = store_in(tmp_path, cap_bytes=100)
    token = store.put(PNG, "image/png", NOW)
    with pytest.raises(PictureNotKeptError, match="101"):
        store.put(bytes(101), "image/png", NOW)
    assert store.open(token, NOW) is not None


def test_what_is_no_picture_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(PictureNotKeptError, match="text/html"):
        store_in(tmp_path).put(b"<script>", "text/html", NOW)
    assert kept(tmp_path) == []


def test_no_path_leads_out(tmp_path: Path) -> None:
    store = store_in(tmp_path / "pictures")
    token = store.put(PNG, "image/png", NOW)
    (tmp_path / "outside.png").write_bytes(b"outside")
    odd = ["", ".", "..", "secret", "lock", "../outside.png", "/etc/passwd", token + "\0"]
    odd += [f"../pictures/{token}", f"./{token}", token.replace("-", "/", 1), "%2e%2e/secret"]
    assert [store.open(path, NOW) for path in odd] == [None] * len(odd)


@pytest.mark.parametrize("kind", ["link", "directory", "pipe", "socket"])
def test_what_has_the_name_of_a_picture_and_is_none(tmp_path: Path, kind: str) -> None:
    """It is not opened, and no picture is refused for it."""
    store = store_in(tmp_path / "pictures", cap_bytes=100, lifetime=10)
    token = store.put(PNG, "image/png", NOW)
    (file,) = kept(tmp_path / "pictures")
    (tmp_path / "outside").write_bytes(b"outside")
    file.unlink()
    with contextlib.ExitStack() as resources:
        match kind:
            case "link":
                file.symlink_to(tmp_path / "outside")
            case "directory":
                file.mkdir()
                (file / "within").touch()
            case "pipe":
                os.mkfifo(file)
            case _:
                listener = resources.enter_context(socket.socket(socket.AF_UNIX))
                resources.enter_context(contextlib.chdir(file.parent))  # a short name for it
                listener.bind(file.name)
        assert store.open(token, NOW) is None
    assert store.put(bytes(100), "image/png", NOW + 60)  # for which the others must go
    assert (tmp_path / "outside").exists()


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    store = store_in(tmp_path, cap_bytes=10)
    (tmp_path / "holiday.png").write_bytes(bytes(500))
    (tmp_path / "notes.part").write_bytes(bytes(500))
    store.put(bytes(10), "image/png", NOW)
    store.put(bytes(10), "image/png", NOW)
    assert (tmp_path / "holiday.png").exists()
    assert (tmp_path / "notes.part").exists()
    assert len(kept(tmp_path)) == 1


def test_what_a_crash_left_is_removed(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.put(PNG, "image/png", NOW)
    (file,) = kept(tmp_path)
    left = tmp_path / (file.name + ".part")
    left.write_bytes(b"half")
    store.put(PNG, "image/png", NOW)
    assert not left.exists()


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_in(tmp_path)

    def no_space(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(PictureNotKeptError, match="No space"):
        store.put(PNG, "image/png", NOW)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "secret"]


def test_a_directory_that_is_gone(tmp_path: Path) -> None:
    store = store_in(tmp_path / "pictures")
    token = store.put(PNG, "image/png", NOW)
    for path in (tmp_path / "pictures").iterdir():
        path.unlink()
    (tmp_path / "pictures").rmdir()
    assert store.open(token, NOW) is None
    with pytest.raises(PictureNotKeptError):
        store.put(PNG, "image/png", NOW)


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="file"):
        store_in(tmp_path / "file")


def test_a_secret_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"short")
    with pytest.raises(ConfigurationError, match="secret"):
        store_in(tmp_path)


def test_several_writers_keep_the_cap_together(tmp_path: Path) -> None:
    tokens: list[str] = []
    counts: list[int] = []

    def write() -> None:
        store = store_in(tmp_path, cap_bytes=100)  # each as a process of its own would
        for _ in range(20):
            tokens.append(store.put(bytes(30), "image/png", NOW))
            counts.append(len(kept(tmp_path)))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(tokens)) == 80
    assert max(counts) == 3
    store = store_in(tmp_path, cap_bytes=100)
    assert sum(store.open(token, NOW) is not None for token in tokens) == 3


def test_for_tasks(tmp_path: Path) -> None:
    async def main() -> None:
        pictures = LocalPictures(store_in(tmp_path))
        token = await pictures.put(PNG, "image/png", NOW)
        assert await pictures.open(token, NOW) == ("image/png", PNG)
        assert await pictures.open("nothing", NOW) is None
        with pytest.raises(PictureNotKeptError):
            await pictures.put(bytes(1001), "image/png", NOW)

    trio.run(main)


def test_picture_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """By the desks of both kinds, and by a thread that has no descriptor for a loop of its own."""
    store = store_in(tmp_path / "pictures")
    token = store.put(PNG, "image/png", NOW)
    desk = PictureDesk(LocalPictures(store), unix_time=lambda: NOW)
    in_threads = ThreadedPictureDesk(desk)
    assert in_threads.open(token) == trio.run(desk.open, token) == ("image/png", PNG)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}
    lowest = next(number for number in itertools.count() if number not in taken)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
    try:
        assert_refused(in_threads.open(token))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    shutil.rmtree(tmp_path / "pictures")
    (tmp_path / "pictures").touch()
    assert_refused(in_threads.open(token))
    assert_refused(trio.run(desk.open, token))


def assert_refused(found: Found) -> None:
    """It is said that it may be there later."""
    assert isinstance(found, InvalidRequestError)
    assert (found.status, found.code) == (503, "overloaded")
