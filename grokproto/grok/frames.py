"""One object of Grok's stream, decoded as far as anybody looks at it.

[recorded] The frames of a new conversation are wrapped twice, those of a follow-up turn once:

    {"result":{"response":{"token":" sans","isThinking":false,"isSoftStop":false,
                           "messageTag":"final","responseId":"..."}}}
    {"result":{"token":" sans","isThinking":false,...}}
    {"result":{"conversation":{...}}}      {"result":{"title":{"newTitle":"..."}}}
    {"error":{"code":13,"message":"...","details":[]}}

[client code] The route of February 2025 sent the innermost object bare: {"token":" sans",...}.

The wrapping is typed, so that a frame of another shape is declined as a whole. What it wraps is
not: Grok changes its mind about the types of fields (a token has been null, an object and a list),
and one odd field shall not cost the frame. So the leaves are objects of any type, and whoever reads
one looks at its type. Payloads are decoded by whoever reads them, and those that nobody reads not
at all.

Sources: fixtures `plain.ndjson`, `followup_flat.ndjson`, and docs/wire.md 3.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What the JSON of a stranger may raise where it is decoded. How deep it may be nested depends on
how deep the caller stands: what was passed over at first may be too deep a few calls on."""
ABSENT = msgspec.Raw()
"""A payload that is not there; it is false, as no other is."""


class ResponseFrame(msgspec.Struct, rename="camel", gc=False):
    """The innermost object. Fields are None where they are absent or null."""

    token: Any = None
    is_thinking: Any = None
    is_soft_stop: Any = None
    message_tag: Any = None
    message_step_id: Any = None
    response_id: Any = None
    side_by_side_index: Any = None

    error: Any = None

    # Payloads that are read, as they came.
    model_response: msgspec.Raw = ABSENT
    web_search_results: msgspec.Raw = ABSENT
    x_search_results: msgspec.Raw = ABSENT
    card_attachment: msgspec.Raw = ABSENT
    cached_image_generation_response: msgspec.Raw = ABSENT
    streaming_image_generation_response: msgspec.Raw = ABSENT


class Result(ResponseFrame, rename="camel", gc=False):
    """What `result` holds: a wrapped frame, or the frame itself."""

    response: ResponseFrame | None = None


class Frame(Result, rename="camel", gc=False):
    """One object of the stream."""

    result: Result | None = None

    # A failure may come without its wrapping: {"code":8,"message":"..."}
    code: Any = None
    message: Any = None


_decoder = msgspec.json.Decoder(Frame)

_PASSED_OVER = frozenset(
    # Beside the frame.
    "conversation title "
    # About the frame.
    "rolloutId toolUsageCardId "
    # Payloads, in the order of docs/wire.md 4.
    "userResponse uiLayout llmInfo queryAction progressReport imageAttachmentInfo imageDimensions "
    "doImgGen streamingVideoGenerationResponse citedWebSearchResults codeExecutionResult "
    "toolUsageCard finalMetadata survey sideBySideConfig effortDecision followUpSuggestedMode "
    "memoryReferences bannerMessage disclaimer streamingMetadata fastToolResponse ragResults "
    "generatedTitle throttle keepAlive imageGenerationResponse grokInXaiRequest "
    "followUpSuggestions authNotification".split()
)
"""Names that are known and say nothing to us."""

KNOWN_NAMES = _PASSED_OVER | {field.encode_name for field in msgspec.structs.fields(Frame)}
"""All names of a frame that are known here."""

_MANY_DIGITS = 19
"""Of a number that is no count of anything."""

_LONE = re.compile(
    # What they begin with stands in front, so that all else is passed over at once.
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|[c-fC-F][0-9a-fA-F]{2}(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))"
)
"""Half of a surrogate pair."""
_BACKSLASH = rb"\\"
"""As JSON writes it."""


def decode_frame(data: bytes) -> Frame | None:
    """Decode one frame; None where the bytes are no JSON object of a frame's shape."""
    try:
        return _decoder.decode(data)
    except UNREADABLE:
        return None


def decode_payload(payload: msgspec.Raw) -> Any:
    """Decode a payload of whatever type; None where there is none, or nobody can."""
    try:
        return msgspec.json.decode(payload)
    except UNREADABLE:
        return _decode_leniently(bytes(payload))


def _decode_leniently(payload: bytes) -> Any:
    """What is not as it should be in a payload is not seen before: what nobody has read so far was
    looked at for its grammar only. Bytes may be no text, and a number too large for a float."""
    import json  # noqa: PLC0415  # it takes milliseconds to load, and hardly anybody needs it

    try:
        return json.loads(payload.decode("utf-8", "replace"), parse_int=_read_whole_number)
    except (ValueError, RecursionError):
        return None


def _read_whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) < _MANY_DIGITS else float(digits)


def find_response(frame: Frame) -> ResponseFrame:
    """The innermost object of a frame, however it is wrapped."""
    result = frame.result
    if result is None:
        return frame
    return result.response or result


def decode_damaged_frame(data: bytes) -> Frame | None:
    """Decode a frame whose text is damaged, with U+FFFD for each spot that is no text.

    Two faults can be mended: bytes that are no UTF-8, and escapes that are half of a surrogate
    pair. A token with one odd character is better than a token less.
    """
    text = data.decode("utf-8", "replace").encode()
    if b"\0" in text:
        return None  # it is no JSON, whatever is done
    # What follows a backslash of the text itself is none of its escapes.
    mended = _LONE.sub(rb"\\ufffd", text.replace(_BACKSLASH, b"\0\0"))
    return decode_frame(mended.replace(b"\0\0", _BACKSLASH))
