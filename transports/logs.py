"""Logs: structured, on standard error, one line for each request.

What is logged is named here and in `front`: never a secret, never the text of a message.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import msgspec
import structlog

from .streams import Sink

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def get_logger() -> Any:
    """The logger of this program."""
    return structlog.get_logger("grokproto")


def _encode(event: dict[str, Any], **_: Any) -> bytes:
    plain = _make_plain(event)
    try:
        return msgspec.json.encode(plain)
    except UnicodeEncodeError:  # half of a surrogate pair, which a name of a file may be
        return json.dumps(plain).encode()


def _make_plain(value: Any) -> Any:
    """A value as JSON has it, with the repr of all that JSON knows nothing of.

    Encoders know more, and write objects field by field; a repr leaves out what is private.
    """
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, dict):
        return {str(key): _make_plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_make_plain(each) for each in value]
    return repr(value)


def _tell_lost(_: Any, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Say how many lines could not be written before this one."""
    sink = getattr(sys.stderr, "buffer", None)
    if isinstance(sink, Sink) and sink.lost:
        event["lines_lost"] = sink.lost
    return event


def configure_logs(level: str, format_: str) -> None:
    """Set the logs up, once, at the start.

    Args:
        level: A name in `LEVELS`.
        format_: `json`, `console`, or `auto`: console where a person watches.
    """
    console = format_ == "console" or (format_ == "auto" and sys.stderr.isatty())
    # Tracebacks show code and never the values of variables, as structlog would have it: the
    # variables of a call are its cookies, and the question.
    renderer: Any = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer(_encode)
    )
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        _tell_lost,
    ]
    if not console:
        code_only = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        processors.append(structlog.processors.ExceptionRenderer(code_only))
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=(
            structlog.WriteLoggerFactory(file=sys.stderr)
            if console
            else structlog.BytesLoggerFactory(file=sys.stderr.buffer)
        ),
        cache_logger_on_first_use=True,
    )
