"""Several answers at once: however their steps fall between one another, each is what it would be
alone."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from grokproto import commands as c
from grokproto import events as e
from grokproto.lease import Outcome
from tests.fixtures.load import read_stream
from tests.playbook import OK, FakeHost, Response, chat_body, make_exchange, make_lease
from tests.strategies import cut

NAMES = ["plain.ndjson", "reasoning.ndjson", "search.ndjson", "markup_spread.ndjson"]


class Branch:
    """One answer under way, with an upstream of its own."""

    def __init__(self, fork: c.Fork, index: int, pieces: list[bytes]) -> None:
        self.fork = fork
        self.index = index
        self.branch = fork.branches[index]
        self.rest: list[e.Event] = [*map(e.DataReceived, pieces), e.EndOfMessage()]
        self.command: c.Command = self.branch.handle(e.Start(), 0.0)
        self.released: list[Outcome] = []

    @property
    def over(self) -> bool:
        """Whether it has come to its end."""
        return isinstance(self.command, c.Finish)

    def step(self, sent: list[bytes]) -> None:
        """Carry out its command."""
        event: e.Event = e.Completed()
        match self.command:
            case c.AcquireCredential():
                event = e.CredentialAcquired(make_lease(f"c{self.index}"))
            case c.SendRequest():
                event = e.ResponseReceived(200, OK)
            case c.ReceiveData():
                event = self.rest.pop(0)
            case c.ReleaseCredential(_, outcome):
                self.released.append(outcome)
            case c.SendResponse() | c.SendData() | c.EndResponse():
                sent += data_of(self.fork.join.take(self.index, self.command))
        self.command = self.branch.handle(event, 0.0)
        if self.over:
            sent += data_of(self.fork.join.take(self.index, self.command))


def data_of(commands: Any) -> list[bytes]:
    """What they send."""
    return [command.data for command in commands if isinstance(command, c.SendData)]


def alone(name: str, stream: bool) -> list[Any]:
    """The choices of one answer, in order."""
    host = FakeHost(lambda _: Response(pieces=[read_stream(name)]))
    host.run(make_exchange(chat_body(stream=stream)))
    if not stream:
        return list(host.json["choices"])
    return merge([chunk["choices"][0] for chunk in host.chunks if chunk])


def merge(choices: list[Any]) -> list[Any]:
    """The choices with the content of neighbours joined: how it is divided may differ."""
    content = "".join(choice["delta"].get("content", "") for choice in choices)
    return [content, [choice["finish_reason"] for choice in choices][-1]]


@given(
    data=st.data(),
    names=st.lists(st.sampled_from(NAMES), min_size=2, max_size=3),
    stream=st.booleans(),
)
def test_each_is_what_it_would_be_alone(
    data: st.DataObject, names: list[str], stream: bool
) -> None:
    exchange = make_exchange(chat_body(stream=stream, n=len(names)))
    fork = exchange.handle(e.Start(), 0.0)
    assert isinstance(fork, c.Fork)
    bodies = [read_stream(name) for name in names]
    branches = [
        Branch(fork, index, cut(body, data.draw(st.lists(st.integers(0, len(body)), max_size=8))))
        for index, body in enumerate(bodies)
    ]
    sent: list[bytes] = []
    while going := [branch for branch in branches if not branch.over]:
        data.draw(st.sampled_from(going)).step(sent)
    assert fork.join.over
    assert [branch.released for branch in branches] == [[Outcome.SERVED]] * len(names)
    command: c.Command = exchange.handle(e.Completed(), 0.0)
    while not isinstance(command, c.Finish):
        sent += data_of([command])
        command = exchange.handle(e.Completed(), 0.0)
    body = b"".join(sent)
    for index, name in enumerate(names):
        if stream:
            *events, end = body.decode().split("\n\n")
            assert end == ""
            assert events.pop() == "data: [DONE]"
            chunks = [json.loads(event.removeprefix("data: ")) for event in events]
            of_this = [x["choices"][0] for x in chunks if x["choices"][0]["index"] == index]
            assert merge(of_this) == alone(name, stream)
        else:
            choice = json.loads(body)["choices"][index]
            assert choice == {**alone(name, stream)[0], "index": index}
