"""What `import grokproto` gives: these names and no others, each told about, and soon."""

from __future__ import annotations

import ast
import inspect
import itertools
import subprocess
import sys
from enum import Enum
from pathlib import Path
from types import ModuleType

import pytest

import grokproto

ROOT = Path(__file__).parents[2]

NAMES = """
    AnswerReader BodyConverter ChatRequest Chunk ChunkConverter ConfigurationError DIALECTS
    EventConverter Exchange Failure FailureKind FilePart GrokprotoError ImageHost ImagePart
    InvalidRequestError Lease LocalProtocolError Model ModelTable NEED_DATA Outcome POLICIES Prompt
    Question Quota REPLIES RemoteProtocolError Role SearchFormat Secret Settings State TRANSITIONS
    TextPart ThinkingFormat TokenCounter Turn answer build_payload build_prompt commands
    estimate_tokens events read_models read_question read_refusal read_upload
""".split()
"""Whoever takes one away breaks somebody's program."""

VALUES = {
    "Chunk": "conversion/openai_converters.py",
    "DIALECTS": "dialects/__init__.py",
    "NEED_DATA": "grok/reader.py",
    "POLICIES": "failures.py",
    "REPLIES": "states.py",
    "TRANSITIONS": "states.py",
}
"""What is neither a class nor a function nor a module, and where; a string stands under each."""


def test_names_are_frozen() -> None:
    assert sorted(grokproto.__all__) == sorted(NAMES)
    assert dir(grokproto) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_name_is_there_and_told_about(name: str) -> None:
    value = getattr(grokproto, name)
    if name in VALUES:
        return
    assert inspect.getdoc(value), name
    if inspect.isclass(value) and not issubclass(value, Enum):
        for member, each in vars(value).items():
            if not member.startswith("_") and (callable(each) or isinstance(each, property)):
                assert inspect.getdoc(each), f"{name}.{member}"
    if isinstance(value, ModuleType):
        for member, each in vars(value).items():
            if inspect.isclass(each) and each.__module__ == value.__name__:
                assert inspect.getdoc(each), f"{name}.{member}"


def test_value_is_told_about() -> None:
    for name, file in VALUES.items():
        lines = ast.parse((ROOT / "grokproto" / file).read_text(encoding="utf-8")).body
        told = {
            _name(before)
            for before, after in itertools.pairwise(lines)
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        }
        assert name in told


def _name(node: ast.stmt) -> str:
    target = node.target if isinstance(node, ast.AnnAssign) else None
    if isinstance(node, ast.Assign):
        target = node.targets[0]  # type: ignore[assignment]
    return target.id if isinstance(target, ast.Name) else ""


def test_what_type_checkers_see_is_what_there_is() -> None:
    tree = ast.parse((ROOT / "grokproto/__init__.py").read_text(encoding="utf-8"))
    seen: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            seen.update({alias.name: node.module or "" for alias in node.names})
    homes = {name: home for home, names in grokproto._HOMES.items() for name in names}
    homes.update(dict.fromkeys(grokproto._MODULES, ""))
    assert seen == homes
    assert set(seen) == set(NAMES)


def test_no_other_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = grokproto.nothing


def test_marked_as_typed() -> None:
    assert (ROOT / "grokproto/py.typed").exists()
    assert (ROOT / "transports/py.typed").exists()


def run(program: str) -> str:
    """Run a program in a fresh interpreter, with compiled files kept; give what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(ROOT / ".pytest_cache/compiled")},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_import_is_quick() -> None:
    """Nothing is loaded but what is asked for, when it is asked for."""
    loaded = run("import sys, grokproto; print(*sys.modules)").split()
    assert {name for name in loaded if name.partition(".")[0] == "grokproto"} == {"grokproto"}
    assert not {"attrs", "msgspec"} & set(loaded)


def test_import_loads_nothing_that_does_io() -> None:
    loaded = run("import sys; from grokproto import *; print(*sys.modules)").split()
    assert "grokproto.exchange" in loaded
    assert not {"trio", "h11", "httpcore", "asyncio", "socket", "transports"} & set(loaded)


def test_import_loads_what_is_slow_to_load_only_where_it_is_used() -> None:
    loaded = run("import sys; from grokproto import *; print(*sys.modules)").split()
    assert not {"attrs", "attr", "json", "hashlib", "hmac", "dataclasses"} & set(loaded)
