"""`serve --record` and `replay`: what is kept of exchanges, and that it can be done again."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from grokproto import ConfigurationError, Failure, FailureKind, Secret
from grokproto import commands as c
from grokproto import events as e
from grokproto.credentials import CredentialPool, PoolSettings
from grokproto.dialects import DIALECTS
from grokproto.lease import Lease, Outcome
from grokproto.models import ModelTable
from grokproto.settings import Settings
from grokproto.transcript import decode_transcript
from tests.clients.conftest import KEY, start_demo, stop_demo
from tests.playbook import FakeHost, answered, chat_body
from tests.transports.test_cli_offline import invoke
from transports.cli import cli
from transports.standalone.recordings import Recordings, describe_pool

CANARY = "canarysson"


@pytest.fixture(scope="module")
def transcripts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What a server has kept of some exchanges."""
    directory = tmp_path_factory.mktemp("recorded")
    kept = directory / "kept"
    process, url = start_demo(directory, "--record", str(kept))
    client = httpx.Client(base_url=url, headers={"authorization": f"Bearer {KEY}"})
    with client:
        for body in (
            {},
            {"stream": True, "n": 2},
            {"model": "grok-3-search", "search_results": "inline,list", "stream": True},
            {"model": "grok-3-imageGen"},
            {"model": "grok-3-reasoning", "stop": ["e"], "user": CANARY},
            {"text": f"[[fault:reset]] {CANARY}", "stream": True},
            {"text": f"[[fault:limit]] {CANARY}"},
            {"model": "nobody"},
        ):
            text = str(body.pop("text", f"I am {CANARY}."))
            request = {"model": "grok-3", "messages": [{"role": "user", "content": text}], **body}
            client.post("/chat/completions", json=request)
    stop_demo(process)
    return sorted(kept.iterdir())


def test_every_exchange_is_kept_and_private(transcripts: list[Path]) -> None:
    assert len(transcripts) == 8
    for path in transcripts:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert CANARY not in path.read_text().lower()
        assert "demo-account" not in path.read_text()
    assert stat.S_IMODE(transcripts[0].parent.stat().st_mode) == 0o700


def test_every_transcript_can_be_replayed(transcripts: list[Path]) -> None:
    for path in transcripts:
        transcript = decode_transcript(path.read_bytes())
        assert transcript.differs is None
        assert transcript.whole
        told = invoke("replay", str(path)).stdout
        assert told.splitlines()[-1] == (
            f"Replayed {len(transcript.entries)} steps: every command is the recorded one."
        )


def test_decisions_are_told(transcripts: list[Path]) -> None:
    told = invoke("replay", str(transcripts[6])).stdout
    for sentence in (
        "Rotation balanced: the one with most left comes first.",
        "20 left, 1 in flight",
        "That is read as rate_limited: Grok says that this account has used up its calls",
        "others may be tried.",
        "Gives the account back as limited: this group of the account is used up and rests.",
        "is cooling",
        "The pool has none: None of the accounts can answer for grok-3 now",
    ):
        assert sentence in told
    branches = invoke("replay", str(transcripts[1])).stdout
    assert "[1] Over, in order" in branches


def test_quiet_replay(transcripts: list[Path]) -> None:
    (line,) = invoke("replay", "--quiet", str(transcripts[0])).stdout.splitlines()
    assert line.startswith("Replayed ")


def test_difference_is_told(transcripts: list[Path]) -> None:
    lines = transcripts[0].read_bytes().splitlines()
    step = json.loads(lines[2])
    step["command"] = {"is": "Wait", "until": 1.0}
    changed = b"\n".join([*lines[:2], json.dumps(step).encode(), *lines[3:]])
    result = invoke("replay", "--quiet", "-", data=changed, code=1)
    assert "at step 1 another thing is done" in result.stderr
    assert '"is":"Wait"' in result.stderr


def test_what_is_not_the_same_or_not_there_is_told(transcripts: list[Path]) -> None:
    lines = transcripts[0].read_bytes().splitlines()
    head = json.loads(lines[0])
    data = b"\n".join([json.dumps({**head, "differs": 2, "whole": False}).encode(), *lines[1:]])
    told = invoke("replay", "-", data=data).stdout
    assert "From here on only lengths are known" in told
    assert "Replayed 2 steps" in told
    assert "record with --keep-text" in told
    assert "too long to be recorded whole" in told


def test_other_file_is_told() -> None:
    assert "line 1 is no transcript's" in invoke("replay", "-", data=b"hello", code=2).stderr


@pytest.mark.parametrize("odd", [None, -1, "\ud800", [], {"is": "x"}])
def test_damage_ends_in_no_traceback(transcripts: list[Path], odd: Any) -> None:
    lines = transcripts[1].read_bytes().splitlines()
    for number in range(0, len(lines), 5):
        for key in json.loads(lines[number]):
            changed = {**json.loads(lines[number]), key: odd}
            data = b"\n".join([*lines[:number], json.dumps(changed).encode(), *lines[number + 1 :]])
            result = CliRunner().invoke(cli, ["replay", "-"], input=data)
            assert result.exit_code in (0, 1, 2)
            assert result.exception is None or isinstance(result.exception, SystemExit)


def test_deep_file_is_told() -> None:
    told = invoke("replay", "-", data=b"[" * 100_000, code=2).stderr
    assert told == "grokproto: line 1 is no transcript's: it is nested too deeply\n"


def test_what_cannot_be_printed_is_told_all_the_same(transcripts: list[Path]) -> None:
    lines = [json.loads(line) for line in transcripts[0].read_bytes().splitlines()]
    lines[1]["command"]["group"] = "\ud800"
    data = "\n".join(map(json.dumps, lines)).encode()
    result = invoke("replay", "-", data=data, code=1)
    assert "for a call of group \\ud800." in result.stdout
    assert '"group":"\\ud800"' in result.stderr


def test_keep_text_wants_record() -> None:
    assert "--record" in invoke("serve", "--keep-text", code=2).stderr


# The directory


def drive(recordings: Recordings, **fields: Any) -> None:
    """Let one exchange come to its end."""
    exchange = recordings.record(
        chat_body(**fields),
        dialect=DIALECTS["openai_chat"],
        models=ModelTable(),
        settings=Settings(),
        new_id=lambda: "1",
        created=1,
        headers={},
    )
    FakeHost(lambda _: answered("plain.ndjson")).run(exchange)


def test_text_is_kept_where_that_is_wanted(tmp_path: Path) -> None:
    with Recordings(tmp_path / "a" / "b", keep_text=True) as recordings:
        drive(recordings, text="I am Ulrike.")
    (path,) = (tmp_path / "a" / "b").iterdir()
    assert decode_transcript(path.read_bytes()).keeps_text
    assert "I am Ulrike." in path.read_text()


def test_only_so_many_are_kept(tmp_path: Path) -> None:
    (tmp_path / "another.txt").write_text("mine")
    with Recordings(tmp_path, max_files=3) as recordings:
        for _ in range(7):
            drive(recordings)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[0] == "another.txt"
    assert [name[-9:-6] for name in names[1:]] == ["006", "007", "008"]


def test_only_so_much_is_kept(tmp_path: Path) -> None:
    with Recordings(tmp_path, max_bytes=25_000) as recordings:
        for _ in range(6):
            drive(recordings)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert sizes
    assert sum(sizes) <= 25_000


def test_directory_that_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ConfigurationError, match=r"--record .* cannot be used: "):
        Recordings(file / "below")
    told = invoke("serve", "--demo", "--port", "0", "--record", str(file / "below"), code=2).stderr
    assert "cannot be used: Not a directory" in told


def test_what_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    told: list[str] = []
    kept = tmp_path / "kept"
    with Recordings(kept, on_error=told.append) as recordings:
        kept.rmdir()
        drive(recordings)
        drive(recordings)
    assert told == [f"a transcript is missing in {kept}: No such file or directory"]


def test_mistake_of_ours_is_told_and_ends_nothing(tmp_path: Path) -> None:
    told: list[str] = []
    times = iter([0.0, "no time", 0.0])
    with Recordings(tmp_path, on_error=told.append, unix_time=times.__next__) as recordings:  # type: ignore[arg-type]
        drive(recordings)
        drive(recordings)
    assert told == [
        f"a transcript is missing in {tmp_path}: a mistake of this server's (TypeError)"
    ]
    assert len(list(tmp_path.iterdir())) == 1


def test_exchanges_do_not_wait_for_the_disk(tmp_path: Path) -> None:
    told: list[str] = []
    goes_on = threading.Event()
    goes_on.set()

    def wait_for_it() -> float:
        assert goes_on.wait(20)
        return 0.0

    with Recordings(tmp_path, on_error=told.append, unix_time=wait_for_it) as recordings:
        goes_on.clear()
        for _ in range(70):
            drive(recordings)
        assert told == [
            f"a transcript is missing in {tmp_path}: more exchanges end than can be written down"
        ]
        goes_on.set()
    assert 60 < len(list(tmp_path.iterdir())) < 70


# What is told of the accounts


def test_accounts_are_told_of() -> None:
    pool = CredentialPool(PoolSettings())
    names = [pool.add({"sso": Secret(f"cookie-{number}")})[0] for number in range(3)]
    lease = pool.acquire("grok-3", 0.0)
    assert isinstance(lease, Lease)
    asked = c.AcquireCredential("grok-3", 0.0)
    notes = describe_pool(pool, "balanced", 0.0, asked, e.CredentialAcquired(lease))
    first, *others = notes["accounts"]
    assert (first["name"], first["remaining"], first["total"]) == (lease.credential, 19, 20)
    assert {each["name"] for each in others} == set(names) - {lease.credential}
    assert others[0]["remaining"] is None
    failure = Failure(FailureKind.RATE_LIMITED, "Used up.", retry_after=60.0)
    pool.release(lease, Outcome.LIMITED, 1.0, failure)
    given_back = c.ReleaseCredential(lease, Outcome.LIMITED, failure)
    (told,) = describe_pool(pool, "balanced", 1.0, given_back, e.Completed())["accounts"]
    assert (told["state"], told["in_flight"]) == ("cooling", 0)
    assert "Used up." in told["reason"]
    pool.remove(lease.credential)
    assert describe_pool(pool, "balanced", 1.0, given_back, e.Completed())["accounts"] == []
    none = describe_pool(pool, "balanced", 1.0, asked, e.NoCredential("None."))["accounts"]
    assert len(none) == 2


def test_pid_is_in_the_name(tmp_path: Path) -> None:
    with Recordings(tmp_path, unix_time=lambda: 0.0) as recordings:
        drive(recordings)
    (path,) = tmp_path.iterdir()
    assert path.name == f"exchange-19700101T000000Z-{os.getpid()}-000002.jsonl"
