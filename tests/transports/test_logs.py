"""The log: one line for each request, and nothing in it that is nobody's business."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import trio

from tests.transports.test_credentials import Process, ask
from transports.simulator import FaultKind, Simulator


def test_one_line_for_each_request(tmp_path: Path) -> None:
    async def main() -> str:
        simulator = Simulator()
        async with trio.open_nursery() as nursery:
            await nursery.start(simulator.run)
            url = simulator.base_url
            server = await trio.to_thread.run_sync(
                lambda: Process.start(
                    STATE=str(tmp_path / "state"),
                    SSO="a-very-secret-cookie",
                    GROK_BASE_URL=url,
                    LOG_FORMAT="json",
                    LOG_LEVEL="debug",
                    QUOTA_PROBE="false",
                )
            )
            await trio.to_thread.run_sync(ask, server.url)
            simulator.site.faults.order(FaultKind.LIMIT)
            await trio.to_thread.run_sync(ask, server.url)
            log = await trio.to_thread.run_sync(server.end, signal.SIGTERM)
            nursery.cancel_scope.cancel()
        return log

    log = trio.run(main)
    lines = [json.loads(line) for line in log.splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert [line["status"] for line in requests] == [200, 429]
    first = requests[0]
    assert first["path"] == "/v1/chat/completions"
    assert first["model"] == "grok-3"
    assert first["attempts"] == 1
    assert first["completion_tokens"] > 0
    assert len(first["credential"]) == 8
    assert {"seconds", "request_id", "timestamp", "level"} <= first.keys()
    assert requests[1]["failure"] in ("no_credential", "rate_limited")
    (cooled,) = (line for line in lines if line["event"] == "credential")
    assert cooled["state"] == "cooling"
    assert "cookie" not in log
    assert "sk-123456789" not in log
    assert '"hi"' not in log
