"""README is true: its commands and snippets are run, its tables held against the code."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

from grokproto import POLICIES, FailureKind, ModelTable, read_models
from grokproto.dialects.openai_params import PARAMETERS
from grokproto.dialects.openai_request import EFFORTS
from tests.clients.conftest import start_demo, stop_demo
from tests.snippets import ROOT, find_blocks, read_document, run_python
from transports.config import Config

README = read_document("README.md")


def blocks(language: str) -> list[str]:
    """The fenced blocks in a language."""
    return find_blocks("README.md", language)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The demo server, as its port."""
    process, url = start_demo(tmp_path_factory.mktemp("readme"))
    yield url.removesuffix("/v1")
    stop_demo(process)


def without_chance(answer: Any) -> Any:
    """An answer without what is new in each."""
    return {**answer, "id": "x", "created": 0}


def test_curl(demo: str) -> None:
    command = next(block for block in blocks("sh") if block.startswith("curl"))
    command = command.replace("http://127.0.0.1:3000", demo).replace("curl ", "curl -sS ")
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    (shown,) = blocks("json")
    assert without_chance(json.loads(done.stdout)) == without_chance(json.loads(shown))


def test_sdk(demo: str) -> None:
    (code,) = (block for block in blocks("python") if "openai.OpenAI" in block)
    printed, _ = run_python(code.replace("http://127.0.0.1:3000", demo))
    assert printed.strip() == blocks("text")[0].strip()


def test_high_level() -> None:
    (code,) = (block for block in blocks("python") if "exchange.handle" in block)
    run_python(code)


def test_models_file() -> None:
    (text,) = blocks("toml")
    assert read_models(text)["gpt-4o"].name == "grok-3"


def test_models_table() -> None:
    rows = README.split("## Models")[1].split("More rows")[0]
    assert set(re.findall(r"`(grok-[\w-]+)`", rows)) == set(ModelTable())


def test_errors_table() -> None:
    table = README.split("## Errors")[1].split("## Hosting")[0]
    told = {
        (int(status), code)
        for status, codes in re.findall(r"^\| (\d+) \| (.*?) \|", table, re.MULTILINE)
        for code in re.findall(r"`(\w+)`", codes)
    }
    assert {(policy.status, kind.value) for kind, policy in POLICIES.items()} <= told
    assert {code for _, code in told} >= {kind.value for kind in FailureKind}


def test_security_page() -> None:
    text = read_document("SECURITY.md")
    for name in re.findall(r"`(?:tests/transports/)?(test_\w+\.py)`", text):
        assert (ROOT / "tests" / "transports" / name).exists(), name
    fields = attrs.fields(Config)  # type: ignore[arg-type]
    known = {field.metadata["environ_config"].name for field in fields}
    for name in re.findall(r"`([A-Z]+_[A-Z_]+)\b", text):
        assert name in known or name == "UPSTREAM_", name
    for page in (text, README):
        for link in re.findall(r"\[\w[^]]*\]\(([\w/]+\.md)\)", page):
            assert (ROOT / link).exists(), link


def describe_configuration() -> str:
    """The configuration table, from the code."""
    lines = ["| variable | default | what it says |", "|---|---|---|"]
    for field in attrs.fields(Config):  # type: ignore[arg-type]
        entry = field.metadata["environ_config"]
        default = f"`{entry.default}`" if entry.default not in (None, "", "{}") else ""
        if len(default) > 60:
            default = "a browser's"
        lines.append(f"| `{entry.name}` | {default} | {entry.help} |")
    return "\n".join(lines)


def describe_parameters() -> str:
    """The table of parameters, from the code."""
    lines = ["| parameter | is | how |", "|---|---|---|"]
    lines += [f"| `{each.name}` | {each.support.value} | {each.note} |" for each in PARAMETERS]
    return "\n".join([*lines, "| any other | ignored | Unknown here |"])


def describe_effort() -> str:
    """What `reasoning_effort` does to each model, from the code."""
    on = ", ".join(f"`{word}`" for word, thinks in EFFORTS.items() if thinks)
    off = ", ".join(f"`{word}`" for word, thinks in EFFORTS.items() if not thinks)
    lines = [f"| model | {on} | {off} |", "|---|---|---|"]
    for model in ModelTable().values():
        if model.thinking or model.plain:
            cells = (f"`{name}`" if name else "ignored" for name in (model.thinking, model.plain))
            lines.append(f"| `{model.name}` | {' | '.join(cells)} |")
    return "\n".join([*lines, "| the others | ignored | ignored |"])


@pytest.mark.parametrize(
    ("name", "describe"), [("parameters", describe_parameters), ("effort", describe_effort)]
)
def test_generated_table(name: str, describe: Callable[[], str]) -> None:
    found = re.search(rf"<!-- {name}: begin -->\n(.*)\n<!-- {name}: end -->", README, re.DOTALL)
    assert found is not None
    assert found[1] == describe()


def test_configuration_table() -> None:
    found = re.search(
        r"<!-- configuration: begin -->\n(.*)\n<!-- configuration: end -->", README, re.DOTALL
    )
    assert found is not None
    assert found[1] == describe_configuration()
