"""`grokproto credentials`, `doctor` and `simulate`, as a person runs them."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner
from msgspec.structs import replace

from grokproto.credentials import Cause, Disabled, decode_record, encode_record
from tests.tracebacks import find_traceback
from tests.transports.test_credentials import ROOT, Process
from transports.cli import cli
from transports.pool.state_file import read_records
from transports.pool.store import Store
from transports.simulator import FaultKind, Simulator

FILES = {
    "plain": "cookie-1\n# a comment\ncookie-2,cookie-3\ncookie-1\n",
    "env": "SSO=cookie-1,cookie-2,cookie-3\n",
    "json": '["cookie-1", {"sso": "cookie-2"}, {"token": "cookie-3"}, {"cookie": "sso=cookie-3"}]',
    "lines": '{"sso": "cookie-1"}\n{"cookie": "sso=cookie-2; sso-rw=cookie-2"}\n"cookie-3"\n',
}


def run(
    *arguments: str, text: str = "", code: int = 0, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line; hold its exit code against what is expected."""
    done = subprocess.run(
        [sys.executable, "-m", "transports", *arguments],
        input=text,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        check=False,
        timeout=60,
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    assert find_traceback(done.stderr) == ""
    return done


@pytest.fixture
def state(tmp_path: Path) -> str:
    """A state of its own."""
    return str(tmp_path / "state.sqlite3")


def names(state: str, **environment: str) -> list[str]:
    """The fingerprints of the accounts."""
    listed = run("credentials", "list", "--json", STATE=state, **environment)
    return list(json.loads(listed.stdout))


def test_add_list_remove(state: str) -> None:
    assert names(state) == []
    added = run("credentials", "add", text="cookie-1\n", STATE=state)
    (name,) = names(state)
    assert added.stdout == f"{name} added\n"
    assert "here before" in run("credentials", "add", text="sso=cookie-1", STATE=state).stdout
    assert f"{name}  ready" in run("credentials", "list", STATE=state).stdout
    assert run("credentials", "enable", name, STATE=state).stdout == f"{name} enabled\n"
    assert run("credentials", "remove", name, STATE=state).stdout == f"{name} removed\n"
    assert names(state) == []
    missing = run("credentials", "remove", name, STATE=state, code=2)
    assert "no such credential" in missing.stderr
    wrong = run("credentials", "add", text="not a; cookie", STATE=state, code=2)
    assert "not a; cookie" not in wrong.stderr


@pytest.mark.parametrize("form", sorted(FILES))
def test_import_and_export(state: str, tmp_path: Path, form: str) -> None:
    file = tmp_path / "accounts"
    file.write_text(FILES[form])
    assert run("credentials", "import", str(file), STATE=state).stdout.startswith("Added 3; 0 were")
    again = run("credentials", "import", "-", text=FILES[form], STATE=state)
    assert again.stdout.startswith("Added 0; 3 were")
    out = tmp_path / "out"
    run("credentials", "export", str(out), STATE=state)
    assert out.read_text() == "cookie-1\ncookie-2\ncookie-3\n"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert run("credentials", "export", "-", STATE=state).stdout == out.read_text()


def test_import_with_problems(state: str) -> None:
    done = run("credentials", "import", "-", text="good\nbad one\n", STATE=state, code=1)
    assert "Added 1" in done.stdout
    assert "Line 2" in done.stderr
    assert "bad one" not in done.stderr


def test_import_of_what_is_no_text(state: str, tmp_path: Path) -> None:
    file = tmp_path / "accounts"
    file.write_bytes(b"cookie-1\n\xff\xfe")
    done = run("credentials", "import", str(file), STATE=state, code=2)
    assert f"{file} is not UTF-8" in done.stderr
    assert names(state) == []


def test_both_cookies_are_imported_and_exported(state: str) -> None:
    text = "sso=cookie-1; sso-rw=other-1\ncookie-2\nsso=cookie-1\n"
    done = run("credentials", "import", "-", text=text, STATE=state)
    assert done.stdout == "Added 2; 0 were here before, 1 came twice, 0 could not be read.\n"
    exported = run("credentials", "export", "-", STATE=state).stdout
    assert exported == "sso=cookie-1; sso-rw=other-1\ncookie-2\n"
    (record, *_) = (json.loads(each) for each in read_records(Path(state)).values())
    assert set(record["cookies"]) == {"sso", "sso-rw"}
    name = names(state)[0]
    assert run("credentials", "add", text="cookie-1", STATE=state).stdout == (
        f"{name} was here before\n"
    )


def test_many_are_imported_at_once(state: str) -> None:
    text = "\n".join(f"cookie-{number}" for number in range(2000))
    assert run("credentials", "import", "-", text=text, STATE=state).stdout.startswith("Added 2000")
    assert len(names(state)) == 2000


def test_a_running_server_is_asked(state: str) -> None:
    server = Process.start(STATE=state, SSO="anna")
    port = server.url.split(":")[2].split("/")[0]
    try:
        environment = {"PORT": port, "SSO": "anna"}
        assert len(names(state, **environment)) == 1
        added = run("credentials", "add", text="bert", STATE=state, **environment)
        assert added.stdout.endswith(" added\n")
        assert len(names(state, **environment)) == 2
        text = "cleo\nanna\ncleo\nsso=dora; sso-rw=other"
        imported = run("credentials", "import", "-", text=text, STATE=state, **environment)
        assert imported.stdout.startswith("Added 2; 1 were here before, 1 came twice")
        exported = run("credentials", "export", "-", STATE=state, **environment).stdout
        assert exported == "anna\nbert\ncleo\nsso=dora; sso-rw=other\n"
        unknown = run("credentials", "remove", "nobody", STATE=state, code=2, **environment)
        assert "no such credential" in unknown.stderr
        refused = run("credentials", "add", text="x", STATE=state, code=2, API_KEY="z", PORT=port)
        assert "not one of this server's" in refused.stderr
        nowhere = run("credentials", "add", text="x", STATE=state, code=2, PORT="9")
        assert "none answers" in nowhere.stderr
        hashed = run(
            *("credentials", "add"), text="x", STATE=state, code=2, API_KEY="sha256:" + "0" * 64
        )
        assert "only hashes" in hashed.stderr
    finally:
        server.end(signal.SIGTERM)


def test_looking_changes_nothing(state: str) -> None:
    run("credentials", "add", text="anna", STATE=state)
    before = read_records(Path(state))
    assert len(names(state, SSO="bert,cleo")) == 3
    run("credentials", "list", STATE=state, SSO="bert")
    assert run("credentials", "export", "-", STATE=state, SSO="bert").stdout == "anna\nbert\n"
    assert read_records(Path(state)) == before
    elsewhere = Path(state).with_name("elsewhere")
    assert len(names(str(elsewhere), SSO="anna")) == 1
    assert not elsewhere.exists()


def test_state_that_is_damaged(state: str) -> None:
    run("credentials", "import", "-", text="anna\nbert\n", STATE=state)
    whole = Path(state).read_bytes()
    for size in (4096 + 100, len(whole) - 10):
        Path(state).write_bytes(whole[:size])
        for command in (("credentials", "list"), ("credentials", "add"), ("serve",)):
            done = run(*command, text="cleo", STATE=state, PORT="0", code=2)
            assert done.stderr.startswith(f"grokproto: STATE {state} is damaged (")
            assert done.stderr.count("\n") == 1
        assert f"STATE {state} is damaged" in run("doctor", STATE=state, code=1).stdout


def test_own_cookies_have_no_list(state: str) -> None:
    done = run("credentials", "list", STATE=state, IS_CUSTOM_SSO="true", code=2)
    assert "brings its own cookie" in done.stderr


# The doctor


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A simulated Grok, in a thread of its own."""
    import threading

    started = threading.Event()
    found: list[Simulator] = []
    stop: list[object] = []

    async def main() -> None:
        each = Simulator(quotas={"grok-3": (9, 7200.0)})
        async with trio.open_nursery() as nursery:
            await nursery.start(each.run)
            found.append(each)
            stop.append((trio.lowlevel.current_trio_token(), nursery.cancel_scope))
            started.set()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    started.wait(10)
    yield found[0]
    token, scope = stop[0]  # type: ignore[misc]
    token.run_sync_soon(scope.cancel)  # type: ignore[has-type]
    thread.join(10)


def examine(
    state: str, simulator: Simulator, *arguments: str, code: int, **environment: str
) -> str:
    """What the doctor says."""
    url = simulator.base_url
    return run(
        "doctor",
        *arguments,
        STATE=state,
        code=code,
        GROK_BASE_URL=url,
        GROK_ASSETS_URL=url,
        **environment,
    ).stdout


def test_all_is_well(state: str, simulator: Simulator) -> None:
    said = examine(state, simulator, "--credentials", code=0, SSO="anna,bert")
    assert "PROBLEM" not in said
    assert "warning" not in said
    assert said.count("It has 9 of 9 calls left in 2 hours.") == 2
    assert simulator.site.calls["/rest/rate-limits"] == 2
    assert "/rest/app-chat/conversations/new" not in simulator.site.calls


def test_accounts_of_the_state(state: str, simulator: Simulator) -> None:
    """Those that were added, and why one is out."""
    run("credentials", "import", "-", text="bert\ncleo\n", STATE=state)
    with Store(state) as store:
        (name, record), *_ = store.load().items()
        kept = replace(
            decode_record(record), disabled=Disabled(Cause.BLOCKED, "Grok has blocked it.", 1.0)
        )
        store.save({name: encode_record(kept)})
    said = examine(state, simulator, code=1, SSO="anna")
    assert "There are 3 accounts, 1 of them disabled." in said
    assert f"warning account {name}: It is disabled: Grok has blocked it." in said
    assert f"grokproto credentials enable {name}" in said
    assert simulator.site.calls["/rest/rate-limits"] == 0
    said = examine(state, simulator, "--credentials", code=1)
    assert said.count("It has 9 of 9 calls left") == simulator.site.calls["/rest/rate-limits"] == 2
    run("credentials", "enable", name, STATE=state)
    assert "disabled" not in examine(state, simulator, code=0)


def test_state_that_a_server_holds(state: str, simulator: Simulator) -> None:
    server = Process.start(STATE=state, SSO="anna,bert")
    try:
        said = examine(state, simulator, code=0)
        assert "held by a server that runs now" in said
        assert "There are 2 accounts." in said
    finally:
        server.end(signal.SIGTERM)


def test_own_cookies_are_examined_without_accounts(state: str, simulator: Simulator) -> None:
    said = examine(state, simulator, code=0, IS_CUSTOM_SSO="true", SSO="no cookie at all")
    assert "Each request brings its own cookie" in said
    assert "guests" not in said
    assert not Path(state).exists()


def test_accounts_are_not_asked_unless_told_to(state: str, simulator: Simulator) -> None:
    examine(state, simulator, code=0, SSO="anna")
    assert simulator.site.calls["/rest/rate-limits"] == 0


def test_dead_account_and_challenge(state: str, simulator: Simulator) -> None:
    simulator.site.accounts.get("anna").dead = True
    assert "sso cookie" in examine(state, simulator, "--credentials", code=1, SSO="anna")
    simulator.site.faults.order(FaultKind.BLOCK_PAGE, path="/", times=None)
    lines = examine(state, simulator, "--json", code=1, SSO="anna").splitlines()
    findings = {each["check"]: each for each in map(json.loads, lines)}
    assert findings["site"]["level"] == "warning"
    assert "CF_CLEARANCE" in findings["site"]["sentence"]
    assert all(each["next_step"] for each in findings.values() if each["level"] != "ok")


def test_clock_that_is_wrong(state: str, simulator: Simulator) -> None:
    headers = {"content-type": "text/html", "date": "Wed, 01 Jan 2020 00:00:00 GMT"}
    simulator.site.faults.order_answer(200, headers, b"", path="/", times=None)
    said = examine(state, simulator, code=1, SSO="anna", IS_TEMP_GROK2="false")
    assert "clock: This machine's clock is" in said
    assert "ahead of the site's" in said


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"PORT": "x"}, "PORT must be"),
        ({"SSO": "a b"}, "SSO: "),
        ({"GROK_BASE_URL": "http://127.0.0.1:9"}, "Nothing answers at 127.0.0.1 port 9"),
        ({"GROK_BASE_URL": "http://nowhere.invalid"}, "cannot be resolved"),
        ({"PROXY": "socks5://127.0.0.1:9", "SSO": "a"}, "proxy: Nothing answers"),
        ({"STATE": "/dev/null/x"}, "STATE"),
        ({"STATE": "/dev/null/x", "SSO": "a"}, "There is 1 account."),
        ({"QUOTAS": "grok3=20/2h", "SSO": "a"}, "QUOTAS has grok3, and no model"),
        ({"IS_TEMP_GROK2": "false"}, "There is no account"),
    ],
)
def test_what_is_wrong(
    state: str, simulator: Simulator, environment: dict[str, str], words: str
) -> None:
    url = simulator.base_url
    variables = {"STATE": state, "GROK_BASE_URL": url, "GROK_ASSETS_URL": url, **environment}
    assert words in run("doctor", code=1, **variables).stdout


# The simulation


def test_simulate() -> None:
    enough = json.loads(run("simulate", "--accounts", "4", "--rate", "30", "--json").stdout)
    assert enough["refused"] == 0
    assert enough["requests"] == enough["served"] > 600
    assert enough["fairness"] > 0.95
    few = run("simulate", "--accounts", "2", "--rate", "300").stdout
    assert "ran dry" in few
    assert "None waited" in few
    busy = run("simulate", "--accounts", "2", "--rate", "300", "--concurrency", "1").stdout
    assert re.search(r"\d+ waited for a busy account, half of them under [1-9]\d*\.\d s", busy)
    assert run("simulate", "--accounts", "2", "--rate", "300").stdout == few


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--model x", "'x' is no model"),
        ("--accounts 0", "0 is not in the range"),
        ("--accounts 1000000000", "not in the range"),
        ("--concurrency 0", "0 is not in the range"),
        ("--rate 0", "0.0 is not in the range"),
        ("--rate 1e-320", "not in the range"),
        ("--rate inf", "inf is not in the range"),
        ("--rate nan", "'nan' is not a number"),
        ("--hours inf", "inf is not in the range"),
        ("--hours nan", "'nan' is not a number"),
        ("--call-seconds inf", "inf is not in the range"),
        ("--call-seconds nan", "'nan' is not a number"),
        ("--wait -1", "-1.0 is not in the range"),
        ("--wait nan", "'nan' is not a number"),
        ("--rate 1e9 --hours 1e6", "make 1000000000000000 requests; 2000000 are simulated at most"),
        ("--quotas garbage", "--quotas has the entry 'garbage'"),
    ],
)
def test_simulate_nothing_absurd(options: str, words: str) -> None:
    result = CliRunner().invoke(cli, ["simulate", *options.split()])
    assert result.exit_code == 2
    assert words in result.stderr


def test_simulate_a_moment() -> None:
    assert run("simulate", "--call-seconds", "0", "--wait", "0", "--rate", "30").stdout
    assert run("simulate", "--call-seconds", "1e-320", "--rate", "0.001").stdout


def test_simulate_a_log_of_anything(tmp_path: Path) -> None:
    """What is no request is passed over, be it no text, or no time that there was."""
    ours = '{"event":"request","path":"/v1/chat/completions","timestamp":%s}\n'
    common = '1.2.3.4 - - [%s +0000] "POST /v1/chat/completions HTTP/1.1" 200 5\n'
    noise = [
        common % "99/Xxx/2024:99:99:99",
        common % "01/Jan/0000:00:00:00",
        ours % '"0001-01-01T00:00:00"',
        ours % '"9999-12-31T23:59:59-12:00"',
        ours % "5",
        ours % ("1" + "0" * 5000),
        "[" * 100_000 + "\n",
        '{"a":' * 100_000 + "\n",
    ]
    log = tmp_path / "log"
    written = b"\xff\xfe\x00\n" + "".join(noise).encode()
    log.write_bytes(written + (common % "01/Mar/2026:10:00:00").encode())
    done = CliRunner().invoke(cli, ["simulate", "--log", str(log)], catch_exceptions=False)
    assert done.output.startswith(("1 requests", "2 requests"))  # the year 9999 is one
    log.write_bytes(b"\xff\xfe\x00\n")
    done = CliRunner().invoke(cli, ["simulate", "--log", str(log)], catch_exceptions=False)
    assert done.exit_code == 2
    assert "no line of the log" in done.stderr


def test_simulate_a_log() -> None:
    ours = "\n".join(
        json.dumps(
            {
                "event": "request",
                "path": "/v1/chat/completions",
                "model": "grok-3-reasoning",
                "timestamp": f"2026-03-01T10:00:{second:02}Z",
            }
        )
        for second in range(30)
    )
    report = json.loads(
        run(
            "simulate", "--accounts", "2", "--log", "-", "--json", text=ours + "\nnoise\n[1]\n"
        ).stdout
    )
    assert (report["requests"], report["served"]) == (30, 20)
    common = "".join(
        f'1.2.3.4 - - [01/Mar/2026:10:{minute:02}:00 +0000] "POST {path} HTTP/1.1" 200 5\n'
        for minute in range(20)
        for path in ("/v1/chat/completions", "/health")
    )
    report = json.loads(run("simulate", "--log", "-", "--json", text=common).stdout)
    assert (report["requests"], report["served"]) == (20, 20)
    assert "no line" in run("simulate", "--log", "-", text="noise", code=2).stderr
