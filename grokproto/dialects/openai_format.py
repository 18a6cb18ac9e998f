"""`response_format` of a chat completion, which Grok's web API knows nothing of.

It is asked for in words, at the end of the prompt. That is all that can be done: whether the answer
is JSON, and fits the schema, is up to the model. `strict`, which promises that it does, is
therefore told as ignored.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .openai_fields import name_type, read_choice, read_flag, wrong

_PATH = "response_format"
_TYPES = ("text", "json_object", "json_schema")
_BARE = "and with nothing else: no words before or after it, and no Markdown fence around it."
OBJECT_INSTRUCTION = f"Answer with one JSON object, {_BARE}"
SCHEMA_INSTRUCTION = f"Answer with JSON that is valid by the schema below, {_BARE}"


class AnswerFormat(msgspec.Struct, frozen=True):
    """What form the answer is to have."""

    instruction: str = ""
    """For the model; empty where any form will do."""

    ignored: tuple[str, ...] = ()
    """Names of what cannot be heeded."""


def read_format(value: Any) -> AnswerFormat:
    """Read the field.

    Raises:
        InvalidRequestError: It cannot be right.
    """
    if value is None:
        return AnswerFormat()
    if not isinstance(value, dict):
        raise wrong(_PATH, f"must be an object, not {name_type(value)}.")
    match read_choice(value.get("type"), f"{_PATH}.type", _TYPES):
        case None:
            raise wrong(f"{_PATH}.type", f"must be one of {', '.join(_TYPES)}.")
        case "text":
            return AnswerFormat()
        case "json_object":
            return AnswerFormat(OBJECT_INSTRUCTION)
    return _read_schema(value.get("json_schema"))


def _read_schema(described: Any) -> AnswerFormat:
    path = f"{_PATH}.json_schema"
    if not isinstance(described, dict):
        raise wrong(path, f"must be an object, not {name_type(described)}.")
    schema = described.get("schema")
    if schema is not None and not isinstance(schema, dict):
        raise wrong(f"{path}.schema", f"must be an object, not {name_type(schema)}.")
    strict = read_flag(described.get("strict"), f"{path}.strict")
    ignored = (f"{path}.strict",) if strict else ()
    if not schema:
        return AnswerFormat(OBJECT_INSTRUCTION, ignored)
    lines = [SCHEMA_INSTRUCTION]
    for name in ("name", "description"):
        text = described.get(name)
        if isinstance(text, str) and text.strip():
            lines.append(f"{name}: {text}")
    lines.append(msgspec.json.encode(schema).decode())
    return AnswerFormat("\n".join(lines), ignored)
