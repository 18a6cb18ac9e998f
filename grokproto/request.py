"""What a client asked for, in nobody's dialect."""

from __future__ import annotations

import enum
from typing import ClassVar, TypeAlias

import msgspec

from .quiet import Quiet
from .settings import SearchFormat, ThinkingFormat


class Role(enum.Enum):
    """Who speaks in a turn."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class TextPart(Quiet, frozen=True):
    """Text of a turn."""

    text: str


class ImagePart(Quiet, frozen=True):
    """A picture of a turn."""

    UNSHOWN: ClassVar = ("content",)

    content: str
    """Base64, without the `data:` prefix."""

    media_type: str
    """Such as `image/png`."""


class ImageLink(Quiet, frozen=True):
    """A picture of a turn that has yet to be fetched."""

    UNSHOWN: ClassVar = ("url",)

    url: str
    """http or https."""

    path: str = ""
    """Where it stands in the request, for errors."""


class FilePart(Quiet, frozen=True):
    """A text file of a turn."""

    UNSHOWN: ClassVar = ("content",)

    content: str
    """Base64."""

    name: str
    media_type: str = "text/plain"


Part: TypeAlias = TextPart | ImagePart | ImageLink | FilePart
Attachment: TypeAlias = ImagePart | ImageLink | FilePart
"""What is not part of the text but uploaded beside it."""


class Turn(msgspec.Struct, frozen=True):
    """One message of the conversation."""

    role: Role
    parts: tuple[Part, ...]


class Drawing(msgspec.Struct, frozen=True):
    """Pictures are wanted rather than an answer in words."""

    count: int = 1
    """How many, at the most."""

    as_data: bool = False
    """In the answer itself, as base64, rather than as addresses."""

    previews: int = 0
    """How many unfinished states are to be shown while they are drawn, at the most."""


class ChatRequest(msgspec.Struct, frozen=True):
    """A conversation that wants its next turn.

    What is None was not said; the operator's settings decide then.
    """

    model: str
    """Name of the model, as the client wrote it."""

    turns: tuple[Turn, ...]
    """Oldest first; never empty."""

    stream: bool = False
    include_usage: bool = False
    """The stream shall end with a usage chunk."""

    choices: int = 1
    """How many answers are wanted, each for itself."""

    stop: tuple[str, ...] = ()
    """The answer ends before the first of these; none is empty."""

    max_tokens: int | None = None
    """The answer ends after this many, thinking included."""

    thinks: bool | None = None
    """Whether the model shall think first."""

    thinking: ThinkingFormat | None = None
    """How the thinking is to be shown."""

    search: frozenset[SearchFormat] | None = None
    """How what was found on the web is to be shown."""

    instruction: str = ""
    """What form the answer is to have, in words for the model. Programs read such an answer, so
    nothing is put into it that the model did not say, unless the request itself asks for that."""

    drawing: Drawing | None = None
    ignored: tuple[str, ...] = ()
    """Names of parameters that would change the answer, if they could be heeded."""
