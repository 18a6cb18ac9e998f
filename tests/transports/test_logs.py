"""The log: one line for each request, and nothing in it that is nobody's business."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.tracebacks import find_traceback
from tests.transports.test_credentials import ROOT, Process, ask
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


def log(script: str) -> str:
    """What a program logs that has a process to itself."""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stderr


@pytest.mark.parametrize("form", ["json", "console"])
def test_mistake_is_found_in_either_form(form: str) -> None:
    """What other tests hold, that no mistake was made, they could not see if this failed."""
    script = (
        "from transports.logs import configure_logs, get_logger\n"
        "from transports.standalone.serving import report_fault\n"
        f"configure_logs('info', {form!r})\n"
        "get_logger().info('request', status=500)\n"
        "try:\n"
        "    {}['a key']\n"
        "except KeyError as exc:\n"
        "    report_fault(exc)\n"
    )
    logged = log(script)
    innocent, _, _ = logged.partition("\n")
    assert find_traceback(innocent) == ""
    found = find_traceback(logged)
    assert "KeyError" in found
    assert "status" not in found


@pytest.mark.parametrize("form", ["json", "console"])
def test_objects_show_what_their_repr_shows(form: str) -> None:
    """Whatever they are made with: encoders would write all of their fields."""
    script = (
        "import attrs, dataclasses\n"
        "from grokproto.commands import UpstreamRequest\n"
        "from grokproto.secret import Secret\n"
        "from transports.logs import configure_logs, get_logger\n"
        "@attrs.frozen\n"
        "class Attrs:\n"
        "    key: str = attrs.field(repr=False)\n"
        "@dataclasses.dataclass(frozen=True)\n"
        "class Data:\n"
        "    key: str = dataclasses.field(repr=False)\n"
        f"configure_logs('info', {form!r})\n"
        "request = UpstreamRequest('GET', 'https://a/', (('cookie', 'canary'),), b'canary')\n"
        "private = [request, Attrs('canary'), Data('canary'), Secret('canary')]\n"
        "get_logger().info('x', one=request, deep={'a': [(1, private)], request: private})\n"
    )
    logged = log(script)
    assert logged.count("https://a/") >= 4
    assert "canary" not in logged
    if form == "json":
        line = json.loads(logged)
        request = line["one"]
        private = [request, "Attrs()", "Data()", line["deep"]["a"][0][1][3]]
        assert line["deep"] == {"a": [[1, private]], request: private}


def test_plain_values_are_written_as_they_are() -> None:
    script = (
        "from transports.logs import configure_logs, get_logger\n"
        "configure_logs('info', 'json')\n"
        "values = [None, True, 1, -0.5, 'caf\u00e9', [], {'a': {1: 2}}, b'b', {3}, KeyError('k')]\n"
        "get_logger().info('x', values=values)\n"
        "get_logger().info('x', values=values, half='\\ud800')\n"
    )
    logged = log(script)
    first, second = map(json.loads, logged.splitlines())
    plain = [None, True, 1, -0.5, "caf\u00e9", [], {"a": {"1": 2}}]
    assert first["values"] == second["values"] == [*plain, "b'b'", "{3}", "KeyError('k')"]
    assert second["half"] == "\ud800"
