"""The official `openai` package for Python, as its users use it."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import anyio
import openai
import pydantic
import pytest
from openai.lib.streaming.chat import ContentDoneEvent

from grokproto.models import ModelTable
from transports.simulator import FaultKind, Style

from .stand import CHAT, KEY, Stand

MODELS = list(ModelTable())
ASK: Any = [{"role": "user", "content": "Name a colour."}]
ALWAYS = {"times": None}


def ask(text: str) -> Any:
    """The messages of a conversation of one message."""
    return [{"role": "user", "content": text}]


@pytest.fixture
def client(stand: Stand) -> Iterator[openai.OpenAI]:
    """A client that does not try again by itself."""
    with openai.OpenAI(base_url=stand.base_url, api_key=KEY, max_retries=0) as client:
        yield client


# Answers


@pytest.mark.parametrize("model", MODELS)
def test_whole_and_stream(client: openai.OpenAI, model: str) -> None:
    whole = client.chat.completions.create(model=model, messages=ASK)
    choice = whole.choices[0]
    content = choice.message.content or ""
    assert (choice.finish_reason, whole.model) == ("stop", model)
    assert whole.usage is not None
    assert whole.usage.total_tokens > 0
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
    usage: Any = {"include_usage": True}
    chunks = list(
        client.chat.completions.create(model=model, messages=ASK, stream=True, stream_options=usage)
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert [c.choices[0].finish_reason for c in chunks if c.choices].count("stop") == 1
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert len(chunks) > 4
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    if "imageGen" not in model:  # each answer has pictures of its own
        assert (text, chunks[-1].usage) == (content, whole.usage)


def test_stream_helper(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="grok-3", messages=ASK) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert kinds.count("content.delta") > 4
    assert kinds.count("content.done") == 1
    assert "Name a colour." in (final.choices[0].message.content or "")
    assert final.choices[0].finish_reason == "stop"


def test_stream_that_is_left(client: openai.OpenAI, stand: Stand) -> None:
    stand.simulator.site.style = Style(tokens=100_000)
    with client.chat.completions.create(model="grok-3", messages=ASK, stream=True) as stream:
        next(iter(stream))
    stand.wait_until_idle()
    assert stand.simulator.site.cancelled == 1


def test_choices_and_stop(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="grok-3", messages=ASK, n=2, stop=["answers"])
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert {(c.message.content or "")[-12:] for c in answer.choices} == {"— simulated "}
    short = client.chat.completions.create(
        model="grok-3", messages=ASK, max_completion_tokens=3, stream=True
    )
    assert [c.choices[0].finish_reason for c in short][-1] == "length"


class Colour(pydantic.BaseModel):
    """What is asked for below."""

    name: str
    shades: list[str]


JSON = '{"name": "blue", "shades": ["navy", "azure"]}'


def test_parsed(client: openai.OpenAI, stand: Stand) -> None:
    answer = client.chat.completions.parse(
        model="grok-3", messages=ask(f"[[say:{JSON}:say]]"), response_format=Colour
    )
    assert answer.choices[0].message.parsed == Colour(name="blue", shades=["navy", "azure"])
    assert '"shades"' in stand.questions[0].body["message"]
    with client.chat.completions.stream(
        model="grok-3-reasoning", messages=ask(f"[[say:{JSON}:say]]"), response_format=Colour
    ) as stream:
        done = [event for event in stream if isinstance(event, ContentDoneEvent)]
    assert [event.parsed for event in done] == [Colour(name="blue", shades=["navy", "azure"])]


def test_thinking_beside_the_content(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="grok-3-reasoning",
        messages=ASK,
        stream=True,
        extra_body={"thinking_format": "reasoning_content"},
    )
    deltas = [chunk.choices[0].delta for chunk in stream]
    thought = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert thought == "Weighing the question.\n"
    assert "<think>" not in "".join(delta.content or "" for delta in deltas)


def test_annotations(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="grok-3-search", messages=ASK, extra_body={"search_results": "inline,annotations"}
    )
    message = answer.choices[0].message
    assert message.annotations is not None
    cited = message.annotations[0].url_citation
    assert (message.content or "")[cited.start_index : cited.end_index] == f"[[1]]({cited.url})"


def test_picture_in(client: openai.OpenAI) -> None:
    uri = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
    content = [{"type": "text", "text": "See?"}, {"type": "image_url", "image_url": {"url": uri}}]
    messages: Any = [{"role": "user", "content": content}]
    completion = client.chat.completions.create(model="grok-3", messages=messages)
    assert "I see 1 pictures." in (completion.choices[0].message.content or "")


def test_async(stand: Stand) -> None:
    async def use() -> list[str]:
        async with openai.AsyncOpenAI(base_url=stand.base_url, api_key=KEY) as client:
            whole = await client.chat.completions.create(model="grok-3", messages=ASK)
            stream = await client.chat.completions.create(model="grok-3", messages=ASK, stream=True)
            text = "".join([c.choices[0].delta.content or "" async for c in stream])
            async with client.chat.completions.stream(model="grok-3", messages=ASK) as helper:
                final = await helper.get_final_completion()
            many = await asyncio.gather(
                *(client.chat.completions.create(model="grok-3", messages=ASK) for _ in range(5))
            )
            models = [model.id async for model in client.models.list()]
            assert models == MODELS
            answers = [whole, final, *many]
            return [text, *(answer.choices[0].message.content or "" for answer in answers)]

    assert len(set(asyncio.run(use()))) == 1


# Responses as they came


def test_raw_response(client: openai.OpenAI, stand: Stand) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="grok-3", messages=ASK, seed=1, extra_headers={"x-request-id": "mine-1"}
    )
    assert raw.headers["x-grokproto-ignored"] == "seed"
    assert raw.headers["x-request-id"] == raw.request_id == "mine-1"
    assert int(raw.headers["openai-processing-ms"]) > 0
    assert raw.parse()._request_id == "mine-1"
    assert raw.retries_taken == 0
    stand.wait_until_idle()
    assert [e["request_id"] for e in stand.log if e["event"] == "request"] == ["mine-1"]


def test_streaming_response(client: openai.OpenAI) -> None:
    with client.chat.completions.with_streaming_response.create(
        model="grok-3", messages=ASK, stream=True
    ) as response:
        lines = [line for line in response.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    with client.chat.completions.with_streaming_response.create(
        model="grok-3", messages=ASK
    ) as response:
        assert response.parse().choices[0].finish_reason == "stop"


# Pictures


def test_pictures(client: openai.OpenAI) -> None:
    linked = client.images.generate(prompt="a heron", model="grok-3-imageGen", n=2)
    assert linked.data is not None
    assert [(each.url or "")[:22] for each in linked.data] == ["data:image/png;base64,"] * 2
    plain = client.images.generate(prompt="a heron", response_format="b64_json")
    assert plain.data is not None
    assert base64.b64decode(plain.data[0].b64_json or "").startswith(b"\x89PNG")
    assert plain.usage is not None
    assert plain.usage.input_tokens > 0


def test_pictures_as_they_are_drawn(client: openai.OpenAI) -> None:
    with client.images.generate(prompt="a heron", stream=True, partial_images=2) as stream:
        events = list(stream)
    kinds = ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert [event.type for event in events] == kinds
    assert all(base64.b64decode(event.b64_json).startswith(b"\x89PNG") for event in events)
    assert len({event.b64_json for event in events}) == 3


# Models


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == MODELS
    assert client.models.retrieve("grok-3").id == "grok-3"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-1")
    assert caught.value.code == "model_not_found"


# Errors


def test_wrong_key(stand: Stand) -> None:
    with (
        openai.OpenAI(base_url=stand.base_url, api_key="sk-wrong") as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.chat.completions.create(model="grok-3", messages=ASK)
    assert caught.value.code == "invalid_api_key"
    assert caught.value.request_id


def test_bad_request(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="grok-3", messages=[])
    assert caught.value.param == "messages"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-1", messages=ASK)
    with pytest.raises(openai.NotFoundError) as unknown:
        client.embeddings.create(model="grok-3", input="x")
    assert unknown.value.code == "not_supported"
    assert "embeddings" in unknown.value.message


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        (FaultKind.BLOCK_PAGE, openai.InternalServerError, "cloudflare"),
        (FaultKind.LIMIT, openai.RateLimitError, "no_credential"),
        (FaultKind.SERVER_ERROR, openai.InternalServerError, "upstream"),
        (FaultKind.RESET_BEFORE_HEAD, openai.InternalServerError, "network"),
        (FaultKind.EMPTY, openai.InternalServerError, "empty"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors(
    client: openai.OpenAI,
    stand: Stand,
    fault: FaultKind,
    error: type[openai.APIStatusError],
    code: str,
    stream: bool,
) -> None:
    stand.order(fault, times=None)
    with pytest.raises(error) as caught:
        client.chat.completions.create(model="grok-3", messages=ASK, stream=stream)
    assert caught.value.code == code
    assert len(caught.value.message) > 20


@pytest.mark.parametrize("fault", [FaultKind.ERROR_LINE, FaultKind.CUT])
def test_error_in_mid_stream(client: openai.OpenAI, stand: Stand, fault: FaultKind) -> None:
    stand.order(fault)
    with client.chat.completions.create(model="grok-3", messages=ASK, stream=True) as stream:
        with pytest.raises(openai.APIError) as caught:
            assert {chunk.choices[0].finish_reason for chunk in stream} == {None}
    assert caught.value.code in ("upstream", "network")


# Its own retries


class Pauses:
    """The pauses of the SDK: written down, and over at once."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self.seconds: list[float] = []

    def sleep(self, seconds: float) -> None:
        """As `time` has it."""
        self.seconds.append(seconds)
        self._stand.clock.late += seconds

    async def sleep_async(self, seconds: float) -> None:
        """As `anyio` has it."""
        self.sleep(seconds)


class Instead:
    """A module in which one name is another."""

    def __init__(self, module: ModuleType, **names: Any) -> None:
        self._module = module
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


@pytest.fixture
def pauses(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> Pauses:
    """The SDK's clocks."""
    pauses = Pauses(stand)
    monkeypatch.setattr("openai._base_client.time", Instead(time, sleep=pauses.sleep))
    monkeypatch.setattr("openai._base_client.anyio", Instead(anyio, sleep=pauses.sleep_async))
    return pauses


def retry_sync(stand: Stand, **options: Any) -> int:
    """Ask with the SDK's own retries; give how many it took."""
    with openai.OpenAI(base_url=stand.base_url, api_key=KEY, **options) as client:
        raw = client.chat.completions.with_raw_response.create(model="grok-3", messages=ASK)
        assert raw.parse().choices[0].finish_reason == "stop"
        return raw.retries_taken


def retry_async(stand: Stand, **options: Any) -> int:
    """The same, of the other client."""

    async def ask() -> int:
        async with openai.AsyncOpenAI(base_url=stand.base_url, api_key=KEY, **options) as client:
            raw = await client.chat.completions.with_raw_response.create(
                model="grok-3", messages=ASK
            )
            assert raw.parse().choices[0].finish_reason == "stop"
            return raw.retries_taken

    return asyncio.run(ask())


Retry = Callable[..., int]


@pytest.fixture(params=[retry_sync, retry_async], ids=["sync", "async"])
def retry(request: pytest.FixtureRequest) -> Retry:
    """Either of them."""
    return request.param  # type: ignore[no-any-return]


def test_it_tries_again_after_a_passing_fault(stand: Stand, pauses: Pauses, retry: Retry) -> None:
    stand.order(FaultKind.SERVER_ERROR, times=2)  # as many as the server itself tries
    assert retry(stand) == 1
    assert len(pauses.seconds) == 1
    assert stand.calls[CHAT] == 3


def test_it_waits_as_long_as_the_server_says(stand: Stand, pauses: Pauses, retry: Retry) -> None:
    limit = b'{"error":{"code":8,"message":"Too many requests","details":[]}}'
    stand.order_answer(429, {"retry-after": "30"}, limit, times=2)
    assert retry(stand) == 1
    assert len(pauses.seconds) == 1
    assert 29 <= pauses.seconds[0] <= 30
    assert stand.calls[CHAT] == 3


def test_it_does_not_try_again_in_vain(stand: Stand, pauses: Pauses, retry: Retry) -> None:
    stand.order(FaultKind.BLOCK_PAGE, times=None)
    with pytest.raises(openai.InternalServerError):
        retry(stand)
    stand.order(FaultKind.LIMIT, times=None)
    with pytest.raises(openai.InternalServerError):
        retry(stand, max_retries=5)
    assert pauses.seconds == []
    assert stand.calls[CHAT] == 2


def test_it_does_not_wait_for_hours(stand: Stand, pauses: Pauses, retry: Retry) -> None:
    stand.order(FaultKind.LIMIT, times=None)
    with pytest.raises(openai.RateLimitError) as caught:
        retry(stand)
    assert pauses.seconds == []
    assert int(caught.value.response.headers["retry-after"]) > 60
    assert stand.calls[CHAT] == 2
