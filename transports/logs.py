"""Logs: structured, on standard error, one line for each request.

What is logged is named here and in `routes`: never a secret, never the text of a message.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def get_logger() -> Any:
    """The logger of this program."""
    return structlog.get_logger("grokproto")


def configure_logs(level: str, format_: str) -> None:
    """Set the logs up, once, at the start.

    Args:
        level: A name in `LEVELS`.
        format_: `json`, `console`, or `auto`: console where a person watches.
    """
    console = format_ == "console" or (format_ == "auto" and sys.stderr.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    )
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    if not console:
        processors.append(structlog.processors.dict_tracebacks)
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
