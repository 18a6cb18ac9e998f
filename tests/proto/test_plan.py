"""What a request becomes before anything is asked: linked pictures, files, long conversations."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from grokproto import commands as c
from grokproto import events as e
from grokproto.lease import Outcome
from grokproto.prompt import build_prompt
from grokproto.request import FilePart, ImageLink, ImagePart, Role, TextPart, Turn
from grokproto.settings import LongInput, Settings
from tests.fixtures.load import read_body
from tests.playbook import (
    OK,
    FakeHost,
    Playbook,
    Response,
    answered,
    chat_body,
    make_exchange,
)

PNG = b"\x89PNG\r\n\x1a\nabc"
LINK = "https://pictures.example/a.png"
UPLOADED = Response(pieces=[b'{"fileMetadataId":"f1"}'])


def respond(request: c.UpstreamRequest) -> Response:
    """Take every file, and answer."""
    return UPLOADED if request.url.endswith("upload-file") else answered("plain.ndjson")


def ask(
    host: FakeHost, messages: list[dict[str, Any]], settings: Settings | None = None
) -> c.Summary:
    """Ask with these messages."""
    return host.run(make_exchange(chat_body(messages=messages), settings))


def payload(request: c.UpstreamRequest) -> Any:
    """The body of a request."""
    return json.loads(request.body)


def linked(url: str = LINK) -> list[dict[str, Any]]:
    """A message with a linked picture."""
    part = {"type": "image_url", "image_url": {"url": url}}
    return [{"role": "user", "content": [{"type": "text", "text": "See?"}, part]}]


def test_linked_picture_beside_another() -> None:
    uri = "data:image/png;base64," + base64.b64encode(PNG + b"1").decode()
    (message,) = linked()
    message["content"].insert(0, {"type": "image_url", "image_url": uri})
    host = FakeHost(respond, pictures={LINK: e.PictureFetched(PNG + b"2")})
    ask(host, [message])
    uploads = [base64.b64decode(payload(request)["content"]) for request in host.requests[:2]]
    assert uploads == [PNG + b"1", PNG + b"2"]


def test_linked_picture() -> None:
    host = FakeHost(respond, pictures={LINK: e.PictureFetched(PNG)})
    assert ask(host, linked()).failure is None
    upload, question = host.requests
    assert payload(upload)["content"] == base64.b64encode(PNG).decode()
    assert payload(upload)["fileMimeType"] == "image/png"
    assert payload(question)["fileAttachments"] == ["f1"]
    fetch = host.commands[0]
    assert fetch == c.FetchPicture(LINK, 20.0)


@pytest.mark.parametrize(
    ("found", "words"),
    [(e.PictureRefused("it is larger than 1 MiB"), "1 MiB"), (e.PictureFetched(b"GIF"), "no PNG")],
)
def test_linked_picture_that_cannot_be_had(found: e.Event, words: str) -> None:
    host = FakeHost(respond, pictures={LINK: found})
    ask(host, linked())
    assert host.status == 400
    assert words in host.json["error"]["message"]
    assert host.json["error"]["code"] == "invalid_image_url"
    assert host.json["error"]["param"] == "messages[0].content[1].image_url.url"
    assert not host.acquired


def test_linked_pictures_are_not_fetched_where_that_is_off() -> None:
    host = FakeHost(respond, pictures={LINK: e.PictureFetched(PNG)})
    ask(host, linked(), Settings(fetch_images=False))
    assert host.status == 400
    assert "FETCH_IMAGES" in host.json["error"]["message"]
    assert not any(isinstance(command, c.FetchPicture) for command in host.commands)


def test_links_of_older_turns_are_not_fetched() -> None:
    host = FakeHost(respond)
    ask(host, [*linked(), {"role": "user", "content": "And now?"}])
    assert payload(host.requests[0])["message"] == "USER: See?\n[Image]\nAnd now?"


def test_client_leaves_while_its_picture_is_fetched() -> None:
    book = Playbook(make_exchange(chat_body(messages=linked())))
    book >> e.Start() << c.FetchPicture >> e.ClientClosed() << c.Finish


def test_server_stops_while_a_picture_is_fetched() -> None:
    book = Playbook(make_exchange(chat_body(messages=linked())))
    book >> e.Start() << c.FetchPicture >> e.ServerStopping()
    book << (lambda command: command.status == 503)


def test_files() -> None:
    text = base64.b64encode("Zwölf".encode()).decode()
    picture = base64.b64encode(PNG).decode()
    parts = [
        {
            "type": "file",
            "file": {"file_data": f"data:;base64,{text}", "filename": "../a b.md"},
        },
        {"type": "input_file", "file_data": text},
        {"type": "file", "file": {"file_data": picture, "filename": "x.png"}},
        {"type": "input_image", "image_url": f"data:image/gif;base64,{picture}"},
        {"type": "input_text", "text": "Read."},
        {"type": "output_text", "text": "Well?"},
    ]
    host = FakeHost(respond)
    ask(host, [{"role": "user", "content": parts}])
    uploads = [payload(request) for request in host.requests[:4]]
    assert [each["fileName"] for each in uploads] == [
        "_a b.md",
        "file.txt",
        "image.png",
        "image.png",
    ]
    assert [each["fileMimeType"] for each in uploads] == ["text/plain"] * 2 + ["image/png"] * 2
    assert payload(host.requests[4])["message"] == "USER: Read.\nWell?"


def test_files_of_older_turns_are_named() -> None:
    turns = (
        Turn(Role.USER, (FilePart("YQ==", "a.txt"),)),
        Turn(Role.USER, (ImageLink(LINK), TextPart("x"))),
        Turn(Role.USER, (ImagePart("YQ==", "image/png"), TextPart("y"))),
    )
    prompt = build_prompt(turns)
    assert prompt.message == "USER: [File]\n[Image]\nx\ny"
    assert prompt.attachments == (ImagePart("YQ==", "image/png"),)


# Long conversations


def long_conversation(characters: int, question: str = "And?") -> list[dict[str, Any]]:
    """A conversation that flattens to so many characters."""
    frame = len(f"USER: \nASSISTANT: ok\nUSER: {question}")
    return [
        {"role": "user", "content": "x" * (characters - frame)},
        {"role": "assistant", "content": "ok"},
        {"role": "user", "content": question},
    ]


@pytest.mark.parametrize("characters", [39_999, 40_000])
def test_short_enough(characters: int) -> None:
    host = FakeHost(respond)
    ask(host, long_conversation(characters))
    (question,) = host.requests
    assert len(payload(question)["message"]) == characters


def test_too_long() -> None:
    host = FakeHost(respond)
    ask(host, long_conversation(40_001))
    upload, question = host.requests
    older = base64.b64decode(payload(upload)["content"]).decode()
    assert older.startswith("USER: xxx")
    assert older.endswith("x\nASSISTANT: ok")
    assert payload(upload)["fileName"] == "conversation.txt"
    assert payload(upload)["fileMimeType"] == "text/plain"
    message = payload(question)["message"]
    assert message.endswith("\n\nUSER: And?")
    assert "conversation.txt" in message
    assert payload(question)["fileAttachments"] == ["f1"]


def test_question_that_was_asked_before() -> None:
    messages = [
        {"role": "user", "content": "Again?"},
        {"role": "assistant", "content": "y" * 40_000},
        {"role": "user", "content": "Again?"},
    ]
    host = FakeHost(respond)
    ask(host, messages)
    older = base64.b64decode(payload(host.requests[0])["content"]).decode()
    assert older == "USER: Again?\nASSISTANT: " + "y" * 40_000
    assert payload(host.requests[1])["message"].endswith("\n\nUSER: Again?")


def test_file_is_uploaded_again_with_another_credential() -> None:
    replies = iter([UPLOADED, Response(429, OK, [read_body("limit.json")]), UPLOADED])
    host = FakeHost(lambda _: next(replies, answered("plain.ndjson")))
    assert ask(host, long_conversation(50_000)).failure is None
    assert [name for name, _ in host.released] == ["a", "b"]
    assert [request.url.rsplit("/", 1)[-1] for request in host.requests] == [
        "upload-file",
        "new",
        "upload-file",
        "new",
    ]


def test_refused_file_goes_as_it_is() -> None:
    replies = iter([Response(413)])
    host = FakeHost(lambda _: next(replies, answered("plain.ndjson")))
    assert ask(host, long_conversation(50_000)).failure is None
    assert len(payload(host.requests[1])["message"]) == 50_000
    assert host.released == [("a", Outcome.SERVED)]


def test_broken_upload_is_a_failed_attempt() -> None:
    broken = Response(instead=e.RequestFailed("reset"))
    host = FakeHost(lambda _: broken)
    assert ask(host, long_conversation(50_000)).status == 502
    assert all(outcome is Outcome.UNUSED for _, outcome in host.released)


def test_one_long_message_goes_as_it_is() -> None:
    host = FakeHost(respond)
    ask(host, [{"role": "user", "content": "z" * 50_000}])
    assert len(host.requests) == 1
    assert payload(host.requests[0])["message"] == "USER: " + "z" * 50_000


def test_no_room_for_one_more_file() -> None:
    picture = {"type": "image_url", "image_url": "data:;base64," + base64.b64encode(PNG).decode()}
    messages = long_conversation(50_000)
    messages[-1]["content"] = [picture] * 4
    host = FakeHost(respond)
    ask(host, messages)
    assert len(host.requests) == 5
    assert len(payload(host.requests[4])["message"]) > 40_000


def test_conversation_that_ends_with_an_answer() -> None:
    prompt = build_prompt(
        [Turn(Role.SYSTEM, (TextPart("a"),)), Turn(Role.ASSISTANT, (TextPart("b"),))]
    )
    assert (prompt.older, prompt.question) == ("USER: a", "ASSISTANT: b")


def test_send_and_refuse() -> None:
    host = FakeHost(respond)
    ask(host, long_conversation(50_000), Settings(long_input=LongInput.SEND))
    assert len(host.requests) == 1
    host = FakeHost(respond)
    ask(host, long_conversation(50_000), Settings(long_input=LongInput.REFUSE))
    assert host.status == 400
    assert host.json["error"]["code"] == "context_length_exceeded"
    assert "50000" in host.json["error"]["message"]
    assert not host.requests
    host = FakeHost(respond)
    settings = Settings(long_input=LongInput.REFUSE, long_input_chars=50_000)
    assert ask(host, long_conversation(50_000), settings).status == 200
