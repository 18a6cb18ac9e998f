"""`grokproto.exchange`: the alternation, and what an exchange does step by step."""

from __future__ import annotations

import itertools
import math

import pytest

from grokproto import commands as c
from grokproto import events as e
from grokproto.errors import LocalProtocolError
from grokproto.lease import Outcome
from grokproto.settings import Settings
from grokproto.states import REPLIES, TRANSITIONS, State
from tests.fixtures import build
from tests.fixtures.load import read_stream
from tests.playbook import (
    OK,
    FakeHost,
    Playbook,
    Response,
    answered,
    chat_body,
    make_exchange,
    make_lease,
)

STREAM = chat_body(stream=True)
DONE = e.Completed()
TOKEN = e.DataReceived(b'{"result":{"token":"hi"}}\n')
END = e.DataReceived(b'{"result":{"isSoftStop":true}}\n')


def started(body: bytes = STREAM, settings: Settings | None = None) -> Playbook:
    """A script that has come to where Grok has answered 200."""
    return (
        Playbook(make_exchange(body, settings))
        >> e.Start()
        << c.AcquireCredential
        >> e.CredentialAcquired(make_lease())
        << c.SendRequest
        >> e.ResponseReceived(200, OK)
        << c.ReceiveData
    )


def test_a_stream_from_start_to_finish() -> None:
    (
        started()
        >> TOKEN
        << (lambda command: command.status == 200)
        >> DONE
        << (lambda command: command.data.endswith(b'{"content":"hi"},"finish_reason":null}]}\n\n'))
        >> DONE
        << c.ReceiveData
        >> END
        << c.ReceiveData
        >> e.EndOfMessage()
        << (lambda command: command.data.endswith(b"data: [DONE]\n\n"))
        >> DONE
        << c.EndResponse()
        >> DONE
        << c.ReleaseCredential(make_lease(), Outcome.SERVED)
        >> DONE
        << c.Finish(c.Summary(200, None, 1, "a", 2, 1, model="grok-3"))
    )


def test_a_body_from_start_to_finish() -> None:
    (
        started(chat_body())
        >> TOKEN
        << c.ReceiveData
        >> e.EndOfMessage()
        << c.SendResponse(200, (("content-type", "application/json"),))
        >> DONE
        << c.SendData
        >> DONE
        << c.EndResponse()
    )


def test_one_read_causes_one_write() -> None:
    book = started() >> e.DataReceived(TOKEN.data * 3) << c.SendResponse >> DONE
    book << (lambda command: command.data.count(b'"content":"hi"') == 3)


def test_state_follows() -> None:
    book = Playbook(make_exchange(STREAM))
    assert book.exchange.state is State.IDLE
    book >> e.Start() << c.AcquireCredential
    assert book.exchange.state is State.ACQUIRING
    book >> e.CredentialAcquired(make_lease()) << c.SendRequest
    assert book.exchange.state is State.ASKING
    book >> e.ResponseReceived(200, OK) << c.ReceiveData
    assert book.exchange.state is State.READING


# The rules of the alternation


def test_first_event_is_start() -> None:
    exchange = make_exchange()
    with pytest.raises(LocalProtocolError, match="first event is Start"):
        exchange.handle(DONE, 0)
    assert isinstance(exchange.handle(e.Start(), 0), c.AcquireCredential)


def test_wrong_answers_change_nothing() -> None:
    book = started()
    for wrong in (e.Start(), DONE, e.CredentialAcquired(make_lease()), e.ResponseReceived(200)):
        with pytest.raises(LocalProtocolError, match="is no answer to ReceiveData"):
            book.exchange.handle(wrong, 0)
    book >> TOKEN << c.SendResponse


def test_clock_must_not_go_back() -> None:
    book = started().at(5) >> TOKEN << c.SendResponse
    with pytest.raises(LocalProtocolError, match="went back"):
        book.exchange.handle(DONE, 4.9)
    book >> DONE << c.SendData


def test_nothing_comes_after_finish() -> None:
    exchange = make_exchange()
    FakeHost(lambda _: answered("plain.ndjson")).run(exchange)
    assert exchange.state is State.DONE
    with pytest.raises(LocalProtocolError, match="over"):
        exchange.handle(DONE, 0)


def test_replies_and_transitions_are_complete() -> None:
    assert set(REPLIES) == set(c.Command.__args__)
    assert set().union(*REPLIES.values()) | {e.Start} == set(e.Event.__args__)
    for replies in REPLIES.values():
        assert e.ServerStopping not in replies or e.ClientClosed in replies
    assert set(TRANSITIONS) == set(State)
    reached = {State.IDLE}.union(*TRANSITIONS.values())
    assert reached == set(State)


# Leaving


def test_client_leaves_before_the_question() -> None:
    (
        Playbook(make_exchange(STREAM))
        >> e.Start()
        << c.AcquireCredential
        >> e.ClientClosed()
        << (lambda command: command.summary.client_closed and command.summary.status is None)
    )


def test_client_leaves_in_mid_stream() -> None:
    (
        started()
        >> TOKEN
        << c.SendResponse
        >> DONE
        << c.SendData
        >> e.ClientClosed()
        << c.CloseRequest()
        >> DONE
        << c.ReleaseCredential(make_lease(), Outcome.SERVED)
        >> DONE
        << c.Finish(c.Summary(200, None, 1, "a", 2, 1, client_closed=True, model="grok-3"))
    )


def test_client_leaves_before_grok_answers() -> None:
    (
        Playbook(make_exchange(STREAM))
        >> e.Start()
        << c.AcquireCredential
        >> e.CredentialAcquired(make_lease())
        << c.SendRequest
        >> e.ClientClosed()
        << c.CloseRequest()
        >> DONE
        << (lambda command: command.outcome is Outcome.SERVED)
    )


def test_client_leaves_while_its_pictures_go_up() -> None:
    book = (
        Playbook(make_exchange(chat_body_with_picture()))
        >> e.Start()
        << c.AcquireCredential
        >> e.CredentialAcquired(make_lease())
        << c.SendRequest
        >> e.ClientClosed()
        << c.CloseRequest()
        >> DONE
    )
    book << (lambda command: command.outcome is Outcome.UNUSED)


def test_client_can_leave_once() -> None:
    book = started() >> e.ServerStopping() << c.CloseRequest() >> DONE << c.ReleaseCredential
    book >> DONE << (lambda command: command.status == 503)
    book >> e.ClientClosed() << c.Finish
    exchange = make_exchange(STREAM)
    exchange.handle(e.Start(), 0)
    exchange.handle(e.CredentialAcquired(make_lease()), 0)
    assert exchange.handle(e.ClientClosed(), 0) == c.CloseRequest()
    with pytest.raises(LocalProtocolError, match="no answer"):
        exchange.handle(e.ClientClosed(), 0)


def test_server_stops_before_the_head() -> None:
    book = started() >> e.ServerStopping() << c.CloseRequest() >> DONE << c.ReleaseCredential
    book >> DONE << (lambda command: command.status == 503) >> DONE
    book << (lambda command: b'"code":"shutting_down"' in command.data)
    book >> DONE << c.EndResponse() >> DONE << c.Finish


def test_server_stops_in_mid_stream() -> None:
    book = started() >> TOKEN << c.SendResponse >> DONE << c.SendData >> DONE << c.ReceiveData
    book >> e.ServerStopping() << c.CloseRequest() >> DONE << c.ReleaseCredential
    book >> DONE << (lambda command: b'"code":"shutting_down"' in command.data)
    book >> DONE << c.EndResponse() >> DONE << c.Finish


def test_server_stops_when_the_answer_is_out() -> None:
    book = (
        Playbook(make_exchange(STREAM))
        >> e.Start()
        << c.AcquireCredential
        >> e.CredentialAcquired(make_lease(wants_quota=True))
        << c.SendRequest
        >> e.ResponseReceived(200, OK)
        << c.ReceiveData
        >> TOKEN
        << c.SendResponse
        >> DONE
        << c.SendData
        >> DONE
        << c.ReceiveData
        >> e.EndOfMessage()
        << c.SendData
        >> DONE
        << c.EndResponse()
        >> DONE
        << (lambda command: command.request.url.endswith("rate-limits"))
    )
    book >> e.ServerStopping() << c.CloseRequest() >> DONE
    book << c.ReleaseCredential(make_lease(wants_quota=True), Outcome.SERVED) >> DONE << c.Finish


def test_abandon_gives_what_is_owed() -> None:
    book = started()
    assert book.exchange.abandon(1.0) == [
        c.CloseRequest(),
        c.ReleaseCredential(make_lease(), Outcome.SERVED),
    ]
    assert book.exchange.abandon(0.0) == []
    assert book.exchange.state is State.DONE
    assert make_exchange().abandon(0.0) == []


# Silence


def test_silent_stream_gets_pings() -> None:
    settings = Settings(ping_interval=15, idle_timeout=40)
    book = started(settings=settings)
    book << c.ReceiveData(15.0)
    book.at(15) >> e.TimedOut() << c.SendResponse >> DONE << c.SendData(b": ping\n\n")
    book >> DONE << c.ReceiveData(30.0)
    book.at(31) >> e.TimedOut() << c.SendData(b": ping\n\n") >> DONE << c.ReceiveData(40.0)
    book.at(40) >> e.TimedOut() << c.CloseRequest() >> DONE
    book << (lambda command: command.outcome is Outcome.SERVED)
    book >> DONE << (lambda command: b'"code":"timed_out"' in command.data)


def test_silence_before_the_head() -> None:
    settings = Settings(ping_interval=15, first_byte_timeout=40)
    book = Playbook(make_exchange(STREAM, settings)) >> e.Start() << c.AcquireCredential
    book >> e.CredentialAcquired(make_lease()) << (lambda command: command.deadline == 15)
    book.at(15) >> e.TimedOut() << c.SendResponse >> DONE << c.SendData(b": ping\n\n")
    book >> DONE << c.ReceiveResponse(30.0)
    book >> e.ResponseReceived(200, OK) << c.ReceiveData(30.0)
    book >> TOKEN << c.SendData >> DONE << c.ReceiveData(30.0)


def test_no_ping_comes_after_the_end() -> None:
    """The quota is asked about when the client has its answer: there is nobody left to ping."""
    book = Playbook(make_exchange(STREAM, Settings(ping_interval=1))) >> e.Start()
    book << c.AcquireCredential >> e.CredentialAcquired(make_lease(wants_quota=True))
    book << c.SendRequest >> e.ResponseReceived(200, OK) << c.ReceiveData
    book >> TOKEN << c.SendResponse >> DONE << c.SendData >> DONE << c.ReceiveData
    book >> e.EndOfMessage() << c.SendData >> DONE << c.EndResponse() >> DONE
    book << (lambda command: command.deadline == 5.0)
    book.at(3) >> e.ResponseReceived(200, OK) << c.ReceiveData(5.0)
    book.at(4) >> e.TimedOut() << c.ReceiveData(5.0)
    book.at(5) >> e.TimedOut() << c.CloseRequest() >> DONE << c.ReleaseCredential
    book >> DONE << c.Finish


def test_body_gets_no_pings() -> None:
    book = started(chat_body(), Settings(idle_timeout=40))
    book << c.ReceiveData(40.0)
    book.at(40) >> e.TimedOut() << c.CloseRequest() >> DONE << c.ReleaseCredential
    book >> DONE << (lambda command: command.status == 504)


def test_no_head_in_time() -> None:
    settings = Settings(first_byte_timeout=10)
    book = Playbook(make_exchange(chat_body(), settings)) >> e.Start() << c.AcquireCredential
    book >> e.CredentialAcquired(make_lease()) << (lambda command: command.deadline == 10)
    book.at(10) >> e.TimedOut() << c.CloseRequest() >> DONE
    book << (lambda command: command.outcome is Outcome.SERVED)
    book >> DONE << (lambda command: command.status == 504)


def test_answer_that_drips_for_ever() -> None:
    settings = Settings(ping_interval=15, idle_timeout=40, total_timeout=60)
    book = started(settings=settings) << c.ReceiveData(15.0)
    book.at(10) >> TOKEN << c.SendResponse >> DONE << c.SendData >> DONE << c.ReceiveData(25.0)
    for now in (20, 30, 40, 50):
        book.at(now) >> TOKEN << c.SendData >> DONE << c.ReceiveData(min(60.0, now + 15))
    book.at(60) >> e.TimedOut() << c.CloseRequest() >> DONE
    book << (lambda command: command.outcome is Outcome.SERVED)
    book >> DONE << (lambda command: b"did not end within 60 seconds" in command.data)


def test_answer_that_comes_on_and_on() -> None:
    book = started(settings=Settings(total_timeout=60))
    book.at(61) >> TOKEN << c.SendResponse >> DONE << c.SendData >> DONE << c.CloseRequest()
    book >> DONE << c.ReleaseCredential >> DONE
    book << (lambda command: b"did not end within 60 seconds" in command.data)


def test_other_answers_that_drip_for_ever() -> None:
    settings = Settings(idle_timeout=40, total_timeout=60)
    book = Playbook(make_exchange(chat_body(), settings)) >> e.Start() << c.AcquireCredential
    book >> e.CredentialAcquired(make_lease()) << (lambda command: command.deadline == 60)
    book.at(50) >> e.ResponseReceived(500, OK) << c.ReceiveData(60.0)
    book.at(59) >> e.DataReceived(b"x") << c.ReceiveData(60.0)
    book.at(60) >> e.TimedOut() << c.CloseRequest() >> DONE << c.ReleaseCredential
    book >> DONE << c.AcquireCredential  # the status says enough


def test_early_timeout_is_waited_out() -> None:
    book = started() << c.ReceiveData(15.0)
    book.at(3) >> e.TimedOut() << c.ReceiveData(15.0)


def test_answer_that_does_not_end_after_its_end_mark() -> None:
    book = started(chat_body()) >> TOKEN << c.ReceiveData >> END << c.ReceiveData(10.0)
    book.at(10) >> e.TimedOut() << c.CloseRequest() >> DONE
    book << (lambda command: command.status == 200)


def test_connection_that_breaks_after_the_end_mark() -> None:
    book = started(chat_body()) >> TOKEN << c.ReceiveData >> END << c.ReceiveData
    book >> e.RequestFailed("reset") << (lambda command: command.status == 200)


# Waiting for credentials


def acquiring(settings: Settings, body: bytes = STREAM) -> Playbook:
    """A script that waits for a credential."""
    return Playbook(make_exchange(body, settings)) >> e.Start()


def test_busy_credentials_are_waited_for_in_line() -> None:
    book = acquiring(Settings(acquire_wait=20, ping_interval=15))
    book << c.AcquireCredential("grok-3", 15.0)
    book.at(15) >> e.NoCredential("busy", busy=True) << c.SendResponse >> DONE
    book << c.SendData(b": ping\n\n") >> DONE << c.AcquireCredential("grok-3", 20.0)
    book.at(20) >> e.NoCredential("All are busy.", busy=True)
    book << (lambda command: b"All are busy." in command.data)


def test_host_that_does_not_wait_in_line() -> None:
    book = acquiring(Settings(acquire_wait=20))
    book << c.AcquireCredential >> e.NoCredential("busy", busy=True) << c.Wait(0.25)
    book.at(0.25) >> DONE << c.AcquireCredential
    book >> e.CredentialAcquired(make_lease()) << c.SendRequest


def test_short_cool_down_is_waited_out() -> None:
    book = acquiring(Settings(acquire_wait=20, ping_interval=15))
    book << c.AcquireCredential >> e.NoCredential("cooling", retry_after=18) << c.Wait(15.0)
    book.at(15) >> DONE << c.SendResponse >> DONE << c.SendData(b": ping\n\n") >> DONE
    book << c.Wait(18.0)
    book.at(18) >> DONE << c.AcquireCredential


def test_long_cool_down_is_told() -> None:
    book = acquiring(Settings(acquire_wait=20))
    book << c.AcquireCredential >> e.NoCredential("1 is cooling.", retry_after=99.2)
    book << c.SendResponse(
        429,
        (
            ("content-type", "application/json"),
            ("x-should-retry", "false"),
            ("retry-after", "100"),
        ),
    )
    book >> DONE << (lambda command: b"1 is cooling." in command.data)


def test_wait_without_an_end_is_no_header() -> None:
    book = acquiring(Settings()) << c.AcquireCredential >> e.NoCredential("Gone.", math.inf)
    command = book.command
    assert isinstance(command, c.SendResponse)
    assert command.status == 429
    assert "retry-after" not in dict(command.headers)


def test_no_credential_ever() -> None:
    book = acquiring(Settings()) << c.AcquireCredential >> e.NoCredential("None at all.")
    book << (lambda command: command.status == 503)


@pytest.mark.parametrize("retry_after", [30.0, None])
def test_pool_that_does_not_answer_is_no_account_that_is_used_up(retry_after: float | None) -> None:
    book = acquiring(Settings(acquire_wait=20)) << c.AcquireCredential
    book >> e.NoCredential("The pool is silent.", retry_after, silent=True)
    book << (lambda command: command.status == 503)
    book << (lambda command: dict(command.headers)["x-should-retry"] == "true")
    book >> DONE << (lambda command: b'"code":"overloaded"' in command.data)


def test_no_waiting_for_no_time() -> None:
    book = acquiring(Settings(acquire_wait=20)) << c.AcquireCredential
    book >> e.NoCredential("odd", retry_after=0) << (lambda command: command.status == 429)


PNG = "iVBORw0KGgo="
"""The first bytes of one, in base64."""


def chat_body_with_picture(*pictures: str) -> bytes:
    """A request with pictures."""
    uris = [f"data:image/png;base64,{p}" for p in pictures or (PNG,)]
    parts = [{"type": "image_url", "image_url": {"url": uri}} for uri in uris]
    messages = [{"role": "user", "content": [{"type": "text", "text": "look"}, *parts]}]
    return chat_body(messages=messages)


def chat_body_with_link() -> bytes:
    """A request with a picture that has yet to be fetched."""
    link = {"type": "image_url", "image_url": "https://pictures.example/a.png"}
    return chat_body(messages=[{"role": "user", "content": [link]}])


def test_observed_states_follow_the_table() -> None:
    exchange = make_exchange(chat_body_with_picture())
    seen = [exchange.state]

    def look(_: c.Command) -> None:
        seen.append(exchange.state)

    host = FakeHost(
        lambda request: (
            Response(pieces=[b'{"fileMetadataId":"f1"}'])
            if "upload-file" in request.url
            else answered("plain.ndjson")
        ),
        interrupt=look,
    )
    host.run(exchange)
    steps = {(a, b) for a, b in itertools.pairwise(seen) if a is not b}
    assert all(b in TRANSITIONS[a] or b is State.DONE for a, b in steps)
    assert {State.UPLOADING, State.READING, State.ANSWERING} <= set(seen)
    assert exchange.state is State.DONE


def test_large_read_is_one_write_for_the_body_shape_too() -> None:
    host = FakeHost(lambda _: Response(pieces=[read_stream("plain.ndjson")]))
    host.run(make_exchange())
    sent = [command for command in host.commands if isinstance(command, c.SendData)]
    assert len(sent) == 1
    assert host.text == str(build.STREAM_FILES["plain.ndjson"][1]["content"])
