"""What happens to an account when ..., over real sockets: who is charged, rests, or is next."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import trio

from grokproto.credentials import CredentialStatus, State
from tests.transports.served import LateClock, Served, chat, with_server
from tests.transports.test_credentials import Process, ask
from transports.pool.state_file import read_records
from transports.simulator import Delivery, FaultKind, Simulator, Style

NEW = "/rest/app-chat/conversations/new"
LIMITS = "/rest/rate-limits"
UPLOAD = "/rest/app-chat/upload-file"
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
MANY = dict.fromkeys(("grok-3", "grok-latest", "DEEPSEARCH", "REASONING"), (1000, 86400.0))
FIVE = ("anna", "bert", "cleo", "dora", "emil")


def look(served: Served, number: int = 0) -> CredentialStatus:
    """How an account is, by its place."""
    return list(served.scheduler.pool.status(served.scheduler.unix_now))[number]


def used(status: CredentialStatus) -> dict[str, int]:
    """Calls that are counted, by group."""
    return {group.group: group.total - group.remaining for group in status.groups}


def askers(served: Served, path: str = NEW) -> list[str | None]:
    """The accounts that were used, in order."""
    return [each.account for each in served.simulator.site.received if each.path == path]


async def idle(served: Served) -> None:
    """Wait until all leases are back."""
    while look(served).in_flight:
        await trio.testing.wait_all_tasks_blocked(0.001)


# Windows


@pytest.mark.parametrize(
    ("models", "calls", "window"),
    [
        (("grok-2", "grok-2-search"), 20, 7200),
        (("grok-3", "grok-3-search"), 20, 7200),
        (("grok-3-deepsearch",), 10, 86400),
        (("grok-3-reasoning",), 10, 86400),
    ],
)
def test_what_an_account_has_unless_somebody_says_otherwise(
    models: tuple[str, ...], calls: int, window: int
) -> None:
    async def check(served: Served) -> None:
        for number in range(calls):
            assert (await served.chat(model=models[number % len(models)])).status == 200
        for model in models:
            refused = await served.chat(model=model)
            assert refused.status == 429
            assert window - 60 < int(refused.headers["retry-after"]) <= window
        assert (await served.chat(model="grok-auto")).status == 200
        assert served.simulator.site.calls == {NEW: calls + 1}

    with_server(check, accounts=("anna",), quotas=MANY, ACQUIRE_WAIT="0")


def test_window_opens_with_its_first_call_and_refills_when_it_ends() -> None:
    async def check(served: Served) -> None:
        clock.late = 5000.0
        assert (await served.chat()).status == 200
        clock.late += 7000.0
        assert (await served.chat()).status == 200
        refused = await served.chat()
        assert (refused.status, refused.headers["retry-after"]) == (429, "200")
        clock.late += 199.0
        assert (await served.chat()).status == 429
        clock.late += 2.0
        assert (await served.chat()).status == 200
        assert used(look(served)) == {"grok-3": 1}

    clock = LateClock()
    with_server(
        check,
        accounts=("anna",),
        quotas=MANY,
        unix_time=clock,
        QUOTAS="grok-3=2/2h",
        ACQUIRE_WAIT="0",
    )


def test_grok_is_not_asked_again_and_again_about_quotas() -> None:
    """Once in a window, though it gives no answer; and once only, where it gives one."""

    async def check(served: Served) -> None:
        site = served.simulator.site
        site.faults.order(FaultKind.SERVER_ERROR, path=LIMITS)
        for _ in range(4):
            assert (await served.chat()).status == 200
            await site.wait_for(lambda: site.calls[LIMITS] == 1)
            await idle(served)
        for _ in range(3):
            clock.late += 7201.0
            assert (await served.chat()).status == 200
            await site.wait_for(lambda: site.calls[LIMITS] == 2)
            await idle(served)
        assert site.calls == {NEW: 7, LIMITS: 2}
        assert look(served).groups[0].known

    clock = LateClock()
    with_server(check, accounts=("anna",), quotas=MANY, unix_time=clock, QUOTA_PROBE="true")


# Rotation


@pytest.mark.parametrize(
    ("rotation", "expected"),
    [
        ("balanced", ["bert", "cleo", "bert", "cleo", "anna"]),
        ("round-robin", ["bert", "cleo", "anna", "bert", "cleo"]),
        ("fill-first", ["anna", "bert", "bert", "bert", "cleo"]),
    ],
)
def test_rotation(rotation: str, expected: list[str]) -> None:
    """Each has three calls, and anna, who came first, has made two of hers."""

    async def check(served: Served) -> None:
        pool, now = served.scheduler.pool, served.scheduler.unix_now
        others = [status.name for status in pool.status(now)][1:]
        for name in others:
            pool.disable(name, "For a moment.", now)
        for _ in range(2):
            assert (await served.chat()).status == 200
        for name in others:
            pool.enable(name)
        for _ in range(5):
            assert (await served.chat()).status == 200
        assert askers(served) == ["anna", "anna", *expected]

    accounts = ("anna", "bert", "cleo")
    with_server(check, accounts=accounts, QUOTAS="grok-3=3/2h", ROTATION=rotation)


# Who is charged


def test_call_is_on_record_before_grok_sees_it(tmp_path: Path) -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        site.faults.order(FaultKind.STALL_BEFORE_BODY)
        client = await served.connect()
        async with client.stream:
            await client.send_request("POST", "/v1/chat/completions", chat())
            await site.wait_for(lambda: site.calls[NEW] == 1)
            (record,) = read_records(state).values()
            assert json.loads(record)["ledgers"][0]["used"] == 1
        await idle(served)

    state = tmp_path / "state.sqlite3"
    with_server(check, accounts=("anna",), STATE=str(state))


@pytest.mark.parametrize(("path", "charged"), [(UPLOAD, 0), (NEW, 1)])
def test_client_that_leaves_is_charged_for_what_was_asked(path: str, charged: int) -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        site.faults.order(FaultKind.STALL_BEFORE_HEAD, path=path)
        client = await served.connect()
        body = {**chat(), "messages": [{"role": "user", "content": [PICTURE]}]}
        await client.send_request("POST", "/v1/chat/completions", body)
        await site.wait_for(lambda: site.calls[path] == 1)
        await client.stream.aclose()
        await site.wait_for(lambda: site.open_calls == 0)
        await idle(served)
        assert used(look(served)).get("grok-3") == charged

    with_server(check, accounts=("anna",))


@pytest.mark.parametrize(
    ("kind", "charged"),
    [
        (FaultKind.BLOCK_PAGE, 0),
        (FaultKind.SERVER_ERROR, 0),
        (FaultKind.RESET_BEFORE_HEAD, 0),
        (FaultKind.RESET, 1),
        (FaultKind.STALL_BEFORE_HEAD, 1),
        (FaultKind.LIMIT, 1),
        (FaultKind.BLOCKED_ACCOUNT, 1),
    ],
)
def test_who_is_charged_for_a_call_that_failed(kind: FaultKind, charged: int) -> None:
    async def check(served: Served) -> None:
        served.simulator.site.faults.order(kind)
        assert (await served.chat()).status != 200
        assert used(look(served))["grok-3"] == charged
        assert look(served).in_flight == 0

    with_server(check, accounts=("anna",), MAX_ATTEMPTS="1", UPSTREAM_FIRST_BYTE_TIMEOUT="0.2")


# Who rests, and for how long


@pytest.mark.parametrize(("told", "rest"), [("100", 100), (None, 7200), ("0", 1)])
def test_group_rests_as_long_as_grok_says(told: str | None, rest: int) -> None:
    async def check(served: Served) -> None:
        headers = {"content-type": "application/json", **({"retry-after": told} if told else {})}
        body = b'{"error":{"code":8,"message":"Too many requests","details":[]}}'
        served.simulator.site.faults.order_answer(429, headers, body, account="anna")
        assert (await served.chat()).status == 200
        assert askers(served) == ["anna", "bert"]
        (group,) = look(served).groups
        assert group.until is not None
        assert rest - 2 < group.until - served.scheduler.unix_now <= rest
        assert (await served.chat(model="grok-3-reasoning")).status == 200
        assert askers(served)[-1] == "anna"  # her other groups go on

    with_server(check, accounts=("anna", "bert"), ROTATION="fill-first")


@pytest.mark.parametrize("confirmed", [False, True])
def test_refused_cookie_is_asked_about_once_more(confirmed: bool) -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        site.faults.order(FaultKind.DEAD_COOKIE, account="anna")
        if confirmed:
            site.faults.order(FaultKind.DEAD_COOKIE, account="anna", path=LIMITS, times=None)
        assert (await served.chat()).status == 200
        assert askers(served) == ["anna", "bert"]
        assert askers(served, LIMITS) == ["anna"]
        assert look(served).state is (State.DISABLED if confirmed else State.READY)
        if not confirmed:
            assert used(look(served))["grok-3"] == 0

    with_server(check, accounts=("anna", "bert"), ROTATION="fill-first")


def test_kill_9_forgets_neither_who_is_disabled_nor_who_rests(tmp_path: Path) -> None:
    async def main() -> None:
        simulator = Simulator()
        simulator.site.accounts.get("anna").blocked = True
        simulator.site.faults.order(FaultKind.LIMIT, account="bert")
        async with trio.open_nursery() as nursery:
            await nursery.start(simulator.run)
            variables = {
                "STATE": str(tmp_path / "state.sqlite3"),
                "SSO": "anna,bert,cleo",
                "ROTATION": "fill-first",
                "QUOTA_PROBE": "false",
                "GROK_BASE_URL": simulator.base_url,
            }
            for expected in (["anna", "bert", "cleo"], ["cleo"]):
                simulator.site.received.clear()
                server = await trio.to_thread.run_sync(lambda: Process.start(**variables))
                assert await trio.to_thread.run_sync(ask, server.url) == 200
                await trio.to_thread.run_sync(server.end, signal.SIGKILL)
                assert [each.account for each in simulator.site.received] == expected
            nursery.cancel_scope.cancel()

    trio.run(main)


# Going on with another


@pytest.mark.parametrize(
    ("attempts", "kind", "calls"),
    [
        (None, FaultKind.LIMIT, 3),
        ("1", FaultKind.LIMIT, 1),
        ("5", FaultKind.LIMIT, 5),
        ("9", FaultKind.LIMIT, 5),
        ("5", FaultKind.DEAD_COOKIE, 5),
        ("5", FaultKind.SERVER_ERROR, 2),
        ("5", FaultKind.RESET_BEFORE_HEAD, 2),
        ("5", FaultKind.BLOCK_PAGE, 1),
    ],
)
def test_attempts_are_bounded_and_each_is_anothers(
    attempts: str | None, kind: FaultKind, calls: int
) -> None:
    async def check(served: Served) -> None:
        served.simulator.site.faults.order(kind, times=None)
        assert (await served.chat()).status in (429, 502, 503)
        asked = askers(served)
        assert len(asked) == len(set(asked)) == calls

    variables = {} if attempts is None else {"MAX_ATTEMPTS": attempts}
    with_server(check, accounts=FIVE, **variables)


def test_uploads_are_repeated_for_the_next_one() -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        site.faults.order(FaultKind.LIMIT, account="anna")
        content = [{"type": "text", "text": "what is it?"}, PICTURE, PICTURE]
        body = {**chat(), "messages": [{"role": "user", "content": content}]}
        answer = await served.request("POST", "/v1/chat/completions", body)
        assert answer.status == 200
        assert askers(served) == ["anna", "bert"]
        assert askers(served, UPLOAD) == ["anna", "anna", "bert", "bert"]
        (question,) = (e for e in site.received if e.path == NEW and e.account == "bert")
        assert set(question.body["fileAttachments"]) == site.accounts.get("bert").files

    with_server(check, accounts=("anna", "bert"), ROTATION="fill-first")


@pytest.mark.parametrize("kind", [FaultKind.RESET, FaultKind.LIMIT_IN_STREAM])
def test_nobody_is_asked_again_once_the_client_has_seen_a_part(kind: FaultKind) -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        site.style = Style(tokens=60)
        site.delivery = Delivery(pace=0.001)
        site.faults.order(kind, times=None)
        answer = await served.chat(stream=True)
        assert answer.status == 200
        assert "error" in answer.events[-1]
        assert askers(served) == ["anna"]

    with_server(check, accounts=FIVE)
