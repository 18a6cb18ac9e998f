"""The official `openai` package, as its users use it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator

import openai
import pytest

from grokproto.models import ModelTable
from tests.clients.conftest import KEY

MODELS = list(ModelTable())
ASK = [{"role": "user", "content": "Name a colour."}]


@pytest.fixture
def client(base_url: str) -> Iterator[openai.OpenAI]:
    """A client of the demo server."""
    with openai.OpenAI(base_url=base_url, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("model", MODELS)
def test_body(client: openai.OpenAI, model: str) -> None:
    completion = client.chat.completions.create(model=model, messages=ASK)  # type: ignore[arg-type]
    choice = completion.choices[0]
    content = choice.message.content or ""
    assert choice.finish_reason == "stop"
    assert completion.model == model
    assert completion.usage is not None
    assert completion.usage.total_tokens > 0
    if "imageGen" in model:
        assert content.count("![image](data:image/png;base64,") == 2
        picture = content.split("base64,")[1].split(")")[0]
        assert base64.b64decode(picture).startswith(b"\x89PNG")
    else:
        assert "Name a colour." in content
        assert "<grok:" not in content
        assert "<xai:" not in content
    assert ("<think>" in content) == (content.count("</think>") == 1)
    if model in ("grok-3-deepsearch", "grok-3-reasoning"):
        assert content.startswith("<think>")


@pytest.mark.parametrize("model", MODELS)
def test_stream(client: openai.OpenAI, model: str) -> None:
    whole = client.chat.completions.create(model=model, messages=ASK)  # type: ignore[arg-type]
    chunks = list(
        client.chat.completions.create(
            model=model,
            messages=ASK,  # type: ignore[arg-type]
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len({chunk.id for chunk in chunks}) == 1
    assert [c.choices[0].finish_reason for c in chunks if c.choices].count("stop") == 1
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert len(chunks) > 4
    if "imageGen" not in model:  # each answer has pictures of its own
        assert text == whole.choices[0].message.content


def test_stream_helper(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="grok-3", messages=ASK) as stream:  # type: ignore[arg-type]
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "content.delta" in kinds
    assert "Name a colour." in (final.choices[0].message.content or "")


def test_async(base_url: str) -> None:
    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=base_url, api_key=KEY) as client:
            whole = await client.chat.completions.create(model="grok-3", messages=ASK)  # type: ignore[arg-type]
            stream = await client.chat.completions.create(
                model="grok-3",
                messages=ASK,  # type: ignore[arg-type]
                stream=True,
            )
            text = "".join([c.choices[0].delta.content or "" async for c in stream])
            return [whole.choices[0].message.content or "", text]

    whole, streamed = asyncio.run(ask())
    assert whole == streamed != ""


def test_picture_in(client: openai.OpenAI) -> None:
    uri = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
    content = [{"type": "text", "text": "See?"}, {"type": "image_url", "image_url": {"url": uri}}]
    completion = client.chat.completions.create(
        model="grok-3",
        messages=[{"role": "user", "content": content}],  # type: ignore[list-item, misc]
    )
    assert completion.choices[0].message.content


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == MODELS
    assert client.models.retrieve("grok-3").id == "grok-3"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-1")
    assert caught.value.code == "model_not_found"


def test_wrong_key(base_url: str) -> None:
    with (
        openai.OpenAI(base_url=base_url, api_key="sk-wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.chat.completions.create(model="grok-3", messages=ASK)  # type: ignore[arg-type]
    assert caught.value.code == "invalid_api_key"


def test_bad_request(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="grok-3", messages=[])
    assert caught.value.param == "messages"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-1", messages=ASK)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fault", "model", "error"),
    [
        ("block_page", "grok-3", openai.InternalServerError),
        ("limit", "grok-heavy", openai.RateLimitError),  # its group cools down after that
        ("server_error", "grok-3", openai.InternalServerError),
    ],
)
def test_errors(
    client: openai.OpenAI, fault: str, model: str, error: type[openai.APIStatusError]
) -> None:
    messages = [{"role": "user", "content": f"[[fault:{fault}]]"}]
    for stream in (False, True):
        with pytest.raises(error) as caught:
            client.chat.completions.create(model=model, messages=messages, stream=stream)  # type: ignore[call-overload]
        assert len(caught.value.message) > 20


def test_error_in_mid_stream(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "[[fault:error_line]]"}]
    stream = client.chat.completions.create(model="grok-3", messages=messages, stream=True)  # type: ignore[call-overload]
    with stream, pytest.raises(openai.APIError) as caught:
        assert {chunk.choices[0].finish_reason for chunk in stream} == {None}
    assert caught.value.code == "upstream"
