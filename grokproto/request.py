"""What a client asked for, in nobody's dialect."""

from __future__ import annotations

import enum
from typing import TypeAlias

import attrs


class Role(enum.Enum):
    """Who speaks in a turn."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@attrs.frozen
class TextPart:
    """Text of a turn."""

    text: str


@attrs.frozen
class ImagePart:
    """A picture of a turn."""

    content: str = attrs.field(repr=False)
    """Base64, without the `data:` prefix."""

    media_type: str
    """Such as `image/png`."""


Part: TypeAlias = TextPart | ImagePart


@attrs.frozen
class Turn:
    """One message of the conversation."""

    role: Role
    parts: tuple[Part, ...]


@attrs.frozen
class ChatRequest:
    """A conversation that wants its next turn."""

    model: str
    """Name of the model, as the client wrote it."""

    turns: tuple[Turn, ...]
    """Oldest first; never empty."""

    stream: bool = False
    include_usage: bool = False
    """The stream shall end with a usage chunk."""
