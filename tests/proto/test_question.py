"""Reading a request for those who make the call themselves."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from grokproto import (
    ConfigurationError,
    InvalidRequestError,
    LocalProtocolError,
    Secret,
    Settings,
    read_models,
    read_question,
    read_upload,
)
from tests.playbook import chat_body

PNG = b"\x89PNG\r\n\x1a\nabc"
DATA_URI = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


def with_picture(url: str = DATA_URI) -> bytes:
    """A request with a picture."""
    picture: dict[str, Any] = {"type": "image_url", "image_url": {"url": url}}
    content = [{"type": "text", "text": "what is it?"}, picture]
    return json.dumps(
        {"model": "grok-3", "messages": [{"role": "user", "content": content}]}
    ).encode()


def test_payload() -> None:
    question = read_question(chat_body("grok-3-reasoning", "hi", stop="x"))
    payload = question.build_payload()
    assert payload["message"] == question.message == "USER: hi"
    assert (payload["modelName"], payload["isReasoning"]) == ("grok-3", True)
    assert question.model.name == "grok-3-reasoning"
    assert question.request.stop == ("x",)


def test_call() -> None:
    settings = Settings(base_url="http://localhost:1", temporary=True)
    call = read_question(chat_body(), settings=settings).build_call("token", request_id="r")
    assert (call.method, call.url) == (
        "POST",
        "http://localhost:1/rest/app-chat/conversations/new",
    )
    headers = dict(call.headers)
    assert headers["cookie"] == "sso=token; sso-rw=token"
    assert headers["x-xai-request-id"] == "r"
    assert "accept-encoding" not in headers  # whoever undoes the codings says which
    assert json.loads(call.body)["temporary"] is True
    assert "token" not in repr(call)
    question = read_question(chat_body(), settings=settings)
    assert question.build_call(Secret("token"), request_id="r") == call


def test_cookie_that_is_none_is_not_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_question(chat_body()).build_call("two words", request_id="r")
    assert "two" not in str(caught.value)


def test_pictures_are_uploaded_first() -> None:
    question = read_question(with_picture())
    (upload,) = question.build_uploads("token", request_id="r")
    assert upload.url == "https://grok.com/rest/app-chat/upload-file"
    assert json.loads(upload.body)["fileMimeType"] == "image/png"
    assert "accept-encoding" not in dict(upload.headers)
    file_id = read_upload(b'{"fileMetadataId":"f"}')
    assert question.build_payload([file_id])["fileAttachments"] == ["f"]
    for ids in ([], ["f", "g"]):
        with pytest.raises(LocalProtocolError, match="has 1 attachments"):
            question.build_call("token", request_id="r", file_ids=ids)


def test_linked_picture_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="data URI") as caught:
        read_question(with_picture("https://a.example/x.png"))
    assert caught.value.param == "messages[0].content[1].image_url.url"


@pytest.mark.parametrize("body", [chat_body(n=2), b"{}", b"no json", chat_body("nobody")])
def test_wrong_request(body: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        read_question(body)


def test_pictures_alone_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="several calls"):
        read_question(b'{"prompt":"a heron"}', dialect="openai_images")


def test_dialect_that_is_none() -> None:
    with pytest.raises(LocalProtocolError, match="openai_chat"):
        read_question(chat_body(), dialect="latin")


def test_models_and_headers() -> None:
    models = read_models('[[models]]\nname = "mine"\nmode = "expert"')
    headers = {"x-thinking-format": "hidden"}
    question = read_question(chat_body("mine"), models=models, headers=headers)
    assert question.build_payload()["modeId"] == "expert"
    assert question.request.thinking is not None
    assert question.request.thinking.value == "hidden"
