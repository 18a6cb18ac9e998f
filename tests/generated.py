"""The parts of the documents that are made from the code.

Such a part stands between `<!-- name: begin -->` and `<!-- name: end -->`, and
`python -m tests.generated` writes it anew. `tests/test_docs.py` holds all of them against the code.
"""

from __future__ import annotations

import ast
import enum
import inspect
import itertools
import re
import textwrap
import typing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from grokproto import commands as c
from grokproto import events as e
from grokproto.credentials import CredentialPool, PoolSettings
from grokproto.lease import Lease
from grokproto.secret import Secret
from grokproto.states import REPLIES, TRANSITIONS, State
from grokproto.transcript import Transcript, build_transcript, encode_transcript, tell
from tests.fixtures.load import read_body, read_stream
from tests.playbook import OK, FakeHost, Response, chat_body
from tests.recorded import record
from transports.standalone.recordings import describe_pool

ROOT = Path(__file__).parents[1]


@attrs.define
class PoolHost(FakeHost):
    """A host in memory with a pool of its own, whose clock goes on a little with each command."""

    pool: CredentialPool = attrs.field(
        factory=lambda: CredentialPool(PoolSettings(quota_probe=False))
    )

    def _carry_out(self, command: c.Command, free: Any) -> e.Event:
        self.now += 0.125
        match command:
            case c.AcquireCredential(group, _, exclude):
                granted = self.pool.acquire(group, self.now, exclude)
                if not isinstance(granted, Lease):
                    return granted.as_event()
                self.acquired.append(granted.credential)
                return e.CredentialAcquired(granted)
            case c.ReleaseCredential(lease, outcome, failure, quota):
                self.pool.release(lease, outcome, self.now, failure, quota)
        return super()._carry_out(command, free)


def make_transcript() -> Transcript:
    """The one that docs/transcripts.md shows: an account is used up, another answers."""
    responses = [
        Response(429, (*OK, ("retry-after", "1800")), [read_body("limit.json")]),
        Response(pieces=read_stream("plain.ndjson").splitlines(keepends=True)),
    ]
    host = PoolHost(lambda _: responses.pop(0))
    for number in range(2):
        host.pool.add({"sso": Secret(f"account-{number}")})

    def describe(command: c.Command, event: e.Event) -> Any:
        return describe_pool(host.pool, "balanced", host.now, command, event)

    body = chat_body(text="Who froze the sea?", stream=True)
    return build_transcript(record(host, body, describe=describe))


def show_replay() -> str:
    """What `grokproto replay` says of it."""
    lines = [f"{told.seconds:9.3f}  {told.sentence}" for told in tell(make_transcript())]
    return "\n".join(["```text", *lines, "```"])


def show_transcript() -> str:
    """A few of its lines."""
    lines = encode_transcript(make_transcript()).decode().splitlines()
    shown = [
        next(line for line in lines if f'"is": "{name}"' in line) for name in ("DataReceived",)
    ]
    return "\n".join(["```json", *shown, "```"])


def draw_states() -> str:
    """The states of an exchange, and what may follow each."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> IDLE"]
    for state, followers in TRANSITIONS.items():
        for other in State:  # in their order
            if other in followers:
                lines.append(f"    {state.name} --> {other.name}")
    return "\n".join([*lines, "    DONE --> [*]", "```"])


def list_states() -> str:
    """What an exchange does in each state."""
    told = _read_docs(State)
    lines = ["| state | the exchange is |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{each.name}` | {told[each.name]} |" for each in State)])


def list_commands() -> str:
    """The commands, and the events that may answer each."""
    lines = ["| command | with | asks the host to | is answered by |", "|---|---|---|---|"]
    for command, replies in REPLIES.items():
        waits = e.ClientClosed in replies
        answers = ", ".join(f"`{reply.__name__}`" for reply in replies if reply not in _ANY_TIME)
        stops = "" if not waits or e.ServerStopping in replies else " (not `ServerStopping`)"
        lines.append(
            f"| `{command.__name__}`{'' if waits else ' ᵃ'} | {_list_fields(command)} | "
            f"{_first_sentence(command)} | {answers or 'nothing'}{stops} |"
        )
    return "\n".join(lines)


def list_events() -> str:
    """The events."""
    lines = ["| event | with | says |", "|---|---|---|"]
    for event in typing.get_args(e.Event):
        lines.append(f"| `{event.__name__}` | {_list_fields(event)} | {_first_sentence(event)} |")
    return "\n".join(lines)


_ANY_TIME = (e.ClientClosed, e.ServerStopping)


def _list_fields(kind: Any) -> str:
    return ", ".join(f"`{name}`" for name in kind.__struct_fields__)


def _first_sentence(kind: type) -> str:
    text = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
    return text.replace("|", "\\|")


def _read_docs(kind: type[enum.Enum]) -> dict[str, str]:
    """The string that stands under each member."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    told: dict[str, str] = {}
    for before, after in itertools.pairwise(tree.body):
        if isinstance(before, ast.Assign) and isinstance(after, ast.Expr):
            assert isinstance(before.targets[0], ast.Name)
            assert isinstance(after.value, ast.Constant)
            told[before.targets[0].id] = " ".join(str(after.value.value).split())
    return told


PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "docs/exchange.md": {
        "diagram": draw_states,
        "states": list_states,
        "commands": list_commands,
        "events": list_events,
    },
    "docs/transcripts.md": {"replay": show_replay, "line": show_transcript},
}
"""By document: its parts by name, and what makes each."""


def write_parts(text: str, parts: dict[str, Callable[[], str]]) -> str:
    """A document with its parts made anew."""
    for name, make in parts.items():
        pattern = rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)"
        replace: Callable[[re.Match[str]], str] = partial(_put, made=make())
        text, number = re.subn(pattern, replace, text, flags=re.DOTALL)
        assert number == 1, name
    return text


def _put(found: re.Match[str], made: str) -> str:
    return f"{found[1]}{made}\n{found[2]}"


def main() -> None:
    """Write all of them."""
    for name, parts in PARTS.items():
        path = ROOT / name
        path.write_text(write_parts(path.read_text(encoding="utf-8"), parts), encoding="utf-8")


if __name__ == "__main__":
    main()
