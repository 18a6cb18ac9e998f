"""Flattening a conversation into the one text that Grok takes.

Grok's web API has no list of messages. The conversation becomes lines that begin with who speaks:

    USER: You are terse.
    What is sans-IO?
    ASSISTANT: A protocol without its sockets.
    USER: Why?

System, developer and tool turns read as the user's. Turns of one speaker in a row are joined by a
line feed under one mark.

Only we write marks. A line of somebody's text that looks like one, behind blanks and in any case,
is quoted as Markdown quotes: `> USER: ...`. A line is what `str.splitlines` takes for one. So a
user who pastes a transcript, or means ill, cannot put words into the assistant's mouth: the marks
at the beginnings of lines are exactly the turns.

What has no place in text becomes `[Image]` or `[File]`: pictures and files of older turns, and
pictures in base64 inside of Markdown. Those of the latest user message are given back, to be
uploaded. Thinking that earlier answers showed (`<think>...</think>`) is left out.

Where the text is too long for one message, the conversation can be told in two parts: all that came
before the last question, and the question.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs

from .errors import InvalidRequestError
from .request import Attachment, FilePart, Role, TextPart, Turn

IMAGE_MARK = "[Image]"
FILE_MARK = "[File]"
MAX_ATTACHMENTS = 4
"""Pictures and files with one message. Clients of Grok keep to four [client code]."""

_MARKS = {Role.ASSISTANT: "ASSISTANT: "}
_USER_MARK = "USER: "

_LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_LOOKS_LIKE_MARK = re.compile(
    rf"(?P<start>^|[{_LINE_ENDS}])(?P<mark>[^\S{_LINE_ENDS}]*"
    rf"(?:USER|ASSISTANT|SYSTEM|HUMAN)[^\S{_LINE_ENDS}]*[:\uff1a])",
    re.IGNORECASE,
)
_BASE64_TARGET = re.compile(r"\]\(data:image/[\w+.-]*;base64,[A-Za-z0-9+/=\s]*\)", re.ASCII)
_THINK = "<think>"
_THINK_END = "</think>"


@attrs.frozen
class Prompt:
    """A conversation as Grok is asked it."""

    message: str
    attachments: tuple[Attachment, ...] = ()
    """Pictures and files to be uploaded and attached."""

    older: str = ""
    """The part of the message before the last question; empty where there is none."""

    question: str = ""
    """The rest of it, with its mark."""


def build_prompt(
    turns: Sequence[Turn], *, last_turn_only: bool = False, instruction: str = ""
) -> Prompt:
    """Flatten a conversation.

    Args:
        turns: Oldest first.
        last_turn_only: The model takes one message only, and that must be the user's.
        instruction: What the model is told at the end; belongs to the last question.

    Raises:
        InvalidRequestError: The last message is not the user's though it must be, there is nothing
            in any message, or the latest has too many pictures and files.
    """
    if last_turn_only:
        if not turns or turns[-1].role is not Role.USER:
            raise InvalidRequestError(
                "This model takes the last message only, and it must have the role user.",
                param="messages",
            )
        turns = turns[-1:]
    latest = max((i for i, turn in enumerate(turns) if turn.role is Role.USER), default=-1)
    attachments = _list_attachments(turns[latest]) if latest >= 0 else ()
    if len(attachments) > MAX_ATTACHMENTS:
        raise InvalidRequestError(
            f"A message may hold at most {MAX_ATTACHMENTS} pictures and files; this one holds "
            f"{len(attachments)}.",
            param="messages",
        )
    texts = [
        _flatten_turn(
            turn,
            is_past=index < len(turns) - 1 or turn.role is Role.ASSISTANT,
            uploads=index == latest,
        )
        for index, turn in enumerate(turns)
    ]
    lines = [(turn.role, text) for turn, text in zip(turns, texts, strict=True)]
    if not any(text for _, text in lines):
        raise InvalidRequestError("There is nothing in any of the messages.", param="messages")
    question = latest if latest >= 0 else len(turns) - 1
    lines.append((Role.SYSTEM, quote_marks(instruction)))
    return Prompt(_join(lines), attachments, _join(lines[:question]), _join(lines[question:]))


def _join(lines: Sequence[tuple[Role, str]]) -> str:
    pieces: list[str] = []
    speaker: str | None = None
    for role, text in lines:
        if not text:
            continue
        mark = _MARKS.get(role, _USER_MARK)
        if pieces:
            pieces.append("\n")
        if mark != speaker:
            pieces.append(mark)
            speaker = mark
        pieces.append(text)
    return "".join(pieces)


def _list_attachments(turn: Turn) -> tuple[Attachment, ...]:
    return tuple(part for part in turn.parts if isinstance(part, Attachment))


def _flatten_turn(turn: Turn, *, is_past: bool, uploads: bool) -> str:
    pieces: list[str] = []
    marks = [FILE_MARK if isinstance(p, FilePart) else IMAGE_MARK for p in _list_attachments(turn)]
    for part in turn.parts:
        if isinstance(part, TextPart):
            text = _replace_pictures(part.text)
            pieces.append(_remove_thinking(text) if is_past else text)
        elif not uploads:
            pieces.append(FILE_MARK if isinstance(part, FilePart) else IMAGE_MARK)
    text = "\n".join(piece for piece in pieces if piece)
    if not text.strip() and marks:
        text = marks[0]
    return quote_marks(text) if text.strip() else ""


def quote_marks(text: str) -> str:
    """Quote the lines of a text that look like the mark of a speaker."""
    return _LOOKS_LIKE_MARK.sub(r"\g<start>> \g<mark>", text)


def _remove_thinking(text: str) -> str:
    """Leave out `<think>...</think>`; what is not closed stays."""
    kept: list[str] = []
    position = 0
    while (start := text.find(_THINK, position)) >= 0:
        end = text.find(_THINK_END, start)
        if end < 0:
            break
        kept.append(text[position:start])
        position = end + len(_THINK_END)
    if not position:
        return text
    kept.append(text[position:])
    return "".join(kept).strip()


def _replace_pictures(text: str) -> str:
    """Put `[Image]` for each `![...](data:image/...;base64,...)`.

    The target is looked for first, and from there backwards for where its link begins: looking for
    `![` first would take quadratic time on a text that is full of them.
    """
    kept: list[str] = []
    position = 0
    for target in _BASE64_TARGET.finditer(text):
        start = text.rfind("![", position, target.start())
        if start < 0 or "]" in text[start : target.start()]:
            kept.append(text[position : target.end()])
        else:
            kept += (text[position:start], IMAGE_MARK)
        position = target.end()
    if not position:
        return text
    kept.append(text[position:])
    return "".join(kept)
