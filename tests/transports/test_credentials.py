"""Credentials over real sockets: quotas, fail-over, guests, own cookies, crashes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from grokproto.credentials import State
from tests.tracebacks import find_traceback
from tests.transports.served import LateClock, RawResponse, Served, chat, with_server
from transports.pool.state_file import read_records
from transports.simulator import Delivery, FaultKind, Simulator

NEW = "/rest/app-chat/conversations/new"
ROOT = Path(__file__).parents[2]


def states(served: Served) -> list[State]:
    """How the credentials are, in the order in which they were added."""
    return [s.state for s in served.scheduler.pool.status(served.scheduler.unix_now)]


async def ask_at_once(served: Served, number: int, **fields: Any) -> list[RawResponse]:
    """Many requests at the same time."""
    answers: list[RawResponse] = []

    async def ask() -> None:
        answers.append(await served.chat(**fields))

    async with trio.open_nursery() as nursery:
        for _ in range(number):
            nursery.start_soon(ask)
    return answers


# Quotas


def test_quotas_are_exact_under_concurrency() -> None:
    async def check(served: Served) -> None:
        served.simulator.site.delivery = Delivery(pace=0.001)
        answers = await ask_at_once(served, 50)
        statuses = sorted(answer.status for answer in answers)
        assert statuses == [200] * 21 + [429] * 29
        accounts = served.simulator.site.accounts.by_name
        assert sorted(accounts[name].calls for name in ("anna", "bert", "cleo")) == [7, 7, 7]
        assert sum(account.refused for account in accounts.values()) == 0

    with_server(check, QUOTAS="grok-3=7/2h", quotas={"grok-3": (7, 7200.0)}, ACQUIRE_WAIT="5")


def test_groups_are_counted_apart() -> None:
    async def check(served: Served) -> None:
        for model in ("grok-3", "grok-3-search", "grok-3-imageGen"):
            assert (await served.chat(model=model)).status == (
                429 if model == "grok-3-imageGen" else 200
            )
        for model in ("grok-2", "grok-3-reasoning", "grok-3-deepsearch", "grok-auto"):
            assert (await served.chat(model=model)).status == 200

    with_server(check, accounts=("anna",), QUOTAS="grok-3=2/2h")


def test_what_grok_says_replaces_the_guess() -> None:
    async def check(served: Served) -> None:
        assert (await served.chat()).status == 200
        await served.simulator.site.wait_for(
            lambda: served.simulator.site.calls["/rest/rate-limits"] == 1
        )
        assert (await served.chat()).status == 200
        refused = await served.chat()
        assert refused.status == 429
        assert served.simulator.site.calls == {NEW: 2, "/rest/rate-limits": 1}
        assert 3000 < int(refused.headers["retry-after"]) <= 3600

    with_server(
        check,
        accounts=("anna",),
        quotas={"grok-3": (2, 3600.0)},
        QUOTA_PROBE="true",
        ACQUIRE_WAIT="0",
    )


def test_concurrency_is_bounded_and_waited_for() -> None:
    async def check(served: Served) -> None:
        served.simulator.site.delivery = Delivery(pace=0.002)
        answers = await ask_at_once(served, 12)
        assert [answer.status for answer in answers] == [200] * 12
        accounts = served.simulator.site.accounts.by_name
        assert {account.most_in_flight for account in accounts.values()} == {1}

    with_server(check, CREDENTIAL_CONCURRENCY="1", ACQUIRE_WAIT="15")


def test_busy_for_too_long() -> None:
    async def check(served: Served) -> None:
        served.simulator.site.faults.order(FaultKind.STALL_BEFORE_HEAD)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.chat)
            await served.simulator.site.wait_for(lambda: served.simulator.site.in_flight == 1)
            answer = await served.chat()
            assert answer.status == 429
            assert "1 is busy" in answer.error["message"]
            assert "retry-after" in answer.headers
            nursery.cancel_scope.cancel()

    with_server(check, accounts=("anna",), CREDENTIAL_CONCURRENCY="1", ACQUIRE_WAIT="0.1")


# What a failure does


def test_limit_cools_the_group_and_goes_on_with_another() -> None:
    async def check(served: Served) -> None:
        served.simulator.site.faults.order(FaultKind.LIMIT, account="anna", times=None)
        for _ in range(4):
            assert (await served.chat()).status == 200
        assert served.simulator.site.accounts.by_name["anna"].paths[NEW] == 1
        assert states(served) == [State.COOLING, State.READY, State.READY]
        served.simulator.site.faults.clear()
        assert (await served.chat(model="grok-3-reasoning")).status == 200

    with_server(check, ROTATION="fill-first")


def test_limit_in_the_stream_cools_too() -> None:
    async def check(served: Served) -> None:
        served.simulator.site.faults.order(FaultKind.LIMIT_IN_STREAM, account="anna")
        answer = await served.chat()
        assert answer.status == 200
        assert states(served) == [State.COOLING, State.READY, State.READY]

    with_server(check, ROTATION="fill-first")


@pytest.mark.parametrize("kind", ["dead", "blocked"])
def test_dead_and_blocked_accounts_are_disabled_with_the_reason(kind: str) -> None:
    async def check(served: Served) -> None:
        setattr(served.simulator.site.accounts.get("anna"), kind, True)
        assert (await served.chat()).status == 200
        first = next(served.scheduler.pool.status(served.scheduler.unix_now))
        assert first.state is State.DISABLED
        assert first.reason is not None
        assert ("sso cookie" if kind == "dead" else "blocked") in first.reason
        checks = served.simulator.site.accounts.get("anna").paths["/rest/rate-limits"]
        assert checks == (1 if kind == "dead" else 0)

    with_server(check, ROTATION="fill-first")


@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.BLOCK_PAGE,
        FaultKind.ANTI_BOT,
        FaultKind.SERVER_ERROR,
        FaultKind.OVERLOADED,
        FaultKind.RESET_BEFORE_HEAD,
    ],
)
def test_faults_of_nobodys_leave_the_accounts_alone(kind: FaultKind) -> None:
    async def check(served: Served) -> None:
        served.simulator.site.faults.order(kind, times=None)
        for _ in range(4):
            assert (await served.chat()).status in (502, 503)
        assert states(served) == [State.READY] * 3
        for status in served.scheduler.pool.status(served.scheduler.unix_now):
            assert all(group.remaining == group.total for group in status.groups)

    with_server(check)


@pytest.mark.parametrize("kind", [FaultKind.SERVER_ERROR, FaultKind.RESET_BEFORE_HEAD])
def test_storm_does_not_multiply_the_load(kind: FaultKind) -> None:
    """Ten second tries in all, and another one for each ten answers."""

    async def check(served: Served) -> None:
        site = served.simulator.site
        site.faults.order(kind, times=None)
        answers = await ask_at_once(served, 60)
        assert {answer.error["code"] for answer in answers} <= {"upstream", "network"}
        assert site.calls[NEW] == 60 + 10
        site.faults.clear()
        assert {answer.status for answer in await ask_at_once(served, 20)} == {200}
        site.calls.clear()
        site.faults.order(kind, times=None)
        await ask_at_once(served, 20)
        assert site.calls[NEW] == 20 + 2

    with_server(
        check,
        quotas={"grok-3": (1000, 7200.0)},
        MAX_ATTEMPTS="10",
        ACQUIRE_WAIT="15",
        CREDENTIAL_CONCURRENCY="20",
    )


def test_none_is_free() -> None:
    async def check(served: Served) -> None:
        served.simulator.site.accounts.get("anna").blocked = True
        await served.chat()
        await served.chat()
        answer = await served.chat()
        assert answer.status == 429
        assert answer.error["type"] == "rate_limit_error"
        assert 7000 < int(answer.headers["retry-after"]) <= 7200
        assert "1 is cooling down" in answer.error["message"]
        assert "1 is disabled" in answer.error["message"]

    with_server(check, accounts=("anna", "bert"), ROTATION="fill-first", QUOTAS="grok-3=2/2h")


# Guests


GUESTS = {"IS_TEMP_GROK2": "true"}


def test_guests_serve_grok_2() -> None:
    async def check(served: Served) -> None:
        for model in ("grok-2", "grok-2-search", "grok-2-imageGen"):
            assert (await served.chat(model=model)).status == 200
        users = {each.account for each in served.simulator.site.received if each.path == NEW}
        assert users
        assert all(user is not None and user.startswith("guest:") for user in users)
        assert (await served.chat(model="grok-3")).status == 200
        assert served.simulator.site.received[-1].account == "anna"

    with_server(check, accounts=("anna",), **GUESTS, ACQUIRE_WAIT="5")


def test_guest_calls_are_bounded() -> None:
    async def check(served: Served) -> None:
        served.simulator.site.delivery = Delivery(pace=0.002)
        answers = await ask_at_once(served, 8, model="grok-2")
        assert [answer.status for answer in answers] == [200] * 8
        assert served.simulator.site.most_in_flight == 2
        assert len(served.simulator.site.accounts.guests) <= 2

    with_server(check, accounts=(), **GUESTS, GROK2_CONCURRENCY_LEVEL="2", ACQUIRE_WAIT="15")


def test_guest_that_is_used_up_is_replaced() -> None:
    async def check(served: Served) -> None:
        for _ in range(3):
            assert (await served.chat(model="grok-2")).status == 200
        assert len(served.simulator.site.accounts.guests) >= 2

    with_server(
        check,
        accounts=(),
        **GUESTS,
        GROK2_CONCURRENCY_LEVEL="2",
        QUOTAS="grok-2=2/2h",
        ACQUIRE_WAIT="5",
    )


def test_guests_are_replaced_at_a_bounded_rate() -> None:
    """Two at once, and then one in thirty seconds, however many clients ask."""

    async def check(served: Served) -> None:
        site = served.simulator.site
        assert (await served.chat(model="grok-2")).status == 200
        await site.wait_for(lambda: site.calls["/"] == 2)
        assert (await served.chat(model="grok-2")).status == 200  # both are used up
        clock.late = 29.0
        answers = await ask_at_once(served, 20, model="grok-2")
        assert {answer.status for answer in answers} == {429}
        assert {answer.headers["retry-after"] for answer in answers} == {"1"}
        assert "a new one is asked for in 1 s" in answers[0].error["message"]
        assert site.calls["/"] == 2
        clock.late = 31.0
        answers = await ask_at_once(served, 20, model="grok-2")
        assert sorted(answer.status for answer in answers) == [200, *[429] * 19]
        assert site.calls["/"] == 3

    clock = LateClock()
    with_server(
        check, accounts=(), unix_time=clock, **GUESTS, QUOTAS="grok-2=1/2h", ACQUIRE_WAIT="5"
    )


def test_site_that_gives_no_guests() -> None:
    async def with_account(served: Served) -> None:
        served.simulator.site.gives_guests = False
        served.simulator.site.accounts.guests.clear()
        assert (await served.chat(model="grok-2")).status == 200
        assert served.simulator.site.received[-1].account == "anna"

    async def without(served: Served) -> None:
        served.simulator.site.gives_guests = False
        answer = await served.chat(model="grok-2")
        assert answer.status in (429, 503)
        assert "guest" in answer.error["message"]

    variables = {**GUESTS, "ACQUIRE_WAIT": "5"}
    with_server(with_account, accounts=("anna",), no_guests=True, **variables)
    with_server(without, accounts=(), no_guests=True, **variables)


def test_guests_of_the_operator() -> None:
    async def check(served: Served) -> None:
        guest = served.simulator.site.accounts.make_guest()
        text = "; ".join(f"{name}={value}" for name, value in guest.items())
        assert text == SESSION
        assert (await served.chat(model="grok-2")).status == 200
        assert served.simulator.site.calls["/"] == 0

    with_server(
        check,
        accounts=(),
        no_guests=True,
        **GUESTS,
        GROK2_CONCURRENCY_LEVEL="1",
        GUEST_SESSIONS=json.dumps([SESSION]),
    )


SESSION = "x-anonuserid=1; x-challenge=challenge-1; x-signature=signature-1"


# The user's own cookie


OWN = {"IS_CUSTOM_SSO": "true", "QUOTAS": "grok-3=1/2h"}


def test_own_cookies() -> None:
    async def check(served: Served) -> None:
        async def ask(key: str) -> RawResponse:
            return await served.request(
                "POST", "/v1/chat/completions", chat(), authorization=f"Bearer {key}"
            )

        for user in ("dora", "emil", "dora"):
            assert (await ask(user)).status == 200
            assert served.simulator.site.received[-1].account == user
        assert set(served.simulator.site.accounts.by_name) == {"dora", "emil"}
        assert served.simulator.open_connections == 2  # nor do they share one of these
        served.simulator.site.faults.order(FaultKind.LIMIT)
        limited = await ask("dora")
        assert limited.status == 429
        assert limited.error["code"] == "rate_limited"
        served.simulator.site.accounts.get("emil").dead = True
        assert (await ask("emil")).status == 401
        assert (await ask("no cookie at all")).status == 401
        assert (await ask("")).status == 401
        refused = await served.request("GET", "/get/tokens", authorization="Bearer dora")
        assert (refused.status, refused.error["code"]) == (403, "own_cookie_mode")

    with_server(check, **OWN)


def test_own_cookies_need_no_state_and_no_sso(tmp_path: Path) -> None:
    state = tmp_path / "state.sqlite3"
    variables = {"IS_CUSTOM_SSO": "true", "STATE": str(state), "SSO": "no cookie at all"}
    first = Process.start(**variables)
    second = Process.start(**variables)
    for server in (first, second):
        assert find_traceback(server.end(signal.SIGTERM)) == ""
        assert server.process.returncode == 0
    assert list(tmp_path.iterdir()) == []


# Seen and changed while running


def test_routes_of_the_administrator() -> None:
    async def check(served: Served) -> None:
        await served.chat()
        listed = (await served.request("GET", "/get/tokens")).json
        (name,) = listed
        assert re.fullmatch("[0-9a-f]{8}", name)
        assert listed[name]["grok-3"]["isValid"] is True
        assert listed[name]["grok-3"]["totalRequestCount"] == 1
        assert listed[name]["grok-3-reasoning"]["totalRequestCount"] == 0
        added = await served.request("POST", "/add/token", {"sso": "sso=bert"})
        assert added.json["added"] is True
        assert (await served.request("POST", "/add/token", {"sso": "bert"})).json["added"] is False
        await served.chat()
        assert served.simulator.site.received[-1].account == "bert"
        assert served.scheduler.pool.disable(name, "Not today.", served.scheduler.unix_now)
        listed = (await served.request("GET", "/get/tokens")).json
        assert listed[name]["grok-3"]["isValid"] is False
        assert listed[name]["grok-3"]["reason"] == "Not today."
        assert (await served.request("POST", "/enable/token", {"sso": "anna"})).status == 200
        gone = await served.request("POST", "/delete/token", {"sso": name})
        assert gone.json == {"credential": name, "removed": True}
        again = await served.request("POST", "/delete/token", {"sso": name})
        assert (again.status, again.error["code"]) == (404, "credential_not_found")
        for body in ({}, {"sso": 7}, {"sso": "a;b"}, b"{", [1]):
            answer = await served.request("POST", "/add/token", body)
            assert answer.status == 400
            assert "a;b" not in answer.error["message"]
        for path in ("/get/tokens", "/add/token"):
            method = "GET" if "get" in path else "POST"
            assert (await served.request(method, path, authorization="")).status == 401

    with_server(check, accounts=("anna",))


# Kept


def test_state_survives_a_restart(tmp_path: Path) -> None:
    state = str(tmp_path / "state.sqlite3")
    variables = {"STATE": state, "QUOTAS": "grok-3=3/2h", "ROTATION": "fill-first"}

    async def first(served: Served) -> None:
        served.simulator.site.accounts.get("anna").blocked = True
        await served.request("POST", "/add/token", {"sso": "cleo"})
        await served.chat()
        await served.chat()

    async def second(served: Served) -> None:
        assert states(served) == [State.DISABLED, State.READY, State.READY]
        assert (await served.chat()).status == 200
        assert served.simulator.site.received[-1].account == "bert"
        assert (await served.chat()).status == 200
        assert served.simulator.site.received[-1].account == "cleo"
        assert states(served) == [State.DISABLED, State.COOLING, State.READY]

    async def third(served: Served) -> None:
        assert len(states(served)) == 2  # bert is not configured any more

    with_server(first, accounts=("anna", "bert"), **variables)
    with_server(second, accounts=("anna", "bert"), **variables)
    with_server(third, accounts=("anna",), **variables)


def test_writes_that_fail_are_told_by_health(tmp_path: Path) -> None:
    async def check(served: Served) -> None:
        assert (await served.request("GET", "/health")).json["status"] == "ok"
        served.scheduler.store._database.execute("DROP TABLE credentials")
        assert (await served.chat()).status == 200
        health = (await served.request("GET", "/health")).json
        assert health["status"] == "degraded"
        assert "cannot be written" in health["state"]

    with_server(check, STATE=str(tmp_path / "state.sqlite3"))


def test_change_that_is_not_on_record_is_told(tmp_path: Path) -> None:
    """It holds all the same, until a restart; asked for again, it is on record."""

    async def check(served: Served) -> None:
        database = served.scheduler.store._database
        added = await served.request("POST", "/add/token", {"sso": "bert"})
        name = added.json["credential"]
        database.execute("PRAGMA query_only = ON")
        for path, sso in (("/add", "cleo"), ("/enable", name), ("/delete", name)):
            answer = await served.request("POST", f"{path}/token", {"sso": sso})
            assert (answer.status, answer.error["code"]) == (503, "state_not_written")
            assert answer.error["type"] == "server_error"
            assert "restart" in answer.error["message"]
        assert states(served) == [State.READY, State.READY]
        assert served.scheduler.store.load().keys() >= {name}
        database.execute("PRAGMA query_only = OFF")
        again = await served.request("POST", "/add/token", {"sso": "cleo"})
        assert (again.status, again.json["added"]) == (200, False)
        assert again.json["credential"] in served.scheduler.store.load()
        assert name not in served.scheduler.store.load()

    with_server(check, accounts=("anna",), STATE=str(tmp_path / "state.sqlite3"))


@attrs.define
class Process:
    """A server in a process of its own, in front of a simulator of ours."""

    process: subprocess.Popen[str]
    url: str

    @classmethod
    def start(cls, **environment: str) -> Process:
        """Start it."""
        process = subprocess.Popen(
            [sys.executable, "-m", "transports", "serve"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"],
                "PORT": "0",
                "IS_TEMP_GROK2": "false",
                **environment,
            },
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        if found is None:
            _, errors = process.communicate()
            raise AssertionError(errors)
        return cls(process, found[0])

    def end(self, number: signal.Signals) -> str:
        """End it by a signal; give its log."""
        self.process.send_signal(number)
        return self.process.communicate(timeout=20)[1]


def ask(url: str) -> int:
    """Ask for a completion; the status, or 0 where the connection broke."""
    request = urllib.request.Request(
        f"{url}/chat/completions",
        json.dumps(chat()).encode(),
        {"authorization": "Bearer sk-123456789"},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            response.read()
            return int(response.status)
    except urllib.error.HTTPError as exc:
        with exc:
            exc.read()
            return exc.code
    except OSError:
        return 0


def test_kill_9_loses_no_call(tmp_path: Path) -> None:
    state = tmp_path / "state.sqlite3"

    async def main() -> None:
        simulator = Simulator(quotas={"grok-3": (1000, 7200.0)})
        simulator.site.delivery = Delivery(pace=0.002)
        async with trio.open_nursery() as nursery:
            await nursery.start(simulator.run)
            variables = {
                "STATE": str(state),
                "SSO": "anna",
                "QUOTAS": "grok-3=30/2h",
                "QUOTA_PROBE": "false",
                "ACQUIRE_WAIT": "0",
                "CREDENTIAL_CONCURRENCY": "100",
                "GROK_BASE_URL": simulator.base_url,
            }
            for after in (5, 13):
                server = await trio.to_thread.run_sync(lambda: Process.start(**variables))
                async with trio.open_nursery() as asking:
                    for _ in range(9):
                        asking.start_soon(trio.to_thread.run_sync, ask, server.url)
                    await simulator.site.wait_for(
                        lambda after=after: simulator.site.calls[NEW] >= after
                    )
                    await trio.to_thread.run_sync(server.end, signal.SIGKILL)
            seen = simulator.site.calls[NEW]
            server = await trio.to_thread.run_sync(lambda: Process.start(**variables))
            statuses = [await trio.to_thread.run_sync(ask, server.url) for _ in range(40)]
            log = await trio.to_thread.run_sync(server.end, signal.SIGTERM)
            assert find_traceback(log) == ""
            assert simulator.site.calls[NEW] <= 30
            assert statuses.count(200) == simulator.site.calls[NEW] - seen
            assert statuses[-1] == 429
            nursery.cancel_scope.cancel()

    trio.run(main)
    (record,) = read_records(state).values()
    assert json.loads(record)["ledgers"][0]["used"] == 30


def test_state_that_another_server_holds(tmp_path: Path) -> None:
    variables = {"STATE": str(tmp_path / "state.sqlite3"), "SSO": "anna"}
    server = Process.start(**variables)
    try:
        with pytest.raises(AssertionError, match="held by another server"):
            Process.start(**variables)
    finally:
        server.end(signal.SIGTERM)
