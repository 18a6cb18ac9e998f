"""OpenAI's `POST /v1/images/generations`: a prompt in, pictures out.

Grok draws within a conversation, so the prompt is the only message of one. How large a picture is
and how it is made is Grok's to say; the parameters for that are taken and named as ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..answer import AnswerEvent, EndReason, PartialPicture, Picture, Run, Usage
from ..errors import InvalidRequestError
from ..failures import Failure
from ..media import sniff_media_type, to_base64
from ..request import ChatRequest, Drawing, Role, TextPart, Turn
from . import sse
from .base import Choices, Encoder, Headers
from .openai_fields import decode_object, read_choice, read_flag, read_text, read_whole, wrong
from .openai_objects import describe_usage, encode_failure, encode_invalid
from .openai_params import asks_for_something, make_plain
from .openai_request import read_model

_encode = msgspec.json.encode

DEFAULT_MODEL = "grok-3-imageGen"
MAX_PICTURES = 10
MAX_PREVIEWS = 3

_HEEDED = frozenset({"prompt", "model", "n", "response_format", "stream", "partial_images", "user"})
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "size": ("auto",),
    "quality": ("auto",),
    "background": ("auto",),
    "moderation": ("auto",),
}


def decode_image_request(body: bytes) -> ChatRequest:
    """Read the body of `POST /v1/images/generations`.

    Raises:
        InvalidRequestError: It cannot be right.
    """
    fields = decode_object(body)
    prompt = read_text(fields.get("prompt"), "prompt")
    if not prompt.strip():
        raise wrong("prompt", "must say what to draw.")
    shape = read_choice(fields.get("response_format"), "response_format", ("url", "b64_json"))
    model = fields.get("model")
    stream = read_flag(fields.get("stream"), "stream")
    previews = read_whole(fields.get("partial_images"), "partial_images", 0, MAX_PREVIEWS) or 0
    ignored = [
        name
        for name, value in fields.items()
        if name not in _HEEDED and asks_for_something(value, _NEUTRAL.get(name, ()))
    ]
    if stream and shape == "url":
        ignored.append("response_format")  # the events have no place for an address
    if previews and not stream:
        ignored.append("partial_images")
    return ChatRequest(
        model=DEFAULT_MODEL if model is None else read_model(model),
        turns=(Turn(Role.USER, (TextPart(prompt),)),),
        stream=stream,
        drawing=Drawing(
            count=read_whole(fields.get("n"), "n", 1, MAX_PICTURES) or 1,
            as_data=stream or shape == "b64_json",
            previews=previews if stream else 0,
        ),
        ignored=make_plain(ignored),
    )


def _describe_picture(picture: Picture) -> dict[str, Any]:
    if picture.link:
        return {"url": picture.link}
    return {"b64_json": to_base64(picture.data or b"")}


def _describe_cost(usage: Usage) -> dict[str, Any]:
    cost = describe_usage(usage)
    return {
        "input_tokens": cost["prompt_tokens"],
        "input_tokens_details": {"text_tokens": cost["prompt_tokens"], "image_tokens": 0},
        "output_tokens": cost["completion_tokens"],
        "total_tokens": cost["total_tokens"],
    }


class ImageBodyEncoder:
    """Renders pictures as one object."""

    headers: Headers = (("content-type", "application/json"),)
    streaming = False

    def __init__(self, created: int) -> None:
        self._created = created
        self._pictures: list[Picture] = []

    def encode(self, event: AnswerEvent) -> bytes:
        """See `Encoder.encode`."""
        if isinstance(event, Picture):
            self._pictures.append(event)
        return b""

    def encode_run(self, run: Run) -> bytes:  # noqa: ARG002
        """See `Encoder.encode_run`."""
        return b""

    def finish(self, reason: EndReason, usage: Usage) -> bytes:  # noqa: ARG002
        """See `Encoder.finish`."""
        data = [_describe_picture(picture) for picture in self._pictures]
        return _encode({"created": self._created, "data": data, "usage": _describe_cost(usage)})

    def fail(self, failure: Failure) -> bytes:
        """See `Encoder.fail`."""
        return encode_failure(failure)

    def ping(self) -> bytes:
        """See `Encoder.ping`."""
        return b""


class ImageStreamEncoder(ImageBodyEncoder):
    """Renders each picture as an `image_generation.completed` event.

    Grok's pictures are finished together, so the events come together too; before them come those
    of unfinished ones (`image_generation.partial_image`), where they are wanted and Grok shows
    some.
    """

    headers: Headers = sse.HEADERS
    streaming = True

    def __init__(self, created: int) -> None:
        super().__init__(created)
        self._partial = 0
        """Unfinished pictures that were shown."""

    def encode(self, event: AnswerEvent) -> bytes:
        """See `Encoder.encode`."""
        if not isinstance(event, PartialPicture):
            return super().encode(event)
        shown = {"b64_json": to_base64(event.data)}
        end = {"partial_image_index": self._partial}
        self._partial += 1
        return self._encode_event("image_generation.partial_image", event.data, shown, end)

    def finish(self, reason: EndReason, usage: Usage) -> bytes:  # noqa: ARG002
        """See `Encoder.finish`."""
        end = {"usage": _describe_cost(usage)}
        events = [
            self._encode_event(
                "image_generation.completed",
                picture.data or b"",
                _describe_picture(picture),
                end,
            )
            for picture in self._pictures
        ]
        return b"".join([*events, sse.DONE])

    def _encode_event(
        self, name: str, data: bytes, shown: dict[str, Any], end: dict[str, Any]
    ) -> bytes:
        fields = {
            "type": name,
            "created_at": self._created,
            **shown,
            "background": "auto",
            "output_format": _name_format(data),
            "quality": "auto",
            "size": "auto",
            **end,
        }
        return sse.encode_event(name, _encode(fields))

    def fail(self, failure: Failure) -> bytes:
        """See `Encoder.fail`."""
        return sse.encode_event("error", encode_failure(failure))

    def ping(self) -> bytes:
        """See `Encoder.ping`."""
        return sse.PING


def _name_format(data: bytes) -> str:
    media_type = sniff_media_type(data) or "image/png"
    return media_type.removeprefix("image/")


class OpenAIImages:
    """`POST /v1/images/generations`."""

    name = "openai_images"

    def decode_request(self, body: bytes, headers: Mapping[str, str]) -> ChatRequest:  # noqa: ARG002
        """See `Dialect.decode_request`."""
        return decode_image_request(body)

    def build_encoder(self, request: ChatRequest, identity: str, created: int) -> Encoder:  # noqa: ARG002
        """See `Dialect.build_encoder`."""
        return ImageStreamEncoder(created) if request.stream else ImageBodyEncoder(created)

    def build_choices(self, request: ChatRequest, identity: str, created: int) -> Choices:
        """Never asked for: all pictures come in one answer."""
        raise AssertionError(request, identity, created)

    def encode_invalid(self, error: InvalidRequestError) -> bytes:
        """See `Dialect.encode_invalid`."""
        return encode_invalid(error)

    def encode_failure(self, failure: Failure) -> bytes:
        """See `Dialect.encode_failure`."""
        return encode_failure(failure)
