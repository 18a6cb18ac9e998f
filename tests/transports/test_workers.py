"""`grokproto serve --workers`: several processes, one pool and one state, whoever is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from grokproto.credentials import CredentialPool
from tests.tracebacks import find_traceback
from tests.transports.served import RawClient, RawResponse, chat
from tests.transports.test_credentials import Process, ask
from tests.transports.test_stops import accepts, refuse
from transports.api.service import build_scheduler
from transports.config import build_config
from transports.pool.scheduler import Scheduler
from transports.pool.state_file import read_records
from transports.pool.store import MEMORY, Store
from transports.simulator import Delivery, Simulator, Style
from transports.standalone import pool_service
from transports.standalone.workers import WorkerError, Workers, run_workers

NEW = "/rest/app-chat/conversations/new"
LIMITS = "/rest/rate-limits"
PATIENCE = 40.0
"""Seconds after which a test has hung. A process takes a third of one to start."""
QUIET = {"QUOTA_PROBE": "false", "ACQUIRE_WAIT": "10", "CREDENTIAL_CONCURRENCY": "100"}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


class Fleet:
    """A server of two processes, in front of a simulator of ours."""

    def __init__(self, simulator: Simulator, variables: dict[str, str]) -> None:
        self.simulator = simulator
        self.site = simulator.site
        self._variables = variables
        self._servers: list[Process] = []

    async def start(self, **more: str) -> Process:
        """Start one."""
        variables = {**self._variables, **more}
        server = await trio.to_thread.run_sync(lambda: Process.start(**variables))
        self._servers.append(server)
        return server

    def kill(self) -> None:
        """Leave none behind, whatever happened."""
        for server in self._servers:
            if server.process.poll() is None:
                for process in (server.process.pid, *list_workers(server)):
                    os.kill(process, signal.SIGKILL)
                server.process.communicate()

    async def end(self, server: Process, number: signal.Signals = signal.SIGTERM) -> str:
        """End it; its log."""
        log = await trio.to_thread.run_sync(server.end, number)
        assert find_traceback(log) == ""
        return log


def with_fleet(check: Callable[[Fleet], Awaitable[None]], **environment: str) -> None:
    """Run a check."""

    async def main() -> None:
        simulator = Simulator(quotas={"grok-3": (1000, 7200.0), "grok-latest": (1000, 7200.0)})
        async with trio.open_nursery() as nursery:
            await nursery.start(simulator.run)
            url = simulator.base_url
            variables = {"WORKERS": "2", "STATE": MEMORY, "SSO": "anna", "GROK_BASE_URL": url}
            fleet = Fleet(simulator, {**variables, **QUIET, **environment})
            try:
                with trio.fail_after(PATIENCE):
                    await check(fleet)
            finally:
                fleet.kill()
            nursery.cancel_scope.cancel()
        assert simulator.errors == []

    trio.run(main)


def list_workers(server: Process) -> list[int]:
    """The processes that answer requests."""
    return list_children(server.process.pid)


def list_children(process: int) -> list[int]:
    """The processes that one has started."""
    threads = Path(f"/proc/{process}/task").iterdir()
    found = (thread.joinpath("children").read_text().split() for thread in threads)
    return sorted(int(process) for children in found for process in children)


def is_gone(process: int) -> bool:
    """Whether there is no such process any more."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def wait_until(condition: Callable[[], bool]) -> None:
    """Look again and again."""
    while not condition():
        await trio.sleep(0.01)


async def connect(server: Process) -> RawClient:
    """A connection to one of the workers."""
    port = int(server.url.split(":")[2].split("/")[0])
    return RawClient(await trio.open_tcp_stream("127.0.0.1", port))


async def request(server: Process, method: str, path: str, body: Any = None) -> RawResponse:
    """One request on a connection of its own."""
    client = await connect(server)
    async with client.stream:
        await client.send_request(method, path, body)
        return await client.read_response()


async def begin_streams(fleet: Fleet, server: Process, number: int) -> list[RawClient]:
    """Streams of which each has begun. Which worker has which is the kernel's to say."""
    clients = [await connect(server) for _ in range(number)]
    for client in clients:
        await client.send_request("POST", "/v1/chat/completions", chat(stream=True))
    await fleet.site.wait_for(lambda: fleet.site.in_flight == number)
    return clients


async def read_to_the_end(client: RawClient) -> bool:
    """Whether a stream came to its proper end."""
    async with client.stream:
        try:
            answer = await client.read_response()
        except (EOFError, trio.BrokenResourceError):
            return False
        return answer.whole and answer.events[-1] is None


def used(state: Path) -> int:
    """Calls that the state has."""
    records = [json.loads(record) for record in read_records(state).values()]
    return sum(ledger["used"] for record in records for ledger in record["ledgers"])


def workers_in(log: str) -> set[str]:
    """Those that have answered requests, by the log."""
    return set(re.findall(r'"event":"request","worker":(\d)', log))


# Quotas


def test_quotas_are_exact_over_two_processes(tmp_path: Path) -> None:
    async def check(fleet: Fleet) -> None:
        fleet.site.delivery = Delivery(pace=0.001)
        server = await fleet.start()
        statuses: list[int] = []

        async def client() -> None:
            statuses.append((await request(server, "POST", "/v1/chat/completions", chat())).status)

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(client)
        assert sorted(statuses) == [200] * 21 + [429] * 29
        accounts = fleet.site.accounts.by_name
        assert [accounts[name].calls for name in ("anna", "bert", "cleo")] == [7, 7, 7]
        assert max(account.most_in_flight for account in accounts.values()) <= 3
        log = await fleet.end(server)
        assert workers_in(log) == {"1", "2"}
        assert used(state) == 21

    state = tmp_path / "state.sqlite3"
    with_fleet(
        check,
        STATE=str(state),
        SSO="anna,bert,cleo",
        QUOTAS="grok-3=7/2h",
        CREDENTIAL_CONCURRENCY="3",
    )


def test_guests_and_questions_are_the_servers_and_not_a_workers() -> None:
    async def check(fleet: Fleet) -> None:
        fleet.site.delivery = Delivery(pace=0.001)
        server = await fleet.start(IS_TEMP_GROK2="true", QUOTA_PROBE="true")
        async with trio.open_nursery() as nursery:
            for number in range(20):
                body = chat(model="grok-2" if number % 2 else "grok-3")
                nursery.start_soon(request, server, "POST", "/v1/chat/completions", body)
        assert workers_in(await fleet.end(server)) == {"1", "2"}
        # Two guests, and a question for each of them and one for anna.
        assert fleet.site.calls == {NEW: 20, "/": 2, LIMITS: 3}

    with_fleet(check)


def test_own_cookies() -> None:
    async def check(fleet: Fleet) -> None:
        server = await fleet.start(IS_CUSTOM_SSO="true", STATE="/dev/null/not/used")
        answer = await request(server, "POST", "/v1/chat/completions", chat())
        assert answer.status == 200
        assert fleet.site.received[-1].account == "sk-123456789"
        assert (await request(server, "GET", "/get/tokens")).error["code"] == "own_cookie_mode"
        await fleet.end(server)

    with_fleet(check)


# The same from every worker


def test_accounts_are_seen_and_changed_by_whichever_worker_answers(tmp_path: Path) -> None:
    async def check(fleet: Fleet) -> None:
        server = await fleet.start()

        async def names() -> set[str]:
            return set((await request(server, "GET", "/get/tokens")).json)

        async def ask_all(path: str, body: Any = None) -> None:
            for _ in range(8):
                method = "GET" if body is None else "POST"
                assert (await request(server, method, path, body)).status == 200

        (first,) = await names()
        await ask_all("/add/token", {"sso": "bert"})
        for _ in range(8):
            assert len(await names()) == 2
        removed = await request(server, "POST", "/delete/token", {"sso": "anna"})
        assert removed.json == {"credential": first, "removed": True}
        missing = await request(server, "POST", "/delete/token", {"sso": "anna"})
        assert (missing.status, missing.error["code"]) == (404, "credential_not_found")
        for _ in range(8):
            assert first not in await names()
        await ask_all("/enable/token", {"sso": "bert"})
        await ask_all("/health")
        await ask_all("/ready")
        await ask_all("/v1/chat/completions", chat())
        assert {each.account for each in fleet.site.received} == {"bert"}
        assert (await request(server, "POST", "/delete/token", {"sso": "bert"})).status == 200
        for _ in range(4):
            assert (await request(server, "GET", "/ready")).status == 503
        assert workers_in(await fleet.end(server)) == {"1", "2"}

    with_fleet(check, STATE=str(tmp_path / "state.sqlite3"))


# Kill -9


def test_worker_that_is_killed(tmp_path: Path) -> None:
    """Its answers break off and stay charged; the others', and what comes after, do not notice."""

    async def check(fleet: Fleet) -> None:
        fleet.site.delivery = Delivery(pace=0.03)
        server = await fleet.start()
        clients = await begin_streams(fleet, server, 16)
        victim, other = list_workers(server)
        os.kill(victim, signal.SIGKILL)
        whole: list[bool] = []

        async def read(client: RawClient) -> None:
            whole.append(await read_to_the_end(client))

        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(read, client)
        assert 0 < whole.count(True) < 16
        assert used(state) == 16
        fleet.site.delivery = Delivery()
        # Who connects meanwhile waits for the one that takes its place.
        statuses = [await trio.to_thread.run_sync(ask, server.url) for _ in range(20)]
        assert statuses == [200] * 14 + [429] * 6
        await wait_until(lambda: len(list_workers(server)) == 2)
        assert other in list_workers(server)
        assert victim not in list_workers(server)
        (shown,) = (await request(server, "GET", "/get/tokens")).json.values()
        assert shown["grok-3"]["totalRequestCount"] == 30
        log = await fleet.end(server)
        assert server.process.returncode == 0
        assert '"a worker ended; another takes its place"' in log
        assert f'"calls":{whole.count(False)}' in log
        assert used(state) == 30

    state = tmp_path / "state.sqlite3"
    # All sixteen are in flight, and none of the places of those that died may be lost.
    with_fleet(check, STATE=str(state), QUOTAS="grok-3=30/2h", CREDENTIAL_CONCURRENCY="16")


def test_server_that_is_killed(tmp_path: Path) -> None:
    """Its workers finish what they do and end; the next server has all that was granted."""

    async def check(fleet: Fleet) -> None:
        fleet.site.delivery = Delivery(pace=0.02)
        server = await fleet.start()
        port = int(server.url.split(":")[2].split("/")[0])
        clients = await begin_streams(fleet, server, 6)
        workers = list_workers(server)
        server.process.kill()
        await trio.to_thread.run_sync(server.process.wait)
        while await accepts(port):
            await trio.sleep(0.01)
        successor = await fleet.start()  # the state is free, though they still finish
        assert used(state) == 6
        assert [await read_to_the_end(client) for client in clients] == [True] * 6
        await wait_until(lambda: all(map(is_gone, workers)))
        assert server.process.stderr is not None
        assert find_traceback(server.process.stderr.read()) == ""
        for stream in (server.process.stdout, server.process.stderr):
            assert stream is not None
            stream.close()
        statuses = [await trio.to_thread.run_sync(ask, successor.url) for _ in range(10)]
        assert statuses == [200] * 4 + [429] * 6
        await fleet.end(successor)
        assert (used(state), fleet.site.calls[NEW]) == (10, 10)

    state = tmp_path / "state.sqlite3"
    with_fleet(check, STATE=str(state), QUOTAS="grok-3=10/2h", ACQUIRE_WAIT="0")


# Stopping


def test_all_workers_stop_in_good_order() -> None:
    async def check(fleet: Fleet) -> None:
        fleet.site.delivery = Delivery(pace=0.02)
        server = await fleet.start()
        port = int(server.url.split(":")[2].split("/")[0])
        clients = await begin_streams(fleet, server, 6)
        workers = list_workers(server)
        server.process.send_signal(signal.SIGTERM)
        while await accepts(port):
            await trio.sleep(0.01)
        assert server.process.poll() is None
        assert [await read_to_the_end(client) for client in clients] == [True] * 6
        await trio.to_thread.run_sync(server.process.wait)
        assert server.process.returncode == 0
        assert all(map(is_gone, workers))
        log = await trio.to_thread.run_sync(lambda: server.process.communicate()[1])
        assert find_traceback(log) == ""
        assert log.count('"stopping"') == 1

    with_fleet(check)


def test_second_signal_ends_all_at_once() -> None:
    async def check(fleet: Fleet) -> None:
        fleet.site.delivery = Delivery(pace=0.02)
        fleet.site.style = Style(tokens=5000)
        server = await fleet.start()
        port = int(server.url.split(":")[2].split("/")[0])
        clients = await begin_streams(fleet, server, 4)
        workers = list_workers(server)
        for process in (server.process.pid, *workers):  # as a terminal does it
            os.kill(process, signal.SIGINT)
        while await accepts(port):
            await trio.sleep(0.01)
        for client in clients:  # they go on
            for _ in range(10):
                assert await client.read_some()
        assert server.process.poll() is None
        assert not all(map(is_gone, workers))  # one that was dealt no stream is
        began = trio.current_time()
        await fleet.end(server, signal.SIGINT)
        assert trio.current_time() - began < 3
        assert server.process.returncode == 0
        assert all(map(is_gone, workers))
        for client in clients:
            await client.stream.aclose()

    with_fleet(check)


def test_worker_that_stands_still_does_not_hold_up_a_stop() -> None:
    async def check(fleet: Fleet) -> None:
        server = await fleet.start()
        workers = list_workers(server)
        os.kill(workers[0], signal.SIGSTOP)
        server.process.send_signal(signal.SIGTERM)
        await fleet.end(server, signal.SIGINT)  # another, lest two become one
        assert server.process.returncode == 0
        assert all(map(is_gone, workers))

    with_fleet(check)


def test_signals_that_say_to_stop_are_for_the_server_only() -> None:
    async def check(fleet: Fleet) -> None:
        server = await fleet.start()
        workers = list_workers(server)
        for worker in workers:
            os.kill(worker, signal.SIGTERM)
            os.kill(worker, signal.SIGINT)
        for _ in range(6):
            assert (await request(server, "GET", "/health")).status == 200
        assert list_workers(server) == workers
        assert "a worker" not in await fleet.end(server)

    with_fleet(check)


def test_worker_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_service, "PING_PAUSE", 0.1)
    monkeypatch.setattr(pool_service, "PING_PATIENCE", 1)
    variables = {"PORT": "0", "WORKERS": "2", "SSO": "anna", "STATE": MEMORY}
    config = build_config({**variables, **QUIET, "IS_TEMP_GROK2": "false"})

    async def main() -> None:
        before = list_children(os.getpid())

        def list_own() -> list[int]:
            return [each for each in list_children(os.getpid()) if each not in before]

        with Store(MEMORY) as store:
            scheduler = build_scheduler(config, store)
            announced = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(
                    run_workers, config, variables, scheduler, lambda _: announced.set()
                )
                with trio.fail_after(PATIENCE):
                    await announced.wait()
                    hanging, other = list_own()
                    os.kill(hanging, signal.SIGSTOP)
                    await wait_until(lambda: is_gone(hanging) and len(list_own()) == 2)
                assert other in list_own()
                nursery.cancel_scope.cancel()

    trio.run(main)


# Starting


def test_port_in_use_though_it_could_be_shared(tmp_path: Path) -> None:
    async def check(fleet: Fleet) -> None:
        server = await fleet.start()
        port = server.url.split(":")[2].split("/")[0]
        with pytest.raises(AssertionError, match=r"cannot listen on 127\.0\.0\.1 port"):
            await trio.to_thread.run_sync(lambda: Process.start(PORT=port, **other))
        await fleet.end(server)

    other = {"WORKERS": "2", "STATE": str(tmp_path / "other"), "SSO": "bert"}
    with_fleet(check)


def test_transcripts_are_of_one_process(tmp_path: Path) -> None:
    done = refuse(
        *("serve", "--workers", "2", "--record", str(tmp_path / "transcripts")),
        code=2,
        directory=tmp_path,
    )
    assert "WORKERS" in done.stderr


def test_worker_that_cannot_start(capfd: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        with Store(MEMORY) as store:
            scheduler = Scheduler(CredentialPool(), store)
            nothing_to_listen_on: list[list[socket.socket]] = [[], []]
            workers = Workers(build_config({}), {}, scheduler, nothing_to_listen_on)
            with pytest.raises(BaseExceptionGroup) as caught:
                await workers.run()
        assert caught.value.subgroup(WorkerError) is not None

    trio.run(main)
    assert "IndexError" in capfd.readouterr().err
