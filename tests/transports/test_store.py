"""`transports.pool.store`, and the file that it writes to."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from grokproto.errors import ConfigurationError
from transports.pool.state_file import (
    MEMORY,
    StateHeldError,
    default_path,
    is_held,
    read_records,
)
from transports.pool.store import Store


def test_records_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.sqlite3"
    with Store(path) as store:
        assert store.load() == {}
        store.save({"a": b"1", "b": b"2"})
        store.save({"a": b"3"})
        store.save({"b": None, "c": b"4"})
        store.save({})
        assert store.error is None
    with Store(path) as store:
        assert store.load() == {"a": b"3", "c": b"4"}
    assert read_records(path) == {"a": b"3", "c": b"4"}


def test_files_are_private(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    with Store(path) as store:
        store.save({"a": b"1"})
        for file in tmp_path.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_memory_keeps_nothing() -> None:
    with Store(MEMORY) as store:
        store.save({"a": b"1"})
        assert store.load() == {"a": b"1"}


def test_one_server_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    with Store(path) as store:
        store.save({"a": b"1"})
        with pytest.raises(StateHeldError, match="held by another server"):
            Store(path)
        assert read_records(path) == {"a": b"1"}
    Store(path).close()


def test_copy_is_for_looking(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    with Store.copy(path) as copy:
        assert copy.load() == {}
    assert not is_held(path)
    assert list(tmp_path.iterdir()) == []
    with Store(path) as store:
        store.save({"a": b"1"})
        assert is_held(path)
        with Store.copy(path) as copy:
            assert copy.load() == {"a": b"1"}
            assert copy.path == str(path)
            copy.save({"a": None})
        assert store.load() == {"a": b"1"}
    assert not is_held(path)
    assert not is_held(MEMORY)
    with Store.copy(MEMORY) as copy:
        assert copy.load() == {}


def test_who_only_looks_stops_no_start(tmp_path: Path) -> None:
    """To see whether it is held, one holds it for a moment."""
    path = tmp_path / "state.sqlite3"
    Store(path).close()
    looking = path.with_name(path.name + ".lock").open("rb")
    fcntl.flock(looking, fcntl.LOCK_EX)
    timer = threading.Timer(0.05, looking.close)
    timer.start()
    Store(path).close()
    timer.join()


def test_what_is_no_state(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("this is no database at all, " * 100)
    other = tmp_path / "other"
    database = sqlite3.connect(other)
    database.execute("CREATE TABLE theirs (x)")
    database.commit()
    database.close()
    newer = tmp_path / "newer"
    Store(newer).close()
    database = sqlite3.connect(newer)
    database.execute("PRAGMA user_version = 99")
    database.close()
    directory = tmp_path / "directory"
    directory.mkdir()
    for path, words in (
        (text, "no database"),
        (other, "another program"),
        (newer, "newer version"),
        (directory, "cannot be used"),
        (text / "below", "cannot be used"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            Store(path)
    for path in (text, other, newer):
        with pytest.raises(ConfigurationError, match=str(path)):
            read_records(path)
    with pytest.raises(ConfigurationError, match="not there"):
        read_records(tmp_path / "nowhere")
    long = tmp_path / ("a" * 300)
    for use in (Store, Store.copy, read_records):
        with pytest.raises(ConfigurationError, match=f"{long} cannot be used: File name too long"):
            use(long)
    assert text.read_text().startswith("this is no database")


@pytest.mark.parametrize("accounts", [3, 300])
def test_what_was_cut_off(tmp_path: Path, accounts: int) -> None:
    """Within a page SQLite reads zeros for what is missing. A record is whole, or is no JSON."""
    path = tmp_path / "state.sqlite3"
    records = {f"{number:08}": b'{"x":"%s"}' % (b"y" * 400) for number in range(accounts)}
    with Store(path) as store:
        store.save(records)
    whole = path.read_bytes()
    told = 0
    for size in range(4096 + 10, len(whole), len(whole) // 50):
        path.write_bytes(whole[:size])
        try:
            with Store(path) as store:
                loaded = store.load()
        except ConfigurationError as exc:
            assert f"STATE {path} is damaged" in str(exc)  # noqa: PT017 - it need not be raised
            with pytest.raises(ConfigurationError, match=f"{path} is damaged"):
                read_records(path)
            told += 1
        else:
            assert loaded.keys() == records.keys()
            assert any(record.endswith(b"\0") for record in loaded.values())
    assert told > 20


def test_records_of_other_kinds(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    Store(path).close()
    database = sqlite3.connect(path)
    database.execute("INSERT INTO credentials VALUES ('a', 5)")
    database.commit()
    with Store(path) as store, pytest.raises(ConfigurationError, match=f"{path} is damaged"):
        store.load()
    with pytest.raises(ConfigurationError, match=f"{path} is damaged"):
        read_records(path)
    database.execute("DROP TABLE credentials")
    database.execute("CREATE TABLE credentials (other TEXT)")
    database.commit()
    database.close()
    with Store(path) as store, pytest.raises(ConfigurationError, match="no such column"):
        store.load()


@contextmanager
def without_privileges() -> Iterator[None]:
    """As a user whom the file system refuses something; root is refused nothing."""
    if os.name != "posix" or os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)  # nobody
    try:
        yield
    finally:
        os.seteuid(0)


def test_read_only_state_is_refused() -> None:
    # Not in tmp_path: what is above it is closed to other users, and that is another error.
    directory = Path(tempfile.mkdtemp())
    path = directory / "state.sqlite3"
    try:
        with Store(path) as store:
            store.save({"a": b"1"})
        for file in directory.iterdir():
            file.chmod(0o444)
        directory.chmod(0o555)
        with (
            without_privileges(),
            pytest.raises(ConfigurationError, match=f"{path} cannot be used: Permission denied"),
        ):
            Store(path)
        assert read_records(path) == {"a": b"1"}
    finally:
        directory.chmod(0o700)
        shutil.rmtree(directory)


def test_write_that_fails_is_told_once_and_not_raised(tmp_path: Path) -> None:
    told: list[str] = []
    path = tmp_path / "state.sqlite3"
    with Store(path, on_error=told.append) as store:
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("DROP TABLE credentials")
        store.save({"a": b"1"})
        store.save({"a": b"1", "b": b"2"})
        assert store.error is not None
        assert "cannot be written" in store.error
        assert len(told) == 1
        blocker.execute("CREATE TABLE credentials (name TEXT PRIMARY KEY, record BLOB NOT NULL)")
        blocker.close()
        store.save({"a": b"1"})
        assert store.error is None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """As another process has it that writes. For SQLite, another connection is as good as one."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield


def test_lock_is_waited_for_once(tmp_path: Path) -> None:
    told: list[str] = []
    path = tmp_path / "state.sqlite3"
    with Store(path, on_error=told.append, patience=0.001) as store:
        waits: list[int] = []

        def see_wait() -> None:
            # How long SQLite was ready to wait in the last write.
            waits.extend(store._database.execute("PRAGMA busy_timeout").fetchone())

        assert store.save({"a": b"1"})
        see_wait()
        for _ in range(2):
            with locked(path):
                assert not store.save({"a": b"2"})
                see_wait()
                assert not store.save({"a": b"2", "b": b"2"})
                see_wait()
                assert "database is locked" in (store.check() or "")
                see_wait()
            assert store.save({"a": b"3"})
            see_wait()
            assert store.error is None
            assert store.check() is None
            see_wait()
        assert waits == [1, *(1, 0, 0, 0, 1) * 2]
        assert len(told) == 2
        # Another fault is no ground for not waiting.
        with locked(path):
            assert not store.save({"a": b"4"})
            path.rename(tmp_path / "moved")
            assert not store.save({"a": b"4"})
            (tmp_path / "moved").rename(path)
            assert not store.save({"a": b"4"})
            see_wait()
        assert waits[-1] == 1


def test_last_write_waits_for_a_lock_whatever_was_before(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    with Store(path, patience=0.0) as store:
        with locked(path):
            assert not store.save({"a": b"1"})
        assert store.save({"a": b"1"}, last=True)
        assert store._database.execute("PRAGMA busy_timeout").fetchone() == (1000,)


def remove(path: Path) -> None:
    path.unlink()


def remove_directory(path: Path) -> None:
    shutil.rmtree(path.parent)


def replace(path: Path) -> None:
    other = path.with_name("other")
    shutil.copy(path, other)
    other.replace(path)


def remove_lock(path: Path) -> None:
    path.with_name(path.name + ".lock").unlink()


def cut_off(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize(
    ("lose", "words"),
    [
        (remove, "state.sqlite3 is lost: No such file"),
        (remove_directory, "state.sqlite3 is lost: No such file"),
        (replace, "state.sqlite3 is another file than before"),
        (remove_lock, "state.sqlite3.lock is lost"),
        (cut_off, "state.sqlite3 was cut off"),
    ],
)
def test_state_that_is_lost_meanwhile(
    tmp_path: Path, lose: Callable[[Path], None], words: str
) -> None:
    told: list[str] = []
    path = tmp_path / "kept" / "state.sqlite3"
    with Store(path) as store:
        store.save({"a": b"1"})
    with Store(path, on_error=told.append) as store:
        assert store.check() is None
        lose(path)
        assert not store.save({"b": b"2"})
        assert words in (store.check() or "")
        assert len(told) == 1


def test_state_that_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And that has a relative name, which means another file elsewhere."""
    monkeypatch.chdir(tmp_path)
    with Store("state.sqlite3") as store:
        monkeypatch.chdir("/")
        assert store.check() is None
        path = tmp_path / "state.sqlite3"
        path.rename(tmp_path / "moved")
        assert store.check() is not None
        (tmp_path / "moved").rename(path)
        assert store.check() is None
        assert store.save({"a": b"1"})
    assert read_records(path) == {"a": b"1"}


def test_state_grows_and_never_shrinks(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    with Store(path) as store:
        records = {f"{number:08}": bytes(1000) for number in range(500)}
        for number, (name, record) in enumerate(records.items()):
            assert store.save({name: record, f"{number - 50:08}": None})
        assert store.save(dict.fromkeys(records))
        for _ in range(2000):  # the log is put into the file now and then
            assert store.save({"a": bytes(4000)})
        assert store.check() is None


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """A process writes 0, 1, 2, ... and says so after each; it is killed in the midst of it."""
    path = tmp_path / "state.sqlite3"
    program = (
        "import sys\n"
        "from transports.pool.store import Store\n"
        f"store = Store({str(path)!r})\n"
        "for n in range(10**9):\n"
        "    store.save({'a': b'%d' % n})\n"
        "    sys.stdout.write(f'{n}\\n'); sys.stdout.flush()\n"
    )
    for lines in (1, 7, 400):
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
        )
        assert process.stdout is not None
        for _ in range(lines):
            last = int(process.stdout.readline())
        process.kill()
        rest = process.stdout.read().split(b"\n")
        process.stdout.close()
        process.wait()
        if len(rest) > 1:
            last = int(rest[-2])
        with Store(path) as store:
            assert int(store.load()["a"]) >= last


def test_default_path_is_the_users() -> None:
    assert default_path().name == "state.sqlite3"
    assert str(default_path()).startswith(os.path.expanduser("~"))  # noqa: PTH111
