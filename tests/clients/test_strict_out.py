"""What clients get validates against the types of OpenAI's own SDK, strictly, and against the
public OpenAPI description; and it has no extras but those that README documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai.types import (
    ImageGenCompletedEvent,
    ImageGenPartialImageEvent,
    ImagesResponse,
    Model,
)
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.shared import ErrorObject
from pydantic import BaseModel

from grokproto.dialects.openai_objects import encode_error, encode_model, encode_models
from grokproto.models import ModelTable
from tests.golden import GOLDEN, KINDS

from .public_schema import check_public

EXTRAS = {
    "ChatCompletion": {"citations", "search_results"},
    "ChatCompletionChunk": {"citations", "search_results"},
    "Choice": {"citations", "search_results"},
    "ChoiceDelta": {"reasoning_content", "annotations"},
    "ChatCompletionMessage": {"reasoning_content"},
}
"""What the SDK's types do not have, by type."""


def find_extras(model: BaseModel) -> Iterator[tuple[str, str]]:
    """Fields that no type of the SDK's has."""
    for name in model.model_extra or {}:
        if name not in EXTRAS.get(type(model).__name__, set()):
            yield type(model).__name__, name
    for name in type(model).model_fields:
        value = getattr(model, name)
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, BaseModel):
                yield from find_extras(each)


SCHEMAS: dict[type[BaseModel], str] = {
    ChatCompletion: "CreateChatCompletionResponse",
    ChatCompletionChunk: "CreateChatCompletionStreamResponse",
    ImagesResponse: "ImagesResponse",
    ImageGenPartialImageEvent: "ImageGenPartialImageEvent",
    ImageGenCompletedEvent: "ImageGenCompletedEvent",
    Model: "Model",
}
"""What the types are called in the public description."""


def check(kind: type[BaseModel], data: str) -> BaseModel:
    """Validate strictly."""
    model = kind.model_validate_json(data, strict=True)
    assert list(find_extras(model)) == []
    check_public(SCHEMAS[kind], json.loads(data))
    return model


def check_error(body: Any) -> None:
    """Validate an error, which is all there is in a body."""
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    ErrorObject.model_validate(body["error"], strict=True)
    check_public("ErrorResponse", body)


@pytest.mark.parametrize("name", [name for name in KINDS if name.endswith(".json")])
def test_bodies(name: str) -> None:
    status, _, body = (GOLDEN / name).read_text(encoding="utf-8").partition("\n")
    body = body.partition("\n\n")[2]
    if status != "200":
        check_error(json.loads(body))
    elif KINDS[name].dialect == "openai_images":
        check(ImagesResponse, body)
    else:
        completion = check(ChatCompletion, body)
        assert isinstance(completion, ChatCompletion)
        assert completion.usage is not None
        assert completion.usage.completion_tokens_details is not None
        assert isinstance(completion.usage.completion_tokens_details.reasoning_tokens, int)
        for choice in completion.choices:
            assert choice.message.content is None or isinstance(choice.message.content, str)


@pytest.mark.parametrize("name", [name for name in KINDS if name.endswith(".sse")])
def test_streams(name: str) -> None:
    text = (GOLDEN / name).read_text(encoding="utf-8").partition("\n\n")[2]
    ids: set[tuple[str, int, str]] = set()
    ended = False
    for event in text.split("\n\n")[:-1]:
        kind, _, data = event.rpartition("data: ")
        if data == "[DONE]":
            ended = True
        elif '"error"' in data[:10]:
            assert kind in ("", "event: error\n")
            check_error(json.loads(data))
        elif kind == "event: image_generation.partial_image\n":
            check(ImageGenPartialImageEvent, data)
        elif kind:
            assert kind == "event: image_generation.completed\n"
            check(ImageGenCompletedEvent, data)
        else:
            chunk = check(ChatCompletionChunk, data)
            assert isinstance(chunk, ChatCompletionChunk)
            ids.add((chunk.id, chunk.created, chunk.model))
            assert chunk.choices or chunk.usage is not None
    assert len(ids) <= 1
    assert ended is not ("broken" in name or "in_the_middle" in name)


def test_models() -> None:
    models = json.loads(encode_models(ModelTable(), 1_735_689_600))
    assert set(models) == {"object", "data"}
    check_public("ListModelsResponse", models)
    for model in models["data"]:
        check(Model, json.dumps(model))
    check(Model, encode_model("grok-3", 1).decode())


def test_errors() -> None:
    check_error(json.loads(encode_error("m", "t")))
    check_error(json.loads(encode_error("m", "t", param="p", code="c")))


def test_the_check_finds_what_is_wrong() -> None:
    chunk: dict[str, Any] = {
        "id": "1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}],
    }
    check(ChatCompletionChunk, json.dumps(chunk))
    for wrong in ({"created": 1.5}, {"choices": [{"index": "0", "delta": {}}]}, {"id": None}):
        with pytest.raises(ValueError):
            check(ChatCompletionChunk, json.dumps({**chunk, **wrong}))
    with pytest.raises(AssertionError):
        check(ChatCompletionChunk, json.dumps({**chunk, "extra": 1}))
    check_public("CreateChatCompletionStreamResponse", chunk)
    choice = chunk["choices"][0]
    for wrong in (
        {"created": "1"},
        {"object": "chunk"},
        {"choices": [{**choice, "finish_reason": "done"}]},
        {"choices": [{"index": 0, "delta": {}}]},
        {"choices": [{**choice, "delta": {"content": ["x"]}}]},
        {"usage": {"total_tokens": 1.5}},
        {"model": None},
    ):
        with pytest.raises(AssertionError):
            check_public("CreateChatCompletionStreamResponse", {**chunk, **wrong})


def test_the_files_show_every_shape() -> None:
    """What the tests above would not notice if it were missing."""
    files = {name: (GOLDEN / name).read_text(encoding="utf-8") for name in KINDS}
    for shape in (
        '"choices":[],"usage":{',
        '"usage":null',
        '"annotations":[{"type":"url_citation"',
        '"reasoning_content":',
        '"citations":[',
        '"index":1,"delta"',
        '"index":1,"message"',
        '"finish_reason":"length"',
        '"finish_reason":"content_filter"',
        '"b64_json":',
        '"url":"data:',
        "event: image_generation.partial_image",
        "event: image_generation.completed",
        "event: error",
        '\ndata: {"error":',
    ):
        assert any(shape in text for text in files.values()), shape
