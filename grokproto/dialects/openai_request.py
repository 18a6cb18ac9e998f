"""Reading the body of a chat completion request.

Lenient in what is merely odd (unknown parameters, null for absent), exact about what is wrong: the
error names the path of the part, as in `messages[2].content[0].image_url`.
"""

from __future__ import annotations

import binascii
import re
from typing import Any

import msgspec

from ..errors import InvalidRequestError
from ..request import ChatRequest, ImagePart, Part, Role, TextPart, Turn

ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
    "function": Role.TOOL,
}

_BOM = b"\xef\xbb\xbf"
_DATA_URI = re.compile(r"data:(image/[a-z0-9.+-]{1,40});base64,", re.IGNORECASE)


class _Body(msgspec.Struct):
    model: Any = None
    messages: Any = None
    stream: Any = None
    stream_options: Any = None
    n: Any = None


_decoder = msgspec.json.Decoder(_Body)


def _wrong(path: str, problem: str) -> InvalidRequestError:
    return InvalidRequestError(f"{path} {problem}", param=path)


def _name_type(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return names.get(type(value), "null" if value is None else "a number")


def decode_chat_request(body: bytes) -> ChatRequest:
    """Read the body of `POST /v1/chat/completions`.

    Raises:
        InvalidRequestError: It cannot be right.
    """
    try:
        fields = _decoder.decode(body.removeprefix(_BOM))
    except msgspec.ValidationError:
        raise InvalidRequestError("The body must be a JSON object.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise InvalidRequestError(f"The body is not JSON: {exc}.") from exc
    except RecursionError:
        raise InvalidRequestError("The body is nested too deeply.") from None
    if not isinstance(fields.model, str) or not fields.model:
        raise _wrong("model", "must be the name of a model.")
    if fields.n not in (None, 1) or isinstance(fields.n, bool):
        raise _wrong("n", "must be 1: one answer is made for each request.")
    return ChatRequest(
        model=fields.model,
        turns=_read_messages(fields.messages),
        stream=_read_flag(fields.stream, "stream"),
        include_usage=_read_include_usage(fields.stream_options),
    )


def _read_flag(value: Any, path: str) -> bool:
    if value is None:
        return False
    if not isinstance(value, bool):
        raise _wrong(path, f"must be true or false, not {_name_type(value)}.")
    return value


def _read_include_usage(options: Any) -> bool:
    if options is None:
        return False
    if not isinstance(options, dict):
        raise _wrong("stream_options", f"must be an object, not {_name_type(options)}.")
    return _read_flag(options.get("include_usage"), "stream_options.include_usage")


def _read_messages(messages: Any) -> tuple[Turn, ...]:
    if not isinstance(messages, list):
        raise _wrong("messages", f"must be a list of messages, not {_name_type(messages)}.")
    if not messages:
        raise _wrong("messages", "must hold at least one message.")
    return tuple(_read_message(m, f"messages[{i}]") for i, m in enumerate(messages))


def _read_message(message: Any, path: str) -> Turn:
    if not isinstance(message, dict):
        raise _wrong(path, f"must be an object, not {_name_type(message)}.")
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise _wrong(f"{path}.role", f"must be one of {', '.join(ROLES)}.")
    return Turn(ROLES[role], _read_content(message.get("content"), f"{path}.content"))


def _read_content(content: Any, path: str) -> tuple[Part, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (TextPart(content),)
    if not isinstance(content, list):
        raise _wrong(path, f"must be a string or a list of parts, not {_name_type(content)}.")
    return tuple(_read_part(part, f"{path}[{i}]") for i, part in enumerate(content))


def _read_part(part: Any, path: str) -> Part:
    if isinstance(part, str):
        return TextPart(part)
    if not isinstance(part, dict):
        raise _wrong(path, f"must be an object, not {_name_type(part)}.")
    match part.get("type"):
        case "text" | "refusal" as kind:
            text = part.get(kind)
            if not isinstance(text, str):
                raise _wrong(f"{path}.{kind}", f"must be a string, not {_name_type(text)}.")
            return TextPart(text)
        case "image_url":
            return _read_image(part.get("image_url"), f"{path}.image_url")
    raise _wrong(f"{path}.type", "must be text or image_url.")


def _read_image(image: Any, path: str) -> ImagePart:
    if isinstance(image, dict):
        image = image.get("url")
        path = f"{path}.url"
    if not isinstance(image, str):
        raise _wrong(path, f"must be a string, not {_name_type(image)}.")
    found = _DATA_URI.match(image)
    if found is None:
        raise _wrong(path, "must be a picture as a data URI: data:image/png;base64,...")
    content = image[found.end() :]
    try:
        if not binascii.a2b_base64(content, strict_mode=True):
            raise _wrong(path, "holds no picture: there is nothing behind the comma.")
    except ValueError:
        raise _wrong(path, "is not valid base64.") from None
    return ImagePart(content, found[1].lower())
