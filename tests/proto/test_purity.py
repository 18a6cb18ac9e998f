"""The import rules: who may know whom. By reading the source, and by importing it afresh."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "grokproto").rglob("*.py"))
HOST = sorted((ROOT / "transports").rglob("*.py"))

IMPURE = {
    *("socket", "ssl", "select", "selectors", "asyncio", "threading", "subprocess", "logging"),
    *("os", "time", "random", "uuid", "datetime", "email", "http", "secrets", "pathlib", "io"),
    *("multiprocessing", "tempfile", "signal", "sqlite3", "concurrent", "sched", "ctypes"),
    *("urllib.request", "trio", "h11", "httpcore", "anyio", "structlog", "click", "environ"),
}
THIRD_PARTY = {"attrs", "msgspec"}
BUILT_IN_IMPURE = {"open", "print", "input", "exec", "eval", "breakpoint"}

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "secret", "quiet", "cookies", "lease", "failures", "upstream_request"}),
    frozenset({"events", "commands", "request", "answer", "settings", "states", "models"}),
    frozenset({"prompt", "usage", "media", "filters", "cuts", "citations"}),
    frozenset({"grok", "images", "dialects", "credentials"}),
    frozenset({"plan", "rendering"}),
    frozenset({"question"}),
    frozenset({"exchange", "conversion"}),
    frozenset({"transcript"}),
    frozenset({"__init__"}),
)
"""From the bottom up. A module imports its own layer and those below; the packages of the fourth
layer do not know one another."""
SEPARATE = LAYERS[3]

HOST_LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"streams", "logs", "conform", "httpx_bases"}),
    frozenset({"loops"}),
    frozenset({"server", "upstream"}),
    frozenset({"pool", "pictures", "simulator"}),
    frozenset({"config", "variables", "keys", "text_file"}),
    frozenset({"api"}),
    frozenset({"driving"}),
    frozenset({"standalone", "asgi", "threaded", "inprocess"}),
    frozenset({"commands"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
    frozenset({"__init__"}),
)
"""The same for the hosts."""
UNACQUAINTED = (HOST_LAYERS[2], HOST_LAYERS[3], HOST_LAYERS[7])
"""Parts of one layer that do not know one another."""

WHATEVER_LOOP = {
    *("server/heads", "server/http_request", "upstream/codings", "upstream/chunks", "config"),
    *(
        "pool/scheduler",
        "pool/orders",
        "pool/admin",
        "pool/waiting",
        "pool/state_file",
        "pool/store",
        "keys",
        "logs",
        "streams",
    ),
    *("api/front", "api/routes", "api/drift", "api/gathering", "api/service", "pictures/desk"),
    *("driving/drive", "driving/answer", "driving/follow", "driving/previews", "loops/__init__"),
    *("loops/mailbox", "loops/pump", "upstream/body", "upstream/plain", "upstream/plain_stream"),
    *("upstream/network", "upstream/farewells"),
}
"""What all hosts share: it knows no event loop."""
LOOPS = {"trio", "anyio", "asyncio", "sniffio"}

ONLY_IN = {
    "h11": {"transports/server/connection.py"},
    "httpcore": {
        *(
            f"transports/upstream/{name}.py"
            for name in (
                *("calls", "calls_threads", "checked", "farewells", "faults", "network"),
                *("network_threads", "plain", "plain_stream"),
                *("plain_threads", "rules"),
            )
        ),
        *(f"transports/loops/{name}.py" for name in ("trio_loop", "asyncio_loop")),
        "transports/pictures/request.py",
    },
}


def imports(path: Path) -> Iterator[str]:
    """What a file imports, by absolute names."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def room(path: Path) -> str:
    """The part of its package that a file belongs to."""
    return path.relative_to(ROOT).with_suffix("").parts[1]


def layer(name: str, layers: tuple[frozenset[str], ...] = LAYERS) -> int:
    """The layer of a part of a package."""
    return next(index for index, names in enumerate(layers) if name in names)


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_core_file(path: Path) -> None:
    here = room(path)
    for name in imports(path):
        top = name.split(".")[0]
        assert top not in IMPURE, f"{name} does I/O"
        assert name not in IMPURE, f"{name} does I/O"
        assert top in sys.stdlib_module_names | THIRD_PARTY | {"grokproto"}, name
        parts = name.split(".")
        if top == "grokproto" and len(parts) > 1:
            assert layer(parts[1]) <= layer(here), f"{here} must not know {name}"
            if here in SEPARATE and parts[1] in SEPARATE:
                assert parts[1] == here, f"{here} and {parts[1]} meet in the exchange only"
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in BUILT_IN_IMPURE


@pytest.mark.parametrize("path", HOST, ids=lambda path: str(path.relative_to(ROOT)))
def test_host_file(path: Path) -> None:
    here = str(path.relative_to(ROOT))
    mine = room(path)
    for name in imports(path):
        top, *rest = name.split(".")
        for library, files in ONLY_IN.items():
            if top == library:
                assert here in files, f"{library} belongs into {files}"
        if here.removeprefix("transports/").removesuffix(".py") in WHATEVER_LOOP:
            assert top not in LOOPS, f"{here} must not know {name}"
        if top == "transports" and rest:
            theirs = rest[0]
            assert layer(theirs, HOST_LAYERS) <= layer(mine, HOST_LAYERS), (
                f"{here} must not know {name}"
            )
            for parts in UNACQUAINTED:
                if {mine, theirs} <= parts:
                    assert mine == theirs, f"{mine} and {theirs} meet above them only"


def test_core_imports_nothing_that_does_io() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in CORE
    ]
    program = (
        "import sys, msgspec, attrs\n"
        "before = set(sys.modules)\n"
        f"for name in {modules!r}: __import__(name)\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = set(result.stdout.split())
    assert "grokproto.exchange" in loaded
    assert not any(
        name.split(".")[0] in ("trio", "h11", "httpcore", "transports") for name in loaded
    )
    assert not loaded & {"asyncio", "socket", "ssl", "sqlite3", "logging", "subprocess"}


def test_rules_name_files_that_are_there() -> None:
    files = {str(path.relative_to(ROOT)) for path in HOST}
    assert files >= {f"transports/{name}.py" for name in WHATEVER_LOOP}
    assert files >= set().union(*ONLY_IN.values())


def test_names_are_all_known_to_the_layers() -> None:
    assert {room(path) for path in CORE} == set().union(*LAYERS)
    assert {room(path) for path in HOST} == set().union(*HOST_LAYERS)
