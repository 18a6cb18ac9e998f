"""Transcripts: what is kept of an exchange, and that it can be done again."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from grokproto import ConfigurationError, Secret, Settings
from grokproto import commands as c
from grokproto import events as e
from grokproto.settings import ImageHost, ImageMode, SearchFormat
from grokproto.transcript import (
    Recording,
    Transcript,
    build_transcript,
    decode_transcript,
    encode_transcript,
    replay,
    tell,
)
from grokproto.transcript import written as shapes
from grokproto.transcript.form import encode
from grokproto.transcript.recording import Abandoned
from tests.fixtures.load import BODY_EXPECTATIONS, STREAM_EXPECTATIONS, read_body, read_stream
from tests.golden import KINDS, PNG, Kind
from tests.playbook import OK, FakeHost, Response, answered, chat_body
from tests.recorded import make_recorded, note_accounts, record
from tests.strategies import single_bytes

HTML = (("content-type", "text/html; charset=utf-8"), ("set-cookie", "cf=canary"))


def keep(recording: Recording, *, keep_text: bool = False) -> Transcript:
    """Through the file and back; every step must be the same when it is done again."""
    transcript = build_transcript(recording, keep_text=keep_text)
    written = encode_transcript(transcript)
    read = decode_transcript(written)
    assert encode_transcript(read) == written
    played = list(replay(read))
    assert played == [None] * len(transcript.entries[: transcript.differs])
    assert all(each.sentence for each in tell(read))
    return read


def host_of(kind: Kind, cut: Any = lambda data: [data]) -> FakeHost:
    """A host for one kind of answer."""

    def respond(request: c.UpstreamRequest) -> Response:
        if "assets.grok.com" in request.url:
            return Response(pieces=cut(PNG))
        data = read_stream(kind.stream)
        if kind.cut_off:
            return Response(pieces=cut(data[: len(data) // 2]), end=e.RequestFailed("reset"))
        return Response(pieces=cut(data))

    return FakeHost(respond)


@pytest.mark.parametrize("keep_text", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_answer(name: str, keep_text: bool) -> None:
    kind = KINDS[name]
    host = host_of(kind)
    recording = record(host, kind.body, dialect=kind.dialect)
    transcript = keep(recording, keep_text=keep_text)
    assert transcript.differs is None
    assert transcript.whole
    assert len(transcript.entries) == len(recording.steps)


@pytest.mark.parametrize("name", sorted(STREAM_EXPECTATIONS))
def test_every_stream_goes_the_same_way_with_filler(name: str) -> None:
    body = chat_body(stream=True, search_results="inline,list", stop=["zebra"], max_tokens=500)
    host = FakeHost(lambda _: answered(name))
    transcript = keep(record(host, body, settings=Settings(image_mode=ImageMode.UPSTREAM)))
    assert transcript.differs is None


@pytest.mark.parametrize("name", sorted(STREAM_EXPECTATIONS))
def test_every_stream_is_cut_alike(name: str) -> None:
    host = FakeHost(lambda _: Response(pieces=single_bytes(read_stream(name))))
    transcript = keep(record(host, settings=Settings(image_mode=ImageMode.UPSTREAM)))
    assert transcript.differs is None


@pytest.mark.parametrize("name", sorted(BODY_EXPECTATIONS))
def test_every_refusal(name: str) -> None:
    def respond(_: c.UpstreamRequest) -> Response:
        status = BODY_EXPECTATIONS[name]["status"]
        headers = HTML if name.endswith("html") else OK
        return Response(status, (*headers, ("retry-after", "9")), [read_body(name)])

    transcript = keep(record(FakeHost(respond)))
    assert transcript.differs is None
    assert b"canary" not in encode_transcript(transcript)


# What is not in it


CANARY = "canary-0a1b2c3d4e5f"
SECRET = "secret-9z8y7x6w5v4u"


def test_nothing_of_anybody_is_in_it() -> None:
    settings = Settings(
        base_url=f"https://{SECRET}.example/{SECRET}",
        assets_url=f"https://{SECRET}.example",
        user_agent=SECRET,
        headers={"x-statsig-id": Secret(SECRET)},
        cookies={"cf_clearance": Secret(SECRET)},
        image_hosts=(ImageHost("tumy", f"https://{SECRET}.example/up", Secret(SECRET)),),
    )
    picture = {"url": f"https://{CANARY}.example/{CANARY}.png"}
    parts = [
        {"type": "text", "text": f"I am {CANARY}."},
        {"type": "image_url", "image_url": picture},
    ]
    body = json.dumps(
        {
            "model": "grok-3",
            "user": CANARY,
            CANARY: CANARY,
            "messages": [{"role": "user", "content": parts, "name": CANARY}],
        }
    ).encode()

    def respond(request: c.UpstreamRequest) -> Response:
        headers = (*OK, ("set-cookie", SECRET))
        if request.url.endswith("upload-file"):
            return Response(200, headers, [json.dumps({"fileMetadataId": CANARY}).encode()])
        if "/up/" in request.url:
            return Response(instead=e.RequestFailed(f"no way to {CANARY}.example:443"))
        if request.method == "GET":
            return Response(200, headers, [PNG + CANARY.encode()])
        frames = [
            {"token": f"Hello {CANARY}"},
            {"streamingImageGenerationResponse": {"imageUrl": f"{CANARY}/x.jpg", "progress": 100}},
        ]
        lines = [json.dumps({"result": {"response": frame}}) for frame in frames]
        return Response(200, headers, ["\n".join(lines).encode()])

    host = FakeHost(respond, pictures={picture["url"]: e.PictureFetched(PNG + CANARY.encode())})
    headers = {"x-thinking-format": "hidden", "authorization": SECRET, "cookie": SECRET}
    recording = record(host, body, settings=settings, headers=headers, describe=note_accounts)
    transcript = keep(recording)
    assert transcript.differs is None
    written = encode_transcript(transcript)
    assert CANARY.encode() not in written
    assert SECRET.encode() not in written
    assert b"Ulrike" not in written
    assert transcript.opening.headers == {"x-thinking-format": "hidden"}
    kept = encode_transcript(keep(recording, keep_text=True)).decode()
    assert f"Hello {CANARY}" in kept
    assert SECRET not in kept


def test_only_headers_that_decide_are_kept() -> None:
    headers = {"x-search-results": "list", "x-forwarded-for": "10.0.0.7"}
    transcript = keep(record(FakeHost(lambda _: answered("search.ndjson")), headers=headers))
    assert transcript.opening.headers == {"x-search-results": "list"}


# Other ends


@pytest.mark.parametrize("event", [e.ClientClosed(), e.ServerStopping(), e.TimedOut()])
def test_interruptions(event: e.Event) -> None:
    times = itertools.count()

    def interrupt(command: c.Command) -> e.Event | None:
        return event if isinstance(command, c.ReceiveData) and next(times) == 1 else None

    kept: list[Recording] = []
    host = FakeHost(
        lambda _: Response(pieces=single_bytes(read_stream("plain.ndjson"))), interrupt=interrupt
    )
    host.run(make_recorded(kept, chat_body(stream=True)))
    transcript = keep(kept[0])
    assert transcript.differs is None
    assert any(type(entry.event) is type(event) for entry in transcript.entries)


def test_waiting_for_an_account() -> None:
    numbers = itertools.count()

    def interrupt(command: c.Command) -> e.Event | None:
        if isinstance(command, c.AcquireCredential) and next(numbers) == 0:
            return e.NoCredential("All are busy, says “Ulrike”.", retry_after=1.0, busy=True)
        return None

    host = FakeHost(lambda _: answered("plain.ndjson"), interrupt=interrupt)
    settings = Settings(acquire_wait=5.0)
    transcript = keep(record(host, settings=settings, describe=note_accounts))
    assert transcript.differs is None
    told = [each.sentence for each in tell(transcript)]
    assert "Waits for an account." in told
    assert any(
        "All are busy, says “Xxxxxx”. That changes in 1 s. One is only busy." in each
        for each in told
    )


def test_pool_that_does_not_answer() -> None:
    def interrupt(command: c.Command) -> e.Event | None:
        if isinstance(command, c.AcquireCredential):
            return e.NoCredential("All are busy.", 30.0, silent=True)
        return None

    host = FakeHost(lambda _: answered("plain.ndjson"), interrupt=interrupt)
    transcript = keep(record(host))
    assert transcript.differs is None
    told = [each.sentence for each in tell(transcript)]
    assert "The pool does not answer: All are busy. That changes in 30 s." in told


def test_exchange_that_is_dropped() -> None:
    kept: list[Recording] = []
    exchange = make_recorded(kept)
    exchange.handle(e.Start(), 1.0)
    exchange.handle(e.NoCredential("None."), 2.0)
    assert exchange.state.value == "answering"
    assert exchange.abandon(3.0) == []
    assert exchange.abandon(4.0) == []
    transcript = keep(kept[0])
    assert len(kept) == 1
    assert [each.sentence for each in tell(transcript)][-1] == "The host dropped it."


def test_nothing_happened() -> None:
    kept: list[Recording] = []
    make_recorded(kept).abandon(0.0)
    assert len(keep(kept[0]).entries) == 1


def test_branches_that_are_dropped() -> None:
    data = [read_stream("plain.ndjson"), read_stream("error_antibot.ndjson")]
    host = FakeHost(lambda _: Response(pieces=[data.pop()]))
    transcript = keep(record(host, chat_body(n=2)))
    assert transcript.differs is None
    assert any(entry.event is None and entry.now is not None for entry in transcript.entries)


def test_what_is_too_much_is_not_kept() -> None:
    data = single_bytes(read_stream("plain.ndjson"))
    recording = record(FakeHost(lambda _: Response(pieces=data)), limit=500)
    assert not recording.whole
    transcript = keep(recording)
    assert not transcript.whole
    assert transcript.differs is None
    assert 0 < len(transcript.entries) < 500
    assert record(FakeHost(lambda _: Response(pieces=data)), limit=5).steps == []


# Where filler makes another way


def differing() -> Transcript:
    """One where a number in the text has a meaning of its own."""
    recording = record(FakeHost(lambda _: answered("plain.ndjson")), chat_body(stream=True))
    steps = [
        replace(step, event=e.DataReceived(step.event.data + b"\n"))
        if isinstance(step.event, e.DataReceived)
        else step
        for step in recording.steps
    ]
    steps[4] = replace(steps[4], command=c.ReceiveData(77.0))
    return keep(replace(recording, steps=steps))


def test_another_way_is_told() -> None:
    transcript = differing()
    assert transcript.differs == 4
    assert len(transcript.entries) > 5
    sentences = [each.sentence for each in tell(transcript)]
    assert "From here on only lengths are known; see the end." in sentences
    assert sentences[-1].startswith("Over, in order")


def test_event_that_cannot_come_is_another_way() -> None:
    recording = record(FakeHost(lambda _: answered("plain.ndjson")))
    first, *others = recording.steps
    steps = [replace(first, event=e.Completed()), *others]
    assert keep(replace(recording, steps=steps)).differs == 0


# Replay


def tampered(transcript: Transcript, number: int, **changes: Any) -> Transcript:
    """With one entry changed."""
    entries = list(transcript.entries)
    entries[number] = replace(entries[number], **changes)
    return replace(transcript, entries=entries)


def test_difference_is_found() -> None:
    transcript = keep(record(FakeHost(lambda _: answered("plain.ndjson"))))
    played = list(replay(tampered(transcript, 3, commands=[{"is": "Wait", "until": 1.0}])))
    assert played[:3] == [None] * 3
    assert played[3] is not None
    assert (played[3].number, len(played)) == (3, 4)
    assert played[3].expected == [{"is": "Wait", "until": 1.0}]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"event": e.Start()}, "Start is no answer to"),
        ({"branch": 7}, "there is no branch 7"),
        ({"branch": 0, "event": None, "now": None}, "branch 0 has no command to take"),
    ],
)
def test_what_cannot_be_done_again_is_told(changes: dict[str, Any], why: str) -> None:
    transcript = keep(record(FakeHost(lambda _: answered("plain.ndjson"))))
    *_, difference = replay(tampered(transcript, 2, **changes))
    assert difference is not None
    assert isinstance(difference.found, str)
    assert difference.found.startswith(why)


def test_event_that_no_host_tells_is_a_difference() -> None:
    transcript = keep(record(FakeHost(lambda _: answered("plain.ndjson"))))
    event: Any = e.CredentialAcquired(None)  # type: ignore[arg-type]
    *_, difference = replay(tampered(transcript, 1, event=event))
    assert difference is not None
    assert str(difference.found).startswith("AttributeError: ")


def test_ids_that_are_missing_are_told() -> None:
    transcript = keep(record(FakeHost(lambda _: answered("plain.ndjson"))))
    opening = replace(transcript.opening, ids=[])
    *_, difference = replay(replace(transcript, opening=opening))
    assert difference is not None
    assert difference.found == "another id is wanted than there were"


# The file


def lines() -> Iterator[dict[str, Any]]:
    """The lines of a good one."""
    transcript = keep(record(FakeHost(lambda _: answered("plain.ndjson"))))
    yield from map(json.loads, encode_transcript(transcript).splitlines())


@pytest.mark.parametrize(
    ("number", "change", "why"),
    [
        (0, {"transcript": 9}, "line 1 .* format 9"),
        (0, {"dialect": "latin"}, "line 1 .* 'latin'"),
        (0, {"settings": 7}, "line 1"),
        (0, {"models": [{"name": 7}]}, "line 1"),
        (0, {"aliases": {"x": "y"}}, "line 1"),
        (2, {"event": {"is": "Flood"}}, "line 3 .* 'Flood'"),
        (2, {"event": 7}, "line 3"),
        (2, {"event": {"is": "DataReceived", "data": 7}}, "line 3"),
        (0, {"settings": {"idle_timeout": "x"}}, "line 1 .*idle_timeout"),
        (0, {"body": "\ud800"}, "line 1"),
        (0, {"differs": -1}, "line 1 .*differs"),
        (2, {"now": None}, "line 3 .*now"),
        (2, {"now": float("nan")}, "line 3 .*nan is no time"),
        (2, {"now": 10**400}, "line 3 .*out of range .*now"),
        (2, {"branch": "x"}, "line 3 .*branch"),
        (2, {"notes": {"rotation": "balanced"}}, "line 3 .*accounts"),
        (2, {"command": {"is": "Dance"}}, "line 3 .* 'Dance'"),
        (2, {"command": {"is": "SendRequest", "request": {"method": "GET"}}}, "line 3 .*url"),
        (2, {"command": {"is": "SendData", "data": "\ud800"}}, "line 3 .*surrogates"),
        (2, {"command": {"is": "StorePicture", "data": "\ud800\n"}}, "line 3 .*surrogates"),
        (2, {"novelty": 1}, "line 3 .*novelty"),
        (3, {"command": None, "event": None}, "line 4"),
    ],
)
def test_file_that_is_none(number: int, change: dict[str, Any], why: str) -> None:
    changed = list(lines())
    changed[number].update(change)
    data = "\n".join(map(json.dumps, changed)).encode()
    with pytest.raises(ConfigurationError, match=why):
        decode_transcript(data)


@pytest.mark.parametrize("name", ["plain.sse", "two_choices.sse", "two_choices.json"])
def test_file_that_is_cut_between_lines(name: str) -> None:
    kind = KINDS[name]
    written = encode_transcript(keep(record(host_of(kind), kind.body))).splitlines(keepends=True)
    for number in range(1, len(written)):
        with pytest.raises(ConfigurationError, match=f"^line {number} is no transcript's last: "):
            decode_transcript(b"".join(written[:number]))


def test_file_that_is_cut_where_the_host_dropped_the_exchange() -> None:
    kept: list[Recording] = []
    exchange = make_recorded(kept)
    exchange.handle(e.Start(), 1.0)
    exchange.abandon(2.0)
    written = encode_transcript(keep(kept[0])).splitlines(keepends=True)
    with pytest.raises(ConfigurationError, match=r"^line 2 is no transcript's last: "):
        decode_transcript(b"".join(written[:-1]))


def test_branch_may_be_dropped_after_the_end() -> None:
    """By a thread of its own, which learns of the end a moment later."""
    data = [read_stream("plain.ndjson"), read_stream("error_antibot.ndjson")]
    recording = record(FakeHost(lambda _: Response(pieces=[data.pop()])), chat_body(n=2))
    dropped = [step for step in recording.steps if isinstance(step, Abandoned)]
    assert dropped
    others = [step for step in recording.steps if step not in dropped]
    transcript = build_transcript(replace(recording, steps=[*others, *dropped]))
    assert decode_transcript(encode_transcript(transcript)) == transcript


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({}, "now"),
        ({"now": 1.0}, "abandoned"),
        ({"taken": []}, "branch"),
        ({"branch": 0, "taken": [7]}, "object"),
        ({"now": 1.0, "abandoned": [{"is": "Fork"}]}, "branches"),
        ([], "it is no object"),
    ],
)
def test_line_that_is_no_step(line: Any, why: str) -> None:
    data = "\n".join(map(json.dumps, [*lines(), line])).encode()
    with pytest.raises(ConfigurationError, match=f"is no transcript's: .*{why}"):
        decode_transcript(data)


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"a":' * 100_000])
def test_what_is_nested_too_deeply(data: bytes) -> None:
    with pytest.raises(ConfigurationError, match="it is nested too deeply"):
        decode_transcript(data)


@pytest.mark.parametrize("data", [b"", b"hello", b"[]", b"{}", b"\xff"])
def test_other_files(data: bytes) -> None:
    with pytest.raises(ConfigurationError, match="line 1 is no transcript's"):
        decode_transcript(data)


def test_models_and_settings_come_back() -> None:
    settings = Settings(
        search=frozenset({SearchFormat.LIST, SearchFormat.INLINE}), max_attempts=7, temporary=True
    )
    recording = record(FakeHost(lambda _: answered("search.ndjson")), settings=settings)
    transcript = keep(recording)
    assert transcript.opening.settings == settings
    assert dict(transcript.opening.models) == dict(recording.opening.models)


def test_bytes_that_are_no_text_come_back() -> None:
    event = e.DataReceived(b"caf\xc3")
    written = json.loads(json.dumps(encode(event)))
    assert written == {"is": "DataReceived", "data": "caf\udcc3"}


# Telling


def test_telling() -> None:
    data = [read_stream("plain.ndjson"), b'{"error":{"code":8,"message":"Ulrike"}}']

    def respond(request: c.UpstreamRequest) -> Response:
        if "rate-limits" in request.url:
            quota = b'{"windowSizeSeconds":7200,"remainingQueries":46,"totalQueries":50}'
            return Response(pieces=[quota])
        return Response(pieces=[data.pop()])

    host = FakeHost(respond, wants_quota=True)
    transcript = keep(record(host, chat_body(stream=True), describe=note_accounts))
    told = "\n".join(each.sentence for each in tell(transcript))
    for sentence in (
        "Asks the pool for a call of group grok-3.",
        "The pool gives account a for group grok-3.",
        "Rotation balanced: the one with most left comes first.",
        "  a is cooling, 3 of 20 left, 1 in flight: Grok says “xx xxxx, Xxxxxx”.",
        "  other-0 is ready",
        "  and 3 others",
        "That is read as rate_limited: Grok says that this account has used up its calls",
        "So it is this account's own fault; others may be tried.",
        "Gives the account back as limited: this group of the account is used up and rests.",
        "Asks the pool for a call of group grok-3, of none of ['a'].",
        "Grok sends 2270 bytes in 1 reads.",
        "Grok says that it has 46 of 50 calls left.",
        "Over, in order: status 200, 2 attempts",
    ):
        assert sentence in told


def test_telling_of_pictures() -> None:
    linked = "https://a.example/x.png"
    parts = [{"type": "image_url", "image_url": {"url": linked}}]
    body = json.dumps({"model": "grok-3", "messages": [{"role": "user", "content": parts}]})

    def respond(request: c.UpstreamRequest) -> Response:
        if request.url.endswith("upload-file"):
            return Response(pieces=[b'{"fileMetadataId":"f"}'])
        if request.method == "GET":
            return Response(pieces=[PNG])
        return answered("image_streaming.ndjson")

    host = FakeHost(respond, pictures={linked: e.PictureFetched(PNG)})
    settings = Settings(image_mode=ImageMode.LOCAL)
    transcript = keep(record(host, body.encode(), settings=settings))
    told = "\n".join(each.sentence for each in tell(transcript))
    for sentence in (
        "Fetches the picture at https://x.",
        "The picture is there, 11 bytes.",
        "Keeps a picture of 11 bytes.",
        "The picture is kept at https://",
    ):
        assert sentence in told
    refused = record(FakeHost(respond), body.encode())
    assert "The picture cannot be had: there is none." in [
        each.sentence for each in tell(keep(refused))
    ]


def test_telling_of_several_answers_and_of_ends() -> None:
    kind = KINDS["two_choices.sse"]
    transcript = keep(record(host_of(kind), kind.body))
    told = list(tell(transcript))
    assert "Makes 2 answers at once." in [each.sentence for each in told]
    assert {each.branch for each in told} == {None, 0, 1}
    broken = KINDS["broken_off.sse"]
    sentences = [each.sentence for each in tell(keep(record(host_of(broken), broken.body)))]
    assert "The call breaks off: reset." in sentences
    assert any(each.startswith("Over, with network") for each in sentences)


def test_telling_of_an_unframed_end_and_an_unsent_request() -> None:
    ends = [
        Response(instead=e.RequestFailed("refused", sent=False)),
        answered("plain.ndjson", end=e.EndOfMessage(framed=False)),
    ]
    transcript = keep(record(FakeHost(lambda _: ends.pop(0))))
    sentences = [each.sentence for each in tell(transcript)]
    assert "The call breaks off, before Grok can have seen it: refused." in sentences
    assert "The connection to Grok ends." in sentences
    assert "So it is not the account's fault; one more try may be made with another." in sentences


def test_telling_of_a_call_that_was_made_twice() -> None:
    broken = Response(instead=e.RequestFailed("reset", repeated=True))
    transcript = keep(record(FakeHost(lambda _: broken)))
    sentences = [each.sentence for each in tell(transcript)]
    assert "The call breaks off, made twice: reset." in sentences


def test_times_are_told_from_the_beginning() -> None:
    kept: list[Recording] = []
    exchange = make_recorded(kept)
    exchange.handle(e.Start(), 100.0)
    exchange.handle(e.ClientClosed(), 101.5)
    assert [each.seconds for each in tell(keep(kept[0]))] == [0.0, 0.0, 1.5, 1.5]


def test_every_command_has_a_shape() -> None:
    known = {command.__name__ for command in get_args(c.Command)}
    assert {shape.__name__ for shape in get_args(shapes.Command)} == known
