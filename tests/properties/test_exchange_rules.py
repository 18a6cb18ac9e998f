"""Whatever Grok, the client and the clock do: the rules of an exchange hold.

The machine below is a host that answers every command with anything that may answer it.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from grokproto import commands as c
from grokproto import events as e
from grokproto.errors import LocalProtocolError
from grokproto.exchange import Exchange
from grokproto.settings import ImageMode, Settings, ThinkingFormat
from grokproto.states import REPLIES, TRANSITIONS, State
from tests.fixtures.load import STREAM_EXPECTATIONS, read_body, read_stream
from tests.playbook import OK, FakeHost, Response, chat_body, make_exchange, make_lease
from tests.proto.test_exchange import chat_body_with_link, chat_body_with_picture
from tests.strategies import cut, cuts, damaged_streams, names

PNG = b"\x89PNG\r\n\x1a\nabc"
BODIES = [
    chat_body(),
    chat_body(stream=True),
    chat_body("grok-3-imageGen", stream=True),
    chat_body("grok-3-imageGen"),
    chat_body_with_picture(),
    chat_body_with_link(),
    chat_body(stream=True, stop=["e", "the"], max_tokens=9, search_results="inline,list"),
    b"{",
]
DRAWING = b'{"prompt":"a heron","n":2,"stream":true,"partial_images":2}'
DATA = [
    *(read_stream(name) for name in sorted(STREAM_EXPECTATIONS) if name != "nothing.ndjson"),
    *(read_body(name) for name in ("limit.json", "dead_cookie.json", "challenge.html")),
    b'{"fileMetadataId":"f1"}',
    b'{"result":{"token":"x"}}\n',
    b'{"result":{"isSoftStop":true}}\n',
    PNG,
]


class AnyHost(RuleBasedStateMachine):
    """A host to which anything happens."""

    exchange: Exchange
    command: c.Command

    @initialize(
        body=st.sampled_from([*BODIES, DRAWING]),
        thinking=st.sampled_from(ThinkingFormat),
        attempts=st.integers(1, 4),
        wait=st.sampled_from([0.0, 20.0]),
        wants_quota=st.booleans(),
        mode=st.sampled_from(ImageMode),
    )
    def start(
        self,
        body: bytes,
        thinking: ThinkingFormat,
        attempts: int,
        wait: float,
        wants_quota: bool,
        mode: ImageMode,
    ) -> None:
        settings = Settings(
            thinking=thinking, max_attempts=attempts, acquire_wait=wait, image_mode=mode
        )
        dialect = "openai_images" if body is DRAWING else "openai_chat"
        self.exchange = make_exchange(body, settings, dialect=dialect)
        self.now = 0.0
        self.wants_quota = wants_quota
        self.leases: list[str] = []
        self.released: list[str] = []
        self.open_request = False
        self.statuses: list[int] = []
        self.sent = b""
        self.ended = 0
        self.gone = self.stopped = False
        self.state = State.IDLE
        self._take(e.Start())

    def _take(self, event: e.Event) -> None:
        before = self.exchange.state
        self.command = self.exchange.handle(event, self.now)
        after = self.exchange.state
        if after is not before and after is not State.DONE:
            assert after in TRANSITIONS[before], (before, after)
        self._check(self.command)

    def _check(self, command: c.Command) -> None:
        match command:
            case c.AcquireCredential():
                assert len(self.leases) == len(self.released)
                assert not self._content_seen(), "no acquire after content"
                assert command.exclude == frozenset(self.leases)
            case c.SendRequest():
                assert not self.open_request
                assert len(self.leases) == len(self.released) + 1
                self.open_request = True
            case c.ReceiveData() | c.ReceiveResponse():
                assert self.open_request
                assert command.deadline > self.now or self.now == 0
            case c.CloseRequest():
                assert self.open_request
                self.open_request = False
            case c.ReleaseCredential(lease):
                assert lease.credential == self.leases[-1]
                assert len(self.leases) == len(self.released) + 1
                self.released.append(lease.credential)
            case c.SendResponse(status):
                self.statuses.append(status)
                assert len(self.statuses) == 1
            case c.SendData():
                assert self.statuses
                assert not self.ended
                assert command.data
                self.sent += command.data
            case c.EndResponse():
                self.ended += 1
                assert self.ended == 1
            case c.Finish(summary):
                assert not self.open_request
                assert self.leases == self.released
                assert summary.client_closed == self.gone
                assert self.gone or self.ended == 1
                assert self.gone or self.statuses == [summary.status]
                if self.sent and summary.failure is not None and self.statuses == [200]:
                    assert b'"finish_reason":"' not in self.sent
                    assert b"[DONE]" not in self.sent
        if self.gone:
            assert ClientMustNotWait(command), command

    def _content_seen(self) -> bool:
        shown = (b'"content"', b'"reasoning_content"', b'"b64_json"')
        return any(mark in self.sent for mark in shown)

    def _may(self, event: type[e.Event]) -> bool:
        return event in REPLIES[type(self.command)]

    @property
    def waiting(self) -> bool:
        return not isinstance(self.command, c.Finish)

    @precondition(lambda self: self.waiting and self._may(e.Completed))
    @rule()
    def complete(self) -> None:
        if isinstance(self.command, c.Wait):
            self.now = max(self.now, self.command.until)
        self._take(e.Completed())

    @precondition(lambda self: self._may(e.CredentialAcquired))
    @rule()
    def grant(self) -> None:
        name = f"c{len(self.leases)}"
        self.leases.append(name)
        self._take(e.CredentialAcquired(make_lease(name, wants_quota=self.wants_quota)))

    @precondition(lambda self: self._may(e.NoCredential))
    @rule(after=st.sampled_from([None, 0.0, 5.0, 99.0]), busy=st.booleans(), silent=st.booleans())
    def refuse(self, after: float | None, busy: bool, silent: bool) -> None:
        if busy and isinstance(self.command, c.AcquireCredential):
            self.now = max(self.now, min(self.command.deadline, self.now + 30))
        self._take(e.NoCredential("None.", after, busy, silent))

    @precondition(lambda self: self._may(e.ResponseReceived))
    @rule(status=st.sampled_from([200, 200, 200, 200, 404, 429, 401, 403, 500, 204]))
    def respond(self, status: int) -> None:
        self._take(e.ResponseReceived(status, OK))

    @precondition(lambda self: self._may(e.DataReceived))
    @rule(data=st.sampled_from(DATA), start=st.integers(0, 50))
    def receive(self, data: bytes, start: int) -> None:
        self._take(e.DataReceived(data[start:] or data))

    @precondition(lambda self: self._may(e.EndOfMessage))
    @rule(framed=st.booleans())
    def end(self, framed: bool) -> None:
        self.open_request = False
        self._take(e.EndOfMessage(framed))

    @precondition(lambda self: self._may(e.RequestFailed))
    @rule(sent=st.booleans())
    def break_off(self, sent: bool) -> None:
        if not isinstance(self.command, c.StorePicture):
            self.open_request = False
        self._take(e.RequestFailed("reset", sent))

    @precondition(lambda self: self._may(e.PictureFetched))
    @rule(picture=st.sampled_from([PNG, b"?"]))
    def fetch(self, picture: bytes) -> None:
        self._take(e.PictureFetched(picture))

    @precondition(lambda self: self._may(e.PictureRefused))
    @rule()
    def fetch_not(self) -> None:
        self._take(e.PictureRefused("there is none"))

    @precondition(lambda self: self._may(e.PictureStored))
    @rule()
    def store(self) -> None:
        self._take(e.PictureStored("https://here.example/1"))

    @precondition(lambda self: self._may(e.TimedOut))
    @rule()
    def time_out(self) -> None:
        self.now = max(self.now, self.command.deadline)  # type: ignore[union-attr]
        self._take(e.TimedOut())

    @precondition(lambda self: self._may(e.ClientClosed) and not self.gone)
    @rule()
    def leave(self) -> None:
        self.gone = True
        self._take(e.ClientClosed())

    @precondition(lambda self: self._may(e.ServerStopping) and not self.gone and not self.stopped)
    @rule()
    def stop(self) -> None:
        self.stopped = True
        self._take(e.ServerStopping())

    @precondition(lambda self: self.waiting)
    @rule()
    def abandon(self) -> None:
        for owed in self.exchange.abandon(self.now):
            self._check(owed)
        assert not self.open_request
        assert self.leases == self.released
        self.command = c.Finish(c.Summary(None, None, 0, None, 0, 0))

    @precondition(lambda self: not self.waiting)
    @rule()
    def nothing_comes_after_the_end(self) -> None:
        with pytest.raises(LocalProtocolError):
            self.exchange.handle(e.Completed(), self.now)

    @invariant()
    def at_most_one_lease(self) -> None:
        if hasattr(self, "leases"):
            assert len(self.leases) - len(self.released) in (0, 1)


def ClientMustNotWait(command: c.Command) -> bool:  # noqa: N802 - reads as the rule it is
    """Whether a command is one that may come after the client has left."""
    return e.ClientClosed not in REPLIES[type(command)]


TestAnyHost = AnyHost.TestCase


def run(body: bytes, pieces: list[bytes], ending: e.Event) -> FakeHost:
    """One exchange with one credential and this answer."""

    def respond(request: c.UpstreamRequest) -> Response:
        if "assets" in request.url:
            return Response(pieces=[PNG])
        if "rate-limits" in request.url:
            return Response(500)
        return Response(pieces=pieces, end=ending)

    host = FakeHost(respond, leases=["a"])
    host.run(make_exchange(body, Settings(max_attempts=1)))
    return host


endings: st.SearchStrategy[Any] = st.sampled_from(
    [e.EndOfMessage(), e.EndOfMessage(framed=False), e.RequestFailed("reset")]
)


@given(damaged_streams(), endings, st.data())
def test_the_clients_bytes_do_not_depend_on_cuts(
    stream: bytes, ending: e.Event, data: st.DataObject
) -> None:
    pieces = cut(stream, data.draw(st.lists(st.integers(0, len(stream)), max_size=30)))
    for body in (chat_body(stream=True), chat_body()):
        whole = run(body, [stream] if stream else [], ending)
        parts = run(body, pieces, ending)
        assert (parts.status, parts.body) == (whole.status, whole.body)


@given(damaged_streams(), endings)
def test_both_shapes_hold_the_same_text(stream: bytes, ending: e.Event) -> None:
    pieces = [stream] if stream else []
    streamed, whole = (run(chat_body(stream=s), pieces, ending) for s in (True, False))
    if whole.status == 200:
        assert streamed.status == 200
        assert streamed.text == whole.text
        assert streamed.chunks[-1] is None
    else:
        last = streamed.chunks[-1] if streamed.status == 200 else streamed.json
        assert last == whole.json


@given(st.lists(names, min_size=2, max_size=4), st.data())
def test_streams_interleave_without_touching_each_other(
    chosen: list[str], data: st.DataObject
) -> None:
    alone = [
        run(chat_body(stream=True), [read_stream(n)], e.EndOfMessage()).body
        for n in chosen
        if n != "nothing.ndjson"
    ]
    chosen = [n for n in chosen if n != "nothing.ndjson"]
    exchanges = [make_exchange(chat_body(stream=True)) for _ in chosen]
    queues = [[*data.draw(cuts(read_stream(n)))] for n in chosen]
    bodies = [b"" for _ in chosen]
    commands = [exchange.handle(e.Start(), 0.0) for exchange in exchanges]
    while any(not isinstance(command, c.Finish) for command in commands):
        turn = data.draw(
            st.sampled_from([i for i, x in enumerate(commands) if not isinstance(x, c.Finish)])
        )
        event: e.Event = e.Completed()
        match commands[turn]:
            case c.AcquireCredential(_, _, exclude):
                event = (
                    e.NoCredential("None left.", 60)
                    if exclude
                    else e.CredentialAcquired(make_lease())
                )
            case c.SendRequest(request):
                if "new" not in request.url:
                    queues[turn] = [PNG] if "assets" in request.url else []
                event = e.ResponseReceived(500 if "limits" in request.url else 200, OK)
            case c.ReceiveData():
                rest = queues[turn]
                event = e.DataReceived(rest.pop(0)) if rest else e.EndOfMessage()
            case c.SendData(piece):
                bodies[turn] += piece
        commands[turn] = exchanges[turn].handle(event, 0.0)
    assert bodies == alone
