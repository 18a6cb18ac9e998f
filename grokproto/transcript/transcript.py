"""A transcript: a recording that may be kept, since nobody's words and no secret are in it.

Whether what stands for the words makes an exchange go the same way is not taken on trust. While a
transcript is made a fresh exchange is told the redacted events, and its commands are held against
those of the real one: the same kinds, outcomes, times, and lengths of all that was said. They are
what is written down. Where an exchange goes another way for all that (a name of one letter, a
pattern in a text that nobody thought of), the transcript says from which step on, and has only the
outlines of the commands from there.

The file is JSON lines: the opening, then a line for each step. `docs/transcripts.md` shows it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from .. import commands as c
from ..commands import Command
from ..dialects import DIALECTS
from ..errors import ConfigurationError, LocalProtocolError
from ..events import Event
from ..models import Model, ModelTable
from ..settings import Settings
from .form import JSON, decode, decode_event, encode, outline, to_bytes, to_text
from .player import Player
from .recording import Handled, Notes, Opening, Recording, Taken
from .redacting import redact_events, redact_notes, redact_opening
from .written import WrittenAbandoned, WrittenHandled, WrittenHead, WrittenTaken, check

FORMAT = 1


class Entry(msgspec.Struct, frozen=True):
    """One step, with the written form of what came of it."""

    branch: int | None
    """Of a fork; None for the exchange itself."""
    event: Event | None
    """None where the joint took the branch's last command, or the host dropped it."""
    now: float | None
    """Host clock, seconds; None for what the joint took."""
    commands: Sequence[Any]
    notes: Notes | None = None

    def play(self, player: Player) -> Sequence[Command]:
        """Do the same to a fresh exchange.

        Raises:
            LocalProtocolError: It cannot be done.
        """
        if self.event is not None:
            assert self.now is not None
            return (player.handle(self.branch, self.event, self.now),)
        if self.now is not None:
            return player.abandon(self.branch, self.now)
        assert self.branch is not None
        return player.take(self.branch)


class Transcript(msgspec.Struct, frozen=True):
    """A recording that may be kept."""

    opening: Opening
    entries: Sequence[Entry]
    keeps_text: bool
    whole: bool
    """Otherwise the exchange was too long, and the last steps are missing."""
    differs: int | None = None
    """The number of the entry from which on filler made another way; None where nowhere."""


def build_transcript(recording: Recording, *, keep_text: bool = False) -> Transcript:
    """Make of a recording what may be kept.

    Args:
        recording: With all that is secret.
        keep_text: Leave in what was asked and answered. Cookies, keys and headers go all the same.
    """
    redaction, opening = redact_opening(recording.opening, keep_text=keep_text)
    events = redact_events(recording.steps, redaction)
    player = Player(opening)
    entries: list[Entry] = []
    differs: int | None = None
    for number, (step, event) in enumerate(zip(recording.steps, events, strict=True)):
        happened = (step.command,) if isinstance(step, Handled) else step.commands
        entry = Entry(
            step.branch,
            event,
            None if isinstance(step, Taken) else step.now,
            [outline(command) for command in happened],
            redact_notes(step.notes, redaction) if isinstance(step, Handled) else None,
        )
        if differs is None:
            commands = _play(entry, player)
            if commands is None or [outline(c) for c in commands] != entry.commands:
                differs = number
            else:
                entry = replace(entry, commands=[encode(c) for c in commands])
        entries.append(entry)
    return Transcript(opening, entries, keep_text, recording.whole, differs)


def _play(entry: Entry, player: Player) -> Sequence[Command] | None:
    try:
        return entry.play(player)
    except LocalProtocolError:
        return None


# The file


def encode_transcript(transcript: Transcript) -> bytes:
    """The file."""
    opening = transcript.opening
    models = opening.models
    head = {
        "transcript": FORMAT,
        "text": "kept" if transcript.keeps_text else "filler",
        "whole": transcript.whole,
        "differs": transcript.differs,
        "dialect": opening.dialect.name,
        "created": opening.created,
        "headers": dict(opening.headers),
        "ids": list(opening.ids),
        "models": [encode(model) for name, model in models.items() if name == model.name],
        "aliases": {name: model.name for name, model in models.items() if name != model.name},
        "settings": encode(opening.settings),
        "body": to_text(opening.body),
    }
    lines = [head, *map(_encode_entry, transcript.entries)]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def _encode_entry(entry: Entry) -> JSON:
    written: JSON = {}
    if entry.now is not None:
        written["now"] = entry.now
    if entry.branch is not None:
        written["branch"] = entry.branch
    if entry.event is not None:
        written["event"] = encode(entry.event)
        (written["command"],) = entry.commands
        if entry.notes is not None:
            written["notes"] = entry.notes
    else:
        written["taken" if entry.now is None else "abandoned"] = list(entry.commands)
    return written


def decode_transcript(data: bytes) -> Transcript:
    """Read a file, and see whether every line of it can be one of a transcript.

    Raises:
        ConfigurationError: It is no transcript, or one of another version, or it is damaged. The
            sentence says which line is wrong, and how.
    """
    transcript: Transcript | None = None
    entries: list[Entry] = []
    lines = data.decode("utf-8", "replace").splitlines() or [""]
    for number, line in enumerate(lines, 1):
        try:
            if transcript is None:
                transcript = _decode_head(json.loads(line))
            else:
                entries.append(_decode_entry(json.loads(line)))
        except RecursionError as exc:
            raise _refuse(number, "it is nested too deeply") from exc
        except (ValueError, TypeError, ConfigurationError) as exc:
            raise _refuse(number, str(exc)) from exc
    assert transcript is not None
    if transcript.whole and not _is_over(entries):
        raise ConfigurationError(
            f"line {len(lines)} is no transcript's last: the exchange goes on after it, and line 1 "
            "says that all of it is here"
        )
    return replace(transcript, entries=entries)


def _is_over(entries: Sequence[Entry]) -> bool:
    """Whether the exchange itself has ended: with `Finish`, or since the host dropped it.

    A host with threads may drop a branch of it even later.
    """
    for entry in reversed(entries):
        if entry.branch is None:
            return entry.event is None or entry.commands[0]["is"] == c.Finish.__name__
    return False


def _refuse(number: int, why: str) -> ConfigurationError:
    """The sentence, on one line, with nothing in it that cannot be printed."""
    shown = " ".join(why.encode("utf-8", "backslashreplace").decode().split())
    return ConfigurationError(f"line {number} is no transcript's: {shown}")


def _decode_head(head: Any) -> Transcript:
    if not isinstance(head, dict):
        raise ValueError("it is no object")
    if head.get("transcript") != FORMAT:
        raise ValueError(f"it has format {head.get('transcript')!r}, and {FORMAT} is known here")
    check(head, WrittenHead)
    if head["dialect"] not in DIALECTS:
        raise ValueError(f"there is no dialect {head['dialect']!r}")
    models = [decode(_fields(model), Model) for model in head["models"]]
    opening = Opening(
        to_bytes(head["body"]),
        DIALECTS[head["dialect"]],
        ModelTable(models, head["aliases"]),
        decode(_fields(head["settings"]), Settings),
        head["created"],
        head["headers"],
        head["ids"],
    )
    return Transcript(opening, (), head["text"] == "kept", head["whole"], head["differs"])


def _fields(written: JSON) -> JSON:
    return {name: value for name, value in written.items() if name != "is"}


def _decode_entry(written: Any) -> Entry:
    if not isinstance(written, dict):
        raise ValueError("it is no object")
    branch, now = written.get("branch"), written.get("now")
    if "event" in written:
        check(written, WrittenHandled)
        event = decode_event(written["event"])
        return Entry(branch, event, now, [written["command"]], written.get("notes"))
    if "taken" in written:
        check(written, WrittenTaken)
        return Entry(branch, None, None, written["taken"])
    check(written, WrittenAbandoned)
    return Entry(branch, None, now, written["abandoned"])


class Difference(msgspec.Struct, frozen=True):
    """What a fresh exchange does otherwise."""

    number: int
    """Of the entry."""
    expected: Sequence[Any]
    found: Sequence[Any] | str
    """Or why it cannot be done."""


def replay(transcript: Transcript) -> Iterator[Difference | None]:
    """Tell a fresh exchange what the other was told, step by step.

    Gives None for each step at which it does the very same, and ends with the first difference.
    """
    player = Player(transcript.opening)
    for number, entry in enumerate(transcript.entries[: transcript.differs]):
        try:
            found: Sequence[Any] | str = [encode(command) for command in entry.play(player)]
        except LocalProtocolError as exc:
            found = str(exc)
        except Exception as exc:  # a mistake of ours, or events that no host would tell
            found = f"{type(exc).__name__}: {exc}"
        if found != list(entry.commands):
            yield Difference(number, entry.commands, found)
            return
        yield None
