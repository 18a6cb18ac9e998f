"""Two ways of driving an exchange without any I/O.

A `Playbook` is a script: `>> event` is what happens, `<< command` what must come out, and the first
difference fails with both sides. A `FakeHost` plays a whole host: it answers every command from a
list of upstream responses and keeps count of what is open, for tests that look at the outcome.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs

from grokproto import commands as c
from grokproto import events as e
from grokproto.dialects import DIALECTS
from grokproto.exchange import Exchange
from grokproto.lease import Lease, Outcome
from grokproto.models import ModelTable
from grokproto.secret import Secret
from grokproto.settings import Settings
from tests.fixtures.load import read_stream

OK = (("content-type", "application/json"),)


def chat_body(model: str = "grok-3", text: str = "hi", **fields: Any) -> bytes:
    """The body of a chat request."""
    request = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    return json.dumps(request).encode()


def make_exchange(
    body: bytes | None = None,
    settings: Settings | None = None,
    *,
    dialect: str = "openai_chat",
    headers: dict[str, str] | None = None,
) -> Exchange:
    """An exchange with ids 0, 1, 2, ..., made at 1700000000."""
    numbers = itertools.count()
    return Exchange(
        chat_body() if body is None else body,
        dialect=DIALECTS[dialect],
        headers=headers,
        models=ModelTable(),
        settings=settings or Settings(),
        new_id=lambda: str(next(numbers)),
        created=1_700_000_000,
    )


def make_lease(name: str = "a", *, wants_quota: bool = False) -> Lease:
    """A lease of a credential."""
    cookies = {"sso": Secret(f"cookie-{name}")}
    return Lease(1, name, "grok-3", cookies, wants_quota=wants_quota)


class Playbook:
    """A script of events and commands. `now` may be moved between the steps."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.now = 0.0
        self.command: c.Command | None = None
        self._looked = True

    def __rshift__(self, event: e.Event) -> Playbook:
        """The event happens."""
        assert self._looked, f"nobody has looked at {self.command}"
        self.command = self.exchange.handle(event, self.now)
        self._looked = False
        return self

    def __lshift__(self, expected: c.Command | type[c.Command] | Callable[[Any], bool]) -> Playbook:
        """This command, a command of this type, or one of which this is true must have come."""
        if isinstance(expected, type):
            assert type(self.command) is expected, self.command
        elif callable(expected):
            assert expected(self.command), self.command
        else:
            assert self.command == expected
        self._looked = True
        return self

    def at(self, now: float) -> Playbook:
        """Move the clock."""
        self.now = now
        return self


@attrs.frozen
class Response:
    """An upstream response, or what came in its place."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = OK
    pieces: Sequence[bytes] = ()
    end: e.Event = attrs.field(factory=e.EndOfMessage)
    """After the pieces."""
    instead: e.Event | None = None
    """Instead of the head."""


def answered(name: str, **fields: Any) -> Response:
    """A response that streams a fixture."""
    return Response(pieces=[read_stream(name)], **fields)


@attrs.define
class FakeHost:
    """A host in memory.

    Args:
        respond: Gives the response to each upstream request.
        leases: Names of the credentials, in the order in which they are granted.
        interrupt: Called with each waiting command; an event it gives comes instead of an answer.
    """

    respond: Callable[[c.UpstreamRequest], Response]
    leases: Iterable[str] = ("a", "b", "c", "d")
    interrupt: Callable[[c.Command], e.Event | None] = lambda _: None
    wants_quota: bool = False
    pictures: dict[str, e.Event] = attrs.field(factory=dict)
    """By address: what comes of fetching it."""
    keeps_pictures: bool = True

    stored: list[tuple[bytes, str]] = attrs.field(factory=list)
    requests: list[c.UpstreamRequest] = attrs.field(factory=list)
    previews: list[c.UpstreamRequest] = attrs.field(factory=list)
    acquired: list[str] = attrs.field(factory=list)
    avoided: list[frozenset[str]] = attrs.field(factory=list)
    released: list[tuple[str, Outcome]] = attrs.field(factory=list)
    releases: list[c.ReleaseCredential] = attrs.field(factory=list)
    status: int | None = None
    headers: dict[str, str] = attrs.field(factory=dict)
    body: bytes = b""
    ended: bool = False
    open_call: bool = False
    commands: list[c.Command] = attrs.field(factory=list)
    now: float = 0.0
    _rest: list[e.Event] = attrs.field(factory=list)

    def run(self, exchange: Exchange) -> c.Summary:
        """Drive the exchange to its end."""
        free = iter(self.leases)
        event: e.Event = e.Start()
        while True:
            command = exchange.handle(event, self.now)
            self.commands.append(command)
            if isinstance(command, c.Finish):
                assert not self.open_call
                assert len(self.released) == len(self.acquired)
                return command.summary
            interruption = self.interrupt(command)
            event = interruption or self._carry_out(command, free)

    def _divide(self, fork: c.Fork, free: Any) -> None:
        """Drive the branches one after the other; a host would do it at once."""
        for index, branch in enumerate(fork.branches):
            if fork.join.over:
                for command in branch.abandon(self.now):
                    self._carry_out(command, free)
                continue
            event: e.Event = e.Start()
            while True:
                command = branch.handle(event, self.now)
                self.commands.append(command)
                if isinstance(command, c.Finish | c.SendResponse | c.SendData | c.EndResponse):
                    for each in fork.join.take(index, command):
                        self._carry_out(each, free)
                    event = e.Completed()
                else:
                    event = self._carry_out(command, free)
                if isinstance(command, c.Finish):
                    break
        assert fork.join.over

    def _carry_out(self, command: c.Command, free: Any) -> e.Event:
        match command:
            case c.AcquireCredential():
                assert len(self.released) == len(self.acquired)
                name = next((n for n in free if n not in command.exclude), None)
                self.avoided.append(command.avoid)
                if name is None:
                    return e.NoCredential("None left.", retry_after=60)
                self.acquired.append(name)
                return e.CredentialAcquired(make_lease(name, wants_quota=self.wants_quota))
            case c.ReleaseCredential(lease, outcome):
                self.released.append((lease.credential, outcome))
                self.releases.append(command)
            case c.SendRequest(request):
                assert not self.open_call
                self.requests.append(request)
                response = self.respond(request)
                self.open_call = True
                self._rest = [*map(e.DataReceived, response.pieces), response.end]
                return self._give(
                    response.instead or e.ResponseReceived(response.status, response.headers)
                )
            case c.ReceiveResponse() | c.ReceiveData():
                assert self.open_call
                return self._give(self._rest.pop(0))
            case c.CloseRequest():
                assert self.open_call
                self.open_call = False
            case c.SendResponse(status, headers):
                assert self.status is None
                self.status, self.headers = status, dict(headers)
            case c.SendData(data):
                assert self.status is not None
                assert not self.ended
                assert data
                self.body += data
            case c.EndResponse():
                assert not self.ended
                self.ended = True
            case c.FetchPicture(url):
                found = self.pictures.get(url)
                return e.PictureRefused("there is none") if found is None else found
            case c.FetchPreview(request, _, limit):
                self.previews.append(request)
                return self._fetch(self.respond(request), limit)
            case c.StorePicture(data, media_type):
                if not self.keeps_pictures:
                    return e.RequestFailed("it is full", sent=False)
                self.stored.append((data, media_type))
                return e.PictureStored(f"https://here.example/images/{len(self.stored)}")
            case c.Fork():
                self._divide(command, free)
            case c.Wait(until):
                self.now = until
        return e.Completed()

    @staticmethod
    def _fetch(response: Response, limit: int) -> e.Event:
        """A whole response as a picture."""
        data = b"".join(response.pieces)
        whole = response.instead is None and isinstance(response.end, e.EndOfMessage)
        if whole and response.status == 200 and len(data) <= limit:
            return e.PictureFetched(data)
        return e.PictureRefused("it cannot be had")

    def _give(self, event: e.Event) -> e.Event:
        if isinstance(event, e.EndOfMessage | e.RequestFailed):
            self.open_call = False
        return event

    # What the client got

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def chunks(self) -> list[Any]:
        """The chunks of a stream; `[DONE]` as None."""
        events = self.body.decode().split("\n\n")
        assert events.pop() == ""
        data = [event.removeprefix("data: ") for event in events if not event.startswith(":")]
        return [None if text == "[DONE]" else json.loads(text) for text in data]

    @property
    def text(self) -> str:
        """The content, whichever shape it came in."""
        if "event-stream" not in self.headers.get("content-type", ""):
            return str(self.json["choices"][0]["message"]["content"])
        deltas = [chunk["choices"][0]["delta"] for chunk in self.chunks if _has_delta(chunk)]
        return "".join(delta.get("content") or "" for delta in deltas)


def _has_delta(chunk: Any) -> bool:
    return bool(chunk and chunk.get("choices"))
