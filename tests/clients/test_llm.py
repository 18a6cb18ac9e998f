"""`llm`, as its users use it: on the command line and as a library."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import llm
import pytest

from transports.simulator import FaultKind

from .guide import ANSWER, QUESTION, read_snippet
from .offline import offline_environment
from .stand import KEY, Stand


@pytest.fixture
def settings(stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the guide's settings, and a key for its name of one."""
    yaml = read_snippet("llm", "yaml", stand)
    (tmp_path / "extra-openai-models.yaml").write_text(yaml)
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def model(settings: Path) -> llm.Model:
    """The guide's model."""
    (settings / "keys.json").write_text(json.dumps({"grok": KEY}))
    return llm.get_model("grok-3")


@pytest.mark.parametrize("stream", [False, True])
def test_conversation(stand: Stand, model: llm.Model, stream: bool) -> None:
    conversation = model.conversation()
    first = conversation.prompt("hi", system="Be short.", stream=stream)
    assert "You asked: " in first.text()
    second = conversation.prompt(QUESTION, stream=stream)
    pieces = list(second)
    assert "".join(pieces) == ANSWER
    assert (len(pieces) > 10) is stream
    assert second.usage().output > 0
    message = stand.questions[-1].body["message"]
    assert message.startswith("USER: Be short.\nhi\nASSISTANT: You asked: ")


def test_error(stand: Stand, model: llm.Model) -> None:
    stand.order(FaultKind.BLOCK_PAGE, times=None)
    with pytest.raises(Exception, match="challenge"):
        model.prompt("hi").text()


@pytest.mark.heavy
@pytest.mark.parametrize("stand", [1], ids=["bytes"], indirect=True)
def test_guide(stand: Stand, settings: Path) -> None:
    command = read_snippet("llm", "sh", stand)
    with offline_environment(settings) as environment:
        environment["LLM_USER_PATH"] = str(settings)
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        done = subprocess.run(
            ["sh", "-ec", command],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stdout.strip()) == (0, ANSWER), done.stderr
