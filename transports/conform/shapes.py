"""The shapes of OpenAI's objects, as far as clients look at them."""

from __future__ import annotations

from typing import Any

from .plain_http import ProtocolError, Response
from .running import expect
from .sse import Stream, read_stream

FINISH_REASONS = ("stop", "length", "content_filter", "tool_calls", "function_call")


def tell(value: Any) -> str:
    """A value in a few characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def expect_field(thing: Any, name: str, kind: type, where: str) -> Any:
    """The field of an object, which must be there, and of a type.

    Raises:
        FailedError: It is not.
    """
    expect(isinstance(thing, dict), f"{where} is no object: {tell(thing)}")
    expect(name in thing, f"{where} has no {name}")
    value = thing[name]
    right = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
    expect(right, f"{name} of {where} is {tell(value)}, not {kind.__name__}")
    return value


def expect_status(response: Response, *statuses: int) -> None:
    """See to it that a response has one of some statuses.

    Raises:
        FailedError: It has another.
    """
    wanted = " or ".join(map(str, statuses))
    expect(
        response.status in statuses,
        f"{response.status}, not {wanted}: {response.body[:80].decode('utf-8', 'replace')}",
    )


def expect_json(response: Response) -> Any:
    """The JSON of a successful response.

    Raises:
        FailedError: It is none.
    """
    expect_status(response, 200)
    media_type = response.media_type
    expect(media_type == "application/json", f"the content-type is {tell(media_type)}")
    return response.json


def expect_model(model: Any) -> str:
    """See to it that an object is a model; its id."""
    where = "a model"
    identity: str = expect_field(model, "id", str, where)
    expect(model.get("object") == "model", f"object of a model is {tell(model.get('object'))}")
    expect_field(model, "created", int, where)
    expect_field(model, "owned_by", str, where)
    return identity


def expect_usage(usage: Any) -> int:
    """See to it that an object is a usage; its total."""
    prompt, completion, total = (
        expect_field(usage, name, int, "the usage")
        for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    expect(min(prompt, completion) >= 0, f"a count is below nothing: {tell(usage)}")
    expect(total == prompt + completion, f"{total} is not {prompt} + {completion}")
    return int(total)


def expect_completion(response: Response) -> list[dict[str, Any]]:
    """See to it that a response is a chat completion; its choices, in their order."""
    found = expect_json(response)
    where = "the completion"
    expect_field(found, "id", str, where)
    kind = expect_field(found, "object", str, where)
    expect(kind == "chat.completion", f"object is {tell(kind)}")
    expect_field(found, "created", int, where)
    expect_field(found, "model", str, where)
    choices: list[dict[str, Any]] = expect_field(found, "choices", list, where)
    expect(choices, "choices is empty")
    for choice in choices:
        expect_field(choice, "index", int, "a choice")
        message = expect_field(choice, "message", dict, "a choice")
        expect(message.get("role") == "assistant", f"role is {tell(message.get('role'))}")
        expect_field(message, "content", str, "the message")
        reason = choice.get("finish_reason")
        expect(reason in FINISH_REASONS, f"finish_reason is {tell(reason)}")
    return sorted(choices, key=lambda choice: int(choice["index"]))


def read_text(choices: list[dict[str, Any]]) -> str:
    """The text of the first choice of a completion."""
    return str(choices[0]["message"]["content"])


def expect_stream_head(response: Response) -> None:
    """See to it that a response, or its head, is that of a stream.

    Raises:
        FailedError: It is that of another.
    """
    expect_status(response, 200)
    media_type = response.media_type
    expect(media_type == "text/event-stream", f"the content-type is {tell(media_type)}")


def expect_stream(response: Response) -> Stream:
    """See to it that a response is a stream of chunks.

    Raises:
        FailedError: It is another response.
        FramingError: It is a broken one.
    """
    expect_stream_head(response)
    stream = read_stream(response.body)
    expect(stream.done, "the stream does not end with data: [DONE]")
    for chunk in stream.chunks:
        expect("error" not in chunk, f"the stream has an error: {tell(chunk)}")
    expect(stream.chunks, "the stream has no chunk")
    return stream


def read_deltas(stream: Stream, index: int = 0) -> tuple[str, list[str]]:
    """What the chunks of one choice say together, and the reasons for its end."""
    text = ""
    reasons: list[str] = []
    for chunk in stream.chunks:
        for choice in expect_field(chunk, "choices", list, "a chunk"):
            if expect_field(choice, "index", int, "a choice") != index:
                continue
            delta = expect_field(choice, "delta", dict, "a choice")
            if delta.get("content") is not None:
                text += expect_field(delta, "content", str, "a delta")
            if choice.get("finish_reason") is not None:
                reasons.append(expect_field(choice, "finish_reason", str, "a choice"))
    return text, reasons


def expect_error(response: Response, *statuses: int) -> dict[str, Any]:
    """See to it that a response is an error, with one of some statuses; the error.

    Raises:
        FailedError: It is not.
    """
    expect_status(response, *statuses)
    try:
        found = response.json
    except ProtocolError:
        found = None
    error: dict[str, Any] = expect_field(found, "error", dict, "the body")
    expect_field(error, "message", str, "the error")
    expect_field(error, "type", str, "the error")
    for name in ("param", "code"):
        expect(name in error, f"the error has no {name}, which may be null")
    return error
