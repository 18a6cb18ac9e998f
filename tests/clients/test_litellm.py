"""`litellm`, as its users use it: as a library, and as a proxy in front of this server."""

from __future__ import annotations

import secrets
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from transports.simulator import Delivery, FaultKind

from .guide import ANSWER, QUESTION, find_snippet, read_snippet
from .install import PYTHON
from .running import PATIENCE, client_environment, need, run_python
from .stand import Stand, open_stand

pytestmark = pytest.mark.heavy
ASK: Any = [{"role": "user", "content": QUESTION}]
MASTER_KEY = f"sk-{secrets.token_hex(32)}"


def test_guide_and_more(stand: Stand, tmp_path: Path) -> None:
    printed, seen = run_python(tmp_path, "litellm", "litellm_more.py", stand)
    assert printed == ANSWER
    hi = ANSWER.replace(QUESTION, "hi")
    assert seen["streamed"] == hi
    assert seen["finish"] == "stop"
    assert seen["usage"] > 0
    assert seen["thinking"] == "Weighing the question.\n"
    assert seen["formed"] == {"name": "blue"}
    assert seen["async"] == [hi, hi]
    assert seen["pictures"] == ["data:image/png;base64,"] * 2
    assert seen["errors"] == {
        "block_page False": ["ServiceUnavailableError", 503],
        "block_page True": ["ServiceUnavailableError", 503],
        "error_line False": ["BadGatewayError", 502],
        "error_line True": ["MidStreamFallbackError", 500],
        "key": True,
        "model": True,
    }


@contextmanager
def open_proxy(stand: Stand, tmp_path: Path) -> Iterator[openai.OpenAI]:
    """The official SDK, on a litellm proxy with the guide's settings."""
    (tmp_path / "config.yaml").write_text(read_snippet("litellm's proxy", "yaml", stand))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = find_snippet("litellm's proxy", "sh").split()
    assert command[-2:] == ["--port", "4000"]
    with client_environment(tmp_path) as environment:
        process = subprocess.Popen(
            [need(PYTHON).parent / command[0], *command[1:-1], str(port), "--host", "127.0.0.1"],
            env={**environment, "LITELLM_MASTER_KEY": MASTER_KEY},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert process.stdout is not None
            lines: list[str] = []
            for line in process.stdout:
                lines.append(line)
                if "Uvicorn running" in line:
                    break
            else:
                raise AssertionError("".join(lines))
            address = f"http://127.0.0.1:{port}/v1"
            with openai.OpenAI(base_url=address, api_key=MASTER_KEY, max_retries=0) as client:
                yield client
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE)


def test_proxy(tmp_path: Path) -> None:
    with open_stand() as stand, open_proxy(stand, tmp_path) as proxy:
        for cut in (None, 1):  # it takes long to start
            stand.simulator.site.delivery = Delivery(cut=cut)
            whole = proxy.chat.completions.create(model="grok-3", messages=ASK)
            assert whole.choices[0].message.content == ANSWER
            chunks = list(proxy.chat.completions.create(model="grok-3", messages=ASK, stream=True))
            text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
            assert text == ANSWER
            assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
        stand.order(FaultKind.BLOCK_PAGE, times=None)
        with pytest.raises(openai.InternalServerError, match="challenge"):
            proxy.chat.completions.create(model="grok-3", messages=ASK)
