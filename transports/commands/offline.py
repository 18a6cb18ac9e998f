"""The commands that need no network and no account: `grokproto parse`, `convert` and `replay`."""

from __future__ import annotations

import codecs
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click
import msgspec

from grokproto import (
    DIALECTS,
    ChatRequest,
    ChunkConverter,
    EventConverter,
    InvalidRequestError,
    Settings,
    ThinkingFormat,
    build_payload,
)
from grokproto.answer import AnswerEvent, Text
from grokproto.conversion import Chunk, Converter
from grokproto.errors import ConfigurationError
from grokproto.plan import Plan, read_plan
from grokproto.request import FilePart
from grokproto.settings import LongInput
from grokproto.transcript import Difference, Transcript, decode_transcript, replay, tell

from ..config import load_config
from .amounts import SECONDS
from .ending import env_file_option, read_input
from .saved_stream import check_cuts, describe_event

_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, b"{\0", b"\0{")


@click.command("parse")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--as",
    "shape",
    type=click.Choice(["events", "chunks", "text"]),
    default="events",
    show_default=True,
    help="What to print: events or OpenAI's chunks, one a line, or the text.",
)
@click.option(
    "--thinking",
    type=click.Choice([each.value for each in ThinkingFormat]),
    help="How to show the thinking in chunks and text; `think` if not given.",
)
@click.option(
    "--status",
    type=click.IntRange(100, 599),
    help="The HTTP status that came with it, if it was not 200.",
)
@click.option("--check", is_flag=True, help="Cut it in every way: does the same come out?")
@click.option("--seed", type=int, help="Of the random cuts of --check.")
@click.option(
    "--seconds",
    type=SECONDS,
    default=30.0,
    show_default=True,
    help="How long each way of cutting may take.",
)
def parse_command(
    file: IO[bytes],
    shape: str,
    thinking: str | None,
    status: int | None,
    check: bool,
    seed: int | None,
    seconds: float,
) -> None:
    """Read a saved answer of Grok's (`-` for standard input).

    What is known about the answer goes to standard error. Exit code 1 where it is not whole, or
    comes out differently when it is cut differently.
    """
    data = _read_saved(file)
    settings = Settings(thinking=ThinkingFormat(thinking or "think"))
    request = ChatRequest("grok-3", ())
    converter: Converter[AnswerEvent, AnswerEvent] | Converter[bytes, Chunk]
    if shape == "chunks":
        converter = ChunkConverter(request, identity="parsed", created=0, settings=settings)
    elif shape == "text":
        converter = EventConverter(request, settings=settings)
    else:
        converter = EventConverter()
    if status is not None:
        converter.receive_head(status, {})
    for each in converter.convert([data]):
        _show(each, shape)
    if shape == "text":
        click.echo()
    _tell(converter, len(data))
    well = converter.failure is None
    if check:
        well &= _check(data, random.randrange(10**6) if seed is None else seed, seconds)  # noqa: S311
    sys.exit(0 if well else 1)


def _read_saved(file: IO[bytes]) -> bytes:
    """The bytes as Grok sent them, but for what was done to them since that can be told.

    Raises:
        ConfigurationError: They would have to be guessed at.
    """
    data = read_input(file)
    for magic, coding in _COMPRESSED.items():
        if data.startswith(magic):
            raise ConfigurationError(f"this is {coding}; undo that first (curl --compressed)")
    if data.startswith(_UTF_16):
        raise ConfigurationError(
            "this is UTF-16, which PowerShell's > writes; save it as it comes (curl --output FILE)"
        )
    return data.removeprefix(codecs.BOM_UTF8)


def _show(each: AnswerEvent | Chunk, shape: str) -> None:
    if shape == "text":
        if isinstance(each, Text):
            click.echo(each.text, nl=False)
        return
    shown = each if isinstance(each, dict) else describe_event(each)
    click.echo(msgspec.json.encode(shown))


def _tell(
    converter: Converter[AnswerEvent, AnswerEvent] | Converter[bytes, Chunk], size: int
) -> None:
    for line in _describe(converter, size):
        click.echo(line, err=True)


def _describe(
    converter: Converter[AnswerEvent, AnswerEvent] | Converter[bytes, Chunk], size: int
) -> Iterator[str]:
    tokens = converter.usage.completion_tokens
    yield f"{size} bytes, some {tokens} tokens."
    if converter.failure is not None:
        yield f"Not whole ({converter.failure.kind.value}): {converter.failure.message}"
    else:
        yield "Whole."
    for each in converter.unknown:
        yield f"Unknown here: {each.name}, {each.times} times: {each.shape}"
    if converter.skipped:
        yield f"{converter.skipped} pieces could not be made sense of."


def _check(data: bytes, seed: int, seconds: float) -> bool:
    well = True
    for cutting in check_cuts(data, seed=seed, seconds=seconds):
        well &= cutting.difference is None
        unfinished = "" if cutting.complete else ", then time was up"
        found = "the same" if cutting.difference is None else f"DIFFERENT: {cutting.difference}"
        click.echo(f"Cut {cutting.way}: {cutting.readings} readings{unfinished}: {found}", err=True)
    return well


@click.command("convert")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--dialect", type=click.Choice(list(DIALECTS)), default="openai_chat", show_default=True
)
@env_file_option
def convert_command(file: IO[bytes], dialect: str, env_file: Path | None) -> None:
    """Print what Grok would be asked for a client's request (`-` for standard input).

    What else there is to say of it goes to standard error.
    """
    config = load_config(None, env_file)
    settings = config.build_settings()
    try:
        plan = read_plan(read_input(file), {}, DIALECTS[dialect], config.read_models(), settings)
    except InvalidRequestError as exc:
        where = f" (param {exc.param})" if exc.param else ""
        click.echo(f"grokproto: {exc.status}: {exc.message}{where}", err=True)
        sys.exit(1)
    for line in _remark(plan, settings):
        click.echo(line, err=True)
    drawing = plan.request.drawing
    payload = build_payload(
        plan.model,
        plan.prompt.message,
        file_ids=[f"id of file {i}" for i in range(1, len(plan.prompt.attachments) + 1)],
        temporary=settings.temporary,
        pictures=0 if drawing is None else drawing.count,
    )
    click.echo(msgspec.json.format(msgspec.json.encode(payload), indent=2))


def _remark(plan: Plan, settings: Settings) -> Iterator[str]:
    if plan.model.name != plan.request.model:
        yield f"{plan.request.model} is asked as {plan.model.name}."
    if plan.request.choices > 1:
        yield f"It is asked {plan.request.choices} times, for as many choices."
    for number, part in enumerate(plan.prompt.attachments, 1):
        what = part.name if isinstance(part, FilePart) else "a picture"
        yield f"File {number} is {what}, which is uploaded before; its id stands in the payload."
    if plan.request.ignored:
        yield f"Ignored: {', '.join(plan.request.ignored)}."
    length = len(plan.prompt.message)
    if length > settings.long_input_chars and settings.long_input is LongInput.FILE:
        yield f"The message has {length} characters; all but the last question would be uploaded."


@click.command("replay")
@click.argument("file", type=click.File("rb"))
@click.option("--quiet", is_flag=True, help="Say only whether it is the same.")
def replay_command(file: IO[bytes], quiet: bool) -> None:
    """Tell a transcript of `serve --record` (`-` for standard input): what was decided, and why.

    An exchange is told the recorded events, offline; its commands must be the recorded ones, byte
    for byte. Exit code 1 where they are not.
    """
    transcript = decode_transcript(read_input(file))
    if not quiet:
        for told in tell(transcript):
            branch = "" if told.branch is None else f"[{told.branch}] "
            click.echo(_make_printable(f"{told.seconds:9.3f}  {branch}{told.sentence}"))
    played = 0
    for difference in replay(transcript):
        if difference is not None:
            _tell_difference(difference)
            sys.exit(1)
        played += 1
    click.echo(_conclude(transcript, played))


def _tell_difference(difference: Difference) -> None:
    click.echo(f"grokproto: at step {difference.number} another thing is done:", err=True)
    click.echo(f"  recorded: {_write_json(difference.expected)}", err=True)
    click.echo(f"  now:      {_write_json(difference.found)}", err=True)


def _write_json(value: object) -> str:
    """JSON on one line. Bytes that are no text stand in it as halves of characters."""
    return _make_printable(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _make_printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _conclude(transcript: Transcript, played: int) -> str:
    same = f"Replayed {played} steps: every command is the recorded one."
    if transcript.differs is not None:
        same += (
            f" From step {transcript.differs} on filler goes another way than the text did;"
            " record with --keep-text to replay those steps."
        )
    if not transcript.whole:
        same += " The exchange was too long to be recorded whole."
    return same
