"""`POST /v1/images/generations`."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from grokproto import answer
from grokproto import commands as c
from grokproto import events as e
from grokproto.dialects import DIALECTS
from grokproto.dialects.openai_images import decode_image_request
from grokproto.errors import InvalidRequestError
from grokproto.failures import Failure, FailureKind
from grokproto.grok.pictures import MAX_PICTURES
from grokproto.grok.reader import NEED_DATA, AnswerReader
from grokproto.secret import Secret
from grokproto.settings import ImageHost, ImageMode, Settings
from tests.playbook import FakeHost, Response, answered, make_exchange

PNG = b"\x89PNG\r\n\x1a\nabc"
DATA_URI = "data:image/png;base64," + base64.b64encode(PNG).decode()


def draw(
    fixture: str = "image_streaming.ndjson", settings: Settings | None = None, **fields: Any
) -> FakeHost:
    """Ask for pictures."""

    def respond(request: c.UpstreamRequest) -> Response:
        if "assets.grok.com" in request.url:
            return Response(pieces=[PNG])
        return answered(fixture)

    host = FakeHost(respond)
    body = json.dumps({"prompt": "a heron", **fields}).encode()
    host.run(
        make_exchange(
            body, settings or Settings(image_mode=ImageMode.DATA), dialect="openai_images"
        )
    )
    return host


def payload(host: FakeHost) -> Any:
    """What Grok was asked."""
    return json.loads(host.requests[0].body)


def test_addresses() -> None:
    host = draw(n=2)
    assert host.status == 200
    assert host.json["created"] == 1_700_000_000
    assert host.json["data"] == [{"url": DATA_URI}] * 2
    assert host.json["usage"]["input_tokens"] > 0
    assert payload(host)["imageGenerationCount"] == 2
    assert payload(host)["message"] == "USER: a heron"
    assert payload(host)["toolOverrides"]["imageGen"] is True


def test_no_more_than_wanted() -> None:
    host = draw()
    assert len(host.json["data"]) == 1
    assert sum("assets" in request.url for request in host.requests) == 1


def test_base64() -> None:
    host = draw(response_format="b64_json")
    assert host.json["data"] == [{"b64_json": base64.b64encode(PNG).decode()}]


def test_base64_needs_no_other_place() -> None:
    for mode in ImageMode:
        host = draw(settings=Settings(image_mode=mode), response_format="b64_json")
        assert host.json["data"] == [{"b64_json": base64.b64encode(PNG).decode()}]
        assert not host.stored


def test_modes() -> None:
    upstream = draw(settings=Settings(image_mode=ImageMode.UPSTREAM))
    (picture,) = upstream.json["data"]
    assert picture["url"].startswith("https://assets.grok.com/users/")
    assert len(upstream.requests) == 1
    local = draw(settings=Settings(image_mode=ImageMode.LOCAL))
    assert local.json["data"] == [{"url": "https://here.example/images/1"}]
    assert local.stored == [(PNG, "image/png")]
    hosts = (ImageHost("tumy", "https://tu.example", Secret("k")),)
    assert draw(settings=Settings(image_hosts=hosts)).json["data"] == [{"url": DATA_URI}]


def test_store_that_is_full() -> None:
    def respond(request: c.UpstreamRequest) -> Response:
        if "assets" in request.url:
            return Response(pieces=[PNG])
        return answered("image_streaming.ndjson")

    host = FakeHost(respond, keeps_pictures=False)
    settings = Settings(image_mode=ImageMode.LOCAL)
    host.run(make_exchange(b'{"prompt":"x"}', settings, dialect="openai_images"))
    assert host.json["data"] == [{"url": DATA_URI}]


def test_stream() -> None:
    host = draw(n=2, stream=True)
    events = host.body.decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    for event in events[:-2]:
        name, data = event.split("\n")
        assert name == "event: image_generation.completed"
        fields = json.loads(data.removeprefix("data: "))
        assert fields["type"] == "image_generation.completed"
        assert base64.b64decode(fields["b64_json"]) == PNG
        assert fields["output_format"] == "png"
        assert fields["usage"]["total_tokens"] >= fields["usage"]["input_tokens"] > 0
    assert len(events) == 4
    linked = draw(n=1, stream=True, response_format="url")
    assert linked.headers["x-grokproto-ignored"] == "response_format"
    assert '"b64_json":"' in linked.body.decode()


def read_events(host: FakeHost) -> list[dict[str, Any]]:
    """The events of a stream, less `[DONE]`."""
    blocks = host.body.decode().split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    events: list[dict[str, Any]] = []
    for name, _, data in (block.partition("\ndata: ") for block in blocks[:-2]):
        events.append(json.loads(data))
        assert name == f"event: {events[-1]['type']}"
    return events


@pytest.mark.parametrize("fixture", ["image_streaming.ndjson", "image_card.ndjson"])
@pytest.mark.parametrize("wanted", [1, 2, 3])
def test_previews(fixture: str, wanted: int) -> None:
    host = draw(fixture, n=2, stream=True, partial_images=wanted)
    assert "x-grokproto-ignored" not in host.headers
    shown = [e for e in read_events(host) if e["type"] == "image_generation.partial_image"]
    asked = [request.url for request in host.previews]
    assert len(shown) == len(asked) == min(wanted, 2 if "streaming" in fixture else 1)
    assert all("-part-0/" in url for url in asked)
    assert [event["partial_image_index"] for event in shown] == list(range(len(shown)))
    assert {base64.b64decode(event["b64_json"]) for event in shown} == {PNG}
    assert {"usage", "url"}.isdisjoint(shown[0])
    cookies = dict(host.previews[0].headers)["cookie"]
    assert cookies == dict(host.requests[0].headers)["cookie"]


def test_previews_where_none_are_wanted() -> None:
    for fields in ({"stream": True}, {"stream": True, "partial_images": 0}, {"partial_images": 2}):
        assert not draw(n=2, **fields).previews


@pytest.mark.parametrize(
    "found", [Response(404), Response(pieces=[b"<html>"]), Response(instead=e.TimedOut())]
)
def test_preview_that_cannot_be_had(found: Response) -> None:
    def respond(request: c.UpstreamRequest) -> Response:
        if "-part-" in request.url:
            return found
        if "assets" in request.url:
            return Response(pieces=[PNG])
        return answered("image_streaming.ndjson")

    host = FakeHost(respond)
    body = b'{"prompt":"x","n":2,"stream":true,"partial_images":3}'
    host.run(make_exchange(body, dialect="openai_images"))
    assert len(host.previews) == 2
    assert [event["type"] for event in read_events(host)] == ["image_generation.completed"] * 2


def test_previews_of_strangers_and_of_what_is_moderated_are_not_fetched() -> None:
    def line(**fields: Any) -> bytes:
        shown = {"imageUrl": "users/u/generated/1-part-0/a.png", "progress": 50, **fields}
        response = {"streamingImageGenerationResponse": shown}
        return json.dumps({"result": {"response": response}}).encode() + b"\n"

    lines = [
        line(imageUrl="https://elsewhere.example/1-part-0/a.png"),
        line(imageUrl="users/u/generated/2-part-0/a.png", moderated=True),
        line(imageUrl=["users/u/generated/3-part-0/a.png"]),
        line(imageUrl="users/u/generated/4/a.png"),
        line(),
        line(),  # repeated
        line(imageUrl="users/u/generated/1/a.png", progress=100),
        b'{"result":{"response":{"isSoftStop":true}}}\n',
    ]
    host = FakeHost(lambda request: Response(pieces=[PNG] if "assets" in request.url else lines))
    body = b'{"prompt":"x","stream":true,"partial_images":3}'
    host.run(make_exchange(body, dialect="openai_images"))
    assert [request.url for request in host.previews] == [
        "https://assets.grok.com/users/u/generated/1-part-0/a.png"
    ]
    assert len(read_events(host)) == 2


def test_previews_are_not_without_end() -> None:
    shown = b'{"result":{"response":{"streamingImageGenerationResponse":{"progress":50,"imageUrl":'
    lines = [shown + b'"users/%d-part-0/a.png"}}}}\n' % number for number in range(100)]
    reader = AnswerReader()
    reader.receive_data(b"".join(lines))
    found = list(iter(reader.next_event, NEED_DATA))
    assert len(found) == MAX_PICTURES
    assert all(isinstance(event, answer.Preview) for event in found)
    reader.receive_eof()
    assert isinstance(reader.next_event(), answer.Failed), "a preview is no answer"


def test_client_that_leaves_while_a_preview_is_fetched() -> None:
    host = FakeHost(
        lambda _: answered("image_streaming.ndjson"),
        interrupt=lambda command: e.ClientClosed() if isinstance(command, c.FetchPreview) else None,
    )
    body = b'{"prompt":"x","stream":true,"partial_images":1}'
    summary = host.run(make_exchange(body, dialect="openai_images"))
    assert summary.client_closed
    assert [type(command) for command in host.commands[-3:]] == [
        c.CloseRequest,
        c.ReleaseCredential,
        c.Finish,
    ]


def test_words_instead_of_a_picture() -> None:
    host = draw("plain.ndjson")
    assert host.status == 400
    assert "in words" in host.json["error"]["message"]


def test_moderated() -> None:
    host = draw("image_all_moderated.ndjson")
    assert host.status == 400
    assert "moderation" in host.json["error"]["message"]


def test_failure() -> None:
    host = draw("error_blocked.ndjson")
    assert host.status == 503
    assert host.json["error"]["type"] == "server_error"
    broken = Failure(FailureKind.NETWORK, "It broke.")
    for stream, start in ((True, b"event: error\ndata: {"), (False, b"{")):
        request = decode_image_request(b'{"prompt":"x","stream":%s}' % str(stream).lower().encode())
        encoder = DIALECTS["openai_images"].build_encoder(request, "1", 1)
        assert encoder.ping() == (b": ping\n\n" if stream else b"")
        assert encoder.fail(broken).startswith(start + b'"error":{"message":"It broke."')


def test_picture_of_another_host_cannot_be_had_as_data() -> None:
    frame = {
        "result": {
            "response": {
                "streamingImageGenerationResponse": {
                    "imageUrl": "https://elsewhere.example/a.png",
                    "progress": 100,
                }
            }
        }
    }
    line = json.dumps(frame).encode() + b'\n{"result":{"response":{"isSoftStop":true}}}\n'
    host = FakeHost(lambda _: Response(pieces=[line]))
    host.run(make_exchange(b'{"prompt":"x","response_format":"b64_json"}', dialect="openai_images"))
    assert host.status == 502
    host = FakeHost(lambda _: Response(pieces=[line]))
    host.run(make_exchange(b'{"prompt":"x"}', dialect="openai_images"))
    assert host.json["data"] == [{"url": "https://elsewhere.example/a.png"}]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": " "}, "prompt"),
        ({"prompt": ["a"]}, "prompt"),
        ({"n": 11}, "n"),
        ({"response_format": "png"}, "response_format"),
        ({"stream": 1}, "stream"),
        ({"partial_images": 4}, "partial_images"),
        ({"partial_images": True}, "partial_images"),
        ({"model": 7}, "model"),
        ({"model": "dall-e-3"}, "model"),
    ],
)
def test_wrong(fields: dict[str, Any], param: str) -> None:
    host = draw(**fields)
    assert host.status in (400, 404)
    assert host.json["error"]["param"] == param
    assert not host.requests


def test_ignored() -> None:
    host = draw(size="1024x1024", quality="auto", style="vivid", partial_images=2)
    assert host.headers["x-grokproto-ignored"] == "size, style, partial_images"
    with pytest.raises(InvalidRequestError, match="JSON object"):
        decode_image_request(b"[]")


def test_several_answers_are_not_asked_for() -> None:
    dialect = DIALECTS["openai_images"]
    request = decode_image_request(b'{"prompt":"x"}')
    with pytest.raises(AssertionError):
        dialect.build_choices(request, "1", 1)
    assert dialect.build_encoder(request, "1", 1).ping() == b""
