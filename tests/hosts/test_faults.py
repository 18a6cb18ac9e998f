"""Whatever Grok does wrong, the client of every host is told the same."""

from __future__ import annotations

import functools

import pytest
import trio

from grokproto import POLICIES, FailureKind
from tests.hosts.hosting import FOREIGN, with_host
from tests.transports.served import Served, chat
from transports.simulator import FaultKind

Told = str | None
"""The code of the error, if there was one. Whether it comes by status or in the stream depends on
whether a part of the answer came before it."""
WORKERS = 8
KINDS = [kind for kind in FaultKind if kind is not FaultKind.ANSWER]


@functools.cache
def ask_for_all(host: str) -> dict[tuple[FaultKind, bool], Told]:
    """What a client is told of each fault, in both shapes; each account has one to itself."""
    found: dict[tuple[FaultKind, bool], Told] = {}

    async def ask(served: Served, kind: FaultKind, stream: bool) -> None:
        account = f"{kind.value}-{stream}"
        served.simulator.site.faults.order(kind, times=None, account=account)
        answer = await served.request(
            "POST",
            "/v1/chat/completions",
            chat(stream=stream),
            authorization=f"Bearer {account}",
        )
        assert answer.whole, kind
        if answer.status != 200:
            code = str(answer.error["code"])
            assert answer.status in (401, POLICIES[FailureKind(code)].status)
        elif stream and answer.events[-1] is not None:
            code = str(answer.events[-1]["error"]["code"])
        else:
            code = None
        found[kind, stream] = code

    async def check(served: Served) -> None:
        async def work() -> None:
            while left:
                await ask(served, *left.pop())

        left = [(kind, stream) for kind in KINDS for stream in (True, False)]
        async with trio.open_nursery() as nursery:
            for _ in range(WORKERS):
                nursery.start_soon(work)

    with_host(
        host,
        check,
        accounts=(),
        IS_CUSTOM_SSO="true",
        UPSTREAM_FIRST_BYTE_TIMEOUT="1",
        UPSTREAM_IDLE_TIMEOUT="1",
        MAX_LINE_BYTES="100000",
        MAX_ANSWER_BYTES="200000",
    )
    return found


@pytest.mark.parametrize("host", FOREIGN)
def test_every_host_tells_the_same(host: str) -> None:
    expected, found = ask_for_all("server"), ask_for_all(host)
    assert len(expected) == 2 * len(KINDS)
    differences = {
        key: (expected[key], found[key]) for key in expected if expected[key] != found[key]
    }
    assert differences == {}


def test_faults_are_told_and_answers_are_whole() -> None:
    found = ask_for_all("server")
    codes = set(found.values()) - {None}
    assert len(codes) > 8
    assert sum(code is None for code in found.values()) > 10
