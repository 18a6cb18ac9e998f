"""What a request has held goes with it, and does not wait for the garbage collector.

A request may hold tens of megabytes: pictures on their way up, a line of Grok's that never ended.
Where such objects refer to each other in a circle, they stay until the collector happens to look.
"""

from __future__ import annotations

import base64
import gc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.transports.served import Served, chat, with_server
from transports.simulator import FaultKind
from transports.simulator.pictures import draw_png

TIMES = 3
PICTURE = {
    "type": "image_url",
    "image_url": {"url": "data:image/png;base64," + base64.b64encode(draw_png(1)).decode()},
}
WITH_PICTURE = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, PICTURE]}]
FAULTS = [
    *(FaultKind.RESET, FaultKind.CUT, FaultKind.ERROR_LINE, FaultKind.LIMIT, FaultKind.STALL),
    *(FaultKind.SERVER_ERROR, FaultKind.BLOCK_PAGE, FaultKind.ENDLESS_ANSWER, FaultKind.BAD_GZIP),
]


@contextmanager
def kept() -> Iterator[list[str]]:
    """The kinds of our objects that only the collector would find, once this is over."""
    found: list[str] = []
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        gc.set_debug(0)
        names = {f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage}
        found += sorted(name for name in names if name.startswith(("grokproto.", "transports.")))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def settle(served: Served) -> None:
    """Wait for the far end to have nothing under way."""
    await served.simulator.site.wait_for(lambda: served.simulator.site.open_calls == 0)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"stream": True},
        {"stream": True, "n": 2},
        {"n": "wrong"},
        {"model": "grok-3-imageGen", "stream": True},
        {"messages": WITH_PICTURE},
        {"stop": ["plain"]},
    ],
    ids=["whole", "stream", "several", "wrong", "pictures out", "pictures in", "stop"],
)
def test_requests(fields: dict[str, object]) -> None:
    async def check(served: Served) -> None:
        await served.request("POST", "/v1/chat/completions", {**chat(), **fields})
        with kept() as found:
            for _ in range(TIMES):
                await served.request("POST", "/v1/chat/completions", {**chat(), **fields})
            await settle(served)
        assert found == []

    with_server(check)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fault", FAULTS)
def test_faults(fault: FaultKind, stream: bool) -> None:
    async def check(served: Served) -> None:
        served.simulator.site.faults.order(fault, times=None)
        await served.chat(stream=stream)
        with kept() as found:
            for _ in range(TIMES):
                await served.chat(stream=stream)
            await settle(served)
        assert found == []

    accounts = tuple(f"account-{number}" for number in range(20))
    patience = {"UPSTREAM_FIRST_BYTE_TIMEOUT": "0.1", "UPSTREAM_IDLE_TIMEOUT": "0.1"}
    with_server(check, accounts=accounts, MAX_ANSWER_BYTES="100000", **patience)


def test_clients_that_leave() -> None:
    async def leave(served: Served) -> None:
        client = await served.connect()
        async with client.stream:
            await client.send_request("POST", "/v1/chat/completions", chat(stream=True))
            await client.read_some()
        await settle(served)

    async def check(served: Served) -> None:
        served.simulator.site.faults.order(FaultKind.STALL, times=None)
        await leave(served)
        with kept() as found:
            for _ in range(TIMES):
                await leave(served)
        assert found == []

    with_server(check)
