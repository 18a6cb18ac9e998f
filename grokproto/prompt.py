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

import msgspec

from .errors import InvalidRequestError
from .quiet import Quiet
from .request import Attachment, FilePart, Part, Role, TextPart, Turn

IMAGE_MARK = "[Image]"
FILE_MARK = "[File]"
MAX_ATTACHMENTS = 4
"""Pictures and files with one message. Clients of Grok keep to four [client code]."""

_ASSISTANT_MARK = "ASSISTANT: "
_USER_MARK = "USER: "

_LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_LOOKS_LIKE_MARK = re.compile(
    rf"(?P<start>^|[{_LINE_ENDS}])(?P<mark>[^\S{_LINE_ENDS}]*"
    rf"(?:USER|ASSISTANT|SYSTEM|HUMAN)[^\S{_LINE_ENDS}]*[:\uff1a])",
    re.IGNORECASE,
)
_BASE64_TARGET = re.compile(r"\]\(data:image/[\w+.-]*;base64,[A-Za-z0-9+/=\s]*\)", re.ASCII)
_DATA = "](data:image/"
_THINK = "<think>"
_THINK_END = "</think>"


class Prompt(Quiet, frozen=True):
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
    latest = next((i for i in reversed(range(len(turns))) if turns[i].role is Role.USER), -1)
    attachments = _list_attachments(turns[latest]) if latest >= 0 else ()
    if len(attachments) > MAX_ATTACHMENTS:
        raise InvalidRequestError(
            f"A message may hold at most {MAX_ATTACHMENTS} pictures and files; this one holds "
            f"{len(attachments)}.",
            param="messages",
        )
    care = _look_through(turns)
    last = len(turns) - 1
    lines: list[tuple[Role, str]] = []
    for index, turn in enumerate(turns):
        role, parts = turn.role, turn.parts
        if care is _NO_CARE and len(parts) == 1 and type(parts[0]) is TextPart:
            text = parts[0].text
        else:
            is_past = index < last or role is Role.ASSISTANT
            text = _flatten_turn(turn, care, is_past=is_past, uploads=index == latest)
        lines.append((role, "" if text.isspace() else text))
    if not any(text for _, text in lines):
        raise InvalidRequestError("There is nothing in any of the messages.", param="messages")
    lines.append((Role.SYSTEM, quote_marks(instruction)))
    message, older, question = _join(lines, latest if latest >= 0 else last)
    return Prompt(message, attachments, older, question)


def _join(lines: Sequence[tuple[Role, str]], question: int) -> tuple[str, str, str]:
    """All lines as one text; and the same in two, those before the line `question` and the rest,
    which has a mark of its own."""
    pieces: list[str] = []
    speaker: str | None = None
    cut = 0
    mark = ""
    """What the rest lacks."""
    for index, (role, text) in enumerate(lines):
        if index == question:
            cut = len(pieces)
        if not text:
            continue
        said_by = _ASSISTANT_MARK if role is Role.ASSISTANT else _USER_MARK
        if index >= question and cut == len(pieces) and said_by == speaker:
            mark = said_by
        if pieces:
            pieces.append("\n")
        if said_by != speaker:
            pieces.append(said_by)
            speaker = said_by
        pieces.append(text)
    rest = "".join(pieces[cut + 1 if cut else 0 :])
    return "".join(pieces), "".join(pieces[:cut]), mark + rest


class _Care(msgspec.Struct, frozen=True):
    """What the texts of a conversation have that needs care. Most have nothing of it, and to look
    through each of thousands of turns for it costs more than all that is done with them."""

    pictures: bool
    thinking: bool
    marks: bool


_NO_CARE = _Care(False, False, False)


def _look_through(turns: Sequence[Turn]) -> _Care:
    text = "\n".join([p.text for turn in turns for p in turn.parts if type(p) is TextPart])
    pictures, thinking = _DATA in text, _THINK in text
    # What is left when something is taken out of a line may look like a mark.
    marks = pictures or thinking or _LOOKS_LIKE_MARK.search(text) is not None
    return _Care(pictures, thinking, marks) if marks else _NO_CARE


def _list_attachments(turn: Turn) -> tuple[Attachment, ...]:
    return tuple(part for part in turn.parts if isinstance(part, Attachment))


def _flatten_turn(turn: Turn, care: _Care, *, is_past: bool, uploads: bool) -> str:
    parts = turn.parts
    if len(parts) == 1 and type(parts[0]) is TextPart:
        text = _flatten_text(parts[0].text, care, is_past=is_past)
    else:
        text = _flatten_parts(parts, care, is_past=is_past, uploads=uploads)
    return quote_marks(text) if care.marks else text


def _flatten_text(text: str, care: _Care, *, is_past: bool) -> str:
    if care.pictures:
        text = _replace_pictures(text)
    return _remove_thinking(text) if care.thinking and is_past else text


def _flatten_parts(parts: Sequence[Part], care: _Care, *, is_past: bool, uploads: bool) -> str:
    pieces: list[str] = []
    marks = [_mark_attachment(part) for part in parts if isinstance(part, Attachment)]
    for part in parts:
        if isinstance(part, TextPart):
            pieces.append(_flatten_text(part.text, care, is_past=is_past))
        elif not uploads:
            pieces.append(_mark_attachment(part))
    text = "\n".join(piece for piece in pieces if piece)
    return marks[0] if marks and not text.strip() else text


def _mark_attachment(part: Attachment) -> str:
    return FILE_MARK if isinstance(part, FilePart) else IMAGE_MARK


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
