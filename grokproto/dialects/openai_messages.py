"""Reading the messages of a chat request, in all the spellings of their parts that clients have."""

from __future__ import annotations

import binascii
import re
from typing import Any

from ..errors import InvalidRequestError
from ..media import sniff_media_type
from ..request import Attachment, FilePart, ImageLink, ImagePart, Part, Role, TextPart, Turn
from .openai_fields import name_type, read_text, wrong

ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
    "function": Role.TOOL,
}
PART_TYPES = (
    *("text", "input_text", "output_text", "refusal"),
    *("image_url", "input_image", "file", "input_file"),
)

_DATA_URI = re.compile(r"data:[^,;]{0,127}(?:;[^,;]{0,127}){0,4};base64,", re.IGNORECASE)
_LINK = re.compile(r"https?://", re.IGNORECASE)
_MAX_LINK = 8192
_BASE64_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_SNIFFED = 64
"""Characters of base64 that tell what a picture is."""
_FILE_NAME = re.compile(r"[^\w. \-]+")
_PICTURES = "a PNG, JPEG, WebP or GIF picture"


def read_messages(messages: Any) -> tuple[Turn, ...]:
    """Read `messages`.

    Raises:
        InvalidRequestError: One of them cannot be right.
    """
    if not isinstance(messages, list):
        raise wrong("messages", f"must be a list of messages, not {name_type(messages)}.")
    if not messages:
        raise wrong("messages", "must hold at least one message.")
    return tuple([_read_message(message, index) for index, message in enumerate(messages)])


def _read_message(message: Any, index: int) -> Turn:
    if not isinstance(message, dict):
        raise wrong(f"messages[{index}]", f"must be an object, not {name_type(message)}.")
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise wrong(f"messages[{index}].role", f"must be one of {', '.join(ROLES)}.")
    content = message.get("content")
    if type(content) is str:
        return Turn(ROLES[role], (TextPart(content),))
    return Turn(ROLES[role], _read_content(content, f"messages[{index}].content"))


def _read_content(content: Any, path: str) -> tuple[Part, ...]:
    if content is None:
        return ()
    if not isinstance(content, list):
        raise wrong(path, f"must be a string or a list of parts, not {name_type(content)}.")
    return tuple(_read_part(part, f"{path}[{i}]") for i, part in enumerate(content))


def _read_part(part: Any, path: str) -> Part:
    if isinstance(part, str):
        return TextPart(part)
    if not isinstance(part, dict):
        raise wrong(path, f"must be an object, not {name_type(part)}.")
    match part.get("type"):
        case "text" | "input_text" | "output_text":
            return TextPart(read_text(part.get("text"), f"{path}.text"))
        case "refusal":
            return TextPart(read_text(part.get("refusal"), f"{path}.refusal"))
        case "image_url" | "input_image":
            _refuse_file_id(part, path)
            return _read_image(part.get("image_url"), f"{path}.image_url")
        case "file":
            return _read_file(part.get("file"), f"{path}.file")
        case "input_file":
            return _read_file(part, path)
    raise wrong(f"{path}.type", f"must be one of {', '.join(PART_TYPES)}.")


def _read_image(image: Any, path: str) -> Attachment:
    if isinstance(image, dict):
        image = image.get("url")
        path = f"{path}.url"
    text = read_text(image, path)
    if _LINK.match(text):
        if len(text) > _MAX_LINK:
            raise wrong(path, f"is an address of more than {_MAX_LINK} characters.")
        return ImageLink(text, path)
    found = _DATA_URI.match(text)
    if found is None:
        raise wrong(
            path, "must be an address (https://...) or a data URI (data:image/png;base64,...)."
        )
    content = text[found.end() :]
    media_type = _sniff_base64(content, path)
    if media_type is None:
        raise wrong(path, f"does not hold {_PICTURES}, going by its first bytes.")
    return ImagePart(content, media_type)


def _read_file(file: Any, path: str) -> Attachment:
    if not isinstance(file, dict):
        raise wrong(path, f"must be an object, not {name_type(file)}.")
    _refuse_file_id(file, path)
    where = f"{path}.file_data"
    content = read_text(file.get("file_data"), where)
    found = _DATA_URI.match(content)
    if found is not None:
        content = content[found.end() :]
    media_type = _sniff_base64(content, where)
    if media_type is not None:
        return ImagePart(content, media_type)
    data = binascii.a2b_base64(content)
    try:
        if b"\0" in data:
            raise ValueError
        data.decode()
    except ValueError:
        raise wrong(where, f"must be {_PICTURES}, or text in UTF-8.") from None
    name = file.get("filename")
    plain = _FILE_NAME.sub("_", name)[:100].strip(". ") if isinstance(name, str) else ""
    return FilePart(content, plain or "file.txt")


def _refuse_file_id(part: dict[str, Any], path: str) -> None:
    if part.get("file_id") is not None:
        raise InvalidRequestError(
            f"{path}.file_id names a file, and none are kept here; send the data itself.",
            param=f"{path}.file_id",
        )


def _sniff_base64(content: str, path: str) -> str | None:
    """The media type of a picture in base64; None where it is none we know.

    No more of it is decoded than that takes: it may be large, and goes on as it is.

    Raises:
        InvalidRequestError: It is no base64, or there is nothing in it.
    """
    if not content:
        raise wrong(path, "holds nothing.")
    data = content.encode("ascii", "replace")
    padding = data.translate(None, _BASE64_ALPHABET)
    if len(data) % 4 or padding not in (b"", b"=", b"==") or not data.endswith(padding):
        raise wrong(path, "is not valid base64.")
    return sniff_media_type(binascii.a2b_base64(data[:_SNIFFED]))
