"""Checks, and running them."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from typing import TypeAlias

import attrs

from .plain_http import ProtocolError
from .sse import FramingError
from .target import Target


class Level(enum.Enum):
    """Who needs it."""

    BASIC = "basic"
    """Nearly every client."""
    BEYOND = "beyond"
    """Some clients, browsers, or people who look for a mistake."""


class Outcome(enum.Enum):
    """What came of a check."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


class FailedError(Exception):
    """The check has failed; the text says what was seen, and what was expected."""


class SkippedError(Exception):
    """The check does not apply; the text says why."""


Run: TypeAlias = Callable[[Target], str]


@attrs.frozen
class Check:
    """One thing that a client expects."""

    name: str
    level: Level
    about: str
    """One sentence."""
    run: Run = attrs.field(repr=False)
    """Says what it saw; raises `FailedError` or `SkippedError`."""


@attrs.frozen
class Result:
    """What came of a check."""

    check: Check
    outcome: Outcome
    seen: str
    """What was seen, in a few words."""
    seconds: float


def expect(condition: object, seen: str) -> None:
    """See to it that something holds.

    Raises:
        FailedError: It does not; `seen` says what is the case instead.
    """
    if not condition:
        raise FailedError(seen)


def collect(level: Level, into: list[Check]) -> Callable[[str], Callable[[Run], Run]]:
    """A decorator that makes checks of functions. Their docstrings say what they are about."""

    def name_it(name: str) -> Callable[[Run], Run]:
        def add(run: Run) -> Run:
            about = (run.__doc__ or "").partition("\n")[0].rstrip(".")
            into.append(Check(name, level, about, run))
            return run

        return add

    return name_it


def run_check(check: Check, target: Target) -> Result:
    """Run a check.

    Raises:
        UnreachableError: The server cannot be reached.
    """
    started = time.monotonic()
    try:
        outcome, seen = Outcome.PASSED, check.run(target)
    except SkippedError as exc:
        outcome, seen = Outcome.SKIPPED, str(exc)
    except (FailedError, FramingError, ProtocolError) as exc:
        outcome, seen = Outcome.FAILED, str(exc)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as exc:
        # Checks take objects apart that may be anything; what they need most they look at first.
        outcome, seen = Outcome.FAILED, f"an object has another shape: {exc!r}"
    return Result(check, outcome, seen, time.monotonic() - started)
